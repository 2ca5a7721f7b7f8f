//! `docker diff`: a container's own disk beside its image.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Files;
use crate::files::{Entry, Kind};
use crate::image::listing::{Listed, Listing};
use crate::image::tree;
use crate::link::control::service::LIST;
use crate::listener::api::answer::Part;
use crate::listener::api::error::ApiError;
use crate::listener::api::{Api, find};

/// Docker's numbers.
const CHANGED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;
/// What a machine makes where an image has none, to mount on; and what a file system begins with.
const OURS: [&[u8]; 9] = [
    b"/dev",
    b"/etc",
    b"/etc/hostname",
    b"/etc/hosts",
    b"/etc/resolv.conf",
    b"/lost+found",
    b"/proc",
    b"/run",
    b"/sys",
];

/// `GET /containers/{id}/changes`
pub(in crate::listener::api) async fn changes(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let container = find(&shared.registry, &id)?;
    let spec = container.made().map(|made| made.spec());
    let (Some(spec), Some(machines)) = (spec, shared.machines.clone()) else {
        return Err(ApiError::not_implemented(
            "not possible: the VM was made elsewhere, and its image is not known here",
        ));
    };
    let image = machines.images.find(&spec.image_id);
    let image =
        image.ok_or_else(|| ApiError::not_found(format!("No such image: {}", spec.image)))?;
    let listing = tokio::task::spawn_blocking(move || machines.images.listing(&image));
    let files = Files::at(&shared, container, "/").await?;
    let (_, mut answer) = files.ask(LIST).await?;
    let mut entries = BTreeMap::new();
    loop {
        match answer.next().await? {
            Some(Part::Entry(entry)) => {
                entries.insert(entry.path.clone(), entry);
            }
            Some(Part::End(Ok(()))) => break,
            Some(Part::End(Err(failure))) => return Err(failure.into()),
            Some(Part::Data(_)) | None => {
                return Err(ApiError::server(
                    "its machine has not said that this is all",
                ));
            }
        }
    }
    let listing = listing
        .await
        .map_err(|e| ApiError::server(e.to_string()))??;
    let all = compare(&entries, &listing);
    let all = all
        .iter()
        .map(|(path, kind)| json!({ "Path": String::from_utf8_lossy(path), "Kind": kind }));
    let all: Vec<Value> = all.collect();
    // Docker's word for no change.
    Ok(Json(if all.is_empty() {
        Value::Null
    } else {
        all.into()
    }))
}

fn compare(own: &BTreeMap<Vec<u8>, Entry>, image: &Listing) -> BTreeMap<Vec<u8>, u8> {
    let mut changes = BTreeMap::new();
    for (path, entry) in own.iter().filter(|(_, entry)| !entry.mount) {
        match image.get(path) {
            None if OURS.contains(&path.as_slice()) => {}
            None => drop(changes.insert(path.clone(), ADDED)),
            Some(known) if !is_same(entry, known) => drop(changes.insert(path.clone(), CHANGED)),
            Some(_) => {}
        }
    }
    for path in image
        .keys()
        .filter(|path| !path.is_empty() && !own.contains_key(*path))
    {
        // Of what is gone with its folder, or covered, nothing is told.
        let folder = parent(path);
        let there = own.get(folder);
        if folder.is_empty() || there.is_some_and(|one| one.kind == Kind::Folder && !one.mount) {
            changes.insert(path.clone(), DELETED);
        }
    }
    // A folder is another when something in it is.
    let paths: Vec<Vec<u8>> = changes.keys().cloned().collect();
    for path in paths {
        let mut folder = parent(&path);
        while !folder.is_empty() {
            changes.entry(folder.to_vec()).or_insert(CHANGED);
            folder = parent(folder);
        }
    }
    changes
}

/// Of `/etc/passwd` it is `/etc`; of `/etc` nothing.
fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/');
    path.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn is_same(own: &Entry, known: &Listed) -> bool {
    let meta = &known.meta;
    let owners = (own.uid, own.gid) == (meta.uid, meta.gid);
    let mode = own.mode == meta.mode;
    // A disk's seconds; archives have them with and without parts.
    let time = own.mtime.0 == meta.mtime.0;
    let same = match (&known.kind, own.kind) {
        // Its time is that of its last entry.
        (None, Kind::Folder) => return owners && mode,
        (Some(tree::Kind::Symlink(to)), Kind::Symlink) => {
            return owners && to.as_os_str().as_encoded_bytes() == own.link;
        }
        (Some(tree::Kind::File(size)), Kind::File | Kind::HardLink) => *size == own.size,
        (Some(tree::Kind::Character(major, minor)), Kind::Character)
        | (Some(tree::Kind::Block(major, minor)), Kind::Block) => own.device == (*major, *minor),
        (Some(tree::Kind::Fifo), Kind::Fifo) => true,
        _ => return false,
    };
    same && owners && mode && time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(paths: &[(&str, Option<u64>)]) -> Listing {
        let listed = paths.iter().map(|(path, size)| {
            let kind = size.map(tree::Kind::File);
            let meta = tree::Meta {
                mode: 0o755,
                mtime: (5, 0),
                ..tree::Meta::default()
            };
            (path.as_bytes().to_vec(), Listed { meta, kind })
        });
        listed.collect()
    }

    fn entry(path: &str, size: Option<u64>) -> (Vec<u8>, Entry) {
        let entry = Entry {
            kind: if size.is_some() {
                Kind::File
            } else {
                Kind::Folder
            },
            path: path.into(),
            mode: 0o755,
            mtime: (5, 9),
            size: size.unwrap_or_default(),
            ..Entry::default()
        };
        (entry.path.clone(), entry)
    }

    fn told(own: Vec<(Vec<u8>, Entry)>, image: &Listing) -> Vec<String> {
        let all = compare(&own.into_iter().collect(), image);
        let word = |kind: &u8| ["C", "A", "D"][usize::from(*kind)];
        let lines = all
            .iter()
            .map(|(path, kind)| format!("{} {}", word(kind), String::from_utf8_lossy(path)));
        lines.collect()
    }

    #[test]
    fn what_is_another_is_told_with_its_folders() {
        let image = image(&[
            ("", None),
            ("/a", None),
            ("/a/same", Some(3)),
            ("/a/longer", Some(3)),
            ("/b", None),
            ("/b/gone", None),
            ("/b/gone/below", Some(1)),
            ("/c", None),
            ("/c/file", Some(1)),
        ]);
        let mut own = vec![
            entry("/a", None),
            entry("/a/same", Some(3)),
            entry("/a/longer", Some(4)),
            entry("/b", None),
            entry("/c", None),
            entry("/c/file", Some(1)),
            entry("/lost+found", None),
        ];
        let all = ["C /a", "C /a/longer", "C /b", "D /b/gone"];
        assert_eq!(told(own.clone(), &image), all);
        own.push(entry("/new/deep", None));
        own.push(entry("/new", None));
        own[5].1.mtime.0 = 6;
        let all = told(own.clone(), &image);
        assert_eq!(all[4..], ["C /c", "C /c/file", "A /new", "A /new/deep"]);
    }

    #[test]
    fn what_is_mounted_covers_the_image_s() {
        let image = image(&[
            ("", None),
            ("/data", None),
            ("/data/file", Some(1)),
            ("/x", Some(1)),
        ]);
        let mut own = vec![entry("/data", None), entry("/x", None)];
        own[0].1.mount = true;
        assert_eq!(told(own, &image), ["C /x"], "another kind");
    }
}
