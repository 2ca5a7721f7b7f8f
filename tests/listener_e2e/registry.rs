//! A registry of the test's own: the distribution API's answers, and its failures when they are wanted.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Default)]
struct Shelves {
    /// Manifests by `repository:tag` and by digest.
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    /// A blob is cut off after so many bytes, once.
    cut: HashMap<String, usize>,
    /// What was asked for: path, and the range's beginning.
    asked: Vec<(String, Option<usize>)>,
}

/// Serves until the test's process ends.
pub struct Registry {
    pub address: SocketAddr,
    shelves: Arc<Mutex<Shelves>>,
}

/// One entry of a layer.
pub enum Entry<'a> {
    Folder(&'a str, u32),
    File(&'a str, u32, &'a [u8]),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    /// A file of somebody.
    Owned(&'a str, u64, u64),
}

/// A layer's archive, uncompressed.
pub fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_700_000_000);
        let (path, kind, mode, bytes): (&str, _, u32, &[u8]) = match entry {
            Entry::Folder(path, mode) => (path, tar::EntryType::Directory, *mode, b""),
            Entry::File(path, mode, bytes) => (path, tar::EntryType::Regular, *mode, bytes),
            Entry::Link(path, _) => (path, tar::EntryType::Symlink, 0o777, b""),
            Entry::Hard(path, _) => (path, tar::EntryType::Link, 0o644, b""),
            Entry::Owned(path, uid, gid) => {
                header.set_uid(*uid);
                header.set_gid(*gid);
                (path, tar::EntryType::Regular, 0o640, b"owned")
            }
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        match entry {
            Entry::Link(_, target) | Entry::Hard(_, target) => {
                archive
                    .append_link(&mut header, path, target)
                    .expect("memory");
            }
            _ => {
                // As it stands: a path that leads out, too.
                let name = &mut header.as_old_mut().name;
                name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                archive.append(&header, bytes).expect("memory");
            }
        }
    }
    archive.into_inner().expect("memory")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// As it is, where it is not packed or is cut off.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => bytes.to_vec(),
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

impl Registry {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shelves: Arc<Mutex<Shelves>> = Arc::default();
        let own = Arc::clone(&shelves);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shelves = Arc::clone(&own);
                std::thread::spawn(move || serve(socket, &shelves));
            }
        });
        Self { address, shelves }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, bytes: Vec<u8>, kind: &str) -> Value {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.lock().blobs.insert(digest.clone(), bytes);
        json!({ "mediaType": kind, "digest": digest, "size": size })
    }

    /// An image of these layers, compressed or not, with docker's `config`; its layers' digests.
    pub fn put(&self, name: &str, config: &Value, layers: &[Vec<u8>]) -> Vec<String> {
        let kind = |kind: &str| format!("application/vnd.oci.image.{kind}");
        let plain: Vec<String> = layers.iter().map(|layer| digest(&gunzip(layer))).collect();
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob(layer.clone(), &kind("layer.v1.tar+gzip")))
            .collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": config, "rootfs": { "type": "layers", "diff_ids": plain },
            "history": [{ "created": "2026-01-02T03:04:05Z", "created_by": "a test" }],
        });
        let config = serde_json::to_vec(&config).expect("JSON");
        let config = self.blob(config, &kind("config.v1+json"));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
            "config": config, "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest).expect("JSON");
        let mut shelves = self.lock();
        shelves
            .manifests
            .insert(digest(&manifest), manifest.clone());
        shelves
            .manifests
            .insert(format!("library/{name}"), manifest);
        let digests = layers.iter().filter_map(|layer| layer["digest"].as_str());
        digests.map(str::to_owned).collect()
    }

    /// The next answer with this blob ends too early.
    pub fn cut(&self, digest: &str, after: usize) {
        self.lock().cut.insert(digest.to_owned(), after);
    }

    /// Another blob under a digest.
    pub fn falsify(&self, digest: &str, bytes: Vec<u8>) {
        self.lock().blobs.insert(digest.to_owned(), bytes);
    }

    /// Where the requests for a blob have begun.
    pub fn ranges(&self, digest: &str) -> Vec<Option<usize>> {
        let shelves = self.lock();
        let of_it = shelves
            .asked
            .iter()
            .filter(|(path, _)| path.ends_with(digest));
        of_it.map(|(_, from)| *from).collect()
    }

    /// An image of busybox with all that it can do, for tests that expect a distribution.
    #[cfg(feature = "vm-tests")]
    pub fn put_user_land(&self, name: &str) {
        let busybox = std::fs::read("/bin/busybox").expect("Debian package busybox-static");
        let list = std::process::Command::new("/bin/busybox")
            .arg("--list")
            .output();
        let list = String::from_utf8(list.expect("busybox").stdout).expect("names");
        let paths: Vec<String> = list
            .lines()
            .filter(|applet| *applet != "busybox")
            .map(|applet| format!("bin/{applet}"))
            .collect();
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n";
        let mut entries = vec![
            Entry::Folder("bin", 0o755),
            Entry::Folder("tmp", 0o1777),
            Entry::Folder("var", 0o755),
            Entry::Folder("root", 0o700),
            Entry::Folder("etc", 0o755),
            Entry::File("bin/busybox", 0o755, &busybox),
            Entry::File("etc/passwd", 0o644, passwd),
            Entry::File("etc/group", 0o644, b"root:x:0:\npostgres:x:70:\n"),
        ];
        entries.extend(paths.iter().map(|path| Entry::Link(path, "busybox")));
        let config = json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] });
        self.put(name, &config, &[gzip(&layer(&entries))]);
    }

    /// An image of busybox.
    #[cfg(feature = "vm-tests")]
    pub fn put_busybox(&self) {
        let busybox = std::fs::read("/bin/busybox").expect("Debian package busybox-static");
        let mut entries = vec![
            Entry::Folder("bin", 0o755),
            Entry::Folder("tmp", 0o1777),
            Entry::Folder("root", 0o700),
            Entry::File("bin/busybox", 0o755, &busybox),
            Entry::File(
                "etc/passwd",
                0o644,
                b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
            ),
            Entry::File("etc/group", 0o644, b"root:x:0:\nuser:x:1000:\n"),
        ];
        let applets = [
            "sh", "cat", "echo", "sleep", "md5sum", "id", "pwd", "tty", "stty", "httpd", "mkdir",
            "true", "false", "hostname", "nproc", "wc", "ls", "touch", "free", "kill", "printf",
            "mount", "df",
        ];
        let paths: Vec<String> = applets
            .iter()
            .map(|applet| format!("bin/{applet}"))
            .collect();
        entries.extend(paths.iter().map(|path| Entry::Link(path, "busybox")));
        let config = json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] });
        self.put("busybox", &config, &[gzip(&layer(&entries))]);
    }
}

fn serve(socket: TcpStream, shelves: &Mutex<Shelves>) {
    let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
    let mut socket = socket;
    loop {
        let mut head = BTreeMap::new();
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            head.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        // A mirror is told whose it is asked as.
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let from = head.get("range").and_then(|range| {
            let from = range.strip_prefix("bytes=")?.trim_end_matches('-');
            from.parse::<usize>().ok()
        });
        let (status, kind, bytes, cut) = answer(&path, from, shelves);
        let length = bytes.len();
        let mut out =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        if kind.contains("manifest") {
            out += &format!("Docker-Content-Digest: {}\r\n", digest(&bytes));
        }
        out += "\r\n";
        let sent = cut.unwrap_or(length).min(length);
        let done = socket
            .write_all(out.as_bytes())
            .and_then(|()| socket.write_all(&bytes[..sent]));
        if done.is_err() || sent < length {
            return;
        }
    }
}

type Answer = (&'static str, &'static str, Vec<u8>, Option<usize>);

fn answer(path: &str, from: Option<usize>, shelves: &Mutex<Shelves>) -> Answer {
    let mut shelves = shelves.lock().unwrap_or_else(PoisonError::into_inner);
    shelves.asked.push((path.to_owned(), from));
    let unknown = |code: &str| {
        let error = json!({ "errors": [{ "code": code, "message": "unknown" }] });
        let bytes = serde_json::to_vec(&error).expect("JSON");
        ("404 Not Found", "application/json", bytes, None)
    };
    if path == "/v2/" {
        return ("200 OK", "application/json", b"{}".to_vec(), None);
    }
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    if let Some((name, reference)) = rest.split_once("/manifests/") {
        let key = match reference {
            "latest" => name.to_owned(),
            other => other.to_owned(),
        };
        return match shelves.manifests.get(&key) {
            Some(manifest) => {
                let kind = "application/vnd.oci.image.manifest.v1+json";
                ("200 OK", kind, manifest.clone(), None)
            }
            None => unknown("MANIFEST_UNKNOWN"),
        };
    }
    let digest = rest.rsplit('/').next().unwrap_or_default().to_owned();
    let cut = shelves.cut.remove(&digest);
    let kind = "application/octet-stream";
    match shelves.blobs.get(&digest) {
        Some(blob) => match from.filter(|from| *from > 0 && *from <= blob.len()) {
            Some(from) => ("206 Partial Content", kind, blob[from..].to_vec(), cut),
            None => ("200 OK", kind, blob.clone(), cut),
        },
        None => unknown("BLOB_UNKNOWN"),
    }
}
