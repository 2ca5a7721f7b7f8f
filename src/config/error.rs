//! What is wrong with a configuration, all of it at once.

use std::fmt;

/// Longest excerpt of a value that a message shows, in characters.
const SHOWN_CHARACTERS: usize = 200;

/// One thing wrong with a configuration. `name` is a guestinfo key or a path in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A known field has a value that cannot be meant.
    #[error("{name} = {value}: expected {expected}")]
    Malformed {
        /// Key or path of the field.
        name: String,
        /// What stands there.
        value: Shown,
        /// What should stand there.
        expected: String,
    },
    /// A field that must be set is not.
    #[error("{name} is missing: {reason}")]
    Missing {
        /// Key or path of the field.
        name: String,
        /// Why nothing goes without it.
        reason: String,
    },
    /// A field asks for what is not done.
    #[error("{name} is not supported: {instead}")]
    Unsupported {
        /// Path of the field.
        name: String,
        /// Why, or what to do instead.
        instead: String,
    },
    /// There are keys, but neither of the two that say which sessions there are.
    #[error(
        "{id} and {sessions} are both missing: the guest cannot list keys, so it cannot know the \
         ID of its session; set {id} to the container's ID"
    )]
    Unidentified {
        /// Key of the container's ID.
        id: String,
        /// Key of the list of sessions.
        sessions: String,
    },
    /// Not one known key, under either generation's root.
    #[error(
        "no guestinfo at all: no key of a containerVM under guestinfo./ or guestinfo.vice./; \
         the VM's .vmx has to hold its configuration"
    )]
    NoGuestinfo,
    /// The host did not answer for a key; nothing was read after it.
    #[error("cannot read {name}: {cause}")]
    Unreadable {
        /// The key.
        name: String,
        /// The transport's own words.
        cause: String,
    },
    /// The document cannot be unpacked.
    #[error("{cause}")]
    Packed {
        /// What is wrong with it.
        cause: String,
    },
    /// The document is not JSON, or not an object.
    #[error("the configuration document is not a JSON object: {cause}")]
    NotAnObject {
        /// What the parser said, with line and column.
        cause: String,
    },
}

impl Problem {
    /// The same under the name that the field has elsewhere.
    pub(crate) fn renamed(mut self, rename: fn(&str) -> String) -> Self {
        if let Self::Malformed { name, .. } | Self::Missing { name, .. } = &mut self {
            *name = rename(name);
        }
        self
    }

    /// Key or path that this is about, where it is about one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Malformed { name, .. }
            | Self::Missing { name, .. }
            | Self::Unsupported { name, .. }
            | Self::Unreadable { name, .. } => Some(name),
            Self::Unidentified { id, .. } => Some(id),
            Self::NoGuestinfo | Self::Packed { .. } | Self::NotAnObject { .. } => None,
        }
    }
}

/// A value as a message may show it: keys and the environment never are.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// Quoted, control characters escaped, cut after 200 characters.
    Value(String),
    /// A secret, or likely to hold one.
    Hidden,
}

impl Shown {
    /// `value`, unless the field is one that no message may show.
    pub(crate) fn unless(hidden: bool, value: &str) -> Self {
        if hidden {
            Self::Hidden
        } else {
            Self::Value(value.to_owned())
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Value(value) = self else {
            return f.write_str("(value not shown)");
        };
        match value.char_indices().nth(SHOWN_CHARACTERS) {
            None => write!(f, "{value:?}"),
            Some((end, _)) => write!(
                f,
                "{:?}… ({} bytes)",
                value.get(..end).unwrap_or_default(),
                value.len()
            ),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything that is wrong with one configuration; never empty. Shown one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Problem>);

impl Errors {
    /// There was no guestinfo to be wrong.
    pub fn is_no_guestinfo(&self) -> bool {
        matches!(self.0.as_slice(), [Problem::NoGuestinfo])
    }

    /// `Ok` when nothing is wrong.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// The problems, in the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_and_its_length_told() {
        let shown = Shown::Value("ü".repeat(300)).to_string();
        assert!(shown.ends_with("… (600 bytes)"), "{shown}");
        assert_eq!(shown.matches('ü').count(), SHOWN_CHARACTERS);
    }

    #[test]
    fn every_problem_is_on_its_own_line() {
        let errors = Errors(vec![
            Problem::NoGuestinfo,
            Problem::Malformed {
                name: "guestinfo./key".into(),
                value: Shown::unless(true, "s3cret"),
                expected: "base64".into(),
            },
        ]);
        let text = errors.to_string();
        assert_eq!(text.lines().count(), 2);
        assert!(!format!("{text}{errors:?}").contains("s3cret"));
    }
}
