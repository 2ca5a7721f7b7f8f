use proptest::prelude::*;

use super::*;

fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

fn file(tree: &mut Tree, path: &str, contents: u64) {
    let path = Path::new(path);
    if !tree.whiteout(path).expect("a path that can be") {
        let done = tree.leaf(path, meta(0o644), Kind::File(contents));
        done.expect("a path that can be");
    }
}

/// All paths with what is there: contents, `/` or `-> target`.
fn listed(tree: &Tree) -> Vec<String> {
    fn list(tree: &Tree, node: &Node, path: &str, out: &mut Vec<String>) {
        let Node::Folder(_, entries) = node else {
            return;
        };
        for (name, entry) in entries {
            let path = format!("{path}/{}", name.to_string_lossy());
            let node = tree.node(entry.node).expect("a node");
            out.push(match node {
                Node::Folder(..) => format!("{path}/"),
                Node::Leaf(_, Kind::File(contents)) => format!("{path} {contents}"),
                Node::Leaf(_, kind) => format!("{path} {kind:?}"),
            });
            list(tree, node, &path, out);
        }
    }
    let mut out = Vec::new();
    list(tree, tree.root(), "", &mut out);
    out
}

#[test]
fn a_layer_covers_and_takes_away_what_is_below() {
    let mut tree = Tree::default();
    for (path, contents) in [("etc/a", 1), ("etc/b", 2), ("var/x/y", 3), ("var/z", 4)] {
        file(&mut tree, path, contents);
    }
    tree.next_layer();
    file(&mut tree, "etc/a", 5);
    file(&mut tree, "etc/.wh.b", 0);
    file(&mut tree, "var/new", 6);
    file(&mut tree, "var/.wh..wh..opq", 0);
    assert_eq!(
        listed(&tree),
        ["/etc/", "/etc/a 5", "/var/", "/var/new 6"].map(str::to_owned)
    );
}

#[test]
fn a_whiteout_spares_its_own_layer_whatever_comes_first() {
    for early in [true, false] {
        let mut tree = Tree::default();
        file(&mut tree, "d/old", 1);
        tree.next_layer();
        if early {
            file(&mut tree, ".wh.d", 0);
        }
        file(&mut tree, "d/new", 2);
        if !early {
            // The folder is of this layer, too: something of it is in there.
            file(&mut tree, ".wh.d", 0);
        }
        assert_eq!(listed(&tree), ["/d/", "/d/new 2"].map(str::to_owned));
    }
}

#[test]
fn a_link_on_the_way_is_followed_within_the_image() {
    let mut tree = Tree::default();
    let link = |tree: &mut Tree, path: &str, target: &str| {
        let kind = Kind::Symlink(target.into());
        tree.leaf(Path::new(path), meta(0o777), kind)
            .expect("a path");
    };
    tree.folder(Path::new("usr/lib"), meta(0o755))
        .expect("a path");
    link(&mut tree, "lib", "usr/lib");
    link(&mut tree, "usr/abs", "/usr/lib");
    link(&mut tree, "usr/up", "../lib");
    file(&mut tree, "lib/a", 1);
    file(&mut tree, "usr/abs/b", 2);
    file(&mut tree, "usr/up/c", 3);
    let all = listed(&tree);
    for path in ["/usr/lib/a 1", "/usr/lib/b 2", "/usr/lib/c 3"] {
        assert!(all.contains(&path.to_owned()), "{all:?}");
    }
    // A name that is a link itself is replaced, and not followed.
    file(&mut tree, "lib", 9);
    assert!(listed(&tree).contains(&"/lib 9".to_owned()));
}

#[test]
fn what_leads_out_is_refused() {
    let mut tree = Tree::default();
    let kind = || Kind::File(1);
    let escapes = |result| assert!(matches!(result, Err(TreeError::Escapes(_))), "{result:?}");
    escapes(tree.leaf(Path::new("../x"), meta(0), kind()));
    escapes(tree.leaf(Path::new("a/../../x"), meta(0), kind()));
    escapes(tree.hard_link(Path::new("x"), Path::new("../etc/shadow")));
    let out = Kind::Symlink("../../etc".into());
    tree.leaf(Path::new("out"), meta(0), out).expect("a link");
    escapes(tree.leaf(Path::new("out/x"), meta(0), kind()));
    for (path, target) in [("l1", "l2"), ("l2", "l1")] {
        let kind = Kind::Symlink(target.into());
        tree.leaf(Path::new(path), meta(0), kind).expect("a link");
    }
    let round = tree.leaf(Path::new("l1/x"), meta(0), kind());
    assert!(matches!(round, Err(TreeError::Links(_))), "{round:?}");
    file(&mut tree, "f", 1);
    let through = tree.leaf(Path::new("f/x"), meta(0), kind());
    assert!(
        matches!(through, Err(TreeError::NoFolder(_))),
        "{through:?}"
    );
}

#[test]
fn hard_links_are_one_node() {
    let mut tree = Tree::default();
    file(&mut tree, "a", 1);
    tree.hard_link(Path::new("d/b"), Path::new("/a"))
        .expect("a link");
    let node = |folder: &Node, name: &str| match folder {
        Node::Folder(_, entries) => entries[OsStr::new(name)].node,
        Node::Leaf(..) => panic!("a leaf"),
    };
    let d = tree.node(node(tree.root(), "d")).expect("a folder");
    assert_eq!(node(tree.root(), "a"), node(d, "b"));
    let none = tree.hard_link(Path::new("x"), Path::new("d"));
    assert!(matches!(none, Err(TreeError::NoTarget { .. })), "{none:?}");
}

proptest! {
    /// Whatever a layer names: nothing is outside, and what can be named is found again.
    #[test]
    fn any_layer_stays_inside(
        entries in proptest::collection::vec(
            ("(/?[abc.]{1,3}){1,4}", "(/?[abc.]{1,3}){1,3}", 0..5_u8), 0..60)
    ) {
        let mut tree = Tree::default();
        for (path, target, what) in entries {
            let (path, target) = (Path::new(&path), Path::new(&target));
            // Refused or not, it must return.
            let _ = match what {
                0 => tree.folder(path, meta(0o755)),
                1 => tree.leaf(path, meta(0o644), Kind::File(1)),
                2 => tree.leaf(path, meta(0o777), Kind::Symlink(target.to_owned())),
                3 => tree.hard_link(path, target),
                _ => { tree.next_layer(); Ok(()) }
            };
        }
        for path in listed(&tree) {
            let (path, _) = path.split_once(' ').unwrap_or((&path, ""));
            prop_assert!(!path.split('/').any(|part| part == ".."), "{path}");
        }
    }
}
