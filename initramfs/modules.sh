#!/bin/sh
# Copies the modules of modules.txt, and all that they depend on, out of an unpacked kernel package,
# and writes the order in which they have to be loaded.
#
#   modules.sh KERNEL TREE    KERNEL as kernel-debian.sh made it; into TREE/lib/modules/:
#                             NAME.ko, and tether.order: one absolute path a line, each module
#                             after those it needs, so that plain finit_module calls suffice
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
kernel=$(cd "$1" && pwd)
version=$(cat "$kernel/version")
mkdir -p "$2/lib/modules"
modules=$(cd "$2/lib/modules" && pwd)

sed 's/#.*//' "$here/modules.txt" | while read -r name; do
    [ -n "$name" ] || continue
    # modprobe knows the soft dependencies too (ext4 wants a crc32c before it).
    modprobe -d "$kernel" -S "$version" -C /dev/null --show-depends "$name" ||
        echo "note: $version has no module $name" >&2
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$modules/"
    echo "/lib/modules/${file##*/}"
done >"$modules/tether.order"

[ -s "$modules/tether.order" ] || { echo "no module of modules.txt is in $kernel" >&2; exit 1; }
