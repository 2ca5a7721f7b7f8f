//! Where a volume comes from, as text and as its parts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Source of a [`Mount`](super::model::Mount): its `source` is the text form of one of these.
///
/// ```
/// use tether::config::MountSource;
/// let source: MountSource = "nfs://10.0.0.5:2049/export/logs?uid=1000".parse().unwrap();
/// assert_eq!(
///     source,
///     MountSource::Nfs {
///         host: "10.0.0.5:2049".into(),
///         path: "/export/logs".into(),
///         query: "uid=1000".into(),
///     }
/// );
/// assert_eq!("label://data-1".parse(), Ok(MountSource::Label("data-1".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// `label://NAME`: the disk whose file system has this label. Every character of NAME counts
    /// as it stands.
    Label(String),
    /// `nfs://HOST/PATH?QUERY`: a share.
    Nfs {
        /// Name or address, with `:PORT` where it is not the usual one.
        host: String,
        /// Exported folder, absolute. `%`, `?` and `#` are written `%25`, `%3F`, `%23` in the
        /// text form.
        path: String,
        /// Options, `uid=1000&gid=1000`; often empty.
        query: String,
    },
    /// `tmpfs://`: memory.
    Tmpfs,
}

/// A text that names no source of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", MountSource::EXPECTED)]
pub struct MountSourceError;

impl MountSource {
    /// What an error says should have stood there.
    pub(crate) const EXPECTED: &'static str = "label://NAME, nfs://HOST/PATH or tmpfs://";

    /// From the parts of a URL as the original keeps them. A label is its path without the
    /// leading `/`, or the host where there is no path.
    pub(crate) fn from_parts(
        scheme: &str,
        host: &str,
        path: &str,
        query: &str,
    ) -> Result<Self, MountSourceError> {
        match scheme {
            "label" => {
                let name = path.strip_prefix('/').unwrap_or(path);
                let name = if name.is_empty() { host } else { name };
                if name.is_empty() || name.starts_with('/') || name.starts_with("@/") {
                    return Err(MountSourceError);
                }
                Ok(Self::Label(name.to_owned()))
            }
            "nfs" => {
                let path = if path.is_empty() { "/" } else { path };
                if host.is_empty() || host.contains(['/', '?']) || !path.starts_with('/') {
                    return Err(MountSourceError);
                }
                Ok(Self::Nfs {
                    host: host.to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                })
            }
            "tmpfs" if host.is_empty() && matches!(path, "" | "/") => Ok(Self::Tmpfs),
            _ => Err(MountSourceError),
        }
    }

    /// Scheme, host, path and query, as the original keeps them.
    pub(crate) fn parts(&self) -> [String; 4] {
        match self {
            Self::Label(name) => [
                "label".into(),
                String::new(),
                format!("/{name}"),
                String::new(),
            ],
            Self::Nfs { host, path, query } => {
                ["nfs".into(), host.clone(), path.clone(), query.clone()]
            }
            Self::Tmpfs => ["tmpfs".into(), String::new(), String::new(), String::new()],
        }
    }
}

impl FromStr for MountSource {
    type Err = MountSourceError;

    fn from_str(text: &str) -> Result<Self, MountSourceError> {
        let (scheme, rest) = text.split_once("://").ok_or(MountSourceError)?;
        if scheme == "label" {
            // The original prints `label:///NAME`, and its 0.4 `label://@/NAME`.
            let name = rest.strip_prefix('@').filter(|r| r.starts_with('/'));
            return Self::from_parts(scheme, "", name.unwrap_or(rest), "");
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let slash = location.find('/').unwrap_or(location.len());
        let (host, path) = location.split_at_checked(slash).ok_or(MountSourceError)?;
        Self::from_parts(scheme, host, &percent_decoded(path)?, query)
    }
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(name) => write!(f, "label://{name}"),
            Self::Nfs { host, path, query } => {
                write!(f, "nfs://{host}")?;
                for character in path.chars() {
                    match character {
                        '%' => f.write_str("%25")?,
                        '?' => f.write_str("%3F")?,
                        '#' => f.write_str("%23")?,
                        other => write!(f, "{other}")?,
                    }
                }
                if query.is_empty() {
                    Ok(())
                } else {
                    write!(f, "?{query}")
                }
            }
            Self::Tmpfs => f.write_str("tmpfs://"),
        }
    }
}

/// `%XX` as the byte it stands for; a `%` that starts none stands for itself.
fn percent_decoded(text: &str) -> Result<String, MountSourceError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = match escaped {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    String::from_utf8(bytes).map_err(|_| MountSourceError)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Where the server of a share is: `host` is an address, or has one in the mount's mode (`addr=`), as the
/// original's appliance puts it there. With the port, where it is not the usual one. None: it is missing.
pub fn nfs_server(host: &str, mode: &str) -> Option<(IpAddr, Option<u16>)> {
    let told = mode.split(',').find_map(|word| word.strip_prefix("addr="));
    let (host, port) = host_and_port(host);
    Some((told.unwrap_or(host).parse().ok()?, port))
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]`, `[ADDRESS]:PORT`, or a bare IPv6 address.
pub fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
        return (address, port);
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MountSource, MountSourceError> {
        text.parse()
    }

    #[test]
    fn a_label_is_the_same_in_all_three_spellings() {
        for text in ["label://data-1", "label:///data-1", "label://@/data-1"] {
            assert_eq!(parse(text).unwrap().to_string(), "label://data-1");
        }
    }

    #[test]
    fn an_odd_path_comes_back_as_it_was() {
        let source = MountSource::from_parts("nfs", "h", "/a b?c#d%41/ü", "uid=1").unwrap();
        let text = source.to_string();
        assert_eq!(text, "nfs://h/a b%3Fc%23d%2541/ü?uid=1");
        assert_eq!(parse(&text), Ok(source));
        assert_eq!(
            parse("nfs://h/100%"),
            MountSource::from_parts("nfs", "h", "/100%", "")
        );
    }

    #[test]
    fn what_names_no_source_is_refused() {
        for text in [
            "",
            "data-1",
            "label://",
            "label:///",
            "nfs:///export",
            "nfs://",
            "ftp://h/x",
            "tmpfs://x",
            "nfs://h/%ff",
            "://x",
        ] {
            assert_eq!(parse(text), Err(MountSourceError), "{text}");
        }
    }

    #[test]
    fn a_server_is_an_address_or_has_one() {
        let v6 = Some(("fd00::1".parse().expect("an address"), Some(99)));
        for text in ["fd00::1", "[fd00::1]"] {
            assert_eq!(host_and_port(text), ("fd00::1", None), "{text}");
        }
        assert_eq!(nfs_server("[fd00::1]:99", ""), v6);
        assert_eq!(nfs_server("nas", "rw"), None);
        let told = Some(("10.1.1.1".parse().expect("an address"), Some(99)));
        assert_eq!(nfs_server("nas:99", "ro,addr=10.1.1.1"), told);
    }
}
