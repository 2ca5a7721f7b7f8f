#!/bin/sh
# The quick checks: formatting, lints of the Rust code, lints of the scripts.
set -eu
cd "$(dirname "$0")/.."
step=iso-build/step.sh
$step 'checking the formatting' iso-build/cargo.sh fmt --check
$step 'clippy' iso-build/cargo.sh clippy --locked --all-targets --features vm-tests -- -D warnings
# PID 1's half is built without the appliance's: it has to be clean by itself, too.
$step 'clippy, tether alone' iso-build/cargo.sh clippy --locked --no-default-features --features guest --bin tether -- -D warnings
if command -v shellcheck >/dev/null; then
    # shellcheck disable=SC2046 # no spaces in our names
    $step 'shellcheck' shellcheck $(find initramfs iso-build tests .ci -name '*.sh' -o -path '.ci/run')
elif [ -n "${TETHER_REQUIRE_TOOLS:-}" ]; then
    echo 'shellcheck is not installed' >&2
    exit 1
fi
