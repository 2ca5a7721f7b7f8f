#!/bin/sh
# `make docker` as a user types it, without a terminal, on ports of its own: its two commands print what they should.
set -eu
cd "$(dirname "$0")/.."
out=build/docker-session.txt
PORT=20481 API=20482 REGISTRY=20483 iso-build/docker.sh >"$out" 2>&1 || {
    cat "$out" >&2
    exit 1
}
said() {
    grep -q -- "$1" "$out" || {
        cat "$out" >&2
        echo "not said: $1" >&2
        exit 1
    }
}
said "Unable to find image 'hello-world:latest' locally"
said 'latest: Pulling from library/hello-world'
said 'Digest: sha256:'
said 'Status: Downloaded newer image for hello-world:latest'
said 'Hello from a container that is a virtual machine'
said '^CONTAINER ID *IMAGE *COMMAND *CREATED *STATUS *PORTS *NAMES'
said 'hello-world *"/hello" .* Exited (0) '
