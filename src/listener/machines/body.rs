//! `POST /containers/create`: docker's request and the image → what the machine is to be, and what is remembered.
//! An option that is accepted has its effect; one that cannot have it is refused by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{Fields, Wish};
use super::health::asked_for;
use super::lan::Wanted;
use super::logs::rotation;
use super::mounts::mounts;
use super::ports::{forwards, mode, names, ports, servers};
use super::spec::Spec;
use crate::config::isolation::Isolation;
use crate::config::model::{ContainerVm, Session};
use crate::image::Image;
use crate::provider::Machine;

/// MiB: the least that a machine starts with, and the step of VMware's.
const MEMORY_LEAST_MIB: u64 = 64;
const MEMORY_STEP_MIB: u64 = 4;
const MIB: i64 = 1 << 20;
/// Of docker's NanoCpus: one processor.
const NANO: i64 = 1_000_000_000;
/// Docker's size of /dev/shm, which is ours, too.
const SHM_BYTES: i64 = 64 << 20;

/// What does not depend on the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// MiB of a machine for which nobody says another number.
    pub(super) memory_mib: u64,
    /// Volumes without a name are called after it.
    pub(super) seed: [u8; 32],
    pub(super) now_ns: u64,
}

/// Options that cannot be had, and what to do instead.
const REASONS: [(&str, &str); 9] = [
    (
        "VolumesFrom",
        "is not possible: each container has a disk of its own",
    ),
    ("Devices", "is not possible: a VM has devices of its own"),
    (
        "DeviceRequests",
        "is not possible: a VM has devices of its own",
    ),
    (
        "PidMode",
        "is not possible: each container is a machine of its own",
    ),
    (
        "IpcMode",
        "is not possible: each container is a machine of its own",
    ),
    (
        "UTSMode",
        "is not possible: each container is a machine of its own",
    ),
    ("Links", "is not possible: publish a port instead (-p)"),
    (
        "PublishAllPorts",
        "is not done yet: publish each port by its number (-p)",
    ),
    (
        "StorageOpt",
        "is not done: vch listen --disk-size says how large disks are",
    ),
];

/// The machine of a request, without ID, name and keys, and the networks that it is to share.
pub(super) fn machine(
    body: &Value,
    image: &Image,
    setting: Setting,
) -> Result<(Machine, Spec, Vec<Wanted>), Wish> {
    let config = Fields::of("Config", body)?;
    let host = Fields::of("HostConfig", body.get("HostConfig").unwrap_or(&Value::Null))?;
    config.value("HostConfig");
    let mode = mode(&host, &config)?;
    let session = session(&config, image)?;
    let isolation = isolation(&host)?;
    let forwards = forwards(&host, mode.outside)?;
    servers(&host)?;
    let names = names(&host, mode.outside)?;
    let (memory_mib, processors) = (memory(&host, setting.memory_mib)?, processors(&host)?);
    let (volumes, mounts) = mounts(&host, &config, setting.seed)?;
    let labels = labels(&config, image)?;
    let exposed = exposed(&config, image)?;
    restart(&host)?;
    host.value("LogConfig");
    rotation(body.get("HostConfig").unwrap_or(&Value::Null))?;
    let (hostname, domainname) = (config.text("Hostname")?, config.text("Domainname")?);
    let mut shown = shown(&config, image, &session, &labels, &exposed)?;
    if config.flag("NetworkDisabled")? == Some(true) {
        shown["NetworkDisabled"] = true.into();
    }
    config_rest(&config)?;
    host_rest(&host)?;
    let name = config.text("Image")?.to_owned();
    let spec = Spec {
        image: name.clone(),
        image_id: image.id.clone(),
        created_ns: setting.now_ns,
        config: shown,
        host: body.get("HostConfig").cloned().unwrap_or_else(|| json!({})),
        ports: ports(&forwards),
        volumes: volumes.clone(),
        networks: Vec::new(),
    };
    let machine = Machine {
        config: ContainerVm {
            repo: name,
            imageid: image.id.clone(),
            hostname: hostname.to_owned(),
            domainname: domainname.to_owned(),
            sessions: BTreeMap::from([(String::new(), session)]),
            mounts,
            isolation,
            names,
            ..ContainerVm::default()
        },
        memory_mib,
        processors,
        volumes: volumes.into_iter().map(|place| place.name).collect(),
        ..Machine::default()
    };
    Ok((machine, spec, mode.shared))
}

fn session(config: &Fields<'_>, image: &Image) -> Result<Session, Wish> {
    let own = config.words("Entrypoint")?;
    let command = config.words("Cmd")?.filter(|words| !words.is_empty());
    // An entry point of one's own takes the image's command away, too.
    let default = || match own.is_some() {
        true => Vec::new(),
        false => image.list("Cmd"),
    };
    let command = command.unwrap_or_else(default);
    let entry = own.clone().unwrap_or_else(|| image.list("Entrypoint"));
    // `--entrypoint ""` is a list of one empty text.
    let entry = entry
        .into_iter()
        .filter(|word| !word.is_empty() || own.is_none());
    let args: Vec<String> = entry.chain(command).collect();
    let Some(path) = args.first().cloned() else {
        return Err(Wish::Bad("no command specified".into()));
    };
    let env = environment(image.list("Env"), config.texts("Env")?.unwrap_or_default());
    let or_image = |text: &str, name: &str| match text.is_empty() {
        true => image.text(name).to_owned(),
        false => text.to_owned(),
    };
    Ok(Session {
        path,
        args,
        env,
        dir: or_image(config.text("WorkingDir")?, "WorkingDir"),
        user: or_image(config.text("User")?, "User"),
        stop_signal: or_image(config.text("StopSignal")?, "StopSignal"),
        attach: true,
        openstdin: config.flag("OpenStdin")? == Some(true),
        tty: config.flag("Tty")? == Some(true),
        ..Session::default()
    })
}

/// The image's, and the request's over it. A name without a value takes the image's away.
fn environment(image: Vec<String>, own: Vec<String>) -> Vec<String> {
    let mut all = image;
    for word in own {
        let name = word
            .split_once('=')
            .map_or(word.as_str(), |(name, _)| name)
            .to_owned();
        all.retain(|old| old.split_once('=').map_or(old.as_str(), |(name, _)| name) != name);
        if word.contains('=') {
            all.push(word);
        }
    }
    all
}

fn isolation(host: &Fields<'_>) -> Result<Isolation, Wish> {
    let mut isolation = Isolation {
        privileged: host.flag("Privileged")? == Some(true),
        init: host.flag("Init")? != Some(false),
        read_only: host.flag("ReadonlyRootfs")? == Some(true),
        cap_add: host.texts("CapAdd")?.unwrap_or_default(),
        cap_drop: host.texts("CapDrop")?.unwrap_or_default(),
        group_add: host.texts("GroupAdd")?.unwrap_or_default(),
        ..Isolation::default()
    };
    isolation.oom_score_adj = i32::try_from(host.number("OomScoreAdj")?)
        .map_err(|_| Wish::Bad("HostConfig.OomScoreAdj: expected -1000 to 1000".into()))?;
    // Docker's -1: without a limit.
    isolation.pids = u64::try_from(host.number("PidsLimit")?).unwrap_or_default();
    for limit in host
        .value("Ulimits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let number = |name| limit.get(name).and_then(Value::as_i64).unwrap_or(-1);
        let text = |number: i64| match number {
            ..0 => "unlimited".to_owned(),
            number => number.to_string(),
        };
        let name = limit
            .get("Name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (soft, hard) = (text(number("Soft")), text(number("Hard")));
        isolation.ulimits.push(format!("{name}={soft}:{hard}"));
    }
    for (name, value) in host.object("Sysctls")?.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        isolation.sysctls.push(format!("{name}={value}"));
    }
    for option in host.texts("SecurityOpt")?.unwrap_or_default() {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => {
                isolation.no_new_privileges = true;
            }
            // There is no profile unless one is given.
            "seccomp=unconfined" | "apparmor=unconfined" | "label=disable" => {}
            other => {
                let text = format!("HostConfig.SecurityOpt {other:?} is not done");
                return Err(Wish::Refused(text));
            }
        }
    }
    Ok(isolation)
}

/// MiB of a machine; where nobody says a number, the usual one.
pub(super) fn memory(host: &Fields<'_>, usual_mib: u64) -> Result<u64, Wish> {
    let bytes = host.number("Memory")?;
    // Without swap in the machine, what docker asks for besides is no more than the memory.
    let swap = host.number("MemorySwap")?;
    if swap > 0 && swap != bytes && swap != 2 * bytes {
        return Err(Wish::Refused(
            "HostConfig.MemorySwap is not possible: a VM has no swap".into(),
        ));
    }
    if bytes == 0 {
        return Ok(usual_mib);
    }
    let mib = u64::try_from((bytes + MIB - 1) / MIB).unwrap_or_default();
    if mib < MEMORY_LEAST_MIB {
        return Err(Wish::Bad(format!(
            "Minimum memory limit allowed is {MEMORY_LEAST_MIB}MB: it is the memory of a VM with its kernel"
        )));
    }
    Ok(mib.next_multiple_of(MEMORY_STEP_MIB))
}

/// Virtual processors of a machine.
pub(super) fn processors(host: &Fields<'_>) -> Result<u32, Wish> {
    let nano = host.number("NanoCpus")?;
    let here = std::thread::available_parallelism().map_or(1, usize::from) as i64;
    if nano > here * NANO {
        return Err(Wish::Bad(format!(
            "Range of CPUs is from 0.01 to {here}.00, as there are only {here} CPUs available"
        )));
    }
    // A machine has whole processors.
    Ok(u32::try_from((nano + NANO - 1) / NANO).unwrap_or(1).max(1))
}

fn labels(config: &Fields<'_>, image: &Image) -> Result<Map<String, Value>, Wish> {
    let mut labels = image
        .setting("Labels")
        .as_object()
        .cloned()
        .unwrap_or_default();
    let own = config.object("Labels")?.cloned().unwrap_or_default();
    labels.extend(own);
    Ok(labels)
}

fn exposed(config: &Fields<'_>, image: &Image) -> Result<Map<String, Value>, Wish> {
    let mut ports = image
        .setting("ExposedPorts")
        .as_object()
        .cloned()
        .unwrap_or_default();
    ports.extend(config.object("ExposedPorts")?.cloned().unwrap_or_default());
    Ok(ports)
}

/// The policy is one, and does not contradict another wish.
pub(super) fn restart(host: &Fields<'_>) -> Result<(), Wish> {
    let policy = host.value("RestartPolicy").unwrap_or(&Value::Null);
    let name = policy
        .get("Name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !matches!(name, "" | "no" | "always" | "unless-stopped" | "on-failure") {
        return Err(Wish::Bad(format!("invalid restart policy '{name}'")));
    }
    let removed = host.flag("AutoRemove")? == Some(true);
    if removed && !matches!(name, "" | "no") {
        return Err(Wish::Bad(
            "can't create 'AutoRemove' container with restart policy".into(),
        ));
    }
    Ok(())
}

/// As docker shows it, with the names that have no value.
fn shown_env(config: &Fields<'_>, session: &Session) -> Result<Vec<String>, Wish> {
    let own = config.texts("Env")?.unwrap_or_default();
    let bare = own.into_iter().filter(|word| !word.contains('='));
    Ok(session.env.iter().cloned().chain(bare).collect())
}

/// `Config` as `inspect` shows it.
fn shown(
    config: &Fields<'_>,
    image: &Image,
    session: &Session,
    labels: &Map<String, Value>,
    exposed: &Map<String, Value>,
) -> Result<Value, Wish> {
    let flag = |name| config.flag(name).map(|flag| flag == Some(true));
    let own = config.words("Entrypoint")?;
    let entry = own.unwrap_or_else(|| image.list("Entrypoint"));
    let command = session.args.get(entry.len()..).unwrap_or_default();
    let mut shown = json!({
        "Hostname": config.text("Hostname")?,
        "Domainname": config.text("Domainname")?,
        "User": session.user,
        "AttachStdin": flag("AttachStdin")?,
        "AttachStdout": flag("AttachStdout")?,
        "AttachStderr": flag("AttachStderr")?,
        "Tty": session.tty,
        "OpenStdin": session.openstdin,
        "StdinOnce": flag("StdinOnce")?,
        "Env": shown_env(config, session)?,
        "Cmd": command,
        "Image": config.text("Image")?,
        "Volumes": config.object("Volumes")?,
        "WorkingDir": session.dir,
        "Entrypoint": if entry.is_empty() { Value::Null } else { json!(entry) },
        "OnBuild": null,
        "Labels": labels,
    });
    if !exposed.is_empty() {
        shown["ExposedPorts"] = json!(exposed);
    }
    if !session.stop_signal.is_empty() {
        shown["StopSignal"] = json!(session.stop_signal);
    }
    if let Some(check) = asked_for(config, image)? {
        shown["Healthcheck"] = check;
    }
    if let Some(shell) = image.setting("Shell").as_array() {
        shown["Shell"] = json!(shell);
    }
    if let Some(seconds) = config.value("StopTimeout") {
        shown["StopTimeout"] = seconds.clone();
    }
    Ok(shown)
}

fn config_rest(config: &Fields<'_>) -> Result<(), Wish> {
    config.value("ArgsEscaped");
    config.rest(&[], &REASONS)
}

fn host_rest(host: &Fields<'_>) -> Result<(), Wish> {
    host.value("ConsoleSize");
    let usual = [
        ("MemorySwappiness", json!(-1)),
        ("ShmSize", json!(SHM_BYTES)),
        ("CgroupnsMode", json!("private")),
        ("IpcMode", json!("private")),
        ("OomKillDisable", json!(false)),
        ("Isolation", json!("default")),
    ];
    host.rest(&usual, &REASONS)
}

#[cfg(test)]
mod tests;
