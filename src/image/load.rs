//! Images from an archive, as `docker save` makes one: of the older form (`manifest.json`, Docker Image
//! Specification 1.2) or an OCI image layout (`index.json`). Whatever has come is checked against its digests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::layer::decompressed;
use super::pull::{Told, Work};
use super::store::{SHA256, hex, is_digest};
use super::{Image, ImageError, Images, Name, digest, disk, io_error, platform};

/// Bytes of a JSON document of the archive, at most.
const DOCUMENT_MOST: u64 = 8 << 20;
/// Members of an archive, links that lead one to another, and lists within lists: at most.
const MEMBERS_MOST: usize = 100_000;
const LINKS_MOST: u32 = 16;
const LISTS_MOST: u32 = 4;
/// What tells a list of manifests from a manifest.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Who names an image in a layout.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An archive's members, in a folder of their own.
#[derive(Debug)]
pub struct Members {
    /// Deleted with the rest.
    _work: Work,
    known: BTreeMap<PathBuf, Member>,
}

#[derive(Debug)]
enum Member {
    File(PathBuf),
    /// To where, from the archive's root.
    Link(PathBuf),
}

/// An image of the archive.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// Its configuration's member.
    config: PathBuf,
    names: Vec<String>,
    /// Its layers' members.
    layers: Vec<PathBuf>,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<PathBuf>,
}

/// An OCI index or manifest, or docker's, and what stands in one.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Manifest {
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    fn member(&self) -> Result<PathBuf, ImageError> {
        if !is_digest(&self.digest) {
            let text = format!("{:?} is no digest", self.digest);
            return Err(ImageError::Malformed(text));
        }
        Ok(Path::new("blobs/sha256").join(hex(&self.digest)))
    }
}

impl Images {
    /// Takes an archive's members in. It may be packed as layers may.
    ///
    /// # Errors
    /// It is none, or the folder cannot be written to: nothing of it is left.
    pub fn members(&self, archive: impl Read) -> Result<Members, ImageError> {
        let work = Work::new(self.work_of_its_own("load"))?;
        let cut = |error: io::Error| ImageError::Malformed(format!("archive: {error}"));
        let mut known = BTreeMap::new();
        let plain = decompressed(BufReader::with_capacity(256 << 10, archive)).map_err(cut)?;
        let mut archive = tar::Archive::new(plain);
        for entry in archive.entries().map_err(cut)? {
            let mut entry = entry.map_err(cut)?;
            let path = inner(&entry.path().map_err(cut)?)?;
            let link = entry
                .link_name()
                .map_err(cut)?
                .map(|link| link.into_owned());
            let member = match (entry.header().entry_type(), link) {
                (tar::EntryType::Regular | tar::EntryType::Continuous, _) => {
                    let own = work.path().join(known.len().to_string());
                    let mut file = File::create_new(&own).map_err(io_error("make", &own))?;
                    copy(&mut entry, &mut file, &own)?;
                    Member::File(own)
                }
                (tar::EntryType::Link, Some(link)) => Member::Link(inner(&link)?),
                (tar::EntryType::Symlink, Some(link)) => {
                    let from = path.parent().unwrap_or(Path::new(""));
                    Member::Link(inner(&from.join(link))?)
                }
                _ => continue,
            };
            known.insert(path, member);
            if known.len() > MEMBERS_MOST {
                let text = format!("archive: it has more than {MEMBERS_MOST} members");
                return Err(ImageError::Malformed(text));
            }
        }
        Ok(Members { _work: work, known })
    }

    /// Takes in the images that the members are of, and makes their disks; what each is called, in docker's words.
    ///
    /// # Errors
    /// One of them is not whole, or not for these machines. Those before it are here.
    pub async fn load(&self, members: Members, told: &Told) -> Result<Vec<String>, ImageError> {
        let mut words = Vec::new();
        for wanted in members.wanted()? {
            words.extend(self.load_one(&members, wanted, told).await?);
        }
        Ok(words)
    }

    async fn load_one(
        &self,
        members: &Members,
        wanted: Wanted,
        told: &Told,
    ) -> Result<Vec<String>, ImageError> {
        let names = wanted.names.iter().map(|name| Name::parse(name));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let bytes = members.document(&wanted.config)?;
        let config: Value = parsed(&wanted.config, &bytes)?;
        let id = digest::of(&bytes);
        digest::same(&in_name(&wanted.config, &id), &id)?;
        let called = || names.first().map_or_else(|| id.clone(), Name::tagged);
        let own = |name: &str, own: &str| config.get(name).and_then(Value::as_str) == Some(own);
        if !own("os", platform::OS) || !own("architecture", platform::architecture()) {
            let name = called();
            return Err(ImageError::Platform {
                name,
                asked: platform::own(),
            });
        }
        let alone = self.alone_with(&id).await;
        let known = self.find(&id);
        let mut image = Image {
            id: id.clone(),
            size: known.as_ref().map_or(0, |image| image.size),
            config,
            ..Image::default()
        };
        let diffs = image.config["rootfs"]["diff_ids"].as_array();
        let diffs: Vec<&str> = diffs
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if diffs.len() != wanted.layers.len() {
            let (told, there) = (diffs.len(), wanted.layers.len());
            let text = format!(
                "{}: {told} layers are told of and {there} are there",
                called()
            );
            return Err(ImageError::Malformed(text));
        }
        for (member, diff) in wanted.layers.iter().zip(diffs) {
            let layer = self.take(members, member, diff)?;
            image.layers.push(layer);
        }
        if known.is_none() || !self.disk(&image).exists() {
            image.size = self.unpack(&image, told).await?;
        }
        let blob = self.blob(&id);
        disk::write_whole(&blob, &bytes)?;
        let mut words = Vec::new();
        for name in &names {
            image = self.keep(image, Some(name))?;
            words.push(format!("Loaded image: {}", name.tagged()));
        }
        if names.is_empty() {
            self.keep(image, None)?;
            words.push(format!("Loaded image ID: {id}"));
        }
        drop(alone);
        Ok(words)
    }

    /// A layer, checked and among the blobs: its digest and size as it came.
    fn take(
        &self,
        members: &Members,
        member: &Path,
        diff: &str,
    ) -> Result<(String, u64), ImageError> {
        let path = members.file(member)?;
        let (digest, size) = digest_of(path, |file| Ok(Box::new(file)))?;
        let plain = match digest == diff {
            true => digest.clone(),
            false => digest_of(path, decompressed)?.0,
        };
        digest::same(diff, &plain)?;
        digest::same(&in_name(member, &digest), &digest)?;
        let blob = self.blob(&digest);
        if !blob.exists() {
            // Another image of the archive may have the same layer: its member stays.
            fs::hard_link(path, &blob).map_err(io_error("keep", &blob))?;
        }
        Ok((digest, size))
    }
}

impl Members {
    /// What images there are.
    fn wanted(&self) -> Result<Vec<Wanted>, ImageError> {
        let old = Path::new("manifest.json");
        if self.known.contains_key(old) {
            let entries: Vec<Entry> = self.parse(old)?;
            let wanted = entries.into_iter().map(|entry| {
                let layers = entry.layers.iter().map(|layer| inner(layer));
                Ok(Wanted {
                    config: inner(&entry.config)?,
                    names: entry.repo_tags.unwrap_or_default(),
                    layers: layers.collect::<Result<_, ImageError>>()?,
                })
            });
            return wanted.collect();
        }
        let index = Path::new("index.json");
        if !self.known.contains_key(index) {
            return Err(ImageError::Malformed(
                "archive: neither manifest.json nor index.json is in it: it is none of docker save's".into(),
            ));
        }
        let mut found = Vec::new();
        self.listed(&self.parse(index)?, &[], LISTS_MOST, &mut found)?;
        if found.is_empty() {
            return Err(ImageError::Platform {
                name: "the archive".into(),
                asked: platform::own(),
            });
        }
        Ok(found)
    }

    /// The images of an index that are for these machines.
    fn listed(
        &self,
        index: &Manifest,
        names: &[String],
        deeper: u32,
        found: &mut Vec<Wanted>,
    ) -> Result<(), ImageError> {
        for one in &index.manifests {
            let own = one.platform.as_ref().is_none_or(|platform| {
                platform.os == platform::OS && platform.architecture == platform::architecture()
            });
            if !own {
                continue;
            }
            let full = |text: &&String| text.contains(['/', ':']);
            let named = one.annotations.get(CONTAINERD_NAME);
            let named = named.or(one.annotations.get(REF_NAME).filter(full));
            let names: Vec<String> = named
                .cloned()
                .map_or_else(|| names.to_vec(), |name| vec![name]);
            let member = one.member()?;
            let bytes = self.document(&member)?;
            digest::same(&one.digest, &digest::of(&bytes))?;
            let manifest: Manifest = parsed(&member, &bytes)?;
            if one.media_type == INDEX || one.media_type == LIST || manifest.config.is_none() {
                if deeper == 0 {
                    let text = "archive: its lists of manifests have no end";
                    return Err(ImageError::Malformed(text.into()));
                }
                self.listed(&manifest, &names, deeper - 1, found)?;
                continue;
            }
            let config = manifest.config.iter().map(Descriptor::member).next();
            let config = config.transpose()?.unwrap_or_default();
            let layers = manifest.layers.iter().map(Descriptor::member);
            found.push(Wanted {
                config,
                names,
                layers: layers.collect::<Result<_, _>>()?,
            });
        }
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, member: &Path) -> Result<T, ImageError> {
        parsed(member, &self.document(member)?)
    }

    fn document(&self, member: &Path) -> Result<Vec<u8>, ImageError> {
        let path = self.file(member)?;
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(DOCUMENT_MOST).read_to_end(&mut bytes));
        read.map_err(io_error("read", path))?;
        Ok(bytes)
    }

    fn file(&self, member: &Path) -> Result<&Path, ImageError> {
        let mut at = member;
        for _ in 0..LINKS_MOST {
            match self.known.get(at) {
                Some(Member::File(path)) => return Ok(path),
                Some(Member::Link(to)) => at = to,
                None => break,
            }
        }
        let text = format!("archive: {} is not in it", member.display());
        Err(ImageError::Malformed(text))
    }
}

/// A path from the archive's root on; `..` does not lead out of it.
fn inner(path: &Path) -> Result<PathBuf, ImageError> {
    let mut inner = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir if inner.pop() => {}
            Component::CurDir => {}
            _ => {
                let text = format!("archive: {} leads out of it", path.display());
                return Err(ImageError::Malformed(text));
            }
        }
    }
    Ok(inner)
}

/// An archive's end that comes too early is its fault, a full disk is not.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<(), ImageError> {
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut piece);
        match read.map_err(|error| ImageError::Malformed(format!("archive: {error}")))? {
            0 => return Ok(()),
            count => to
                .write_all(&piece[..count])
                .map_err(io_error("write", path))?,
        }
    }
}

fn parsed<T: DeserializeOwned>(member: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ImageError::Malformed(format!("archive: {}: {error}", member.display())))
}

/// The digest that a member's name tells, `blobs/sha256/HEX` or `HEX.json`, where it tells one.
fn in_name(member: &Path, found: &str) -> String {
    let digits = member.file_stem().and_then(|stem| stem.to_str());
    let named = format!("{SHA256}{}", digits.unwrap_or_default());
    match is_digest(&named) {
        true => named,
        false => found.to_owned(),
    }
}

type Plain<'a> = Box<dyn Read + 'a>;

fn digest_of<'a>(
    path: &Path,
    open: impl FnOnce(BufReader<File>) -> io::Result<Plain<'a>>,
) -> Result<(String, u64), ImageError> {
    struct Hashing(Sha256);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Hashing(Sha256::new());
    let file = File::open(path).map_err(io_error("open", path))?;
    let read = open(BufReader::with_capacity(256 << 10, file))
        .and_then(|mut plain| io::copy(&mut plain, &mut hash));
    let size = read.map_err(|error| ImageError::Malformed(format!("archive: a layer: {error}")))?;
    Ok((digest::finished(hash.0), size))
}

#[cfg(test)]
mod tests;
