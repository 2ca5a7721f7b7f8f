//! The folder that images are in, and the list of them.
//!
//! ```text
//!  index.json              names, configurations and layers of all images; replaced as a whole
//!  blobs/sha256/HEX        layers and configurations as they came; HEX.partial while they come
//!  disks/HEX.ext4, .vmdk   an image's file system; the descriptor is there when the other is whole
//!  work/                   what is under way; swept at the start
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::{Image, ImageError, Name, disk, io_error};

/// Digits of an ID that people are shown.
const SHORT: usize = 12;
/// What all IDs begin with.
pub const SHA256: &str = "sha256:";

/// All images that are here.
#[derive(Debug)]
pub struct Images {
    dir: PathBuf,
    /// Bytes of a container's disk.
    pub(super) disk_bytes: u64,
    images: Mutex<BTreeMap<String, Image>>,
    /// Folders of what has been under way so far.
    works: AtomicU64,
    /// What is being fetched or made, so that it is by one at a time.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Opens the folder, which is made if needed. Disks of containers will have so many bytes.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn open(dir: &Path, disk_bytes: u64) -> Result<Self, ImageError> {
        // The registry's client takes the process's own cryptography; the first to say which stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Whoever makes a delta of a disk has another folder than this process.
        fs::create_dir_all(dir).map_err(io_error("make folder", dir))?;
        let dir = dir.canonicalize().map_err(io_error("find", dir))?;
        let images = Self {
            dir: dir.clone(),
            disk_bytes,
            images: Mutex::default(),
            works: AtomicU64::default(),
            busy: Mutex::default(),
        };
        let work = images.work();
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("sweep", &work)(error));
            }
            _ => {}
        }
        for folder in [work, dir.join("blobs/sha256"), dir.join("disks")] {
            fs::create_dir_all(&folder).map_err(io_error("make folder", &folder))?;
        }
        let index = images.index();
        match fs::read(&index) {
            Ok(bytes) => {
                let known: Vec<Image> = serde_json::from_slice(&bytes).map_err(|error| {
                    io_error("read", &index)(io::Error::new(io::ErrorKind::InvalidData, error))
                })?;
                let known = known.into_iter().map(|image| (image.id.clone(), image));
                *images.lock() = known.collect();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &index)(error)),
        }
        Ok(images)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Image>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    /// Folder of what is under way.
    pub(super) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// A folder below it that nobody else has.
    pub(super) fn work_of_its_own(&self, purpose: &str) -> PathBuf {
        let number = self.works.fetch_add(1, Ordering::Relaxed);
        self.work().join(format!("{purpose}-{number}"))
    }

    /// Where a blob is, or will be.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(hex(digest))
    }

    /// An image's file system, and the VMDK that is made of it.
    pub(super) fn disks(&self, id: &str) -> [PathBuf; 2] {
        let disks = self.dir.join("disks");
        [
            disks.join(format!("{}.ext4", hex(id))),
            disks.join(format!("{}.vmdk", hex(id))),
        ]
    }

    /// The VMDK that disks of containers of this image are deltas of.
    pub fn disk(&self, image: &Image) -> PathBuf {
        let [_, vmdk] = self.disks(&image.id);
        vmdk
    }

    /// Waits until nobody else fetches or makes the same, and keeps others from it.
    pub(super) async fn alone_with(&self, what: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(what.to_owned()).or_default())
        };
        lock.lock_owned().await
    }

    /// All images.
    pub fn all(&self) -> Vec<Image> {
        self.lock().values().cloned().collect()
    }

    /// The image that a user means: by name, by digest, by ID or its first digits.
    pub fn find(&self, text: &str) -> Option<Image> {
        let images = self.lock();
        if let Ok(name) = Name::parse(text) {
            let tagged = name.tagged();
            let named =
                |image: &&Image| image.names.contains(&tagged) || image.digests.contains(&tagged);
            if let Some(image) = images.values().find(named) {
                return Some(image.clone());
            }
        }
        let digits = text.strip_prefix(SHA256).unwrap_or(text);
        let is_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let mut begins = images
            .values()
            .filter(|image| is_digits && hex(&image.id).starts_with(digits));
        let found = begins.next()?;
        begins.next().is_none().then(|| found.clone())
    }

    /// Takes an image in, with one name more or none; another that had the name loses it.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(super) fn keep(&self, mut image: Image, name: Option<&Name>) -> Result<Image, ImageError> {
        self.change(|images| {
            if let Some(known) = images.remove(&image.id) {
                image.names.extend(known.names);
                image.digests.extend(known.digests);
            }
            if let Some(name) = name {
                call(images, &mut image, name);
            }
            for list in [&mut image.names, &mut image.digests] {
                list.sort();
                list.dedup();
            }
            images.insert(image.id.clone(), image.clone());
            image.clone()
        })
    }

    /// Gives an image one name more.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn tag(&self, id: &str, name: &Name) -> Result<(), ImageError> {
        self.change(|images| {
            if let Some(mut image) = images.remove(id) {
                call(images, &mut image, name);
                images.insert(image.id.clone(), image);
            }
        })
    }

    /// Takes a name away; with the last one, or without a name, the image goes. What was taken away, in docker's words.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn remove(
        &self,
        id: &str,
        name: Option<&str>,
    ) -> Result<Vec<serde_json::Value>, ImageError> {
        let mut told = Vec::new();
        let gone = self.change(|images| {
            let mut image = images.remove(id)?;
            let taken = |own: &String| name.is_none_or(|name| name == own);
            for own in image.names.iter().filter(|own| taken(own)) {
                told.push(json!({ "Untagged": own }));
            }
            image.names.retain(|own| !taken(own));
            if !image.names.is_empty() {
                images.insert(id.to_owned(), image);
                return None;
            }
            Some(image)
        })?;
        let Some(image) = gone else {
            return Ok(told);
        };
        told.push(json!({ "Deleted": id }));
        let [ext4, vmdk] = self.disks(id);
        let used: Vec<String> = self
            .all()
            .into_iter()
            .flat_map(|i| i.layers)
            .map(|l| l.0)
            .collect();
        let layers = image
            .layers
            .iter()
            .filter(|(layer, _)| !used.contains(layer));
        let blobs = layers.map(|(layer, _)| self.blob(layer));
        let blobs = blobs.chain([self.blob(id)]);
        // The descriptor first: where it is, the rest is.
        for path in [vmdk, ext4].into_iter().chain(blobs) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("delete", &path)(error));
                }
                _ => {}
            }
        }
        Ok(told)
    }

    /// Changes the list, on the disk first.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Image>) -> T,
    ) -> Result<T, ImageError> {
        let mut images = self.lock();
        let mut new = images.clone();
        let done = change(&mut new);
        let list: Vec<&Image> = new.values().collect();
        let text = serde_json::to_vec_pretty(&list)
            .map_err(|error| ImageError::Malformed(error.to_string()))?;
        disk::write_whole(&self.index(), &text)?;
        *images = new;
        Ok(done)
    }
}

/// A tag names one image.
fn call(others: &mut BTreeMap<String, Image>, image: &mut Image, name: &Name) {
    if name.is_digest() {
        return;
    }
    let tagged = name.tagged();
    for other in others.values_mut() {
        other.names.retain(|own| *own != tagged);
    }
    if !image.names.contains(&tagged) {
        image.names.push(tagged);
    }
}

/// The digits of a digest.
pub fn hex(digest: &str) -> &str {
    digest.strip_prefix(SHA256).unwrap_or(digest)
}

/// The digits of an ID that people are shown.
pub fn short(digest: &str) -> &str {
    let digits = hex(digest);
    digits.get(..SHORT).unwrap_or(digits)
}

/// A digest that may name a file.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix(SHA256).unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digit: char, layers: &[&str]) -> Image {
        Image {
            id: format!("{SHA256}{}", digit.to_string().repeat(64)),
            layers: layers
                .iter()
                .map(|layer| ((*layer).to_owned(), 1))
                .collect(),
            ..Image::default()
        }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn a_name_is_one_image_s_and_the_list_outlives_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let images = Images::open(folder.path(), 1).expect("a store");
        let (a, b) = (image('a', &["x"]), image('b', &["x"]));
        images
            .keep(a.clone(), Some(&name("busybox")))
            .expect("kept");
        images
            .keep(b.clone(), Some(&name("busybox")))
            .expect("kept");
        images.tag(&b.id, &name("other:1")).expect("named");
        let images = Images::open(folder.path(), 1).expect("a store");
        let id = |text: &str| images.find(text).map(|image| image.id);
        assert_eq!(id("busybox").as_ref(), Some(&b.id));
        assert_eq!(id("docker.io/library/other:1").as_ref(), Some(&b.id));
        assert_eq!(id("aaaa").as_ref(), Some(&a.id));
        assert_eq!(id(&b.id).as_ref(), Some(&b.id));
        assert_eq!(id("none"), None);
        assert_eq!(id(""), None);
    }

    #[test]
    fn an_image_goes_with_its_last_name_and_a_shared_layer_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let images = Images::open(folder.path(), 1).expect("a store");
        let [own, shared] = ["c", "d"].map(|digit| format!("{SHA256}{}", digit.repeat(64)));
        let (a, b) = (image('a', &[&own, &shared]), image('b', &[&shared]));
        for (image, text) in [(&a, "a"), (&b, "b")] {
            images.keep(image.clone(), Some(&name(text))).expect("kept");
        }
        images.tag(&a.id, &name("a2")).expect("named");
        for digest in [&own, &shared] {
            fs::write(images.blob(digest), "").expect("a blob");
        }
        let told = images.remove(&a.id, Some("a:latest")).expect("removed");
        assert_eq!(told, [json!({ "Untagged": "a:latest" })]);
        let told = images.remove(&a.id, Some("a2:latest")).expect("removed");
        assert_eq!(told.last(), Some(&json!({ "Deleted": a.id })));
        assert!(!images.blob(&own).exists() && images.blob(&shared).exists());
        assert_eq!(images.all(), [images.find("b").expect("the other")]);
    }
}
