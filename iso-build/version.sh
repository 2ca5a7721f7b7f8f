#!/bin/sh
# Prints what goes into an ISO, as its /VERSION: the program, the commit, the kernel, the checksums.
#
#   version.sh KERNEL-RELEASE TETHER VMLINUZ INITRAMFS
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
commit=$(git -C "$here" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
echo "tether $version"
echo "commit $commit"
echo "date $(date -u -d "@$("$here/epoch.sh")" +%Y-%m-%dT%H:%M:%SZ)"
echo "kernel $1"
echo "cmdline $("$here/cmdline.sh")"
for file in "$2" "$3" "$4"; do
    echo "sha256 $(sha256sum <"$file" | cut -d ' ' -f 1) ${file##*/}"
done
