#!/bin/sh
# Prints the kernel's command line, joined from cmdline.txt.
set -eu
sed -e 's/#.*//' -e '/^ *$/d' "$(dirname "$0")/cmdline.txt" | tr '\n' ' ' | sed 's/ $//'
echo
