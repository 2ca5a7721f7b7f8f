//! What the kernel's command line says: `tether.config=DOCUMENT`, and `tether.PATH=VALUE` for single fields
//! of a configuration, whatever form that came in (`tether.debug=2`, `tether.isolation.init=false`).

use serde_json::{Map as Object, Value};

use super::error::{Errors, Problem, Shown};
use super::json;
use super::model::ContainerVm;

/// What each of its words begins with.
const PREFIX: &str = "tether.";
/// The word that is a whole document.
const DOCUMENT: &str = "config";

/// The words that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// A whole configuration.
    pub document: Option<String>,
    /// Single fields: path in our document, and value.
    fields: Vec<(String, String)>,
}

impl CommandLine {
    /// Reads the kernel's command line. As with the kernel a `"` begins and ends what may hold blanks.
    pub fn parse(text: &str) -> Self {
        let mut line = Self::default();
        if !text.contains(PREFIX) {
            return line;
        }
        for word in words(text) {
            let setting = word
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once('='));
            match setting {
                Some((DOCUMENT, document)) => line.document = Some(document.to_owned()),
                Some((path, value)) => line.fields.push((path.to_owned(), value.to_owned())),
                None => {}
            }
        }
        line
    }

    /// The configuration with the fields of the command line in it.
    ///
    /// # Errors
    /// A path that leads nowhere, or what is wrong with the whole then.
    pub fn apply(&self, vm: ContainerVm) -> Result<ContainerVm, Errors> {
        if self.fields.is_empty() {
            return Ok(vm);
        }
        // As `tether config` prints it, and by the same code: `to_value` would be another 10 KB.
        let printed = serde_json::to_vec_pretty(&vm).unwrap_or_default();
        let mut document = json::object(&printed)?;
        let mut problems = Vec::new();
        for (path, value) in &self.fields {
            if !set(&mut document, path, value) {
                problems.push(Problem::Malformed {
                    name: format!("{PREFIX}{path}"),
                    value: Shown::Hidden,
                    expected: "a field of a JSON document, such as debug or sessions.ID.path"
                        .to_owned(),
                });
            }
        }
        Errors::check(problems)?;
        let read = json::decode_object(&document)?;
        // Neither is ever printed.
        Ok(ContainerVm {
            generation: vm.generation,
            key: vm.key,
            link_key: vm.link_key,
            ..read
        })
    }
}

/// Sets a field by its path. Its objects are made where they are missing below a map; a name that no printed
/// configuration has at the top is none.
fn set(document: &mut Object<String, Value>, path: &str, text: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(mut value) = document.get_mut(first) else {
        return false;
    };
    for name in rest.split('.').filter(|name| !name.is_empty()) {
        let Value::Object(object) = value else {
            return false;
        };
        value = object
            .entry(name)
            .or_insert_with(|| Value::Object(Object::new()));
    }
    *value = meant(value, text);
    true
}

/// A text where there is a text now; a list may be joined by commas; else JSON, or the text.
fn meant(now: &Value, text: &str) -> Value {
    let read = || serde_json::from_slice(text.as_bytes()).ok();
    match now {
        Value::String(_) => text.into(),
        Value::Array(_) => read().filter(Value::is_array).unwrap_or_else(|| {
            let items = text.split(',').filter(|item| !item.is_empty());
            items.collect::<Vec<_>>().into()
        }),
        _ => read().unwrap_or_else(|| text.into()),
    }
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_document;
    use crate::config::model::{Generation, Secret};

    fn vm() -> ContainerVm {
        let document = br#"{ "id": "a1", "sessions": { "a1": { "path": "/x", "args": ["/x"] } } }"#;
        let mut vm = from_document(document).expect("good");
        vm.link_key = Secret(vec![7; 32]);
        vm.generation = Generation::V04;
        vm
    }

    fn applied(text: &str) -> Result<ContainerVm, String> {
        let line = CommandLine::parse(text);
        line.apply(vm()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_line_without_words_of_ours_changes_nothing() {
        assert_eq!(applied("quiet console=ttyS1 tether tetherx.y=1"), Ok(vm()));
    }

    #[test]
    fn fields_are_set_over_what_was_read_and_secrets_stay() {
        let vm = applied(
            "quiet tether.debug=2 tether.hostname=007 tether.isolation.init=false \
             tether.isolation.capAdd=NET_ADMIN,SYS_TIME tether.sessions.a1.dir=\"/a b\" panic=1",
        )
        .expect("good");
        assert_eq!((vm.debug, vm.hostname.as_str()), (2, "007"));
        assert!(!vm.isolation.init);
        assert_eq!(vm.isolation.cap_add, ["NET_ADMIN", "SYS_TIME"]);
        assert_eq!(vm.sessions["a1"].dir, "/a b");
        assert_eq!(
            (vm.generation, vm.link_key),
            (Generation::V04, Secret(vec![7; 32]))
        );
    }

    #[test]
    fn what_leads_nowhere_or_is_wrong_then_is_told() {
        for (line, told) in [
            ("tether.dbug=2", "tether.dbug"),
            ("tether.id.x=2", "tether.id.x"),
            ("tether.debug=loud", "debug"),
            ("tether.isolation.umask=9", "isolation.umask"),
        ] {
            let error = applied(line).expect_err(line);
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn a_document_is_kept_apart() {
        let line = CommandLine::parse("a tether.config=eyJ9 b");
        assert_eq!(line.document.as_deref(), Some("eyJ9"));
    }
}
