//! The ACPI power button, as the kernel tells of it over generic netlink: family `acpi_event`
//! (drivers/acpi/event.c, linux/genetlink.h). It needs no input devices.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::GENERIC;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::netlink;

/// The family that tells of all others, and its question for one by its name.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;
/// The kernel's family of ACPI events, its group, and the attribute that holds one.
const FAMILY: &[u8] = b"acpi_event\0";
const GROUP: &[u8] = b"acpi_mc_group\0";
const EVENT: u16 = 1;
/// How an event of the power button begins: its device's class.
const BUTTON: &[u8] = b"button/power";
/// Bytes of the headers: netlink's, and with generic netlink's.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
/// Flag of a request.
const REQUEST: u16 = 1;

/// A subscription to the button.
#[derive(Debug)]
pub struct PowerButton {
    fd: OwnedFd,
}

impl PowerButton {
    /// Subscribes.
    ///
    /// # Errors
    /// The kernel has no ACPI, or does not tell of it.
    pub fn open() -> io::Result<Self> {
        let control = netlink::socket(Some(GENERIC), 0)?;
        send(&control, &question(), SendFlags::empty())?;
        let mut buffer = [0; 4096];
        // The kernel answers within the call that asks.
        let (length, _) = recv(&control, &mut buffer[..], RecvFlags::DONTWAIT)?;
        let group = group(buffer.get(..length).unwrap_or_default())
            .filter(|group| (1..=u32::BITS).contains(group))
            .ok_or(Errno::NOENT)?;
        Ok(Self {
            fd: netlink::socket(Some(GENERIC), 1 << (group - 1))?,
        })
    }

    /// The button was pressed since the last call.
    pub fn pressed(&self) -> bool {
        let mut pressed = false;
        let mut buffer = [0; 512];
        loop {
            match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    pressed |= is_pressed(buffer.get(..length).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                // Nothing more; or some were lost, and another press will come.
                Err(_) => return pressed,
            }
        }
    }
}

impl AsFd for PowerButton {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn question() -> Vec<u8> {
    let name = attribute(FAMILY_NAME, FAMILY);
    let length = u32::try_from(HEADERS + name.len()).unwrap_or_default();
    let mut message = Vec::with_capacity(HEADERS + name.len());
    message.extend(length.to_ne_bytes());
    message.extend(CONTROL.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence and port: the kernel fills in what it needs.
    message.extend([0; 8]);
    message.extend([GET_FAMILY, 1, 0, 0]);
    message.extend(name);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of a kind, and what follows it.
fn find(mut attributes: &[u8], wanted: u16) -> Option<(&[u8], &[u8])> {
    loop {
        let (head, _) = attributes.split_first_chunk::<4>()?;
        let [l0, l1, k0, k1] = *head;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        let rest = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        // The two highest bits say how the value is made.
        if u16::from_ne_bytes([k0, k1]) & 0x3fff == wanted {
            return Some((value, rest));
        }
        attributes = rest;
    }
}

/// Number of the group in the answer to [`question`].
fn group(answer: &[u8]) -> Option<u32> {
    let (mut groups, _) = find(answer.get(HEADERS..)?, GROUPS)?;
    // One nested attribute for each, whose kind is its place.
    for place in 1.. {
        let (one, rest) = find(groups, place)?;
        if find(one, GROUP_NAME)?.0 == GROUP {
            let (id, _) = find(one, GROUP_ID)?;
            return Some(u32::from_ne_bytes(*id.first_chunk()?));
        }
        groups = rest;
    }
    None
}

fn is_pressed(message: &[u8]) -> bool {
    let event = message.get(HEADERS..).and_then(|rest| find(rest, EVENT));
    event.is_some_and(|(event, _)| event.starts_with(BUTTON))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(groups: &[(&[u8], u32)]) -> Vec<u8> {
        let all: Vec<u8> = (1u16..)
            .zip(groups)
            .flat_map(|(place, (name, id))| {
                let one = [
                    attribute(GROUP_ID, &id.to_ne_bytes()),
                    attribute(GROUP_NAME, name),
                ];
                attribute(place, &one.concat())
            })
            .collect();
        let attributes = [attribute(FAMILY_NAME, FAMILY), attribute(GROUPS, &all)].concat();
        [vec![0; HEADERS], attributes].concat()
    }

    #[test]
    fn the_group_is_found_among_others() {
        assert_eq!(group(&answer(&[(b"other\0", 4), (GROUP, 9)])), Some(9));
        assert_eq!(group(&answer(&[(b"other\0", 4)])), None);
        assert_eq!(group(&[0; 30]), None);
        assert_eq!(group(&[]), None);
    }

    #[test]
    fn only_the_power_button_s_events_count() {
        let event = |class: &[u8]| {
            let event = attribute(EVENT, &[class, &[0; 40]].concat());
            [vec![0; HEADERS], event].concat()
        };
        assert!(is_pressed(&event(b"button/power")));
        assert!(!is_pressed(&event(b"button/lid")));
        assert!(!is_pressed(&[0; 3]));
    }

    #[test]
    fn the_question_is_as_the_kernel_reads_it() {
        // With this kernel's own family: it answers, whatever of ACPI it has.
        let asked = question();
        assert_eq!(asked.len() % 4, 0);
        assert_eq!(
            asked.get(..4),
            Some(&(asked.len() as u32).to_ne_bytes()[..])
        );
    }
}
