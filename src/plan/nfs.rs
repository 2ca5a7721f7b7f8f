//! A share of an NFS server as the kernel wants it mounted: without `mount.nfs`, which would look up names and
//! try one version after another.

use crate::config::{host_and_port, nfs_server};

/// A share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// `HOST:/PATH`, which the kernel shows; where it is, `addr=` says.
    pub device: String,
    /// The options of each attempt, the newest version first.
    pub attempts: Vec<String>,
}

/// Versions of the protocol. The third has locks of its own, which want a daemon that is not here.
const VERSIONS: [&str; 4] = ["vers=4.2", "vers=4.1", "vers=4.0", "vers=3,nolock"];
/// Words of a mode that the kernel takes as options of NFS.
const WORDS: [&str; 4] = ["hard", "soft", "lock", "nolock"];
/// What says which version is meant.
const CHOSEN: [&str; 2] = ["vers=", "nfsvers="];

/// The share `path` of `host` (an address or a name, with `:PORT` where it is not the usual one). `mode` is the
/// mount's; a name needs its address there (`addr=`), as the original's appliance puts it. None: it is missing.
pub fn share(host: &str, path: &str, mode: &str) -> Option<Share> {
    let words = || mode.split(',').filter(|word| !word.is_empty());
    let (address, port) = nfs_server(host, mode)?;
    let (host, _) = host_and_port(host);
    let mut options = vec![format!("addr={address}")];
    options.extend(port.map(|port| format!("port={port}")));
    for word in words() {
        match word {
            "tcp" | "udp" => options.push(format!("proto={word}")),
            _ if word.starts_with("addr=") => {}
            _ if word.contains('=') || WORDS.contains(&word) => options.push(word.to_owned()),
            _ => {}
        }
    }
    let options = options.join(",");
    let is_chosen = words().any(|word| CHOSEN.iter().any(|chosen| word.starts_with(chosen)));
    let attempts = match is_chosen {
        true => vec![options],
        false => VERSIONS
            .map(|version| format!("{version},{options}"))
            .to_vec(),
    };
    let shown = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Some(Share {
        device: format!("{shown}:{path}"),
        attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_tried_unless_one_is_chosen() {
        let share =
            share("10.0.0.5:2050", "/export", "rw,soft,tcp,rsize=4096").expect("an address");
        assert_eq!(share.device, "10.0.0.5:/export");
        let options = "addr=10.0.0.5,port=2050,soft,proto=tcp,rsize=4096";
        let versions = VERSIONS.map(|version| format!("{version},{options}"));
        assert_eq!(share.attempts, versions);
        let share = super::share("10.0.0.5", "/", "vers=3,ro").expect("an address");
        assert_eq!(share.attempts, ["addr=10.0.0.5,vers=3"]);
    }

    #[test]
    fn a_name_needs_its_address() {
        assert_eq!(share("nas", "/x", "rw"), None);
        let share = share("nas:99", "/x", "addr=10.1.1.1").expect("an address");
        assert_eq!(share.device, "nas:/x");
        assert!(share.attempts[0].ends_with("addr=10.1.1.1,port=99"));
    }

    #[test]
    fn addresses_of_ipv6_keep_their_brackets() {
        let share = share("[fd00::1]:99", "/x", "").expect("an address");
        assert_eq!(share.device, "[fd00::1]:/x");
        assert!(share.attempts[0].ends_with("addr=fd00::1,port=99"));
    }
}
