//! Each kind of accident at each byte of a short conversation, in both directions.

use super::pair::Pair;
use super::wire::{Accident, PERFECT};
use super::*;

const SIZES: [usize; 3] = [300, 900, 200];
/// A plain `cargo test` takes one place of so many; with `TETHER_SEEDS` each.
const STRIDE: u64 = 61;

fn pair(keyed: bool) -> Pair {
    let pair = Pair::new(11, PERFECT, SIZES);
    if keyed {
        pair.with_key(key(7), u64::MAX)
    } else {
        pair
    }
}

/// Bytes that the conversation takes, up and down.
fn length(keyed: bool) -> (u64, u64) {
    let mut pair = pair(keyed);
    pair.finish();
    pair.check();
    (pair.up.carried, pair.down.carried)
}

#[test]
fn an_accident_at_any_byte_loses_nothing() {
    let stride = if number("TETHER_SEEDS").is_some() {
        1
    } else {
        STRIDE
    };
    for keyed in [false, true] {
        let (up, down) = length(keyed);
        assert!(up > 1_000 && down > 500, "{up} up, {down} down");
        let kinds = Accident::ALL.len() as u64;
        let places = (up + down).div_ceil(stride);
        let outcome = each(places * kinds, |case| {
            let accident = Accident::ALL[(case % kinds) as usize];
            let at = case / kinds * stride;
            let mut pair = pair(keyed);
            if at < up {
                pair.up.accident = Some((at, accident));
            } else {
                pair.down.accident = Some((at - up, accident));
            }
            pair.finish();
            pair.check();
        });
        if let Some(case) = outcome {
            let accident = Accident::ALL[(case % kinds) as usize];
            let at = case / kinds * stride;
            panic!("{accident:?} at byte {at} of {up} up and {down} down, key: {keyed}");
        }
    }
}
