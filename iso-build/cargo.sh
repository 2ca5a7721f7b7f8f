#!/bin/sh
# Runs cargo with a Rust that is new enough for this package (rust-version in Cargo.toml).
#
#   cargo.sh ARGUMENT…        as cargo
#   cargo.sh --which          prints the cargo and the rustc that would be used; fails if there are none
#   cargo.sh --new-enough P   succeeds when the program P (a rustc or a cargo) is new enough
#
# The one in PATH is taken where it is new enough (rustup's, as a rule), else the system's own in
# /usr/bin (Debian: packages cargo-web and rustc-web).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$here/../Cargo.toml")

new_enough() { # PROGRAM: is its version at least $needed?
    found=$("$1" --version 2>/dev/null | awk '{ print $2; exit }')
    [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ]
}

if [ "${1:-}" = --new-enough ]; then
    new_enough "$2"
    exit
fi

cargo='' rustc=''
if new_enough cargo && new_enough rustc; then
    cargo=$(command -v cargo) rustc=$(command -v rustc)
elif new_enough /usr/bin/cargo && new_enough /usr/bin/rustc; then
    cargo=/usr/bin/cargo rustc=/usr/bin/rustc
fi

if [ -z "$cargo" ]; then
    echo "no Rust $needed or newer found (neither in PATH nor in /usr/bin): install it with rustup, or on Debian: apt-get install rustc-web cargo-web" >&2
    exit 1
fi
if [ "${1:-}" = --which ]; then
    printf '%s %s\n' "$cargo" "$rustc"
    exit
fi
case $cargo in
    # The system's cargo would look for its helpers (rustc, rustfmt) in PATH, and find the old ones.
    /usr/bin/*) PATH=/usr/bin:$PATH RUSTC=$rustc exec "$cargo" "$@" ;;
    *) exec "$cargo" "$@" ;;
esac
