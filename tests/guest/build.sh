#!/bin/sh
# Builds one of the small static C programs beside this script.
#
#   build.sh SOURCE OUT [COMPILER-FLAG…]
set -eu
source=$1 out=$2
shift 2
compiler=gcc
if command -v musl-gcc >/dev/null 2>&1; then compiler=musl-gcc; fi
$compiler -Os -static -s -Wall -Wextra -Werror "$@" -o "$out" "$source"
