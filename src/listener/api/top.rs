//! `GET /containers/{id}/top`: the processes of a container's machine, as its own process 1 reports them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::exec::report_order;
use super::params::Params;
use super::{Api, RawParams, find};
use crate::listener::lines::Selection;
use crate::listener::log_stream::LogStream;

/// The report's part, and how the next one begins.
const PART: &str = "== processes\n";
const NEXT: &str = "\n== ";
/// How the kernel's own processes are shown, and what process 1 has in the container's namespaces.
const KERNEL: char = '[';
const STAND_IN: &str = "container-init";

pub(super) async fn top(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    if let Some(arguments) = Params(query).text("ps_args") {
        return Err(ApiError::bad_request(format!(
            "ps_args={arguments}: no ps runs; docker exec {id} ps {arguments} does, where the image has one"
        )));
    }
    let container = find(&shared.registry, &id)?;
    let ordered = container.exec(&report_order()?)?;
    let mut stream = LogStream::of(Arc::clone(&container), ordered, Selection::all(false));
    let mut report = Vec::new();
    while let Some(piece) = stream.next().await? {
        report.extend_from_slice(&piece);
    }
    processes(&String::from_utf8_lossy(&report))
        .map(Json)
        .ok_or_else(|| ApiError::server("the machine's report has no processes"))
}

/// Docker's form of the report's part: titles, and a row of as many texts for each process of the container's.
fn processes(report: &str) -> Option<Value> {
    let (_, part) = report.split_once(PART)?;
    let part = part.split_once(NEXT).map_or(part, |(part, _)| part);
    let mut lines = part.lines();
    let titles: Vec<&str> = lines.next()?.split(' ').collect();
    let rows = lines.filter_map(|line| {
        let row: Vec<&str> = line.splitn(titles.len(), ' ').collect();
        let (pid, command) = (row.first()?, row.last()?);
        let ours = *pid == "1" || command.starts_with(KERNEL) || *command == STAND_IN;
        (row.len() == titles.len() && !ours).then_some(row)
    });
    let rows: Vec<_> = rows.collect();
    Some(json!({ "Titles": titles, "Processes": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_s_processes_are_those_that_are_not_the_machine_s() {
        let report = "== machine\ntether: 1\n== processes\nPID PPID STATE RSS COMMAND\n\
            1 0 S 900 /init\n2 0 S - [kthreadd]\n60 1 S 300 container-init\n\
            61 60 S 800 /bin/sh -c sleep 5\n62 61 R 700 sleep 5\n\n== disks\n7 0 disk\n";
        let told = processes(report).expect("the part");
        assert_eq!(
            told["Titles"],
            json!(["PID", "PPID", "STATE", "RSS", "COMMAND"])
        );
        assert_eq!(
            told["Processes"],
            json!([
                ["61", "60", "S", "800", "/bin/sh -c sleep 5"],
                ["62", "61", "R", "700", "sleep 5"],
            ])
        );
        assert_eq!(processes("nothing"), None);
    }
}
