//! `bollard`, docker's client from Rust: each answer has to fit the types that the Engine API's description makes, with a
//! real machine behind them.

use std::collections::HashMap;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ExecConfig, HealthConfig, HostConfig, VolumeCreateRequest,
};
use bollard::query_parameters as query;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::engine::Engine;

fn shell(script: &str) -> Option<Vec<String>> {
    Some(["sh", "-c", script].map(str::to_owned).to_vec())
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split(' ').map(str::to_owned).collect())
}

async fn text(output: impl futures_util::Stream<Item = Result<LogOutput, Error>>) -> String {
    let pieces: Vec<LogOutput> = output.try_collect().await.expect("output");
    pieces.iter().map(ToString::to_string).collect()
}

async fn images(docker: &Docker) {
    let pull = query::CreateImageOptionsBuilder::default()
        .from_image("busybox")
        .tag("latest")
        .build();
    let told: Vec<_> = docker
        .create_image(Some(pull), None, None)
        .try_collect()
        .await
        .expect("a pull");
    let last = told
        .last()
        .and_then(|info| info.status.clone())
        .unwrap_or_default();
    assert!(last.contains("Downloaded newer image"), "{last}");
    let all = docker
        .list_images(None::<query::ListImagesOptions>)
        .await
        .expect("a list");
    assert_eq!(all[0].repo_tags, ["busybox:latest"]);
    let about = docker.inspect_image("busybox").await.expect("it");
    assert_eq!(about.id.as_ref(), Some(&all[0].id));
    docker.image_history("busybox").await.expect("its history");
    let tag = query::TagImageOptionsBuilder::default()
        .repo("other")
        .tag("1")
        .build();
    docker
        .tag_image("busybox", Some(tag))
        .await
        .expect("a name");
    let saved: Vec<_> = docker
        .export_image("other:1")
        .try_collect()
        .await
        .expect("an archive");
    let removed = docker
        .remove_image("other:1", None::<query::RemoveImageOptions>, None)
        .await;
    assert_eq!(
        removed.expect("removed")[0].untagged.as_deref(),
        Some("other:1")
    );
    let load = query::ImportImageOptionsBuilder::default().build();
    let body = bollard::body_full(saved.concat().into());
    let told: Vec<_> = docker
        .import_image(load, body, None)
        .try_collect()
        .await
        .expect("loaded");
    let told = format!("{told:?}");
    assert!(told.contains("Loaded image: other:1"), "{told}");
}

async fn processes(docker: &Docker, id: &str) {
    let exec = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: shell("echo out; echo err >&2; exit 3"),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(id, exec).await.expect("an exec").id;
    let StartExecResults::Attached { output, .. } =
        docker.start_exec(&exec, None).await.expect("it")
    else {
        panic!("not attached");
    };
    let mut said: Vec<String> = text(output).await.lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, ["err", "out"]);
    let about = docker.inspect_exec(&exec).await.expect("it");
    assert_eq!((about.exit_code, about.running), (Some(3), Some(false)));
    let top = docker
        .top_processes(id, None::<query::TopOptions>)
        .await
        .expect("processes");
    assert!(top.processes.is_some_and(|rows| !rows.is_empty()));
    let stats = query::StatsOptionsBuilder::default().stream(false).build();
    let figures = docker
        .stats(id, Some(stats))
        .next()
        .await
        .expect("one")
        .expect("good");
    let memory = figures.memory_stats.and_then(|memory| memory.usage);
    assert!(memory.is_some_and(|bytes| bytes > 100_000), "{memory:?}");
    assert!(figures.networks.is_some_and(|all| all.contains_key("eth0")));
    docker.pause_container(id).await.expect("paused");
    docker.unpause_container(id).await.expect("goes on");
}

async fn files(docker: &Docker, id: &str) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    archive
        .append_data(&mut header, "put", &b"bytes"[..])
        .expect("memory");
    let archive = archive.into_inner().expect("memory");
    let to = query::UploadToContainerOptionsBuilder::default()
        .path("/tmp")
        .build();
    let body = bollard::body_full(archive.into());
    docker
        .upload_to_container(id, Some(to), body)
        .await
        .expect("put");
    let about = query::ContainerArchiveInfoOptionsBuilder::default()
        .path("/tmp/put")
        .build();
    docker
        .get_container_archive_info(id, Some(about))
        .await
        .expect("it is there");
    let from = query::DownloadFromContainerOptionsBuilder::default()
        .path("/tmp/put")
        .build();
    let pieces: Vec<_> = docker
        .download_from_container(id, Some(from))
        .try_collect()
        .await
        .expect("got");
    let pieces = pieces.concat();
    assert!(pieces.windows(5).any(|five| five == b"bytes"));
    let from = query::DownloadFromContainerOptionsBuilder::default()
        .path("/nothing")
        .build();
    let failed = docker
        .download_from_container(id, Some(from))
        .try_collect::<Vec<_>>()
        .await;
    let missing = matches!(
        failed,
        Err(Error::DockerResponseServerError {
            status_code: 404,
            ..
        })
    );
    assert!(missing, "{failed:?}");
}

async fn a_life(docker: &Docker) {
    let body = ContainerCreateBody {
        image: Some("busybox".into()),
        cmd: shell("read line; echo got:$line; while :; do sleep 1; done"),
        open_stdin: Some(true),
        stop_timeout: Some(0),
        labels: Some(HashMap::from([("a".into(), "b".into())])),
        healthcheck: Some(HealthConfig {
            test: words("CMD true"),
            interval: Some(500_000_000),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            memory: Some(128 << 20),
            binds: Some(vec!["kept:/kept".into()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let name = query::CreateContainerOptionsBuilder::default()
        .name("one")
        .build();
    let id = docker
        .create_container(Some(name), body)
        .await
        .expect("made")
        .id;
    let attach = query::AttachContainerOptionsBuilder::default()
        .stdin(true)
        .stdout(true)
        .stream(true)
        .build();
    let mut attached = docker
        .attach_container(&id, Some(attach))
        .await
        .expect("attached");
    docker
        .start_container(&id, None::<query::StartContainerOptions>)
        .await
        .expect("started");
    attached.input.write_all(b"typed\n").await.expect("typed");
    let said = attached.output.next().await.expect("a word").expect("good");
    assert_eq!(said.to_string(), "got:typed\n");
    processes(docker, &id).await;
    files(docker, &id).await;
    let logs = query::LogsOptionsBuilder::default()
        .stdout(true)
        .timestamps(true)
        .build();
    assert!(
        text(docker.logs("one", Some(logs)))
            .await
            .ends_with("got:typed\n")
    );
    let rename = query::RenameContainerOptionsBuilder::default()
        .name("two")
        .build();
    docker
        .rename_container("one", rename)
        .await
        .expect("renamed");
    let state = loop {
        let about = docker
            .inspect_container("two", None::<query::InspectContainerOptions>)
            .await;
        let state = about.expect("it").state.expect("a state");
        let health = state
            .health
            .as_ref()
            .and_then(|health| health.status)
            .expect("a health");
        if health.to_string() == "healthy" {
            break state;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert_eq!(state.running, Some(true));
    let filters = HashMap::from([("label".to_owned(), vec!["a=b".to_owned()])]);
    let list = query::ListContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let listed = docker.list_containers(Some(list)).await.expect("a list");
    assert_eq!(listed[0].names.as_deref(), Some(&["/two".to_owned()][..]));
    docker
        .stop_container("two", None::<query::StopContainerOptions>)
        .await
        .expect("stopped");
    let ended = docker
        .wait_container("two", None::<query::WaitContainerOptions>)
        .next()
        .await;
    let ended = ended.expect("an answer");
    let code = matches!(
        ended,
        Err(Error::DockerContainerWaitError {
            code: 137 | 143,
            ..
        })
    );
    assert!(code, "{ended:?}");
    let remove = query::RemoveContainerOptionsBuilder::default()
        .v(true)
        .build();
    docker
        .remove_container("two", Some(remove))
        .await
        .expect("removed");
}

async fn around(docker: &Docker, since: u64) {
    let volume = VolumeCreateRequest {
        name: Some("made".into()),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(volume).await.expect("a volume");
    let all = docker
        .list_volumes(None::<query::ListVolumesOptions>)
        .await
        .expect("a list");
    assert_eq!(all.volumes.map(|all| all.len()), Some(2));
    docker.inspect_volume("made").await.expect("it");
    for name in ["made", "kept"] {
        docker
            .remove_volume(name, None::<query::RemoveVolumeOptions>)
            .await
            .expect("removed");
    }
    docker.info().await.expect("about it");
    docker.version().await.expect("its version");
    docker
        .df(None::<query::DataUsageOptions>)
        .await
        .expect("what it takes");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("now");
    let until = (now.as_secs() + 1).to_string();
    let events = query::EventsOptionsBuilder::default()
        .since(&since.to_string())
        .until(&until)
        .build();
    let events: Vec<_> = docker
        .events(Some(events))
        .try_collect()
        .await
        .expect("events");
    let actions: Vec<String> = events
        .into_iter()
        .filter_map(|event| event.action)
        .collect();
    for action in [
        "create",
        "start",
        "pause",
        "unpause",
        "rename",
        "health_status: healthy",
        "die",
        "destroy",
    ] {
        assert!(
            actions.iter().any(|own| own == action),
            "{action}: {actions:?}"
        );
    }
}

#[test]
fn every_answer_fits_the_types_of_the_engine_api() {
    let engine = Engine::start(&[]);
    let socket = engine.appliance.socket();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let socket = socket.to_str().expect("UTF-8");
        let docker =
            Docker::connect_with_unix(socket, 120, bollard::API_DEFAULT_VERSION).expect("a client");
        let docker = docker.negotiate_version().await.expect("a version");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("now");
        images(&docker).await;
        a_life(&docker).await;
        around(&docker, now.as_secs()).await;
    });
    assert!(engine.is_empty());
}
