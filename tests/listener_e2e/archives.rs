//! `docker save` and `docker load`, with skopeo and umoci as second opinions on what an archive and an image are.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::docker::{Docker, clients, ended};
use crate::images::{debugfs, disk, each, engine};
use crate::registry::{Entry, Registry, gzip, layer};

/// Whether it is there; where tools are required it must be.
fn has(program: &str) -> bool {
    let there = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    assert!(
        there || std::env::var_os("TETHER_REQUIRE_TOOLS").is_none(),
        "no {program}"
    );
    there
}

fn ok(program: &str, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(words)
        .output()
        .expect("it is there");
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn put(registry: &Registry) -> Vec<String> {
    let below = layer(&[
        Entry::Folder("etc", 0o755),
        Entry::File("etc/keep", 0o4755, b"kept"),
        Entry::File("etc/gone", 0o644, b"gone"),
        Entry::Folder("cache", 0o700),
        Entry::File("cache/old", 0o644, b"old"),
        Entry::Link("link", "/etc/keep"),
        Entry::Hard("hard", "etc/keep"),
    ]);
    let above = layer(&[
        Entry::File("etc/.wh.gone", 0, b""),
        Entry::File("cache/.wh..wh..opq", 0, b""),
        Entry::File("cache/new", 0o600, b"new"),
    ]);
    let config = json!({ "Cmd": ["/x"], "Labels": { "a": "b" } });
    registry.put("tree", &config, &[gzip(&below), above])
}

#[test]
fn an_image_that_is_saved_is_loaded_elsewhere_as_it_was() {
    for program in clients() {
        let (appliance, registry) = engine("/bin/true", &["--disk-size", "64m"]);
        let docker = Docker::new(program.clone(), &appliance);
        put(&registry);
        registry.put(
            "second",
            &json!({ "Cmd": ["/y"] }),
            &[layer(&[Entry::File("y", 0o755, b"y")])],
        );
        docker.ok(&["pull", "-q", "tree"]);
        docker.ok(&["pull", "-q", "second"]);
        docker.ok(&["tag", "tree", "tree:other"]);
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("both.tar");
        let path = archive.to_str().expect("UTF-8");
        docker.ok(&["save", "-o", path, "tree", "second:latest"]);

        let elsewhere = Appliance::with(&["--iso", "/bin/true", "--disk-size", "64m"]);
        let other = Docker::new(program, &elsewhere);
        let told = other.ok(&["load", "-i", path]);
        for name in ["tree:latest", "tree:other", "second:latest"] {
            assert!(told.contains(&format!("Loaded image: {name}\n")), "{told}");
        }
        let about = |docker: &Docker, name: &str| {
            let text = docker.ok(&["inspect", name]);
            let mut about: Value = serde_json::from_str(&text).expect("JSON");
            about[0]["RepoDigests"].take();
            about
        };
        for name in ["tree", "second"] {
            assert_eq!(about(&other, name), about(&docker, name));
        }
        other.ok(&["rmi", "second"]);
        let disk = disk(&elsewhere);
        assert_eq!(debugfs(&disk, "cat hard"), "kept");
        assert!(!debugfs(&disk, "ls /etc").contains("gone"));

        // Of one that has no name any more, through a pipe.
        let id = other.ok(&["images", "-q", "--no-trunc", "tree"]);
        let id = id.lines().next().expect("an ID");
        let saved = other.run(&["save", id]).stdout;
        other.ok(&["rmi", "-f", id]);
        let mut load = other.spawn(&["load"]);
        let mut stdin = load.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &saved));
        let loaded = ended(load, &["load"]);
        writer.join().expect("a thread").expect("written");
        let told = String::from_utf8_lossy(&loaded.stdout);
        assert!(told.contains(&format!("Loaded image ID: {id}")), "{told}");
        other.ok(&["tag", id, "again"]);
        other.ok(&["create", "again"]);
    }
}

#[test]
fn other_tools_read_what_is_saved_and_what_they_save_is_loaded() {
    if !has("skopeo") {
        return;
    }
    each(|docker, appliance, registry| {
        put(registry);
        docker.ok(&["pull", "-q", "tree"]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        docker.ok(&["save", "-o", &file("ours"), "tree"]);
        for form in ["docker-archive", "oci-archive"] {
            let about = ok("skopeo", &["inspect", &format!("{form}:{}", file("ours"))]);
            let about: Value = serde_json::from_str(&about).expect("JSON");
            assert_eq!(about["Labels"]["a"], "b", "{form}");
            let to = format!("{form}:{}:theirs:{form}", file(form));
            ok(
                "skopeo",
                &["copy", "-q", &format!("{form}:{}", file("ours")), &to],
            );
        }
        docker.ok(&["rmi", "tree"]);
        for form in ["docker-archive", "oci-archive"] {
            let told = docker.ok(&["load", "-q", "-i", &file(form)]);
            assert!(told.contains("Loaded image"), "{told}");
            assert_eq!(debugfs(&disk(appliance), "cat cache/new"), "new");
            let all = docker.ok(&["images", "-q", "--no-trunc"]);
            docker.ok(&["rmi", "-f", all.trim()]);
        }
    });
}

#[test]
fn what_cannot_be_saved_or_loaded_is_told_and_leaves_nothing() {
    each(|docker, appliance, registry| {
        put(registry);
        docker.ok(&["pull", "-q", "tree"]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        docker.ok(&["save", "-o", &file("good"), "tree"]);
        docker.ok(&["rmi", "tree"]);
        let good = std::fs::read(file("good")).expect("an archive");
        let fails = |bytes: &[u8], words: &str| {
            std::fs::write(file("bad"), bytes).expect("written");
            let told = docker.fails(&["load", "-i", &file("bad")], 1);
            assert!(told.contains(words), "{words}: {told}");
            assert_eq!(docker.ok(&["images", "-aq"]), "");
            let work = std::fs::read_dir(appliance.state().join("images/work")).expect("a folder");
            assert_eq!(work.count(), 0, "swept");
        };
        fails(b"no archive", "archive: ");
        fails(&good[..good.len() / 2], "archive: ");
        let mut changed = good.clone();
        let at = good
            .windows(4)
            .position(|four| four == b"\"a\":")
            .expect("the label");
        changed[at + 1] = b'z';
        fails(&changed, "has another digest");
        let old = |text: &str, more: &str| {
            let mut archive = tar::Builder::new(Vec::new());
            for (path, text) in [("manifest.json", text), ("c", more)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                archive
                    .append_data(&mut header, path, text.as_bytes())
                    .expect("memory");
            }
            archive.into_inner().expect("memory")
        };
        let manifest = r#"[{"Config":"c","RepoTags":["x:1"],"Layers":[]}]"#;
        fails(
            &old(manifest, r#"{"os":"plan9","architecture":"amd64"}"#),
            "no matching manifest",
        );
        let layers = r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:0"]}}"#;
        fails(
            &old(manifest, layers),
            "1 layers are told of and 0 are there",
        );
        fails(&old("[{}]", ""), "manifest.json: ");
        let out = r#"[{"Config":"../c","RepoTags":[],"Layers":[]}]"#;
        fails(&old(out, ""), "leads out of it");
        let said = docker.fails(&["save", "-o", &file("x"), "nothing"], 1);
        assert!(said.contains("No such image: nothing"), "{said}");
    });
}

/// A line for each path below a folder: kind, permissions, owner, time, contents or target. A link's time and the bits
/// above the permissions are not brought out of a file system by debugfs.
fn listing(root: &Path) -> Vec<String> {
    let find = "find . -mindepth 1 -name lost+found -prune -o -type l -printf '%P %U:%G %l\\n' \
        -o -type d -printf '%P %m %U:%G %T@\\n' \
        -o -type f -printf '%P %m %U:%G %T@ ' -exec sh -c 'sha256sum < \"$1\"' - {} \\;";
    let shell = Command::new("sh")
        .args(["-c", find])
        .current_dir(root)
        .output()
        .expect("find");
    assert!(shell.status.success(), "{shell:?}");
    let text = String::from_utf8_lossy(&shell.stdout).replace(" 4755 ", " 755 ");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_file_system_is_the_one_that_another_tool_unpacks() {
    if !has("umoci") || !has("skopeo") || !rustix::process::getuid().is_root() {
        return;
    }
    each(|docker, appliance, registry| {
        put(registry);
        docker.ok(&["pull", "-q", "tree"]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let from = format!("docker://{}/library/tree", registry.address);
        let layout = format!("oci:{}:tree", file("layout"));
        ok(
            "skopeo",
            &["copy", "-q", "--src-tls-verify=false", &from, &layout],
        );
        ok(
            "umoci",
            &[
                "unpack",
                "--image",
                &format!("{}:tree", file("layout")),
                &file("bundle"),
            ],
        );
        std::fs::create_dir(file("ours")).expect("a folder");
        debugfs(&disk(appliance), &format!("rdump / {}", file("ours")));
        let theirs = listing(&folder.path().join("bundle/rootfs"));
        let ours = listing(&folder.path().join("ours"));
        assert!(theirs.len() > 5, "{theirs:?}");
        assert_eq!(ours, theirs);
    });
}
