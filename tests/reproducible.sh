#!/bin/sh
# Builds bootstrap.iso again from a copy of the sources in another folder, with Debian's kernel as
# already unpacked, and demands the same bytes.
set -eu
cd "$(dirname "$0")/.."
[ -f build/cache/debian/version ] || { echo "make iso KERNEL=debian first" >&2; exit 1; }
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
cp -rl "$PWD/build/cache/debian" "$elsewhere/build/cache/debian"

SOURCE_DATE_EPOCH=$epoch make --no-print-directory iso KERNEL=debian >"$scratch/first.log" 2>&1 || {
    cat "$scratch/first.log" >&2
    exit 1
}
sleep 1 # times that leak into the bytes differ
SKIP_APT=1 SOURCE_DATE_EPOCH=$epoch make --no-print-directory -C "$elsewhere" iso KERNEL=debian >"$scratch/second.log" 2>&1 || {
    cat "$scratch/second.log" >&2
    exit 1
}
status=0
for file in tether initramfs.img bootstrap.iso; do
    if cmp "build/$file" "$elsewhere/build/$file"; then
        sha256sum "build/$file"
    else
        status=1
    fi
done
exit $status
