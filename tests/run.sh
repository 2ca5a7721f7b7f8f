#!/bin/sh
# `make test`: from the cheapest check to the dearest, so that a mistake is told early.
set -eu
cd "$(dirname "$0")/.."
step=iso-build/step.sh
# A test that needs a tool which is not there fails, instead of being left out.
export TETHER_REQUIRE_TOOLS=1

tests/check.sh
$step 'unit and integration tests' iso-build/cargo.sh test --locked
make --no-print-directory build iso build/test.vmdk
$step 'real machines: containers, vmx run' iso-build/cargo.sh test --locked --features vm-tests --test container --test vmx_run -- --test-threads=2
$step 'two builds are the same bytes' tests/reproducible.sh
