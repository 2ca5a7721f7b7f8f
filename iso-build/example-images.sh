#!/bin/sh
# Two images of our own in OCI layouts: hello-world, which is one program, and busybox, a user land.
#
#   example-images.sh OUT HELLO       OUT/hello-world, OUT/busybox; HELLO: the static program
set -eu
out=$1 hello=$2
here=$(cd "$(dirname "$0")" && pwd)
busybox=${BUSYBOX:-/bin/busybox}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
rm -rf "$out"

mkdir -p "$scratch/hello"
cp "$hello" "$scratch/hello/hello"
"$here/image.sh" "$out/hello-world" hello-world "$scratch/hello" /hello

root=$scratch/busybox
for folder in bin dev etc proc root sys tmp usr/bin var/tmp; do
    mkdir -p "$root/$folder"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
"$here/image.sh" "$out/busybox" busybox "$root" sh
