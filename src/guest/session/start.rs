//! A session's start: its plan, its streams, its process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Desk, Input, Output, Session, State};
use crate::guest::container::First;
use crate::guest::event_loop::{Interest, Token};
use crate::link::Stream;
use crate::plan::bounds::Bounds;
use crate::plan::process::{Process, ProcessError, Surroundings, process};
use crate::plan::user::{User, UserError, resolve};
use crate::sys::fork;
use crate::sys::inside::Inside;
use crate::sys::namespaces::Namespaces;
use crate::sys::pty::{Pty, resize};
use crate::sys::spawn::{Furnish, Identity, Program, Stdio, start};

/// Longest `/etc/passwd` or `/etc/group` that is read, bytes.
pub const DATABASE_MOST: usize = 1 << 20;
/// Where a terminal session's terminal is shown too, as docker does.
const CONSOLE: &str = "/dev/console";
/// Bytes that wait in an output's pipe: the fewer turns writer and reader take, the less a processor
/// (an emulated one above all) is busy with switching.
const OUTPUT_PIPE: usize = 256 << 10;

/// Where sessions run.
#[derive(Debug, Default)]
pub struct Place {
    /// The container's tree; none: our own, as we are (tests).
    pub root: Option<Inside>,
    /// Its namespaces; none: the machine's.
    pub namespaces: Option<Namespaces>,
    /// The primary session's process is to be the first of namespaces that it makes; the others join it.
    pub first: Option<First>,
    /// What bounds each of its processes.
    pub bounds: Bounds,
    /// The machine's host name.
    pub hostname: String,
}

/// Why a session was not even tried.
#[derive(Debug, thiserror::Error)]
pub enum NotTried {
    /// Its command.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its user.
    #[error(transparent)]
    User(#[from] UserError),
    /// A file that its user is looked up in.
    #[error("cannot read {path} of the container: {cause}")]
    Database {
        /// The file.
        path: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// Its streams.
    #[error("cannot make {what} for the session: {cause}")]
    Stream {
        /// What.
        what: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// Its process.
    #[error("cannot make a process for the session: {0}")]
    Fork(io::Error),
}

/// The ends of its streams that a process of our own has.
#[derive(Debug)]
pub struct OwnEnds {
    /// What the session is sent, where it takes anything.
    pub stdin: Option<OwnedFd>,
    /// What it says.
    pub stdout: OwnedFd,
}

/// Both ends of a session's streams.
struct Streams {
    stdin: Input,
    stdout: Output,
    stderr: Output,
    master: Option<OwnedFd>,
    /// Path of the terminal that is shown as the container's console.
    console: Option<CString>,
    theirs: Stdio,
}

impl Session {
    /// Starts the session's process. What comes of it is told later.
    pub fn start(&mut self, place: &Place, desk: &mut Desk<'_>) {
        if !matches!(self.state, State::Waiting | State::Resting { .. }) {
            return;
        }
        self.state = State::Waiting;
        if let Err(reason) = self.try_start(place, desk) {
            self.fail(&reason.to_string(), desk);
        }
    }

    fn try_start(&mut self, place: &Place, desk: &mut Desk<'_>) -> Result<(), NotTried> {
        let user = match &place.root {
            Some(root) => Some(self.user(root, &place.bounds.groups)?),
            None => None,
        };
        let around = Surroundings {
            hostname: &place.hostname,
            home: user.as_ref().map_or("/", |user| user.home.as_str()),
        };
        let plan = process(&self.config, around)?;
        let streams = self.streams(place)?;
        let furnish = |first: &First| first.furnish();
        let first = place.first.as_ref().filter(|_| self.is_primary());
        let furnish = first.map(|first| move || furnish(first));
        let program = Program {
            console: streams.console.as_deref(),
            first: furnish.as_ref().map(|furnish| Furnish(furnish)),
            ..program(&plan, place, user.as_ref())
        };
        let started = start(&program, streams.theirs).map_err(NotTried::Fork)?;
        self.tried = plan
            .candidates
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        self.begun = desk.now;
        self.stdin = streams.stdin.after(&mut self.stdin);
        self.stdout = streams.stdout.going_on(self.config.restart);
        self.stderr = streams.stderr.going_on(self.config.restart);
        self.master = streams.master;
        if let Err(error) = desk.events.watch(
            &started.outcome,
            Token::Start(self.channel),
            Interest::Readable,
        ) {
            // It is read when the process is reaped.
            log::error!("watching the start of a session: {error}");
        }
        let (pid, pidfd, outcome) = (started.pid, started.pidfd, started.outcome);
        self.state = State::Starting {
            pid,
            pidfd,
            outcome,
        };
        if self.config.tty {
            // One stream is all that a terminal has.
            self.stderr.close(desk);
        }
        self.stdin.begin(desk);
        self.stdout.pump(desk);
        self.stderr.pump(desk);
        Ok(())
    }

    /// Starts a process of our own beside the container, which has these descriptors, reads the session's stdin
    /// if that is open, and writes to its stdout.
    pub fn start_own(
        &mut self,
        kept: &[BorrowedFd<'_>],
        work: &dyn Fn(&OwnEnds) -> u8,
        desk: &mut Desk<'_>,
    ) {
        let open = self.config.openstdin;
        let made = pipe(Ours::Reads).and_then(|(stdout, output)| {
            let (stdin, input) = open.then(|| pipe(Ours::Writes)).transpose()?.unzip();
            let ends = OwnEnds { stdin, stdout };
            let mut kept = kept.to_vec();
            kept.push(ends.stdout.as_fd());
            kept.extend(ends.stdin.as_ref().map(AsFd::as_fd));
            let (pid, pidfd) = fork::with_work(&kept, || work(&ends))?;
            Ok((input, output, pid, pidfd))
        });
        match made {
            Ok((input, output, pid, pidfd)) => {
                self.begun = desk.now;
                self.stdout = Output::new(self.channel, Stream::Stdout, output);
                if let Some(input) = input {
                    self.stdin = Input::pipe(self.channel, input).after(&mut self.stdin);
                }
                self.state = State::Running { pid, pidfd };
                self.told_running(pid, desk);
                self.stdin.begin(desk);
                self.stdout.pump(desk);
                self.stderr.close(desk);
            }
            Err(error) => self.fail(&error.to_string(), desk),
        }
    }

    /// The namespaces that its process is the first of.
    pub fn namespaces(&self, place: &Place) -> Option<Namespaces> {
        let (State::Starting { pidfd, .. } | State::Running { pidfd, .. }) = &self.state else {
            return None;
        };
        let made = place.first.as_ref()?.namespaces(pidfd.as_fd());
        made.inspect_err(|error| log::error!("the container's namespaces: {error}"))
            .ok()
    }

    fn user(&self, root: &Inside, more: &[String]) -> Result<User, NotTried> {
        let passwd = database(root, "/etc/passwd")?;
        let group = database(root, "/etc/group")?;
        let config = &self.config;
        let groups = [config.groups.as_slice(), more].concat();
        let (user, own) = (&config.user, &config.group);
        Ok(resolve(user, own, &groups, &passwd, &group)?)
    }

    fn streams(&self, place: &Place) -> Result<Streams, NotTried> {
        if self.config.tty {
            self.terminal(place)
        } else {
            self.pipes()
        }
    }

    fn terminal(&self, place: &Place) -> Result<Streams, NotTried> {
        let stream = |what| move |cause| NotTried::Stream { what, cause };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let devpts = match &place.root {
            Some(root) => root.get("/dev/pts", flags),
            None => rustix::fs::open("/dev/pts", flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(Into::into),
        };
        let devpts = devpts.map_err(stream("a terminal (/dev/pts)"))?;
        let pty = Pty::open(devpts.as_fd()).map_err(stream("a terminal"))?;
        let (rows, columns) = self.size;
        resize(&pty.master, rows, columns).map_err(stream("a terminal of its size"))?;
        let console = match &place.root {
            Some(root) if self.is_primary() => console(root, &pty),
            _ => None,
        };
        let copy = || {
            pty.master
                .try_clone()
                .map_err(stream("a terminal's descriptors"))
        };
        Ok(Streams {
            // Without an open stdin nobody types: what comes is dropped.
            stdin: if self.config.openstdin {
                Input::terminal(self.channel, copy()?)
            } else {
                Input::none(self.channel)
            },
            stdout: Output::new(self.channel, Stream::Stdout, copy()?),
            stderr: Output::none(self.channel, Stream::Stderr),
            master: Some(pty.master),
            console,
            theirs: Stdio::Terminal(pty.terminal),
        })
    }

    fn pipes(&self) -> Result<Streams, NotTried> {
        let stream = |what| move |cause| NotTried::Stream { what, cause };
        let (stdin, input) = if self.config.openstdin {
            let (theirs, ours) = pipe(Ours::Writes).map_err(stream("stdin"))?;
            (theirs, Input::pipe(self.channel, ours))
        } else {
            // Ours, not the container's: it may have none.
            let null =
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let null = null.map_err(|cause| NotTried::Stream {
                what: "stdin (/dev/null)",
                cause: cause.into(),
            })?;
            (null, Input::none(self.channel))
        };
        let (stdout, output) = pipe(Ours::Reads).map_err(stream("stdout"))?;
        let (stderr, errors) = pipe(Ours::Reads).map_err(stream("stderr"))?;
        Ok(Streams {
            stdin: input,
            stdout: Output::new(self.channel, Stream::Stdout, output),
            stderr: Output::new(self.channel, Stream::Stderr, errors),
            master: None,
            console: None,
            theirs: Stdio::Apart {
                stdin,
                stdout,
                stderr,
            },
        })
    }
}

fn program<'a>(plan: &'a Process, place: &'a Place, user: Option<&'a User>) -> Program<'a> {
    Program {
        namespaces: place.namespaces.as_ref(),
        first: None,
        root: place.root.as_ref().map(AsFd::as_fd),
        console: None,
        candidates: &plan.candidates,
        arguments: &plan.arguments,
        environment: &plan.environment,
        directories: &plan.directories,
        directory: &plan.directory,
        identity: user.map(|user| Identity {
            user: user.user,
            group: user.group,
            groups: &user.groups,
        }),
        limits: &place.bounds.limits,
        umask: place.bounds.umask,
        oom_score: place.bounds.oom_score.as_deref(),
        no_new_privileges: place.bounds.no_new_privileges,
        filter: &place.bounds.filter,
    }
}

/// An image without the file knows no names; a file that cannot be read is an error.
fn database(root: &Inside, path: &'static str) -> Result<Vec<u8>, NotTried> {
    match root.read(path, DATABASE_MOST) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        result => result.map_err(|cause| NotTried::Database { path, cause }),
    }
}

/// Something to mount the primary session's terminal over, which its process does itself; and the path
/// of it. Not worth failing for.
fn console(root: &Inside, pty: &Pty) -> Option<CString> {
    match root.make_file(CONSOLE, 0o600) {
        Ok(()) => Some(pty.path.clone()),
        // An earlier run's.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some(pty.path.clone()),
        Err(error) => {
            log::warn!("{CONSOLE} of the container: {error}");
            None
        }
    }
}

enum Ours {
    Reads,
    Writes,
}

/// A pipe: the process's end, blocking as programs expect, and ours, which is not.
fn pipe(ours: Ours) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (theirs, ours) = match ours {
        Ours::Reads => {
            // Where the kernel will not, its 64 KiB do as well, only slower.
            let _ = rustix::pipe::fcntl_setpipe_size(&reader, OUTPUT_PIPE);
            (writer, reader)
        }
        Ours::Writes => (reader, writer),
    };
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((theirs, ours))
}
