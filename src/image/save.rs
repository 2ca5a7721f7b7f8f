//! Images into an archive that docker, podman and skopeo read: an OCI image layout with docker's older `manifest.json`
//! beside it, as docker itself writes since 25. The layers go as they came.

use std::fs::File;
use std::io::{self, Read as _, Write};

use serde_json::{Value, json};

use super::store::{hex, is_digest};
use super::{Image, ImageError, Images, Name, digest, io_error};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is to be saved, all of it here.
#[derive(Debug)]
pub struct Selection(Vec<(Image, Vec<Name>)>);

impl Images {
    /// What a user means by these: an image with the name, those with any tag of it where that has none, or one without
    /// a name by its ID.
    ///
    /// # Errors
    /// One is not here, or not the whole of it.
    pub fn select(&self, asked: &[String]) -> Result<Selection, ImageError> {
        let mut selected: Vec<(Image, Vec<Name>)> = Vec::new();
        for text in asked {
            let mut found = Vec::new();
            let untagged = Name::parse(text).ok().filter(|_| !text.contains(':'));
            for image in self.all() {
                let own = image.names.iter().filter_map(|name| Name::parse(name).ok());
                let meant = |name: &Name| match &untagged {
                    Some(all) => name.familiar() == all.familiar(),
                    None => Name::parse(text).is_ok_and(|asked| asked.tagged() == name.tagged()),
                };
                let names: Vec<Name> = own.filter(meant).collect();
                if !names.is_empty() {
                    found.push((image, names));
                }
            }
            if found.is_empty() {
                let image = self.find(text);
                let image = image.ok_or_else(|| ImageError::NotHere(text.clone()))?;
                found.push((image, Vec::new()));
            }
            for (image, names) in found {
                match selected.iter_mut().find(|(known, _)| known.id == image.id) {
                    Some((_, known)) => known.extend(names),
                    None => selected.push((image, names)),
                }
            }
        }
        for (image, names) in &mut selected {
            names.sort_by_key(Name::tagged);
            names.dedup();
            for digest in image
                .layers
                .iter()
                .map(|(digest, _)| digest)
                .chain([&image.id])
            {
                if !is_digest(digest) || !self.blob(digest).exists() {
                    let text =
                        format!("{}: {digest} is not here any more: pull it again", image.id);
                    return Err(ImageError::Malformed(text));
                }
            }
        }
        Ok(Selection(selected))
    }

    /// Writes an archive of them.
    ///
    /// # Errors
    /// A blob cannot be read, or nobody takes what is written.
    pub fn save(&self, selection: &Selection, out: impl Write) -> Result<(), ImageError> {
        let mut archive = tar::Builder::new(out);
        let (mut manifests, mut old, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for (image, names) in &selection.0 {
            let mut layers = Vec::new();
            for digest in image
                .layers
                .iter()
                .map(|(digest, _)| digest)
                .chain([&image.id])
            {
                let path = self.blob(digest);
                let mut file = File::open(&path).map_err(io_error("open", &path))?;
                let size = file.metadata().map_err(io_error("open", &path))?.len();
                let mut first = [0; 4];
                let known = file.read(&mut first).map_err(io_error("read", &path))?;
                let media = format!("{LAYER}{}", suffix(&first[..known]));
                layers.push(json!({ "mediaType": media, "digest": digest, "size": size }));
                if !written.contains(digest) {
                    let file = File::open(&path).map_err(io_error("open", &path))?;
                    add(&mut archive, &blob(digest), size, file)?;
                    written.push(digest.clone());
                }
            }
            let mut config = layers.pop().unwrap_or_default();
            config["mediaType"] = json!(CONFIG);
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": layers,
            });
            let manifest = manifest.to_string();
            let digest = digest::of(manifest.as_bytes());
            document(&mut archive, &blob(&digest), &manifest)?;
            let one = json!({ "mediaType": MANIFEST, "digest": digest, "size": manifest.len() });
            manifests.extend(entries(&one, names));
            let tags: Vec<String> = names.iter().map(Name::tagged).collect();
            let layers = image.layers.iter().map(|(digest, _)| blob(digest));
            old.push(json!({
                "Config": blob(&image.id),
                "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
                "Layers": layers.collect::<Vec<_>>(),
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        document(&mut archive, "index.json", &index.to_string())?;
        document(
            &mut archive,
            "manifest.json",
            &Value::Array(old).to_string(),
        )?;
        let layout = json!({ "imageLayoutVersion": "1.0.0" });
        document(&mut archive, "oci-layout", &layout.to_string())?;
        archive
            .finish()
            .and_then(|()| archive.get_mut().flush())
            .map_err(gone)
    }
}

/// The index has an entry for each name, or one without.
fn entries(one: &Value, names: &[Name]) -> Vec<Value> {
    if names.is_empty() {
        return vec![one.clone()];
    }
    let named = names.iter().map(|name| {
        let mut entry = one.clone();
        entry["annotations"] = json!({
            "io.containerd.image.name": name.full(),
            "org.opencontainers.image.ref.name": name.tag(),
        });
        entry
    });
    named.collect()
}

fn suffix(first: &[u8]) -> &'static str {
    match first {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{}", hex(digest))
}

fn document(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    text: &str,
) -> Result<(), ImageError> {
    add(archive, path, text.len() as u64, text.as_bytes())
}

fn add(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    bytes: impl io::Read,
) -> Result<(), ImageError> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, bytes).map_err(gone)
}

fn gone(error: io::Error) -> ImageError {
    ImageError::Malformed(format!("archive: {error}"))
}
