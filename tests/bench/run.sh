#!/bin/bash
# `make bench`: tether beside the floor, an init of a few lines of C that only mounts, runs and prints
# (tests/guest/floor.c): the same kernel, disk and machine, run by turns, so that what else this
# machine does meets both. Seconds differ from machine to machine; the ratios are what counts.
#
# RUNS=N takes N turns (default 5, of which the medians are shown). Prints a Markdown table.
set -eu
cd "$(dirname "$0")/../.."
runs=${RUNS:-5}
step=iso-build/step.sh
bench=build/bench
vmx=build/vmx
vch=build/vch
port=${PORT:-8180}
bulk_bytes=$((8 << 20))
# A virtio port is that much quicker.
bulk_virtio_bytes=$((32 << 20))
kernel=build/cache/${KERNEL:-debian}
initramfs=initramfs/build.sh

started=()
# shellcheck disable=SC2317 # the trap calls it
end_all() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

rm -rf "$bench"
mkdir -p "$bench"

# --- what is measured ---

# A disk with two files of lines to print, and the floor's images: hello, and bulk for each port. The
# relay is the floor with a pipe between the command and the port, as whoever keeps output needs one:
# without it busybox's cat has the kernel move whole pages into a virtio port, copied by nobody.
lines() { # BYTES FILE
    seq -f 'line %058.0f' 1 $(($1 / 64)) >"$2"
    [ "$(stat -c %s "$2")" -eq "$1" ]
}
lines $bulk_bytes "$bench/bulk"
lines $bulk_virtio_bytes "$bench/bulk-virtio"
tests/guest/build.sh tests/guest/spawn.c "$bench/spawn"
$step 'making the disk' iso-build/container-disk.sh "$bench/disk.ext4" "$bench/disk.vmdk" build/guest/hello \
    "$bench/spawn" "$bench/bulk" "$bench/bulk-virtio"

floor() { # NAME COMMAND PORT [DEFINITION]: build/bench/NAME.img
    tests/guest/build.sh tests/guest/floor.c "$bench/$1" "-DCOMMAND=\"$2\"" "-DPORT=\"$3\"" ${4:+"$4"}
    $initramfs "$bench/$1" "$kernel" "$bench/$1.img"
}
floor floor-hello /hello /dev/ttyS0
floor floor-bulk 'cat /bulk' /dev/ttyS0
floor floor-bulk-virtio 'cat /bulk-virtio' /dev/vport1p1
floor relay-bulk-virtio 'cat /bulk-virtio' /dev/vport1p1 -DRELAY
for name in floor-hello floor-bulk; do
    iso-build/iso.sh "$kernel" "$bench/$name" build/vmlinuz "$bench/$name.img" "$bench/$name.iso" 2>/dev/null
done
gcc -O2 -Wall -Wextra -o "$bench/sink" tests/bench/sink.c
# tether on Debian's kernel, to see what ours saves.
beside=
if [ "$kernel" = build/cache/own ] && [ -f build/cache/debian/version ]; then
    beside=debian
    $initramfs build/tether build/cache/debian "$bench/debian.img"
    iso-build/iso.sh build/cache/debian build/tether build/cache/debian/vmlinuz "$bench/debian.img" "$bench/debian.iso" 2>/dev/null
fi

now() { date +%s.%N; }

machine_folder() { # NAME ISO: a fresh folder with the blog's machine in it
    rm -rf "${bench:?}/$1"
    mkdir -p "$bench/$1"
    ln -s "$PWD/$2" "$bench/$1/bootstrap.iso"
    cp "$bench/disk.vmdk" "$bench/$1/container.vmdk"
    cp tests/fixtures/blog.vmx "$bench/$1/blog.vmx"
    "$vmx" set "$bench/$1/blog.vmx" "serial0.fileName=tcp://127.0.0.1:$port"
}

listen() { # FOLDER: a listener with its state there
    "$vch" listen --allow-plain --port "127.0.0.1:$port" --state "$1/state" >"$1/listener.log" 2>&1 </dev/null &
    listener=$!
    started+=("$listener")
    until [ -S "$1/state/vch.sock" ]; do
        kill -0 "$listener" || { cat "$1/listener.log" >&2; exit 1; }
        sleep 0.05
    done
}
stop_listener() {
    kill "$listener"
    wait "$listener" || true
}

sink() { # what it saw goes to build/bench/seen
    "$bench/sink" "$port" >"$bench/seen" &
    sink=$!
    started+=("$sink")
    until grep -q listening "$bench/seen"; do sleep 0.05; done
}

id=$("$vmx" get tests/fixtures/blog.vmx guestinfo./common/id)
set_command() { # FOLDER WORD…
    local file=$1/blog.vmx words
    shift
    words=$(printf '|%s' "$@")
    "$vmx" set "$file" "guestinfo./sessions|$id/cmd/Path=$1" \
        "guestinfo./sessions|$id/cmd/Args=$(($# - 1))" "guestinfo./sessions|$id/cmd/Args~=${words#|}"
}

# The times of the first and the last line that the listener stored, as seconds since 1970.
stored_times() { # FOLDER
    "$vch" logs -t --state "$1/state" "$id" | sed -n '1p;$p' | cut -d ' ' -f 1 |
        while read -r time; do date -d "$time" +%s.%N; done | tr '\n' ' '
}

start_tether() { # [ISO]
    machine_folder tether "${1:-build/bootstrap.iso}"
    listen "$bench/tether"
    local before
    before=$(now)
    "$vmx" run "$bench/tether/blog.vmx" </dev/null >"$bench/tether/vmx.log" 2>&1
    stored_times "$bench/tether" | awk -v before="$before" '{ printf "%.3f\n", $1 - before }'
    stop_listener
}
start_debian() {
    start_tether "$bench/debian.iso"
}
start_floor() {
    machine_folder floor "$bench/floor-hello.iso"
    sink
    local before
    before=$(now)
    "$vmx" run --no-backdoor "$bench/floor/blog.vmx" </dev/null >"$bench/floor/vmx.log" 2>&1
    wait "$sink"
    awk -v before="$before" 'NF == 3 { printf "%.3f\n", $1 - before }' "$bench/seen"
}

# shellcheck disable=SC2016 # awk's own fields
rate='NF >= 2 { printf "%.3f\n", bytes / ($2 - $1) / 1e6 }'
bulk_tether() {
    machine_folder tether build/bootstrap.iso
    set_command "$bench/tether" /bin/cat /bulk
    listen "$bench/tether"
    "$vmx" run "$bench/tether/blog.vmx" </dev/null >"$bench/tether/vmx.log" 2>&1
    stored_times "$bench/tether" | awk -v bytes=$bulk_bytes "$rate"
    stop_listener
}
bulk_floor() {
    machine_folder floor "$bench/floor-bulk.iso"
    sink
    "$vmx" run --no-backdoor "$bench/floor/blog.vmx" </dev/null >"$bench/floor/vmx.log" 2>&1
    wait "$sink"
    awk -v bytes=$bulk_bytes 'NF == 3 { print $1, $2 }' "$bench/seen" | awk -v bytes=$bulk_bytes "$rate"
}
virtio_config() { # FOLDER WORD…: config.json there
    local folder=$1
    "$vmx" show --json "$folder/blog.vmx" >"$folder/guestinfo.json"
    build/tether check "$folder/guestinfo.json" >"$folder/config.json"
}
bulk_virtio_tether() {
    machine_folder tether build/bootstrap.iso
    set_command "$bench/tether" /bin/cat /bulk-virtio
    virtio_config "$bench/tether"
    listen "$bench/tether"
    iso-build/virtio.sh "$port" "$bench/tether/config.json" "$bench/tether/container.vmdk" "$bench/tether/console.log"
    stored_times "$bench/tether" | awk -v bytes=$bulk_virtio_bytes "$rate"
    stop_listener
}
bulk_virtio_bare() { # NAME of the image
    machine_folder floor "$bench/floor-bulk.iso"
    echo '{}' >"$bench/floor/config.json"
    sink
    INITRAMFS=$bench/$1.img iso-build/virtio.sh \
        "$port" "$bench/floor/config.json" "$bench/floor/container.vmdk" "$bench/floor/console.log"
    wait "$sink"
    awk 'NF == 3 { print $1, $2 }' "$bench/seen" | awk -v bytes=$bulk_virtio_bytes "$rate"
}
bulk_virtio_floor() { bulk_virtio_bare floor-bulk-virtio; }
bulk_virtio_relay() { bulk_virtio_bare relay-bulk-virtio; }

# --- by turns ---

turn() { # NAME FUNCTION: one figure more for NAME; the seconds are shown as a step shows them
    local begin
    begin=$(date +%s)
    "$2" >>"$bench/$1.figures"
    printf '  %-44s %4d s\n' "$1: $(tail -n 1 "$bench/$1.figures")" $(($(date +%s) - begin)) >&2
}
median() {
    sort -n "$bench/$1.figures" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
for ((i = 0; i < runs; i++)); do
    turn start-floor start_floor
    turn start-tether start_tether
    [ -z "$beside" ] || turn start-debian start_debian
done
bulk_runs=$(((runs + 1) / 2))
for ((i = 0; i < bulk_runs; i++)); do
    turn bulk-ttyS0-floor bulk_floor
    turn bulk-ttyS0-tether bulk_tether
    turn bulk-virtio-floor bulk_virtio_floor
    turn bulk-virtio-relay bulk_virtio_relay
    turn bulk-virtio-tether bulk_virtio_tether
done

# The machine's memory that is in use when the container's first program looks: what the kernel has taken
# since its start, tether, and that program; and what the kernel kept from the start, of the 512 MiB.
used_memory() {
    machine_folder tether build/bootstrap.iso
    set_command "$bench/tether" /bin/cat /proc/meminfo
    listen "$bench/tether"
    "$vmx" run "$bench/tether/blog.vmx" </dev/null >"$bench/tether/vmx.log" 2>&1
    "$vch" logs --state "$bench/tether/state" "$id" >"$bench/meminfo" 2>&1 || true
    stop_listener
}
used_memory

# A process more in the running container, from the command on this machine to its exit status there, beside fork,
# exec and wait in the same machine: milliseconds of one.
spawns=50
spawn() {
    machine_folder tether build/bootstrap.iso
    set_command "$bench/tether" /bin/sleep 100000
    virtio_config "$bench/tether"
    listen "$bench/tether"
    iso-build/virtio.sh "$port" "$bench/tether/config.json" "$bench/tether/container.vmdk" "$bench/tether/console.log" &
    started+=($!)
    local machine=$!
    run() { "$vch" exec --state "$bench/tether/state" "$id" "$@" </dev/null 2>/dev/null; }
    until run /bin/true; do sleep 0.2; done
    # Beside: the memory of process 1, which has started a container and one process more.
    "$vch" debug --state "$bench/tether/state" "$id" >"$bench/debug"
    run /spawn $((4 * spawns)) /bin/true >"$bench/spawn-floor.figures"
    local begin end
    begin=$(date +%s%N)
    for ((i = 0; i < spawns; i++)); do run /bin/true; done
    end=$(date +%s%N)
    awk -v ns=$((end - begin)) -v n=$spawns 'BEGIN { printf "%.2f\n", ns / n / 1e6 }' >"$bench/spawn-tether.figures"
    "$vch" stop -t 0 --state "$bench/tether/state" "$id" >/dev/null
    wait "$machine"
    stop_listener
}
spawn
private=$(awk '/^Private_(Clean|Dirty):/ { sum += $2 } END { print sum }' "$bench/debug")

# Backdoor instructions that loading the hello-world configuration takes.
arguments=()
while IFS= read -r key; do
    arguments+=(--set "$key=$("$vmx" get tests/fixtures/blog.vmx "$key")")
done < <("$vmx" show tests/fixtures/blog.vmx | sed -n 's/^\(guestinfo\.[^ ]*\) = .*/\1/p')
"$vmx" exec --count "${arguments[@]}" -- build/tether config >"$bench/config.json" 2>"$bench/count"
instructions=$(grep -oE '[0-9]+' "$bench/count" | head -n 1)

memory_used() {
    awk '$1 == "MemTotal:" { all = $2 } $1 == "MemFree:" { printf "%.1f", (all - $2) / 1024 }' "$bench/meminfo"
}
memory_kept() {
    awk '$1 == "MemTotal:" { printf "%.1f", 512 - $2 / 1024 }' "$bench/meminfo"
}
row() { # WHAT TETHER FLOOR RATIO GOAL
    printf '| %s | %s | %s | %s | %s |\n' "$@"
}
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
{
    row measured tether floor ratio goal
    row --- ---: ---: ---: ---
    row 'start of the VM to the first byte of the container at the listener, s' \
        "$(median start-tether)" "$(median start-floor)" "$(ratio "$(median start-tether)" "$(median start-floor)")" '≤ 1.10'
    [ -z "$beside" ] || row "the same, with our kernel beside tether with Debian's" \
        "$(median start-tether)" "$(median start-debian)" "$(ratio "$(median start-tether)" "$(median start-debian)")" '≤ 0.40'
    row 'memory in use when the container starts (MemTotal - MemFree), MiB' "$(memory_used)" '' '' '≤ 20'
    row 'memory that the kernel does not count as its own to give (512 - MemTotal), MiB' "$(memory_kept)" '' '' ''
    row 'bulk through ttyS0, MB/s' "$(median bulk-ttyS0-tether)" "$(median bulk-ttyS0-floor)" \
        "$(ratio "$(median bulk-ttyS0-tether)" "$(median bulk-ttyS0-floor)")" '≥ 0.80'
    row 'bulk through virtio-serial, MB/s' "$(median bulk-virtio-tether)" "$(median bulk-virtio-floor)" \
        "$(ratio "$(median bulk-virtio-tether)" "$(median bulk-virtio-floor)")" '≥ 0.80'
    row 'the same, against a bare relay: a pipe, read and written' \
        "$(median bulk-virtio-tether)" "$(median bulk-virtio-relay)" \
        "$(ratio "$(median bulk-virtio-tether)" "$(median bulk-virtio-relay)")" '≥ 0.80'
    row 'a process in the running container (vch exec /bin/true beside fork, exec and wait), ms' \
        "$(median spawn-tether)" "$(median spawn-floor)" "$(ratio "$(median spawn-tether)" "$(median spawn-floor)")" ''
    row 'size of tether, KB' "$(($(stat -c %s build/tether) / 1000))" "$(($(stat -c %s "$bench/floor-hello") / 1000))" '' '≤ 400'
    row 'private memory of PID 1, KB' "$private" '' '' '≤ 600'
    row 'backdoor instructions to load the configuration' "${instructions:-?}" '' '' '≤ 100'
} | tee "$bench/table.md"
