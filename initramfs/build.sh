#!/bin/sh
# Packs the initramfs: tether as /init, the folders it mounts on, and the kernel's modules if it has
# any. The same input gives the same bytes, whenever and wherever.
#
#   build.sh TETHER KERNEL OUT    KERNEL as kernel-debian.sh or kernel-own.sh made it
#
# There is no /dev/console in it: the kernel's own built-in initramfs has that node. COMPRESS=… is
# the compressor's command line; what it takes has to be known to the kernel.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tether=$1 kernel=$2 out=$3
epoch=$("$here/../iso-build/epoch.sh")
# Measured: of gz, lz4, xz and zstd the quickest to the first instruction of tether
# that is not also a third larger. -T1: with more threads the bytes would depend on the machine.
compress=${COMPRESS:-zstd -q -19 -T1}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
tree=$scratch/tree
mkdir -p "$tree/dev" "$tree/proc" "$tree/sys" "$tree/run" "$tree/newroot"
cp "$tether" "$tree/init"
chmod 755 "$tree/init"
if [ -d "$kernel/lib/modules" ]; then
    "$here/modules.sh" "$kernel" "$tree"
fi
find "$tree" -type d -exec chmod 755 {} +
find "$tree/lib" -type f -exec chmod 644 {} + 2>/dev/null || true
find "$tree" -exec touch -h -d "@$epoch" {} +

(cd "$tree" && find . -print0 | LC_ALL=C sort -z |
    cpio --quiet --null -o -H newc --reproducible -R 0:0) >"$scratch/cpio"
# shellcheck disable=SC2086 # a command line
$compress <"$scratch/cpio" >"$out.new"
mv "$out.new" "$out"
