//! All names in one value: `hosts=db:10.0.0.7+cache:fd00::8,search=example.org,options=ndots:1+rotate`.

use crate::config::names::{Names, host, is_word};

/// What an error says should have stood under the key.
pub(super) const EXPECTED: &str = "NAME=VALUE joined by commas, of hosts (NAME:ADDRESS joined by +), search (domains joined by +) and options (of \
     resolv.conf, joined by +)";

/// The settings; what is not named is none.
pub(super) fn parse(text: &str) -> Option<Names> {
    let mut names = Names::default();
    for setting in text.split(',') {
        let (name, value) = setting.split_once('=')?;
        match name.trim() {
            "hosts" => names.hosts = list(value, |text| host(text).is_some())?,
            "search" => names.search = list(value, is_word)?,
            "options" => names.options = list(value, is_word)?,
            _ => return None,
        }
    }
    Some(names)
}

fn list(text: &str, is_good: fn(&str) -> bool) -> Option<Vec<String>> {
    let words = text
        .split('+')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words
        .map(|word| is_good(word).then(|| word.to_owned()))
        .collect()
}

/// All settings, in the form that [`parse`] takes.
pub(super) fn text(names: &Names) -> String {
    let Names {
        hosts,
        search,
        options,
    } = names;
    let all = [("hosts", hosts), ("search", search), ("options", options)];
    let said = all.iter().filter(|(_, words)| !words.is_empty());
    let said = said.map(|(name, words)| format!("{name}={}", words.join("+")));
    said.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let names = parse("hosts=a:10.0.0.7+b:fd00::8, search=example.org+x,options=ndots:1");
        let names = names.expect("well formed");
        assert_eq!(names.hosts, ["a:10.0.0.7", "b:fd00::8"]);
        assert_eq!(names.search, ["example.org", "x"]);
        assert_eq!(parse(&text(&names)), Some(names));
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for malformed in ["", "hosts", "hosts=a", "host=a:10.0.0.7", "search=a b"] {
            assert_eq!(parse(malformed), None, "{malformed}");
        }
    }
}
