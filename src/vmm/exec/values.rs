//! The values of one `vmx exec`, in memory: from the command line, changed by the program.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::backdoor::host::Store;

/// Values by their keys, whose case does not count (as in a .vmx file), and where log lines go.
pub struct Values {
    /// By the key in lower case: the key as first written, and the value.
    entries: BTreeMap<String, (String, Vec<u8>)>,
    log: Box<dyn Write>,
    /// The first line that could not be written.
    log_error: Option<std::io::Error>,
}

impl Values {
    /// No values yet; what the guest logs goes to `log`.
    pub fn new(log: Box<dyn Write>) -> Values {
        Values {
            entries: BTreeMap::new(),
            log,
            log_error: None,
        }
    }

    /// Puts a value, an empty one too: unlike a guest, whose empty value clears.
    pub fn insert(&mut self, key: &str, value: &[u8]) {
        self.entries
            .entry(key.to_ascii_lowercase())
            .or_insert_with(|| (key.into(), Vec::new()))
            .1 = value.into();
    }

    /// All values as one JSON object. A value that is no UTF-8 text is an object itself:
    /// `{"base64": "…"}`.
    pub fn to_json(&self) -> serde_json::Value {
        let entries = self.entries.values().map(|(key, value)| {
            let json = match std::str::from_utf8(value) {
                Ok(text) => text.into(),
                Err(_) => serde_json::json!({ "base64": BASE64_STANDARD.encode(value) }),
            };
            (key.clone(), json)
        });
        serde_json::Value::Object(entries.collect())
    }

    /// Why the log is not complete, if it is not.
    pub fn take_log_error(&mut self) -> Option<std::io::Error> {
        self.log_error.take()
    }
}

impl Store for Values {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.entries
            .get(&key.to_ascii_lowercase())
            .map(|(_, value)| value.clone())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        if value.is_empty() {
            self.entries.remove(&key.to_ascii_lowercase());
        } else {
            self.insert(key, value);
        }
        Ok(())
    }

    fn log(&mut self, text: &[u8]) {
        let line = [text.strip_suffix(b"\n").unwrap_or(text), b"\n"].concat();
        if let Err(error) = self.log.write_all(&line) {
            self.log_error.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_a_key_does_not_count_and_its_first_spelling_stays() {
        let mut values = Values::new(Box::new(std::io::sink()));
        values.insert("guestinfo.Path", b"/hello");
        values.set("GUESTINFO.path", b"/other").unwrap();
        assert_eq!(values.get("guestinfo.PATH"), Some(b"/other".to_vec()));
        assert_eq!(
            values.to_json(),
            serde_json::json!({"guestinfo.Path": "/other"})
        );
    }

    #[test]
    fn an_empty_value_clears_when_the_guest_sets_it() {
        let mut values = Values::new(Box::new(std::io::sink()));
        values.insert("guestinfo.a", b"");
        assert_eq!(values.get("guestinfo.a"), Some(Vec::new()));
        values.set("guestinfo.a", b"").unwrap();
        assert_eq!(values.get("guestinfo.a"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_base64() {
        let mut values = Values::new(Box::new(std::io::sink()));
        values.insert("guestinfo.b", b"\xff\x00");
        let json = serde_json::json!({"guestinfo.b": {"base64": "/wA="}});
        assert_eq!(values.to_json(), json);
    }
}
