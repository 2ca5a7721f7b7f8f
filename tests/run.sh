#!/bin/sh
# `make test`: from the cheapest check to the dearest, so that a mistake is told early.
#
# A few machines boot Debian's kernel, which `make run` takes at first, and all of them the one of our
# own configuration, which is built where it is not yet (11 minutes on two CPUs, once). KERNEL=debian
# leaves that out, and what only our kernel can do.
set -eu
cd "$(dirname "$0")/.."
step=iso-build/step.sh
# A test that needs a tool which is not there fails, instead of being left out.
export TETHER_REQUIRE_TOOLS=1

tests/check.sh
$step "docker's command line" tests/docker-cli.sh
$step "docker's client for Python" tests/docker-py.sh
$step 'unit and integration tests' iso-build/cargo.sh test --locked
machines() { # LABEL WHAT…
    label=$1
    shift
    $step "$label" iso-build/cargo.sh test --locked --features vm-tests "$@"
}
kernel=${KERNEL:-own}
unset KERNEL
make --no-print-directory build iso build/test.vmdk build/debian.ext4 KERNEL=debian
# The link's simulation with every processor: about a minute and a half on two. A seed that fails is
# printed with the command that replays it.
$step 'the link over 100,000 carriers with faults' \
    env TETHER_SEEDS=100000 iso-build/cargo.sh test --release --locked --lib link::simulation
set --
if [ "$kernel" = debian ]; then
    # Its ISO carries no NFS client.
    set -- --skip vm::shares
    machines 'real machines: containers, vmx run' --test container --test vmx_run -- --test-threads=2 \
        --skip boot:: --skip damage::
else
    machines "real machines with Debian's kernel" --test container -- --test-threads=2 \
        blog_s_hello output_and_status garbage_before
    make --no-print-directory iso KERNEL=own
    machines 'real machines: containers, vmx run' --test container --test vmx_run -- --test-threads=2
    $step 'Secure Boot' tests/secure-boot.sh build/cache/own
    $step 'the boot budget' tests/budget/run.sh
fi
$step "docker's session of the README" tests/docker-session.sh
# A tenth of `make soak`, and plain QEMU machines with the same programs.
$step 'one stream of 1 GiB through moves and kills; machines without VMware' \
    env SOAK=1020 iso-build/cargo.sh test --release --locked --features vm-tests --test listener_e2e -- \
    --test-threads=2 soak vm:: "$@"
$step 'two builds are the same bytes' tests/reproducible.sh
