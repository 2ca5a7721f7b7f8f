//! `vmware.log` beside the .vmx file: what the host did, and what the guest asked it to write down.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Its name.
pub const NAME: &str = "vmware.log";

/// The log, to append to; a clone writes into the same file.
#[derive(Clone, Debug)]
pub struct Log {
    path: Arc<PathBuf>,
    file: Arc<File>,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("opening the log {}", path.display())]
pub struct LogError {
    /// The log.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl Log {
    /// Opens the log of a .vmx file.
    ///
    /// # Errors
    /// When it can neither be opened nor made.
    pub fn beside(vmx: &Path) -> Result<Log, LogError> {
        let path = vmx.with_file_name(NAME);
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => Ok(Log {
                path: Arc::new(path),
                file: Arc::new(file),
            }),
            Err(source) => Err(LogError { path, source }),
        }
    }

    /// The host's own words.
    pub fn note(&self, text: &str) {
        self.write("vmx", text.as_bytes());
    }

    /// The guest's words.
    pub fn guest(&self, text: &[u8]) {
        self.write("vcpu-0", &[b"Guest: ", text].concat());
    }

    /// Appends a line for each line of `text`, in VMware's form. A log that cannot be written must
    /// not stop the virtual machine: it is said on stderr.
    fn write(&self, source: &str, text: &[u8]) {
        let time = jiff::Timestamp::now();
        let mut lines = Vec::new();
        for line in text.trim_ascii_end().split(|byte| *byte == b'\n') {
            lines.extend_from_slice(format!("{time:.3}| {source}| I125: ").as_bytes());
            // A guest must not be able to write what a terminal obeys.
            for byte in line {
                match byte {
                    b'\t' => lines.push(b' '),
                    0..=0x1F | 0x7F => lines.extend_from_slice(format!("|{byte:02X}").as_bytes()),
                    byte => lines.push(*byte),
                }
            }
            lines.push(b'\n');
        }
        let mut file: &File = &self.file;
        if let Err(error) = file.write_all(&lines) {
            eprintln!("vmx: writing {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_time_and_no_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::beside(&folder.path().join("x.vmx")).unwrap();
        log.guest(b"one\n\x1b[2Jtwo\n");
        log.clone().note("done");
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with("Z| vcpu-0| I125: Guest: one"), "{text}");
        assert!(lines[1].ends_with("| vcpu-0| I125: |1B[2Jtwo"), "{text}");
        assert!(lines[2].ends_with("| vmx| I125: done"), "{text}");
        let time = lines[0].split('|').next().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn a_log_that_is_there_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "before\n").unwrap();
        Log::beside(&folder.path().join("x.vmx"))
            .unwrap()
            .note("after");
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert!(text.starts_with("before\n") && text.contains("after"));
    }
}
