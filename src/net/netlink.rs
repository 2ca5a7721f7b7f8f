//! Netlink's messages and their attributes (`netlink(7)`): lengths and kinds in this machine's order, what is in
//! them as each protocol wants it.

/// Bytes of a message's header (`struct nlmsghdr`).
const HEADER: usize = 16;
/// An answer: an error number, 0 for none.
const ERROR: u16 = 2;
/// Flags of a request: it is one; an answer to it is wanted; what is there is replaced; what is missing is
/// made; it comes behind the others.
const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;
/// An attribute that holds others.
const NESTED: u16 = 0x8000;

/// Requests, one after another, numbered from 0. Their sender stays 0: the kernel knows who asks.
#[derive(Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    count: u32,
}

impl Messages {
    /// Adds one: `fill` writes the protocol's own header and the attributes.
    pub(super) fn add(
        &mut self,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        fill(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or_default();
        put(&mut self.bytes, start, &length.to_ne_bytes());
        self.count += 1;
        self
    }

    /// All of them, as they are sent.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The inside of a message, or of an attribute.
pub(super) struct Attributes<'b>(&'b mut Vec<u8>);

impl Attributes<'_> {
    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute of these bytes.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.begun(kind, |to| to.raw(value));
    }

    /// An attribute of a number in the network's order.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that holds others.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.begun(kind | NESTED, fill);
    }

    /// Its length is known when it is filled.
    fn begun(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        fill(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len() - start).unwrap_or_default();
        put(self.0, start, &length.to_ne_bytes());
        let whole = self.0.len().next_multiple_of(4);
        self.0.resize(whole, 0);
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// What the kernel answers to a request; `None`: these bytes are no answer.
///
/// # Errors
/// The number of its error.
pub fn answer(bytes: &[u8]) -> Option<Result<(), i32>> {
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let code = i32::from_ne_bytes(*bytes.get(HEADER..)?.first_chunk()?);
    match (kind, code) {
        (ERROR, 0) => Some(Ok(())),
        (ERROR, code) => Some(Err(code.wrapping_neg())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let mut bytes = [0; 36];
        bytes[4] = 2;
        assert_eq!(answer(&bytes), Some(Ok(())));
        bytes[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        assert_eq!(answer(&bytes), Some(Err(17)));
        bytes[4] = 3;
        assert_eq!(answer(&bytes), None);
        assert_eq!(answer(&[]), None);
    }
}
