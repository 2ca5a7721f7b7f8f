//! Machines of this one, each run by `vmx run`, which outlives the appliance: it is found again by the socket beside
//! its .vmx.
//!
//! ```text
//!  machines/DIGITS/container.vmx     the machine; a folder is there when it is whole
//!                  disk.vmdk         the container's own disk, a delta of its image's
//!                  console.log       what its kernel and its tether say
//!                  run.log           what `vmx run` says
//!                  lent.vmx, …       another machine with the same disks, while somebody wants its files
//!  machines/.new-DIGITS, .gone-…     on their way in and out; swept at the start
//!           .delta-IMAGE             a disk as it is before its machine's first start
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt as _;

use super::networks::Networks;
use super::volumes::Volumes;
use super::{Found, Machine, Network, Off, Provider, ProviderError, Volume, Wiring, vmx};
use crate::config::model::Secret;
use crate::lan::Names;
use crate::vmm::on_disk;
use crate::vmm::power;

/// Digits of an ID that name a machine's folder: the path of a socket in it has to be short.
const DIGITS: usize = 12;
/// Name of the machine's file.
const FILE: &str = "container.vmx";
/// Where `vmx run` says what it has to say.
const RUN_LOG: &str = "run.log";
/// The same of another machine that has its disks.
const LENT: &str = "lent.vmx";
const LENT_LOG: &str = "lent-run.log";
/// Its plug has been pulled by then.
const OFF_MOST: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
/// Bytes of its last words that are told.
const LAST_WORDS: usize = 2048;
/// Before the names of folders that are no machines yet, or any more.
pub(super) const NEW: &str = ".new-";
pub(super) const GONE: &str = ".gone-";
/// Before the names of deltas that others are copies of.
const DELTA: &str = ".delta-";
/// Bytes of what files are counted in (stat(2)).
const BLOCK: u64 = 512;
/// Longest path of a unix socket, in bytes (unix(7)).
const SOCKET_PATH_MOST: usize = 107;

/// The machines of a folder.
#[derive(Debug)]
pub struct Local {
    dir: PathBuf,
    volumes: Volumes,
    networks: Networks,
    /// What they boot from.
    medium: PathBuf,
    /// `vmx`, which runs them.
    program: PathBuf,
    /// The processes of those that are on.
    on: Arc<Mutex<HashMap<String, Arc<OwnedFd>>>>,
}

pub(super) fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProviderError {
    let path = path.to_owned();
    move |source| ProviderError::Io { step, path, source }
}

pub(super) fn digits(id: &str) -> &str {
    id.get(..DIGITS).unwrap_or(id)
}

impl Local {
    /// Machines, volumes and networks in folders of this one; machines boot from `medium`.
    ///
    /// # Errors
    /// A folder cannot be made, its path is too long, the medium is not there, or `vmx` is not beside this program.
    pub fn open(state: &Path, medium: &Path) -> Result<Self, ProviderError> {
        let medium = medium
            .canonicalize()
            .map_err(io_error("find the medium that machines boot from,", medium))?;
        let dir = &state.join("machines");
        fs::create_dir_all(dir).map_err(io_error("make folder", dir))?;
        let dir = dir.canonicalize().map_err(io_error("find", dir))?;
        let longest = power::socket(&dir.join("x".repeat(DIGITS)).join(FILE));
        if longest.as_os_str().len() > SOCKET_PATH_MOST {
            let source = io::Error::other(
                "its path is too long for the sockets in it: choose a shorter --state",
            );
            return Err(io_error("keep machines in", &dir)(source));
        }
        let own = std::env::current_exe().map_err(io_error("find", Path::new("/proc/self/exe")))?;
        let program = own.with_file_name("vmx");
        if !program.exists() {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(io_error("find the program that runs machines,", &program)(
                source,
            ));
        }
        Ok(Self {
            dir,
            volumes: Volumes::open(&state.join("volumes"))?,
            networks: Networks::open(&state.join("networks"), &program)?,
            medium,
            program,
            on: Arc::default(),
        })
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.dir.join(digits(id))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder(id).join(FILE)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<OwnedFd>>> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The future that comes when a process ends, which is known as the machine's until then.
    fn watch(&self, id: &str, pidfd: OwnedFd, process: Process, log: PathBuf) -> Off {
        let pidfd = Arc::new(pidfd);
        self.lock().insert(id.to_owned(), Arc::clone(&pidfd));
        let (id, on) = (id.to_owned(), Arc::clone(&self.on));
        Box::pin(async move {
            let good = match process {
                Process::Own(mut child) => child.wait().await.is_ok_and(|status| status.success()),
                Process::Known(socket) => {
                    until_closed(socket).await;
                    false
                }
            };
            let mut on = on.lock().unwrap_or_else(PoisonError::into_inner);
            if on.get(&id).is_some_and(|own| Arc::ptr_eq(own, &pidfd)) {
                on.remove(&id);
            }
            drop(on);
            if good {
                String::new()
            } else {
                last_words(&log)
            }
        })
    }

    /// The process that serves a machine's socket, and a connection with it.
    fn server(&self, id: &str) -> Option<(OwnedFd, UnixStream)> {
        server_of(&self.file(id))
    }

    /// Starts the machine of this file.
    fn power_on(&self, id: &str, file: &Path, log: &str) -> Result<Off, ProviderError> {
        let log = file.with_file_name(log);
        let said = fs::File::create(&log).map_err(io_error("make", &log))?;
        let also = said.try_clone().map_err(io_error("make", &log))?;
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("run").arg(file);
        command.stdin(Stdio::null()).stdout(also).stderr(said);
        // An interrupt that is typed is for the appliance; its machines go on.
        command.process_group(0);
        let child = command.spawn().map_err(io_error("start", &self.program))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pidfd = pid.map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        match pidfd {
            Some(Ok(pidfd)) => Ok(self.watch(id, pidfd, Process::Own(child), log)),
            Some(Err(error)) => Err(io_error("watch", &self.program)(error.into())),
            None => Err(io_error("watch", &self.program)(
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    /// A delta of an image's disk: one is made by qemu-img, those after it are copies of that, as it is the same bytes
    /// (a few KB, and holes).
    fn disk(&self, image: &Path, disk: &Path) -> Result<(), ProviderError> {
        let name = image.file_stem().unwrap_or_default().to_string_lossy();
        let first = self.dir.join(format!("{DELTA}{name}"));
        match fs::copy(&first, disk) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("make", disk)(error)),
        }
        let made = std::process::Command::new("qemu-img")
            .args(["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b"])
            .args([image, disk])
            .stdin(Stdio::null())
            .output();
        let program = |reason: String| ProviderError::Program {
            program: "qemu-img (Debian package qemu-utils)".into(),
            reason,
        };
        let made = made.map_err(|error| program(error.to_string()))?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(program(said.trim().to_owned()));
        }
        // Beside the disk until it is whole: another machine's may be made at the same time.
        let copy = disk.with_extension("first");
        fs::copy(disk, &copy)
            .and_then(|_| fs::rename(&copy, &first))
            .map_err(io_error("make", &first))
    }

    fn sockets(&self, wiring: &Wiring) -> Vec<PathBuf> {
        let cables = wiring.cables.iter();
        cables
            .map(|one| self.networks.socket(&one.network))
            .collect()
    }

    fn furnish(&self, machine: &Machine, folder: &Path) -> Result<(), ProviderError> {
        self.disk(&machine.image, &folder.join(vmx::DISK))?;
        let path = folder.join(FILE);
        let volumes = machine.volumes.iter().map(|name| self.volumes.disk(name));
        let volumes: Vec<PathBuf> = volumes.collect();
        let sockets = self.sockets(&machine.wiring);
        let bytes = vmx::compose(machine, &self.medium, &volumes, &sockets)?.to_bytes();
        write_secret(&path, &bytes)
    }
}

/// For the owner alone: the link's key is in it, and whatever is secret in the environment.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), ProviderError> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            io::Write::write_all(&mut file, bytes)?;
            file.sync_all()
        });
    written.map_err(io_error("write", path))
}

/// The process that serves the socket of a machine's file, and a connection with it.
fn server_of(file: &Path) -> Option<(OwnedFd, UnixStream)> {
    server_at(&power::socket(file))
}

/// The process that serves a socket, and a connection with it.
pub(super) fn server_at(socket: &Path) -> Option<(OwnedFd, UnixStream)> {
    let socket = UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    let pidfd = pidfd_open(peer.pid, PidfdFlags::NONBLOCK).ok()?;
    Some((pidfd, socket))
}

/// A machine that an appliance before this one has lent is not to be on beside its owner.
fn end_lent(folder: &Path) -> Result<(), ProviderError> {
    let file = folder.join(LENT);
    match server_of(&file) {
        Some((process, _socket)) => end(&process, &file),
        None => Ok(()),
    }
}

/// Ends the process that serves this, and waits for its end.
pub(super) fn end(process: &OwnedFd, serves: &Path) -> Result<(), ProviderError> {
    let failed = |errno: rustix::io::Errno| io_error("end what serves", serves)(errno.into());
    pidfd_send_signal(process, Signal::TERM).map_err(failed)?;
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&OFF_MOST)).map_err(failed)?;
    Ok(())
}

/// What runs a machine.
enum Process {
    /// Started by this appliance.
    Own(tokio::process::Child),
    /// Started by one before: a connection with it, which it closes when it ends.
    Known(UnixStream),
}

async fn until_closed(socket: UnixStream) {
    let Ok(mut socket) = socket
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixStream::from_std(socket))
    else {
        return;
    };
    // However it ends, it has ended.
    let _ = socket.read(&mut [0; 1]).await;
}

/// The end of what was said.
fn last_words(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(LAST_WORDS);
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default());
    text.trim().to_owned()
}

/// Bytes that a file takes, without its holes; one that is gone takes none.
pub(super) fn taken(file: &Path) -> Result<u64, ProviderError> {
    match fs::metadata(file) {
        Ok(about) => Ok(about.blocks() * BLOCK),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error("look at", file)(error)),
    }
}

pub(super) fn sweep(path: &Path) -> Result<(), ProviderError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("delete", path)(error))
        }
        _ => Ok(()),
    }
}

impl Provider for Local {
    fn make(&self, machine: &Machine) -> Result<(), ProviderError> {
        let id = &machine.config.id;
        let new = self.dir.join(format!("{NEW}{}", digits(id)));
        sweep(&new)?;
        fs::create_dir(&new).map_err(io_error("make folder", &new))?;
        let folder = self.folder(id);
        let made = self
            .furnish(machine, &new)
            .and_then(|()| fs::rename(&new, &folder).map_err(io_error("make", &folder)));
        if made.is_err() {
            sweep(&new)?;
        }
        made
    }

    fn start(&self, id: &str) -> Result<Off, ProviderError> {
        let file = self.file(id);
        if !file.exists() {
            return Err(ProviderError::None(id.to_owned()));
        }
        if self.lock().contains_key(id) || self.server(id).is_some() {
            return Err(ProviderError::On(id.to_owned()));
        }
        let (lines, _) = on_disk::load(&file)
            .map_err(|error| io_error("read", &file)(io::Error::other(error)))?;
        for socket in vmx::sockets(&lines) {
            self.networks.serve(&socket)?;
        }
        self.power_on(id, &file, RUN_LOG)
    }

    fn lend(&self, id: &str, lent: &str, key: &Secret) -> Result<Off, ProviderError> {
        let file = self.file(id);
        let (lines, _) = on_disk::load(&file)
            .map_err(|error| io_error("read", &file)(io::Error::other(error)))?;
        let lines = vmx::lent(&lines, lent, key)?;
        let path = file.with_file_name(LENT);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("delete", &path)(error));
            }
            _ => write_secret(&path, &lines.to_bytes())?,
        }
        self.power_on(lent, &path, LENT_LOG)
    }

    fn adopt(&self, id: &str) -> Option<Off> {
        let (pidfd, socket) = self.server(id)?;
        let log = self.folder(id).join(RUN_LOG);
        Some(self.watch(id, pidfd, Process::Known(socket), log))
    }

    fn off(&self, id: &str) -> Result<(), ProviderError> {
        let process = self.lock().get(id).cloned();
        let Some(process) = process else {
            return Ok(());
        };
        match pidfd_send_signal(&*process, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(io_error("end the machine of", &self.file(id))(error.into())),
        }
    }

    fn destroy(&self, id: &str) -> Result<(), ProviderError> {
        let folder = self.folder(id);
        let gone = self.dir.join(format!("{GONE}{}", digits(id)));
        sweep(&gone)?;
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("delete", &folder)(error)),
            Ok(()) => sweep(&gone),
        }
    }

    fn note(&self, id: &str, name: &str, value: &str) -> Result<(), ProviderError> {
        let path = self.file(id);
        let noted = on_disk::update(&path, |file| {
            Ok::<_, on_disk::DiskError>(vmx::note(file, name, value)?)
        });
        noted
            .map(drop)
            .map_err(|error| io_error("note in", &path)(io::Error::other(error)))
    }

    fn rewire(&self, id: &str, wiring: &Wiring) -> Result<(), ProviderError> {
        let (path, sockets) = (self.file(id), self.sockets(wiring));
        on_disk::update(&path, |file| vmx::rewire(file, wiring, &sockets)).map(drop)
    }

    fn resize(
        &self,
        id: &str,
        memory_mib: Option<u64>,
        processors: Option<u32>,
    ) -> Result<(), ProviderError> {
        let path = self.file(id);
        on_disk::update(&path, |file| vmx::resize(file, memory_mib, processors)).map(drop)
    }

    fn rename(&self, id: &str, name: &str) -> Result<(), ProviderError> {
        let path = self.file(id);
        on_disk::update(&path, |file| vmx::rename(file, name)).map(drop)
    }

    fn disk_bytes(&self, id: &str) -> Result<u64, ProviderError> {
        taken(&self.folder(id).join(vmx::DISK))
    }

    fn volume_bytes(&self, name: &str) -> Result<u64, ProviderError> {
        self.volumes.bytes(name)
    }

    fn make_volume(&self, volume: &Volume) -> Result<(), ProviderError> {
        self.volumes.make(volume)
    }

    fn remove_volume(&self, name: &str) -> Result<(), ProviderError> {
        self.volumes.remove(name)
    }

    fn volumes(&self) -> Result<Vec<Volume>, ProviderError> {
        self.volumes.list()
    }

    fn make_network(&self, network: &Network) -> Result<(), ProviderError> {
        self.networks.make(network)
    }

    fn remove_network(&self, id: &str) -> Result<(), ProviderError> {
        self.networks.remove(id)
    }

    fn networks(&self) -> Result<Vec<Network>, ProviderError> {
        self.networks.list()
    }

    fn name_hosts(&self, id: &str, names: &Names) -> Result<(), ProviderError> {
        self.networks.name_hosts(id, names)
    }

    fn list(&self) -> Result<Vec<Found>, ProviderError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))? {
            let path = entry.map_err(io_error("read", &self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(NEW) || name.starts_with(GONE) {
                sweep(&path)?;
                continue;
            }
            if name.starts_with(DELTA) {
                // Of an image that may be gone: the next machine makes it anew.
                fs::remove_file(&path).map_err(io_error("delete", &path))?;
                continue;
            }
            end_lent(&path)?;
            let file = path.join(FILE);
            let found = on_disk::load(&file).ok();
            let found = found.and_then(|(lines, _)| vmx::read(&lines, false));
            match found {
                Some(mut machine) => {
                    machine.on = self.server(&machine.id).is_some();
                    all.push(machine);
                }
                None => tracing::error!(file = %file.display(), "no machine's file: left alone"),
            }
        }
        Ok(all)
    }
}
