#!/bin/sh
# Debian's docker CLI in build/docker-cli/, for the tests that use it: taken out of the package docker.io, whose
# daemon nobody here needs.
set -eu
cd "$(dirname "$0")/.."
out=build/docker-cli
[ ! -x "$out/docker" ] || exit 0
mkdir -p "$out/package"
cd "$out"
# As nobody else than who runs this: apt's own user may not write here.
fetch() { apt-get -q -o APT::Sandbox::User=root download docker.io; }
fetch || { apt-get -q update && fetch; }
dpkg-deb -x docker.io_*.deb package
mv package/usr/bin/docker docker
rm -rf package docker.io_*.deb
./docker --version
