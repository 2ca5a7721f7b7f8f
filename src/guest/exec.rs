//! Sessions that are added to a running machine, and their end: the channel is given back when the
//! listener has all of it.

use super::machine::Machine;
use super::session::{Role, Session};
use crate::config::model;
use crate::link::{Channel, Control, Exec};

impl Machine {
    /// Starts another session beside the primary one. Whatever keeps it from running is the reason in
    /// its exit record, as with any session; only one that gets no channel is refused.
    pub(super) fn exec(&mut self, order: Exec) {
        let id = order.id.clone();
        if self.sessions().iter().any(|s| s.config().id == id) {
            return self.refuse(&id, "there is a session of this ID already".into());
        }
        let Some(channel) = self.free_channel() else {
            return self.refuse(&id, "too many sessions are open in this machine".into());
        };
        if order.report {
            return self.report(channel, order.id);
        }
        if !order.service.is_empty() {
            return self.service(channel, order);
        }
        if !order.upgrade.is_empty() {
            return self.upgrade(channel, order);
        }
        let size = (order.rows, order.columns);
        let config = self.beside_the_primary(order);
        let mut session = Session::new(channel, config, Role::Added);
        session.begin_with_size(size);
        session.announce(&mut self.link);
        self.add_session(session);
    }

    /// Channels rise, so that what comes late of a closed one is nobody's; past the last one they
    /// begin again.
    fn free_channel(&mut self) -> Option<Channel> {
        let taken = |channel: Channel| self.sessions().iter().any(|s| s.channel() == channel);
        let after = self.last_channel.0;
        let channel = (after.saturating_add(1)..=u16::MAX)
            .chain(1..=after)
            .map(Channel)
            .find(|channel| !taken(*channel))?;
        if !self.link.open(channel) {
            return None;
        }
        self.last_channel = channel;
        Some(channel)
    }

    /// What an order does not say is as with the primary session.
    fn beside_the_primary(&self, order: Exec) -> model::Session {
        let primary = self.sessions().iter().find(|s| s.is_primary());
        let primary = primary.map(|s| s.config().clone()).unwrap_or_default();
        let (user, group, groups) = if order.user.is_empty() {
            (primary.user, primary.group, primary.groups)
        } else {
            (order.user, String::new(), Vec::new())
        };
        let mut env = primary.env;
        env.extend(order.env);
        model::Session {
            id: order.id,
            args: order.args,
            env,
            dir: if order.dir.is_empty() {
                primary.dir
            } else {
                order.dir
            },
            attach: true,
            openstdin: order.openstdin,
            tty: order.tty,
            user,
            group,
            groups,
            ..model::Session::default()
        }
    }

    /// Gives back the channels of added sessions that are over and of which the listener has all.
    pub(super) fn retire(&mut self) {
        // The steps of a stop count sessions by their place.
        if self.stopping.is_some() {
            return;
        }
        while let Some(at) = self.retired() {
            let session = self.sessions_mut().remove(at);
            let channel = session.channel();
            self.link.close(channel);
            if !self.link.send(&Control::Closed { channel }) {
                log::error!(
                    "the link takes no more messages: channel {} stays",
                    channel.0
                );
            }
        }
    }

    fn retired(&self) -> Option<usize> {
        self.sessions().iter().position(|session| {
            session.is_added()
                && session.is_reported()
                && !session.is_held()
                && self.link.delivered(session.channel())
        })
    }
}
