//! The flags that say how a container is to run, and the library's request that they make.

mod environment;
mod health;
mod limits;
pub(super) mod mounts;
mod request;

use std::net::IpAddr;

use crate::error::{Error, Result};
use clap::Args;
use husk_engine::container::restart::RestartPolicy;
use husk_engine::secret::SecretUse;

pub(super) use environment::{lines, pairs};
pub(super) use health::HealthFlags;
use limits::FixedLimitFlags;
pub(super) use limits::LimitFlags;
use request::bytes;

/// Flags of `run` and `create`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Docker's")]
pub(super) struct Flags {
    /// Name of the container
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) name: String,
    /// Keep standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Run an init process that forwards signals and reaps zombies
    #[arg(long)]
    init: bool,
    /// Remove the container when it exits
    #[arg(long = "rm")]
    pub(super) remove: bool,
    /// Set an environment variable: NAME=VALUE, or NAME to pass husk's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read NAME[=VALUE] lines from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Working directory
    #[arg(short, long)]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add a supplementary group, by name or number
    #[arg(long)]
    group_add: Vec<String>,
    /// Override the image's entrypoint; empty to clear it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Mount a path or a volume: SOURCE:TARGET[:ro], or TARGET for an anonymous volume
    #[arg(short, long, value_name = "SPEC")]
    volume: Vec<String>,
    /// Mount a file system: type=bind|volume|tmpfs,source=...,target=...
    #[arg(long, value_name = "SPEC")]
    mount: Vec<String>,
    /// Mount the volumes of another container: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// Mount a tmpfs: TARGET[:OPTIONS]
    #[arg(long, value_name = "SPEC")]
    tmpfs: Vec<String>,
    /// Add a host device: HOST[:CONTAINER[:rwm]]
    #[arg(long, value_name = "SPEC")]
    device: Vec<String>,
    /// Add a rule to the allowed devices, such as 'c 10:200 rwm'
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// When the container is started again: no, on-failure[:COUNT], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Give the container extended privileges
    #[arg(long)]
    privileged: bool,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Security option: no-new-privileges, apparmor=PROFILE,
    /// seccomp=unconfined|FILE|+io_uring|+af_alg|+af_vsock,
    /// label=LABEL, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    #[command(flatten)]
    pub(super) limits: LimitFlags,
    #[command(flatten)]
    fixed_limits: FixedLimitFlags,
    /// Set a resource limit: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", default_value = "64m")]
    shm_size: String,
    /// Set a namespaced kernel parameter: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Adjust the OOM score of the process, -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// Hostname of the container
    #[arg(short = 'h', long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// NIS domain name of the container
    #[arg(long, default_value = "", hide_default_value = true)]
    domainname: String,
    /// Add a line to /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Set a DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Set a DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Set a resolver option
    #[arg(long, value_name = "OPTION", visible_alias = "dns-opt")]
    dns_option: Vec<String>,
    /// Network: bridge, none, host, container:NAME or a network's name
    #[arg(long, value_name = "NETWORK", visible_alias = "net")]
    network: Vec<String>,
    /// Another name of the container on the first network
    #[arg(long, value_name = "NAME", visible_alias = "net-alias")]
    network_alias: Vec<String>,
    /// Know another container on the first network by a name of one's own: CONTAINER[:ALIAS]
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
    /// IPv4 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<std::net::Ipv6Addr>,
    /// MAC address on the first network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Publish a port: [[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "SPEC")]
    publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// PID namespace: host or container:NAME
    #[arg(long)]
    pid: Option<String>,
    /// IPC namespace: private, host or container:NAME
    #[arg(long)]
    ipc: Option<String>,
    /// UTS namespace: host
    #[arg(long)]
    uts: Option<String>,
    /// Cgroup namespace: private or host
    #[arg(long)]
    cgroupns: Option<String>,
    /// User namespace: host, which is the default
    #[arg(long)]
    userns: Option<String>,
    /// Set a label: NAME[=VALUE]
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Read NAME[=VALUE] lines from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Add an annotation for the runtime: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Write the container ID to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<std::path::PathBuf>,
    /// OCI runtime to use instead of husk-oci, by name or path
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// Signal to stop the container
    #[arg(long, default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds to wait before killing the container
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// Log driver: json-file, local or none
    #[arg(long, default_value = "json-file")]
    log_driver: String,
    /// Log option: max-size=BYTES, max-file=N, labels=NAME,... or env=NAME,...
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// When to pull the image: always, missing or never
    #[arg(long, default_value = "missing")]
    pub(super) pull: String,
    /// Platform of the image: OS/ARCHITECTURE
    #[arg(long)]
    pub(super) platform: Option<String>,
    /// Suppress pull output
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    health: HealthFlags,
    /// Secret as a file in /run/secrets, or as a variable: NAME[,type=env][,target=T][,mode=OCTAL]
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Key sequence for detaching from the container
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: String,
    /// Require HTTPS and verify certificates (--tls-verify=false: allow HTTP)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(super) tls_verify: bool,
    /// Image
    pub(super) image: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
    #[arg(long, action = clap::ArgAction::HelpLong, help = "Print this")]
    help: Option<bool>,
}

/// The value of `--restart`.
pub(super) fn restart_policy(text: &str) -> Result<RestartPolicy> {
    text.parse().map_err(|problem| Error::flag("--restart", text, problem))
}

impl Flags {
    fn secrets(&self) -> Result<Vec<SecretUse>> {
        let parse = |text: &String| {
            SecretUse::parse(text).map_err(|problem| Error::flag("--secret", text, problem))
        };
        self.secret.iter().map(parse).collect()
    }

    fn restart(&self) -> Result<RestartPolicy> {
        let policy = restart_policy(self.restart.as_deref().unwrap_or_default())?;
        match self.remove && policy != RestartPolicy::default() {
            true => Err(Error::Usage(format!(
                "--restart {policy} and --rm cannot be combined: the one keeps the container, the \
                 other removes it"
            ))),
            false => Ok(policy),
        }
    }
}
