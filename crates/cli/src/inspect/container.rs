//! What `inspect` tells of a container: the fields of Docker's document.

use std::collections::BTreeMap;

use husk_spec::NamespaceType;
use serde_json::{Value, json};

use crate::container::image_id;
use crate::error::Result;
use crate::listing::status_word;
use crate::template::{Nil, OMITTED, nil};
use husk_engine::container::config::{Config, Mount, ThrottleKind};
use husk_engine::container::health::{Health, ProbeResult};
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, Source, name};
use husk_engine::home::Home;
use husk_engine::{rootfs, spec, usage};

/// Go's zero time: of what has not happened yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A list that Docker has as null where it is empty.
fn list<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() { nil(Nil::List) } else { json!(items) }
}

fn mounts(home: &Home, container: &Container) -> Vec<Value> {
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

/// The binds and volumes, as `-v` writes them.
fn binds(container: &Container) -> Vec<String> {
    let mounts = container.record.config.mounts.iter();
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, .. }
        | Mount::Volume { name: source, target, read_only, anonymous: false, .. } => {
            Some(format!("{source}:{target}{}", if *read_only { ":ro" } else { "" }))
        }
        Mount::Volume { .. } | Mount::Tmpfs { .. } => None,
    };
    mounts.filter_map(one).collect()
}

/// What `--publish` asks for, as Docker's `HostConfig` has it: a range port by port, and an empty
/// `HostPort` where any will do.
fn bindings(config: &Config) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for text in &config.publishes {
        let publish: husk_net::Publish = text.parse()?;
        let address = publish.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let one_port = publish.container_ports.clone().count() == 1;
        for (nth, port) in publish.container_ports.clone().enumerate() {
            let host = match &publish.host_ports {
                None => String::new(),
                Some(ports) if one_port && ports.clone().count() > 1 => {
                    format!("{}-{}", ports.start(), ports.end())
                }
                Some(ports) => {
                    ports.clone().nth(nth).map_or_else(String::new, |port| port.to_string())
                }
            };
            let binding = json!({ "HostIp": address, "HostPort": host });
            bindings.entry(format!("{port}/{}", publish.protocol)).or_default().push(binding);
        }
    }
    Ok(bindings)
}

/// Where a container is in a network, or all of it empty.
fn endpoint(one: Option<&husk_net::Endpoint>) -> Value {
    let (v4, v6) = (one.and_then(|e| e.address(false)), one.and_then(|e| e.address(true)));
    let text = |ip: std::net::IpAddr| ip.to_string();
    json!({
        "IPAMConfig": null, "Links": nil(Nil::List), "Aliases": nil(Nil::List),
        "DriverOpts": nil(Nil::Map), "GwPriority": 0, "DNSNames": nil(Nil::List),
        "EndpointID": "",
        "IPAddress": v4.map_or_else(String::new, |a| text(a.address)),
        "IPPrefixLen": v4.map_or(0, |a| a.prefix),
        "Gateway": v4.map_or_else(String::new, |a| text(a.gateway)),
        "GlobalIPv6Address": v6.map_or_else(String::new, |a| text(a.address)),
        "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix),
        "IPv6Gateway": v6.map_or_else(String::new, |a| text(a.gateway)),
        "MacAddress": one.map_or_else(String::new, |e| husk_net::format_mac(e.mac)),
    })
}

/// The container's networks: those it is on, and those it will be on when it is started.
fn networks(nets: &husk_net::Networks, record: &husk_engine::container::Record) -> Result<Value> {
    let mut networks = BTreeMap::new();
    let default = ["bridge".to_owned()];
    let asked: &[String] = match record.config.networks.as_slice() {
        [] => &default,
        asked => asked,
    };
    let asked = asked.iter().map(|value| husk_net::network_name(value));
    for name in asked.filter(|name| !name.starts_with("container:")) {
        networks.insert(name.to_owned(), endpoint(None));
    }
    for one in nets.endpoints(None)?.into_iter().filter(|one| one.container == record.id) {
        networks.insert(one.network.clone(), endpoint(Some(&one)));
    }
    for (name, endpoint) in &mut networks {
        endpoint["NetworkID"] = husk_engine::network::id(nets, name).unwrap_or_default().into();
    }
    Ok(json!(networks))
}

/// The published ports as they are, and the exposed ones that are not published.
fn ports(nets: &husk_net::Networks, container: &Container, state: &State) -> Result<Value> {
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for claim in nets.claims(Some(container.id()))? {
        let hosts = match claim.host_ip {
            None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
            Some(ip) => vec![ip.to_string()],
        };
        let list = ports.entry(format!("{}/{}", claim.container_port, claim.protocol)).or_default();
        for host in hosts {
            list.push(json!({ "HostIp": host, "HostPort": claim.host_port.to_string() }));
        }
    }
    let mut ports: BTreeMap<String, Value> =
        ports.into_iter().map(|(port, list)| (port, json!(list))).collect();
    if state.status == Status::Running {
        for port in &container.record.config.exposed {
            ports.entry(port.clone()).or_insert_with(|| nil(Nil::List));
        }
    }
    Ok(json!(ports))
}

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
        "Status": status_word(state),
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

fn config_of(container: &Container) -> Result<Value> {
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
    if let Some(check) = health_check(config) {
        set("Healthcheck", check, true);
    }
    if let Some(timeout) = config.stop_timeout {
        set("StopTimeout", timeout.into(), true);
    }
    set("StopSignal", config.stop_signal.clone().into(), !config.stop_signal.is_empty());
    if !exposed.is_empty() {
        set("ExposedPorts", json!(exposed), true);
    }
    shown[OMITTED] = omitted;
    Ok(shown)
}

fn security_options(config: &Config) -> Vec<String> {
    let security = &config.security;
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    if security.seccomp_unconfined {
        options.push("seccomp=unconfined".to_owned());
    } else if security.seccomp_profile.is_some() {
        options.push("seccomp=custom".to_owned());
    }
    options.extend(security.seccomp_allow.iter().map(|name| format!("seccomp=+{name}")));
    options.extend(security.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    options.extend(security.selinux_label.iter().map(|label| format!("label={label}")));
    if security.unmasked {
        options.push("systempaths=unconfined".to_owned());
    }
    options
}

/// `host`, `container:ID`, or what it is by default.
fn namespace_mode(config: &Config, typ: NamespaceType, default: &str) -> String {
    let joined = config.joined_namespaces.iter().find(|(joined, _)| *joined == typ);
    match joined {
        Some((_, name)) => format!("container:{name}"),
        None if config.host_namespaces.contains(&typ) => "host".to_owned(),
        None => default.to_owned(),
    }
}

fn throttles(config: &Config, kind: ThrottleKind) -> Value {
    let of_kind = config.limits.throttles.iter().filter(|throttle| throttle.kind == kind);
    of_kind.map(|one| json!({ "Path": one.device, "Rate": one.rate })).collect()
}

fn host_config(container: &Container) -> Result<Value> {
    let config = &container.record.config;
    let limits = &config.limits;
    let unmasked = config.privileged || config.security.unmasked;
    let tmpfs = config.mounts.iter().filter_map(|mount| match mount {
        Mount::Tmpfs { target, options } => Some((target.clone(), json!(options.join(",")))),
        _ => None,
    });
    let tmpfs: serde_json::Map<String, Value> = tmpfs.collect();
    let log = match config.log.disabled {
        true => json!({ "Type": "none", "Config": {} }),
        false => json!({ "Type": "json-file", "Config": {
            "max-size": config.log.max_size.to_string(),
            "max-file": config.log.max_files.to_string(),
        } }),
    };
    let devices = config.devices.iter().map(|(host, inside, access)| {
        json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": access })
    });
    let ulimits = config.ulimits.iter().map(|(name, soft, hard)| {
        let number = |value: &u64| i64::try_from(*value).unwrap_or(-1);
        json!({ "Name": name, "Soft": number(soft), "Hard": number(hard) })
    });
    let weights = limits.device_weights.iter();
    let weights = weights.map(|(path, weight)| json!({ "Path": path, "Weight": weight }));
    let mut shown = json!({
        "Binds": list(&binds(container)),
        "ContainerIDFile": "",
        "LogConfig": log,
        "NetworkMode": config.networks.first().map_or("bridge", |value| husk_net::network_name(value)),
        "PortBindings": bindings(config)?,
        "RestartPolicy": {
            "Name": config.restart.condition.name(),
            "MaximumRetryCount": config.restart.maximum,
        },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": nil(Nil::List),
        "ConsoleSize": [0, 0],
        "CapAdd": list(&config.cap_add),
        "CapDrop": list(&config.cap_drop),
        "CgroupnsMode": namespace_mode(config, NamespaceType::Cgroup, "private"),
        "Dns": config.dns,
        "DnsOptions": config.dns_options,
        "DnsSearch": config.dns_search,
        "ExtraHosts": list(&config.add_hosts),
        "GroupAdd": list(&config.groups),
        "IpcMode": namespace_mode(config, NamespaceType::Ipc, "private"),
        "Cgroup": "",
        "Links": nil(Nil::List),
        "OomScoreAdj": config.oom_score_adj.unwrap_or(0),
        "PidMode": namespace_mode(config, NamespaceType::Pid, ""),
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list(&security_options(config)),
        "UTSMode": namespace_mode(config, NamespaceType::Uts, ""),
        "UsernsMode": "",
        "ShmSize": config.shm_size,
        "Runtime": config.runtime.as_deref().unwrap_or("husk-oci"),
        "Isolation": "",
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": limits.cgroup_parent.clone().unwrap_or_default(),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
    });
    // Two literals: one is too long for the macro.
    let more = json!({
        "BlkioWeightDevice": weights.collect::<Vec<_>>(),
        "BlkioDeviceReadBps": throttles(config, ThrottleKind::ReadBytes),
        "BlkioDeviceWriteBps": throttles(config, ThrottleKind::WriteBytes),
        "BlkioDeviceReadIOps": throttles(config, ThrottleKind::ReadOperations),
        "BlkioDeviceWriteIOps": throttles(config, ThrottleKind::WriteOperations),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.clone().unwrap_or_default(),
        "Devices": devices.collect::<Vec<_>>(),
        "DeviceCgroupRules": list(&config.device_rules),
        "DeviceRequests": nil(Nil::List),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": if unmasked { nil(Nil::List) } else { json!(spec::masked::masked_paths()) },
        "ReadonlyPaths": if unmasked { nil(Nil::List) } else { json!(spec::READONLY) },
    });
    let mut omitted = json!({
        "Init": null, "Mounts": nil(Nil::List), "Tmpfs": nil(Nil::Map), "StorageOpt": nil(Nil::Map),
        "Sysctls": nil(Nil::Map), "Annotations": nil(Nil::Map),
    });
    let optional = [
        ("Tmpfs", json!(tmpfs), !tmpfs.is_empty()),
        ("Sysctls", json!(config.sysctls), !config.sysctls.is_empty()),
        ("Annotations", json!(config.annotations), !config.annotations.is_empty()),
        ("Init", true.into(), config.init),
    ];
    for (name, value, is_set) in optional {
        if is_set {
            shown[name] = value.clone();
            omitted[name] = value;
        }
    }
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown[OMITTED] = omitted;
    Ok(shown)
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
pub(super) fn document(home: &Home, container: &Container, size: bool) -> Result<Value> {
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
    settings["SandboxID"] = "".into();
    settings["SandboxKey"] = match state.pid {
        0 => "".into(),
        pid => format!("/proc/{pid}/ns/net").into(),
    };
    settings["HairpinMode"] = false.into();
    settings["LinkLocalIPv6Address"] = "".into();
    settings["LinkLocalIPv6PrefixLen"] = 0.into();
    settings["SecondaryIPAddresses"] = nil(Nil::List);
    settings["SecondaryIPv6Addresses"] = nil(Nil::List);
    let mut shown = json!({
        "Id": record.id,
        "Created": record.created,
        "Name": format!("/{}", record.name),
        "Path": record.config.args.first(),
        "Args": record.config.args.get(1..).unwrap_or_default(),
        "State": state_of(&state, container.health(&state)?.as_ref()),
        "Image": image_id(container),
        "RestartCount": state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": record.config.security.selinux_label.clone().unwrap_or_default(),
        "ProcessLabel": record.config.security.selinux_label.clone().unwrap_or_default(),
        "AppArmorProfile": record.config.security.apparmor.clone().unwrap_or_default(),
        "ExecIDs": nil(Nil::List),
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
