//! `GET /containers/{id}/json`.

use husk_engine::container::config::Mount;
use husk_engine::container::health::{Health, ProbeResult};
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, Source};
use husk_engine::error::Result;
use husk_engine::exec::{self, ExecStatus};
use husk_engine::home::Home;
use husk_engine::{rootfs, usage};
use serde_json::{Value, json};

use super::config::config_of;
use super::host_config::host_config;
use super::network::{endpoint, networks, ports};
use crate::document::{Nil, OMITTED, list, nil};

/// Go's zero time: of what has not happened yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn mounts(home: &Home, container: &Container) -> Vec<Value> {
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, propagation, .. } => json!({
            "Type": "bind", "Source": source, "Destination": target, "RW": !read_only,
            "Mode": if *read_only { "ro" } else { "" },
            "Propagation": if propagation.is_empty() { "rprivate" } else { propagation },
        }),
        Mount::Volume { name, target, read_only, .. } => json!({
            "Type": "volume", "Name": name, "Source": husk_engine::volume::data(home, name),
            "Destination": target, "RW": !read_only, "Driver": "local", "Propagation": "",
            "Mode": if *read_only { "ro" } else { "z" },
        }),
        Mount::Tmpfs { target, .. } => {
            json!({
                "Type": "tmpfs", "Source": "", "Destination": target, "RW": true, "Mode": "",
                "Propagation": "",
            })
        }
    };
    container.record.config.mounts.iter().map(one).collect()
}

fn health_of(health: &Health) -> Value {
    let result = |one: &ProbeResult| {
        json!({
            "Start": one.start,
            "End": one.end,
            "ExitCode": one.exit_code,
            "Output": one.output,
        })
    };
    json!({
        "Status": health.status.name(),
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(result).collect::<Vec<_>>(),
    })
}

fn state_of(state: &State, health: Option<&Health>) -> Value {
    let time = |text: &str| if text.is_empty() { NEVER.to_owned() } else { text.to_owned() };
    let mut shown = json!({
        "Status": state.word(),
        "Running": matches!(state.status, Status::Running | Status::Restarting),
        "Paused": state.paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "MonitorPid": state.monitor,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(&state.started),
        "FinishedAt": time(&state.finished),
    });
    match health {
        Some(health) => shown["Health"] = health_of(health),
        None => shown[OMITTED] = json!({ "Health": null }),
    }
    shown
}

/// The directories of the overlay.
fn graph_driver(home: &Home, container: &Container) -> Result<Value> {
    let Source::Image { manifest, .. } = &container.record.source else {
        return Ok(json!({ "Name": "overlay", "Data": nil(Nil::Map) }));
    };
    let store = home.images()?;
    // An image that is gone is `inspect`'s last worry.
    let layers = store.image(manifest).and_then(|record| store.layers(&record.chain_ids()));
    let lower = layers.unwrap_or_default();
    let lower: Vec<_> = lower.iter().rev().map(|one| one.path.display().to_string()).collect();
    Ok(json!({ "Name": "overlay", "Data": {
        "ID": container.id(),
        "LowerDir": lower.join(":"),
        "MergedDir": container.run.join(rootfs::ROOTFS),
        "UpperDir": rootfs::upper_of(container),
        "WorkDir": container.directory.join("work"),
    } }))
}

/// The document; with `size` also what the container and its image have on the disk, in bytes.
///
/// # Errors
/// Files of the engine that cannot be read.
pub fn inspect_container(home: &Home, container: &Container, size: bool) -> Result<Value> {
    let state = container.state()?;
    let record = &container.record;
    let nets = home.networks()?;
    let networks = networks(&nets, record)?;
    // As Docker's, those of the network "bridge" alone.
    let mut settings = networks.get("bridge").cloned().unwrap_or_else(|| endpoint(None));
    if let Some(settings) = settings.as_object_mut() {
        for of_endpoint in
            ["IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority", "NetworkID", "DNSNames"]
        {
            settings.remove(of_endpoint);
        }
    }
    settings["Ports"] = ports(&nets, container, &state)?;
    settings["Networks"] = networks;
    settings["Bridge"] = "".into();
    settings["SandboxID"] = match state.pid {
        0 => "",
        _ => container.id(),
    }
    .into();
    settings["SandboxKey"] = match state.pid {
        0 => "".into(),
        pid => format!("/proc/{pid}/ns/net").into(),
    };
    settings["HairpinMode"] = false.into();
    settings["LinkLocalIPv6Address"] = "".into();
    settings["LinkLocalIPv6PrefixLen"] = 0.into();
    settings["SecondaryIPAddresses"] = nil(Nil::List);
    settings["SecondaryIPv6Addresses"] = nil(Nil::List);
    let sessions = exec::list(container)?.into_iter();
    let sessions = sessions.filter(|one| one.status == ExecStatus::Running).map(|one| one.id);
    let sessions: Vec<String> = sessions.collect();
    let mut shown = json!({
        "Id": record.id,
        "Created": record.created,
        "Name": format!("/{}", record.name),
        "Path": record.config.args.first(),
        "Args": record.config.args.get(1..).unwrap_or_default(),
        "State": state_of(&state, container.health(&state)?.as_ref()),
        "Image": container.image_id(),
        "RestartCount": state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": record.config.security.selinux_label.clone().unwrap_or_default(),
        "ProcessLabel": record.config.security.selinux_label.clone().unwrap_or_default(),
        "AppArmorProfile": record.config.security.apparmor.clone().unwrap_or_default(),
        "ExecIDs": list(&sessions),
        "LogPath": container.directory.join("log.json"),
        "HostsPath": container.directory.join("hosts"),
        "HostnamePath": container.directory.join("hostname"),
        "ResolvConfPath": container.directory.join("resolv.conf"),
        "GraphDriver": graph_driver(home, container)?,
        "Mounts": mounts(home, container),
        "Config": config_of(container)?,
        "HostConfig": host_config(container)?,
        "NetworkSettings": settings,
        OMITTED: { "SizeRw": null, "SizeRootFs": null },
    });
    if size {
        let own = usage::changes(container);
        shown["SizeRw"] = own.into();
        shown["SizeRootFs"] = (own + husk_engine::image::size_of(home, container)).into();
    }
    Ok(shown)
}
