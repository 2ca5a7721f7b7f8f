//! All settings of the isolation in one value: `privileged=false,readOnly=true,capAdd=NET_ADMIN+SYS_TIME`.

use crate::config::capability;
use crate::config::isolation::Isolation;

/// What an error says should have stood under the key.
pub(super) const EXPECTED: &str = "NAME=VALUE joined by commas, of privileged, init, readOnly and noNewPrivileges (true or false), \
     capAdd and capDrop (capabilities joined by +, such as NET_ADMIN+SYS_TIME, or ALL)";

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
            _ => return None,
        }
    }
    Some(isolation)
}

fn capabilities(text: &str) -> Option<Vec<String>> {
    let names = text
        .split('+')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names
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
    } = isolation;
    let (add, drop) = (cap_add.join("+"), cap_drop.join("+"));
    format!(
        "privileged={privileged},init={init},readOnly={read_only},noNewPrivileges={no_new_privileges},\
         capAdd={add},capDrop={drop}"
    )
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
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for malformed in [
            "",
            "privileged",
            "privileged=1",
            "readonly=true",
            "capAdd=NET_ADMN",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
