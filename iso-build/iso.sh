#!/bin/sh
# Writes bootstrap.iso, one image for a CD-ROM or a disk, for BIOS (a boot loader of one sector) and for
# UEFI (a unified kernel image in a FAT file system). The same input gives the same bytes, whenever and wherever.
#
#   iso.sh KERNEL TETHER VMLINUZ INITRAMFS OUT      KERNEL as kernel-debian.sh or kernel-own.sh made it
#
# What is on it, in this order:
#   boot record and partition table, for when it is a disk (isohybrid)
#   the ISO's folder: /vmlinuz, /initramfs.img, /VERSION, /config.gz (the kernel's), /boot
#   the FAT file system; as El Torito's second image and as the disk's second partition
# The kernel and the initramfs are there once: /vmlinuz and /initramfs.img are places within the
# unified image, which is within the FAT file system.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 tether=$2 vmlinuz=$3 initramfs=$4 out=$5

missing=
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}
need as binutils
need xorriso xorriso
need mcopy mtools
if [ -n "$missing" ]; then
    echo "bootstrap.iso cannot be made without:$missing (Debian's package names; apt-get install them)" >&2
    exit 1
fi

epoch=$("$here/epoch.sh")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
tree=$scratch/tree
mkdir -p "$tree/boot"
"$here/bios.sh" "$tree/boot/loader" "$scratch/record"
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
    -G "$scratch/record" -partition_cyl_align off \
    -b boot/loader -c boot/catalog -no-emul-boot -boot-load-size 4 \
    -append_partition 2 0xef "$scratch/esp" \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    "$tree"
esp_at=$(($(stat -c %s "$iso") - $(stat -c %s "$scratch/esp")))
cmp -s -i "$esp_at:0" "$iso" "$scratch/esp" || { echo 'xorriso has not put the FAT file system last' >&2; exit 1; }

# The places, in sectors of 2048 bytes, go where they are read: into the ISO's folder, the loader and the
# boot record.
bytes() { # NUMBER: as printf's escapes, the least byte first
    printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1/'
}
reversed() { # NUMBER: the greatest first
    printf '%08x' "$1" | sed 's/\(..\)/\\x\1/g'
}
patch() { # PLACE ESCAPES
    env printf "$2" | dd of="$iso" bs=1 seek="$1" conv=notrunc status=none
}
# A directory record (ECMA-119, 9.1) has place and size in both byte orders at 2, and the name at 33.
record_of() { # NAME
    echo $(($(grep -abo "$1;1" "$iso" | head -n 1 | cut -d : -f 1) - 33))
}
loader=$(od -A n -t u4 -j $(($(record_of LOADER.) + 2)) -N 4 "$iso" | tr -d ' ')
patch 16 "$(bytes $((loader * 4)))"
# Some BIOSes start no disk without an active partition.
patch 446 '\x80'
place() { # NAME-IN-THE-DIRECTORY FILE SECTION OFFSET-IN-THE-LOADER
    size=$(stat -c %s "$2")
    section=$(objdump -h "$scratch/image.efi" 2>/dev/null | awk -v name="$3" '$2 == name { print $6 }')
    at=$((esp_at + image_at + 0x$section))
    cmp -s -n "$size" -i "$at:0" "$iso" "$2" || { echo "$2 is not at $at of the ISO" >&2; exit 1; }
    at=$((at / 2048))
    patch $(($(record_of "$1") + 2)) "$(bytes $at)$(reversed $at)$(bytes "$size")$(reversed "$size")"
    sum=$(od -A n -v -t u4 "$2" | awk '{ for (i = 1; i <= NF; i++) sum += $i } END { printf "%.0f", sum % 4294967296 }')
    patch $((loader * 2048 + $4)) "$(bytes $at)$(bytes "$size")$(bytes "$sum")"
}
place VMLINUZ. "$vmlinuz" .linux 4
place INITRAMF.IMG "$initramfs" .initrd 16
mv "$iso" "$out"
