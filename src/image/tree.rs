//! The tree of files that an image's layers make, in memory: the OCI image specification's rules for layers (layer.md:
//! whiteouts, opaque folders, hard links), and nothing of a file system. Contents are numbers that the caller gives.
//!
//! No path leads out: a `..` is refused, and a symbolic link on the way is followed within the tree.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Name of an entry that takes another one away: this before the other's.
const WHITEOUT: &str = ".wh.";
/// Name of an entry that takes away what the layers below have in its folder.
const OPAQUE: &str = ".wh..wh..opq";
/// Symbolic links on one way, at most (the kernel's limit).
const LINKS_MOST: usize = 40;
/// Bytes of one name, at most (ext4's limit).
const NAME_MOST: usize = 255;

/// What an entry is about, beside its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, with set-user-ID and the like.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Extended attributes by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What is no folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with these contents.
    File(u64),
    /// A symbolic link to this text.
    Symlink(PathBuf),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder with its entries.
    Folder(Meta, BTreeMap<OsString, Entry>),
    /// Anything else.
    Leaf(Meta, Kind),
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which node. Names with the same number are hard links of one another.
    pub node: usize,
    /// The layer that has put it there last.
    layer: u32,
}

/// Why a layer's entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Up and away.
    #[error("{} leads out of the image", .0.display())]
    Escapes(PathBuf),
    /// Too many links, or in a circle.
    #[error("{}: more than {LINKS_MOST} symbolic links on the way", .0.display())]
    Links(PathBuf),
    /// The way goes through a file.
    #[error("{}: on the way there is something that is no folder", .0.display())]
    NoFolder(PathBuf),
    /// A hard link to nothing, or to a folder.
    #[error("{}: a hard link to {}, which is no file of the image", .path.display(), .target.display())]
    NoTarget {
        /// The link.
        path: PathBuf,
        /// What it should be a link to.
        target: PathBuf,
    },
    /// No file system takes it.
    #[error("{}: a name of more than {NAME_MOST} bytes", .0.display())]
    Name(PathBuf),
}

/// The tree. The root is node 0.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    layer: u32,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Meta {
            mode: 0o755,
            ..Meta::default()
        };
        Self {
            nodes: vec![Node::Folder(root, BTreeMap::new())],
            layer: 0,
        }
    }
}

impl Tree {
    /// What comes from here on is of the next layer.
    pub fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// The node of a number that an [`Entry`] has.
    pub fn node(&self, number: usize) -> Option<&Node> {
        self.nodes.get(number)
    }

    /// The root's node.
    pub fn root(&self) -> &Node {
        &self.nodes[0]
    }

    /// A folder, made or changed. What is in it stays.
    ///
    /// # Errors
    /// The path cannot be.
    pub fn folder(&mut self, path: &Path, meta: Meta) -> Result<(), TreeError> {
        let Some((parent, name)) = self.place(path)? else {
            if let Node::Folder(own, _) = &mut self.nodes[0] {
                *own = meta;
            }
            return Ok(());
        };
        let known = self.entry(parent, &name).map(|entry| entry.node);
        let node = match known {
            Some(node) if matches!(self.nodes[node], Node::Folder(..)) => {
                if let Node::Folder(own, _) = &mut self.nodes[node] {
                    *own = meta;
                }
                node
            }
            _ => self.add(Node::Folder(meta, BTreeMap::new())),
        };
        self.name(parent, name, node);
        Ok(())
    }

    /// Takes away what the layers below have, where the path's name says that; false: it does not.
    ///
    /// # Errors
    /// The path cannot be.
    pub fn whiteout(&mut self, path: &Path) -> Result<bool, TreeError> {
        let name = path.file_name().unwrap_or_default();
        if !name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return Ok(false);
        }
        if let Some((parent, name)) = self.place(path)? {
            if name == OPAQUE {
                self.clear(parent);
            } else {
                let gone = name.as_bytes().get(WHITEOUT.len()..).unwrap_or_default();
                self.take_away(parent, OsStr::from_bytes(gone));
            }
        }
        Ok(true)
    }

    /// Anything that is no folder, in the place of whatever was there.
    ///
    /// # Errors
    /// The path cannot be.
    pub fn leaf(&mut self, path: &Path, meta: Meta, kind: Kind) -> Result<(), TreeError> {
        let Some((parent, name)) = self.place(path)? else {
            return Err(TreeError::NoFolder(path.to_owned()));
        };
        let node = self.add(Node::Leaf(meta, kind));
        self.name(parent, name, node);
        Ok(())
    }

    /// One more name of a file that is there.
    ///
    /// # Errors
    /// One of the paths cannot be, or there is no such file.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), TreeError> {
        let mut names = names(target, target)?;
        let found = match names.pop_back() {
            Some(name) => self
                .walk(names, target, false)?
                .and_then(|folder| self.entry(folder, &name))
                .map(|entry| entry.node),
            None => None,
        };
        let found = found.filter(|node| matches!(self.nodes[*node], Node::Leaf(..)));
        let node = found.ok_or_else(|| TreeError::NoTarget {
            path: path.to_owned(),
            target: target.to_owned(),
        })?;
        let Some((parent, name)) = self.place(path)? else {
            return Err(TreeError::NoFolder(path.to_owned()));
        };
        self.name(parent, name, node);
        Ok(())
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn entries(&mut self, folder: usize) -> Option<&mut BTreeMap<OsString, Entry>> {
        match &mut self.nodes[folder] {
            Node::Folder(_, entries) => Some(entries),
            Node::Leaf(..) => None,
        }
    }

    fn entry(&self, folder: usize, name: &OsStr) -> Option<&Entry> {
        match &self.nodes[folder] {
            Node::Folder(_, entries) => entries.get(name),
            Node::Leaf(..) => None,
        }
    }

    fn name(&mut self, folder: usize, name: OsString, node: usize) {
        let layer = self.layer;
        if let Some(entries) = self.entries(folder) {
            entries.insert(name, Entry { node, layer });
        }
    }

    /// The folder that a path's last name is in, and that name; none for the root itself.
    fn place(&mut self, path: &Path) -> Result<Option<(usize, OsString)>, TreeError> {
        let mut names = names(path, path)?;
        let Some(last) = names.pop_back() else {
            return Ok(None);
        };
        let folder = self.walk(names, path, true)?;
        Ok(folder.map(|folder| (folder, last)))
    }

    /// Follows names from the root on, through links. With `make` something is to be put there: folders that are
    /// missing are made, and all on the way are of this layer, too. Without, none: there is no such folder.
    fn walk(
        &mut self,
        mut names: VecDeque<OsString>,
        path: &Path,
        make: bool,
    ) -> Result<Option<usize>, TreeError> {
        let mut way = vec![0];
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            let here = way.last().copied().unwrap_or(0);
            if name == ".." {
                // Of a link: up within the image, never out.
                if way.len() < 2 {
                    return Err(TreeError::Escapes(path.to_owned()));
                }
                way.pop();
                continue;
            }
            let Some(node) = self.entry(here, &name).map(|entry| entry.node) else {
                if !make {
                    return Ok(None);
                }
                let meta = Meta {
                    mode: 0o755,
                    ..Meta::default()
                };
                let made = self.add(Node::Folder(meta, BTreeMap::new()));
                self.name(here, name, made);
                way.push(made);
                continue;
            };
            match &self.nodes[node] {
                Node::Folder(..) => {
                    way.push(node);
                    if make {
                        self.name(here, name, node);
                    }
                }
                Node::Leaf(_, Kind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MOST {
                        return Err(TreeError::Links(path.to_owned()));
                    }
                    if target.is_absolute() {
                        way.truncate(1);
                    }
                    for part in link_names(target).into_iter().rev() {
                        names.push_front(part);
                    }
                }
                Node::Leaf(..) => return Err(TreeError::NoFolder(path.to_owned())),
            }
        }
        Ok(way.last().copied())
    }

    /// A whiteout: what the layers below have under a name goes.
    fn take_away(&mut self, folder: usize, name: &OsStr) {
        let layer = self.layer;
        let Some(entry) = self.entry(folder, name) else {
            return;
        };
        if entry.layer == layer {
            let node = entry.node;
            self.clear(node);
        } else if let Some(entries) = self.entries(folder) {
            entries.remove(name);
        }
    }

    /// An opaque folder: what the layers below have in it goes.
    fn clear(&mut self, folder: usize) {
        let layer = self.layer;
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            if let Some(entries) = self.entries(folder) {
                entries.retain(|_, entry| entry.layer == layer);
                folders.extend(entries.values().map(|entry| entry.node));
            }
        }
    }
}

/// A path's names. A `..` is refused, a leading `/` means nothing: all paths of a layer are the image's.
fn names(path: &Path, whole: &Path) -> Result<VecDeque<OsString>, TreeError> {
    let mut names = VecDeque::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name.len() > NAME_MOST => {
                return Err(TreeError::Name(whole.to_owned()));
            }
            Component::Normal(name) => names.push_back(name.to_owned()),
            Component::ParentDir => return Err(TreeError::Escapes(whole.to_owned())),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

fn link_names(target: &Path) -> Vec<OsString> {
    let parts = target.components();
    parts
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
