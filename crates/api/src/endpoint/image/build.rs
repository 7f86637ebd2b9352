//! The classic build request: a tar with the Dockerfile, answered by what the builder prints.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::process::Stdio;

use bytes::Bytes;
use husk_engine::error::file;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::transfer::error_line;
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;

/// The words of `husk build` for a query.
fn words(call: &Call) -> Result<(Vec<String>, Vec<String>)> {
    let query = &call.query;
    let refuse = |name: &str, why: &str| Err(Failure::not_implemented(format!("{name}: {why}")));
    if query.get("version").is_some_and(|version| version == "2") || query.text("session").is_some()
    {
        return refuse("version=2", "BuildKit is not supported; set DOCKER_BUILDKIT=0");
    }
    if query.text("remote").is_some() {
        return refuse("remote", "is not supported: send the context");
    }
    if query.text("outputs").is_some_and(|outputs| outputs != "[]" && outputs != "null") {
        return refuse("outputs", "is not supported");
    }
    if query.is("squash") {
        return refuse("squash", "is not supported");
    }
    for name in
        ["memory", "memswap", "cpushares", "cpusetcpus", "cpuperiod", "cpuquota", "cgroupparent"]
    {
        if query.text(name).is_some_and(|value| value != "0") {
            return refuse(name, "builds have no limits");
        }
    }
    for name in ["ulimits", "extrahosts"] {
        if query.text(name).is_some_and(|value| value != "null" && value != "[]") {
            return refuse(name, "is not supported");
        }
    }
    let mut words = vec!["build".to_owned(), "--progress=plain".to_owned()];
    let mut push = |flag: &str, value: &str| words.push(format!("{flag}={value}"));
    let tags: Vec<String> =
        query.all("t").filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    tags.iter().for_each(|tag| push("--tag", tag));
    if let Some(path) = query.text("dockerfile") {
        push("--file", path);
    }
    if let Some(target) = query.text("target") {
        push("--target", target);
    }
    if let Some(platform) = query.text("platform") {
        push("--platform", platform);
    }
    if let Some(network) = query.text("networkmode").filter(|mode| *mode != "default") {
        push("--network", network);
    }
    let map = |name: &str| -> Result<BTreeMap<String, Option<String>>> {
        let text = query.text(name).unwrap_or("{}");
        let bad = |error| Failure::invalid(format!("{name}: {error}"));
        let map: Option<BTreeMap<String, Option<String>>> =
            serde_json::from_str(text).map_err(bad)?;
        Ok(map.unwrap_or_default())
    };
    for (name, value) in map("buildargs")? {
        // A name alone would be husk's own variable.
        if let Some(value) = value {
            push("--build-arg", &format!("{name}={value}"));
        }
    }
    for (name, value) in map("labels")? {
        push("--label", &format!("{name}={}", value.unwrap_or_default()));
    }
    for (name, flag) in [("nocache", "--no-cache"), ("pull", "--pull")] {
        if query.is(name) {
            words.push(flag.to_owned());
        }
    }
    words.push("-".to_owned());
    Ok((words, tags))
}

/// `POST /build`.
///
/// # Errors
/// What the query asks for and cannot be had.
pub(super) async fn build(service: Shared, call: Call) -> Result<Reply> {
    let (mut words, tags) = words(&call)?;
    let quiet = call.query.is("q");
    let (sender, answer) = reply::stream("application/json", Box::new(call.active.clone()));
    let active = call.active.clone();
    let mut body = call.reader();
    tokio::task::spawn_blocking(move || {
        let _active = active;
        let work = || -> Result<()> {
            let failed = |error: io::Error| Failure::internal(error.to_string());
            let iid = tempfile::NamedTempFile::new().map_err(failed)?;
            words.insert(1, format!("--iidfile={}", iid.path().display()));
            let mut command = service.husk();
            command.args(&words).stdin(Stdio::piped()).stdout(Stdio::null());
            command.stderr(Stdio::piped());
            let mut child = command.spawn().map_err(file("execute", &service.program))?;
            let stdin = child.stdin.take();
            // The builder may answer before it has read all.
            let feeding = std::thread::spawn(move || {
                if let Some(mut stdin) = stdin {
                    let _ = io::copy(&mut body, &mut stdin);
                }
            });
            let mut last = String::new();
            let mut gone = false;
            if let Some(stderr) = child.stderr.take() {
                let mut lines = BufReader::new(stderr);
                let mut line = Vec::new();
                while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    if let Some(message) = text.strip_prefix("husk: ") {
                        message.trim_end().clone_into(&mut last);
                    } else if !quiet && !send(&sender, &json!({ "stream": text })) {
                        gone = true;
                        break;
                    }
                    line.clear();
                }
            }
            if gone {
                // A build ends with who asked for it.
                let _ = child.kill();
            }
            let ended = child.wait().map_err(file("wait for", &service.program))?;
            drop(feeding);
            if !ended.success() {
                return Err(Failure::internal(last));
            }
            let id = std::fs::read_to_string(iid.path()).map_err(failed)?;
            let id = id.trim();
            send(&sender, &json!({ "aux": { "ID": id } }));
            let short = id.trim_start_matches("sha256:").get(..12).unwrap_or(id);
            match quiet {
                true => send(&sender, &json!({ "stream": format!("{id}\n") })),
                false => {
                    send(&sender, &json!({ "stream": format!("Successfully built {short}\n") }))
                }
            };
            for tag in tags.iter().filter(|_| !quiet) {
                let tag = crate::failure::with_tag(tag);
                send(&sender, &json!({ "stream": format!("Successfully tagged {tag}\n") }));
            }
            Ok(())
        };
        if let Err(failure) = work() {
            send(&sender, &error_line(&failure));
        }
    });
    Ok(answer)
}

/// Whether the client is there.
fn send(sender: &mpsc::Sender<io::Result<Bytes>>, line: &Value) -> bool {
    sender.blocking_send(Ok(format!("{line}\r\n").into())).is_ok()
}

/// `POST /build/prune`.
///
/// # Errors
/// What cannot be removed.
pub(super) async fn prune(service: Shared) -> Result<Reply> {
    let freed = service
        .blocking(|service| {
            let store = service.home.images()?;
            let before = husk_engine::usage::store(&store)?;
            store.remove_steps()?;
            store.remove_cache_mounts()?;
            store.collect()?;
            Ok(before.saturating_sub(husk_engine::usage::store(&store)?))
        })
        .await?;
    reply::json(&json!({ "CachesDeleted": [], "SpaceReclaimed": freed }))
}
