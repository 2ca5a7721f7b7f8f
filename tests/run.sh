#!/bin/sh
# `make test`: from the cheapest check to the dearest, so that a mistake is told early.
#
# The virtual machines boot the ISO with Debian's kernel. KERNEL=own takes the one of our own
# configuration, which is built first where it is not yet (11 minutes on two CPUs, once), and boots it
# on all the hardware there is (tests/container/boot.rs) and damaged (damage.rs), too.
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
export KERNEL="${KERNEL:-debian}"
make --no-print-directory build iso build/test.vmdk
# The link's simulation with every processor: about a minute and a half on two. A seed that fails is
# printed with the command that replays it.
$step 'the link over 100,000 carriers with faults' \
    env TETHER_SEEDS=100000 iso-build/cargo.sh test --release --locked --lib link::simulation
some=
[ "$KERNEL" = own ] || some='--skip boot:: --skip damage::'
# shellcheck disable=SC2086 # four words or none
machines 'real machines: containers, vmx run' --test container --test vmx_run -- --test-threads=2 $some
$step 'two builds are the same bytes' tests/reproducible.sh
[ "$KERNEL" = debian ] || $step 'Secure Boot' tests/secure-boot.sh build/cache/own
