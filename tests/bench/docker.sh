#!/bin/bash
# `make bench-docker`: what docker's way costs beside the work itself, as ratios within one run.
#
#   TURNS=5   times that each pair is measured, by turns; medians count
#   SIZE=200  MB of the large image
set -eu
cd "$(dirname "$0")/../.."
turns=${TURNS:-5} size=${SIZE:-200}
run=build/bench-docker
port=20491 registry=20493
docker=$(command -v docker || echo "$PWD/build/docker-cli/docker")
export DOCKER_HOST=unix://$PWD/$run/state/vch.sock DOCKER_CONFIG=$PWD/$run/config
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY

started=()
# shellcheck disable=SC2317 # the trap calls it
end_all() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
}
trap end_all EXIT
trap 'exit 130' INT TERM

rm -rf "$run"
mkdir -p "$run/config" "$run/large/root"
iso-build/example-images.sh "$run/images" build/guest/hello
# What neither compresses nor is all of one file.
for number in $(seq "$size"); do
    head -c 1000000 /dev/urandom >"$run/large/root/$number"
done
iso-build/image.sh "$run/images/large" large "$run/large/root" /1
rm -rf "$run/large"
iso-build/registry.sh "$run" "$registry" >"$run/registry.log" 2>&1 </dev/null &
started+=("$!")
for image in hello-world large; do
    skopeo copy -q --insecure-policy --retry-times 5 --dest-tls-verify=false \
        "oci:$run/images/$image:$image:latest" "docker://127.0.0.1:$registry/library/$image:latest"
done
build/vch listen --port "127.0.0.1:$port" --state "$run/state" --iso build/bootstrap.iso \
    --registry-mirror "127.0.0.1:$registry" >"$run/vch.log" 2>&1 </dev/null &
vch=$!
started+=("$vch")
until [ -S "$run/state/vch.sock" ]; do sleep 0.1; done

# Milliseconds that a command takes.
took() {
    local from to
    from=$(date +%s%N)
    "$@" >"$run/out" 2>&1 || {
        cat "$run/out" >&2
        exit 1
    }
    to=$(date +%s%N)
    echo $(((to - from) / 1000000))
}
median() {
    sort -n | sed -n "$(((turns + 1) / 2))p"
}
row() { # WHAT OURS FLOOR GOAL
    awk -v what="$1" -v ours="$2" -v floor="$3" -v goal="$4" 'BEGIN {
        printf "| %s | %s | %d | %.2g | %s |\n", what, ours < 10 ? sprintf("%.1f", ours) : int(ours), floor, floor ? ours / floor : 0, goal }'
}

ours=() floors=()
for _ in $(seq "$turns"); do
    "$docker" image rm large >/dev/null 2>&1 || true
    ours+=("$(took "$docker" pull large)")
    rm -rf "$run/copy"
    floors+=("$(took skopeo copy --insecure-policy --src-tls-verify=false \
        "docker://127.0.0.1:$registry/library/large:latest" "dir:$run/copy")")
done
echo '| measured, ms | docker with vch | floor | ratio | goal |'
echo '|---|---:|---:|---:|---|'
row "docker pull of $size MB, unpacked and made into a disk, beside skopeo copy" \
    "$(printf '%s\n' "${ours[@]}" | median)" "$(printf '%s\n' "${floors[@]}" | median)" '≤ 1.2'

# Milliseconds that a request for a container takes.
create() {
    curl -sf --unix-socket "$run/state/vch.sock" -H 'Content-Type: application/json' -o "$run/out" \
        -w '%{time_total}\n' -d '{"Image":"large"}' http://x/containers/create | awk '{ print 1000 * $1 }'
}
# What the pull has left to be written is not the copy's, nor the container's.
sync
ours=() whole=() floors=()
for _ in $(seq "$turns"); do
    ours+=("$(create)")
    whole+=("$(took "$docker" create large)")
    floors+=("$(took cp --reflink=never --sparse=always "$(echo "$run"/state/images/disks/*.ext4)" "$run/copy.ext4")")
    rm "$run/copy.ext4"
done
floor=$(printf '%s\n' "${floors[@]}" | median)
row 'a container of it made by the API, beside a copy of its disk' \
    "$(printf '%s\n' "${ours[@]}" | median)" "$floor" '≤ 0.02'
row 'the same by docker create, which has to start first' "$(printf '%s\n' "${whole[@]}" | median)" "$floor" '-'
"$docker" container prune -f >/dev/null

"$docker" pull -q hello-world >/dev/null
"$docker" create --name bare hello-world >/dev/null
id=$("$docker" inspect -f '{{.Id}}' bare)
ours=() floors=()
for _ in $(seq "$turns"); do
    floors+=("$(took build/vmx run "$run/state/machines/${id:0:12}/container.vmx")")
    ours+=("$(took "$docker" run --rm hello-world)")
done
row 'docker run --rm hello-world, beside vmx run of the same machine' \
    "$(printf '%s\n' "${ours[@]}" | median)" "$(printf '%s\n' "${floors[@]}" | median)" '≤ 300 ms more'
"$docker" rm -f bare >/dev/null

cpu() { # Clock ticks of the appliance.
    awk '{ print $14 + $15 }' "/proc/$vch/stat"
}
for _ in $(seq 1000); do
    printf '{"Image":"hello-world"}' | curl -sf --unix-socket "$run/state/vch.sock" \
        -H 'Content-Type: application/json' -d @- http://x/containers/create >/dev/null
done
before=$(cpu)
for _ in $(seq 10); do "$docker" ps -a >"$run/out"; done
after=$(cpu)
[ "$(wc -l <"$run/out")" -eq 1001 ]
printf '| docker ps -a of 1,000 containers: CPU time of the appliance | %d | | | ≤ 50 |\n' \
    "$(((after - before) * 1000 / $(getconf CLK_TCK) / 10))"
