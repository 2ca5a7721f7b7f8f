//! Writer, repair and readers together.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;

use super::record::Kind;
use super::*;
use crate::link::{Channel, Stream};

const ONE: Channel = Channel(1);

fn mark(channel: u16, primary: bool) -> SessionMark {
    SessionMark {
        closed: false,
        channel: Channel(channel),
        id: format!("session-{channel}"),
        primary,
    }
}

/// Appends bytes of stdout on channel 1 at the position where the log stands.
fn append(log: &mut Log, bytes: &[u8]) {
    let mut batch = Batch::default();
    batch.restart(1);
    let at = log.positions().stream(ONE, Stream::Stdout).length;
    batch.data(ONE, Stream::Stdout, at, bytes);
    log.append(&mut batch).expect("append");
}

fn begin(log: &mut Log, epoch: u64) {
    log.begin_run(epoch, 1).expect("begin a run");
    let mut batch = Batch::default();
    batch.restart(1);
    batch.session(mark(1, true)).expect("session");
    log.append(&mut batch).expect("append");
}

fn read_from(dir: &Path, mut reader: Reader, end: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while reader.position() < end {
        reader
            .read(end, |record| {
                if record.header.kind == Kind::Data {
                    out.extend_from_slice(record.payload);
                }
            })
            .unwrap_or_else(|e| panic!("read {}: {e}", dir.display()));
    }
    out
}

fn read_all(dir: &Path, end: u64) -> Vec<u8> {
    read_from(
        dir,
        Reader::from_start(dir, Whose::Primary).expect("reader"),
        end,
    )
}

#[test]
fn a_torn_tail_at_every_byte_is_cut_to_the_last_whole_record() {
    let dir = tempfile::tempdir().expect("folder");
    let golden = dir.path().join("golden");
    let mut log = Log::open(&golden, Rotation::default()).expect("open");
    let mut ends = Vec::new();
    begin(&mut log, 7);
    ends.push((log.end(), 0));
    for n in 1..=6_u64 {
        append(&mut log, &vec![b'a' + n as u8; 10 * n as usize]);
        let length = log.positions().stream(ONE, Stream::Stdout).length;
        ends.push((log.end(), length));
    }
    let file = format!("{:020}", 0);
    let bytes = fs::read(golden.join(&file)).expect("segment");
    assert_eq!(bytes.len() as u64, log.end());

    for cut in 0..=bytes.len() {
        let torn = dir.path().join(format!("cut-{cut}"));
        fs::create_dir(&torn).expect("folder");
        fs::write(torn.join(&file), &bytes[..cut]).expect("segment");
        let mut log = Log::open(&torn, Rotation::default()).expect("open");
        let whole = ends.iter().rev().find(|(end, _)| *end <= cut as u64);
        let Some((end, length)) = whole else {
            // Inside the first two records: at most the run's checkpoint is there.
            assert_eq!(log.positions().stream(ONE, Stream::Stdout).length, 0);
            continue;
        };
        assert_eq!((log.end(), cut), (*end, cut));
        let position = log.positions().stream(ONE, Stream::Stdout);
        assert_eq!(position.length, *length);
        append(&mut log, b"goes on");
        let again = Log::open(&torn, Rotation::default()).expect("open again");
        assert_eq!(again.end(), log.end());
        let out = read_all(&torn, log.end());
        assert_eq!(out.len() as u64, length + 7);
        assert!(out.ends_with(b"goes on"));
        fs::remove_dir_all(&torn).expect("remove");
    }
}

#[test]
fn noise_behind_the_end_is_cut() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"kept");
    let end = log.end();
    let noise: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 + i / 3) as u8).collect();
    OpenOptions::new()
        .append(true)
        .open(dir.path().join(format!("{:020}", 0)))
        .and_then(|mut f| f.write_all(&noise))
        .expect("noise");
    let log = Log::open(dir.path(), Rotation::default()).expect("open");
    assert_eq!(log.end(), end);
    assert_eq!(read_all(dir.path(), end), b"kept");
}

#[test]
fn a_reboot_starts_the_offsets_anew_and_keeps_the_old_output() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"first run\n");
    begin(&mut log, 8);
    assert_eq!(log.positions().stream(ONE, Stream::Stdout).length, 0);
    append(&mut log, b"second run\n");
    let log = Log::open(dir.path(), Rotation::default()).expect("open");
    assert_eq!(log.positions().epoch, Some(8));
    assert_eq!(log.positions().stream(ONE, Stream::Stdout).length, 11);
    assert_eq!(read_all(dir.path(), log.end()), b"first run\nsecond run\n");
}

/// Segments of 1,000 bytes.
fn small(most: Option<usize>) -> Rotation {
    Rotation {
        segment_bytes: 1000,
        segments_most: most.and_then(NonZeroUsize::new),
    }
}

#[test]
fn the_oldest_segments_go_and_a_reader_is_told_what_it_missed() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), small(Some(3))).expect("open");
    begin(&mut log, 7);
    let mut slow = Reader::from_start(dir.path(), Whose::Primary).expect("reader");
    append(&mut log, b"the first\n");
    let mut seen = Vec::new();
    slow.read(log.end(), |record| seen.extend_from_slice(record.payload))
        .expect("read");
    let stood = slow.position();
    for n in 0..100_u32 {
        append(
            &mut log,
            format!("line {n} {}\n", "x".repeat(90)).as_bytes(),
        );
    }
    let starts = segment_starts(dir.path()).expect("segments");
    assert_eq!(starts.len(), 3);
    // The file it stands in can still be read to its end; then it goes on at the oldest.
    let (mut lines, mut skipped) = (Vec::new(), 0);
    while slow.position() < log.end() {
        slow.read(log.end(), |record| {
            if record.header.kind == Kind::Data {
                lines.extend_from_slice(record.payload);
            }
        })
        .expect("read");
        skipped += slow.skipped();
    }
    assert!(
        skipped > 0 && skipped < starts[0] - stood,
        "{skipped} of {starts:?}"
    );
    let text = String::from_utf8(lines).expect("text");
    assert!(
        text.starts_with("line 0 ") && text.ends_with("x\n"),
        "{text}"
    );
    assert_eq!(slow.skipped(), 0);
    // One that comes now sees what is there, to the last.
    let rest = read_all(dir.path(), log.end());
    assert!(text.as_bytes().ends_with(&rest) && rest.len() > 1500);
}

#[test]
fn segments_join_without_a_seam() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), small(None)).expect("open");
    begin(&mut log, 7);
    let mut expected = Vec::new();
    for n in 0..200_u32 {
        let line = format!("line {n} {}\n", "x".repeat((n % 90) as usize));
        append(&mut log, line.as_bytes());
        expected.extend_from_slice(line.as_bytes());
    }
    let starts = segment_starts(dir.path()).expect("segments");
    assert!(starts.len() > 10, "{} segments", starts.len());
    assert_eq!(read_all(dir.path(), log.end()), expected);

    let end = log.end();
    drop(log);
    let mut log = Log::open(dir.path(), small(None)).expect("open");
    assert_eq!(log.end(), end);
    let position = log.positions().stream(ONE, Stream::Stdout);
    assert_eq!(position.length, expected.len() as u64);
    assert_eq!(log.positions().primary(), Some(ONE));
    append(&mut log, b"after the restart\n");
    expected.extend_from_slice(b"after the restart\n");
    assert_eq!(read_all(dir.path(), log.end()), expected);
}

#[test]
fn a_segment_without_its_checkpoint_is_removed() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"kept");
    let unborn = dir.path().join(format!("{:020}", log.end()));
    fs::write(&unborn, b"\x01\x02").expect("segment");
    let mut again = Log::open(dir.path(), Rotation::default()).expect("open");
    assert_eq!(again.end(), log.end());
    assert!(!unborn.exists());
    append(&mut again, b" and more");
    assert_eq!(read_all(dir.path(), again.end()), b"kept and more");
}

#[test]
fn a_reader_never_passes_the_published_end() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"one");
    let end = log.end();
    append(&mut log, b"two");
    assert_eq!(read_all(dir.path(), end), b"one");
    let late = Reader::new(dir.path(), end, Whose::Primary, Some(log.positions()));
    assert_eq!(read_from(dir.path(), late, log.end()), b"two");
}

#[test]
fn only_the_primary_session_is_read() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    let mut batch = Batch::default();
    batch.restart(1);
    batch.session(mark(2, false)).expect("session");
    batch.data(Channel(2), Stream::Stdout, 0, b"exec");
    batch.data(ONE, Stream::Stdout, 0, b"primary");
    log.append(&mut batch).expect("append");
    assert_eq!(read_all(dir.path(), log.end()), b"primary");
    let whose = Whose::Session("session-2".into());
    let added = Reader::from_start(dir.path(), whose).expect("reader");
    assert_eq!(read_from(dir.path(), added, log.end()), b"exec");
}

#[test]
fn a_channel_that_is_closed_may_carry_another_session() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    let named = |id: &str, closed| SessionMark {
        id: id.into(),
        closed,
        ..mark(2, false)
    };
    // All in one batch, and each in its own.
    for apart in [false, true] {
        let mut batch = Batch::default();
        batch.restart(1);
        for id in ["first", "second"] {
            batch.session(named(id, false)).expect("session");
            batch.data(Channel(2), Stream::Stdout, 0, id.as_bytes());
            batch.end(Channel(2), Stream::Stdout, id.len() as u64);
            if apart {
                log.append(&mut batch).expect("append");
                batch.restart(1);
            }
            batch.session(named("", true)).expect("session");
        }
        log.append(&mut batch).expect("append");
        assert_eq!(
            log.positions().resume().len(),
            2,
            "of the primary one alone"
        );
    }
    for id in ["first", "second"] {
        let whose = Whose::Session(id.into());
        let reader = Reader::from_start(dir.path(), whose).expect("reader");
        let twice = id.repeat(2).into_bytes();
        assert_eq!(read_from(dir.path(), reader, log.end()), twice);
    }
    let (end, positions) = (log.end(), log.positions().clone());
    let again = Log::open(dir.path(), Rotation::default()).expect("open");
    assert_eq!((again.end(), again.positions()), (end, &positions));
}

#[test]
fn damage_inside_is_told_and_not_skipped() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"one");
    append(&mut log, b"two");
    let file = dir.path().join(format!("{:020}", 0));
    let mut bytes = fs::read(&file).expect("segment");
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).expect("segment");
    let mut reader = Reader::from_start(dir.path(), Whose::Primary).expect("reader");
    let failed = loop {
        if let Err(e) = reader.read(log.end(), |_| {}) {
            break e;
        }
    };
    assert!(failed.to_string().contains("damaged at byte"), "{failed}");
}

#[test]
fn a_batch_that_does_not_follow_changes_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(dir.path(), Rotation::default()).expect("open");
    begin(&mut log, 7);
    append(&mut log, b"one");
    let (end, positions) = (log.end(), log.positions().clone());
    let mut batch = Batch::default();
    batch.restart(1);
    batch.data(ONE, Stream::Stdout, 3, b"follows");
    batch.data(ONE, Stream::Stderr, 9, b"does not");
    assert!(log.append(&mut batch).is_err());
    assert_eq!((log.end(), log.positions()), (end, &positions));
}

#[test]
fn a_log_without_a_run_takes_no_records() {
    let dir = tempfile::tempdir().expect("folder");
    let mut log = Log::open(&dir.path().join("log"), Rotation::default()).expect("open");
    let mut batch = Batch::default();
    batch.restart(1);
    batch.data(ONE, Stream::Stdout, 0, b"x");
    assert!(matches!(log.append(&mut batch), Err(LogError::NoRun(_))));
}
