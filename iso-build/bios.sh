#!/bin/sh
# Assembles what a BIOS starts (bios.s): LOADER, a sector of a CD-ROM, and RECORD, a disk's boot record.
# They do not know yet where anything is.
#
#   bios.sh LOADER RECORD
set -eu
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$here/cmdline.sh" | tr -d '\n' >"$scratch/cmdline"
as --32 -I "$scratch" -o "$scratch/bios.o" "$here/bios.s"
ld -m elf_i386 -e 0 --section-start=.record=0x7c00 --section-start=.loader=0x9000 --no-warn-rwx-segments \
    -o "$scratch/bios" "$scratch/bios.o"
objcopy -O binary -j .loader "$scratch/bios" "$1"
objcopy -O binary -j .record "$scratch/bios" "$2"
