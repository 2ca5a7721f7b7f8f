#!/bin/sh
# Writes the unified kernel image that UEFI firmware starts: systemd's stub, the command line, the
# initramfs and the kernel as one PE file. Kernel and initramfs lie in it at multiples of 2048 bytes,
# so that an ISO can name them as files of its own (iso.sh).
#
#   uki.sh VMLINUZ INITRAMFS OUT
#
# SECURE_BOOT_KEY=FILE.key with SECURE_BOOT_CERT=FILE.crt (PEM; secure-boot.sh makes a pair) signs
# it: the signature covers kernel, initramfs and command line.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
vmlinuz=$1 initramfs=$2 out=$3
stub=${EFI_STUB:-/usr/lib/systemd/boot/efi/linuxx64.efi.stub}
sector=2048

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

up() { # NUMBER MULTIPLE
    echo $((($1 + $2 - 1) / $2 * $2))
}
section() { # NAME FILE ADDRESS: objcopy's arguments for it
    printf '%s\n' --add-section "$1=$2" --change-section-vma "$1=$3" \
        --set-section-flags "$1=contents,alloc,load,readonly,data"
}

# The kernel takes zeros after an archive for nothing, and the kernel's own place is last: systemd's
# stub of that age wants it so.
cp "$initramfs" "$scratch/initramfs"
truncate -s "$(up "$(stat -c %s "$initramfs")" $sector)" "$scratch/initramfs"
cmdline_at=$((0x100000)) initramfs_at=$((0x110000))
vmlinuz_at=$(up $((initramfs_at + $(stat -c %s "$scratch/initramfs"))) 65536)
pack() {
    # shellcheck disable=SC2046 # no spaces in mktemp's names
    objcopy $(section .cmdline "$scratch/cmdline" $cmdline_at) \
        $(section .initrd "$scratch/initramfs" $initramfs_at) \
        $(section .linux "$vmlinuz" "$vmlinuz_at") "$stub" "$scratch/image"
}
offset() { # SECTION: where in the file
    objdump -h "$scratch/image" | awk -v name="$1" '$2 == name { print $6 }'
}

# Spaces after the command line move what follows to where it is wanted.
printf '%s ' "$("$here/cmdline.sh")" >"$scratch/cmdline"
pack
past=$((0x$(offset .initrd) % sector))
if [ $past -ne 0 ]; then
    wanted=$(($(up "$(stat -c %s "$scratch/cmdline")" 512) + sector - past))
    printf "%-${wanted}s" "$("$here/cmdline.sh")" >"$scratch/cmdline"
    pack
fi
for name in .initrd .linux; do
    [ $((0x$(offset $name) % sector)) -eq 0 ] || {
        echo "objcopy puts $name of the unified kernel image at 0x$(offset $name): no multiple of $sector" >&2
        exit 1
    }
done

# objcopy writes the time into the header, and a checksum over it, which no firmware looks at.
header=$(od -A n -t u4 -j 60 -N 4 "$scratch/image")
for place in $((header + 8)) $((header + 88)); do
    dd if=/dev/zero of="$scratch/image" bs=1 seek=$place count=4 conv=notrunc status=none
done

if [ -n "${SECURE_BOOT_KEY:-}" ]; then
    sbsign --key "$SECURE_BOOT_KEY" --cert "${SECURE_BOOT_CERT:?names the certificate of SECURE_BOOT_KEY}" \
        --output "$scratch/signed" "$scratch/image"
    mv "$scratch/signed" "$scratch/image"
fi
mv "$scratch/image" "$out"
