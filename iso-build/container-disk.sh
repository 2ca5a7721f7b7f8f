#!/bin/sh
# Makes the example container's disk, without being root: a user land of busybox and programs of our
# own in an ext4 labelled containerfs, as a raw image and as a VMDK.
#
#   container-disk.sh OUT.ext4 OUT.vmdk PROGRAM…      each PROGRAM, a static one, becomes /NAME
set -eu
PATH=$PATH:/usr/sbin:/sbin
ext4=$1 vmdk=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
busybox=${BUSYBOX:-/bin/busybox}
size=64M

for program in "$busybox" "$@"; do
    if readelf -l "$program" | grep -q INTERP; then
        echo "$program is not static: the container has no libraries for it (Debian's busybox-static is)" >&2
        exit 1
    fi
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
root=$scratch/root
for folder in bin dev etc home proc root run sys tmp usr/bin usr/sbin var/log var/tmp; do
    mkdir -p "$root/$folder"
done
ln -s bin "$root/sbin"
cp "$busybox" "$root/bin/busybox"
[ $# -eq 0 ] || cp "$@" "$root/"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
user:x:1000:1000:an ordinary user:/home/user:/bin/sh
END
cat >"$root/etc/group" <<'END'
root:x:0:
daemon:x:1:
tty:x:5:
wheel:x:10:user
nogroup:x:65534:
user:x:1000:
END
cat >"$root/etc/os-release" <<'END'
NAME="tether example container"
ID=tether-example
PRETTY_NAME="tether example container (busybox)"
END
mkdir "$root/home/user"
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -perm -u+x -exec chmod 755 {} +
find "$root" -type f ! -perm -u+x -exec chmod 644 {} +
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
find "$root" -exec touch -h -d "@$("$here/epoch.sh")" {} +

rm -f "$ext4.new"
truncate -s "$size" "$ext4.new"
mke2fs -q -t ext4 -L containerfs -E root_owner=0:0 -d "$root" "$ext4.new"

# mke2fs takes each file's owner from the file, which is whoever builds: they are root's in the
# container, but for the ordinary user's home.
{
    find "$root" -mindepth 1 -printf 'set_inode_field "/%P" uid 0\nset_inode_field "/%P" gid 0\n'
    printf 'set_inode_field /home/user uid 1000\nset_inode_field /home/user gid 1000\n'
} >"$scratch/owners"
debugfs -w -f "$scratch/owners" "$ext4.new" >"$scratch/debugfs.log" 2>&1 || {
    cat "$scratch/debugfs.log" >&2
    exit 1
}
e2fsck -f -n "$ext4.new" >"$scratch/e2fsck.log" 2>&1 || {
    echo "the file system that was made is not clean:" >&2
    cat "$scratch/e2fsck.log" >&2
    exit 1
}

# monolithicSparse and not streamOptimized: QEMU can write to the former only.
qemu-img convert -q -f raw -O vmdk -o subformat=monolithicSparse "$ext4.new" "$vmdk.new"
mv "$ext4.new" "$ext4"
mv "$vmdk.new" "$vmdk"
