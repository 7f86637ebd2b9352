//! How a container is to run: plain data, written at `create`, read at every start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::HealthCheck;
use super::restart::RestartPolicy;
use crate::secret::SecretUse;

/// What the flags and the image together say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Entrypoint and command.
    pub args: Vec<String>,
    /// How many of `args` are the entrypoint, for inspect and ps.
    pub entrypoint_length: usize,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// `user[:group]`.
    pub user: String,
    /// `--group-add`.
    pub groups: Vec<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--init`.
    pub init: bool,
    /// `--runtime`; `None` for husk-oci.
    pub runtime: Option<String>,
    /// `--hostname`; empty for the short id.
    pub hostname: String,
    /// `--domainname`.
    pub domainname: String,
    /// `--add-host`.
    pub add_hosts: Vec<String>,
    /// `--dns`.
    pub dns: Vec<std::net::IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--network`.
    pub networks: Vec<String>,
    /// `--ip` and `--ip6`, of the first network.
    pub addresses: Vec<std::net::IpAddr>,
    /// `--mac-address`, of the first network.
    pub mac: Option<String>,
    /// `--publish`.
    pub publishes: Vec<String>,
    /// What the image and `--expose` say.
    pub exposed: Vec<String>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `-v`, `--mount`, `--tmpfs`, in order.
    pub mounts: Vec<Mount>,
    /// `--secret`.
    pub secrets: Vec<SecretUse>,
    /// `--device`: host path, path inside, access.
    pub devices: Vec<(String, String, String)>,
    /// `--device-cgroup-rule`.
    pub device_rules: Vec<husk_spec::DeviceRule>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--cap-add`, as CAP_NAME or ALL.
    pub cap_add: Vec<String>,
    /// `--cap-drop`, as CAP_NAME or ALL.
    pub cap_drop: Vec<String>,
    /// `--security-opt`.
    pub security: Security,
    /// Limits of the cgroup.
    pub limits: Limits,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--shm-size`, in bytes.
    pub shm_size: u64,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--pid host`, `--ipc host`, `--uts host`, `--cgroupns host`.
    pub host_namespaces: Vec<husk_spec::NamespaceType>,
    /// `--pid container:NAME`, `--ipc container:NAME`.
    pub joined_namespaces: Vec<(husk_spec::NamespaceType, String)>,
    /// The image's, `--label-file` and `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`: nothing of the image's.
    pub annotations: BTreeMap<String, String>,
    /// Signal of `stop`, a name or a number; empty for TERM.
    pub stop_signal: String,
    /// `--stop-timeout`, in seconds.
    pub stop_timeout: Option<u64>,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// The image's HEALTHCHECK, and `--health-cmd` and its kin.
    pub health: Option<HealthCheck>,
    /// `--log-driver` and `--log-opt`.
    pub log: LogOptions,
}

/// One mount that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Mount {
    /// A path of the host.
    Bind {
        /// Absolute.
        source: String,
        /// Absolute, inside.
        target: String,
        /// Read-only.
        read_only: bool,
        /// `rprivate` and its kin; empty for `rprivate`.
        propagation: String,
        /// What happens with the mounts below the source.
        #[serde(default)]
        recursive: BindRecursive,
        /// The source without any link, as it was when the container was created. What is
        /// bound is always this: a link that is put in its place later is not followed.
        #[serde(default)]
        resolved: String,
    },
    /// A volume of the engine.
    Volume {
        /// Its name.
        name: String,
        /// Absolute, inside.
        target: String,
        /// Read-only.
        read_only: bool,
        /// Made for this container alone, and removed with it (`rm -v`, `--rm`).
        anonymous: bool,
        /// An empty volume stays empty (`nocopy`).
        #[serde(default)]
        no_copy: bool,
    },
    /// A tmpfs.
    Tmpfs {
        /// Absolute, inside.
        target: String,
        /// mount(8) options.
        options: Vec<String>,
    },
}

/// `bind-recursive` of `--mount type=bind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindRecursive {
    /// Mounts below the source come along, and are read-only where the bind is.
    #[default]
    Enabled,
    /// Mounts below the source stay behind.
    Disabled,
    /// Mounts below the source come along and stay writable.
    Writable,
    /// As `Enabled`, and the bind is read-only.
    Readonly,
}

impl BindRecursive {
    /// Reads the option's value.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "enabled" => Self::Enabled,
            "disabled" => Self::Disabled,
            "writable" => Self::Writable,
            "readonly" => Self::Readonly,
            _ => return None,
        })
    }
}

impl Mount {
    /// Where it is inside.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }

    /// What is there: a path, a volume's name, nothing of a tmpfs.
    pub fn source(&self) -> &str {
        match self {
            Self::Bind { source, .. } => source,
            Self::Volume { name, .. } => name,
            Self::Tmpfs { .. } => "",
        }
    }

    /// Puts it elsewhere.
    pub fn set_target(&mut self, to: String) {
        let (Self::Bind { target, .. } | Self::Volume { target, .. } | Self::Tmpfs { target, .. }) =
            self;
        *target = to;
    }
}

/// `--security-opt`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// `seccomp=unconfined`.
    pub seccomp_unconfined: bool,
    /// `seccomp=FILE`: the file's content in the runtime-spec's form.
    pub seccomp_profile: Option<husk_spec::Seccomp>,
    /// `seccomp=+NAME`: groups of calls that the default refuses.
    pub seccomp_allow: Vec<String>,
    /// `apparmor=PROFILE`.
    pub apparmor: Option<String>,
    /// `label=...` as an SELinux label.
    pub selinux_label: Option<String>,
    /// `systempaths=unconfined`.
    pub unmasked: bool,
}

/// Limits of the cgroup; `None` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 for no limit.
    pub memory_swap: Option<i64>,
    /// Bytes.
    pub memory_reservation: Option<i64>,
    /// `--cpus`, in billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// `--cpu-quota`, microseconds of each period.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`.
    pub pids: Option<i64>,
    /// `--memory-swappiness`.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--cpu-rt-runtime`, in microseconds.
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpu-rt-period`, in microseconds.
    pub cpu_rt_period: Option<u64>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device`: path and weight.
    pub device_weights: Vec<(String, u16)>,
    /// `--device-read-bps` and its kin.
    pub throttles: Vec<Throttle>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
}

impl Limits {
    /// Quota and period of the processors, in microseconds.
    pub fn quota(&self) -> (Option<i64>, Option<u64>) {
        match self.nano_cpus {
            Some(nano) => (Some(nano / 10_000), Some(100_000)),
            None => (self.cpu_quota, self.cpu_period),
        }
    }
}

/// A limit of a block device's use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttle {
    /// Of what.
    pub kind: ThrottleKind,
    /// The device's path on the host.
    pub device: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// What a [`Throttle`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ThrottleKind {
    /// `--device-read-bps`.
    ReadBytes,
    /// `--device-write-bps`.
    WriteBytes,
    /// `--device-read-iops`.
    ReadOperations,
    /// `--device-write-iops`.
    WriteOperations,
}

/// Where a container's output goes besides those attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogOptions {
    /// `none` instead of `json-file`.
    pub disabled: bool,
    /// Bytes a file may have.
    pub max_size: u64,
    /// How many files are kept, the current one included.
    pub max_files: u32,
    /// The options `labels` and `env` as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selected: BTreeMap<String, String>,
    /// What those selected: written with each entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Default for LogOptions {
    fn default() -> Self {
        // Bounded without being asked: a log that fills the disk is the complaint heard
        // most of engines that do not.
        Self {
            disabled: false,
            max_size: 10 << 20,
            max_files: 3,
            selected: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }
}
