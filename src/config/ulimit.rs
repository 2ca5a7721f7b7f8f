//! Limits of a process by their names, as `docker run --ulimit` and an OCI `config.json` have them.

use std::str::FromStr;

/// Names in the order of the kernel's numbers (`asm-generic/resource.h`).
const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];
/// The kernel's "no limit".
const UNLIMITED: u64 = u64::MAX;

/// One limit, `nofile=1024:2048`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// The kernel's number of the resource.
    pub resource: u8,
    /// What counts.
    pub soft: u64,
    /// What a process may raise it to.
    pub hard: u64,
}

impl Ulimit {
    /// What is expected of the text.
    pub const EXPECTED: &'static str =
        "a limit such as nofile=1024:2048 or core=unlimited, the soft one not above the hard one";
    /// Open files.
    pub const OPEN_FILES: u8 = 7;
}

/// A text that is no limit.
#[derive(Debug, thiserror::Error)]
#[error("expected {}", Ulimit::EXPECTED)]
pub struct UlimitError;

/// `NAME=SOFT`, `NAME=SOFT:HARD`; -1 and `unlimited` are no limit, and `RLIMIT_NOFILE` is `nofile`.
impl FromStr for Ulimit {
    type Err = UlimitError;

    fn from_str(text: &str) -> Result<Self, UlimitError> {
        let (name, values) = text.split_once('=').ok_or(UlimitError)?;
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_prefix("rlimit_").unwrap_or(&name);
        let resource = NAMES.iter().position(|known| *known == name);
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (value(soft)?, value(hard)?);
        if soft > hard {
            return Err(UlimitError);
        }
        Ok(Self {
            resource: resource
                .and_then(|number| u8::try_from(number).ok())
                .ok_or(UlimitError)?,
            soft,
            hard,
        })
    }
}

fn value(text: &str) -> Result<u64, UlimitError> {
    match text.trim() {
        "-1" | "unlimited" => Ok(UNLIMITED),
        number => number.parse().map_err(|_| UlimitError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_docker_and_oci_write_them() {
        let limit = |text: &str| text.parse::<Ulimit>().ok();
        let of = |resource, soft, hard| {
            Some(Ulimit {
                resource,
                soft,
                hard,
            })
        };
        assert_eq!(limit("nofile=1024:2048"), of(7, 1024, 2048));
        assert_eq!(limit("RLIMIT_NOFILE=1024"), of(7, 1024, 1024));
        assert_eq!(limit("core=-1"), of(4, u64::MAX, u64::MAX));
        assert_eq!(limit("memlock=0:unlimited"), of(8, 0, u64::MAX));
        for bad in [
            "",
            "nofile",
            "nofile=",
            "files=1",
            "nofile=2:1",
            "core=-2",
            "cpu=1s",
        ] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_numbers_are_the_kernel_s() {
        let number = |name: &str| NAMES.iter().position(|known| *known == name);
        for (name, expected) in [
            ("nofile", libc::RLIMIT_NOFILE),
            ("nproc", libc::RLIMIT_NPROC),
            ("rttime", libc::RLIMIT_RTTIME),
            ("as", libc::RLIMIT_AS),
            ("core", libc::RLIMIT_CORE),
        ] {
            assert_eq!(number(name), usize::try_from(expected).ok(), "{name}");
        }
    }
}
