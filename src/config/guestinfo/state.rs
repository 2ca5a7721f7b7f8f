//! What the guest writes back: keys and values, made and not sent.

use super::address;
use super::keys::Names;
use crate::config::field::{Entry, Map};
use crate::config::model::{Generation, IpNet};

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The session with this ID.
    Session(&'a str),
    /// The session with this ID that was added to the running VM (1.x).
    Exec(&'a str),
}

impl<'a> Subject<'a> {
    const fn entry(self) -> Entry<'a> {
        match self {
            Self::Session(id) => Map::Sessions.entry(id),
            Self::Exec(id) => Map::Execs.entry(id),
        }
    }
}

/// A full key and its value, as `info-set` takes them.
pub type KeyValue = (String, String);

/// The keys of state in the generation that the configuration was read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKeys(Names);

impl StateKeys {
    /// None for JSON: there is nowhere to write to.
    pub const fn of(generation: Generation) -> Option<Self> {
        match Names::of(generation) {
            Some(names) => Some(Self(names)),
            None => None,
        }
    }

    /// The session's program runs; or the reason why it does not.
    pub fn started(self, subject: Subject<'_>, outcome: Result<(), &str>) -> KeyValue {
        let value = match outcome {
            Ok(()) => "true",
            // An empty value says nothing at all has happened.
            Err("") => "failed",
            Err(reason) => reason,
        };
        (self.key(subject, &["started"]), value.to_owned())
    }

    /// The session has ended with this exit status, as docker counts (0 to 255).
    pub fn status(self, subject: Subject<'_>, status: i32) -> KeyValue {
        (self.key(subject, &["status"]), status.to_string())
    }

    /// How often the session was started again.
    pub fn resurrections(self, subject: Subject<'_>, count: u32) -> KeyValue {
        (
            self.key(subject, &["diagnostics", "resurrections"]),
            count.to_string(),
        )
    }

    /// It does not wait for its first client any more.
    pub fn released(self, subject: Subject<'_>) -> KeyValue {
        (self.key(subject, &["runblock"]), "false".to_owned())
    }

    /// When it was started, in seconds since 1970. None in 0.4, which keeps no times.
    pub fn start_time(self, subject: Subject<'_>, seconds: i64) -> Option<KeyValue> {
        self.time(subject, "starttime", seconds)
    }

    /// When it ended, in seconds since 1970. None in 0.4.
    pub fn stop_time(self, subject: Subject<'_>, seconds: i64) -> Option<KeyValue> {
        self.time(subject, "stoptime", seconds)
    }

    /// The address in use on the endpoint that stands under `key` in `networks`.
    pub fn address(self, key: &str, net: &IpNet) -> [KeyValue; 2] {
        let field = match self.0.generation() {
            Generation::V04 => "ip",
            Generation::V1x | Generation::Json => "assigned",
        };
        let entry = Map::Networks.entry(key);
        [
            (
                self.0.state(entry, &[field, "IP"]),
                address::ip_text(net.address),
            ),
            (
                self.0.state(entry, &[field, "Mask"]),
                address::mask_text(net),
            ),
        ]
    }

    /// Ours: the step that the guest is at and what there is to say of it, for whoever has only
    /// the .vmx.
    pub fn stage(self, text: &str) -> KeyValue {
        (
            self.0.state(Entry::Top, &["tether", "stage"]),
            text.to_owned(),
        )
    }

    fn key(self, subject: Subject<'_>, path: &[&str]) -> String {
        self.0.state(subject.entry(), path)
    }

    fn time(self, subject: Subject<'_>, field: &str, seconds: i64) -> Option<KeyValue> {
        match self.0.generation() {
            Generation::V1x => Some((self.key(subject, &["detail", field]), seconds.to_string())),
            Generation::V04 | Generation::Json => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Subject<'_> = Subject::Session("a1");

    fn keys(generation: Generation) -> StateKeys {
        StateKeys::of(generation).unwrap()
    }

    fn pair(key: &str, value: &str) -> KeyValue {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_session_of_0_4_tells_its_start_and_its_end() {
        let keys = keys(Generation::V04);
        assert_eq!(
            keys.started(ONE, Ok(())),
            pair("guestinfo..sessions|a1.started", "true")
        );
        assert_eq!(
            keys.started(ONE, Err("/hello: not found")),
            pair("guestinfo..sessions|a1.started", "/hello: not found")
        );
        assert_eq!(
            keys.status(ONE, 137),
            pair("guestinfo..sessions|a1.status", "137")
        );
        assert_eq!(
            keys.resurrections(ONE, 3),
            pair("guestinfo..sessions|a1.diagnostics.resurrections", "3")
        );
        assert_eq!(keys.start_time(ONE, 1), None);
        assert_eq!(keys.stop_time(ONE, 1), None);
    }

    #[test]
    fn an_exec_of_1_x_has_its_suffix_after_the_path() {
        let keys = keys(Generation::V1x);
        let exec = Subject::Exec("e1");
        assert_eq!(
            keys.start_time(exec, 1_470_513_601),
            Some(pair(
                "guestinfo.vice..execs|e1.detail.starttime@non-persistent",
                "1470513601"
            ))
        );
        assert_eq!(
            keys.status(exec, 0),
            pair("guestinfo.vice..execs|e1.status@non-persistent", "0")
        );
    }

    #[test]
    fn the_address_in_use_stands_under_another_name_in_each_generation() {
        let net: IpNet = "172.16.0.2/16".parse().unwrap();
        assert_eq!(
            keys(Generation::V04).address("bridge", &net),
            [
                pair(
                    "guestinfo..networks|bridge.ip.IP",
                    "AAAAAAAAAAAAAP//rBAAAg=="
                ),
                pair("guestinfo..networks|bridge.ip.Mask", "//8AAA=="),
            ]
        );
        let [ip, mask] = keys(Generation::V1x).address("bridge", &net);
        assert_eq!(ip.0, "guestinfo.vice..networks|bridge.assigned.IP");
        assert_eq!(mask.0, "guestinfo.vice..networks|bridge.assigned.Mask");
    }

    #[test]
    fn the_stage_is_a_key_of_our_own() {
        assert_eq!(
            keys(Generation::V04).stage("root disk"),
            pair("guestinfo..tether.stage", "root disk")
        );
        assert_eq!(
            keys(Generation::V1x).stage("").0,
            "guestinfo.vice..tether.stage"
        );
    }

    #[test]
    fn json_has_nowhere_to_write_to() {
        assert_eq!(StateKeys::of(Generation::Json), None);
    }
}
