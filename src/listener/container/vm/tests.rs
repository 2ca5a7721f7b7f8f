use std::net::SocketAddr;

use super::*;
use crate::link::Identity;
use crate::listener::container::ClientError;
use crate::listener::store::Rotation;

fn connection() -> Arc<Connection> {
    Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)))
}

/// A hello that took the WELCOME `last`, at this time of its clock.
fn hello(last: u64, answer: u64, up_ms: u64) -> Hello {
    let identity = Identity {
        epoch: 7,
        ..Identity::default()
    };
    Hello {
        identity,
        last,
        answer,
        up_ms,
        ..Hello::default()
    }
}

fn container() -> (tempfile::TempDir, Container) {
    let dir = tempfile::tempdir().expect("a folder");
    let container = Container::open("c1", dir.path(), Rotation::default()).expect("container");
    (dir, container)
}

/// A guest that was let in by WELCOME 10, told its clock, and went.
fn went(container: &Container) {
    let first = connection();
    let back = container.hello(&hello(0, 10, 1000), &first, 1);
    assert!(matches!(back, Ok(Welcomed::Back(_))), "{back:?}");
    container.link_up(&first);
    first.heard(0, 60_000);
    container.disconnected(&first, b"", 2);
}

#[test]
fn one_that_took_another_welcome_or_whose_clock_went_back_is_a_copy() {
    for (last, up_ms, copy) in [
        (10, 60_000, false),
        (10, 59_999, true),
        (0, 70_000, true),
        (9, 70_000, true),
    ] {
        let (_dir, container) = container();
        went(&container);
        let told = container.hello(&hello(last, 11, up_ms), &connection(), 3);
        let is_copy = matches!(told, Ok(Welcomed::AsAnother));
        assert_eq!(is_copy, copy, "{last} {up_ms}: {told:?}");
    }
}

#[test]
fn a_welcome_that_was_lost_may_be_taken_or_not() {
    for last in [10, 11, 12] {
        let (_dir, container) = container();
        went(&container);
        for answer in [11, 12] {
            let lost = connection();
            let told = container.hello(&hello(10, answer, 60_000), &lost, 3);
            assert!(matches!(told, Ok(Welcomed::Back(_))), "{told:?}");
            container.disconnected(&lost, b"", 4);
        }
        let told = container.hello(&hello(last, 13, 60_000), &connection(), 5);
        assert!(matches!(told, Ok(Welcomed::Back(_))), "{last}: {told:?}");
    }
}

#[test]
fn of_two_that_are_there_the_newcomer_is_a_copy_and_after_a_silence_it_is_the_one() {
    for there in [true, false] {
        let (_dir, container) = container();
        let (old, new) = (connection(), connection());
        assert!(container.hello(&hello(0, 10, 5), &old, 1).is_ok());
        container.link_up(&old);
        let told = container.hello(&hello(10, 11, 9), &new, 2);
        assert!(matches!(told, Ok(Welcomed::NotYet)), "{told:?}");
        let question = old.take_question().expect("it is asked");
        assert_eq!(old.take_question(), None);
        old.heard(question - 1, 6);
        if there {
            old.heard(question, 6);
        } else {
            std::thread::sleep(super::super::connection::ANSWER_MOST);
        }
        let told = container.hello(&hello(10, 11, 9), &new, 3);
        assert_eq!(matches!(told, Ok(Welcomed::AsAnother)), there, "{told:?}");
        assert_eq!(matches!(told, Ok(Welcomed::Back(_))), !there, "{told:?}");
        assert_eq!(old.closed(), !there);
    }
}

/// A client that has seen the container in a list stops it before the handshake's end.
#[test]
fn a_stop_that_comes_in_the_middle_of_the_handshake_is_kept_and_one_without_a_vm_is_refused() {
    let (_dir, container) = container();
    let there = connection();
    assert!(container.hello(&hello(0, 10, 5), &there, 1).is_ok());
    assert!(!container.snapshot().link_up);
    assert!(container.stop(5).is_ok());
    assert_eq!(container.lock().outgoing.waiting(), 1);

    assert!(container.link_down(&there).is_some());
    let told = container.stop(5);
    assert!(matches!(told, Err(ClientError::NoLink(_))), "{told:?}");
    container.disconnected(&there, b"", 2);
    let told = container.stop(5);
    assert!(matches!(told, Err(ClientError::NoLink(_))), "{told:?}");
}
