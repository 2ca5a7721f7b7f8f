#!/bin/bash
# The boot budget: what it takes from process 1's first instruction to the container's, counted by QEMU
# (count.c) in instructions of the guest and in system calls. One processor whose clock is the number of
# its instructions, so that the figures are the same on any machine, run after run; the floor (an init
# that only mounts and runs, tests/guest/floor.c) is counted beside it.
#
#   tests/budget/run.sh            fails when a figure is 1 % above that in budget.txt
#   tests/budget/run.sh --accept   writes the figures into budget.txt: commit that with the reason
#
# Takes the kernel of build/cache/own, KERNEL=debian Debian's. Instructions inside the kernel depend on
# the kernel: they are held to the file only where it was written with the same one.
set -eu
cd "$(dirname "$0")/../.."
kernel=${KERNEL:-own}
cache=build/cache/$kernel
budget=tests/budget/budget.txt
work=build/budget
[ -f "$cache/version" ] || { echo "make iso KERNEL=$kernel first" >&2; exit 1; }
rm -rf "$work"
mkdir -p "$work"
trap 'exit 130' INT
trap 'exit 143' TERM

# The interface has changed with QEMU's versions; the plugin says which one it means.
qemu=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p')
case $qemu in
    [78].*) interface=1 ;;
    9.0) interface=2 ;;
    *) interface=3 ;;
esac
gcc -O2 -Wall -Wextra -shared -fPIC -DVERSION=$interface -o "$work/count.so" tests/budget/count.c

# Each program at addresses of its own, so that an address tells which one it is.
tests/guest/build.sh tests/guest/hello.c "$work/hello" -Wl,-Ttext-segment=0x10000000
tests/guest/build.sh tests/guest/floor.c "$work/floor" -DALONE '-DCOMMAND="/hello"' '-DPORT="/dev/vport1p1"'
entry() { readelf -h "$1" | awk '/Entry point/ { print $NF }'; }
iso-build/container-disk.sh "$work/disk.ext4" "$work/disk.vmdk" "$work/hello" >/dev/null
initramfs/build.sh build/tether "$cache" "$work/tether.img"
initramfs/build.sh "$work/floor" "$cache" "$work/floor.img"
build/vmx show --json tests/fixtures/blog.vmx >"$work/guestinfo.json"
build/tether check "$work/guestinfo.json" |
    sed '1s|{|{ "linkkey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",|' >"$work/config.json"

count() { # PROGRAM NAME: build/budget/NAME.count
    local out=$work/$2.count qemu
    # The link's port leads nowhere: no listener's timing gets in.
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -machine q35 -accel tcg -icount shift=4 -cpu max,la57=off,-erms,-fsrm -m 512 -smp 1 \
        -kernel "$cache/vmlinuz" -initrd "$work/$2.img" -append "$(iso-build/cmdline.sh) console=hvc0" \
        -drive "if=none,id=root,file=$work/disk.ext4,format=raw,snapshot=on" \
        -device virtio-blk-pci,drive=root -fw_cfg "name=opt/tether/config,file=$work/config.json" \
        -device virtio-serial-pci -chardev "file,id=console,path=$work/$2.console" \
        -device virtconsole,chardev=console -chardev null,id=link \
        -device virtserialport,chardev=link,name=tether.link \
        -plugin "$work/count.so,init=$(entry "$1"),container=$(entry "$work/hello"),out=$out" \
        >"$work/$2.log" 2>&1 </dev/null &
    qemu=$!
    for _ in $(seq 1200); do
        [ ! -s "$out" ] || break
        kill -0 $qemu 2>/dev/null || break
        sleep 0.1
    done
    kill $qemu 2>/dev/null || true
    wait $qemu 2>/dev/null || true
    [ -s "$out" ] || { tail -n 20 "$work/$2.log" "$work/$2.console" >&2; exit 1; }
}
count build/tether tether
mv "$work/tether.count" "$work/once.count"
count build/tether tether
count "$work/floor" floor

# Of two runs the lesser: what a late interrupt adds is nobody's.
sort "$work/once.count" "$work/tether.count" |
    awk '!($1 in least) || $2 < least[$1] { least[$1] = $2 } END { for (name in least) print name, least[name] }' |
    sort >"$work/figures"
with="$(cat "$cache/version") $(sha256sum "$cache/vmlinuz" | cut -c 1-16)"

figure() { awk -v name="$1" '$1 == name { print $2 }' "$2"; }
printf '%-14s %12s %12s %12s\n' "($kernel)" tether floor budget
status=0
same=$(grep -cxF "$kernel.with $with" "$budget" 2>/dev/null || true)
for name in firmware unpack kernel instructions user syscalls; do
    got=$(figure $name "$work/figures")
    allowed=$(figure "$kernel.$name" "$budget")
    note=
    case $name in
        firmware | unpack | kernel | instructions) [ "$same" = 1 ] || note='not held: another kernel' ;;
    esac
    [ -n "$allowed" ] || note='not known yet'
    if [ -z "$note" ] && awk -v got="$got" -v allowed="$allowed" 'BEGIN { exit !(got > allowed * 1.01) }'; then
        note='MORE than 1 % above'
        [ "${1:-}" = --accept ] || status=1
    fi
    [ "$note" != 'not known yet' ] || [ "${1:-}" = --accept ] || status=1
    printf '%-14s %12s %12s %12s  %s\n' $name "$got" "$(figure $name "$work/floor.count")" "${allowed:--}" "$note"
done
if [ "${1:-}" = --accept ]; then
    grep -v "^$kernel\." "$budget" >"$work/others" 2>/dev/null || true
    { cat "$work/others"; echo "$kernel.with $with"; sed "s/^/$kernel./" "$work/figures"; } >"$budget"
elif [ $status -ne 0 ]; then
    echo "The boot takes more than $budget allows. Find what it is; if it is worth it, run" >&2
    echo "tests/budget/run.sh --accept and commit the file with the reason." >&2
fi
exit $status
