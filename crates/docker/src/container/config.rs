//! `Config`: what is of the image or instead of it.

use std::collections::BTreeMap;

use husk_engine::container::config::Config;
use husk_engine::container::{Container, name};
use husk_engine::error::Result;
use serde_json::{Value, json};

use super::host_config::bindings;
use crate::document::{Nil, OMITTED, list, nil};

/// As Docker's, whose times are nanoseconds and left out where they are 0.
fn health_check(config: &Config) -> Option<Value> {
    let check = config.health.as_ref()?;
    let mut shown = json!({ "Test": check.test });
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries.into()),
    ] {
        if value != 0 {
            shown[name] = value.into();
        }
    }
    Some(shown)
}

pub(super) fn config_of(container: &Container) -> Result<Value> {
    let record = &container.record;
    let config = &record.config;
    let (entrypoint, cmd) = config.args.split_at(config.entrypoint_length.min(config.args.len()));
    let exposed = config.exposed.iter().cloned().chain(bindings(config)?.into_keys());
    let exposed: BTreeMap<String, Value> = exposed.map(|port| (port, json!({}))).collect();
    let mut shown = json!({
        "Hostname": if config.hostname.is_empty() { name::short(&record.id) } else { &config.hostname },
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": config.tty,
        "OpenStdin": config.interactive,
        "StdinOnce": config.interactive,
        "Env": list(&config.env),
        "Cmd": list(cmd),
        "Image": record.image,
        "Volumes": nil(Nil::Map),
        "WorkingDir": config.working_dir,
        "Entrypoint": list(entrypoint),
        "OnBuild": nil(Nil::List),
        "Labels": config.labels,
    });
    let mut omitted = json!({
        "Healthcheck": null, "Shell": nil(Nil::List), "StopTimeout": null, "StopSignal": "",
        "ExposedPorts": nil(Nil::Map), "NetworkDisabled": false, "ArgsEscaped": false,
    });
    let mut set = |name: &str, value: Value, is_set: bool| {
        if is_set {
            shown[name] = value;
        } else {
            omitted[name] = value;
        }
    };
    if let Some(timeout) = config.stop_timeout {
        set("StopTimeout", timeout.into(), true);
    }
    set("StopSignal", config.stop_signal.clone().into(), !config.stop_signal.is_empty());
    if let Some(check) = health_check(config) {
        set("Healthcheck", check, true);
    }
    if !exposed.is_empty() {
        set("ExposedPorts", json!(exposed), true);
    }
    shown[OMITTED] = omitted;
    Ok(shown)
}
