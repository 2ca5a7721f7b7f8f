//! Networks of this machine, each served by `vmx switch`, which outlives the appliance: it is found again by its
//! socket, and ends by itself when no machine is on it.
//!
//! ```text
//!  networks/DIGITS/network.json, names.json     a folder is there when it is whole
//!                  switch, switch.log           the socket of the process that serves it, and what that says
//!  networks/.new-DIGITS, .gone-DIGITS           on their way in and out; swept at the start
//! ```

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::local::{GONE, NEW, digits, end, io_error, server_at, sweep};
use super::{Network, ProviderError};
use crate::image::disk;
use crate::lan::{FRAME_MOST, Names};
use crate::vmm::switch;

const ABOUT: &str = "network.json";
const LOG: &str = "switch.log";
/// A switch that was started serves by then, and has its names by then.
const SERVES_MOST: Duration = Duration::from_secs(10);
/// Between looks for that.
const PAUSE: Duration = Duration::from_millis(5);

/// The networks of a folder.
#[derive(Debug)]
pub(super) struct Networks {
    dir: PathBuf,
    /// `vmx`, which serves them.
    program: PathBuf,
    /// Held while one is started.
    starting: std::sync::Mutex<()>,
}

impl Networks {
    /// Opens the folder, which is made if needed, and sweeps what is not whole.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(super) fn open(dir: &Path, program: &Path) -> Result<Self, ProviderError> {
        fs::create_dir_all(dir).map_err(io_error("make folder", dir))?;
        let dir = dir.canonicalize().map_err(io_error("find", dir))?;
        for path in entries(&dir)? {
            if is_passing(&path) {
                sweep(&path)?;
            }
        }
        Ok(Self {
            dir,
            program: program.to_owned(),
            starting: std::sync::Mutex::default(),
        })
    }

    /// Where the machines of a network plug in.
    pub(super) fn socket(&self, id: &str) -> PathBuf {
        self.folder(id).join(switch::SOCKET)
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.dir.join(digits(id))
    }

    /// Makes one, whole or not at all.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make(&self, network: &Network) -> Result<(), ProviderError> {
        let new = self.dir.join(format!("{NEW}{}", digits(&network.id)));
        sweep(&new)?;
        fs::create_dir(&new).map_err(io_error("make folder", &new))?;
        let about = serde_json::to_vec_pretty(network);
        let about = about.map_err(|error| ProviderError::Config(error.to_string()))?;
        let failed = |error: disk::DiskError| ProviderError::Config(error.to_string());
        disk::write_whole(&new.join(ABOUT), &about).map_err(failed)?;
        let folder = self.folder(&network.id);
        fs::rename(&new, &folder).map_err(io_error("make", &folder))
    }

    /// Deletes one, and ends whatever serves it. What is not there is as well.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub(super) fn remove(&self, id: &str) -> Result<(), ProviderError> {
        let gone = self.dir.join(format!("{GONE}{}", digits(id)));
        let socket = self.socket(id);
        sweep(&gone)?;
        if let Some((process, _cable)) = server_at(&socket) {
            end(&process, &socket)?;
        }
        let folder = self.folder(id);
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("delete", &folder)(error)),
            Ok(()) => sweep(&gone),
        }
    }

    /// All of them, the oldest first.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub(super) fn list(&self) -> Result<Vec<Network>, ProviderError> {
        let paths = entries(&self.dir)?;
        let all = paths.iter().filter(|path| !is_passing(path));
        let mut all: Vec<Network> = all.map(|path| about(path)).collect::<Result<_, _>>()?;
        all.sort_by_key(|network| network.created_ns);
        Ok(all)
    }

    /// Sees that the network of this socket is served.
    ///
    /// # Errors
    /// There is no such network, or it cannot be served.
    pub(super) fn serve(&self, socket: &Path) -> Result<(), ProviderError> {
        let folder = socket.parent().unwrap_or(&self.dir);
        let _one = self
            .starting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        if !folder.join(ABOUT).exists() {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            return Err(ProviderError::NoNetwork(name.into_owned()));
        }
        let network = about(folder)?;
        let log = folder.join(LOG);
        let said = fs::File::create(&log).map_err(io_error("make", &log))?;
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("switch").arg(folder);
        command.args(["--name", &network.name, "--address"]);
        command.arg(format!("{}/{}", network.gateway, network.subnet.prefix));
        if network.internal {
            command.arg("--internal");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(said).process_group(0);
        let mut child = command.spawn().map_err(io_error("start", &self.program))?;
        let began = Instant::now();
        while UnixStream::connect(socket).is_err() {
            let ended = child
                .try_wait()
                .map_err(io_error("watch", &self.program))?
                .is_some();
            if ended || began.elapsed() > SERVES_MOST {
                let reason = fs::read_to_string(&log).unwrap_or_default();
                return Err(ProviderError::Program {
                    program: "vmx switch".into(),
                    reason: reason.trim().to_owned(),
                });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Says who is on a network; where it is served, that counts when this returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn name_hosts(&self, id: &str, names: &Names) -> Result<(), ProviderError> {
        let folder = self.folder(id);
        if !folder.join(ABOUT).exists() {
            return Err(ProviderError::NoNetwork(id.to_owned()));
        }
        let path = folder.join(switch::NAMES);
        let bytes = serde_json::to_vec(names);
        let bytes = bytes.map_err(|error| ProviderError::Config(error.to_string()))?;
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let failed = |error: disk::DiskError| ProviderError::Config(error.to_string());
        disk::write_whole(&path, &bytes).map_err(failed)?;
        match UnixStream::connect(self.socket(id)) {
            Ok(cable) => reread(cable).map_err(io_error("tell the names to", &self.socket(id))),
            // It reads them when it starts.
            Err(_) => Ok(()),
        }
    }
}

/// Asks a switch to read its names again, and waits until it has.
fn reread(mut cable: UnixStream) -> io::Result<()> {
    cable.set_read_timeout(Some(SERVES_MOST))?;
    cable.write_all(&[0; 4])?;
    let mut frame = Vec::new();
    loop {
        let mut length = [0; 4];
        cable.read_exact(&mut length)?;
        // What machines say to all comes here, too.
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(());
        }
        if length > FRAME_MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        frame.resize(length, 0);
        cable.read_exact(&mut frame)?;
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, ProviderError> {
    let entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths
        .collect::<io::Result<_>>()
        .map_err(io_error("read", dir))
}

fn is_passing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(NEW) || name.starts_with(GONE)
}

fn about(folder: &Path) -> Result<Network, ProviderError> {
    let path = folder.join(ABOUT);
    let read = fs::read(&path).map_err(io_error("read", &path))?;
    serde_json::from_slice(&read).map_err(|error| io_error("read", &path)(error.into()))
}
