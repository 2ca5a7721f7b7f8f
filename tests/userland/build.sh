#!/bin/sh
# Makes a container's disk of Debian itself with what people run: nginx, PostgreSQL, node. 2 minutes; from Debian's
# own packages (MIRROR=URL for another mirror), and without being root where user namespaces are allowed.
#
#   build.sh OUT.ext4
set -eu
out=$1
case $out in /*) ;; *) out=$PWD/$out ;; esac
packages=nginx-light,postgresql,nodejs
keep() { echo "--dpkgopt=path-exclude=/usr/share/$1/*"; }

rm -f "$out.new"
truncate -s 1400M "$out.new"
# The hook sees users and modes as they are in the tree, whoever runs this; what is mounted in it (/proc) is left
# out by looking at it from another mount.
# shellcheck disable=SC2016
hook='mkdir "$1.bare"; mount --bind "$1" "$1.bare"; mke2fs -q -t ext4 -L containerfs -d "$1.bare" "$OUT"
    umount "$1.bare"; rmdir "$1.bare"'
# shellcheck disable=SC2046
OUT="$out.new" PATH=$PATH:/usr/sbin:/sbin mmdebstrap --quiet --variant=minbase --format=null --include=$packages \
    $(keep doc) $(keep man) $(keep locale) \
    --customize-hook="$hook" \
    bookworm /dev/null ${MIRROR:+"$MIRROR"}
mv "$out.new" "$out"
