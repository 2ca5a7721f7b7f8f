//! The rules of names.

use super::Check;
use crate::config::field::{self, Entry, Leaf};
use crate::config::names::{Names, host, is_word};

impl Check {
    pub(super) fn names(&mut self, names: &Names) {
        for text in &names.hosts {
            if host(text).is_none() {
                let expected = "a host such as db:10.0.0.7";
                self.malformed(Entry::Names, &field::NAMES_HOSTS, text, expected);
            }
        }
        self.words(
            &field::NAMES_SEARCH,
            &names.search,
            "a domain such as example.org",
        );
        self.words(
            &field::NAMES_OPTIONS,
            &names.options,
            "an option such as ndots:1",
        );
    }

    fn words(&mut self, leaf: &Leaf, words: &[String], expected: &str) {
        for word in words.iter().filter(|word| !is_word(word)) {
            self.malformed(Entry::Names, leaf, word, expected);
        }
    }
}
