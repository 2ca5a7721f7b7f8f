//! Reading of a JSON document by paths: each wrong type is a problem with its path, and reads as nothing.

use serde_json::{Map as Object, Value};

use crate::config::error::{Problem, Shown};

/// An object of the document, which may be missing.
#[derive(Clone, Debug)]
pub(super) struct At<'d> {
    object: Option<&'d Object<String, Value>>,
    path: String,
}

impl<'d> At<'d> {
    pub(super) fn top(object: &'d Object<String, Value>) -> Self {
        Self {
            object: Some(object),
            path: String::new(),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.object.is_some()
    }

    pub(super) fn path(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    /// A member that is no `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'d Value> {
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// A member that is a text.
    pub(super) fn text_of(&self, name: &str) -> Option<String> {
        self.get(name)?.as_str().map(str::to_owned)
    }

    /// All members, in the order of their names.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'d String, &'d Value)> {
        self.object.into_iter().flatten()
    }
}

/// What has been found wrong.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn malformed(&mut self, at: &At<'_>, name: &str, value: &str, expected: &str) {
        self.problems.push(Problem::Malformed {
            name: at.path(name),
            value: Shown::Value(value.to_owned()),
            expected: expected.to_owned(),
        });
    }

    pub(super) fn malformed_secret(&mut self, at: &At<'_>, name: &str, expected: &str) {
        self.problems.push(Problem::Malformed {
            name: at.path(name),
            value: Shown::Hidden,
            expected: expected.to_owned(),
        });
    }

    /// Something that is not done here: an empty one asks for nothing.
    pub(super) fn refuse(&mut self, at: &At<'_>, name: &str, instead: &str) {
        let asks = |value: &Value| match value {
            Value::Object(object) => !object.is_empty(),
            Value::Array(array) => !array.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => true,
        };
        if at.get(name).is_some_and(asks) {
            self.problems.push(Problem::Unsupported {
                name: at.path(name),
                instead: instead.to_owned(),
            });
        }
    }

    fn parsed<'d, T>(
        &mut self,
        at: &At<'d>,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&'d Value) -> Option<T>,
    ) -> Option<T> {
        let value = at.get(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            // What it is instead may be a secret, of which the type is enough.
            self.malformed_secret(at, name, expected);
        }
        parsed
    }

    pub(super) fn object<'d>(&mut self, at: &At<'d>, name: &str) -> At<'d> {
        At {
            object: self.parsed(at, name, "an object", Value::as_object),
            path: at.path(name),
        }
    }

    pub(super) fn text(&mut self, at: &At<'_>, name: &str) -> String {
        self.parsed(at, name, "a string", Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    pub(super) fn flag(&mut self, at: &At<'_>, name: &str) -> bool {
        self.parsed(at, name, "true or false", Value::as_bool)
            .unwrap_or(false)
    }

    pub(super) fn number<T: TryFrom<u64>>(&mut self, at: &At<'_>, name: &str) -> Option<T> {
        self.parsed(at, name, "a whole number", |value| {
            T::try_from(value.as_u64()?).ok()
        })
    }

    pub(super) fn integer<T: TryFrom<i64>>(&mut self, at: &At<'_>, name: &str) -> Option<T> {
        self.parsed(at, name, "a whole number", |value| {
            T::try_from(value.as_i64()?).ok()
        })
    }

    /// The elements of an array that are as they should be; of the others each is a problem.
    pub(super) fn elements<'d, T>(
        &mut self,
        at: &At<'d>,
        name: &str,
        expected: &str,
        parse: impl Fn(&'d Value) -> Option<T>,
    ) -> Vec<T> {
        let mut elements = Vec::new();
        let array = self.parsed(at, name, "an array", Value::as_array);
        for (index, value) in array.into_iter().flatten().enumerate() {
            match parse(value) {
                Some(element) => elements.push(element),
                None => self.malformed_secret(at, &format!("{name}[{index}]"), expected),
            }
        }
        elements
    }

    pub(super) fn texts(&mut self, at: &At<'_>, name: &str) -> Vec<String> {
        self.elements(at, name, "a string", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// Numbers as texts.
    pub(super) fn numbers(&mut self, at: &At<'_>, name: &str) -> Vec<String> {
        self.elements(at, name, "a whole number", |value| {
            value.as_u64().map(|number| number.to_string())
        })
    }

    pub(super) fn objects<'d>(&mut self, at: &At<'d>, name: &str) -> Vec<At<'d>> {
        let objects = self.elements(at, name, "an object", Value::as_object);
        let path = at.path(name);
        let with_path = objects.into_iter().enumerate();
        with_path
            .map(|(index, object)| At {
                object: Some(object),
                path: format!("{path}[{index}]"),
            })
            .collect()
    }
}
