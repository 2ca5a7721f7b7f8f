//! Docker's client for Python, by its own integration tests (`tests/docker-py.md` says which, and why not the others).

use std::process::{Command, Stdio};
use std::time::Duration;

use super::engine::Engine;
use super::repository;
use crate::docker::ended_within;

/// The tests have limits of their own, of some seconds: they are not held to them, machines on a busy host need longer.
const LIMIT: Duration = Duration::from_secs(1500);

const FILES: [&str; 7] = [
    "api_exec_test.py",
    "api_healthcheck_test.py",
    "api_network_test.py",
    "api_volume_test.py",
    "models_networks_test.py",
    "models_volumes_test.py",
    "errors_test.py",
];
const MORE: [&str; 4] = [
    "api_container_test.py",
    "api_client_test.py",
    "client_test.py",
    "regression_test.py",
];
/// Runs them all.
const ALL: &str = "TETHER_DOCKER_PY";

/// What stands between backquotes at the begin of the page's rows, and in its list of classes.
fn page() -> (Vec<String>, Vec<String>) {
    let page = std::fs::read_to_string(repository("tests/docker-py.md")).expect("the page");
    let quoted = |text: &str| -> Vec<String> {
        let words = text.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let excluded: Vec<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect();
    let (_, classes) = page.split_once("## Classes of").expect("the classes");
    let classes = classes.split("##").next().unwrap_or_default();
    let classes = quoted(classes)
        .into_iter()
        .filter(|name| !name.contains('.'));
    (excluded, classes.collect())
}

#[test]
fn the_client_s_own_tests_pass() {
    let python = repository("build/docker-py");
    if !python.join("version").exists() {
        // The script has said why.
        let left_out = python.join("left-out").exists();
        let needed = std::env::var_os("TETHER_REQUIRE_TOOLS").is_some() && !left_out;
        assert!(!needed, "tests/docker-py.sh fetches the client");
        eprintln!("docker's client for Python is not there: its tests are left out");
        return;
    }
    let engine = Engine::start(&["--disk-size", "128m"]);
    engine.registry.put_user_land("alpine");
    for image in ["alpine", "busybox"] {
        engine.docker.ok(&["pull", "-q", image]);
    }
    engine.docker.ok(&["tag", "alpine", "alpine:3.10"]);
    let (excluded, classes) = page();
    assert!(excluded.len() > 20 && classes.len() == 12, "{classes:?}");
    let mut files: Vec<String> = FILES.map(str::to_owned).to_vec();
    if std::env::var_os(ALL).is_some() {
        files.extend(MORE.map(str::to_owned));
    } else {
        files.extend(
            classes
                .iter()
                .map(|class| format!("api_container_test.py::{class}")),
        );
    }
    let at = |name: &String| format!("tests/integration/{name}");
    let mut pytest = Command::new(python.join("venv/bin/pytest"));
    pytest
        .current_dir(&python)
        .args([
            "-q",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
        ])
        .args(["--rootdir", "."])
        .args(files.iter().map(at));
    for test in &excluded {
        pytest.arg("--deselect").arg(at(test));
    }
    let docker = format!("unix://{}", engine.appliance.socket().display());
    pytest
        .env("DOCKER_HOST", docker)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdio::piped());
    let child = pytest.spawn().expect("pytest");
    let output = ended_within(LIMIT, child, &["pytest"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let passed = said.lines().last().unwrap_or_default();
    eprintln!("docker for Python: {passed}");
    // A page that leaves everything out is none.
    assert!(passed.contains(" passed"), "{said}");
}
