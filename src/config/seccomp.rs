//! Which system calls a container may make: `linux.seccomp` of the OCI runtime's document.

use serde_json::{Map as Object, Value};

use super::syscall;

/// What comes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Allow,
    /// It is made, and the kernel's audit log has it.
    Log,
    /// It fails with this error.
    Errno(u16),
    /// The process gets SIGSYS.
    Trap,
    /// The thread is ended.
    KillThread,
    /// The process is ended.
    KillProcess,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// With these bits of it.
    Masked(u64),
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}

/// What comes of a call when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The call's number.
    pub call: u32,
    /// The conditions.
    pub arguments: Vec<Argument>,
    /// What comes of it then.
    pub action: Action,
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seccomp {
    /// What comes of a call that no rule is about.
    pub default: Action,
    /// The rules; of those about one call the first that holds counts.
    pub rules: Vec<Rule>,
}

/// `EPERM`, what a call fails with where nothing else is said.
const ERRNO: u16 = 1;

impl Seccomp {
    /// Reads a profile.
    ///
    /// # Errors
    /// What is wrong with it: the first thing, by its path in the profile.
    pub fn parse(profile: &Value) -> Result<Self, String> {
        let profile = profile.as_object().ok_or("an object is expected")?;
        let default = action(profile, "defaultAction", "defaultErrnoRet", "")?;
        for (name, instead) in [(
            "listenerPath",
            "there is no agent of the host in the machine",
        )] {
            if profile.get(name).is_some_and(|value| !value.is_null()) {
                return Err(format!("{name} is not supported: {instead}"));
            }
        }
        let mut rules = Vec::new();
        let listed = profile.get("syscalls").and_then(Value::as_array);
        for (index, rule) in listed.into_iter().flatten().enumerate() {
            let at = format!("syscalls[{index}].");
            let rule = rule
                .as_object()
                .ok_or(format!("{at}: an object is expected"))?;
            one(rule, &at, default, &mut rules)?;
        }
        Ok(Self { default, rules })
    }
}

fn one(
    rule: &Object<String, Value>,
    at: &str,
    default: Action,
    rules: &mut Vec<Rule>,
) -> Result<(), String> {
    let action = action(rule, "action", "errnoRet", at)?;
    let listed = rule.get("args").and_then(Value::as_array);
    let arguments = listed.into_iter().flatten().map(argument);
    let arguments: Option<Vec<Argument>> = arguments.collect();
    let arguments = arguments.ok_or(format!(
        "{at}args: index (0 to 5), value and op (SCMP_CMP_EQ …) are expected of each"
    ))?;
    let names = rule.get("names").and_then(Value::as_array);
    let names = names.ok_or(format!("{at}names: a list of system calls is expected"))?;
    for name in names {
        let name = name.as_str().unwrap_or_default();
        match syscall::number(name) {
            Some(call) => rules.push(Rule {
                call,
                arguments: arguments.clone(),
                action,
            }),
            // What this kernel does not know it does not do; one that it may know some day is as the default says.
            None if default != Action::Allow => {}
            None => {
                return Err(format!(
                    "{at}names: {name:?} is no system call that is known"
                ));
            }
        }
    }
    Ok(())
}

fn action(
    object: &Object<String, Value>,
    name: &str,
    errno: &str,
    at: &str,
) -> Result<Action, String> {
    let number = object.get(errno).and_then(Value::as_u64);
    let number = number.and_then(|number| u16::try_from(number).ok());
    Ok(match object.get(name).and_then(Value::as_str) {
        Some("SCMP_ACT_ALLOW") => Action::Allow,
        Some("SCMP_ACT_LOG") => Action::Log,
        Some("SCMP_ACT_ERRNO") => Action::Errno(number.unwrap_or(ERRNO)),
        Some("SCMP_ACT_TRAP") => Action::Trap,
        Some("SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD") => Action::KillThread,
        Some("SCMP_ACT_KILL_PROCESS") => Action::KillProcess,
        other => {
            let other = other.unwrap_or_default();
            return Err(format!(
                "{at}{name}: {other:?}, and SCMP_ACT_ALLOW, LOG, ERRNO, TRAP, KILL or KILL_PROCESS is expected"
            ));
        }
    })
}

fn argument(value: &Value) -> Option<Argument> {
    const ARGUMENTS: u64 = 6;
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let (first, second) = (number("value")?, number("valueTwo").unwrap_or_default());
    let (compare, value_of) = match value.get("op")?.as_str()? {
        "SCMP_CMP_EQ" => (Compare::Equal, first),
        "SCMP_CMP_NE" => (Compare::NotEqual, first),
        "SCMP_CMP_LT" => (Compare::Less, first),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, first),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, first),
        "SCMP_CMP_GT" => (Compare::Greater, first),
        "SCMP_CMP_MASKED_EQ" => (Compare::Masked(first), second),
        _ => return None,
    };
    Some(Argument {
        index: number("index")
            .filter(|index| *index < ARGUMENTS)?
            .try_into()
            .ok()?,
        compare,
        value: value_of,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_as_an_engine_writes_it() {
        let profile = Seccomp::parse(&json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                { "names": ["read", "no_such_call", "write"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                  "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
                { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                  "args": [{ "index": 0, "value": 0x7E02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
                { "names": ["reboot"], "action": "SCMP_ACT_KILL" },
            ],
        }));
        let profile = profile.expect("good");
        assert_eq!(profile.default, Action::Errno(38));
        let calls: Vec<u32> = profile.rules.iter().map(|rule| rule.call).collect();
        assert_eq!(calls, [0, 1, 135, 56, 169]);
        let masked = profile.rules[3].arguments[0];
        assert_eq!(
            (masked.compare, masked.value),
            (Compare::Masked(0x7E02_0000), 0)
        );
        assert_eq!(profile.rules[4].action, Action::KillThread);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        for (profile, told) in [
            (json!([]), "an object"),
            (json!({}), "defaultAction"),
            (
                json!({ "defaultAction": "SCMP_ACT_NOTIFY" }),
                "SCMP_ACT_NOTIFY",
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x" }),
                "listenerPath",
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["mkdirr"], "action": "SCMP_ACT_ERRNO" }] }),
                "syscalls[0].names: \"mkdirr\"",
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                        "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }] }),
                "syscalls[0].args",
            ),
        ] {
            let error = Seccomp::parse(&profile).expect_err("wrong");
            assert!(error.contains(told), "{told}: {error}");
        }
    }
}
