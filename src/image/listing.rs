//! What an image has, without the contents of its files: its layers are read again, one over the other.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;

use super::layer::Unpacking;
use super::tree::{Kind, Meta, Node, Tree};
use super::{Image, ImageError, Images};

/// Something that an image has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Owner, mode, times.
    pub meta: Meta,
    /// What it is; none: a folder. The number of a file is its size.
    pub kind: Option<Kind>,
}

/// All of it by paths, `/etc/passwd`, the root without a name.
pub type Listing = BTreeMap<Vec<u8>, Listed>;

impl Images {
    /// What an image has. It may take a while.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn listing(&self, image: &Image) -> Result<Listing, ImageError> {
        let mut unpacking = Unpacking::without_contents();
        for (digest, _) in &image.layers {
            let read = unpacking.layer(&self.blob(digest), &mut |_| {});
            read.map_err(|error| ImageError::Layer {
                digest: digest.clone(),
                reason: error.to_string(),
            })?;
        }
        let (tree, _, _) = unpacking.done();
        Ok(listed(&tree))
    }
}

fn listed(tree: &Tree) -> Listing {
    let mut listing = Listing::new();
    let mut waiting = vec![(Vec::new(), tree.root())];
    while let Some((path, node)) = waiting.pop() {
        let (meta, kind) = match node {
            Node::Leaf(meta, kind) => (meta, Some(kind.clone())),
            Node::Folder(meta, entries) => {
                for (name, entry) in entries {
                    if let Some(below) = tree.node(entry.node) {
                        waiting.push(([&path, &b"/"[..], name.as_bytes()].concat(), below));
                    }
                }
                (meta, None)
            }
        };
        let meta = meta.clone();
        listing.insert(path, Listed { meta, kind });
    }
    listing
}
