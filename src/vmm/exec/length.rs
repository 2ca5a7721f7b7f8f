//! The length of x86-64 instructions: enough of a decoder to walk compiled code.
//!
//! Bytes that look like `cpuid` stand inside other instructions too (in an address, in a constant):
//! a breakpoint there would break the program. A walk from the start of a code section finds true
//! ones. After padding or data it falls into step again within a few instructions, as x86 code does.
//!
//! Source: the opcode maps of Intel's manual, volume 2, appendix A.

/// The longest that the processor takes.
const LIMIT: usize = 15;

/// Bytes read so far, and what the prefixes said.
struct Cursor<'a> {
    code: &'a [u8],
    at: usize,
    /// 0x66: most immediate operands shrink from 4 to 2 bytes.
    small_operand: bool,
    /// 0x67: an absolute address shrinks from 8 to 4 bytes.
    small_address: bool,
    /// REX.W: operands of 64 bits.
    wide: bool,
    /// 0x66 or 0xf2, which make other instructions of some opcodes.
    selector: bool,
}

/// The length in bytes of the instruction that `code` begins with; `None`: it is none, or cut.
pub fn length(code: &[u8]) -> Option<usize> {
    let code = code.get(..LIMIT).unwrap_or(code);
    let mut cursor = Cursor {
        code,
        at: 0,
        small_operand: false,
        small_address: false,
        wide: false,
        selector: false,
    };
    let opcode = cursor.prefixes()?;
    cursor.one_byte(opcode)?;
    (cursor.at <= code.len()).then_some(cursor.at)
}

/// Offsets of the `cpuid` instructions in a code section.
pub fn cpuid_offsets(code: &[u8]) -> Vec<usize> {
    const CPUID: &[u8] = &[0x0f, 0xa2];
    // Most sections have not even the bytes.
    let Some(last) = code.windows(CPUID.len()).rposition(|bytes| bytes == CPUID) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at <= last {
        let Some(rest) = code.get(at..) else {
            break;
        };
        if rest.starts_with(CPUID) {
            found.push(at);
        }
        at += length(rest).unwrap_or(1);
    }
    found
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.code.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at += bytes;
        Some(())
    }

    /// The opcode behind the prefixes.
    fn prefixes(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            match byte {
                0x66 => (self.small_operand, self.selector) = (true, true),
                0x67 => self.small_address = true,
                0xf2 => self.selector = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf3 => {}
                // REX: the opcode follows at once.
                0x40..=0x4f => {
                    self.wide = byte & 8 != 0;
                    return self.byte();
                }
                opcode => return Some(opcode),
            }
        }
    }

    /// ModRM with its SIB and displacement; the ModRM byte.
    fn modrm(&mut self) -> Option<u8> {
        let modrm = self.byte()?;
        let (mode, register_or_memory) = (modrm >> 6, modrm & 7);
        if mode == 3 {
            return Some(modrm);
        }
        let base = if register_or_memory == 4 {
            self.byte()? & 7
        } else {
            register_or_memory
        };
        let displacement = match mode {
            0 if base == 5 => 4,
            0 => 0,
            1 => 1,
            _ => 4,
        };
        self.skip(displacement)?;
        Some(modrm)
    }

    fn modrm_and(&mut self, immediate: usize) -> Option<()> {
        self.modrm()?;
        self.skip(immediate)
    }

    /// An immediate operand of the operand's size, 4 bytes at most.
    fn operand(&self) -> usize {
        if self.small_operand && !self.wide {
            2
        } else {
            4
        }
    }

    fn one_byte(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            0x0f => self.two_bytes(),
            // Arithmetic: eight rows of the same pattern.
            0x00..=0x3f => match opcode & 7 {
                0..=3 => self.modrm_and(0),
                4 => self.skip(1),
                5 => self.skip(self.operand()),
                _ => None,
            },
            0x62 => self.evex(),
            0xc4 => self.vex(true),
            0xc5 => self.vex(false),
            0x8f => self.pop_or_xop(),
            0x60 | 0x61 | 0x82 | 0x9a | 0xce | 0xd4..=0xd6 | 0xea => None,
            0x63 | 0x84..=0x8e | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => self.modrm_and(0),
            0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => self.modrm_and(1),
            0x69 | 0x81 | 0xc7 => self.modrm_and(self.operand()),
            0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => self.skip(1),
            0x68 | 0xa9 => self.skip(self.operand()),
            0xa0..=0xa3 => self.skip(if self.small_address { 4 } else { 8 }),
            0xb8..=0xbf => self.skip(if self.wide { 8 } else { self.operand() }),
            0xc2 | 0xca => self.skip(2),
            0xc8 => self.skip(3),
            // A prefix 0x66 before a call or jump is padding (Intel; compilers use it so).
            0xe8 | 0xe9 => self.skip(4),
            // Only two of the eight (`test`) have an immediate operand.
            0xf6 | 0xf7 => {
                let test = self.modrm()? & 0x30 == 0;
                let size = if opcode == 0xf6 { 1 } else { self.operand() };
                self.skip(if test { size } else { 0 })
            }
            _ => Some(()),
        }
    }

    fn two_bytes(&mut self) -> Option<()> {
        match self.byte()? {
            0x38 => {
                self.byte()?;
                self.modrm_and(0)
            }
            0x3a => {
                self.byte()?;
                self.modrm_and(1)
            }
            0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0x7a | 0x7b => None,
            0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x37 | 0x77 | 0xa0..=0xa2 | 0xa8..=0xaa => Some(()),
            0xc8..=0xcf => Some(()),
            0x80..=0x8f => self.skip(4),
            // SSE4a: two bytes where there is a prefix, `vmread` where there is none.
            0x78 if self.selector => self.modrm_and(2),
            0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => self.modrm_and(1),
            _ => self.modrm_and(0),
        }
    }

    /// What follows the opcode in the vector encodings, by opcode map.
    fn vector(&mut self, map: u8) -> Option<()> {
        let opcode = self.byte()?;
        match map {
            1 if opcode == 0x77 => Some(()),
            1 => {
                let immediate = matches!(opcode, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6);
                self.modrm_and(usize::from(immediate))
            }
            2 | 5 | 6 | 9 => self.modrm_and(0),
            3 | 8 => self.modrm_and(1),
            10 => self.modrm_and(4),
            _ => None,
        }
    }

    fn vex(&mut self, three_bytes: bool) -> Option<()> {
        let first = self.byte()?;
        if !three_bytes {
            return self.vector(1);
        }
        self.byte()?;
        self.vector(first & 0x1f)
    }

    fn evex(&mut self) -> Option<()> {
        let first = self.byte()?;
        self.skip(2)?;
        self.vector(first & 7)
    }

    /// `pop` with a memory operand, or AMD's XOP where the register field says no `pop`.
    fn pop_or_xop(&mut self) -> Option<()> {
        let map = self.code.get(self.at)? & 0x1f;
        if map < 8 {
            return self.modrm_and(0);
        }
        self.skip(2)?;
        self.vector(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_processors() {
        for (code, expected) in [
            (b"\x90".as_slice(), 1),
            (b"\x48\x89\xe5", 3),
            (b"\x0f\xa2", 2),
            (b"\xb8\x01\x00\x00\x00", 5),
            (b"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10),
            (b"\x66\xb8\x01\x02", 4),
            (b"\x48\x8b\x05\x0f\xa2\x00\x00", 7),
            (b"\x8b\x44\x24\x08", 4),
            (b"\x8b\x04\x25\x01\x02\x03\x04", 7),
            (b"\xf7\x05\x01\x02\x03\x04\x05\x06\x07\x08", 10),
            (b"\xf7\xd8", 2),
            (b"\xf6\xc1\x02", 3),
            (b"\x66\x66\x48\xe8\x01\x02\x03\x04", 8),
            (b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 10),
            (b"\xf3\x0f\x1e\xfa", 4),
            (b"\xc5\xf8\x77", 3),
            (b"\xc5\xfd\x70\xc0\x1b", 5),
            (b"\xc4\xe3\x7d\x39\xc1\x01", 6),
            (b"\x62\xf1\x7c\x48\x10\x07", 6),
            (b"\x0f\x84\x01\x02\x03\x04", 6),
            (b"\x48\xa1\x01\x02\x03\x04\x05\x06\x07\x08", 10),
            (b"\x66\x0f\x3a\x0f\xc1\x08", 6),
            (b"\xc8\x01\x02\x03", 4),
        ] {
            assert_eq!(length(code), Some(expected), "{code:02x?}");
            let cut = code.get(..expected - 1).unwrap();
            assert_eq!(length(cut), None, "cut {code:02x?}");
        }
    }

    #[test]
    fn a_cpuid_inside_another_instruction_is_none() {
        let mut code = b"\x48\x8b\x05\x0f\xa2\x00\x00".to_vec(); // mov rax, [rip + 0xa20f]
        code.extend(b"\xb8\x0f\xa2\x00\x00"); // mov eax, 0xa20f
        code.extend(b"\xb8\x01\x00\x00\x00"); // mov eax, 1
        code.extend(b"\x0f\xa2"); // cpuid
        code.extend(b"\xc3");
        assert_eq!(cpuid_offsets(&code), [17]);
    }

    #[test]
    fn any_bytes_are_walked_to_their_end() {
        let mut state = 1u32;
        let bytes: Vec<u8> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        cpuid_offsets(&[&bytes, b"\x0f\xa2".as_slice()].concat());
    }
}
