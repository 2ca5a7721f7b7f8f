//! Reads the object of a request so that no option is swallowed: what was not asked for by name must be empty.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Why a container cannot be made as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wish {
    /// It makes no sense.
    #[error("{0}")]
    Bad(String),
    /// It makes sense, and is not done here.
    #[error("{0}")]
    Refused(String),
}

/// An object, and which of its fields were read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// What the object is called.
    at: &'static str,
    map: Option<&'a Map<String, Value>>,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Of a value that is an object, or not there.
    pub(super) fn of(at: &'static str, value: &'a Value) -> Result<Self, Wish> {
        match value {
            Value::Null | Value::Object(_) => Ok(Self {
                at,
                map: value.as_object(),
                read: RefCell::default(),
            }),
            _ => Err(Wish::Bad(format!("{at}: expected an object"))),
        }
    }

    /// A field; none: it is not there, or null.
    pub(super) fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(name);
        self.map?.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Wish> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let bad = || Wish::Bad(format!("{}.{name}: expected {expected}", self.at));
        read(value).map(Some).ok_or_else(bad)
    }

    /// A text; empty: it is not there.
    pub(super) fn text(&self, name: &'static str) -> Result<&'a str, Wish> {
        let text = self.typed(name, "a text", Value::as_str)?;
        Ok(text.unwrap_or_default())
    }

    /// Yes or no; none: not said.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, Wish> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A number; 0: it is not there.
    pub(super) fn number(&self, name: &'static str) -> Result<i64, Wish> {
        let number = self.typed(name, "a number", Value::as_i64)?;
        Ok(number.unwrap_or_default())
    }

    /// Texts; none: not said.
    pub(super) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, Wish> {
        self.typed(name, "a list of texts", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    /// Texts, or one that stands for a list, as docker's older clients write it.
    pub(super) fn words(&self, name: &'static str) -> Result<Option<Vec<String>>, Wish> {
        if let Some(Value::String(text)) = self.value(name) {
            return Ok(Some(vec![text.clone()]));
        }
        self.texts(name)
    }

    /// An object; none: not there, or empty.
    pub(super) fn object(
        &self,
        name: &'static str,
    ) -> Result<Option<&'a Map<String, Value>>, Wish> {
        let map = self.typed(name, "an object", Value::as_object)?;
        Ok(map.filter(|map| !map.is_empty()))
    }

    /// Whatever else is in it must be empty, or be one of these values that mean what is done anyway.
    pub(super) fn rest(
        &self,
        usual: &[(&str, Value)],
        reasons: &[(&str, &str)],
    ) -> Result<(), Wish> {
        let read = self.read.borrow();
        for (name, value) in self.map.into_iter().flatten() {
            let is_usual = usual
                .iter()
                .any(|(own, usual)| own == name && usual == value);
            if read.contains(name.as_str()) || is_empty(value) || is_usual {
                continue;
            }
            let reason = reasons.iter().find(|(own, _)| own == name);
            let reason = reason.map_or("is not done for containers that are VMs", |(_, reason)| {
                *reason
            });
            return Err(Wish::Refused(format!("{}.{name} {reason}", self.at)));
        }
        Ok(())
    }
}

/// Nothing is asked for by it.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // `{"/data": {}}` is a set with something in it.
        Value::Object(map) => map
            .values()
            .all(|value| !value.is_object() && is_empty(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_read_must_be_empty_or_usual() {
        let value = json!({
            "Read": "x", "Null": null, "Zero": 0, "Deep": { "a": [] }, "Usual": -1,
        });
        let fields = Fields::of("HostConfig", &value).expect("an object");
        assert_eq!(fields.text("Read"), Ok("x"));
        let usual = [("Usual", json!(-1))];
        assert_eq!(fields.rest(&usual, &[]), Ok(()));
        let refused = fields.rest(&[], &[("Usual", "is bad")]);
        assert_eq!(
            refused,
            Err(Wish::Refused("HostConfig.Usual is bad".into()))
        );
    }

    #[test]
    fn another_type_is_named() {
        let value = json!({ "Env": "A=1", "Tty": "yes", "Cmd": "ls" });
        let fields = Fields::of("Config", &value).expect("an object");
        let bad = |text: &str| Wish::Bad(text.into());
        let list = bad("Config.Env: expected a list of texts");
        assert_eq!(fields.texts("Env"), Err(list));
        let flag = bad("Config.Tty: expected true or false");
        assert_eq!(fields.flag("Tty"), Err(flag));
        assert_eq!(fields.words("Cmd"), Ok(Some(vec!["ls".into()])));
    }
}
