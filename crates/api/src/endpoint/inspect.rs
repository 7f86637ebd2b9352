//! `GET /containers/{id}/json`: what the engine knows, with what was asked for at the creation.

use husk_engine::container::Container;
use serde_json::{Map, Value};

use super::create;
use crate::call::Call;
use crate::failure::Result;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

/// # Errors
/// A container that is not there.
pub(crate) async fn inspect(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let (id, size) = (id.to_owned(), call.query.is("size"));
    let document = service
        .blocking(move |service| {
            let container = service.container(&id)?;
            document(service, &container, size)
        })
        .await?;
    reply::json(&document)
}

fn document(service: &Service, container: &Container, size: bool) -> Result<Value> {
    let document = husk_docker::inspect_container(&service.home, container, size)?;
    let mut document = husk_docker::document::public(&document);
    if let Some(of_state) = document.get_mut("State").and_then(Value::as_object_mut) {
        of_state.remove("MonitorPid");
    }
    as_asked(&mut document, &create::asked(container));
    Ok(document)
}

fn put(
    document: &mut Value,
    part: &str,
    from: Option<&Map<String, Value>>,
    names: Option<&[&str]>,
) {
    for (name, value) in from.into_iter().flatten() {
        let wanted = names.is_none_or(|names| names.contains(&name.as_str()));
        if wanted && !value.is_null() {
            document[part][name] = value.clone();
        }
    }
}

/// Puts back what was asked for: clients make a container again from it, or compare it.
fn as_asked(document: &mut Value, asked: &Value) {
    let Some(asked) = asked.as_object() else { return };
    let of_config = [
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "StdinOnce",
        "Volumes",
        "Healthcheck",
        "StopTimeout",
        "Shell",
        "OnBuild",
    ];
    put(document, "Config", Some(asked), Some(&of_config));
    let host = asked.get("HostConfig").and_then(Value::as_object).cloned();
    let host = host.map(|mut host| {
        // What these have become is told.
        for name in ["NetworkMode", "Runtime", "ShmSize", "CgroupnsMode", "IpcMode", "LogConfig"] {
            host.remove(name);
        }
        // Docker always writes the container's own here, also where the request had none.
        for name in ["MaskedPaths", "ReadonlyPaths"] {
            host.remove(name);
        }
        host
    });
    put(document, "HostConfig", host.as_ref(), None);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_asked_for_comes_back() {
        let mut document = json!({
            "Config": { "AttachStdin": false, "Cmd": ["x"] },
            "HostConfig": { "Binds": null, "NetworkMode": "bridge", "Memory": 0 },
        });
        let asked = json!({
            "AttachStdin": true, "Cmd": ["y"], "Image": "i",
            "HostConfig": { "Binds": ["/a:/b"], "NetworkMode": "default", "Memory": null },
        });
        as_asked(&mut document, &asked);
        let expected = json!({
            "Config": { "AttachStdin": true, "Cmd": ["x"] },
            "HostConfig": { "Binds": ["/a:/b"], "NetworkMode": "bridge", "Memory": 0 },
        });
        assert_eq!(document, expected);
    }
}
