#!/bin/sh
# Docker's client for Python in build/docker-py/ (from PyPI, in an environment of its own), and the integration tests
# of the last version whose source package has them.
set -eu
cd "$(dirname "$0")/.."
client=7.2.0 tests=7.0.0 # and what is put beside them: a change of that is another stamp
beside=1
out=build/docker-py
stamp=$out/version
[ "$(cat "$stamp" 2>/dev/null)" != "$client $tests $beside" ] || exit 0
rm -rf "$out"
mkdir -p "$out"
# Where PyPI cannot be reached the client's tests are left out, and say so.
fetch() {
    python3 -m venv "$out/venv" &&
        "$out/venv/bin/pip" install -q --disable-pip-version-check "docker==$client" pytest paramiko &&
        "$out/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary docker \
            -d "$out" "docker==$tests"
}
if ! fetch >"$out/fetch.log" 2>&1; then
    tail -n 3 "$out/fetch.log" >&2
    echo "docker's client for Python cannot be fetched: its tests are left out" | tee "$out/left-out" >&2
    exit 0
fi
tar -xzf "$out/docker-$tests.tar.gz" -C "$out" --strip-components=1 "docker-$tests/tests"
rm "$out/docker-$tests.tar.gz"
echo "$client $tests $beside" >"$stamp"
