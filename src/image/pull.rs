//! An image from its registry: the manifest, the configuration, the layers that are not here yet, the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci_client::manifest::OciDescriptor;
use tokio::time::sleep;

use super::layer::Unpacking;
use super::registry::{Found, config, fetch, find};
use super::store::{is_digest, short};
use super::{Image, ImageError, Images, Name, disk, io_error};

/// Layers of an image that are fetched at once, as docker does.
const AT_ONCE: usize = 3;
/// Times that a layer is gone on with after its connection broke.
const ATTEMPTS: u32 = 5;
/// Between them, and longer each time.
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes between two words about a layer's progress.
pub(super) const TOLD_EVERY: u64 = 512 << 10;

/// Where images are fetched.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Those that speak plain HTTP, `HOST:PORT`. Those on this machine may, too.
    pub plain: Vec<String>,
    /// Asked before Docker Hub, in this order.
    pub mirrors: Vec<String>,
}

/// What a registry wants to know of its client.
#[derive(Clone, Default)]
pub struct Login {
    /// Name and password.
    pub basic: Option<(String, String)>,
    /// A token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<a login>")
    }
}

/// A word about what happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is about: a layer's short ID, a tag; empty: the whole.
    pub id: String,
    /// In docker's words.
    pub status: String,
    /// Bytes done, and all of them.
    pub bytes: Option<(u64, u64)>,
}

/// Who is told.
pub type Told = Arc<dyn Fn(Progress) + Send + Sync>;

pub(super) fn tell(told: &Told, id: &str, status: impl Into<String>, bytes: Option<(u64, u64)>) {
    told(Progress {
        id: id.to_owned(),
        status: status.into(),
        bytes,
    });
}

impl Images {
    /// Fetches an image and makes its disk. The first word to `told` comes when the image is known to be there.
    ///
    /// # Errors
    /// It is not to be had; what has come of its layers is kept for the next time.
    pub async fn pull(
        &self,
        name: &Name,
        registries: &Registries,
        login: &Login,
        told: &Told,
    ) -> Result<Image, ImageError> {
        let found = find(name, registries, login).await?;
        let from = format!("Pulling from {}", name.repository());
        tell(told, name.tag(), from, None);
        let id = found.manifest.config.digest.clone();
        let layers = &found.manifest.layers;
        for digest in layers.iter().map(|layer| &layer.digest).chain([&id]) {
            if !is_digest(digest) {
                return Err(ImageError::Malformed(format!("{digest:?} is no digest")));
            }
        }
        let alone = self.alone_with(&id).await;
        let known = self.find(&id);
        let blob = self.blob(&id);
        let text = match fs::read(&blob) {
            Ok(text) if known.is_some() => text,
            _ => config(&found).await?,
        };
        let config = serde_json::from_slice(&text).map_err(|error| {
            ImageError::Malformed(format!("the configuration is no JSON: {error}"))
        })?;
        let mut image = Image {
            id,
            digests: vec![name.at(&found.digest)],
            config,
            size: known.as_ref().map_or(0, |image| image.size),
            ..Image::default()
        };
        for layer in layers {
            let size = u64::try_from(layer.size).unwrap_or_default();
            image.layers.push((layer.digest.clone(), size));
        }
        let whole = known.is_some() && self.disk(&image).exists();
        if whole {
            for layer in layers {
                tell(told, short(&layer.digest), "Already exists", None);
            }
        } else {
            let mut fetches = Vec::new();
            for layer in layers {
                fetches.push(self.layer(&found, layer, told));
            }
            stream::iter(fetches)
                .buffer_unordered(AT_ONCE)
                .try_collect::<Vec<()>>()
                .await?;
            image.size = self.unpack(&image, told).await?;
        }
        disk::write_whole(&blob, &text)?;
        let news = known.is_none_or(|image| !image.names.contains(&name.tagged()));
        let image = self.keep(image, Some(name))?;
        drop(alone);
        tell(told, "", format!("Digest: {}", found.digest), None);
        let status = if news {
            "Downloaded newer image"
        } else {
            "Image is up to date"
        };
        tell(
            told,
            "",
            format!("Status: {status} for {}", name.tagged()),
            None,
        );
        Ok(image)
    }

    /// One layer, unless it is here.
    async fn layer(
        &self,
        found: &Found,
        layer: &OciDescriptor,
        told: &Told,
    ) -> Result<(), ImageError> {
        let id = short(&layer.digest);
        let _alone = self.alone_with(&layer.digest).await;
        let path = self.blob(&layer.digest);
        if path.exists() {
            tell(told, id, "Already exists", None);
            return Ok(());
        }
        tell(told, id, "Pulling fs layer", None);
        let partial = path.with_extension("partial");
        let mut attempt = 0;
        loop {
            match fetch(found, layer, &partial, told).await {
                Ok(()) => break,
                Err(error @ ImageError::Registry { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tell(told, id, format!("Retrying ({error})"), None);
                    sleep(PAUSE * attempt).await;
                }
                Err(error) => {
                    if matches!(error, ImageError::Io { .. }) {
                        // A full disk is not to stay full of it.
                        let _ = fs::remove_file(&partial);
                    }
                    return Err(error);
                }
            }
        }
        fs::rename(&partial, &path).map_err(io_error("name", &path))?;
        tell(told, id, "Download complete", None);
        Ok(())
    }

    /// The disk of an image whose layers are here; bytes of its files.
    pub(super) async fn unpack(&self, image: &Image, told: &Told) -> Result<u64, ImageError> {
        let [ext4, vmdk] = self.disks(&image.id);
        let work = Work::new(self.work_of_its_own("unpack"))?;
        let layers: Vec<(String, u64, PathBuf)> = image
            .layers
            .iter()
            .map(|(digest, size)| (digest.clone(), *size, self.blob(digest)))
            .collect();
        let (bytes, told) = (self.disk_bytes, Arc::clone(told));
        let id = disk::checksum(&image.id);
        let made = tokio::task::spawn_blocking(move || {
            let size = lay(&layers, &work.0, &ext4, bytes, &told)?;
            let name = ext4.file_name().unwrap_or_default().to_string_lossy();
            disk::write_whole(&vmdk, disk::descriptor(&name, bytes, id).as_bytes())?;
            Ok(size)
        });
        made.await
            .unwrap_or_else(|gone| Err(ImageError::Malformed(gone.to_string())))
    }
}

/// Unpacks layers below `work` and makes the file system of them.
fn lay(
    layers: &[(String, u64, PathBuf)],
    work: &Path,
    ext4: &Path,
    disk_bytes: u64,
    told: &Told,
) -> Result<u64, ImageError> {
    let contents = work.join("contents");
    fs::create_dir(&contents).map_err(io_error("make folder", &contents))?;
    let mut unpacking = Unpacking::into(contents, disk_bytes);
    for (digest, size, blob) in layers {
        let (id, mut said) = (short(digest), 0);
        let mut moved = |read: u64| {
            if read >= said + TOLD_EVERY || (read == *size && read > said) {
                said = read;
                tell(told, id, "Extracting", Some((read, *size)));
            }
        };
        unpacking
            .layer(blob, &mut moved)
            .map_err(|error| ImageError::Layer {
                digest: digest.clone(),
                reason: error.to_string(),
            })?;
        tell(told, id, "Pull complete", None);
    }
    let (tree, contents, size) = unpacking.done();
    let new = ext4.with_extension("new");
    let made = disk::make(&tree, &contents, &work.join("root"), &new, disk_bytes)
        .map_err(ImageError::from)
        .and_then(|()| {
            fs::File::open(&new)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&new, ext4))
                .map_err(io_error("name", ext4))
        });
    if made.is_err() {
        // A full disk is not to stay full of half a file system.
        let _ = fs::remove_file(&new);
    }
    made.map(|()| size)
}

/// A folder of what is under way, gone with its owner.
#[derive(Debug)]
pub(super) struct Work(PathBuf);

impl Work {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn new(path: PathBuf) -> Result<Self, ImageError> {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("sweep", &path)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&path).map_err(io_error("make folder", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "not swept");
        }
    }
}
