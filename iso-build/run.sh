#!/bin/bash
# `make run`: boots the example container as a virtual machine and shows what came out of it, at the
# appliance's side. The programs and images are there already (the Makefile sees to it).
#
# From the environment: CMD, another command for the container, split into words as a shell splits
# them (quotes and backslashes, nothing else); PORT, where the appliance listens on this machine;
# CARRIER, vmware (the .vmx, run by vmx) or virtio (a plain QEMU machine).
# Everything is left in build/run/ to look at. Succeeds when the container ran, whatever its status.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
port=${PORT:-8080}
carrier=${CARRIER:-vmware}
run=build/run
state=$run/state
step=iso-build/step.sh
vch=build/vch
vmx=build/vmx

fail() {
    echo "$*" >&2
    exit 1
}
case $port in
    '' | *[!0-9]*) fail "PORT=$port: expected a number, 1 to 65535" ;;
esac
case $carrier in
    vmware | virtio) ;;
    *) fail "CARRIER=$carrier: expected vmware or virtio" ;;
esac

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

rm -rf "$run"
mkdir -p "$run"
ln -s ../bootstrap.iso "$run/bootstrap.iso"
cp --sparse=always build/container.vmdk "$run/container.vmdk"
cp tests/fixtures/blog.vmx "$run/blog.vmx"
config=$run/blog.vmx
id=$("$vmx" get "$config" guestinfo./common/id)
session="guestinfo./sessions|$id"
"$vmx" set "$config" "serial0.fileName=tcp://127.0.0.1:$port"

# A secret that the machine and the appliance share: nobody else gets in, and what goes between them
# is sealed.
line=$("$vch" key new --state "$state" "$id")
"$vmx" set "$config" "$(printf '%s' "$line" | sed 's/ = "/=/; s/"$//')"

# The words of CMD. Nothing in them is run here: xargs only takes the quotes off.
if [ -n "${CMD:-}" ]; then
    words=()
    while IFS= read -r -d '' word; do
        words+=("$word")
    done < <(printf '%s' "$CMD" | xargs printf '%s\0')
    [ "${#words[@]}" -gt 0 ] || fail "CMD=$CMD: no command in it (is a quote not closed?)"
    joined=$(printf '|%s' "${words[@]}")
    "$vmx" set "$config" "$session/cmd/Path=${words[0]}" \
        "$session/cmd/Args=$((${#words[@]} - 1))" "$session/cmd/Args~=${joined#|}"
fi

# The appliance's half.
"$vch" listen --port "127.0.0.1:$port" --state "$state" >"$run/listener.log" 2>&1 </dev/null &
listener=$!
started+=("$listener")
until [ -S "$state/vch.sock" ]; do
    if ! kill -0 "$listener" 2>/dev/null; then
        cat "$run/listener.log" >&2
        fail "the appliance does not listen. Should 127.0.0.1:$port be taken: make run PORT=$((port + 1))"
    fi
    sleep 0.1
done

# The machine's half.
machine=0
if [ "$carrier" = vmware ]; then
    $step 'running the virtual machine' "$vmx" run "$config" || machine=$?
else
    # What the guest would read from the backdoor, as the document that fw_cfg carries.
    "$vmx" show --json "$config" >"$run/guestinfo.json"
    # The key is in no document that a program prints.
    build/tether check "$run/guestinfo.json" |
        sed "1s|{|{ \"linkkey\": \"$("$vmx" get "$config" guestinfo./tether/linkkey)\",|" >"$run/config.json"
    $step 'running the virtual machine (virtio)' iso-build/virtio.sh \
        "$port" "$run/config.json" "$run/container.vmdk" "$run/console.log" || machine=$?
fi

title() {
    printf '\n\033[1m%s\033[0m\n' "$1"
}
[ -t 1 ] || title() {
    printf '\n%s\n' "$1"
}

title 'container output'
"$vch" logs --state "$state" "$id" || true
title 'vch ps -a'
"$vch" ps --state "$state" -a
if [ "$carrier" = vmware ]; then
    title "written back into $config"
    "$vmx" show "$config" | grep '^guestinfo\.\.' || echo '(nothing)'
fi

# The listener has it by now, or it never will.
status=$(timeout 10 "$vch" wait --state "$state" "$id") || status=
if [ -z "$status" ] || [ "$machine" -ne 0 ]; then
    title "the end of the console, $run/console.log"
    tail -n 20 "$run/console.log" 2>/dev/null || echo '(empty)'
    [ -n "$status" ] || fail 'the virtual machine ended without an exit status of the container'
fi
printf '\nexit status: %s\n' "$status"
exit "$machine"
