//! `GET /containers/{id}/json`: what the engine knows, with what was asked for at the creation.

use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::exec::{self, ExecStatus};
use husk_net::{Attachment, Mode};
use serde_json::{Map, Value, json};

use super::create;
use crate::call::Call;
use crate::failure::{Failure, Result};
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
    let mut words = vec!["inspect", "--type", "container"];
    if size {
        words.push("--size");
    }
    words.push(container.id());
    let (printed, _) = service.ask(&words)?;
    let listed: Vec<Value> = serde_json::from_str(&printed)
        .map_err(|error| Failure::internal(format!("husk inspect: {error}")))?;
    let mut document = listed.into_iter().next().unwrap_or_default();
    let state = container.state()?;
    let running = state.status == Status::Running;
    if let Some(of_state) = document.get_mut("State").and_then(Value::as_object_mut) {
        of_state.remove("MonitorPid");
    }
    let sessions = exec::list(container)?;
    let sessions = sessions.iter().filter(|one| one.status == ExecStatus::Running);
    let sessions: Vec<&str> = sessions.map(|one| one.id.as_str()).collect();
    document["ExecIDs"] = if sessions.is_empty() { Value::Null } else { json!(sessions) };
    if running {
        document["NetworkSettings"]["SandboxID"] = container.id().into();
    }
    let asked = create::asked(container);
    as_asked(&mut document, &asked);
    endpoints(container, &mut document, &asked, running);
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
    if asked.get("Entrypoint").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        put(document, "Config", Some(asked), Some(&["Entrypoint"]));
        document["Config"]["Cmd"] = asked.get("Cmd").cloned().unwrap_or_default();
    }
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

/// What Docker tells of a container in each of its networks beside addresses.
fn endpoints(container: &Container, document: &mut Value, asked: &Value, running: bool) {
    let config = &container.record.config;
    let attachments = match Mode::parse(&config.networks, false) {
        Ok(Mode::Networks(attachments)) => attachments,
        _ => Vec::new(),
    };
    let of_asked = &asked["NetworkingConfig"]["EndpointsConfig"];
    let networks = document["NetworkSettings"]["Networks"].as_object_mut();
    for (name, endpoint) in networks.into_iter().flatten() {
        let attachment = attachments.iter().find(|one| one.network == *name);
        let aliases = attachment.map(|one| one.aliases.clone()).unwrap_or_default();
        endpoint["Aliases"] = if aliases.is_empty() { Value::Null } else { json!(aliases) };
        endpoint["DNSNames"] = match name == husk_net::DEFAULT_NETWORK || attachment.is_none() {
            true => Value::Null,
            false => json!(names(container, aliases)),
        };
        let ipam = &of_asked[name.as_str()]["IPAMConfig"];
        endpoint["IPAMConfig"] = ipam_of(attachment, ipam);
        if running {
            let own = container.id().get(..32).unwrap_or_default();
            let network = endpoint["NetworkID"].as_str().unwrap_or_default();
            let network = network.get(..32).unwrap_or_default().to_owned();
            endpoint["EndpointID"] = format!("{own}{network}").into();
        }
    }
}

fn ipam_of(attachment: Option<&Attachment>, asked: &Value) -> Value {
    if !asked.is_null() {
        return asked.clone();
    }
    let mut ipam = Map::new();
    for address in attachment.map(|one| one.addresses.as_slice()).unwrap_or_default() {
        let name = if address.is_ipv6() { "IPv6Address" } else { "IPv4Address" };
        ipam.insert(name.to_owned(), address.to_string().into());
    }
    if ipam.is_empty() { Value::Null } else { ipam.into() }
}

/// Its names in a network, each once.
fn names(container: &Container, aliases: Vec<String>) -> Vec<String> {
    let config = &container.record.config;
    let short = husk_engine::container::name::short(container.id()).to_owned();
    let mut names = vec![container.record.name.clone()];
    let hostname = Some(config.hostname.clone()).filter(|name| !name.is_empty());
    for name in aliases.into_iter().chain([short]).chain(hostname) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_comes_back() {
        let mut document = json!({
            "Config": { "AttachStdin": false, "Entrypoint": ["sh"], "Cmd": ["-e", "x"] },
            "HostConfig": { "Binds": null, "NetworkMode": "bridge", "Memory": 0 },
        });
        let asked = json!({
            "AttachStdin": true, "Entrypoint": ["sh", "-e"], "Cmd": ["x"], "Image": "i",
            "HostConfig": { "Binds": ["/a:/b"], "NetworkMode": "default", "Memory": null },
        });
        as_asked(&mut document, &asked);
        let expected = json!({
            "Config": { "AttachStdin": true, "Entrypoint": ["sh", "-e"], "Cmd": ["x"] },
            "HostConfig": { "Binds": ["/a:/b"], "NetworkMode": "bridge", "Memory": 0 },
        });
        assert_eq!(document, expected);
    }
}
