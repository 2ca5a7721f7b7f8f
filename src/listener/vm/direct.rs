//! The streams of a VM that go past the store: answers of its process 1 to the clients that wait for them.

use super::Task;
use crate::link::{Channel, Event, Stream};

/// One of them.
#[derive(Debug)]
pub(super) struct DirectStream {
    channel: Channel,
    /// Session.
    id: String,
    received: u64,
    ended: bool,
    /// What has been acknowledged, the end counted as one.
    acknowledged: u64,
}

impl Task {
    /// Those that the container knows of: on a new connection.
    pub(super) fn find_direct(&mut self) {
        let known = self
            .container
            .iter()
            .flat_map(|container| container.direct_sessions());
        let streams = known.map(|(channel, id, standing)| DirectStream {
            channel,
            id,
            received: standing.map_or(0, |s| s.received),
            ended: standing.is_some_and(|s| s.ended),
            acknowledged: 0,
        });
        self.direct = streams.collect();
    }

    /// A new one.
    pub(super) fn begin_direct(&mut self, channel: Channel, id: &str) {
        self.end_direct(channel);
        self.direct.push(DirectStream {
            channel,
            id: id.to_owned(),
            received: 0,
            ended: false,
            acknowledged: 0,
        });
    }

    /// It is over; `false`: it was none.
    pub(super) fn end_direct(&mut self, channel: Channel) -> bool {
        let before = self.direct.len();
        self.direct.retain(|stream| stream.channel != channel);
        self.direct.len() < before
    }

    /// Takes what is one of theirs; `false`: it is not.
    pub(super) fn take_direct(&mut self, event: &Event) -> bool {
        let (Event::Data { channel, .. } | Event::Gap { channel, .. } | Event::End { channel, .. }) =
            event
        else {
            return false;
        };
        let mut streams = self.direct.iter_mut();
        let Some(own) = streams.find(|own| own.channel == *channel) else {
            return false;
        };
        match event {
            Event::Data {
                stream: Stream::Stdout,
                offset,
                bytes,
                ..
            } => {
                own.received = own.received.max(offset + bytes.len() as u64);
                if let Some(container) = &self.container {
                    container.direct_data(&own.id, *offset, bytes);
                }
            }
            // What nobody here has, nobody waits for.
            Event::Gap { to, .. } => own.received = own.received.max(*to),
            Event::End {
                stream: Stream::Stdout,
                ..
            } => {
                own.ended = true;
                if let Some(container) = &self.container {
                    container.direct_end(&own.id);
                }
            }
            // Nothing is said anywhere else.
            Event::End { stream, offset, .. } => self.link.stored(*channel, *stream, offset + 1),
            _ => {}
        }
        true
    }

    /// Acknowledges what clients have taken, and what nobody waits for.
    pub(super) fn acknowledge_direct(&mut self) {
        let Some(container) = &self.container else {
            return;
        };
        for stream in &mut self.direct {
            let standing = container.direct_standing(&stream.id);
            let taken = standing.map_or(stream.received, |standing| standing.taken);
            let end = stream.ended && taken >= stream.received;
            let done = taken.min(stream.received) + u64::from(end);
            if done > stream.acknowledged {
                stream.acknowledged = done;
                self.link.stored(stream.channel, Stream::Stdout, done);
            }
        }
    }
}
