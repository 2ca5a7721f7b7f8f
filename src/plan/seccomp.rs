//! A seccomp profile as the kernel's filter: a program of its packet filter (BPF) that looks at the number and
//! the arguments of a system call (`linux/seccomp.h`, `linux/filter.h`).

use crate::config::seccomp::{Action, Argument, Compare, Rule, Seccomp};

/// One instruction: operation, jumps when true and when false, operand (`struct sock_filter`).
pub type Instruction = (u16, u8, u8, u32);

// Operations: load a word of what is looked at, mask it, compare and jump, jump, return.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_NOT_BELOW: u16 = 0x35;
const RETURN: u16 = 0x06;
// What is looked at (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// `AUDIT_ARCH_X86_64`: others have other numbers.
const X86_64: u32 = 0xc000_003e;
/// From here on numbers are those of x32, another way to call the same kernel.
const X32: u32 = 0x4000_0000;
/// `ENOSYS`
const NO_SUCH_CALL: u16 = 38;

/// The filter of a profile.
pub fn filter(profile: &Seccomp) -> Vec<Instruction> {
    // Nobody gets around it by another way of calling.
    let other = match profile.default {
        Action::Allow | Action::Log => Action::Errno(NO_SUCH_CALL),
        action => action,
    };
    let mut program = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 1, 0, X86_64),
        result(other),
        (LOAD, 0, 0, NUMBER),
        (IF_NOT_BELOW, 0, 1, X32),
        result(other),
    ];
    let mut leaves = Vec::new();
    let mut calls: Vec<u32> = profile.rules.iter().map(|rule| rule.call).collect();
    calls.sort_unstable();
    calls.dedup();
    let mut next = 0;
    for call in calls {
        if call > next {
            leaves.push((next, vec![result(profile.default)]));
        }
        let rules = profile.rules.iter().filter(|rule| rule.call == call);
        leaves.push((call, leaf(rules, profile.default)));
        next = call.saturating_add(1);
    }
    leaves.push((next, vec![result(profile.default)]));
    // Neighbours with one answer are one leaf.
    leaves.dedup_by(|later, earlier| later.1 == earlier.1);
    program.extend(search(&leaves));
    program
}

/// Binary search: leaves by the first number that each is for.
fn search(leaves: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    let (left, right) = leaves.split_at(leaves.len() / 2);
    let Some((from, program)) = right.first() else {
        return Vec::new();
    };
    if left.is_empty() {
        return program.clone();
    }
    let left = search(left);
    let over = u32::try_from(left.len()).unwrap_or_default();
    let mut all = vec![(IF_NOT_BELOW, 0, 1, *from), (JUMP, 0, 0, over)];
    all.extend(left);
    all.extend(search(right));
    all
}

/// The rules about one call, in their order.
fn leaf<'a>(rules: impl Iterator<Item = &'a Rule>, default: Action) -> Vec<Instruction> {
    let mut program = Vec::new();
    for rule in rules {
        program.extend(conditions(&rule.arguments, rule.action));
        if rule.arguments.is_empty() {
            return program;
        }
    }
    program.push(result(default));
    program
}

/// Returns the action where all hold, else goes on behind it.
fn conditions(arguments: &[Argument], action: Action) -> Vec<Instruction> {
    // From the end: how far it is to what comes behind is known then.
    let mut program = vec![result(action)];
    for argument in arguments.iter().rev() {
        let mut all = condition(argument, program.len());
        all.append(&mut program);
        program = all;
    }
    program
}

/// Goes on where it holds, else over the next `rest` instructions. The kernel compares words of 32 bits.
fn condition(argument: &Argument, rest: usize) -> Vec<Instruction> {
    const WORD: u32 = 32;
    let low_at = ARGUMENTS + 8 * u32::from(argument.index);
    let halves = |value: u64| {
        let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default();
        let high = u32::try_from(value >> WORD).unwrap_or_default();
        (high, low)
    };
    let (high, low) = halves(argument.value);
    let rest = u32::try_from(rest).unwrap_or_default();
    let loads = [(LOAD, 0, 0, low_at + 4), (LOAD, 0, 0, low_at)];
    let [load_high, load_low] = loads;
    // From the comparison for greater, and from the one for equal, to the end that it means.
    const ABOVE: (u8, u8) = (3, 3);
    const BELOW: (u8, u8) = (4, 2);
    // Two jumps stand at the end: it holds (over the other), it does not.
    let ends = [(JUMP, 0, 0, 1), (JUMP, 0, 0, rest)];
    let tests = match argument.compare {
        Compare::Equal => vec![
            load_high,
            (IF_EQUAL, 0, 3, high),
            load_low,
            (IF_EQUAL, 0, 1, low),
        ],
        Compare::NotEqual => vec![
            load_high,
            (IF_EQUAL, 0, 2, high),
            load_low,
            (IF_EQUAL, 1, 0, low),
        ],
        Compare::Masked(mask) => {
            let (mask_high, mask_low) = halves(mask);
            vec![
                load_high,
                (AND, 0, 0, mask_high),
                (IF_EQUAL, 0, 4, high),
                load_low,
                (AND, 0, 0, mask_low),
                (IF_EQUAL, 0, 1, low),
            ]
        }
        // A higher or lower upper half decides; an equal one leaves it to the lower.
        Compare::Greater => ordered(loads, high, ABOVE, (IF_GREATER, 0, 1, low)),
        Compare::GreaterOrEqual => ordered(loads, high, ABOVE, (IF_NOT_BELOW, 0, 1, low)),
        Compare::LessOrEqual => ordered(loads, high, BELOW, (IF_GREATER, 1, 0, low)),
        Compare::Less => ordered(loads, high, BELOW, (IF_NOT_BELOW, 1, 0, low)),
    };
    tests.into_iter().chain(ends).collect()
}

/// Greater or less: over how many it goes when the upper half is greater, and when it is less.
fn ordered(
    [load_high, load_low]: [Instruction; 2],
    high: u32,
    (greater, less): (u8, u8),
    last: Instruction,
) -> Vec<Instruction> {
    vec![
        load_high,
        (IF_GREATER, greater, 0, high),
        (IF_EQUAL, 0, less, high),
        load_low,
        last,
    ]
}

fn result(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Errno(number) => 0x0005_0000 | u32::from(number),
        Action::Trap => 0x0003_0000,
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
    };
    (RETURN, 0, 0, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The kernel's machine, as far as a filter uses it.
    fn run(program: &[Instruction], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
        let word = |at: u32| match at {
            NUMBER => number,
            ARCHITECTURE => architecture,
            at => {
                let argument = arguments[(at - ARGUMENTS) as usize / 8];
                (argument >> (8 * ((at - ARGUMENTS) % 8))) as u32
            }
        };
        let (mut at, mut a) = (0_usize, 0_u32);
        loop {
            let (code, yes, no, k) = program[at];
            at += 1;
            let mut jump = |so: bool| at += usize::from(if so { yes } else { no });
            match code {
                LOAD => a = word(k),
                AND => a &= k,
                JUMP => at += k as usize,
                IF_EQUAL => jump(a == k),
                IF_GREATER => jump(a > k),
                IF_NOT_BELOW => jump(a >= k),
                RETURN => return k,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    fn holds(argument: &Argument, arguments: [u64; 6]) -> bool {
        let (is, value) = (arguments[usize::from(argument.index)], argument.value);
        match argument.compare {
            Compare::Equal => is == value,
            Compare::NotEqual => is != value,
            Compare::Less => is < value,
            Compare::LessOrEqual => is <= value,
            Compare::GreaterOrEqual => is >= value,
            Compare::Greater => is > value,
            Compare::Masked(mask) => is & mask == value,
        }
    }

    fn expected(profile: &Seccomp, number: u32, arguments: [u64; 6]) -> u32 {
        let rule = profile.rules.iter().find(|rule| {
            rule.call == number && rule.arguments.iter().all(|one| holds(one, arguments))
        });
        result(rule.map_or(profile.default, |rule| rule.action)).3
    }

    fn value() -> impl Strategy<Value = u64> {
        let near = prop_oneof![Just(0), Just(1 << 32), Just(u64::MAX), Just(0x1_0000_0001)];
        prop_oneof![
            (near, 0_u64..3).prop_map(|(n, d)| n.wrapping_add(d)),
            any::<u64>()
        ]
    }

    prop_compose! {
        fn argument()(index in 0_u8..2, kind in 0..7, value in value(), mask in value()) -> Argument {
            let compare = [
                Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessOrEqual,
                Compare::GreaterOrEqual, Compare::Greater, Compare::Masked(mask),
            ][kind as usize];
            let value = if kind == 6 { value & mask } else { value };
            Argument { index, compare, value }
        }
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            Just(Action::Allow),
            Just(Action::Errno(7)),
            Just(Action::KillProcess)
        ]
    }

    prop_compose! {
        fn rule()(call in 0_u32..12, arguments in prop::collection::vec(argument(), 0..3),
            action in action()) -> Rule {
            Rule { call, arguments, action }
        }
    }

    proptest! {
        #[test]
        fn the_filter_does_what_the_profile_says(
            default in action(),
            rules in prop::collection::vec(rule(), 0..30),
            number in 0_u32..14,
            (first, second) in (value(), value()),
        ) {
            let arguments = [first, second, 0, 0, 0, 0];
            let profile = Seccomp { default, rules };
            let program = filter(&profile);
            let is = run(&program, number, X86_64, arguments);
            prop_assert_eq!(is, expected(&profile, number, arguments));
        }
    }

    #[test]
    fn other_ways_of_calling_lead_around_nothing() {
        let profile = Seccomp {
            default: Action::Allow,
            rules: Vec::new(),
        };
        let program = filter(&profile);
        let none = result(Action::Errno(NO_SUCH_CALL)).3;
        assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]), none);
        assert_eq!(run(&program, X32 | 1, X86_64, [0; 6]), none);
        assert_eq!(run(&program, 1, X86_64, [0; 6]), result(Action::Allow).3);
    }
}
