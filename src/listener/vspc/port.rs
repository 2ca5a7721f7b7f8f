//! One connection of a VM's serial port behind a proxy: what the VM says of itself and of its
//! moves, what the listener answers, and the line's own bytes.

use super::extension::{Answer, Message, OPTION};
use super::options::{BINARY, Options, SUPPRESS_GO_AHEAD};
use super::telnet::{self, Item, Parser, WONT};

/// What may be in use on a connection, by either side.
const ACCEPTED: [u8; 3] = [BINARY, SUPPRESS_GO_AHEAD, OPTION];
/// Longest sequence and cookie that are taken, in bytes; four and eight were seen.
const COOKIE_BYTES_MOST: usize = 64;
/// Answers that are kept for a peer which does not read them, in bytes: whoever asks for more
/// wants something else than a serial line.
const ANSWER_BYTES_MOST: usize = 64 * 1024;

/// What a VM has told of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The service URI it asked for.
    pub service: Option<String>,
    /// Its UUID in vCenter: `68 4c 91 6c 5f 6c 4c 2f-aa 50 df d6 61 a2 2e 0d`.
    pub uuid: Option<String>,
    /// Its display name.
    pub name: Option<String>,
}

/// What a listener has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This is a telnet client and no VM: it does not know the extension.
    Declined,
    /// It says who it is, or asks for its service.
    About,
    /// A vMotion of this sequence: to be answered with [`Port::go_ahead`] or [`Port::not_now`].
    Begin(Vec<u8>),
    /// This is the new host's connection for the vMotion with this cookie; [`Port::peer_ok`].
    Peer(Vec<u8>),
    /// The vMotion of this sequence is done.
    Complete(Vec<u8>),
    /// The vMotion did not come about.
    Abort,
}

/// One connection.
#[derive(Debug)]
pub struct Port {
    parser: Parser,
    options: Options,
    answers: Vec<u8>,
    about: About,
}

impl Port {
    /// On which [`super::QUESTION`] was sent already, or else comes next.
    pub fn new(asked: bool) -> Self {
        let (mut options, mut answers) = (Options::default(), Vec::new());
        if asked {
            options.requested(OPTION);
        } else {
            options.request(OPTION, &mut answers);
        }
        Self {
            parser: Parser::default(),
            options,
            answers,
            about: About::default(),
        }
    }

    /// What the VM has told of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The VM has moved here from that connection: what it does not say again still holds.
    pub fn succeed(&mut self, old: &Self) {
        let fill = |new: &mut Option<String>, old: &Option<String>| {
            if new.is_none() {
                new.clone_from(old);
            }
        };
        fill(&mut self.about.service, &old.about.service);
        fill(&mut self.about.uuid, &old.about.uuid);
        fill(&mut self.about.name, &old.about.name);
    }

    /// Takes input up to and with what has to be acted on; the line's own bytes are appended to
    /// `data`. The number of bytes taken: all where nothing is told.
    pub fn take(&mut self, input: &[u8], data: &mut Vec<u8>) -> (usize, Option<Told>) {
        let mut at = 0;
        while at < input.len() {
            let (taken, item) = self.parser.take(&input[at..], data);
            at += taken;
            let told = match item {
                None => None,
                Some(Item::Negotiation(command, option)) => self.negotiate(command, option),
                Some(Item::Sub(sub)) if sub[0] == OPTION => self.message(&sub[1..]),
                Some(Item::Sub(_)) => None,
            };
            if told.is_some() {
                return (at, told);
            }
        }
        (at, None)
    }

    /// Moves the answers that wait to `out`.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.answers);
    }

    /// Too much was asked for without reading the answers.
    pub fn overfull(&self) -> bool {
        self.answers.len() > ANSWER_BYTES_MOST
    }

    /// The VM may move; everything for it has been sent, and nothing more is until it has moved.
    pub fn go_ahead(&mut self, sequence: &[u8], secret: &[u8]) {
        self.answer(&Answer::GoAhead(sequence, secret));
    }

    /// The VM cannot move now.
    pub fn not_now(&mut self, sequence: &[u8]) {
        self.answer(&Answer::NotNow(sequence));
    }

    /// The cookie of the new host's connection is known.
    pub fn peer_ok(&mut self, sequence: &[u8]) {
        self.answer(&Answer::PeerOk(sequence));
    }

    fn negotiate(&mut self, command: u8, option: u8) -> Option<Told> {
        let before = self.options.theirs(OPTION);
        self.options
            .handle(command, option, &ACCEPTED, &mut self.answers);
        if option != OPTION {
            return None;
        }
        if command == WONT {
            return Some(Told::Declined);
        }
        if self.options.theirs(OPTION) && !before {
            for option in [BINARY, SUPPRESS_GO_AHEAD] {
                self.options.offer(option, &mut self.answers);
                self.options.request(option, &mut self.answers);
            }
            self.answer(&Answer::Known);
        }
        None
    }

    fn message(&mut self, payload: &[u8]) -> Option<Told> {
        match Message::decode(payload)? {
            Message::Known(codes) => {
                self.answer(&Answer::Known);
                let (uuid, name) = Message::offers(&codes);
                if uuid && self.about.uuid.is_none() {
                    self.answer(&Answer::GetUuid);
                }
                if name && self.about.name.is_none() {
                    self.answer(&Answer::GetName);
                }
                None
            }
            // Nothing here waits for an answer that such a VM will not give.
            Message::Unknown(_) => None,
            Message::DoProxy(_, uri) => {
                self.about.service = Some(uri);
                self.answer(&Answer::WillProxy);
                Some(Told::About)
            }
            Message::Uuid(uuid) => {
                self.about.uuid = Some(uuid);
                Some(Told::About)
            }
            Message::Name(name) => {
                self.about.name = Some(name);
                Some(Told::About)
            }
            Message::Begin(sequence) => {
                (sequence.len() <= COOKIE_BYTES_MOST).then_some(Told::Begin(sequence))
            }
            Message::Peer(cookie) => {
                (cookie.len() <= COOKIE_BYTES_MOST).then_some(Told::Peer(cookie))
            }
            Message::Complete(sequence) => Some(Told::Complete(sequence)),
            Message::Abort => Some(Told::Abort),
            Message::Other(code) => {
                self.answer(&Answer::Unknown(code));
                None
            }
        }
    }

    fn answer(&mut self, answer: &Answer<'_>) {
        telnet::sub_negotiation(OPTION, &answer.encode(), &mut self.answers);
    }
}

impl About {
    /// Which of several ports of one VM this is: `?port=LABEL` in its service URI.
    pub fn label(&self) -> Option<&str> {
        let (_, query) = self.service.as_deref()?.split_once('?')?;
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        query.split('&').find_map(|pair| pair.strip_prefix("port="))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::telnet::{DO, DONT, IAC, SB, SE, WILL};
    use super::*;

    /// All of the input; the data, what was told, and what is answered.
    fn all(port: &mut Port, mut input: &[u8]) -> (Vec<u8>, Vec<Told>, Vec<u8>) {
        let (mut data, mut told, mut out) = (Vec::new(), Vec::new(), Vec::new());
        while !input.is_empty() {
            let (taken, one) = port.take(input, &mut data);
            input = &input[taken..];
            told.extend(one);
        }
        port.poll_transmit(&mut out);
        (data, told, out)
    }

    fn sub(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        telnet::sub_negotiation(OPTION, payload, &mut out);
        out
    }

    fn contains(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|w| w == needle)
    }

    /// The order of the vendor's capture: authentication first, the extension once that is
    /// declined, then the codes and the service in one segment, then the answers.
    #[test]
    fn a_vm_of_the_capture_is_taken_in() {
        let mut port = Port::new(true);
        let (_, told, out) = all(&mut port, &[IAC, WILL, 37]);
        assert_eq!((told, out), (vec![], vec![IAC, DONT, 37]));
        let (_, told, out) = all(&mut port, &[IAC, WILL, OPTION]);
        assert_eq!(told, []);
        // DO 232 was the question: it is not said again.
        assert!(!contains(&out, &[IAC, DO, OPTION]), "{out:?}");
        assert!(
            contains(&out, &[IAC, SB, OPTION, 1, 0, 1, 2, 3, 40]),
            "{out:?}"
        );
        assert!(contains(&out, &[IAC, DO, BINARY]) && contains(&out, &[IAC, WILL, BINARY]));
        let known = [
            0, 0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 84, 85, 86, 87, 82, 83,
        ];
        let service = [
            &[70, b'C'],
            &b"tcp://192.0.2.1:2377?port=link&x=1#verify"[..],
        ]
        .concat();
        let (_, told, out) = all(&mut port, &[sub(&known), sub(&service)].concat());
        assert_eq!(told, [Told::About]);
        for code in [71, 81, 83] {
            assert!(contains(&out, &sub(&[code])), "{code}: {out:?}");
        }
        assert_eq!(port.about().label(), Some("link"));
        let uuid = b"68 4c 91 6c 5f 6c 4c 2f-aa 50 df d6 61 a2 2e 0d";
        let (data, told, out) = all(
            &mut port,
            &[
                sub(&[&[80], &uuid[..]].concat()),
                sub(b"Rjolly_panini"),
                vec![IAC, WILL, 44, b'o', IAC, IAC, b'k'],
            ]
            .concat(),
        );
        assert_eq!(told, [Told::About, Told::About]);
        assert_eq!(
            port.about().uuid.as_deref().map(str::as_bytes),
            Some(&uuid[..])
        );
        assert_eq!(port.about().name.as_deref(), Some("jolly_panini"));
        assert_eq!((data, out), (vec![b'o', IAC, b'k'], vec![IAC, DONT, 44]));
    }

    #[test]
    fn a_telnet_client_is_told_from_a_vm() {
        let mut port = Port::new(true);
        let (data, told, out) = all(&mut port, &[IAC, WONT, OPTION, b'h', b'i']);
        assert_eq!(told, [Told::Declined]);
        assert_eq!((data, out), (b"hi".to_vec(), vec![]));
    }

    #[test]
    fn a_cookie_full_of_255_is_itself_both_ways() {
        let mut port = Port::new(true);
        let sequence = [IAC, 0, SE, IAC];
        let begin = sub(&[&[40], &sequence[..]].concat());
        let (_, told, _) = all(&mut port, &begin);
        assert_eq!(told, [Told::Begin(sequence.to_vec())]);
        port.go_ahead(&sequence, &[IAC; 8]);
        let mut out = Vec::new();
        port.poll_transmit(&mut out);
        assert_eq!(out, sub(&[&[41], &sequence[..], &[IAC; 8]].concat()));
        let (_, told, out) = all(&mut port, &sub(&[&[44], &sequence[..], &[IAC; 8]].concat()));
        assert_eq!(told, [Told::Peer([&sequence[..], &[IAC; 8]].concat())]);
        assert!(out.is_empty());
        port.peer_ok(&sequence);
        let mut out = Vec::new();
        port.poll_transmit(&mut out);
        assert_eq!(out, sub(&[&[45], &sequence[..]].concat()));
    }

    #[test]
    fn a_code_that_is_not_known_is_said_so() {
        let mut port = Port::new(true);
        for code in [4, 41, 47, 84, 200, IAC] {
            let (_, told, out) = all(&mut port, &sub(&[code, 1, 2]));
            assert_eq!((told, out), (vec![], sub(&[3, code])), "{code}");
        }
        // Nothing follows the option, or the text is none.
        let (_, told, out) = all(&mut port, &[sub(&[]), sub(&[82, 0xc0])].concat());
        assert_eq!((told, out), (vec![], vec![]));
    }

    #[test]
    fn who_does_not_read_answers_is_found_out() {
        let mut port = Port::new(true);
        let question = sub(&[0]);
        let mut data = Vec::new();
        let asked = (0..100_000).find(|_| {
            port.take(&question, &mut data);
            port.overfull()
        });
        assert!(asked.is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_to_the_last(bytes in prop::collection::vec(
            prop_oneof![3 => Just(IAC), 2 => Just(SB), 2 => Just(SE), 2 => Just(OPTION),
                2 => 40_u8..50, 1 => any::<u8>()], 0..400))
        {
            let mut whole = Port::new(true);
            let expected = all(&mut whole, &bytes);
            let mut pieces = Port::new(true);
            let (mut data, mut told, mut out) = (Vec::new(), Vec::new(), Vec::new());
            for byte in &bytes {
                let (taken, one) = pieces.take(&[*byte], &mut data);
                prop_assert_eq!(taken, 1);
                told.extend(one);
            }
            pieces.poll_transmit(&mut out);
            prop_assert_eq!((data, told, out), expected);
        }
    }
}
