//! The documents of a checkpoint, and what of them goes into a container.

use std::net::IpAddr;

use serde::Deserialize;

use super::{ImportRequest, PULL};
use crate::container::request::{ContainerRequest, MountRequest, MountSource};
use crate::error::{Error, Result};

/// podman's ContainerConfig.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigDump {
    name: String,
    #[serde(rename = "rootfsImageID")]
    pub(super) image_id: String,
    #[serde(rename = "rootfsImageName")]
    pub(super) image_name: String,
    #[serde(rename = "namedVolumes")]
    volumes: Option<Vec<NamedVolume>>,
    #[serde(rename = "staticIP")]
    static_ip: Option<IpAddr>,
    #[serde(rename = "staticMAC")]
    static_mac: Option<String>,
    #[serde(rename = "createNetNS")]
    network: bool,
    privileged: bool,
    #[serde(rename = "shmSize")]
    shm_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedVolume {
    #[serde(rename = "volumeName")]
    name: String,
    dest: String,
    options: Option<Vec<String>>,
}

/// Of the runtime-spec document what is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SpecDump {
    process: Process,
    root: Root,
    hostname: String,
    mounts: Vec<MountDump>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    no_new_privileges: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct User {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    readonly: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MountDump {
    destination: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    memory: Memory,
    pids: Pids,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    limit: Option<i64>,
}

/// Mounts that every engine makes of its own files or of none.
const OWN: [&str; 14] = [
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/sys",
    "/sys/fs/cgroup",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/run/.containerenv",
    "/run/secrets",
    "/etc/passwd",
    "/etc/group",
];

/// The container that is to be created, and the names of its volumes.
pub(super) fn request(
    request: &ImportRequest,
    config: &ConfigDump,
    spec: &SpecDump,
) -> Result<(ContainerRequest, Vec<String>)> {
    let mut wanted = request.container.clone();
    let asked = |what: &str| {
        Err(Error::other(format_args!(
            "{what} cannot be chosen: the program of a checkpoint runs already"
        )))
    };
    match &wanted {
        it if !it.cmd.is_empty() || it.entrypoint.is_some() => return asked("a command"),
        it if !it.env.is_empty() => return asked("the environment"),
        it if it.user.is_some() => return asked("the user"),
        it if it.working_dir.is_some() => return asked("the working directory"),
        _ => {}
    }
    namespaces(&wanted, spec)?;
    if config.privileged && !wanted.host_config.privileged {
        return Err(beyond("privileged", "run --from-checkpoint --privileged"));
    }
    if wanted.name.is_empty() {
        wanted.name.clone_from(&config.name);
    }
    wanted.image.clone_from(&config.image_name);
    wanted.pull = PULL;
    let process = &spec.process;
    wanted.entrypoint = Some(Vec::new());
    wanted.cmd.clone_from(&process.args);
    wanted.env.clone_from(&process.env);
    wanted.working_dir = Some(process.cwd.clone());
    wanted.user = Some(format!("{}:{}", process.user.uid, process.user.gid));
    let groups = process.user.additional_gids.iter().map(ToString::to_string);
    wanted.host_config.group_add.extend(groups);
    wanted.tty = process.terminal;
    if wanted.hostname.is_empty() && spec.hostname != "localhost" {
        wanted.hostname.clone_from(&spec.hostname);
    }
    if process.no_new_privileges {
        wanted.host_config.security_opt.push("no-new-privileges".to_owned());
    }
    wanted.host_config.readonly_rootfs |= spec.root.readonly;
    let limits = &mut wanted.host_config.limits;
    limits.memory = limits.memory.or(spec.linux.resources.memory.limit);
    limits.pids = limits.pids.or(spec.linux.resources.pids.limit);
    if wanted.host_config.shm_size == 0 {
        wanted.host_config.shm_size = u64::try_from(config.shm_size).unwrap_or(0);
    }
    network(request, config, &mut wanted)?;
    let volumes = mounts(config, spec, &mut wanted)?;
    Ok((wanted, volumes))
}

fn beyond(what: &str, flag: &str) -> Error {
    Error::other(format_args!(
        "the checkpoint wants {what}, which it may not choose: allow it with {flag}"
    ))
}

/// A namespace that is not in the list is the host's.
fn namespaces(wanted: &ContainerRequest, spec: &SpecDump) -> Result<()> {
    let host = &wanted.host_config;
    for (kind, given, flag) in [
        ("pid", !host.pid_mode.is_empty(), "--pid"),
        ("ipc", !host.ipc_mode.is_empty(), "--ipc"),
        ("uts", !host.uts_mode.is_empty(), "--uts"),
        ("network", !wanted.networks.is_empty(), "--network"),
        ("mount", false, "nothing"),
    ] {
        let own = spec.linux.namespaces.iter().any(|namespace| namespace.kind == kind);
        if !own && !given {
            let what = format!("the host's {kind} namespace");
            return Err(beyond(&what, &format!("run --from-checkpoint {flag}")));
        }
    }
    Ok(())
}

fn network(
    request: &ImportRequest,
    config: &ConfigDump,
    wanted: &mut ContainerRequest,
) -> Result<()> {
    if wanted.networks.is_empty() && !config.network {
        wanted.networks = vec![husk_net::Attachment {
            network: "none".to_owned(),
            ..husk_net::Attachment::default()
        }];
        if !wanted.host_config.port_bindings.is_empty() {
            return Err(Error::other(
                "--publish does not go with a checkpoint of a container without a network",
            ));
        }
        return Ok(());
    }
    if let (Some(address), false, []) =
        (config.static_ip, request.ignore_static_ip, wanted.addresses.as_slice())
    {
        wanted.addresses = vec![address];
    }
    if let (Some(mac), false, None) =
        (&config.static_mac, request.ignore_static_mac, &wanted.mac_address)
    {
        wanted.mac_address = Some(mac.clone());
    }
    Ok(())
}

/// Volumes by their names, and tmpfs. A path of the host must be in the request.
fn mounts(
    config: &ConfigDump,
    spec: &SpecDump,
    wanted: &mut ContainerRequest,
) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let given = |wanted: &ContainerRequest, target: &str| {
        wanted.host_config.mounts.iter().any(|mount| mount.target == target)
            || wanted.host_config.binds.iter().any(|bind| bind.split(':').nth(1) == Some(target))
    };
    for volume in config.volumes.iter().flatten() {
        if given(wanted, &volume.dest) {
            continue;
        }
        let read_only = volume.options.iter().flatten().any(|option| option == "ro");
        wanted.host_config.mounts.push(MountRequest {
            source: MountSource::Volume { name: volume.name.clone(), no_copy: true },
            target: volume.dest.clone(),
            read_only,
        });
        names.push(volume.name.clone());
    }
    for mount in &spec.mounts {
        let target = mount.destination.as_str();
        if OWN.contains(&target) || given(wanted, target) {
            continue;
        }
        match mount.kind.as_str() {
            "tmpfs" => {
                let options = mount.options.join(",");
                wanted.host_config.tmpfs.push((target.to_owned(), options));
            }
            _ => {
                let what = format!("{} of the host at {target}", mount.source);
                return Err(beyond(&what, &format!("--volume PATH:{target}")));
            }
        }
    }
    Ok(names)
}
