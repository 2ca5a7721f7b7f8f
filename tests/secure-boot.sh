#!/bin/bash
# Secure Boot in a real machine: OVMF with a builder's key enrolled (the one that Debian's package ovmf
# has for tests) starts an ISO that is signed with it, and refuses the unsigned one.
#
#   secure-boot.sh KERNEL        KERNEL as kernel-debian.sh or kernel-own.sh made it
set -eu
cd "$(dirname "$0")/.."
kernel=$1
firmware=/usr/share/OVMF
scratch=$(mktemp -d)
qemu=
# shellcheck disable=SC2317 # the trap calls it
end() {
    [ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true
    rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT

openssl rsa -in /usr/share/ovmf/PkKek-1-snakeoil.key -passin pass:snakeoil -out "$scratch/db.key" 2>/dev/null
key=$scratch/db.key certificate=/usr/share/ovmf/PkKek-1-snakeoil.pem
initramfs/build.sh build/tether "$kernel" "$scratch/initramfs.img"
make_iso() { # NAME
    iso-build/iso.sh "$kernel" build/tether "$kernel/vmlinuz" "$scratch/initramfs.img" "$scratch/$1.iso" 2>/dev/null
}
SECURE_BOOT_KEY=$key SECURE_BOOT_CERT=$certificate make_iso signed
make_iso unsigned
iso-build/secure-boot.sh verify "$scratch/signed.iso" "$certificate"
if iso-build/secure-boot.sh verify "$scratch/unsigned.iso" "$certificate" 2>/dev/null; then
    echo 'the unsigned image verifies' >&2
    exit 1
fi

boots() { # NAME PATTERN: until one of the serial ports says it
    qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -m 512 \
        -machine q35,smm=on -accel "${ACCEL:-tcg}" -cpu max,la57=off \
        -global driver=cfi.pflash01,property=secure,value=on \
        -drive "if=pflash,format=raw,readonly=on,file=$firmware/OVMF_CODE_4M.secboot.fd" \
        -drive "if=pflash,format=raw,snapshot=on,file=$firmware/OVMF_VARS_4M.snakeoil.fd" \
        -drive "file=$scratch/$1.iso,media=cdrom,format=raw,readonly=on" \
        -serial "file:$scratch/$1.0" -serial "file:$scratch/$1.1" </dev/null &
    qemu=$!
    for _ in $(seq 600); do
        ! grep -aqE "$2" "$scratch/$1.0" "$scratch/$1.1" 2>/dev/null || break
        sleep 0.2
    done
    kill "$qemu" 2>/dev/null || true
    wait "$qemu" 2>/dev/null || true
    qemu=
    grep -aE "$2" "$scratch/$1.0" "$scratch/$1.1" || { tail "$scratch/$1".[01] >&2; echo "the $1 ISO never said $2" >&2; exit 1; }
}
boots signed 'tether: configuration'
boots unsigned 'Access Denied|Security Violation'
! grep -aq tether: "$scratch/unsigned.1" || { echo 'the unsigned ISO was started' >&2; exit 1; }
