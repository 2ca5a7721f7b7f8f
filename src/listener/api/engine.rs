//! What docker's clients ask of the engine as a whole, and what an appliance that is given its VMs cannot do: each
//! refusal says so and what to do instead.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{any, get};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Api;
use super::error::ApiError;
use super::shape;
use super::shape::{API_VERSION, MIN_API_VERSION, rfc3339};
use crate::image::platform::architecture;
use crate::listener::clock::now_ns;
use crate::listener::container::Snapshot;
use crate::listener::store::state::State as Life;
use crate::listener::vm::Shared;

/// Calls of docker's that are refused, and why.
const REFUSED: [(&str, &str); 4] = [
    ("/commit", IMAGES_ELSEWHERE),
    ("/build", IMAGES_ELSEWHERE),
    ("/images/search", IMAGES_ELSEWHERE),
    // What is asked of a plugin by its name is not there, which docker's inspect wants to hear.
    ("/plugins/pull", "no plugin is known here"),
];
/// Calls that are a swarm's.
const OF_SWARM: [&str; 6] = [
    "/swarm",
    "/nodes",
    "/services",
    "/tasks",
    "/secrets",
    "/configs",
];
/// As docker begins it; its clients take the status for an answer.
const NO_SWARM: &str =
    "This node is not a swarm manager, and cannot be one: each container is a VM of this host";
/// How long a client may go on sending what nobody wants.
const DRAIN_MOST: Duration = Duration::from_secs(10);
const IMAGES_ELSEWHERE: &str = "images are made elsewhere and pulled from a registry";

/// All of it.
pub(super) fn routes() -> Router<std::sync::Arc<Shared>> {
    let routes = Router::new()
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/plugins", get(|| async { Json(json!([])) }))
        .route("/system/df", get(super::usage::disk_usage));
    let no_swarm = || async { ApiError::unavailable(NO_SWARM) };
    let routes = OF_SWARM.iter().fold(routes, |routes, path| {
        let below = format!("{path}/{{*rest}}");
        routes
            .route(path, any(no_swarm))
            .route(&below, any(no_swarm))
    });
    REFUSED.iter().fold(routes, |routes, (path, reason)| {
        let refusal = format!("not possible: {reason}");
        routes.route(path, any(move |request| refuse(request, refusal)))
    })
}

/// What a client sends without saying how much (a build's files, an archive) is taken and dropped first, for it to
/// see the answer.
async fn refuse(request: Request, refusal: String) -> ApiError {
    let mut body = request.into_body();
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever takes longer may do without the reason.
    let _ = timeout(DRAIN_MOST, drained).await;
    ApiError::not_implemented(refusal)
}

async fn version() -> Json<Value> {
    let own = env!("CARGO_PKG_VERSION");
    let mut all = json!({
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": architecture(),
        "KernelVersion": kernel(),
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
    });
    // Of an engine's only part docker's clients want each detail as a text.
    let mut details = all.clone();
    details["Experimental"] = "false".into();
    all["Platform"] = json!({ "Name": "vch" });
    all["Version"] = own.into();
    all["Components"] = json!([{ "Name": "Engine", "Version": own, "Details": details }]);
    Json(all)
}

async fn info(State(shared): Api) -> Json<Value> {
    let containers = shared.registry.all();
    let snapshots: Vec<Snapshot> = containers.iter().map(|c| c.snapshot()).collect();
    let count = |wanted: fn(Life) -> bool| {
        let states = snapshots.iter().map(|s| s.record.state);
        states.filter(|state| wanted(*state)).count()
    };
    let paused = snapshots
        .iter()
        .filter(|s| shape::state_word(s) == "paused")
        .count();
    let images = shared.machines.as_deref();
    let where_made = match images {
        Some(_) => "a virtual machine of its own, made here or elsewhere",
        None => "a virtual machine of its own, made elsewhere",
    };
    let images = images.map_or(0, |machines| machines.images.all().len());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let memory = memory.totalram.saturating_mul(u64::from(memory.mem_unit));
    Json(json!({
        "ID": "",
        "Name": uname.nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": snapshots.len(),
        "ContainersRunning": count(|state| state == Life::Running) - paused,
        "ContainersPaused": paused,
        "ContainersStopped": count(|state| state != Life::Running),
        "Images": images,
        "Driver": "vm",
        "DriverStatus": [["Each container", where_made]],
        "LoggingDriver": "json-file",
        "CgroupDriver": "none",
        "Plugins": { "Volume": ["local"], "Network": [], "Authorization": null, "Log": ["json-file"] },
        "OperatingSystem": concat!("vch ", env!("CARGO_PKG_VERSION")),
        "OSType": std::env::consts::OS,
        "Architecture": std::env::consts::ARCH,
        "KernelVersion": kernel(),
        "NCPU": processors,
        "MemTotal": memory,
        "SystemTime": rfc3339(now_ns()),
        "DockerRootDir": shared.registry.dir(),
        "Labels": [],
        "Debug": false,
        "ExperimentalBuild": false,
        "LiveRestoreEnabled": true,
        "Swarm": { "LocalNodeState": "inactive" },
        "Warnings": null,
    }))
}

fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}
