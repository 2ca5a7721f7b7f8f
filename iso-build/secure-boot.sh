#!/bin/sh
# A builder's own key for UEFI's Secure Boot.
#
#   secure-boot.sh new FOLDER [NAME]   makes FOLDER/db.key, db.crt (PEM) and db.cer (DER: this one goes
#                                      into the machine's `db`, through the firmware's set-up)
#   secure-boot.sh verify ISO CERT     checks that the image UEFI starts on the ISO is signed by CERT
#
# The ISO is signed when it is made:
#   make iso SECURE_BOOT_KEY=FOLDER/db.key SECURE_BOOT_CERT=FOLDER/db.crt
# Keep db.key where nobody else reads it; whoever has it can sign what those machines boot.
set -eu

usage() {
    sed -n 's/^#   \(secure-boot.sh .*\)/usage: \1/p' "$0" >&2
    exit 2
}
for program in openssl sbverify mcopy; do
    command -v $program >/dev/null || {
        echo "$program is missing: apt-get install openssl sbsigntool mtools" >&2
        exit 1
    }
done

case ${1:-} in
    new)
        [ $# -ge 2 ] || usage
        mkdir -p "$2"
        [ ! -e "$2/db.key" ] || { echo "$2/db.key is there already, and is left as it is" >&2; exit 1; }
        (umask 077 && openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 \
            -subj "/CN=${3:-tether: who builds this ISO}/" -keyout "$2/db.key" -out "$2/db.crt" 2>/dev/null)
        openssl x509 -in "$2/db.crt" -outform DER -out "$2/db.cer"
        echo "$2/db.key $2/db.crt $2/db.cer"
        ;;
    verify)
        [ $# -eq 3 ] || usage
        scratch=$(mktemp -d)
        trap 'rm -rf "$scratch"' EXIT
        # The FAT file system is the second partition: its first sector is in the partition table.
        start=$(od -A n -t u4 -j 470 -N 4 "$2" | tr -d ' ')
        MTOOLSRC=/dev/null mcopy -i "$2@@$((start * 512))" ::/EFI/BOOT/BOOTX64.EFI "$scratch/image.efi"
        sbverify --cert "$3" "$scratch/image.efi"
        ;;
    *) usage ;;
esac
