#!/bin/sh
# `make test`: from the cheapest check to the dearest, so that a mistake is told early.
#
# The virtual machines boot the product: the ISO with our own kernel, which is built first where it is
# not yet (11 minutes on two CPUs, once; a machine starts three times quicker with it). Debian's
# kernel is booted, too, by the tests whose name says so.
set -eu
cd "$(dirname "$0")/.."
step=iso-build/step.sh
# A test that needs a tool which is not there fails, instead of being left out.
export TETHER_REQUIRE_TOOLS=1

tests/check.sh
$step 'unit and integration tests' iso-build/cargo.sh test --locked
machines() { # LABEL WHAT…
    label=$1
    shift
    $step "$label" iso-build/cargo.sh test --locked --features vm-tests "$@"
}
make --no-print-directory build iso build/test.vmdk KERNEL=debian
machines "real machines with Debian's kernel" --test container -- --test-threads=2 blog_s_hello efi_little output_and_status
make --no-print-directory iso KERNEL="${KERNEL:-own}"
machines 'real machines: containers, vmx run' --test container --test vmx_run -- --test-threads=2
$step 'two builds are the same bytes' tests/reproducible.sh
$step 'Secure Boot' tests/secure-boot.sh "build/cache/${KERNEL:-own}"
