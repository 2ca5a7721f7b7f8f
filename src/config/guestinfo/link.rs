//! All settings of the link in one value: `buffer=1048576,full=block,exitWait=10,stdioGrace=2`.

use crate::config::model::{LinkConfig, WhenFull};

/// What an error says should have stood under the key.
pub(super) const EXPECTED: &str = "NAME=VALUE joined by commas, of buffer (bytes), full and full.SESSION (block or \
     drop-oldest), exitWait, stdioGrace \
     and emergencyWait (seconds)";

/// The link's settings, and for single sessions what happens when they are full.
pub(super) type Settings = (LinkConfig, Vec<(String, WhenFull)>);

/// The settings; what is not named stays at its default, a name that is not known counts for
/// nothing. None: malformed.
pub(super) fn parse(text: &str) -> Option<Settings> {
    let (mut link, mut full_of) = Settings::default();
    for setting in text.split(',') {
        let (name, value) = setting.split_once('=')?;
        let value = value.trim();
        match name.trim() {
            "buffer" => link.buffer = value.parse().ok()?,
            "full" => link.full = WhenFull::from_name(value)?,
            "exitWait" => link.exit_wait = value.parse().ok()?,
            "emergencyWait" => link.emergency_wait = value.parse().ok()?,
            "stdioGrace" => link.stdio_grace = value.parse().ok()?,
            name => {
                if let Some(session) = name.strip_prefix("full.") {
                    full_of.push((session.to_owned(), WhenFull::from_name(value)?));
                }
            }
        }
    }
    Some((link, full_of))
}

/// All settings, in the form that [`parse`] takes; `full_of`: those of single sessions.
pub(super) fn text<'a>(
    link: &LinkConfig,
    full_of: impl Iterator<Item = (&'a str, WhenFull)>,
) -> String {
    let LinkConfig {
        buffer,
        full,
        exit_wait,
        stdio_grace,
        emergency_wait,
    } = link;
    let full = full.name();
    let mut text =
        format!("buffer={buffer},full={full},exitWait={exit_wait},stdioGrace={stdio_grace}");
    if *emergency_wait > 0 {
        text += &format!(",emergencyWait={emergency_wait}");
    }
    for (session, full) in full_of {
        text += &format!(",full.{session}={}", full.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_at_its_default() {
        let (link, full_of) =
            parse("exitWait=3, later=yes,full=drop-oldest,full.a1=block").expect("well formed");
        let wanted = LinkConfig {
            full: WhenFull::DropOldest,
            exit_wait: 3,
            ..LinkConfig::default()
        };
        assert_eq!(link, wanted);
        assert_eq!(full_of, [("a1".to_owned(), WhenFull::Block)]);
        let written = text(&link, full_of.iter().map(|(id, full)| (id.as_str(), *full)));
        assert_eq!(parse(&written), Some((link, full_of)));
    }

    #[test]
    fn a_setting_without_its_value_is_malformed() {
        for malformed in [
            "buffer",
            "buffer=",
            "exitWait=-1",
            "stdioGrace=2s",
            ",",
            "full=maybe",
            "full.a1=maybe",
        ] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
