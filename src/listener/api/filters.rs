//! The `filters` parameter: values by name, in either of the two forms that docker's clients send.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::ApiError;

/// What is asked for: something passes when of each name one value fits.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Map(BTreeMap<String, bool>),
}

/// A `label` filter's value fits: `name`, or `name=value`.
pub fn labelled(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

impl Filters {
    /// Reads the parameter. `known`: the names that the call heeds; none is passed over in silence.
    ///
    /// # Errors
    /// It is malformed, or a name is not known.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let bad = |why: String| ApiError::bad_request(format!("filters={text}: {why}"));
        let read: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut filters = BTreeMap::new();
        for (name, values) in read {
            if !known.contains(&&*name) {
                return Err(bad(format!(
                    "{name:?} is not known: expected {}",
                    alternatives(known)
                )));
            }
            let values = match values {
                Values::List(list) => list,
                Values::Map(map) => map
                    .into_iter()
                    .filter(|(_, on)| *on)
                    .map(|(v, _)| v)
                    .collect(),
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    /// The values of a name.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// It passes when for each name there is no value, or one that `fits`.
    pub fn pass(&self, fits: impl Fn(&str, &str) -> bool) -> bool {
        self.0
            .iter()
            .all(|(name, values)| values.is_empty() || values.iter().any(|value| fits(name, value)))
    }
}

fn alternatives(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_in_either_form_are_read_and_unknown_ones_refused() {
        let parse = |text: &str| Filters::parse(Some(text), &["name", "status"]);
        for text in [
            r#"{"name":["a","b"]}"#,
            r#"{"name":{"a":true,"b":true,"c":false},"status":[]}"#,
        ] {
            let filters = parse(text).expect("known");
            assert_eq!(filters.values("name"), ["a", "b"]);
            assert!(filters.pass(|name, value| name == "name" && value == "b"));
            assert!(!filters.pass(|_, value| value == "c"));
        }
        assert!(parse("{}").expect("empty").pass(|_, _| false));
        for bad in [r#"{"label":["x"]}"#, "what", r#"{"name":1}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
