//! The JSON document of plain QEMU machines: the serde form of [`ContainerVm`].
//!
//! ```json
//! { "id": "a1", "repo": "hello-world",
//!   "sessions": { "a1": { "path": "/hello", "env": ["PATH=/bin"] } },
//!   "mounts":   { "data": { "source": "label://data-1", "dest": "/data", "mode": "rw" } },
//!   "networks": { "bridge": { "slot": "52:54:00:12:34:56", "address": "172.16.0.2/16" } } }
//! ```
//! A field that is not there, or `null`, has its default; an unknown one counts for nothing.
//! `attach` is true unless said otherwise: whoever starts a container with docker can attach to
//! it later, and only `openstdin` (docker's `-i`) is asked for. `generation` is always JSON's,
//! whatever the document says, so that the output of `tether config` is itself such a document.
//!
//! The document is walked by hand, not by serde's derive: all wrong types are told at once, each
//! by its path, no message shows a secret, and it is the smaller code in the guest.

use serde_json::{Map as Object, Value};

use super::error::{Errors, Problem, Shown};
use super::field::{self, Entry, Leaf, Map};
use super::isolation::Isolation;
use super::model::{
    ContainerVm, CopyMode, Generation, LinkConfig, Mount, Network, Secret, Session, TrustLevel,
    WhenFull,
};
use super::names::Names;
use super::{capability, validate};

/// Reads a document.
///
/// # Errors
/// All that is wrong with it, each by its path (`sessions.abc.args[1]`), or that it is no JSON.
pub fn decode(document: &[u8]) -> Result<ContainerVm, Errors> {
    decode_object(&object(document)?)
}

/// What the model's generation stands under.
const GENERATION: &str = "generation";

/// Reads the model as [`ContainerVm`]'s own serde form has it: it was checked and completed when it was read first.
///
/// # Errors
/// A value is of the wrong type, or it is no JSON.
pub fn restore(document: &[u8]) -> Result<ContainerVm, Errors> {
    let mut problems = Vec::new();
    let document = object(document)?;
    let mut vm = container(&document, &mut problems);
    Errors::check(problems)?;
    let generation = document.get(GENERATION).and_then(Value::as_str);
    vm.generation = generation.map(Generation::from_name).unwrap_or_default();
    Ok(vm)
}

/// The document as an object, whatever is in it.
pub(super) fn object(document: &[u8]) -> Result<Object<String, Value>, Errors> {
    let cause = match serde_json::from_slice(document) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(other) => format!("it is {}", kind(&other)),
        Err(error) => error.to_string(),
    };
    Err(Problem::NotAnObject { cause }.into())
}

/// Reads a document that has been parsed.
pub(super) fn decode_object(document: &Object<String, Value>) -> Result<ContainerVm, Errors> {
    let mut problems = Vec::new();
    let mut vm = container(document, &mut problems);
    validate::complete(&mut vm);
    for problem in validate::problems(&vm, vm.generation) {
        // A value of the wrong type has left its field empty: that is said already.
        let said = |p: &Problem| within(problem.name(), p.name());
        if !problems.iter().any(said) {
            problems.push(problem);
        }
    }
    Errors::check(problems)?;
    Ok(vm)
}

/// True when `name` is `other`, or something in it.
pub(super) fn within(name: Option<&str>, other: Option<&str>) -> bool {
    let (Some(name), Some(other)) = (name, other) else {
        return false;
    };
    name.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What a value is, without telling it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// One object of the document, with its place for the messages.
struct Fields<'d, 'p> {
    object: Option<&'d Object<String, Value>>,
    at: Entry<'d>,
    problems: &'p mut Vec<Problem>,
}

impl<'d> Fields<'d, '_> {
    /// The value of a field; None where there is none.
    fn get(&self, leaf: &Leaf) -> Option<&'d Value> {
        self.object?.get(leaf.json).filter(|value| !value.is_null())
    }

    fn name(&self, leaf: &Leaf, index: Option<usize>) -> String {
        field::name(Generation::Json, self.at, leaf, index)
    }

    fn malformed(&mut self, leaf: &Leaf, index: Option<usize>, value: &Value, expected: &str) {
        let name = self.name(leaf, index);
        self.problems
            .push(malformed(name, leaf.hidden, value, expected));
    }

    fn parsed<T>(
        &mut self,
        leaf: &Leaf,
        expected: &str,
        parse: impl FnOnce(&'d Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(leaf)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.malformed(leaf, None, value, expected);
        }
        parsed
    }

    fn string(&mut self, leaf: &Leaf) -> String {
        self.parsed(leaf, "a string", Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    fn flag(&mut self, leaf: &Leaf, default: bool) -> bool {
        self.parsed(leaf, "true or false", Value::as_bool)
            .unwrap_or(default)
    }

    fn number<T: TryFrom<u64>>(&mut self, leaf: &Leaf, default: T) -> T {
        self.parsed(leaf, "a whole number", |value| {
            T::try_from(value.as_u64()?).ok()
        })
        .unwrap_or(default)
    }

    /// A text that stands for something.
    fn meaning<T>(&mut self, leaf: &Leaf, expected: &str, of: fn(&str) -> Option<T>) -> Option<T> {
        self.parsed(leaf, expected, |value| of(value.as_str()?))
    }

    fn array<T>(&mut self, leaf: &Leaf, expected: &str, of: fn(&str) -> Option<T>) -> Vec<T> {
        let mut elements = Vec::new();
        let array = self.parsed(leaf, "an array", Value::as_array);
        for (index, value) in array.into_iter().flatten().enumerate() {
            match value.as_str().and_then(of) {
                Some(element) => elements.push(element),
                None => self.malformed(leaf, Some(index), value, expected),
            }
        }
        elements
    }

    /// Where there is a list, an empty one too.
    fn paths(&mut self, leaf: &Leaf) -> Option<Vec<String>> {
        self.get(leaf)?;
        Some(self.strings(leaf))
    }

    fn strings(&mut self, leaf: &Leaf) -> Vec<String> {
        self.array(leaf, "a string", |text| Some(text.to_owned()))
    }
}

fn malformed(name: String, hidden: bool, value: &Value, expected: &str) -> Problem {
    let value = match value {
        Value::String(text) => Shown::unless(hidden, text),
        Value::Object(_) | Value::Array(_) => Shown::Hidden,
        other => Shown::unless(hidden, &other.to_string()),
    };
    Problem::Malformed {
        name,
        value,
        expected: expected.to_owned(),
    }
}

/// The entries of a map, each read by `read`.
fn entries<'d, T>(
    document: &'d Object<String, Value>,
    map: Map,
    problems: &mut Vec<Problem>,
    read: fn(&mut Fields<'d, '_>) -> T,
) -> std::collections::BTreeMap<String, T> {
    let object = match document.get(map.name()) {
        None | Some(Value::Null) => return Default::default(),
        Some(Value::Object(object)) => object,
        Some(other) => {
            let name = map.name().to_owned();
            problems.push(malformed(name, false, other, "an object"));
            return Default::default();
        }
    };
    let mut read_entry = |(key, value): (&'d String, &'d Value)| {
        let object = value.as_object();
        if object.is_none() && !value.is_null() {
            let name = format!("{}.{key}", map.name());
            problems.push(malformed(name, false, value, "an object"));
        }
        let mut fields = Fields {
            object,
            at: map.entry(key),
            problems: &mut *problems,
        };
        (key.clone(), read(&mut fields))
    };
    object.iter().map(&mut read_entry).collect()
}

fn container(document: &Object<String, Value>, problems: &mut Vec<Problem>) -> ContainerVm {
    let mut fields = Fields {
        object: Some(document),
        at: Entry::Top,
        problems: &mut *problems,
    };
    let mut vm = ContainerVm {
        id: fields.string(&field::ID),
        name: fields.string(&field::NAME),
        repo: fields.string(&field::REPO),
        hostname: fields.string(&field::HOSTNAME),
        domainname: fields.string(&field::DOMAINNAME),
        layerid: fields.string(&field::LAYERID),
        imageid: fields.string(&field::IMAGEID),
        debug: fields.number(&field::DEBUG, 0),
        key: fields
            .meaning(&field::KEY, "base64", Secret::from_base64)
            .unwrap_or_default(),
        link_key: fields
            .meaning(&field::LINK_KEY, field::LINK_KEY_EXPECTED, Secret::link_key)
            .unwrap_or_default(),
        link: link(&mut fields),
        isolation: isolation(&mut fields),
        names: names(&mut fields),
        ..ContainerVm::default()
    };
    vm.sessions = entries(document, Map::Sessions, problems, session);
    vm.execs = entries(document, Map::Execs, problems, session);
    vm.mounts = entries(document, Map::Mounts, problems, mount);
    vm.networks = entries(document, Map::Networks, problems, network);
    vm
}

/// What is expected where something may be full.
const FULL: &str = "block or drop-oldest";

fn link(fields: &mut Fields<'_, '_>) -> LinkConfig {
    let default = LinkConfig::default();
    let object = fields.parsed(&field::LINK, "an object", Value::as_object);
    let mut fields = Fields {
        object,
        at: Entry::Link,
        problems: &mut *fields.problems,
    };
    LinkConfig {
        buffer: fields.number(&field::LINK_BUFFER, default.buffer),
        full: fields
            .meaning(&field::LINK_FULL, FULL, WhenFull::from_name)
            .unwrap_or(default.full),
        exit_wait: fields.number(&field::LINK_EXIT_WAIT, default.exit_wait),
        emergency_wait: fields.number(&field::LINK_EMERGENCY_WAIT, default.emergency_wait),
        stdio_grace: fields.number(&field::LINK_STDIO_GRACE, default.stdio_grace),
    }
}

fn isolation(fields: &mut Fields<'_, '_>) -> Isolation {
    let object = fields.parsed(&field::ISOLATION, "an object", Value::as_object);
    let mut fields = Fields {
        object,
        at: Entry::Isolation,
        problems: &mut *fields.problems,
    };
    let capability = |text: &str| capability::set(text).map(|_| text.to_owned());
    const NAME: &str = "a capability, such as NET_ADMIN, or ALL";
    Isolation {
        privileged: fields.flag(&field::PRIVILEGED, false),
        init: fields.flag(&field::INIT, true),
        read_only: fields.flag(&field::READ_ONLY, false),
        no_new_privileges: fields.flag(&field::NO_NEW_PRIVILEGES, false),
        cap_add: fields.array(&field::CAP_ADD, NAME, capability),
        cap_drop: fields.array(&field::CAP_DROP, NAME, capability),
        group_add: fields.strings(&field::GROUP_ADD),
        umask: fields.string(&field::UMASK),
        ulimits: fields.strings(&field::ULIMITS),
        oom_score_adj: fields
            .parsed(&field::OOM_SCORE_ADJ, "a whole number", |value| {
                i32::try_from(value.as_i64()?).ok()
            })
            .unwrap_or_default(),
        memory: fields.number(&field::MEMORY, 0),
        pids: fields.number(&field::PIDS, 0),
        sysctls: fields.strings(&field::SYSCTLS),
        masked_paths: fields.paths(&field::MASKED_PATHS),
        readonly_paths: fields.paths(&field::READONLY_PATHS),
        seccomp: fields.get(&field::SECCOMP).cloned(),
    }
}

fn names(fields: &mut Fields<'_, '_>) -> Names {
    let object = fields.parsed(&field::NAMES, "an object", Value::as_object);
    let mut fields = Fields {
        object,
        at: Entry::Names,
        problems: &mut *fields.problems,
    };
    Names {
        hosts: fields.strings(&field::NAMES_HOSTS),
        search: fields.strings(&field::NAMES_SEARCH),
        options: fields.strings(&field::NAMES_OPTIONS),
    }
}

fn session(fields: &mut Fields<'_, '_>) -> Session {
    Session {
        id: fields.string(&field::ID),
        name: fields.string(&field::NAME),
        path: fields.string(&field::PATH),
        args: fields.strings(&field::ARGS),
        env: fields.strings(&field::ENV),
        dir: fields.string(&field::DIR),
        attach: fields.flag(&field::ATTACH, true),
        openstdin: fields.flag(&field::OPENSTDIN, false),
        tty: fields.flag(&field::TTY, false),
        restart: fields.flag(&field::RESTART, false),
        active: fields.flag(&field::ACTIVE, true),
        runblock: fields.flag(&field::RUNBLOCK, false),
        user: fields.string(&field::USER),
        group: fields.string(&field::GROUP),
        groups: fields.strings(&field::GROUPS),
        stop_signal: fields.string(&field::STOP_SIGNAL),
        full: fields.meaning(&field::FULL, FULL, WhenFull::from_name),
    }
}

fn mount(fields: &mut Fields<'_, '_>) -> Mount {
    Mount {
        source: fields.string(&field::SOURCE),
        dest: fields.string(&field::DEST),
        mode: fields.string(&field::MODE),
        copymode: fields
            .meaning(&field::COPYMODE, "unset, never or new", CopyMode::from_name)
            .unwrap_or_default(),
    }
}

fn network(fields: &mut Fields<'_, '_>) -> Network {
    const NET: &str = "ADDRESS/PREFIX, such as 172.16.0.2/16";
    Network {
        slot: fields.string(&field::SLOT),
        name: fields.string(&field::ALIAS),
        network: fields.string(&field::NETWORK),
        address: fields.meaning(&field::ADDRESS, NET, |text| text.parse().ok()),
        gateway: fields.meaning(&field::GATEWAY, NET, |text| text.parse().ok()),
        default: fields.flag(&field::DEFAULT, false),
        nameservers: fields.array(&field::NAMESERVERS, "an address, such as 8.8.8.8", |text| {
            text.parse().ok()
        }),
        destinations: fields.array(&field::DESTINATIONS, NET, |text| text.parse().ok()),
        ports: fields.strings(&field::PORTS),
        internal: fields.flag(&field::INTERNAL, false),
        trust: fields
            .meaning(
                &field::TRUST,
                "unspecified, published, open, closed, outbound or peers",
                TrustLevel::from_name,
            )
            .unwrap_or_default(),
    }
}
