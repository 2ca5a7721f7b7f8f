#!/bin/sh
# Runs one long step of a build, showing a line with the seconds it has taken.
#
#   step.sh LABEL COMMAND [ARGUMENT…]
#
# The command's output goes to build/log/; it is shown when the command fails, and as it comes with
# VERBOSE=1. Standard input is empty: no step may wait for somebody to type.
set -eu

label=$1
shift
logs=${STEP_LOGS:-build/log}
log=$logs/$(printf '%s' "$label" | tr -cs 'A-Za-z0-9.' '-').log
mkdir -p "$logs"
start=$(date +%s)
ticker=

# A long step may say how far it is, in lines `progress: …`.
how_far() {
    tail -c 4096 "$log" 2>/dev/null | sed -n 's/^progress: /, /p' | tail -n 1
}

# A terminal gets a counter that moves; anything else a sign of life now and then.
show_progress() {
    # The sleep ends with its parent: what it holds open would keep a pipe's reader waiting.
    trap 'kill "$nap" 2>/dev/null; exit' TERM
    while :; do
        sleep "$1" &
        nap=$!
        wait "$nap"
        if [ -t 1 ]; then
            printf '\r  %-44s %4d s%s' "$label" $(($(date +%s) - start)) "$(how_far)"
        else
            printf '  %-44s %4d s%s …\n' "$label" $(($(date +%s) - start)) "$(how_far)"
        fi
    done
}

stop_progress() {
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        ticker=
    fi
}
trap stop_progress EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A step inside a step, or one that is watched, has no line of its own.
if [ -n "${STEP_RUNNING:-}" ]; then
    exec "$@"
fi
export STEP_RUNNING=1
if [ -n "${VERBOSE:-}" ]; then
    printf '  %s\n' "$label"
    exec "$@" </dev/null
fi

if [ -t 1 ]; then
    printf '  %-44s' "$label"
    show_progress 1 &
else
    show_progress 60 &
fi
ticker=$!

status=0
"$@" </dev/null >"$log" 2>&1 || status=$?
stop_progress
[ -t 1 ] && printf '\r'
if [ "$status" -eq 0 ]; then
    printf '  %-44s %4d s\n' "$label" $(($(date +%s) - start))
    # What a step wants said at its end, whatever the rest of its output was.
    sed -n 's/^note: */      note: /p' "$log"
else
    printf '  %-44s failed after %d s; the end of %s:\n' "$label" $(($(date +%s) - start)) "$log" >&2
    tail -n 30 "$log" | sed 's/^/    /' >&2
    exit "$status"
fi
