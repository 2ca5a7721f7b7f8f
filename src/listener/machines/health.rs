//! Health checks: what docker asks to be run in a container again and again, and what its statuses say of the container.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::Wish;
use super::fields::Fields;
use crate::image::Image;
use crate::link::Exec;
use crate::listener::clock::now_ns;
use crate::listener::container::{Container, Outcome};
use crate::listener::keys;
use crate::listener::lines::Selection;
use crate::listener::log_stream::LogStream;
use crate::listener::store::state::State;
use crate::listener::vm::Shared;

/// As docker has them.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Probes that are remembered, and bytes of what one has said.
const PROBES_MOST: usize = 5;
const OUTPUT_MOST: usize = 4096;
/// The shortest time that docker takes.
const LEAST_NS: i64 = 1_000_000;
/// Docker's name of it.
const FIELD: &str = "Healthcheck";

/// What is to be run, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    args: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

/// What is known of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// No probe has succeeded yet, and not too many have failed.
    #[default]
    Starting,
    /// The last probes have not all failed.
    Healthy,
    /// They have.
    Unhealthy,
}

impl Status {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When it began: nanoseconds since 1970.
    pub begun_ns: u64,
    /// When it had ended.
    pub ended_ns: u64,
    /// Its status; -1: it did not end in time.
    pub status: i32,
    /// What it said, the beginning.
    pub output: String,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// In a word.
    pub status: Status,
    /// Failures in a row.
    pub streak: u32,
    /// The last of them.
    pub probes: VecDeque<Probe>,
}

impl Health {
    /// Takes a probe into account that began so long after the start. True: the status has changed.
    fn takes(&mut self, check: &Check, since_start: Duration, probe: Probe) -> bool {
        let before = self.status;
        let failed = probe.status != 0;
        if self.probes.len() == PROBES_MOST {
            self.probes.pop_front();
        }
        self.probes.push_back(probe);
        let excused = before == Status::Starting && since_start < check.start_period;
        match failed {
            false => (self.status, self.streak) = (Status::Healthy, 0),
            true if excused => {}
            true => {
                self.streak = self.streak.saturating_add(1);
                if self.streak >= check.retries {
                    self.status = Status::Unhealthy;
                }
            }
        }
        self.status != before
    }
}

/// The request's check over the image's, as `inspect` shows it; none: there is none.
///
/// # Errors
/// A number of it makes no sense.
pub(super) fn asked_for(config: &Fields<'_>, image: &Image) -> Result<Option<Value>, Wish> {
    let mut check = image
        .setting(FIELD)
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (name, value) in config.object(FIELD)?.into_iter().flatten() {
        if !super::fields::is_empty(value) {
            check.insert(name.clone(), value.clone());
        }
    }
    for name in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
        let ns = number(&check, name);
        if ns != 0 && ns < LEAST_NS {
            let text = format!("{name} in Healthcheck cannot be less than 1ms");
            return Err(Wish::Bad(text));
        }
    }
    if number(&check, "Retries") < 0 {
        let text = "Retries in Healthcheck cannot be negative";
        return Err(Wish::Bad(text.into()));
    }
    let words = words(&check, "Test");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["" | "NONE", ..] => Ok(None),
        ["CMD" | "CMD-SHELL", ..] => Ok(Some(check.into())),
        [first, ..] => Err(Wish::Bad(format!("Unknown healthcheck type '{first}'"))),
    }
}

fn number(check: &Map<String, Value>, name: &str) -> i64 {
    check.get(name).and_then(Value::as_i64).unwrap_or_default()
}

fn words(of: &Map<String, Value>, name: &str) -> Vec<String> {
    let words = of.get(name).and_then(Value::as_array).into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

impl Check {
    /// Of a container's `Config`; none: it has none.
    pub fn of(config: &Value) -> Option<Self> {
        let config = config.as_object()?;
        let check = config.get(FIELD)?.as_object()?;
        let mut words = words(check, "Test").into_iter();
        let args = match words.next()?.as_str() {
            "CMD" => words.collect(),
            "CMD-SHELL" => {
                let mut shell = self::words(config, "Shell");
                if shell.is_empty() {
                    shell = ["/bin/sh", "-c"].map(str::to_owned).to_vec();
                }
                shell.extend(words.next());
                shell
            }
            _ => return None,
        };
        let time = |name, usual| match u64::try_from(number(check, name)).unwrap_or_default() {
            0 => usual,
            ns => Duration::from_nanos(ns),
        };
        let retries = u32::try_from(number(check, "Retries")).unwrap_or_default();
        Some(Self {
            args,
            interval: time("Interval", INTERVAL),
            timeout: time("Timeout", TIMEOUT),
            start_period: time("StartPeriod", Duration::ZERO),
            start_interval: time("StartInterval", START_INTERVAL),
            retries: if retries == 0 { RETRIES } else { retries },
        })
    }

    /// Until the next probe.
    fn wait(&self, status: Status, since_start: Duration) -> Duration {
        match status {
            Status::Starting if since_start < self.start_period => {
                self.start_interval.min(self.interval)
            }
            _ => self.interval,
        }
    }
}

/// Probes a container whose process runs, until that ends.
pub(super) fn watch(shared: &Arc<Shared>, container: &Arc<Container>) {
    let Some(made) = container.made() else {
        return;
    };
    let Some(check) = Check::of(&made.spec().config) else {
        return;
    };
    made.set_health(Some(Health::default()));
    let (shared, container) = (Arc::clone(shared), Arc::clone(container));
    tokio::spawn(async move {
        let (mut run, begun) = (container.this_run(), Instant::now());
        let mut health = Health::default();
        loop {
            sleep(check.wait(health.status, begun.elapsed())).await;
            if run.outcome(&container).is_some() {
                return;
            }
            if container.is_paused() || container.snapshot().record.state != State::Running {
                continue;
            }
            let since_start = begun.elapsed();
            let Some(probe) = probe(&container, &check).await else {
                continue;
            };
            let changed = health.takes(&check, since_start, probe);
            let Some(made) = container
                .made()
                .filter(|_| run.outcome(&container).is_none())
            else {
                return;
            };
            made.set_health(Some(health.clone()));
            if changed {
                let action = match health.status {
                    Status::Healthy => "health_status: healthy",
                    _ => "health_status: unhealthy",
                };
                let record = container.snapshot().record;
                shared.registry.events().tell(&record, action, Vec::new());
            }
        }
    });
}

/// `None`: it could not be made, and says nothing of the container.
async fn probe(container: &Arc<Container>, check: &Check) -> Option<Probe> {
    let begun_ns = now_ns();
    let order = Exec {
        id: keys::hex(&keys::random().ok()?),
        args: check.args.clone(),
        ..Exec::default()
    };
    let ordered = container.exec(&order).ok()?;
    let mut run = ordered.run.clone();
    let mut stream = LogStream::of(Arc::clone(container), ordered, Selection::all(false));
    let mut output = Vec::new();
    let said = async {
        while let Ok(Some(piece)) = stream.next().await {
            let room = OUTPUT_MOST.saturating_sub(output.len());
            output.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        }
    };
    let ended = timeout(check.timeout, said).await.is_ok();
    let status = match run.outcome(container) {
        Some(Outcome::Exited(exit)) if ended => exit.record.status,
        _ if !ended => {
            container.kill_added(&order.id);
            let seconds = check.timeout.as_secs_f64();
            output = format!("Health check exceeded timeout ({seconds}s)").into_bytes();
            -1
        }
        // It has gone with its machine.
        _ => return None,
    };
    Some(Probe {
        begun_ns,
        ended_ns: now_ns(),
        status,
        output: String::from_utf8_lossy(&output).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(more: Value) -> Check {
        let mut check = json!({ "Test": ["CMD", "/x", "-y"] });
        for (name, value) in more.as_object().expect("an object") {
            check[name] = value.clone();
        }
        Check::of(&json!({ FIELD: check })).expect("a check")
    }

    fn probe(status: i32) -> Probe {
        Probe {
            begun_ns: 1,
            ended_ns: 2,
            status,
            output: "said".into(),
        }
    }

    const LATE: Duration = Duration::from_secs(1000);

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
        let check = check(json!({ "Retries": 2 }));
        let mut health = Health::default();
        let mut told = Vec::new();
        for status in [1, 0, 1, 0, 7, -1, 1, 0] {
            let changed = health.takes(&check, LATE, probe(status));
            told.push((health.status.word(), changed, health.streak));
        }
        assert_eq!(
            told,
            [
                ("starting", false, 1),
                ("healthy", true, 0),
                ("healthy", false, 1),
                ("healthy", false, 0),
                ("healthy", false, 1),
                ("unhealthy", true, 2),
                ("unhealthy", false, 3),
                ("healthy", true, 0),
            ]
        );
        assert_eq!(health.probes.len(), PROBES_MOST);
    }

    #[test]
    fn while_it_starts_failures_do_not_count_and_probes_come_sooner() {
        let second = 1_000_000_000_i64;
        let check =
            check(json!({ "Retries": 1, "StartPeriod": 60 * second, "StartInterval": second }));
        let mut health = Health::default();
        let early = Duration::from_secs(59);
        assert!(!health.takes(&check, early, probe(1)));
        assert_eq!(check.wait(health.status, early), Duration::from_secs(1));
        assert_eq!(check.wait(health.status, LATE), INTERVAL);
        assert!(health.takes(&check, early, probe(0)), "healthy");
        assert_eq!(check.wait(health.status, early), INTERVAL);
        // It has started.
        assert!(health.takes(&check, early, probe(1)));
        assert_eq!(health.status, Status::Unhealthy);
    }

    #[test]
    fn a_shell_is_the_image_s_or_the_usual_one() {
        let config = json!({ FIELD: { "Test": ["CMD-SHELL", "exit 1"] } });
        let usual = Check::of(&config).expect("a check");
        assert_eq!(usual.args, ["/bin/sh", "-c", "exit 1"]);
        let config = json!({ FIELD: { "Test": ["CMD-SHELL", "x"] }, "Shell": ["/busybox", "sh"] });
        assert_eq!(
            Check::of(&config).expect("a check").args,
            ["/busybox", "sh", "x"]
        );
        assert_eq!(Check::of(&json!({ FIELD: { "Test": ["NONE"] } })), None);
        assert_eq!(Check::of(&json!({})), None);
    }

    #[test]
    fn the_request_goes_over_the_image_and_nonsense_is_told() {
        let image = Image {
            config: json!({ "config": { FIELD: { "Test": ["CMD", "/image"], "Retries": 9 } } }),
            ..Image::default()
        };
        let asked = |check: Value| {
            let body = json!({ FIELD: check });
            asked_for(&Fields::of("Config", &body).expect("an object"), &image)
        };
        let both = asked(json!({ "Retries": 2 }))
            .expect("good")
            .expect("a check");
        assert_eq!(
            (&both["Test"][1], &both["Retries"]),
            (&json!("/image"), &json!(2))
        );
        assert_eq!(asked(json!({ "Test": ["NONE"] })), Ok(None));
        for (bad, words) in [
            (json!({ "Test": ["X"] }), "Unknown healthcheck type 'X'"),
            (json!({ "Interval": 5 }), "cannot be less than 1ms"),
            (json!({ "Retries": -1 }), "cannot be negative"),
        ] {
            let told = asked(bad).expect_err("bad").to_string();
            assert!(told.contains(words), "{told}");
        }
    }
}
