//! The folder that one listener owns, and the socket in it by which its clients find it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tokio::net::UnixListener;

/// Name of the clients' socket in the state folder.
pub const SOCKET: &str = "vch.sock";
const LOCK: &str = "lock";
/// Longest path of a unix socket, in bytes: `sun_path` of unix(7), less its final zero.
const SOCKET_PATH_MOST: usize = 107;
/// The socket gives whoever may open it all power over the containers.
const SOCKET_MODE: u32 = 0o600;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// A system call failed.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another listener has it.
    #[error(
        "state folder {} belongs to a listener that runs: end that one, or choose another folder \
         with --state", .0.display()
    )]
    Locked(PathBuf),
    /// The socket would not fit.
    #[error(
        "state folder {}: its path is too long for a socket ({SOCKET_PATH_MOST} bytes in all); \
         choose a shorter one with --state", .0.display()
    )]
    TooLong(PathBuf),
}

/// A state folder that this process has to itself.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    /// Locked as long as it is open: released by the kernel however the process ends.
    _lock: File,
}

impl StateDir {
    /// Makes the folder if needed and locks it.
    ///
    /// # Errors
    /// It cannot be made, or another listener has it.
    pub fn lock(dir: &Path) -> Result<Self, StateDirError> {
        let io = |action, path: &Path, source| {
            let path = path.to_owned();
            StateDirError::Io {
                action,
                path,
                source,
            }
        };
        if dir.join(SOCKET).as_os_str().len() > SOCKET_PATH_MOST {
            return Err(StateDirError::TooLong(dir.to_owned()));
        }
        fs::create_dir_all(dir).map_err(|e| io("create folder", dir, e))?;
        let path = dir.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| io("open", &path, e))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateDirError::Locked(dir.to_owned())),
            Err(e) => Err(io("lock", &path, e.into())),
        }
    }

    /// Folder of the containers.
    pub fn containers(&self) -> PathBuf {
        self.dir.join("containers")
    }

    /// The clients' socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// The clients' socket that was handed over, or else opens it, for the owner alone. One that an earlier listener left is replaced: the
    /// lock says that it has no owner.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_socket(
        &self,
        handed: Option<std::os::unix::net::UnixListener>,
    ) -> Result<UnixListener, StateDirError> {
        let path = self.socket();
        let io = |action, source| {
            let path = path.clone();
            StateDirError::Io {
                action,
                path,
                source,
            }
        };
        if let Some(socket) = handed {
            return socket
                .set_nonblocking(true)
                .and_then(|()| UnixListener::from_std(socket))
                .map_err(|e| io("take over", e));
        }
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io("remove", e)),
        }
        let socket = UnixListener::bind(&path).map_err(|e| io("bind", e))?;
        let mode = fs::Permissions::from_mode(SOCKET_MODE);
        fs::set_permissions(&path, mode).map_err(|e| io("protect", e))?;
        Ok(socket)
    }
}

/// Makes what this process creates from now on readable by its owner alone, from the first moment.
pub fn owner_only() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Descriptors for as many VMs as the listener is made for, each with a connection and an open log.
const DESCRIPTORS_GOOD: u64 = 2 * 16_000 + 1_000;

/// Lets the process open as many descriptors as it is allowed to: a VM takes one, and one more while
/// it has output.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let most = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, most) {
            Ok(()) => limit = most,
            Err(error) => {
                tracing::warn!(%error, current = limit.current, "descriptor limit not raised");
            }
        }
    }
    if let Some(descriptors) = limit.current.filter(|most| *most < DESCRIPTORS_GOOD) {
        tracing::info!(
            descriptors,
            "the limit of open files bounds how many VMs and clients there can be at once; \
             LimitNOFILE= or `ulimit -n` raises it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_listener() {
        let dir = tempfile::tempdir().expect("folder");
        let first = StateDir::lock(dir.path()).expect("first");
        let second = StateDir::lock(dir.path()).expect_err("second").to_string();
        assert!(
            second.contains("belongs to a listener that runs"),
            "{second}"
        );
        drop(first);
        assert!(StateDir::lock(dir.path()).is_ok());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_so() {
        let error = StateDir::lock(Path::new(&format!("/tmp/{}", "x".repeat(100))));
        let text = error.expect_err("too long").to_string();
        assert!(text.contains("too long for a socket"), "{text}");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::lock(dir.path()).expect("lock");
        drop(state.open_socket(None).expect("first"));
        let _socket = state.open_socket(None).expect("second");
        let mode = fs::metadata(state.socket())
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
    }
}
