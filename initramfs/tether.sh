#!/bin/sh
# Builds tether as PID 1 wants it: build/tether, static, not position independent, stripped.
#
# The smallest of what this machine can do is taken; TETHER_LIBC=rustup|debian|glibc chooses:
#   rustup   musl, with the standard library of rustup's target x86_64-unknown-linux-musl
#   debian   musl, with the standard library built here from its source for this program alone
#            (packages rustc-web, rust-web-src, musl-tools): about a quarter of the size of glibc's
#   glibc    the host's own C library, linked statically: larger by more than a megabyte
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
cargo_sh=iso-build/cargo.sh
target_dir=target/guest
out=build/tether

has_rustup_target() {
    command -v rustup >/dev/null 2>&1 &&
        rustup target list --installed 2>/dev/null | grep -qx x86_64-unknown-linux-musl
}
has_debian_packages() {
    "$cargo_sh" --new-enough /usr/bin/rustc && command -v musl-gcc >/dev/null 2>&1 &&
        [ -d /usr/lib/rustlib/src/rust/library ]
}

libc=${TETHER_LIBC:-}
if [ -z "$libc" ]; then
    if has_rustup_target; then libc=rustup; elif has_debian_packages; then libc=debian; else libc=glibc; fi
fi

# Paths of this machine must not reach the binary: two builds in two folders are the same bytes.
# They are remapped by a wrapper around rustc, not by RUSTFLAGS, because cargo hashes RUSTFLAGS into
# every symbol's name. musl's libunwind (below) is found in the same way and for the same reason.
export TETHER_UNWIND="$PWD/$target_dir/unwind"
export TETHER_SOURCE="$PWD"
export RUSTC_WRAPPER="$here/rustc.sh"
export CARGO_INCREMENTAL=0
# No frame is ever unwound: a panic ends in the hook (guest/last_words.rs) and a power-off, so the tables
# that describe frames are left out.
flags='-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no'
# One page-aligned part less between code and constants, and no part that is written once and then
# locked: a static program that nobody relocates has nothing to lock.
flags="$flags -C relro-level=off -C link-arg=-Wl,-z,noseparate-code -C link-arg=-Wl,--build-id=none"
# The bell of src/sys/port.rs: far from what programs, and kernels at their start, have in memory.
flags="$flags -C link-arg=-Wl,--section-start=.vmware_backdoor_bell=0x56580000"
# The link's cipher in one form instead of three: a port carries far less than the slowest of them.
flags="$flags --cfg chacha20_force_soft --cfg poly1305_force_soft --cfg curve25519_dalek_backend=\"serial\""

# Debian's rustc has no std for musl, so cargo builds one (build-std), and that std wants libunwind.
# Without unwind tables there is nothing to unwind by: no-unwind.c is all of it that is left.
make_libunwind() {
    mkdir -p "$TETHER_UNWIND"
    musl-gcc -Os -Wall -Wextra -Werror -c initramfs/no-unwind.c -o "$TETHER_UNWIND/no-unwind.o"
    rm -f "$TETHER_UNWIND/libunwind.a"
    ar rcD "$TETHER_UNWIND/libunwind.a" "$TETHER_UNWIND/no-unwind.o"
}

build() { # CARGO-FLAG…
    "$cargo_sh" build --locked --target-dir "$target_dir" --profile guest \
        --no-default-features --features guest --bin tether "$@"
}

case $libc in
    rustup)
        target=x86_64-unknown-linux-musl
        RUSTFLAGS=$flags build --target $target
        ;;
    debian)
        target=x86_64-unknown-linux-musl
        make_libunwind
        # The standard library's source fits its own compiler only, and build-std is not stable yet.
        # A panic is a fault (ud2), whose handler reports the place and switches off: messages would be 55 KB
        # of the binary, and say less.
        # link-self-contained=no: start files and libc.a come from musl-tools.
        PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
            CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc \
            RUSTFLAGS="$flags -C link-self-contained=no -Zfmt-debug=shallow -Zlocation-detail=none -Zunstable-options -C panic=immediate-abort" \
            build --target $target -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
        ;;
    glibc)
        target=x86_64-unknown-linux-gnu
        RUSTFLAGS=$flags build --target $target
        echo 'note: tether was built on glibc, which makes it more than a megabyte larger;'
        echo 'note: packages rustc-web, rust-web-src and musl-tools (or rustup target add x86_64-unknown-linux-musl) make it small'
        ;;
    *)
        echo "TETHER_LIBC=$libc: expected rustup, debian or glibc" >&2
        exit 1
        ;;
esac

"$here/check-tether.sh" "$target_dir/$target/guest/tether"
mkdir -p build
if ! cmp -s "$target_dir/$target/guest/tether" $out; then
    cp "$target_dir/$target/guest/tether" $out.new
    mv $out.new $out
fi
