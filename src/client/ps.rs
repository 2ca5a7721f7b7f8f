//! `vch ps`.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::ClientError;
use super::args::{Format, Ps};
use super::http::Api;
use crate::listener::api::shape::{Summary, duration};

/// Characters of an ID in a table.
const ID_SHOWN: usize = 12;
/// Characters of a command in a table.
const COMMAND_SHOWN: usize = 20;
/// Spaces between two columns, as docker has them.
const GAP: usize = 3;
const HEADINGS: [&str; 6] = [
    "CONTAINER ID",
    "IMAGE",
    "COMMAND",
    "CREATED",
    "STATUS",
    "NAMES",
];

pub(super) async fn ps(api: &Api, options: &Ps) -> Result<(), ClientError> {
    let path = format!("/containers/json?all={}", u8::from(options.all));
    let rows: Vec<Summary> = api.json("GET", &path).await?;
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let text = if options.quiet {
        rows.iter()
            .map(|row| id(row, options.no_trunc) + "\n")
            .collect()
    } else if options.format == Format::Json {
        rows.iter()
            .map(|row| object(row, options.no_trunc, now_s) + "\n")
            .collect()
    } else {
        table(&rows, options.no_trunc, now_s)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The columns of a row, as text that a terminal takes for nothing else.
fn cells(row: &Summary, whole: bool, now_s: u64) -> [String; 6] {
    let created = duration(
        now_s
            .saturating_sub(row.created)
            .saturating_mul(1_000_000_000),
    );
    [
        id(row, whole),
        printable(&row.image),
        command(row, whole),
        format!("{created} ago"),
        printable(&row.status),
        printable(&names(row)),
    ]
}

fn id(row: &Summary, whole: bool) -> String {
    let shown = if whole { usize::MAX } else { ID_SHOWN };
    row.id.chars().take(shown).collect()
}

fn names(row: &Summary) -> String {
    let names = row
        .names
        .iter()
        .map(|name| name.strip_prefix('/').unwrap_or(name));
    names.collect::<Vec<_>>().join(",")
}

fn command(row: &Summary, whole: bool) -> String {
    let text = printable(&row.command);
    if whole || text.chars().count() <= COMMAND_SHOWN {
        return format!("\"{text}\"");
    }
    let cut: String = text.chars().take(COMMAND_SHOWN - 1).collect();
    format!("\"{cut}…\"")
}

/// A guest chooses its name, image and command; none of them may drive our terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn table(rows: &[Summary], whole: bool, now_s: u64) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| cells(row, whole, now_s)));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0) + GAP
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(widths).take(HEADINGS.len() - 1) {
            text += &format!("{cell:width$}");
        }
        text += &line[HEADINGS.len() - 1];
        text.push('\n');
    }
    text
}

/// One object as `docker ps --format json` prints it.
fn object(row: &Summary, whole: bool, now_s: u64) -> String {
    let [id, image, command, created, status, names] = cells(row, whole, now_s);
    json!({
        "ID": id,
        "Image": image,
        "Command": command,
        "Created": row.created,
        "RunningFor": created,
        "State": row.state,
        "Status": status,
        "Names": names,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Summary {
        let json = r#"{
            "Id": "2cf7f4a100000000000000000000000000000000000000000000000000000000",
            "Names": ["/jolly_panini"], "Image": "hello-world", "ImageID": "",
            "Command": "/hello", "Created": 1000, "Ports": [], "Labels": {},
            "State": "exited", "Status": "Exited (0) 2 seconds ago",
            "NetworkSettings": {}, "Mounts": []
        }"#;
        serde_json::from_str(json).expect("a row")
    }

    #[test]
    fn the_table_is_dockers() {
        assert_eq!(
            table(&[row()], false, 1003),
            "CONTAINER ID   IMAGE         COMMAND    CREATED         STATUS                     NAMES\n\
             2cf7f4a10000   hello-world   \"/hello\"   3 seconds ago   Exited (0) 2 seconds ago   jolly_panini\n"
        );
    }

    #[test]
    fn a_long_command_is_cut_to_twenty_characters() {
        let mut long = row();
        long.command = "/bin/sh -c echo a long way".into();
        assert_eq!(command(&long, false), "\"/bin/sh -c echo a l…\"");
        assert_eq!(command(&long, true), "\"/bin/sh -c echo a long way\"");
    }

    #[test]
    fn a_guest_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("ünï"), "ünï");
    }

    #[test]
    fn no_containers_leave_the_headings() {
        let text = table(&[], false, 0);
        assert_eq!(
            text,
            "CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   NAMES\n"
        );
    }
}
