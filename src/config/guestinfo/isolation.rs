//! All settings of the isolation in one value: `privileged=false,readOnly=true,capAdd=NET_ADMIN+SYS_TIME`.

use crate::config::Ulimit;
use crate::config::capability;
use crate::config::isolation::{Isolation, parse_mask, sysctl};

/// What an error says should have stood under the key.
pub(super) const EXPECTED: &str = "NAME=VALUE joined by commas, of privileged, init, readOnly and noNewPrivileges (true or false), \
     capAdd and capDrop (capabilities joined by +, such as NET_ADMIN+SYS_TIME, or ALL), groupAdd (groups joined by +), umask (octal), ulimits \
     (nofile:1024:2048+core:0), oomScoreAdj, memory (bytes), pids, and sysctls (NAME:VALUE joined by +)";

/// The settings; what is not named stays at its default. Unlike elsewhere a name that is not known is
/// malformed: whoever asks to be kept in must not be left out.
pub(super) fn parse(text: &str) -> Option<Isolation> {
    let mut isolation = Isolation::default();
    for setting in text.split(',') {
        let (name, value) = setting.split_once('=')?;
        let value = value.trim();
        match name.trim() {
            "privileged" => isolation.privileged = value.parse().ok()?,
            "init" => isolation.init = value.parse().ok()?,
            "readOnly" => isolation.read_only = value.parse().ok()?,
            "noNewPrivileges" => isolation.no_new_privileges = value.parse().ok()?,
            "capAdd" => isolation.cap_add = capabilities(value)?,
            "capDrop" => isolation.cap_drop = capabilities(value)?,
            "groupAdd" => isolation.group_add = list(value).map(str::to_owned).collect(),
            "umask" => {
                parse_mask(value)?;
                value.clone_into(&mut isolation.umask);
            }
            "ulimits" => isolation.ulimits = pairs(value, |text| text.parse::<Ulimit>().is_ok())?,
            "oomScoreAdj" => isolation.oom_score_adj = value.parse().ok()?,
            "memory" => isolation.memory = value.parse().ok()?,
            "pids" => isolation.pids = value.parse().ok()?,
            "sysctls" => isolation.sysctls = pairs(value, |text| sysctl(text).is_some())?,
            _ => return None,
        }
    }
    Some(isolation)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split('+').map(str::trim);
    names.filter(|name| !name.is_empty())
}

/// `NAME:VALUE`, as the `=` is taken here: of each the form that it has elsewhere.
fn pairs(text: &str, is_good: fn(&str) -> bool) -> Option<Vec<String>> {
    let pairs = list(text).map(|pair| pair.replacen(':', "=", 1));
    pairs.map(|pair| is_good(&pair).then_some(pair)).collect()
}

fn capabilities(text: &str) -> Option<Vec<String>> {
    list(text)
        .map(|name| capability::set(name).map(|_| name.to_owned()))
        .collect()
}

/// All settings, in the form that [`parse`] takes.
pub(super) fn text(isolation: &Isolation) -> String {
    let Isolation {
        privileged,
        init,
        read_only,
        no_new_privileges,
        cap_add,
        cap_drop,
        group_add,
        umask,
        ulimits,
        oom_score_adj,
        memory,
        pids,
        sysctls,
        masked_paths: _,
        readonly_paths: _,
        seccomp: _,
    } = isolation;
    let (add, drop) = (cap_add.join("+"), cap_drop.join("+"));
    let mut text = format!(
        "privileged={privileged},init={init},readOnly={read_only},noNewPrivileges={no_new_privileges},\
         capAdd={add},capDrop={drop}"
    );
    let joined = |pairs: &[String]| {
        let pairs = pairs.iter().map(|pair| pair.replacen('=', ":", 1));
        pairs.collect::<Vec<_>>().join("+")
    };
    for (name, value) in [
        ("groupAdd", group_add.join("+")),
        ("umask", umask.clone()),
        ("ulimits", joined(ulimits)),
        ("oomScoreAdj", nonzero(oom_score_adj)),
        ("memory", nonzero(memory)),
        ("pids", nonzero(pids)),
        ("sysctls", joined(sysctls)),
    ] {
        if !value.is_empty() {
            text += &format!(",{name}={value}");
        }
    }
    text
}

fn nonzero<T: Default + PartialEq + ToString>(number: &T) -> String {
    if *number == T::default() {
        String::new()
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let isolation = parse("readOnly=true, capAdd=NET_ADMIN+cap_sys_time,capDrop=ALL");
        let isolation = isolation.expect("well formed");
        assert!(isolation.read_only && !isolation.privileged);
        assert_eq!(isolation.cap_add, ["NET_ADMIN", "cap_sys_time"]);
        assert_eq!(parse(&text(&isolation)), Some(isolation));
        let limits = "groupAdd=7+adm,umask=0027,ulimits=nofile:1024:2048+core:0,oomScoreAdj=-5,memory=65536,pids=9,\
            sysctls=net.core.somaxconn:1024";
        let isolation = parse(limits).expect("well formed");
        assert_eq!(isolation.group_add, ["7", "adm"]);
        assert_eq!(isolation.ulimits, ["nofile=1024:2048", "core=0"]);
        assert_eq!(isolation.sysctls, ["net.core.somaxconn=1024"]);
        assert_eq!(parse(&text(&isolation)), Some(isolation));
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for malformed in [
            "",
            "privileged",
            "privileged=1",
            "readonly=true",
            "capAdd=NET_ADMN",
            "umask=8",
            "ulimits=files:3",
            "sysctls=a..b:3",
            "memory=64m",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
