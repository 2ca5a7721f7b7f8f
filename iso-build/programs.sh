#!/bin/sh
# Builds the appliance's and the developer's programs for this machine: build/vch and build/vmx.
set -eu
cd "$(dirname "$0")/.."
iso-build/cargo.sh build --locked --target-dir target --release --bin vch --bin vmx
mkdir -p build
for program in vch vmx; do
    cmp -s "target/release/$program" "build/$program" || {
        cp "target/release/$program" "build/$program.new"
        mv "build/$program.new" "build/$program"
    }
done
