//! The checksum with no more than any processor has: eight bytes a step, from tables that are made at their
//! first use.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};

const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Atomic, so that they are zeroes which the guest's file does not carry (8 KB): what is made once and
/// then kept (`OnceLock`) has its room in the file. A load costs what any other does.
static TABLES: [[AtomicU32; 256]; 8] = [const { [const { AtomicU32::new(0) }; 256] }; 8];
static MADE: AtomicBool = AtomicBool::new(false);

/// The tables, made now if they are not. Who makes them at the same time writes the same.
fn tables() -> &'static [[AtomicU32; 256]; 8] {
    if !MADE.load(Acquire) {
        make();
        MADE.store(true, Release);
    }
    &TABLES
}

/// Table 0 is the checksum of each byte, table n that of each byte with n zeroes after it.
fn make() {
    let [first, rest @ ..] = &TABLES;
    // The checksum is linear: that of two bytes' exclusive or is the exclusive or of theirs. So one
    // step for each power of two, and one operation for each entry between.
    let mut crc = 1;
    let mut power = 128;
    while power > 0 {
        crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
        for step in (0..256).step_by(2 * power) {
            first[step + power].store(first[step].load(Relaxed) ^ crc, Relaxed);
        }
        power /= 2;
    }
    let mut before = first;
    for table in rest {
        for (entry, before) in table.iter().zip(before) {
            let before = before.load(Relaxed);
            let next = (before >> 8) ^ first[(before & 0xff) as usize].load(Relaxed);
            entry.store(next, Relaxed);
        }
        before = table;
    }
}

/// Checksum of what gave `crc`, followed by `bytes`.
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tables();
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        // Eight lookups written out: a size-optimised build leaves a loop a loop, at several times
        // the instructions (which an emulated processor pays for most).
        let word = u64::from_le_bytes(*word) ^ u64::from(crc);
        let [b0, b1, b2, b3, b4, b5, b6, b7] = word.to_le_bytes();
        crc = t7[usize::from(b0)].load(Relaxed)
            ^ t6[usize::from(b1)].load(Relaxed)
            ^ t5[usize::from(b2)].load(Relaxed)
            ^ t4[usize::from(b3)].load(Relaxed)
            ^ t3[usize::from(b4)].load(Relaxed)
            ^ t2[usize::from(b5)].load(Relaxed)
            ^ t1[usize::from(b6)].load(Relaxed)
            ^ t0[usize::from(b7)].load(Relaxed);
    }
    for byte in rest {
        crc = (crc >> 8) ^ t0[usize::from(crc as u8 ^ byte)].load(Relaxed);
    }
    !crc
}
