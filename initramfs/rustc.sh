#!/bin/sh
# rustc for the static tether: the compiler's command line, and what must not be part of cargo's
# hashes (see tether.sh). Cargo calls it as RUSTC_WRAPPER: the compiler first, then its arguments.
set -eu
exec "$@" \
    -L "native=$TETHER_UNWIND" \
    --remap-path-prefix "$TETHER_SOURCE=/tether" \
    --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}/registry/src=/crates"
