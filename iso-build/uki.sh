#!/bin/sh
# Writes the unified kernel image that UEFI firmware starts (efi.s): the command line, the initramfs and
# the kernel as one PE file. Kernel and initramfs lie in it at multiples of 2048 bytes, so that an ISO can
# name them as files of its own (iso.sh).
#
#   uki.sh VMLINUZ INITRAMFS OUT
#
# SECURE_BOOT_KEY=FILE.key with SECURE_BOOT_CERT=FILE.crt (PEM; secure-boot.sh makes a pair) signs
# it: the signature covers kernel, initramfs and command line.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vmlinuz=$(realpath "$1") initramfs=$(realpath "$2") out=$3

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

number() { # PLACE BYTES: of the kernel's setup header, in its file
    od -A n -t "u$2" -j "$1" -N "$2" "$vmlinuz" | tr -d ' '
}
room=$((($(number $((0x1f1)) 1) + 1) * 512 + $(number $((0x260)) 4)))

"$here/cmdline.sh" | tr -d '\n' >"$scratch/cmdline"
ln -s "$vmlinuz" "$scratch/vmlinuz"
ln -s "$initramfs" "$scratch/initramfs"
(
    cd "$scratch"
    as --64 -o efi.o "$here/efi.s"
    ld -T "$here/efi.ld" --defsym=linux_room=$room --no-warn-rwx-segments -o efi.elf efi.o
    objcopy -O binary efi.elf image
)
if [ -n "${SECURE_BOOT_KEY:-}" ]; then
    sbsign --key "$SECURE_BOOT_KEY" --cert "${SECURE_BOOT_CERT:?names the certificate of SECURE_BOOT_KEY}" \
        --output "$scratch/signed" "$scratch/image"
    mv "$scratch/signed" "$scratch/image"
fi
mv "$scratch/image" "$out"
