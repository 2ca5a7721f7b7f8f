#!/bin/bash
# `make docker`: docker's own command line against an appliance that makes each container a virtual machine, on
# loopback: a registry with two images of our own, certificates, `vch listen`, and two commands with their output.
#
# From the environment: PORT, where the appliance takes VMs; API, where it takes docker; REGISTRY, the registry's port;
# KEEP=1: goes on until Ctrl-C, for more commands from another terminal.
# Everything is left in build/docker/ to look at.
set -eu
cd "$(dirname "$0")/.."
port=${PORT:-8080} api=${API:-2376} registry=${REGISTRY:-5055}
run=build/docker
step=iso-build/step.sh
config=$run/config

fail() {
    echo "$*" >&2
    exit 1
}

# All that is started here ends with this script, by its process ID, however the script ends.
started=()
# shellcheck disable=SC2317 # the trap calls it
end_all() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${started[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

docker=$(command -v docker || true)
if [ -z "$docker" ]; then
    $step "docker's command line (Debian's)" tests/docker-cli.sh
    docker=$PWD/build/docker-cli/docker
fi

rm -rf "$run"
mkdir -p "$config"
$step 'images of our own' iso-build/example-images.sh "$run/images" build/guest/hello

iso-build/registry.sh "$run" "$registry" >"$run/registry.log" 2>&1 </dev/null &
started+=("$!")
push() {
    for image in hello-world busybox; do
        skopeo copy --insecure-policy --retry-times 5 --dest-tls-verify=false \
            "oci:$run/images/$image:$image:latest" \
            "docker://127.0.0.1:$registry/library/$image:latest"
    done
}
push >"$run/push.log" 2>&1 || {
    tail -n 5 "$run/push.log" "$run/registry.log" >&2
    fail "the registry does not take the images. Should 127.0.0.1:$registry be taken: make docker REGISTRY=5056"
}

# An authority of our own, a certificate for the appliance, one for its client. docker looks for its three
# files where its configuration is.
certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null
    printf '%s\n' "subjectAltName=IP:127.0.0.1,DNS:localhost" "extendedKeyUsage=$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$config/ca.pem" -CAkey "$run/ca.key" -CAcreateserial \
        -days 30 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$run/ca.key" -out "$config/ca.pem" -days 30 \
    -subj "/CN=make docker" 2>/dev/null
certificate "$run/appliance" appliance serverAuth
certificate "$run/client" client clientAuth
cp "$run/client.pem" "$config/cert.pem"
cp "$run/client.key" "$config/key.pem"

build/vch listen --port "127.0.0.1:$port" --state "$run/state" --iso build/bootstrap.iso \
    --registry-mirror "127.0.0.1:$registry" --api "127.0.0.1:$api" \
    --tls-cert "$run/appliance.pem" --tls-key "$run/appliance.key" --client-ca "$config/ca.pem" \
    >"$run/vch.log" 2>&1 </dev/null &
listener=$!
started+=("$listener")
until [ -S "$run/state/vch.sock" ]; do
    kill -0 "$listener" 2>/dev/null || {
        cat "$run/vch.log" >&2
        fail "the appliance does not listen. Should a port be taken: make docker PORT=8081 API=2377"
    }
    sleep 0.1
done

export DOCKER_CONFIG=$PWD/$config
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
words=("$docker" -H "127.0.0.1:$api" --tls)
# An input that neither ends nor says anything, and is gone with this script.
exec 3< <(exec tail -f /dev/null --pid="$$" 2>/dev/null)
# As somebody at a terminal types it, whether there is one or not.
typed() {
    printf '\n$ docker -H 127.0.0.1:%s --tls %s\n' "$api" "$*"
    if [ -t 0 ] && [ -t 1 ]; then
        "${words[@]}" "$@"
    else
        script -qec "$(printf '%q ' "${words[@]}" "$@")" /dev/null <&3
    fi
}
typed run -it hello-world
typed ps -a

if [ -n "${KEEP:-}" ]; then
    printf '\nFor more, from another terminal:\n  export DOCKER_CONFIG=%s\n  docker -H 127.0.0.1:%s --tls run -it busybox\nCtrl-C ends it.\n' \
        "$DOCKER_CONFIG" "$api"
    wait "$listener"
fi
