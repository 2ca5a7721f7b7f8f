//! The OCI runtime's `config.json` (runtime-spec 1.0 to 1.2), as `runc spec` or a container engine writes it.
//!
//! | in the document | here |
//! |---|---|
//! | `process.{args,env,cwd,terminal,user,rlimits,capabilities,noNewPrivileges,oomScoreAdj}` | the one session, and what bounds it |
//! | `root.readonly` | the root; where it is, its label says, and `root.path` counts for nothing |
//! | `hostname`, `domainname`, `linux.sysctl`, `linux.maskedPaths`, `linux.readonlyPaths`, `linux.seccomp` | the same |
//! | `linux.resources.memory.limit`, `.pids.limit` | limits of the container's cgroup |
//! | `mounts` | volumes; those that every container has (proc, sysfs, devpts …) are there anyway |
//! | `annotations` | what the document has no place for: `tether.id`, `tether.name`, `tether.image`, `tether.stdin`, `tether.linkkey` |
//!
//! Namespaces are the container's own in any case. What the machine cannot do, or leaves to who runs the
//! machine, is an error by its path.

mod linux;
mod mounts;
mod reader;

use serde_json::{Map as Object, Value};

use self::reader::{At, Reader};
use super::error::Errors;
use super::json::within;
use super::model::{ContainerVm, Secret, Session};
use super::{capability, field, validate};

/// What tells such a document from others.
pub(super) const MARK: &str = "ociVersion";

/// Reads a document that has been parsed.
pub(super) fn decode(document: &Object<String, Value>) -> Result<ContainerVm, Errors> {
    let mut reader = Reader::default();
    let top = At::top(document);
    let mut vm = container(&mut reader, &top);
    validate::complete(&mut vm);
    let mut problems = reader.problems;
    for problem in validate::problems(&vm, vm.generation) {
        let problem = problem.renamed(oci_name);
        // A value of the wrong type has left its field empty: that is said already.
        if !problems
            .iter()
            .any(|said| within(problem.name(), said.name()))
        {
            problems.push(problem);
        }
    }
    Errors::check(problems)?;
    Ok(vm)
}

fn container(reader: &mut Reader, top: &At<'_>) -> ContainerVm {
    for (name, instead) in [
        (
            "hooks",
            "they are programs of the host, which does not see into the machine",
        ),
        ("solaris", "this is a Linux machine"),
        ("windows", "this is a Linux machine"),
        ("vm", "the machine is its own: see `vmx run` and the .vmx"),
    ] {
        reader.refuse(top, name, instead);
    }
    let annotations = reader.object(top, "annotations");
    let said = |name: &str| annotations.text_of(name).unwrap_or_default();
    let mut vm = ContainerVm {
        id: said("tether.id"),
        name: said("tether.name"),
        repo: said("tether.image"),
        hostname: reader.text(top, "hostname"),
        domainname: reader.text(top, "domainname"),
        ..ContainerVm::default()
    };
    if vm.id.is_empty() {
        vm.id.clone_from(&vm.hostname);
    }
    if let Some(text) = annotations.text_of("tether.linkkey") {
        match Secret::link_key(&text) {
            Some(key) => vm.link_key = key,
            None => {
                reader.malformed_secret(&annotations, "tether.linkkey", field::LINK_KEY_EXPECTED)
            }
        }
    }
    let process = reader.object(top, "process");
    let mut session = session(reader, &process);
    session.openstdin = session.tty || said("tether.stdin") == "true";
    bounds(reader, &process, &mut vm);
    let root = reader.object(top, "root");
    vm.isolation.read_only = reader.flag(&root, "readonly");
    linux::read(reader, top, &mut vm);
    vm.mounts = mounts::read(reader, top);
    session.id.clone_from(&vm.id);
    vm.sessions.insert(vm.id.clone(), session);
    vm
}

fn session(reader: &mut Reader, process: &At<'_>) -> Session {
    let user = reader.object(process, "user");
    let number = |reader: &mut Reader, name| reader.number::<u32>(&user, name).unwrap_or(0);
    let (uid, gid) = (number(reader, "uid"), number(reader, "gid"));
    let args = reader.texts(process, "args");
    Session {
        path: args.first().cloned().unwrap_or_default(),
        args,
        env: reader.texts(process, "env"),
        dir: reader.text(process, "cwd"),
        attach: true,
        tty: reader.flag(process, "terminal"),
        user: format!("{uid}:{gid}"),
        groups: reader.numbers(&user, "additionalGids"),
        ..Session::default()
    }
}

/// What bounds the process, which stands with it in the document.
fn bounds(reader: &mut Reader, process: &At<'_>, vm: &mut ContainerVm) {
    for (name, instead) in [
        ("apparmorProfile", "the machine is the boundary"),
        ("selinuxLabel", "the machine is the boundary"),
        ("commandLine", "say args"),
        ("scheduler", "it is the machine's own"),
        ("ioPriority", "it is the machine's own"),
        ("execCPUAffinity", "give the machine its processors"),
    ] {
        reader.refuse(process, name, instead);
    }
    let isolation = &mut vm.isolation;
    let user = reader.object(process, "user");
    if let Some(mask) = reader.number::<u32>(&user, "umask") {
        isolation.umask = format!("{mask:04o}");
    }
    isolation.no_new_privileges = reader.flag(process, "noNewPrivileges");
    isolation.oom_score_adj = reader.integer(process, "oomScoreAdj").unwrap_or_default();
    for limit in reader.objects(process, "rlimits") {
        let kind = reader.text(&limit, "type");
        let value = |reader: &mut Reader, name| reader.number::<u64>(&limit, name).unwrap_or(0);
        let (soft, hard) = (value(reader, "soft"), value(reader, "hard"));
        isolation.ulimits.push(format!("{kind}={soft}:{hard}"));
    }
    let capabilities = reader.object(process, "capabilities");
    if capabilities.is_there() {
        isolation.cap_drop = vec!["ALL".to_owned()];
        isolation.cap_add = reader.texts(&capabilities, "bounding");
        for (index, name) in isolation.cap_add.clone().iter().enumerate() {
            if capability::set(name).is_none() {
                reader.malformed(
                    &capabilities,
                    &format!("bounding[{index}]"),
                    name,
                    "a capability",
                );
            }
        }
        isolation
            .cap_add
            .retain(|name| capability::set(name).is_some());
    }
}

/// The name that a field of the model has in this document.
fn oci_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("mounts.") {
        let (index, field) = rest.split_once('.').unwrap_or((rest, ""));
        let field = match field {
            "dest" => "destination",
            "mode" => "options",
            other => other,
        };
        return format!("mounts[{index}].{field}");
    }
    if let Some(rest) = name.strip_prefix("sessions.") {
        let field = rest.rsplit_once('.').map_or(rest, |(_, field)| field);
        let field = match field {
            "dir" => "cwd",
            "path" => "args",
            other => other,
        };
        return format!("process.{field}");
    }
    match name.strip_prefix("isolation.").unwrap_or(name) {
        "id" | "sessions" => "annotations.tether.id (or hostname)".to_owned(),
        "ulimits" => "process.rlimits".to_owned(),
        "oomScoreAdj" => "process.oomScoreAdj".to_owned(),
        "umask" => "process.user.umask".to_owned(),
        "memory" => "linux.resources.memory.limit".to_owned(),
        "pids" => "linux.resources.pids.limit".to_owned(),
        "sysctls" => "linux.sysctl".to_owned(),
        name @ ("maskedPaths" | "readonlyPaths" | "seccomp") => format!("linux.{name}"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests;
