//! Query parameters as docker's clients write them.

use std::collections::HashMap;

use super::error::ApiError;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(pub HashMap<String, String>);

impl Params {
    /// The parameter's text; an empty one is as good as none.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// True unless absent, empty, 0, no, false or none, in any case: docker-py writes `False`.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| {
            let no = ["0", "no", "false", "none"];
            !no.iter().any(|word| text.eq_ignore_ascii_case(word))
        })
    }

    /// A number, when there is one.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("{name}={text}: expected a number")))
    }

    /// A time as nanoseconds since 1970: `seconds`, `seconds.nanoseconds`, or RFC 3339.
    ///
    /// # Errors
    /// It is none of them.
    pub fn time_ns(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        seconds_ns(text)
            .or_else(|| rfc3339_ns(text))
            .map(Some)
            .ok_or_else(|| {
                let expected = "expected seconds since 1970 or an RFC 3339 time";
                ApiError::bad_request(format!("{name}={text}: {expected}"))
            })
    }
}

fn seconds_ns(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let nanos: u64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn rfc3339_ns(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn flags_are_read_as_every_client_writes_them() {
        for (text, flag) in [
            ("1", true),
            ("True", true),
            ("yes", true),
            ("0", false),
            ("False", false),
            ("none", false),
            ("", false),
        ] {
            assert_eq!(params(&[("all", text)]).flag("all"), flag, "{text:?}");
        }
        assert!(!params(&[]).flag("all"));
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let time = |text: &str| params(&[("since", text)]).time_ns("since").ok().flatten();
        assert_eq!(time("12"), Some(12_000_000_000));
        assert_eq!(time("12.5"), Some(12_500_000_000));
        assert_eq!(time("12.000000001"), Some(12_000_000_001));
        assert_eq!(time("1970-01-01T00:00:12.5Z"), Some(12_500_000_000));
        assert_eq!(time("yesterday"), None);
        assert_eq!(time("12.0000000001"), None);
        assert_eq!(time(""), None);
    }
}
