#!/bin/sh
# Prints the time, in seconds since 1970, that every file of an image gets: SOURCE_DATE_EPOCH where
# that is set, else the time of the last commit, else (no git here) the first second a FAT file
# system can say, 1980.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
    echo "$SOURCE_DATE_EPOCH"
else
    git -C "$here" log -1 --format=%ct 2>/dev/null || echo 315532800
fi
