//! How much of a container's output is kept: docker's `--log-driver` and `--log-opt`.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::Wish;
use crate::listener::size;
use crate::listener::store::Rotation;

/// Options that mean what is done anyway, and their value.
const USUAL: [(&str, &str); 2] = [("mode", "blocking"), ("compress", "false")];

/// What docker's object of the log says; none: as with all others.
///
/// # Errors
/// It cannot be had, or makes no sense.
pub(super) fn rotation(host: &Value) -> Result<Option<Rotation>, Wish> {
    let log = &host["LogConfig"];
    let kind = log["Type"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "json-file" | "local") {
        return Err(Wish::Refused(format!(
            "HostConfig.LogConfig of type {kind:?} is not done: the appliance keeps all output itself, as json-file does"
        )));
    }
    let (mut size, mut files) = (None, None);
    for (name, value) in log["Config"].as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        let bad = |why: &str| Wish::Bad(format!("log opt {name}={text:?}: {why}"));
        match name.as_str() {
            "max-size" if text == "-1" => {}
            "max-size" => {
                let bytes = size::bytes(text).map_err(|why| bad(&why))?;
                size = Some(bytes).filter(|bytes| *bytes > 0);
                size.ok_or_else(|| bad("expected more than 0"))?;
            }
            "max-file" => {
                let count = text
                    .parse()
                    .map_err(|_| bad("expected a number, 1 at least"))?;
                files = Some::<NonZeroUsize>(count);
            }
            usual if USUAL.contains(&(usual, text)) => {}
            other => {
                return Err(Wish::Refused(format!(
                    "HostConfig.LogConfig: {other} is not done: there are max-size and max-file"
                )));
            }
        }
    }
    match (size, files) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Wish::Bad(
            "log opt max-file: without max-size there is one file".into(),
        )),
        (Some(bytes), files) => Ok(Some(Rotation {
            segment_bytes: bytes,
            segments_most: Some(files.unwrap_or(NonZeroUsize::MIN)),
        })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(log: Value) -> Result<Option<(u64, usize)>, Wish> {
        let rotation = rotation(&json!({ "LogConfig": log }))?;
        Ok(rotation.map(|one| {
            (
                one.segment_bytes,
                one.segments_most.map_or(0, NonZeroUsize::get),
            )
        }))
    }

    #[test]
    fn as_much_is_kept_as_was_asked_for() {
        let config = |config: Value| of(json!({ "Type": "json-file", "Config": config }));
        assert_eq!(of(json!({ "Type": "", "Config": {} })), Ok(None));
        assert_eq!(of(json!({ "Type": "local", "Config": null })), Ok(None));
        assert_eq!(
            config(json!({ "max-size": "10m", "max-file": "3" })),
            Ok(Some((10 << 20, 3)))
        );
        assert_eq!(config(json!({ "max-size": "1k" })), Ok(Some((1024, 1))));
        assert_eq!(config(json!({ "max-size": "-1" })), Ok(None));
        for wrong in [
            json!({ "max-size": "0" }),
            json!({ "max-size": "much" }),
            json!({ "max-size": "1m", "max-file": "0" }),
            json!({ "max-file": "2" }),
        ] {
            assert!(
                matches!(config(wrong.clone()), Err(Wish::Bad(_))),
                "{wrong}"
            );
        }
        for refused in [json!({ "tag": "x" }), json!({ "compress": "true" })] {
            assert!(
                matches!(config(refused.clone()), Err(Wish::Refused(_))),
                "{refused}"
            );
        }
        assert!(matches!(
            of(json!({ "Type": "syslog" })),
            Err(Wish::Refused(_))
        ));
    }
}
