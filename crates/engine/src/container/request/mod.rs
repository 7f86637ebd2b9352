//! What is asked for when a container is created: plain data, whatever asks. A command line
//! fills it from flags, an API from JSON. Nothing in it has been checked yet; [`resolve`] does
//! that, and joins it with what the image says.
//!
//! Fields are named as in Docker's API, where it has them.
//!
//! [`resolve`]: ContainerRequest::resolve

mod environment;
mod health;
mod limits;
mod log;
mod mounts;
mod namespaces;
mod resolve;
mod security;

use std::collections::BTreeMap;
use std::net::IpAddr;

use husk_net::{Attachment, Publish};

use super::config::{BindRecursive, Limits};
use super::health::HealthCheck;
use super::restart::RestartPolicy;
use crate::image::RegistryAccess;
use crate::secret::SecretUse;

pub use limits::{counts_swap, parse_size};
pub use mounts::parse_bind;

/// A container that is to be created.
#[derive(Clone, Debug, Default)]
pub struct ContainerRequest {
    /// Its name; empty for one that is made up.
    pub name: String,
    /// Name, digest or id of the image, or `host` for the root of this machine.
    pub image: String,
    /// `OS/ARCHITECTURE[/VARIANT]` that the image must be of.
    pub platform: Option<String>,
    /// When the image is pulled.
    pub pull: PullPolicy,
    /// How the registry is talked to.
    pub registry: RegistryAccess,
    /// Empty for the short id.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `USER[:GROUP]`; `None` for the image's.
    pub user: Option<String>,
    /// Whether the program gets a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// `NAME=VALUE` over the image's; a `NAME` alone takes the image's away.
    pub env: Vec<String>,
    /// The command; empty for the image's.
    pub cmd: Vec<String>,
    /// `None` for the image's; an empty list for none. Another entrypoint than the image's does
    /// not get the image's command.
    pub entrypoint: Option<Vec<String>>,
    /// `None` for the image's.
    pub working_dir: Option<String>,
    /// Over the image's.
    pub labels: BTreeMap<String, String>,
    /// `PORT[-PORT][/PROTOCOL]`, beside the image's.
    pub exposed_ports: Vec<String>,
    /// Paths inside that get an anonymous volume, beside the image's.
    pub volumes: Vec<String>,
    /// Name or number of a signal; empty for the image's.
    pub stop_signal: String,
    /// Seconds until the program is killed that does not stop.
    pub stop_timeout: Option<u64>,
    /// Hardware address on the first network.
    pub mac_address: Option<String>,
    /// The health check, where it says nothing the image's; a test of `NONE` for none.
    pub healthcheck: Option<HealthCheck>,
    /// The networks, the first with the default route and the published ports; none is the
    /// default network. `none`, `host`, `pasta` and `container:NAME` stand alone.
    pub networks: Vec<Attachment>,
    /// Other names on the first network.
    pub aliases: Vec<String>,
    /// `CONTAINER[:ALIAS]`: names that it alone finds others on the first network by.
    pub links: Vec<String>,
    /// Addresses on the first network.
    pub addresses: Vec<IpAddr>,
    /// How it runs on this host.
    pub host_config: HostConfig,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Where the store does not have it.
    #[default]
    Missing,
    /// Never.
    Never,
}

impl PullPolicy {
    /// `always`, `missing` or `never`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "always" => Self::Always,
            "missing" => Self::Missing,
            "never" => Self::Never,
            _ => return None,
        })
    }
}

/// How a container runs on this host: what is not its image's.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of Docker's")]
pub struct HostConfig {
    /// `SOURCE:TARGET[:OPTIONS]` with an absolute path of the host or the name of a volume as
    /// source, or `TARGET` alone for an anonymous volume. A path that is not there becomes a
    /// directory.
    pub binds: Vec<String>,
    /// Mounts; the path of a bind must be there.
    pub mounts: Vec<MountRequest>,
    /// Target and options of mount(8), with commas between them.
    pub tmpfs: Vec<(String, String)>,
    /// `CONTAINER[:ro]`.
    pub volumes_from: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<DeviceRequest>,
    /// Rules of the devices controller of cgroup v1, such as `c 10:200 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// What happens when the program has ended.
    pub restart_policy: RestartPolicy,
    /// Whether the container is removed when its program has ended.
    pub auto_remove: bool,
    /// Whether the root is mounted read-only.
    pub readonly_rootfs: bool,
    /// All capabilities and devices, and no masks.
    pub privileged: bool,
    /// Names of capabilities, with or without `CAP_`, or ALL.
    pub cap_add: Vec<String>,
    /// The same.
    pub cap_drop: Vec<String>,
    /// `no-new-privileges[=BOOL]`, `seccomp=unconfined`, `seccomp=+GROUP`, `seccomp=JSON` with
    /// the content of a profile, `apparmor=PROFILE`, `label=LABEL`, `systempaths=unconfined`.
    pub security_opt: Vec<String>,
    /// Limits of the cgroup. In each field 0 means no limit.
    pub limits: Limits,
    /// Limits of processes (getrlimit(2)).
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm; 0 for 64 MiB.
    pub shm_size: u64,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Names or numbers of supplementary groups.
    pub group_add: Vec<String>,
    /// Whether an init process forwards signals and reaps.
    pub init: bool,
    /// Name or path of another OCI runtime.
    pub runtime: Option<String>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Addresses of DNS servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf(5).
    pub dns_options: Vec<String>,
    /// `NAME:ADDRESS` for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Ports of the container that are ports of the host, too.
    pub port_bindings: Vec<Publish>,
    /// Whether exposed ports are published on free ports.
    pub publish_all_ports: bool,
    /// Empty, `private`, `host` or `container:NAME`.
    pub pid_mode: String,
    /// Empty, `private`, `shareable`, `host` or `container:NAME`.
    pub ipc_mode: String,
    /// Empty, `private` or `host`.
    pub uts_mode: String,
    /// Empty, `private` or `host`.
    pub cgroupns_mode: String,
    /// Empty or `host`.
    pub userns_mode: String,
    /// Secrets of the engine that the container is given.
    pub secrets: Vec<SecretUse>,
    /// Where the output goes.
    pub log_config: LogConfig,
}

/// A device of the host that a container is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Absolute.
    pub path_on_host: String,
    /// Absolute; empty for the same.
    pub path_in_container: String,
    /// Some of `rwm`; empty for all.
    pub cgroup_permissions: String,
}

/// A limit of getrlimit(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile` and its kin.
    pub name: String,
    /// `u64::MAX` for none.
    pub soft: u64,
    /// The same.
    pub hard: u64,
}

/// Where a container's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// `json-file`, `local` or `none`; empty for the default.
    pub driver: String,
    /// Options by name.
    pub options: BTreeMap<String, String>,
}

/// One of `HostConfig.Mounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountRequest {
    /// What is mounted.
    pub source: MountSource,
    /// Absolute, inside.
    pub target: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// What a [`MountRequest`] mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute.
        path: String,
        /// `rprivate` and its kin; empty for `rprivate`.
        propagation: String,
        /// What happens with the mounts below it.
        recursive: BindRecursive,
        /// Whether a path that is not there becomes a directory.
        create: bool,
    },
    /// A volume.
    Volume {
        /// Empty for an anonymous one.
        name: String,
        /// Whether an empty volume stays empty.
        no_copy: bool,
    },
    /// A tmpfs.
    Tmpfs {
        /// Bytes; `None` for the kernel's half of the memory.
        size: Option<u64>,
        /// Its mode, in octal digits.
        mode: Option<String>,
        /// Other options of mount(8).
        options: Vec<String>,
    },
}

impl Default for MountSource {
    fn default() -> Self {
        Self::Volume { name: String::new(), no_copy: false }
    }
}
