//! Each key costs the guest five backdoor instructions: these are the counts that hold.

use std::collections::BTreeMap;

use super::{Counted, ID, fixture, names};
use crate::config::guestinfo::{Keys, KeysError, decode};

fn reads(map: BTreeMap<String, String>) -> Vec<String> {
    let mut keys = Counted::new(map);
    decode(&mut keys).unwrap();
    let mut once = keys.asked.clone();
    once.sort();
    once.dedup();
    assert_eq!(
        once.len(),
        keys.asked.len(),
        "asked twice: {:?}",
        keys.asked
    );
    keys.asked
}

/// The lines of the blog's .vmx.
fn excerpt() -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            ("guestinfo./common/name", "jolly_panini"),
            (
                &format!("guestinfo./sessions|{ID}/common/name"),
                "jolly_panini",
            ),
            (&format!("guestinfo./sessions|{ID}/cmd/Path"), "/hello"),
            ("guestinfo./repo", "hello-world"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    )
}

#[test]
fn hello_world_of_0_4_takes_20_reads() {
    let asked = reads(fixture("0.4", "hello-world"));
    assert_eq!(asked.len(), 20, "{asked:#?}");
}

#[test]
fn hello_world_of_1_x_takes_31_reads() {
    let asked = reads(fixture("1.x", "hello-world"));
    assert_eq!(asked.len(), 31, "{asked:#?}");
}

#[test]
fn the_blog_s_lines_and_the_two_they_leave_out_take_18_reads() {
    let mut map = excerpt();
    map.insert("guestinfo./common/id".into(), ID.into());
    map.insert("guestinfo./sessions".into(), ID.into());
    let asked = reads(map);
    assert_eq!(asked.len(), 18, "{asked:#?}");
}

#[test]
fn the_blog_s_lines_alone_name_the_two_keys_they_leave_out() {
    let mut keys = Counted::new(excerpt());
    let text = decode(&mut keys).unwrap_err().to_string();
    assert!(
        text.contains("guestinfo./common/id and guestinfo./sessions"),
        "{text}"
    );
    assert!(text.contains("cannot list keys"), "{text}");
    assert_eq!(keys.asked.len(), 5, "{:#?}", keys.asked);
}

#[test]
fn nothing_of_1_x_is_asked_for_in_0_4() {
    let asked = reads(fixture("0.4", "net-static"));
    assert!(!asked.iter().any(|key| key.starts_with("guestinfo.vice.")));
    assert!(
        !asked
            .iter()
            .any(|key| key.contains("execs") || key.contains("stopSignal"))
    );
}

#[test]
fn a_host_that_stops_answering_is_asked_no_more() {
    struct Dead(usize);
    impl Keys for Dead {
        fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
            self.0 += 1;
            match key {
                "guestinfo./common/id" => Ok(Some(ID.into())),
                _ => Err(KeysError("the channel is gone".into())),
            }
        }
    }
    let mut keys = Dead(0);
    let errors = decode(&mut keys).unwrap_err();
    assert_eq!(keys.0, 2);
    assert_eq!(names(&errors).len(), 1, "{errors}");
    let text = errors.to_string();
    assert!(text.starts_with("cannot read guestinfo./"), "{text}");
    assert!(text.ends_with("the channel is gone"), "{text}");
}
