//! What a container sees of its machine, and what it may do.

use crate::machine::{ID, Machine};

const ISOLATION: &str = "guestinfo./tether/isolation";

/// What a shell script prints in a container.
fn said(script: &str, isolation: &str) -> String {
    let mut machine = Machine::new(&["/bin/sh", "-c", script]);
    if !isolation.is_empty() {
        machine.set(ISOLATION, isolation);
    }
    assert_eq!(machine.run(), "0", "{}", machine.told());
    let (stdout, stderr) = machine.output();
    assert_eq!(String::from_utf8_lossy(&stderr), "", "{}", machine.told());
    String::from_utf8(stdout).expect("text")
}

#[test]
fn a_container_sees_itself_alone() {
    let script = r#"
        echo processes $(ls /proc | grep -c '^[0-9]')
        echo self $$ init $(cat /proc/1/comm)
        echo key $(grep -c . /sys/firmware/* 2>/dev/null)
        echo devices $(ls /dev | tr '\n' ' ')
        echo mounts $(grep -c ' /newroot' /proc/self/mountinfo)
        echo cgroup $(cat /proc/self/cgroup) $(cat /sys/fs/cgroup/cgroup.procs | tr '\n' ' ')
        for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/power/state; do
            (echo x >$path) 2>/dev/null && echo $path takes a write
        done
        mknod /tmp/port c 4 64 2>/dev/null && echo a node
        mount -t tmpfs x /mnt 2>/dev/null && echo a mount
        echo environ $(cat /proc/1/environ | wc -c)
        grep CapBnd /proc/self/status
        true
    "#;
    let told = said(script, "");
    for line in [
        "self 2 init init\n",
        "key\n",
        "devices fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n",
        "mounts 0\n",
        "environ 0\n",
        "CapBnd:\t00000000a00425fb\n",
    ] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    for never in ["takes a write", "a node", "a mount"] {
        assert!(!told.contains(never), "{told}");
    }
    assert!(told.contains("cgroup 0::/ "), "{told}");
}

#[test]
fn capabilities_and_privileges_are_as_configured() {
    let script = "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status; \
        (echo x >/file) 2>/dev/null || echo read-only; date -s 2030-01-01 >/dev/null && date +%Y";
    let isolation = "readOnly=true,noNewPrivileges=true,capAdd=SYS_TIME,capDrop=ALL";
    let told = said(script, isolation);
    for line in [
        "CapEff:\t0000000002000000\n",
        "CapBnd:\t0000000002000000\n",
        "NoNewPrivs:\t1\n",
        "read-only\n",
        "2030\n",
    ] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
}

#[test]
fn an_exec_lives_in_the_same_namespaces_and_an_ordinary_user_has_no_capabilities() {
    let script = "sleep 1000 & echo up; wait";
    let mut machine = Machine::new(&["/bin/sh", "-c", script]);
    machine.listen();
    machine.boot();
    machine.until("the container runs", |m| m.output_so_far() == b"up\n");
    let output = machine.vch(&["exec", ID, "ps", "-o", "comm"]);
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(told, "COMMAND\ninit\nsh\nsleep\nps\n");
    let grep = ["grep", "-E", "CapEff|^Groups", "/proc/self/status"];
    let output = machine.vch(&[&["exec", "-u", "user", ID][..], &grep].concat());
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(told, "Groups:\t10 \nCapEff:\t0000000000000000\n");
    assert!(machine.vch(&["stop", "-t", "1", ID]).status.success());
    machine.off();
}

#[test]
fn a_privileged_container_has_the_whole_machine() {
    let script = "cat /proc/1/comm; grep CapEff /proc/self/status; ls /dev/ttyS0; \
        mkdir -p /mnt; mount -t tmpfs x /mnt && echo mounted; echo x >/proc/sys/kernel/hostname && hostname";
    let told = said(script, "privileged=true");
    assert!(
        told.starts_with("init\nCapEff:\t000001ffffffffff\n/dev/ttyS0\nmounted\nx\n"),
        "{told}"
    );
}

#[test]
fn a_wrong_setting_is_told_and_nothing_runs() {
    let mut machine = Machine::new(&["/bin/echo", "never"]);
    machine.set(ISOLATION, "readonly=true");
    machine.listen();
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(error.contains(ISOLATION), "{}", machine.told());
    assert!(error.contains("noNewPrivileges"), "{}", machine.told());
    assert_eq!(machine.output_so_far(), b"");
}

/// A signal to process 1 in the container is for the container, as with `docker run --init`.
#[test]
fn the_stand_in_passes_signals_on() {
    let script = "trap 'echo told; exit 7' TERM; (kill -TERM 1) & wait; wait";
    let mut machine = Machine::new(&["/bin/sh", "-c", script]);
    assert_eq!(machine.run(), "7", "{}", machine.told());
    assert_eq!(machine.output().0, b"told\n");
}

/// Whoever is left when the container has ended is asked before it is killed.
#[test]
fn daemons_that_are_left_get_their_time() {
    let script = "(trap 'echo bye >/left; exit' TERM; echo >/ready; while :; do sleep 0.1; done) & \
        until [ -e /ready ]; do sleep 0.1; done; exec echo main";
    let mut machine = Machine::new(&["/bin/sh", "-c", script]);
    assert_eq!(machine.run(), "0", "{}", machine.told());
    machine.set(&format!("guestinfo./sessions|{}/cmd/Path", ID), "/bin/cat");
    machine.set(
        &format!("guestinfo./sessions|{}/cmd/Args~", ID),
        "/bin/cat|/left|/left",
    );
    machine.boot();
    machine.off();
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    assert!(out.ends_with("bye\nbye\n"), "{out}\n{}", machine.told());
}

#[test]
fn processes_are_bounded_as_configured() {
    let script = "umask; ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; \
        cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cat /proc/sys/net/core/somaxconn; cut -d ' ' -f 19 /proc/self/stat";
    let isolation = "umask=0027,ulimits=nofile:100:200+core:0,oomScoreAdj=77,memory=67108864,pids=50,\
        sysctls=net.core.somaxconn:77";
    let told = said(script, isolation);
    assert_eq!(told, "0027\n100\n200\n0\n77\n67108864\n50\n77\n0\n");
}

#[test]
fn a_container_that_wants_more_memory_than_it_may_have_is_ended_for_that() {
    let mut machine = Machine::new(&["/bin/sh", "-c", "tail /dev/zero"]);
    machine.set(ISOLATION, "memory=16777216");
    assert_eq!(machine.run(), "137", "{}", machine.told());
    let told = machine.vch(&["inspect", ID]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("\"OOMKilled\": true"), "{told}");
}

#[test]
fn a_limit_that_cannot_be_set_keeps_the_container_from_starting() {
    let mut machine = Machine::new(&["/bin/true"]);
    machine.set(ISOLATION, "sysctls=net.core.no_such_thing:1");
    assert_eq!(machine.run(), "125", "{}", machine.told());
    let error = machine.error();
    assert!(error.contains("sysctl net.core.no_such_thing=1"), "{error}");
}
