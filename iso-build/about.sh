#!/bin/sh
# Writes what goes with the artefacts: who made what is in them (SPDX), under which licences, and
# their checksums. The same input gives the same bytes.
#
#   about.sh KERNEL BUILD      BUILD/bootstrap.spdx, BUILD/licences/, BUILD/SHA256SUMS, for
#                              BUILD/bootstrap.iso, vmlinuz, initramfs.img and tether
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 build=$2
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
release=$(cat "$kernel/version")

debian_version() { # PACKAGE
    dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo NOASSERTION
}

# --- licences: the texts as their authors give them ---
licences=$build/licences
rm -rf "$licences.new"
mkdir -p "$licences.new"
cp "$here/../LICENSE" "$licences.new/tether" 2>/dev/null || cp /usr/share/common-licenses/Apache-2.0 "$licences.new/tether"
cp "$kernel/copyright" "$licences.new/linux"
for package in musl-dev rust-web-src; do
    [ ! -f "/usr/share/doc/$package/copyright" ] || cp "/usr/share/doc/$package/copyright" "$licences.new/$package"
done
for text in GPL-2 Apache-2.0 MPL-2.0; do # what the others refer to
    [ ! -f "/usr/share/common-licenses/$text" ] || cp "/usr/share/common-licenses/$text" "$licences.new/"
done

# The crates that are linked into tether: what only runs while compiling is not in it.
crates() { # NAME VERSION LICENCE, by tabs
    "$here/cargo.sh" tree --locked --no-default-features --features guest -e normal,no-proc-macro --prefix none \
        --target x86_64-unknown-linux-musl --format '{p}	{l}' |
        grep -v '^tether ' | sed 's/ (\*)$//; s/ v/	/; s| */ *| OR |' |
        LC_ALL=C sort -u
}
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    crates | while IFS='	' read -r name number _; do
        for text in "$folder$name-$number"/LICENSE* "$folder$name-$number"/COPYING* "$folder$name-$number"/UNLICENSE*; do
            [ ! -f "$text" ] || cp "$text" "$licences.new/crate-$name-$number-${text##*/}"
        done
    done
done
chmod -R u=rwX,go=rX "$licences.new"
rm -rf "$licences"
mv "$licences.new" "$licences"

# --- the bill of materials ---
checksum() {
    sha256sum <"$1" | cut -d ' ' -f 1
}
package() { # NAME VERSION LICENCE SOURCE-OR-NOASSERTION [PURL]
    id=SPDXRef-$(printf '%s-%s' "$1" "$2" | tr -c 'A-Za-z0-9.\n' -)
    printf '\nPackageName: %s\nSPDXID: %s\nPackageVersion: %s\nPackageDownloadLocation: %s\nFilesAnalyzed: false\n' "$1" "$id" "$2" "$4"
    printf 'PackageLicenseConcluded: NOASSERTION\nPackageLicenseDeclared: %s\nPackageCopyrightText: NOASSERTION\n' "$3"
    [ -z "${5:-}" ] || printf 'ExternalRef: PACKAGE-MANAGER purl %s\n' "$(echo "$5" | sed 's|\([0-9]\):|\1%3A|; s|+|%2B|g')"
    printf 'Relationship: SPDXRef-bootstrap.iso CONTAINS %s\n' "$id"
}
{
    cat <<END
SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: bootstrap.iso
DocumentNamespace: https://spdx.org/spdxdocs/bootstrap.iso-$(checksum "$build/bootstrap.iso")
Creator: Tool: about.sh-$version
Created: $(date -u -d "@$("$here/epoch.sh")" +%Y-%m-%dT%H:%M:%SZ)

PackageName: bootstrap.iso
SPDXID: SPDXRef-bootstrap.iso
PackageVersion: $version
PackageFileName: bootstrap.iso
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageChecksum: SHA256: $(checksum "$build/bootstrap.iso")
PackageLicenseConcluded: NOASSERTION
PackageLicenseDeclared: NOASSERTION
PackageCopyrightText: NOASSERTION
Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-bootstrap.iso
END
    package tether "$version" Apache-2.0 NOASSERTION
    package linux "$release" 'GPL-2.0-only WITH Linux-syscall-note' NOASSERTION \
        "pkg:deb/debian/linux@$(cat "$kernel/package" 2>/dev/null || echo "$release")"
    # Which C library tether has is told by its build; musl where musl-gcc or rustup's target was there.
    package musl "$(debian_version musl-dev)" MIT NOASSERTION
    package rust-std "$("$here/cargo.sh" --version | cut -d ' ' -f 2)" 'MIT OR Apache-2.0' NOASSERTION
    crates | while IFS='	' read -r name number licence; do
        package "$name" "$number" "$licence" "https://crates.io/api/v1/crates/$name/$number/download" "pkg:cargo/$name@$number"
    done
} >"$build/bootstrap.spdx.new"
mv "$build/bootstrap.spdx.new" "$build/bootstrap.spdx"

(cd "$build" && sha256sum bootstrap.iso vmlinuz initramfs.img tether bootstrap.spdx >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
