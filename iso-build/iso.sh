#!/bin/sh
# Writes bootstrap.iso, one image for a CD-ROM or a disk, for BIOS (isolinux) and for UEFI (a unified
# kernel image in a FAT file system). The same input gives the same bytes, whenever and wherever.
#
#   iso.sh KERNEL TETHER VMLINUZ INITRAMFS OUT      KERNEL as kernel-debian.sh or kernel-own.sh made it
#
# What is on it, in this order:
#   boot record and partition table, for when it is a disk (isohybrid)
#   the ISO's folder: /vmlinuz, /initramfs.img, /VERSION, /config.gz (the kernel's), /isolinux
#   the FAT file system; as El Torito's second image and as the disk's second partition
# The kernel and the initramfs are there once: /vmlinuz and /initramfs.img are places within the
# unified image, which is within the FAT file system.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 tether=$2 vmlinuz=$3 initramfs=$4 out=$5

missing=
need() { # FILE-OR-COMMAND PACKAGE
    [ -e "$1" ] || command -v "$1" >/dev/null || missing="$missing $2"
}
isolinux=${ISOLINUX:-/usr/lib/ISOLINUX/isolinux.bin}
record=${ISOHDPFX:-/usr/lib/ISOLINUX/isohdpfx.bin}
ldlinux=${LDLINUX:-/usr/lib/syslinux/modules/bios/ldlinux.c32}
need "$isolinux" isolinux
need "$record" isolinux
need "$ldlinux" syslinux-common
need "${EFI_STUB:-/usr/lib/systemd/boot/efi/linuxx64.efi.stub}" systemd-boot-efi
need xorriso xorriso
need mcopy mtools
need objcopy binutils
if [ -n "$missing" ]; then
    echo "bootstrap.iso cannot be made without:$missing (Debian's package names; apt-get install them)" >&2
    exit 1
fi

epoch=$("$here/epoch.sh")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
tree=$scratch/tree
mkdir -p "$tree/isolinux"
cp "$isolinux" "$ldlinux" "$tree/isolinux/"
sed "s|@CMDLINE@|$("$here/cmdline.sh")|" "$here/isolinux.cfg" >"$tree/isolinux/isolinux.cfg"
# In place of these two names' contents their places are written, below.
echo vmlinuz >"$tree/vmlinuz"
echo initramfs >"$tree/initramfs.img"
"$here/version.sh" "$(cat "$kernel/version")" "$tether" "$vmlinuz" "$initramfs" >"$tree/VERSION"
grep '^CONFIG_' "$kernel/config" | gzip -n -9 >"$tree/config.gz" # what is not named is off
find "$tree" -type d -exec chmod 755 {} +
find "$tree" -type f -exec chmod 644 {} +
find "$tree" -exec touch -h -d "@$epoch" {} +

"$here/uki.sh" "$vmlinuz" "$initramfs" "$scratch/image.efi"
image_at=$("$here/esp.sh" "$scratch/image.efi" "$scratch/esp")

# xorriso takes the volume's own times from SOURCE_DATE_EPOCH, but the files' from the files.
iso=$scratch/iso
SOURCE_DATE_EPOCH=$epoch xorriso -as mkisofs -quiet -V TETHER -r -o "$iso" -no-pad \
    -isohybrid-mbr "$record" -partition_cyl_align off \
    -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    -append_partition 2 0xef "$scratch/esp" \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    "$tree"
esp_at=$(($(stat -c %s "$iso") - $(stat -c %s "$scratch/esp")))
cmp -s -i "$esp_at:0" "$iso" "$scratch/esp" || { echo 'xorriso has not put the FAT file system last' >&2; exit 1; }

# A directory record (ECMA-119, 9.1) has place and size in both byte orders, and the name at 33.
number() { # NUMBER: as printf's escapes, the least byte first and then the greatest first
    printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1\\x\1\\x\2\\x\3\\x\4/'
}
place() { # NAME-IN-THE-DIRECTORY FILE SECTION
    found=$(grep -abo "$1;1" "$iso" | head -n 1 | cut -d : -f 1)
    section=$(objdump -h "$scratch/image.efi" 2>/dev/null | awk -v name="$3" '$2 == name { print $6 }')
    at=$((esp_at + image_at + 0x$section))
    cmp -s -n "$(stat -c %s "$2")" -i "$at:0" "$iso" "$2" || { echo "$2 is not at $at of the ISO" >&2; exit 1; }
    env printf "$(number $((at / 2048)))$(number "$(stat -c %s "$2")")" |
        dd of="$iso" bs=1 seek=$((found - 31)) conv=notrunc status=none
}
place VMLINUZ. "$vmlinuz" .linux
place INITRAMF.IMG "$initramfs" .initrd
mv "$iso" "$out"
