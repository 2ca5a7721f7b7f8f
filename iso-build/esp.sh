#!/bin/sh
# Makes the FAT file system that UEFI firmware looks into: the unified kernel image as
# /EFI/BOOT/BOOTX64.EFI, in one piece that starts at a multiple of 2048 bytes. The same input gives
# the same bytes.
#
#   esp.sh IMAGE.efi OUT      prints where in OUT the image starts
set -eu
here=$(cd "$(dirname "$0")" && pwd)
image=$1 out=$2
# mtools: no configuration of this machine's user, and times as they are.
SOURCE_DATE_EPOCH=$("$here/epoch.sh")
export SOURCE_DATE_EPOCH TZ=UTC MTOOLSRC=/dev/null

cluster=8 # sectors, of 512 bytes: FAT12 up to 16 MB
# The image, and a cluster for each of the two folders.
clusters=$((($(stat -c %s "$image") + cluster * 512 - 1) / (cluster * 512) + 2))
table=$((((clusters + 2) * 3 / 2 + 512) / 512))
root=1
[ "$clusters" -lt 4085 ] || { echo "$image is too large for this file system" >&2; exit 1; }
# One table, one sector of root directory; as many reserved sectors as put the first cluster at 2048.
reserved=$((1 + (4 - (1 + table + root) % 4) % 4))
sectors=$((reserved + table + root + clusters * cluster))

rm -f "$out"
truncate -s $((sectors * 512)) "$out"
mformat -i "$out" -T $sectors -h 1 -s 1 -c $cluster -d 1 -R $reserved -L $table -r $root -N 0 -v TETHER ::
# mformat writes a partition table into the boot sector. Where its one partition fits, OVMF takes the file
# system for a disk and looks for another inside.
dd if=/dev/zero of="$out" bs=1 seek=446 count=64 conv=notrunc status=none
mmd -i "$out" ::/EFI ::/EFI/BOOT
touch -d "@$SOURCE_DATE_EPOCH" "$image"
mcopy -m -i "$out" "$image" ::/EFI/BOOT/BOOTX64.EFI

# The folders took the first two clusters.
start=$(((reserved + table + root + 2 * cluster) * 512))
tail -c +$((start + 1)) "$out" | head -c "$(stat -c %s "$image")" | cmp -s - "$image" || {
    echo "mtools has not put the image where it was expected, at $start" >&2
    exit 1
}
echo $start
