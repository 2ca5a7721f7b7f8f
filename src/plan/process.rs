//! A session as the kernel wants it: paths to try, arguments, environment, working directory.

use std::ffi::CString;

use crate::config::model::Session;

/// Where programs are looked for when the environment does not say, as docker has it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The terminal that programs are told of when the environment does not say.
pub const DEFAULT_TERM: &str = "xterm";

/// What starts a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Paths to try in turn.
    pub candidates: Vec<CString>,
    /// Arguments, the program's own name first.
    pub arguments: Vec<CString>,
    /// `NAME=value`, each name once.
    pub environment: Vec<CString>,
    /// Directories to make where the working directory is missing, outermost first.
    pub directories: Vec<CString>,
    /// Working directory.
    pub directory: CString,
}

/// A session that cannot be started as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// There is nothing to run.
    #[error("no command: cmd/Path and cmd/Args are both empty")]
    NoCommand,
    /// The kernel's texts end at their first NUL.
    #[error("{what} holds a NUL character")]
    Nul {
        /// Which text.
        what: &'static str,
    },
}

/// What the machine knows and the session's configuration does not.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The machine's host name.
    pub hostname: &'a str,
    /// Home directory of the session's user.
    pub home: &'a str,
}

/// Plans a session's process.
///
/// # Errors
/// There is no command, or a text that the kernel cannot take.
pub fn process(session: &Session, around: Surroundings<'_>) -> Result<Process, ProcessError> {
    let path = match (session.path.as_str(), session.args.first()) {
        ("", None) => return Err(ProcessError::NoCommand),
        ("", Some(first)) if first.is_empty() => return Err(ProcessError::NoCommand),
        ("", Some(first)) => first.as_str(),
        (path, _) => path,
    };
    let environment = environment(session, around);
    let candidates = candidates(path, search_path(&environment));
    let arguments = if session.args.is_empty() {
        vec![path]
    } else {
        texts(&session.args)
    };
    let directory = match session.dir.as_str() {
        "" => "/".to_owned(),
        dir if dir.starts_with('/') => dir.to_owned(),
        dir => format!("/{dir}"),
    };
    Ok(Process {
        candidates: for_kernel("cmd/Path", candidates)?,
        arguments: for_kernel("cmd/Args", arguments)?,
        environment: for_kernel("cmd/Env", environment)?,
        directories: for_kernel("cmd/Dir", prefixes(&directory))?,
        directory: CString::new(directory).map_err(|_| ProcessError::Nul { what: "cmd/Dir" })?,
    })
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn for_kernel<T: Into<Vec<u8>>>(
    what: &'static str,
    list: Vec<T>,
) -> Result<Vec<CString>, ProcessError> {
    list.into_iter()
        .map(|text| CString::new(text).map_err(|_| ProcessError::Nul { what }))
        .collect()
}

/// The defaults first, then the session's own; of a name that comes twice the last value counts,
/// in the place of the first.
fn environment(session: &Session, around: Surroundings<'_>) -> Vec<String> {
    let mut list: Vec<String> = vec![
        format!("PATH={DEFAULT_PATH}"),
        format!("HOSTNAME={}", around.hostname),
    ];
    if session.tty {
        list.push(format!("TERM={DEFAULT_TERM}"));
    }
    list.push(format!("HOME={}", around.home));
    for entry in &session.env {
        let name = name_of(entry);
        // As docker: a bare name has no value to pass on.
        if name.is_empty() || !entry.as_bytes().contains(&b'=') {
            continue;
        }
        match list.iter_mut().find(|known| name_of(known) == name) {
            Some(known) => known.clone_from(entry),
            None => list.push(entry.clone()),
        }
    }
    list
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn search_path(environment: &[String]) -> &str {
    environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH)
}

/// A path with a slash stands for itself (relative: below the working directory); a bare name is
/// looked for along the search path, whose empty parts are the working directory.
fn candidates(path: &str, search: &str) -> Vec<String> {
    if path.as_bytes().contains(&b'/') {
        return vec![path.to_owned()];
    }
    search
        .split(':')
        .map(|folder| match folder {
            "" => format!("./{path}"),
            folder => format!("{}/{path}", folder.trim_end_matches('/')),
        })
        .collect()
}

/// `/a/b` needs `/a` and `/a/b`.
fn prefixes(directory: &str) -> Vec<&str> {
    let directory = directory.trim_end_matches('/');
    directory
        .match_indices('/')
        .filter(|(at, _)| *at > 0)
        .filter_map(|(at, _)| directory.get(..at))
        .chain([directory])
        .filter(|prefix| !prefix.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings<'static> = Surroundings {
        hostname: "2cf7f4",
        home: "/root",
    };

    fn session(path: &str, args: &[&str]) -> Session {
        Session {
            path: path.into(),
            args: args.iter().map(|arg| (*arg).into()).collect(),
            ..Session::default()
        }
    }

    fn shown(list: &[CString]) -> Vec<&str> {
        list.iter()
            .map(|text| text.to_str().expect("UTF-8"))
            .collect()
    }

    fn planned(session: &Session) -> Process {
        process(session, AROUND).expect("a good session")
    }

    #[test]
    fn an_absolute_path_stands_for_itself() {
        let plan = planned(&session("/hello", &[]));
        assert_eq!(shown(&plan.candidates), ["/hello"]);
        assert_eq!(shown(&plan.arguments), ["/hello"]);
        assert_eq!(shown(std::slice::from_ref(&plan.directory)), ["/"]);
        assert!(plan.directories.is_empty());
    }

    #[test]
    fn a_relative_path_with_a_folder_is_taken_from_the_working_directory() {
        let plan = planned(&Session {
            dir: "/srv/app/".into(),
            ..session("bin/run", &["run", "-v"])
        });
        assert_eq!(shown(&plan.candidates), ["bin/run"]);
        assert_eq!(shown(&plan.arguments), ["run", "-v"]);
        assert_eq!(shown(&plan.directories), ["/srv", "/srv/app"]);
    }

    #[test]
    fn a_bare_name_is_looked_for_along_the_path_of_the_environment() {
        let plan = planned(&Session {
            env: vec!["PATH=/opt/bin/::/bin".into()],
            ..session("sh", &[])
        });
        assert_eq!(shown(&plan.candidates), ["/opt/bin/sh", "./sh", "/bin/sh"]);
        let plan = planned(&session("sh", &[]));
        assert_eq!(plan.candidates.len(), 6);
    }

    #[test]
    fn arguments_alone_name_the_program_too() {
        assert_eq!(
            shown(&planned(&session("", &["/bin/sh", "-c"])).candidates),
            ["/bin/sh"]
        );
        assert_eq!(
            process(&session("", &[]), AROUND),
            Err(ProcessError::NoCommand)
        );
        assert_eq!(
            process(&session("", &[""]), AROUND),
            Err(ProcessError::NoCommand)
        );
    }

    #[test]
    fn the_environment_has_defaults_that_the_session_overrides() {
        let env = vec![
            "A=1".into(),
            "HOME=/srv".into(),
            "A=2".into(),
            "BARE".into(),
            "=x".into(),
        ];
        let plan = planned(&Session {
            env,
            ..session("/x", &[])
        });
        let path = format!("PATH={DEFAULT_PATH}");
        assert_eq!(
            shown(&plan.environment),
            [&path, "HOSTNAME=2cf7f4", "HOME=/srv", "A=2"]
        );
        let plan = planned(&Session {
            tty: true,
            ..session("/x", &[])
        });
        assert_eq!(
            shown(&plan.environment),
            [&path, "HOSTNAME=2cf7f4", "TERM=xterm", "HOME=/root"]
        );
    }

    #[test]
    fn a_nul_is_refused_where_it_stands() {
        let error = process(&session("/x", &["x", "a\0b"]), AROUND).expect_err("a NUL");
        assert_eq!(error.to_string(), "cmd/Args holds a NUL character");
    }
}
