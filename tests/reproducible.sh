#!/bin/sh
# Builds bootstrap.iso and what goes with it again from a copy of the sources in another folder, and
# demands the same bytes: with Debian's kernel, and with our own where it has been built. The kernels
# themselves are as already unpacked or built; KERNEL_TWICE=1 builds our own again, too.
set -eu
cd "$(dirname "$0")/.."
[ -f build/cache/debian/version ] || { echo "make iso KERNEL=debian first" >&2; exit 1; }
kernels=debian
[ ! -f build/cache/own/version ] || kernels="own debian"
epoch=$(iso-build/epoch.sh)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# The sources as they stand here, committed or not, at a path of another length. Links to what is
# large and only read; a target folder of its own, so that nothing compiled here is used again.
elsewhere=$scratch/a-longer-name-than-the-first/tether
mkdir -p "$elsewhere/build"
git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - 2>/dev/null | tar -x -C "$elsewhere"
cp -r .git "$elsewhere/" 2>/dev/null || true
mkdir "$elsewhere/build/cache"
for kernel in $kernels; do
    cp -rl "$PWD/build/cache/$kernel" "$elsewhere/build/cache/$kernel"
done
# As new as make wants it: its source is older than it.
find "$elsewhere/build/cache" -name version -exec touch {} +

build() { # FOLDER KERNEL LOG
    SKIP_APT=1 SOURCE_DATE_EPOCH=$epoch make --no-print-directory -C "$1" iso "KERNEL=$2" >"$3" 2>&1 || {
        cat "$3" >&2
        exit 1
    }
}
status=0
for kernel in $kernels; do
    build . "$kernel" "$scratch/first.log"
    sleep 1 # times that leak into the bytes differ
    build "$elsewhere" "$kernel" "$scratch/second.log"
    for file in tether initramfs.img bootstrap.iso bootstrap.spdx SHA256SUMS; do
        if cmp "build/$file" "$elsewhere/build/$file"; then
            echo "$kernel: $(sha256sum "build/$file")"
        else
            status=1
        fi
    done
done

if [ -n "${KERNEL_TWICE:-}" ]; then
    XDG_CACHE_HOME=$scratch/cache initramfs/kernel-own.sh "$scratch/kernel"
    cmp build/cache/own/vmlinuz "$scratch/kernel/vmlinuz" || status=1
fi
exit $status
