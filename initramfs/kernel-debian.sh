#!/bin/sh
# Debian's prebuilt kernel, unpacked for our use: nothing is installed on this machine.
#
#   kernel-debian.sh OUT      OUT/vmlinuz, OUT/lib/modules/VERSION (with depmod's tables),
#                             OUT/version (the kernel's release), OUT/config, OUT/copyright,
#                             OUT/package (the package's version)
#
# KERNEL_DEB=FILE takes a linux-image package that is already here; otherwise apt-get downloads the
# one that linux-image-amd64 stands for.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$1"
out=$(cd "$1" && pwd)

scratch=$(mktemp -d "$out/unpack.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

newest_package() {
    apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-.*\)/\1/p' | head -n 1
}

deb=${KERNEL_DEB:-}
if [ -z "$deb" ]; then
    if ! command -v apt-get >/dev/null; then
        echo 'no apt-get here: KERNEL_DEB=FILE names a linux-image-…-amd64 package of Debian' >&2
        exit 1
    fi
    package=$(newest_package)
    if [ -z "$package" ]; then
        "$here/../iso-build/packages.sh" --update
        package=$(newest_package)
    fi
    if [ -z "$package" ]; then
        echo 'apt knows no linux-image-amd64: run apt-get update, or name a package with KERNEL_DEB=FILE' >&2
        exit 1
    fi
    # apt's download user has no access to this folder: that warning is of no interest.
    if ! (cd "$scratch" && apt-get -qq -o APT::Sandbox::User=root download "$package"); then
        echo "$package could not be downloaded: run apt-get update, or name a package with KERNEL_DEB=FILE" >&2
        exit 1
    fi
    deb=$(echo "$scratch"/*.deb)
fi

dpkg-deb --fsys-tarfile "$deb" |
    tar -x -C "$scratch" --wildcards './boot/vmlinuz-*' './boot/config-*' './lib/modules/*' './usr/share/doc/*/copyright'
version=$(basename "$scratch"/lib/modules/*)

# Newer Debian kernels have compressed modules. finit_module takes them only from a kernel with that
# option, and within a compressed initramfs they would be compressed twice.
find "$scratch/lib/modules" -name '*.ko.xz' -exec xz -d {} +
find "$scratch/lib/modules" -name '*.ko.zst' -exec zstd -q -d --rm {} +
depmod -b "$scratch" "$version"

rm -rf "${out:?}/lib" "$out/version"
mv "$scratch/lib" "$out/lib"
mv "$scratch/boot/vmlinuz-$version" "$out/vmlinuz"
mv "$scratch/boot/config-$version" "$out/config"
mv "$scratch"/usr/share/doc/*/copyright "$out/copyright"
dpkg-deb -f "$deb" Version >"$out/package"
# Last: make takes this file as the sign that all of it is there.
echo "$version" >"$out/version"
