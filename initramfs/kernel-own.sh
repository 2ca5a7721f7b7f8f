#!/bin/sh
# The kernel of our own configuration, from Debian's source package; nothing is installed on this
# machine. Built once: it is kept outside the source tree, under a name made of what went into it.
#
#   kernel-own.sh OUT         OUT/vmlinuz, OUT/version (the kernel's release), OUT/config,
#                             OUT/copyright, OUT/package (the source's version); as kernel-debian.sh, but there are no modules
#   kernel-own.sh --built     succeeds when it is there already, so that OUT takes no time
#
# KERNEL_SOURCE=FILE takes a linux-source package that is already here; otherwise apt-get downloads
# the newest of Debian's stable kernel. JOBS=N compiles with N processes (default: every CPU's).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
built=
if [ "$1" = --built ]; then
    built=only
else
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tether
package=${KERNEL_SOURCE_PACKAGE:-linux-source-6.1}

deb=${KERNEL_SOURCE:-}
if [ -n "$deb" ]; then
    source_version=$(dpkg-deb -f "$deb" Version)
else
    source_version=$(apt-cache policy "$package" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    case $source_version in
        '' | '(none)')
            [ -z "$built" ] || exit 1
            "$here/../iso-build/packages.sh" --update
            source_version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
            ;;
    esac
    case $source_version in
        '' | '(none)')
            echo "apt knows no $package: name a linux-source package with KERNEL_SOURCE=FILE" >&2
            exit 1
            ;;
    esac
fi

# What decides the bytes: the source, the compiler, the options, the patches.
key=$({
    echo "$source_version"
    gcc -dumpfullversion
    grep -v '^#' "$here/kernel.config"
    cat "$here"/kernel-patches/*.patch
} | sha256sum | cut -c 1-16)
kept=$cache/kernel-$(echo "$source_version" | tr -c 'A-Za-z0-9.\n' -)-$key

if [ -n "$built" ]; then
    [ -f "$kept/version" ]
    exit
fi

if [ ! -f "$kept/version" ]; then
    mkdir -p "$cache"
    scratch=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
    if [ -z "$deb" ]; then
        (cd "$scratch" && apt-get -qq -o APT::Sandbox::User=root download "$package") || {
            echo "$package could not be downloaded: run apt-get update, or name a package with KERNEL_SOURCE=FILE" >&2
            exit 1
        }
        deb=$(echo "$scratch"/*.deb)
    fi
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$scratch" --wildcards './usr/src/*' './usr/share/doc/*/copyright'
    mkdir "$scratch/linux"
    tar -x -f "$scratch"/usr/src/linux-source-*.tar.xz -C "$scratch/linux" --strip-components=1
    cd "$scratch/linux"
    epoch=$(stat -c %Y Makefile) # before the patches
    for file in "$here"/kernel-patches/*.patch; do
        patch -s -p 1 <"$file" || {
            echo "${file##*/} does not fit $source_version" >&2
            exit 1
        }
    done

    make -s KCONFIG_ALLCONFIG="$here/kernel.config" allnoconfig
    lost=$(sed 's/ *#.*//' "$here/kernel.config" | grep '^CONFIG_' | while read -r option; do
        grep -qxF "$option" .config || echo "  $option"
    done)
    if [ -n "$lost" ]; then
        printf 'these options of kernel.config are not in the configuration (misspelt, or what they depend on is off):\n%s\n' "$lost" >&2
        exit 1
    fi

    # Nothing of this machine in the bytes.
    export KBUILD_BUILD_TIMESTAMP="@$epoch" KBUILD_BUILD_USER=tether KBUILD_BUILD_HOST=tether KBUILD_BUILD_VERSION=1
    # A line of make's is a file made; how many there are in all is known from the last time.
    (nice -n 19 make -j "${JOBS:-$(nproc)}" bzImage && touch "$scratch/complete") 2>&1 |
        awk -v all=2030 '/^  [A-Z]/ { if (++lines % 20 == 0) { print "progress: " (lines < all ? int(lines * 100 / all) : 99) " %"; fflush() }; next } { print; fflush() }'
    [ -f "$scratch/complete" ]

    mkdir -p "$scratch/kept"
    cp arch/x86/boot/bzImage "$scratch/kept/vmlinuz"
    cp .config "$scratch/kept/config"
    cp "$scratch"/usr/share/doc/*/copyright "$scratch/kept/copyright"
    echo "$source_version" >"$scratch/kept/package"
    make -s kernelrelease >"$scratch/kept/version"
    cd "$cache"
    rm -rf "$kept"
    mv "$scratch/kept" "$kept"
fi

for file in vmlinuz config copyright package version; do # version last: make takes it as the sign that all is there
    cp "$kept/$file" "$out/$file"
done
