//! `HostConfig`: how it runs on this host.

use std::collections::BTreeMap;

use husk_engine::container::Container;
use husk_engine::container::config::{Config, Mount, ThrottleKind};
use husk_engine::error::Result;
use husk_engine::spec;
use husk_spec::NamespaceType;
use serde_json::{Value, json};

use crate::document::{Nil, OMITTED, list, nil};

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
pub(super) fn bindings(config: &Config) -> Result<BTreeMap<String, Vec<Value>>> {
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

pub(super) fn host_config(container: &Container) -> Result<Value> {
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
        false => {
            let mut options = config.log.selected.clone();
            options.insert("max-size".to_owned(), config.log.max_size.to_string());
            options.insert("max-file".to_owned(), config.log.max_files.to_string());
            json!({ "Type": "json-file", "Config": options })
        }
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
