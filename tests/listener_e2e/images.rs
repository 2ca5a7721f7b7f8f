//! Images, from a registry of the test's own down to the file system that machines mount: docker's command line pulls
//! them, e2fsprogs says what has come of them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::docker::{Docker, clients};
use crate::registry::{Entry, Registry, digest, gzip, layer};

/// An appliance that makes machines, which this test starts none of, and the registry that its images are in.
pub fn engine(medium: &str, more: &[&str]) -> (Appliance, Registry) {
    let registry = Registry::start();
    let mirror = registry.address.to_string();
    let options = ["--iso", medium, "--registry-mirror", &mirror];
    let appliance = Appliance::with(&[&options, more].concat());
    (appliance, registry)
}

pub fn each(test: impl Fn(&Docker, &Appliance, &Registry)) {
    for program in clients() {
        // Any file will do: nothing boots from it.
        let (appliance, registry) = engine("/bin/true", &["--disk-size", "64m"]);
        test(&Docker::new(program, &appliance), &appliance, &registry);
    }
}

/// The file system of the only image.
pub fn disk(appliance: &Appliance) -> PathBuf {
    let disks = std::fs::read_dir(appliance.state().join("images/disks")).expect("a folder");
    let mut ext4 = disks
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ext4")
        });
    let found = ext4.next().expect("a disk");
    assert!(ext4.next().is_none(), "one disk");
    found
}

pub fn debugfs(disk: &std::path::Path, request: &str) -> String {
    let output = Command::new("/sbin/debugfs")
        .args(["-R", request])
        .arg(disk)
        .output()
        .expect("debugfs (Debian package e2fsprogs)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn layers_become_the_file_system_that_the_specification_says() {
    each(|docker, appliance, registry| {
        let below = layer(&[
            Entry::Folder("etc", 0o755),
            Entry::File("etc/keep", 0o4755, b"kept"),
            Entry::File("etc/gone", 0o644, b"gone"),
            Entry::Folder("cache", 0o700),
            Entry::File("cache/old", 0o644, b"old"),
            Entry::Owned("owned", 1234, 77),
            Entry::Link("link", "/etc/keep"),
            Entry::Hard("hard", "etc/keep"),
            Entry::Link("var", "etc"),
        ]);
        let above = layer(&[
            Entry::File("etc/.wh.gone", 0, b""),
            Entry::File("cache/.wh..wh..opq", 0, b""),
            Entry::File("cache/new", 0o600, b"new"),
            // Through a link of the layer below.
            Entry::File("var/through", 0o644, b"through"),
        ]);
        let config = json!({ "Cmd": ["/x"], "Labels": { "a": "b" } });
        let layers = registry.put("tree", &config, &[gzip(&below), above]);
        let told = docker.ok(&["pull", "tree"]);
        assert!(
            told.contains("Status: Downloaded newer image for tree:latest"),
            "{told}"
        );
        let told = docker.ok(&["pull", "tree"]);
        assert!(
            told.contains("Status: Image is up to date for tree:latest"),
            "{told}"
        );
        assert_eq!(registry.ranges(&layers[0]).len(), 1, "fetched once");
        let disk = disk(appliance);
        let whole = Command::new("/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(&disk)
            .output();
        assert!(
            whole.expect("e2fsck").status.success(),
            "a clean file system"
        );
        for (path, contents) in [
            ("etc/keep", "kept"),
            ("hard", "kept"),
            ("cache/new", "new"),
            ("etc/through", "through"),
            ("owned", "owned"),
        ] {
            assert_eq!(debugfs(&disk, &format!("cat {path}")), contents, "{path}");
        }
        let all = debugfs(&disk, "ls -p /etc") + &debugfs(&disk, "ls -p /cache");
        assert!(
            !all.contains("gone") && !all.contains("old") && !all.contains(".wh."),
            "{all}"
        );
        let stat = |path: &str| debugfs(&disk, &format!("stat {path}"));
        let owned = stat("owned");
        assert!(
            owned.contains("User:  1234   Group:    77") && owned.contains("Mode:  0640"),
            "{owned}"
        );
        assert!(stat("etc/keep").contains("Mode:  04755"));
        assert!(stat("etc/keep").contains("Links: 2"));
        assert!(stat("link").contains("/etc/keep"));
        assert!(
            stat("etc/keep").contains("mtime: 0x6553f100"),
            "{}",
            stat("etc/keep")
        );
        let label = Command::new("/sbin/e2label")
            .arg(&disk)
            .output()
            .expect("e2label");
        assert_eq!(String::from_utf8_lossy(&label.stdout).trim(), "containerfs");
        let about: Value = serde_json::from_str(&docker.ok(&["inspect", "tree"])).expect("JSON");
        assert_eq!(about[0]["Config"]["Labels"]["a"], "b");
        assert!(docker.ok(&["images"]).contains("tree"));
        docker.ok(&["tag", "tree", "other:1"]);
        docker.ok(&["rmi", "tree"]);
        assert!(docker.ok(&["images"]).contains("other"));
        docker.ok(&["rmi", "other:1"]);
        assert!(!disk.exists());
        assert_eq!(docker.ok(&["images", "-q"]), "");
    });
}

#[test]
fn a_pull_that_broke_off_goes_on_where_it_was() {
    each(|docker, appliance, registry| {
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..300_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        let archive = gzip(&layer(&[Entry::File("noise", 0o644, &noise)]));
        let layers = registry.put("broken", &json!({ "Cmd": ["/x"] }), &[archive]);
        registry.cut(&layers[0], 100_000);
        docker.ok(&["pull", "broken"]);
        assert_eq!(registry.ranges(&layers[0]), [Some(0), Some(100_000)]);
        let out = debugfs(&disk(appliance), "stat noise");
        assert!(out.contains("Size: 300000"), "{out}");
    });
}

#[test]
fn what_is_wrong_with_an_image_is_said_and_nothing_is_left_of_it() {
    each(|docker, appliance, registry| {
        let config = json!({ "Cmd": ["/x"] });
        let good = layer(&[Entry::File("a", 0o644, b"a")]);
        let fails = |name: &str, words: &str| {
            let said = docker.fails(&["pull", name], 1);
            assert!(said.contains(words), "{name}: {said}");
            assert_eq!(docker.ok(&["images", "-q"]), "", "{name}");
        };
        let layers = registry.put("false", &config, std::slice::from_ref(&good));
        let mut other = good.clone();
        other[0] = b'b';
        registry.falsify(&layers[0], other.clone());
        fails("false", &format!("has another digest, {}", digest(&other)));
        for (name, entry, words) in [
            (
                "out",
                Entry::File("../out", 0o644, b"x"),
                "leads out of the image",
            ),
            (
                "out2",
                Entry::File("a/../../out", 0o644, b"x"),
                "leads out of the image",
            ),
            (
                "out3",
                Entry::Hard("x", "../../etc/shadow"),
                "leads out of the image",
            ),
            (
                "none",
                Entry::Hard("x", "nothing"),
                "which is no file of the image",
            ),
        ] {
            registry.put(name, &config, &[layer(&[entry])]);
            fails(name, words);
        }
        let link = layer(&[
            Entry::Link("l", "../../tmp"),
            Entry::File("l/out", 0o644, b"x"),
        ]);
        registry.put("through", &config, &[link]);
        fails("through", "leads out of the image");
        let cut = gzip(&good);
        registry.put("cut", &config, &[cut[..cut.len() / 2].to_vec()]);
        fails("cut", "cannot be unpacked");
        let large = vec![0; 65 << 20];
        registry.put(
            "large",
            &config,
            &[gzip(&layer(&[Entry::File("x", 0o644, &large)]))],
        );
        fails("large", "has more than 67108864 bytes of files");
        fails("nothing", "manifest for nothing:latest not found");
        let work = std::fs::read_dir(appliance.state().join("images/work")).expect("a folder");
        assert_eq!(work.count(), 0, "swept");
    });
}

/// How many machines there are.
pub fn machines(appliance: &Appliance) -> usize {
    let machines = std::fs::read_dir(appliance.state().join("machines"));
    let names = machines.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with(".delta-")).count()
}

#[test]
fn a_container_is_made_whole_or_not_at_all() {
    each(|docker, appliance, registry| {
        registry.put(
            "img",
            &json!({ "Cmd": ["/x"], "Env": ["A=1"] }),
            &[layer(&[])],
        );
        docker.ok(&["pull", "img"]);
        let machines = || machines(appliance);
        for (words, said) in [
            (&["-v", "/etc:/etc", "img"][..], "HostConfig.Binds"),
            (&["--pid", "host", "img"], "HostConfig.PidMode"),
            (&["--network", "host", "img"], "NetworkMode"),
            (&["--memory", "8m", "img"], "Minimum memory limit"),
            (&["--device", "/dev/null", "img"], "HostConfig.Devices"),
            (&["--cpus", "4000", "img"], "Range of CPUs"),
            (&["--entrypoint", "", "img"], "no command specified"),
            (&["--ulimit", "nofile=5:2", "img"], "ulimit"),
        ] {
            let all = [&["create"], words].concat();
            let failed = docker.fails(&all, if said == "ulimit" { 125 } else { 1 });
            assert!(failed.contains(said), "{words:?}: {failed}");
        }
        assert_eq!(machines(), 0);
        let id = docker.ok(&[
            "create", "--name", "one", "-e", "B=2", "--label", "k=v", "img", "/y",
        ]);
        let id = id.trim();
        let taken = docker.fails(&["create", "--name", "one", "img"], 1);
        assert!(taken.contains("is already in use by container"), "{taken}");
        assert_eq!(machines(), 1);
        let shown = |format: &str| {
            docker
                .ok(&["inspect", "-f", format, "one"])
                .trim()
                .to_owned()
        };
        assert_eq!(
            shown("{{.State.Status}} {{.Path}} {{.Config.Env}}"),
            "created /y [A=1 B=2]"
        );
        assert_eq!(
            docker
                .ok(&["ps", "-aq", "--filter", "label=k=v", "--no-trunc"])
                .trim(),
            id
        );
        assert_eq!(docker.ok(&["wait", "one"]).trim(), "0");
        let failed = docker.fails(&["kill", "one"], 1);
        assert!(failed.contains("is not running"), "{failed}");
        let used = docker.fails(&["rmi", "img"], 1);
        assert!(used.contains("must remove container first"), "{used}");
        // Its file says all of it, and is for nobody else to read.
        let vmx = appliance
            .state()
            .join(format!("machines/{}/container.vmx", &id[..12]));
        let text = std::fs::read_to_string(&vmx).expect("a .vmx");
        assert!(text.contains("scsi0.virtualDev = \"pvscsi\""), "{text}");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&vmx.metadata().expect("it").permissions());
        assert_eq!(mode & 0o777, 0o600);
        docker.ok(&["rm", "one"]);
        assert_eq!(machines(), 0);
        assert_eq!(docker.ok(&["ps", "-aq"]), "");
    });
}

#[test]
fn the_list_comes_back_from_the_machines_files_alone() {
    for program in clients() {
        let (mut appliance, registry) = engine("/bin/true", &["--disk-size", "64m"]);
        let docker = Docker::new(program, &appliance);
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[layer(&[])]);
        docker.ok(&["pull", "img"]);
        docker.ok(&[
            "create",
            "--name",
            "kept",
            "--label",
            "k=v",
            "-p",
            "127.0.0.1:1:80",
            "img",
        ]);
        let before = docker.ok(&["inspect", "kept"]);
        appliance.kill();
        let state = appliance.state().to_owned();
        std::fs::remove_dir_all(state.join("containers")).expect("the index");
        std::fs::remove_dir_all(state.join("keys")).expect("the keys");
        // Of a create and a removal that were killed in the middle.
        for half in [".new-0123456789ab", ".gone-0123456789ab"] {
            std::fs::create_dir_all(state.join("machines").join(half)).expect("a folder");
        }
        appliance.run();
        assert_eq!(docker.ok(&["inspect", "kept"]), before);
        let left = machines(&appliance);
        assert_eq!(left, 1, "what was left half is swept");
        docker.ok(&["rm", "kept"]);
    }
}

#[test]
fn a_volume_without_a_name_goes_with_its_container_when_that_is_asked_for() {
    each(|docker, _, registry| {
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[layer(&[])]);
        docker.ok(&["pull", "img"]);
        let volumes = || docker.ok(&["volume", "ls", "-q"]).lines().count();
        docker.ok(&[
            "create",
            "--name",
            "one",
            "-v",
            "/data",
            "-v",
            "named:/named",
            "img",
        ]);
        assert_eq!(volumes(), 2);
        let shown = docker.ok(&["inspect", "-f", "{{json .Mounts}}", "one"]);
        assert!(shown.contains("\"Destination\":\"/data\""), "{shown}");
        docker.ok(&["rm", "one"]);
        assert_eq!(volumes(), 2, "nobody has asked for more");
        docker.ok(&["create", "--name", "two", "-v", "/data", "img"]);
        docker.ok(&["rm", "-v", "two"]);
        assert_eq!(volumes(), 2);
        let told = docker.fails(
            &[
                "create",
                "--name",
                "bad",
                "-v",
                "/data",
                "--ulimit",
                "nofile=5:2",
                "img",
            ],
            125,
        );
        assert!(told.contains("ulimit"), "{told}");
        docker.ok(&["volume", "prune", "-f"]);
        assert_eq!(docker.ok(&["volume", "ls", "-q"]), "named\n");
    });
}

#[test]
fn a_volume_is_a_disk_that_its_containers_keep() {
    each(|docker, appliance, registry| {
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[layer(&[])]);
        docker.ok(&["pull", "img"]);
        let words = [
            "volume",
            "create",
            "--label",
            "a=b",
            "--opt",
            "size=100m",
            "own",
        ];
        assert_eq!(docker.ok(&words), "own\n");
        assert_eq!(
            docker.ok(&["volume", "create", "own"]),
            "own\n",
            "there already"
        );
        assert_eq!(
            docker.ok(&["volume", "ls", "-q", "--filter", "label=a"]),
            "own\n"
        );
        let disk = appliance.state().join("volumes/own/disk.ext4");
        assert_eq!(disk.metadata().expect("its disk").len(), 100 << 20);
        for (words, said) in [
            (&["--driver", "nfs", "x1"][..], "plugin"),
            (
                &["--opt", "device=/dev/sda", "x1"],
                "DriverOpts.device is not done",
            ),
            (&["--opt", "size=much", "x1"], "DriverOpts.size"),
            (&["../x"], "includes invalid characters"),
        ] {
            let failed = docker.fails(&[&["volume", "create"], words].concat(), 1);
            assert!(failed.contains(said), "{words:?}: {failed}");
        }
        docker.ok(&[
            "create",
            "--name",
            "has",
            "-v",
            "own:/own",
            "--mount",
            "type=volume,source=auto,target=/auto,readonly",
            "img",
        ]);
        assert_eq!(docker.ok(&["volume", "ls", "-q"]), "auto\nown\n");
        let format = "{{range .Mounts}}{{.Name}} {{.Destination}} {{.RW}};{{end}}";
        let shown = docker.ok(&["inspect", "-f", format, "has"]);
        assert_eq!(shown, "own /own true;auto /auto false;\n");
        assert_eq!(
            docker.ok(&[
                "ps",
                "-a",
                "--filter",
                "volume=own",
                "--format",
                "{{.Names}}"
            ]),
            "has\n"
        );
        let vmx = std::fs::read_dir(appliance.state().join("machines")).expect("a folder");
        let vmx = vmx.map(|entry| entry.expect("an entry").path().join("container.vmx"));
        let text: String = vmx
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect();
        assert!(
            text.contains("scsi0:2.fileName") && text.contains("label"),
            "{text}"
        );
        let used = docker.fails(&["volume", "rm", "own"], 1);
        assert!(used.contains("volume is in use"), "{used}");
        docker.ok(&["rm", "has"]);
        docker.ok(&["volume", "rm", "own"]);
        assert!(!disk.exists());
        let gone = docker.fails(&["volume", "rm", "own"], 1);
        assert!(gone.to_lowercase().contains("no such volume"), "{gone}");
        docker.ok(&["volume", "rm", "auto"]);
        assert_eq!(docker.ok(&["volume", "ls", "-q"]), "");
    });
}

#[test]
fn an_appliance_without_machines_says_how_to_have_some() {
    for program in clients() {
        let appliance = Appliance::start();
        let docker = Docker::new(program, &appliance);
        let said = docker.fails(&["create", "x"], 1);
        assert!(said.contains("vch listen --iso"), "{said}");
    }
}

/// What stands on the page of options: name, state, what it is tried with.
fn options() -> Vec<(String, String, Option<String>)> {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/listener/machines/options.md"
    );
    let page = std::fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `--"));
    rows.map(|row| {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let code = |text: &str| text.trim_matches('`').to_owned();
        let tried = columns.get(4).filter(|text| !text.is_empty());
        (
            code(columns[1]),
            columns[2].to_owned(),
            tried.map(|text| code(text)),
        )
    })
    .collect()
}

#[test]
fn every_option_of_docker_s_does_what_the_page_says() {
    let page = options();
    each(|docker, _, registry| {
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[layer(&[])]);
        docker.ok(&["pull", "img"]);
        docker.ok(&["network", "create", "shared"]);
        let help = docker.ok(&["run", "--help"]);
        let known: Vec<&str> = help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.len() > 2)
            .collect();
        let rows = help.lines().filter_map(|line| {
            let line = line.trim_start();
            line.starts_with('-')
                .then(|| line.split_whitespace().find(|word| word.starts_with("--")))?
        });
        for option in rows {
            assert!(
                page.iter().any(|(name, ..)| name == option),
                "{option} is not on the page"
            );
        }
        for (name, state, tried) in &page {
            let Some(tried) = tried.as_ref().filter(|_| known.contains(&name.as_str())) else {
                continue;
            };
            let words = Command::new("sh")
                .args(["-c", &format!("printf '%s\\n' {tried}")])
                .output()
                .expect("sh");
            let words = String::from_utf8(words.stdout).expect("text");
            let words: Vec<&str> = ["create"]
                .into_iter()
                .chain(words.lines())
                .chain(["img"])
                .collect();
            let output = docker.run(&words);
            let said = String::from_utf8_lossy(&output.stderr);
            match state.as_str() {
                "works" => assert!(output.status.success(), "{tried}: {said}"),
                "refused" => {
                    assert!(!output.status.success(), "{tried} is accepted");
                    // Some the client refuses itself.
                    assert!(!said.is_empty(), "{tried}: no reason");
                }
                other => panic!("{name}: {other:?} is no state"),
            }
        }
    });
}
