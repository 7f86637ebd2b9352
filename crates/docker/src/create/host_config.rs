//! `HostConfig`.

use husk_engine::container::config::{Limits, Throttle, ThrottleKind};
use husk_engine::container::request::{DeviceRequest, HostConfig, LogConfig, Ulimit};
use husk_engine::container::restart::RestartPolicy;
use husk_net::Publish;

use super::mounts;
use crate::object::{Object, Result};

/// Reads all of it but `NetworkMode`.
pub(super) fn read(mut host: Object) -> Result<HostConfig> {
    // Where the client writes the id, and the size of its terminal.
    host.drop_all(&["ContainerIDFile", "ConsoleSize"]);
    for (name, default) in [("Isolation", "default"), ("VolumeDriver", "local")] {
        let value = host.text(name)?;
        if !value.is_empty() && value != default {
            return Err(host.error(name, format!("{value:?} is not supported")));
        }
    }
    let mut config = HostConfig {
        binds: host.texts("Binds")?,
        mounts: mounts::read(&mut host)?,
        tmpfs: host.text_map("Tmpfs")?.into_iter().collect(),
        volumes_from: host.texts("VolumesFrom")?,
        devices: devices(&mut host)?,
        device_cgroup_rules: host.texts("DeviceCgroupRules")?,
        restart_policy: restart_policy(&mut host)?,
        auto_remove: host.truth("AutoRemove")?,
        readonly_rootfs: host.truth("ReadonlyRootfs")?,
        privileged: host.truth("Privileged")?,
        cap_add: host.texts("CapAdd")?,
        cap_drop: host.texts("CapDrop")?,
        security_opt: host.texts("SecurityOpt")?,
        limits: limits(&mut host)?,
        ulimits: ulimits(&mut host)?,
        shm_size: host.count("ShmSize")?.unwrap_or(0),
        sysctls: host.text_map("Sysctls")?,
        oom_score_adj: match host.number("OomScoreAdj")? {
            None | Some(0) => None,
            Some(score) => Some(
                i32::try_from(score)
                    .map_err(|_| host.error("OomScoreAdj", "must be -1000 to 1000"))?,
            ),
        },
        group_add: host.texts("GroupAdd")?,
        init: host.truth("Init")?,
        // As `inspect` shows the default, here and of Docker.
        runtime: host
            .text_if_any("Runtime")?
            .filter(|name| !matches!(name.as_str(), "husk-oci" | "runc")),
        annotations: host.text_map("Annotations")?,
        dns: addresses(&mut host)?,
        dns_search: host.texts("DnsSearch")?,
        dns_options: host.texts("DnsOptions")?,
        extra_hosts: host.texts("ExtraHosts")?,
        port_bindings: port_bindings(&mut host)?,
        publish_all_ports: host.truth("PublishAllPorts")?,
        pid_mode: host.text("PidMode")?,
        ipc_mode: host.text("IpcMode")?,
        uts_mode: host.text("UTSMode")?,
        cgroupns_mode: host.text("CgroupnsMode")?,
        userns_mode: host.text("UsernsMode")?,
        // Docker has those of swarms alone.
        secrets: Vec::new(),
        log_config: log_config(&mut host)?,
    };
    unmask(&mut host, &mut config)?;
    host.finish()?;
    Ok(config)
}

/// Empty lists of masked and read-only paths take the masks away; null are the usual ones, and
/// what `inspect` shows of them is taken, too.
fn unmask(host: &mut Object, config: &mut HostConfig) -> Result<()> {
    let masked = host.texts_or_null("MaskedPaths")?;
    let read_only = host.texts_or_null("ReadonlyPaths")?;
    let usual_masked = husk_engine::spec::masked::masked_paths();
    let usual_read_only = husk_engine::spec::READONLY;
    let is_usual = |paths: &[String], usual: &[String]| paths == usual;
    let usual_read_only: Vec<String> =
        usual_read_only.iter().map(|path| (*path).to_owned()).collect();
    let usual_masked: Vec<String> = usual_masked.iter().map(ToString::to_string).collect();
    for (name, paths, usual) in
        [("MaskedPaths", &masked, &usual_masked), ("ReadonlyPaths", &read_only, &usual_read_only)]
    {
        if let Some(paths) = paths
            && !paths.is_empty()
            && !is_usual(paths, usual)
        {
            return Err(host.error(name, "must be null for the usual paths, or empty for none"));
        }
    }
    match (masked.as_deref(), read_only.as_deref()) {
        (Some([]), Some([])) => {
            config.security_opt.push("systempaths=unconfined".to_owned());
            Ok(())
        }
        (Some([]), _) => Err(host.error("MaskedPaths", "is empty, and ReadonlyPaths is not")),
        (_, Some([])) => Err(host.error("ReadonlyPaths", "is empty, and MaskedPaths is not")),
        _ => Ok(()),
    }
}

/// Its limits of the cgroup, also those of an update.
pub(crate) fn limits(host: &mut Object) -> Result<Limits> {
    let mut limits = Limits {
        memory: host.number("Memory")?,
        memory_swap: host.number("MemorySwap")?,
        memory_reservation: host.number("MemoryReservation")?,
        nano_cpus: host.number("NanoCpus")?,
        cpu_quota: host.number("CpuQuota")?,
        cpu_period: host.count("CpuPeriod")?,
        cpu_shares: host.count("CpuShares")?,
        cpuset_cpus: host.text_if_any("CpusetCpus")?,
        cpuset_mems: host.text_if_any("CpusetMems")?,
        pids: host.number("PidsLimit")?.filter(|limit| *limit != 0),
        oom_kill_disable: host.truth("OomKillDisable")?,
        cpu_rt_runtime: host.number("CpuRealtimeRuntime")?.filter(|runtime| *runtime != 0),
        cpu_rt_period: host.count("CpuRealtimePeriod")?.filter(|period| *period != 0),
        cgroup_parent: host.text_if_any("CgroupParent")?,
        ..Limits::default()
    };
    // Docker's -1 is that of the kernel.
    limits.memory_swappiness = match host.number("MemorySwappiness")? {
        None | Some(-1) => None,
        Some(value) => Some(
            u64::try_from(value)
                .map_err(|_| host.error("MemorySwappiness", "must be 0 to 100, or -1"))?,
        ),
    };
    let weight = |value: Option<u64>| value.map(|value| u16::try_from(value).unwrap_or(u16::MAX));
    limits.blkio_weight = weight(host.count("BlkioWeight")?);
    for mut one in host.objects("BlkioWeightDevice")? {
        let device = (one.text("Path")?, weight(one.count("Weight")?).unwrap_or(0));
        one.finish()?;
        limits.device_weights.push(device);
    }
    for (name, kind) in [
        ("BlkioDeviceReadBps", ThrottleKind::ReadBytes),
        ("BlkioDeviceWriteBps", ThrottleKind::WriteBytes),
        ("BlkioDeviceReadIOps", ThrottleKind::ReadOperations),
        ("BlkioDeviceWriteIOps", ThrottleKind::WriteOperations),
    ] {
        for mut one in host.objects(name)? {
            let (device, rate) = (one.text("Path")?, one.count("Rate")?.unwrap_or(0));
            one.finish()?;
            limits.throttles.push(Throttle { kind, device, rate });
        }
    }
    Ok(limits)
}

fn ulimits(host: &mut Object) -> Result<Vec<Ulimit>> {
    let mut ulimits = Vec::new();
    for mut one in host.objects("Ulimits")? {
        // -1 is none.
        let mut value = |name: &str| match one.number(name)? {
            Some(-1) => Ok(u64::MAX),
            Some(value) => {
                u64::try_from(value).map_err(|_| one.error(name, "must be -1 or a number"))
            }
            None => Ok(0),
        };
        let (soft, hard) = (value("Soft")?, value("Hard")?);
        ulimits.push(Ulimit { name: one.text("Name")?, soft, hard });
        one.finish()?;
    }
    Ok(ulimits)
}

fn devices(host: &mut Object) -> Result<Vec<DeviceRequest>> {
    let mut devices = Vec::new();
    for mut one in host.objects("Devices")? {
        devices.push(DeviceRequest {
            path_on_host: one.text("PathOnHost")?,
            path_in_container: one.text("PathInContainer")?,
            cgroup_permissions: one.text("CgroupPermissions")?,
        });
        one.finish()?;
    }
    Ok(devices)
}

/// Its restart policy, also that of an update.
pub(crate) fn restart_policy(host: &mut Object) -> Result<RestartPolicy> {
    let Some(mut policy) = host.object("RestartPolicy")? else {
        return Ok(RestartPolicy::default());
    };
    let name = policy.text("Name")?;
    let text = match policy.count("MaximumRetryCount")?.unwrap_or(0) {
        0 => name,
        count => format!("{name}:{count}"),
    };
    let parsed = text.parse().map_err(|problem: &str| policy.error("Name", problem))?;
    policy.finish()?;
    Ok(parsed)
}

fn log_config(host: &mut Object) -> Result<LogConfig> {
    let Some(mut log) = host.object("LogConfig")? else { return Ok(LogConfig::default()) };
    let config = LogConfig { driver: log.text("Type")?, options: log.text_map("Config")? };
    log.finish()?;
    Ok(config)
}

fn addresses(host: &mut Object) -> Result<Vec<std::net::IpAddr>> {
    let texts = host.texts("Dns")?;
    let parse = |(index, text): (usize, &String)| {
        let bad = || host.error(&format!("Dns[{index}]"), format!("{text:?} is not an IP address"));
        text.parse().map_err(|_| bad())
    };
    texts.iter().enumerate().map(parse).collect()
}

/// `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`.
fn port_bindings(host: &mut Object) -> Result<Vec<Publish>> {
    let mut bindings = Vec::new();
    for (port, list) in host.lists_by_key("PortBindings")? {
        let name = format!("PortBindings.{port}");
        // An empty list is a port that is published on any.
        let texts = match list.is_empty() {
            true => vec![port.clone()],
            false => {
                let mut texts = Vec::new();
                for mut one in list {
                    let address = one.text("HostIp")?;
                    let address = match address.contains(':') {
                        true => format!("[{address}]"),
                        false => address,
                    };
                    let host_port = one.text("HostPort")?;
                    let host_port = if host_port == "0" { String::new() } else { host_port };
                    one.finish()?;
                    texts.push(match (address.as_str(), host_port.as_str()) {
                        ("", "") => port.clone(),
                        ("", _) => format!("{host_port}:{port}"),
                        _ => format!("{address}:{host_port}:{port}"),
                    });
                }
                texts
            }
        };
        for text in texts {
            let publish: husk_net::Result<Publish> = text.parse();
            bindings.push(publish.map_err(|error| host.error(&name, error.to_string()))?);
        }
    }
    Ok(bindings)
}
