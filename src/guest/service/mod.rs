//! What process 1 itself does for the appliance in a running machine, on a direct session's streams: files out of the
//! container and into it, its figures, its freezing. A child of ours does it: whatever blocks, blocks that alone.
//!
//! The one that has to do with files first enters the container's tree, as the container's processes have: a path is what it
//! is for them, and no link leads out of it.

mod figures;
pub(super) mod freezer;
mod get;
mod out;
mod put;

use std::os::fd::{AsFd, BorrowedFd};

use self::out::Out;
use super::event_loop::now;
use super::machine::Machine;
use super::session::{OwnEnds, Place, Role, Session};
use crate::config::model;
use crate::files::{Failure, Trouble};
use crate::link::control::service::{FIGURES, FREEZE, GET, KEEP_KINDS, LIST, OWN, PUT, STAT, THAW};
use crate::link::{Channel, Exec};
use crate::plan::user;
use crate::sys::inside::Inside;
use crate::sys::namespaces::Namespaces;

/// No signal spares these.
const KILL: i32 = libc::SIGKILL;

impl Machine {
    /// Starts a session of our own.
    pub(super) fn service(&mut self, channel: Channel, order: Exec) {
        let config = model::Session {
            id: order.id,
            path: order.service.clone(),
            openstdin: order.service == PUT,
            ..model::Session::default()
        };
        let mut session = Session::new(channel, config, Role::Service);
        session.announce(&mut self.link);
        let place = self.place.take();
        let (sessions, mut desk) = self.desk(now());
        let primary = sessions.iter().find(|session| session.is_primary());
        let user = primary.map(|session| session.config().user.clone());
        match Service::of(&order.service, &order.args, place.as_ref(), user) {
            Ok(service) => {
                let kept = service.tree.as_ref().map(Tree::descriptor);
                let kept: Vec<BorrowedFd<'_>> = kept.into_iter().collect();
                session.start_own(&kept, &|ends| service.run(ends), &mut desk);
            }
            Err(reason) => session.fail(&reason, &mut desk),
        }
        sessions.push(session);
        self.place = place;
    }

    /// The machine ends: nobody waits for what is under way.
    pub(super) fn end_services(&mut self) {
        for session in self
            .sessions()
            .iter()
            .filter(|s| s.is_service() && s.is_alive())
        {
            if let Err(error) = session.signal(KILL) {
                log::debug!("session {}: {error}", session.config().id);
            }
        }
    }
}

/// Where the container's files are.
enum Tree<'a> {
    /// As its processes see them.
    Of(&'a Namespaces),
    /// It has no processes, or no namespaces.
    At(&'a Inside),
}

impl Tree<'_> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Of(namespaces) => namespaces.init(),
            Self::At(root) => root.as_fd(),
        }
    }

    /// For a child: there is nothing else for it from now on.
    fn enter(&self) -> std::io::Result<()> {
        match self {
            Self::Of(namespaces) => namespaces.enter_tree(),
            Self::At(root) => {
                rustix::process::fchdir(root.as_fd())?;
                Ok(rustix::process::chroot(".")?)
            }
        }
    }
}

struct Service<'a> {
    what: &'a str,
    args: &'a [String],
    /// Where it has to do with files.
    tree: Option<Tree<'a>>,
    /// Who the container's command runs as.
    user: String,
}

impl<'a> Service<'a> {
    fn of(
        what: &'a str,
        args: &'a [String],
        place: Option<&'a Place>,
        user: Option<String>,
    ) -> Result<Self, String> {
        let tree = match what {
            FIGURES | FREEZE | THAW => None,
            STAT | GET | LIST | PUT => {
                let place = place.ok_or("the container's disk is not there")?;
                let namespaces = place.namespaces.as_ref().map(Tree::Of);
                let tree = namespaces.or(place.root.as_ref().map(Tree::At));
                Some(tree.ok_or("the container has no tree of its own")?)
            }
            what => return Err(format!("no service {what:?} is known")),
        };
        let user = user.unwrap_or_default();
        Ok(Self {
            what,
            args,
            tree,
            user,
        })
    }

    /// In the child: 0, with what it comes to told; or 1 where nobody takes that.
    fn run(&self, ends: &OwnEnds) -> u8 {
        let mut out = Out::new(&ends.stdout);
        let done = self.tree.as_ref().map_or(Ok(()), |tree| {
            tree.enter().map_err(|error| Failure {
                trouble: Trouble::Failed,
                text: format!("the container's tree cannot be entered: {error}"),
            })
        });
        let done = done.and_then(|()| self.work(ends, &mut out));
        u8::from(out.end(&done).is_err())
    }

    fn work(&self, ends: &OwnEnds, out: &mut Out<'_>) -> Result<(), Failure> {
        let path = self.args.first().map(String::as_str).unwrap_or_default();
        let is = |word: &str| self.args.iter().skip(1).any(|own| own == word);
        match self.what {
            FIGURES => figures::go_on(out),
            FREEZE => freezer::set(true),
            THAW => freezer::set(false),
            LIST => get::list(out),
            STAT | GET => get::get(path, self.what == GET, out),
            _ => {
                let owner = is(OWN).then(|| self.owner()).transpose()?;
                let stdin = ends.stdin.as_ref().ok_or_else(|| Failure {
                    trouble: Trouble::Failed,
                    text: "there is no stdin".into(),
                })?;
                put::put(path, owner, is(KEEP_KINDS), stdin.as_fd())
            }
        }
    }

    /// User and group that the container's command has: what comes in is to be theirs.
    fn owner(&self) -> Result<(u32, u32), Failure> {
        let inside = Inside::open("/").map_err(|error| Failure {
            trouble: Trouble::Failed,
            text: format!("the container's tree: {error}"),
        })?;
        let file = |path| {
            inside
                .read(path, super::session::DATABASE_MOST)
                .unwrap_or_default()
        };
        let (passwd, group) = (file("/etc/passwd"), file("/etc/group"));
        let found = user::resolve(&self.user, "", &[], &passwd, &group);
        let found = found.map_err(|error| Failure {
            trouble: Trouble::Bad,
            text: error.to_string(),
        })?;
        Ok((found.user, found.group))
    }
}
