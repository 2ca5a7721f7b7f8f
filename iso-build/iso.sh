#!/bin/sh
# Writes bootstrap.iso: isolinux, the kernel, the initramfs and /VERSION. The same input gives the
# same bytes, whenever and wherever.
#
#   iso.sh KERNEL-RELEASE TETHER VMLINUZ INITRAMFS OUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
release=$1 tether=$2 vmlinuz=$3 initramfs=$4 out=$5

isolinux=${ISOLINUX:-/usr/lib/ISOLINUX/isolinux.bin}
ldlinux=${LDLINUX:-/usr/lib/syslinux/modules/bios/ldlinux.c32}
missing=
[ -e "$isolinux" ] || missing="$missing isolinux"
[ -e "$ldlinux" ] || missing="$missing syslinux-common"
command -v xorriso >/dev/null || missing="$missing xorriso"
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
cp "$vmlinuz" "$tree/vmlinuz"
cp "$initramfs" "$tree/initramfs.img"
"$here/version.sh" "$release" "$tether" "$vmlinuz" "$initramfs" >"$tree/VERSION"
find "$tree" -type d -exec chmod 755 {} +
find "$tree" -type f -exec chmod 644 {} +
find "$tree" -exec touch -h -d "@$epoch" {} +

# xorriso takes the volume's own times from SOURCE_DATE_EPOCH, but the files' from the files.
SOURCE_DATE_EPOCH=$epoch xorriso -as mkisofs -quiet -V TETHER -r -o "$out.new" \
    -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    "$tree"
mv "$out.new" "$out"
