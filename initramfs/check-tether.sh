#!/bin/sh
# Checks that a tether is what PID 1 of an initramfs has to be, and says what is wrong if it is not.
#
#   check-tether.sh FILE
set -eu
file=$1
wrong() {
    echo "$file: $1" >&2
    exit 1
}
header=$(readelf -h "$file") || wrong 'is not an ELF file'
case $header in
    *'EXEC (Executable file)'*) ;;
    *) wrong 'is position independent (its addresses in .note.vmware-backdoor would not hold)' ;;
esac
if readelf -lW "$file" | grep -qE 'INTERP|DYNAMIC'; then wrong 'is not static: the initramfs has no shared libraries'; fi
sections=$(readelf -SW "$file")
case $sections in
    *.symtab*) wrong 'is not stripped' ;;
esac
# The compiler may leave paths in panic messages; they must be the remapped ones of rustc.sh.
if grep -qaF "$(pwd)" "$file"; then wrong "holds a path of the machine that built it ($(pwd))"; fi
# In its note: what a kernel or another program writes to, too, would stop the machine each time (src/sys/port.rs).
bell=$(readelf -SW "$file" | awk '{ for (i = 1; i < NF; i++) if ($i == ".vmware_backdoor_bell") print $(i + 2) }')
[ "$bell" = 0000000056580000 ] || wrong "has the backdoor's bell at ${bell:-no place of its own}, not at 0x56580000"
