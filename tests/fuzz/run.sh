#!/bin/sh
# `make fuzz`: feeds bytes to the functions of src/fuzz.rs, FOR=60 seconds each (TARGET=vmx one of them). What
# it finds of new ways through the code goes into tests/fuzz/corpus, reduced to what is needed: commit
# what is small. A failure leaves its bytes in tests/fuzz/artifacts and says how to run them again.
set -eu
cd "$(dirname "$0")/../.."
seconds=${FOR:-60}
targets=${TARGET:-conversation control guestinfo document vmx vspc dhcp}
cargo=iso-build/cargo.sh
if ! "$cargo" fuzz --version >/dev/null 2>&1; then
    echo '  installing cargo-fuzz (two minutes, once)'
    "$cargo" install --quiet --locked cargo-fuzz
fi
for target in $targets; do
    # No sanitizer: there is no unsafe code in what is fed, and so the stable compiler does.
    iso-build/step.sh "fuzzing $target for $seconds s" \
        "$cargo" fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
    iso-build/step.sh "reducing the corpus of $target" \
        "$cargo" fuzz cmin --fuzz-dir tests/fuzz --sanitizer none "$target"
done
