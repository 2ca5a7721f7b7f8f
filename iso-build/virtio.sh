#!/bin/sh
# Boots a containerVM on a plain QEMU machine: no VMware devices, no ISA serial ports, no backdoor.
# The configuration is a JSON document in fw_cfg, the link a virtio-serial port found by its name.
#
#   virtio.sh PORT CONFIG.json DISK CONSOLE.log [QEMU-ARGUMENT…]
#
# PORT is where the appliance listens on this machine; the disk's format is told by its name (.ext4
# is raw). Ends when the machine powers off. ACCEL=kvm for those
# whose KVM works; emulation works everywhere, and takes seconds, too.
# -erms, -fsrm: a kernel that sees them copies with `rep movsb`, which emulation does byte by byte.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../build
port=$1 config=$2 disk=$3 console=$4
shift 4
case $disk in *.vmdk) format=vmdk ;; *) format=raw ;; esac

exec qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
    -machine q35 -accel "${ACCEL:-tcg}" -cpu max,la57=off,-erms,-fsrm -m 512 -smp 1 \
    -kernel "${KERNEL_IMAGE:-$build/vmlinuz}" -initrd "${INITRAMFS:-$build/initramfs.img}" \
    -append "$("$here/cmdline.sh") console=hvc0" \
    -drive "if=none,id=root,file=$disk,format=$format" -device virtio-blk-pci,drive=root \
    -fw_cfg "name=${FW_CFG:-opt/tether/config},file=$config" \
    -device virtio-serial-pci \
    -chardev "file,id=console,path=$console" -device virtconsole,chardev=console \
    -chardev "socket,id=link,host=127.0.0.1,port=$port,nodelay=on,reconnect=1" \
    -device virtserialport,chardev=link,name=tether.link \
    -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= \
    "$@" </dev/null
