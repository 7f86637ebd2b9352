//! `POST /commit`: an image of a container.

use std::collections::BTreeMap;

use husk_engine::commit::{self, CommitRequest};
use husk_engine::reporter::Silent;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::Shared;

/// # Errors
/// A container that is not there; a name or an instruction that cannot be honoured.
pub(super) async fn commit(service: Shared, mut call: Call) -> Result<Reply> {
    let body: Option<Map<String, Value>> = call.json().await?;
    let mut changes = instructions(&body.unwrap_or_default())?;
    let query = &call.query;
    changes.extend(query.all("changes").filter(|text| !text.is_empty()).map(str::to_owned));
    let repo = query.text("repo").unwrap_or_default().to_owned();
    let name = match query.text("tag").filter(|_| !repo.is_empty()) {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo,
    };
    let mut request = CommitRequest {
        container: query.text("container").unwrap_or_default().to_owned(),
        name: Some(name).filter(|name| !name.is_empty()),
        author: query.text("author").map(str::to_owned),
        message: query.text("comment").map(str::to_owned),
        changes,
        pause: query.is_or("pause", true),
    };
    let id = service
        .blocking(move |service| {
            request.container = service.container(&request.container)?.id().to_owned();
            Ok(commit::commit(&service.home, &request, &Silent)?.id.to_string())
        })
        .await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id }))
}

/// What the body says of the image's config, as instructions of a Dockerfile.
fn instructions(body: &Map<String, Value>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (field, value) in body {
        if is_empty(value) {
            continue;
        }
        let wrong = |what: &str| Failure::invalid(format!("{field}: must be {what}"));
        let text = || value.as_str().ok_or_else(|| wrong("a string"));
        let list = || -> Result<Vec<String>> {
            serde_json::from_value(value.clone()).map_err(|_| wrong("a list of strings"))
        };
        let names = || -> Result<Vec<String>> {
            let map = value.as_object().ok_or_else(|| wrong("an object"))?;
            Ok(map.keys().cloned().collect())
        };
        match field.as_str() {
            "Cmd" => lines.push(format!("CMD {}", json!(list()?))),
            "Entrypoint" => lines.push(format!("ENTRYPOINT {}", json!(list()?))),
            "User" => lines.push(format!("USER {}", quoted(field, text()?)?)),
            "WorkingDir" => lines.push(format!("WORKDIR {}", quoted(field, text()?)?)),
            "StopSignal" => lines.push(format!("STOPSIGNAL {}", quoted(field, text()?)?)),
            "Volumes" => lines.push(format!("VOLUME {}", json!(names()?))),
            "ExposedPorts" => {
                for port in names()? {
                    lines.push(format!("EXPOSE {}", quoted(field, &port)?));
                }
            }
            "Env" => {
                for entry in list()? {
                    let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                    let (name, value) = (word(field, name)?, quoted(field, value)?);
                    lines.push(format!("ENV {name}={value}"));
                }
            }
            "Labels" => {
                let labels: BTreeMap<String, String> = serde_json::from_value(value.clone())
                    .map_err(|_| wrong("an object of strings"))?;
                for (name, value) in labels {
                    let (name, value) = (quoted(field, &name)?, quoted(field, &value)?);
                    lines.push(format!("LABEL {name}={value}"));
                }
            }
            // What clients send along of the container, and no image has.
            "Hostname" | "Domainname" | "Image" | "AttachStdin" | "AttachStdout"
            | "AttachStderr" | "Tty" | "OpenStdin" | "StdinOnce" => {}
            _ => {
                let why = "is not taken from the body: give it as an instruction in changes";
                return Err(Failure::invalid(format!("{field}: {why}")));
            }
        }
    }
    Ok(lines)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A variable's name, which an instruction has without quotes.
fn word<'a>(field: &str, text: &'a str) -> Result<&'a str> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\$=#".contains(&byte);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text),
        false => Err(Failure::invalid(format!("{field}: {text:?} is not a variable name"))),
    }
}

/// Text as one word of an instruction.
fn quoted(field: &str, text: &str) -> Result<String> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(Failure::invalid(format!("{field}: must not have line feeds")));
    }
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$') {
            word.push('\\');
        }
        word.push(character);
    }
    word.push('"');
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_becomes_instructions_and_back() {
        let body = json!({
            "Cmd": ["a b", "\"c\""], "Env": ["A=x $y \"z\" \\"], "Labels": { "l m": "n" },
            "User": "1000:1000", "WorkingDir": "/a b", "ExposedPorts": { "80/tcp": {} },
            "Volumes": { "/v": {} }, "StopSignal": "SIGINT", "Tty": true, "Hostname": "h",
        });
        let lines = instructions(body.as_object().unwrap()).unwrap();
        let config = husk_image::build::config_of(&lines).unwrap();
        assert_eq!(config.cmd.unwrap(), ["a b", "\"c\""]);
        assert_eq!(config.env.unwrap(), ["A=x $y \"z\" \\"]);
        assert_eq!(config.labels.unwrap()["l m"], "n");
        assert_eq!(config.user.unwrap(), "1000:1000");
        assert_eq!(config.working_dir.unwrap(), "/a b");
        assert_eq!(config.stop_signal.unwrap(), "SIGINT");
        assert!(config.exposed_ports.unwrap().contains_key("80/tcp"));
        assert!(config.volumes.unwrap().contains_key("/v"));
        for bad in [
            json!({ "Env": ["A=x\ny"] }),
            json!({ "Env": ["A B=x"] }),
            json!({ "Cmd": "x" }),
            json!({ "Healthcheck": { "Test": ["CMD", "x"] } }),
        ] {
            assert!(instructions(bad.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
