//! What registries are asked: manifests, configurations, layers; and what they answer, in docker's words.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use sha2::{Digest as _, Sha256};

use super::pull::{Login, Registries, TOLD_EVERY, Told, tell};
use super::store::short;
use super::{ImageError, Name, digest, io_error, platform};

/// A registry that says nothing for so long is given up.
const SILENT_MOST: Duration = Duration::from_secs(60);
const CONNECT_MOST: Duration = Duration::from_secs(20);
/// Bytes of a configuration, at most.
const CONFIG_MOST: i64 = 8 << 20;
/// Docker Hub.
const HUB: &str = "docker.io";

/// A manifest that was found, and by whom.
pub(super) struct Found {
    client: Client,
    /// What its blobs are asked for.
    at: Reference,
    pub(super) manifest: OciImageManifest,
    /// Of the list of manifests, where there is one: what docker shows.
    pub(super) digest: String,
}

/// The image's manifest: from a mirror where that has it, else where its name says.
pub(super) async fn find(
    name: &Name,
    registries: &Registries,
    login: &Login,
) -> Result<Found, ImageError> {
    let mut at = Vec::new();
    if name.reference().registry() == HUB {
        for mirror in &registries.mirrors {
            let mut reference = name.reference().clone();
            reference.set_mirror_registry(mirror.clone());
            at.push(reference);
        }
    }
    at.push(name.reference().clone());
    let mut last = None;
    for at in at {
        for protocol in protocols(at.resolve_registry(), registries) {
            match manifest(name, at.clone(), protocol, login).await {
                Ok(found) => return Ok(found),
                // What it said counts more than that it could not be spoken with in another way.
                Err(error @ ImageError::Registry { .. }) => {
                    last.get_or_insert(error);
                }
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or_else(|| ImageError::Unknown(name.tagged())))
}

/// How a registry may be spoken with: in TLS, unless it is known to speak plainly, or on this machine.
fn protocols(registry: &str, registries: &Registries) -> Vec<ClientProtocol> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let here = host.parse::<std::net::IpAddr>().map(|ip| ip.is_loopback());
    if registries.plain.iter().any(|plain| plain == registry) {
        vec![ClientProtocol::Http]
    } else if host == "localhost" || here == Ok(true) {
        vec![ClientProtocol::Https, ClientProtocol::Http]
    } else {
        vec![ClientProtocol::Https]
    }
}

async fn manifest(
    name: &Name,
    at: Reference,
    protocol: ClientProtocol,
    login: &Login,
) -> Result<Found, ImageError> {
    let client = Client::try_from(ClientConfig {
        protocol,
        read_timeout: Some(SILENT_MOST),
        connect_timeout: Some(CONNECT_MOST),
        user_agent: concat!("vch/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
    .map_err(|error| refused(name, &at, error))?;
    let auth = match (&login.token, &login.basic) {
        (Some(token), _) => RegistryAuth::Bearer(token.clone()),
        (None, Some((user, password))) => RegistryAuth::Basic(user.clone(), password.clone()),
        (None, None) => RegistryAuth::Anonymous,
    };
    let found = client.pull_image_manifest_and_list_digest(&at, &auth).await;
    let (mut manifest, digest, list) = found.map_err(|error| refused(name, &at, error))?;
    // Layers come from the registry that was named, and from nowhere that they name themselves.
    for layer in &mut manifest.layers {
        layer.urls = None;
    }
    Ok(Found {
        client,
        at,
        manifest,
        digest: list.unwrap_or(digest),
    })
}

/// A registry's answer in docker's words.
fn refused(name: &Name, at: &Reference, error: OciDistributionError) -> ImageError {
    let tagged = name.tagged();
    let registry = at.resolve_registry().to_owned();
    match error {
        OciDistributionError::ImageManifestNotFoundError(what) if what.contains("platform") => {
            ImageError::Platform {
                name: tagged,
                asked: platform::own(),
            }
        }
        OciDistributionError::ImageManifestNotFoundError(_)
        | OciDistributionError::ServerError { code: 404, .. } => ImageError::Unknown(tagged),
        OciDistributionError::RegistryError { envelope, .. } => {
            let codes: Vec<&OciErrorCode> = envelope.errors.iter().map(|e| &e.code).collect();
            let any = |wanted: &[OciErrorCode]| codes.iter().any(|code| wanted.contains(code));
            if any(&[OciErrorCode::ManifestUnknown, OciErrorCode::NotFound]) {
                ImageError::Unknown(tagged)
            } else if any(&[
                OciErrorCode::Unauthorized,
                OciErrorCode::Denied,
                OciErrorCode::NameUnknown,
            ]) {
                ImageError::Denied(name.familiar())
            } else {
                let reason = envelope.to_string();
                ImageError::Registry { registry, reason }
            }
        }
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => ImageError::Denied(name.familiar()),
        error @ (OciDistributionError::ManifestParsingError(_)
        | OciDistributionError::ManifestEncodingError(_)
        | OciDistributionError::VersionedParsingError(_)
        | OciDistributionError::UnsupportedMediaTypeError(_)
        | OciDistributionError::UnsupportedSchemaVersionError(_)
        | OciDistributionError::DigestError(_)) => {
            ImageError::Malformed(format!("manifest of {tagged}: {error}"))
        }
        error => {
            let causes =
                std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
            let reason: Vec<String> = causes.map(ToString::to_string).collect();
            let reason = reason.join(": ");
            ImageError::Registry { registry, reason }
        }
    }
}

/// The image's configuration, as it came.
pub(super) async fn config(found: &Found) -> Result<Vec<u8>, ImageError> {
    let descriptor = &found.manifest.config;
    if descriptor.size > CONFIG_MOST {
        let size = descriptor.size;
        return Err(ImageError::Malformed(format!(
            "the configuration has {size} bytes; at most {CONFIG_MOST} are read"
        )));
    }
    let mut bytes = Vec::new();
    let mut stream = found
        .client
        .pull_blob_stream(&found.at, descriptor)
        .await
        .map_err(|error| broken(found, error))?;
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| broken(found, error))?);
        if bytes.len() as i64 > CONFIG_MOST {
            return Err(ImageError::Malformed("the configuration has no end".into()));
        }
    }
    digest::same(&descriptor.digest, &digest::of(&bytes))?;
    Ok(bytes)
}

fn broken(found: &Found, error: impl std::fmt::Display) -> ImageError {
    ImageError::Registry {
        registry: found.at.resolve_registry().to_owned(),
        reason: error.to_string(),
    }
}

/// A layer into a file, from where an earlier attempt has ended. The file is whole when this succeeds.
pub(super) async fn fetch(
    found: &Found,
    layer: &OciDescriptor,
    partial: &Path,
    told: &Told,
) -> Result<(), ImageError> {
    let id = short(&layer.digest);
    let size = u64::try_from(layer.size).unwrap_or_default();
    let (mut hash, mut have) = hashed(partial)?;
    if have > size {
        (hash, have) = (Sha256::new(), 0);
    }
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(partial)
        .map_err(io_error("open", partial))?;
    if have < size || size == 0 {
        let answer = found
            .client
            .pull_blob_stream_partial(&found.at, layer, have, None)
            .await;
        let mut stream = match answer.map_err(|error| broken(found, error))? {
            BlobResponse::Partial(stream) => stream,
            BlobResponse::Full(stream) => {
                (hash, have) = (Sha256::new(), 0);
                stream
            }
        };
        file.set_len(have).map_err(io_error("cut", partial))?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(io_error("cut", partial))?;
        let mut said = have;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| broken(found, error))?;
            have += piece.len() as u64;
            if have > size {
                break;
            }
            hash.update(&piece);
            file.write_all(&piece).map_err(io_error("write", partial))?;
            if have >= said + TOLD_EVERY {
                said = have;
                tell(told, id, "Downloading", Some((have, size)));
            }
        }
    }
    if have < size {
        return Err(broken(
            found,
            format!("{id} ends after {have} of {size} bytes"),
        ));
    }
    tell(told, id, "Verifying Checksum", None);
    if let Err(error) = digest::same(&layer.digest, &digest::finished(hash)) {
        // Nothing of it is worth going on with.
        fs::remove_file(partial).map_err(io_error("delete", partial))?;
        return Err(error);
    }
    file.sync_all().map_err(io_error("sync", partial))
}

/// What an earlier attempt has left.
fn hashed(partial: &Path) -> Result<(Sha256, u64), ImageError> {
    let mut hash = Sha256::new();
    let mut have = 0;
    let mut file = match fs::File::open(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((hash, 0)),
        other => other.map_err(io_error("open", partial))?,
    };
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece).map_err(io_error("read", partial))? {
            0 => return Ok((hash, have)),
            count => {
                hash.update(&piece[..count]);
                have += count as u64;
            }
        }
    }
}
