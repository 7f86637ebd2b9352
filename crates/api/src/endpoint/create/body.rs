//! The body of a creation, as Docker's clients write it: every field may be left out or null.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub(super) type Map<T> = Option<BTreeMap<String, T>>;

/// Words, or one: `Cmd` and `Entrypoint` of old clients.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Command {
    Many(Vec<String>),
    One(String),
}

impl Command {
    pub(super) fn words(self) -> Vec<String> {
        match self {
            Self::Many(words) => words,
            Self::One(word) => vec![word],
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Create {
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
    pub(super) user: Option<String>,
    pub(super) exposed_ports: Map<Value>,
    pub(super) tty: Option<bool>,
    pub(super) open_stdin: Option<bool>,
    pub(super) env: Option<Vec<String>>,
    pub(super) cmd: Option<Command>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) image: Option<String>,
    pub(super) volumes: Map<Value>,
    pub(super) working_dir: Option<String>,
    pub(super) entrypoint: Option<Command>,
    pub(super) network_disabled: Option<bool>,
    pub(super) mac_address: Option<String>,
    pub(super) labels: Map<String>,
    pub(super) stop_signal: Option<String>,
    pub(super) stop_timeout: Option<i64>,
    pub(super) host_config: Option<HostConfig>,
    pub(super) networking_config: Option<NetworkingConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Healthcheck {
    pub(super) test: Option<Vec<String>>,
    pub(super) interval: Option<i64>,
    pub(super) timeout: Option<i64>,
    pub(super) start_period: Option<i64>,
    pub(super) start_interval: Option<i64>,
    pub(super) retries: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    pub(super) binds: Option<Vec<String>>,
    pub(super) log_config: Option<LogConfig>,
    pub(super) network_mode: Option<String>,
    pub(super) port_bindings: Map<Option<Vec<PortBinding>>>,
    pub(super) restart_policy: Option<RestartPolicy>,
    pub(super) auto_remove: Option<bool>,
    pub(super) volume_driver: Option<String>,
    pub(super) volumes_from: Option<Vec<String>>,
    pub(super) cap_add: Option<Vec<String>>,
    pub(super) cap_drop: Option<Vec<String>>,
    pub(super) cgroupns_mode: Option<String>,
    pub(super) dns: Option<Vec<String>>,
    pub(super) dns_options: Option<Vec<String>>,
    pub(super) dns_search: Option<Vec<String>>,
    pub(super) extra_hosts: Option<Vec<String>>,
    pub(super) group_add: Option<Vec<String>>,
    pub(super) ipc_mode: Option<String>,
    pub(super) cgroup: Option<String>,
    pub(super) links: Option<Vec<String>>,
    pub(super) oom_score_adj: Option<i64>,
    pub(super) pid_mode: Option<String>,
    pub(super) privileged: Option<bool>,
    pub(super) publish_all_ports: Option<bool>,
    pub(super) readonly_rootfs: Option<bool>,
    pub(super) security_opt: Option<Vec<String>>,
    pub(super) storage_opt: Map<String>,
    pub(super) tmpfs: Map<String>,
    #[serde(rename = "UTSMode")]
    pub(super) uts_mode: Option<String>,
    pub(super) userns_mode: Option<String>,
    pub(super) shm_size: Option<i64>,
    pub(super) sysctls: Map<String>,
    pub(super) runtime: Option<String>,
    pub(super) isolation: Option<String>,
    pub(super) cpu_shares: Option<i64>,
    pub(super) memory: Option<i64>,
    pub(super) nano_cpus: Option<i64>,
    pub(super) cgroup_parent: Option<String>,
    pub(super) blkio_weight: Option<u16>,
    pub(super) blkio_weight_device: Option<Vec<WeightDevice>>,
    pub(super) blkio_device_read_bps: Option<Vec<RateDevice>>,
    pub(super) blkio_device_write_bps: Option<Vec<RateDevice>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub(super) blkio_device_read_iops: Option<Vec<RateDevice>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub(super) blkio_device_write_iops: Option<Vec<RateDevice>>,
    pub(super) cpu_period: Option<i64>,
    pub(super) cpu_quota: Option<i64>,
    pub(super) cpu_realtime_period: Option<i64>,
    pub(super) cpu_realtime_runtime: Option<i64>,
    pub(super) cpuset_cpus: Option<String>,
    pub(super) cpuset_mems: Option<String>,
    pub(super) devices: Option<Vec<Device>>,
    pub(super) device_cgroup_rules: Option<Vec<String>>,
    pub(super) device_requests: Option<Vec<Value>>,
    pub(super) memory_reservation: Option<i64>,
    pub(super) memory_swap: Option<i64>,
    pub(super) memory_swappiness: Option<i64>,
    pub(super) oom_kill_disable: Option<bool>,
    pub(super) pids_limit: Option<i64>,
    pub(super) ulimits: Option<Vec<Ulimit>>,
    pub(super) init: Option<bool>,
    pub(super) mounts: Option<Vec<Mount>>,
    pub(super) masked_paths: Option<Vec<String>>,
    pub(super) readonly_paths: Option<Vec<String>>,
    pub(super) annotations: Map<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct LogConfig {
    #[serde(rename = "Type")]
    pub(super) driver: Option<String>,
    pub(super) config: Map<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PortBinding {
    pub(super) host_ip: Option<String>,
    pub(super) host_port: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RestartPolicy {
    pub(super) name: Option<String>,
    pub(super) maximum_retry_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WeightDevice {
    pub(super) path: String,
    pub(super) weight: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RateDevice {
    pub(super) path: String,
    pub(super) rate: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Device {
    pub(super) path_on_host: String,
    pub(super) path_in_container: Option<String>,
    pub(super) cgroup_permissions: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Ulimit {
    pub(super) name: String,
    pub(super) soft: i64,
    pub(super) hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mount {
    #[serde(rename = "Type")]
    pub(super) kind: Option<String>,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) read_only: Option<bool>,
    pub(super) consistency: Option<String>,
    pub(super) bind_options: Option<BindOptions>,
    pub(super) volume_options: Option<VolumeOptions>,
    pub(super) tmpfs_options: Option<TmpfsOptions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct BindOptions {
    pub(super) propagation: Option<String>,
    pub(super) non_recursive: Option<bool>,
    pub(super) create_mountpoint: Option<bool>,
    pub(super) read_only_non_recursive: Option<bool>,
    pub(super) read_only_force_recursive: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct VolumeOptions {
    pub(super) no_copy: Option<bool>,
    pub(super) labels: Map<String>,
    pub(super) driver_config: Option<DriverConfig>,
    pub(super) subpath: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DriverConfig {
    pub(super) name: Option<String>,
    pub(super) options: Map<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TmpfsOptions {
    pub(super) size_bytes: Option<i64>,
    pub(super) mode: Option<u32>,
    pub(super) options: Option<Vec<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkingConfig {
    pub(super) endpoints_config: Map<Option<Endpoint>>,
}

/// One network of a container; also the body of a connection to one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Endpoint {
    #[serde(rename = "IPAMConfig")]
    pub(crate) ipam: Option<Ipam>,
    pub(crate) links: Option<Vec<String>>,
    pub(crate) aliases: Option<Vec<String>>,
    pub(crate) mac_address: Option<String>,
    pub(crate) driver_opts: Map<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipam {
    #[serde(rename = "IPv4Address")]
    pub(crate) ipv4: Option<String>,
    #[serde(rename = "IPv6Address")]
    pub(crate) ipv6: Option<String>,
    #[serde(rename = "LinkLocalIPs")]
    pub(crate) link_local: Option<Vec<String>>,
}
