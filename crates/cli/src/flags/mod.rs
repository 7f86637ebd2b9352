//! The flags that say how a container is to run, and what they mean.

mod environment;
mod health;
mod limits;
mod log;
mod mounts;
mod namespaces;
mod security;

use std::net::IpAddr;

use clap::Args;
use husk_image::facts::Facts;

use crate::error::{Error, Result};
use husk_engine::container::config::Config;
use husk_engine::container::restart::RestartPolicy;
use husk_engine::error::Field;
use husk_engine::home::Home;
use husk_engine::secret::SecretUse;

pub(super) use environment::{lines, pairs};
pub(super) use health::HealthFlags;
use limits::FixedLimitFlags;
pub(super) use limits::{LimitFlags, bytes, counts_swap};
use security::capabilities;

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
    /// Log option: max-size=BYTES or max-file=N
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
    /// What flags and image together say.
    ///
    /// # Errors
    /// A flag's value that cannot be honoured, by its name.
    pub(super) fn resolve(&self, home: &Home, image: &Facts) -> Result<Config> {
        let entrypoint = match self.entrypoint.as_deref() {
            None => image.entrypoint.clone(),
            Some("") => Vec::new(),
            Some(program) => vec![program.to_owned()],
        };
        let mut args = entrypoint.clone();
        match self.command.is_empty() {
            false => args.extend(self.command.iter().cloned()),
            // Another entrypoint's arguments are not its.
            true if self.entrypoint.is_none() => args.extend(image.cmd.iter().cloned()),
            true => {}
        }
        if args.is_empty() {
            return Err(Error::other(format_args!(
                "image {} has no command: give one after its name",
                self.image
            )));
        }
        let workdir = self.workdir.clone().unwrap_or_else(|| image.working_dir.clone());
        if !workdir.starts_with('/') {
            return Err(Error::flag("--workdir", workdir, "must be an absolute path"));
        }
        crate::attach::parse_keys(&self.detach_keys)?;
        let labels = self.labels(image)?;
        let health = self.health.resolve(image, &labels)?;
        Ok(Config {
            args,
            entrypoint_length: entrypoint.len(),
            env: self.environment(image)?,
            working_dir: workdir,
            user: self.user.clone().unwrap_or_else(|| image.user.clone()),
            groups: self.group_add.clone(),
            tty: self.tty,
            interactive: self.interactive,
            init: self.init,
            runtime: self.runtime.clone(),
            hostname: self.hostname()?,
            domainname: self.domainname.clone(),
            add_hosts: self.add_hosts()?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            networks: self.networks()?,
            addresses: self
                .ip
                .map(IpAddr::from)
                .into_iter()
                .chain(self.ip6.map(IpAddr::from))
                .collect(),
            publishes: self.publishes()?,
            exposed: self.exposed(image)?,
            publish_all: self.publish_all,
            mac: self.mac()?,
            mounts: self.mounts(home, image)?,
            secrets: self.secrets()?,
            devices: self.devices()?,
            device_rules: self.device_rules()?,
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: capabilities(Field::CapAdd, &self.cap_add)?,
            cap_drop: capabilities(Field::CapDrop, &self.cap_drop)?,
            security: self.security()?,
            limits: self.fixed_limits.add_to(self.limits.resolve()?)?,
            ulimits: self.ulimits()?,
            shm_size: bytes("--shm-size", &self.shm_size)?.unsigned_abs(),
            sysctls: pairs("--sysctl", &self.sysctl, false)?,
            oom_score_adj: self.oom_score()?,
            host_namespaces: self.host_namespaces()?,
            joined_namespaces: self.joined_namespaces()?,
            labels,
            annotations: pairs("--annotation", &self.annotation, false)?,
            stop_signal: self.stop_signal(image)?,
            stop_timeout: self.stop_timeout,
            auto_remove: self.remove,
            restart: self.restart()?,
            health,
            log: self.log()?,
        })
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

    fn secrets(&self) -> Result<Vec<SecretUse>> {
        let parse = |text: &String| {
            SecretUse::parse(text).map_err(|problem| Error::flag("--secret", text, problem))
        };
        self.secret.iter().map(parse).collect()
    }

    /// Empty: that of the engine.
    fn stop_signal(&self, image: &Facts) -> Result<String> {
        let known = |signal: &str| husk_sys::signal_name::number(signal).is_some();
        match (self.stop_signal.as_str(), &image.stop_signal) {
            ("", None) => Ok(String::new()),
            ("", Some(signal)) if known(signal) => Ok(signal.clone()),
            ("", Some(signal)) => Err(Error::other(format_args!(
                "the image's StopSignal {signal:?} is not a signal name or number: \
                 give one with --stop-signal"
            ))),
            (signal, _) if known(signal) => Ok(signal.to_owned()),
            (signal, _) => {
                Err(Error::flag("--stop-signal", signal, "is not a signal name or number"))
            }
        }
    }

    fn hostname(&self) -> Result<String> {
        if !self.hostname.is_empty() {
            husk_net::etc_files::validate_hostname(&self.hostname)?;
        }
        Ok(self.hostname.clone())
    }

    fn add_hosts(&self) -> Result<Vec<String>> {
        for text in &self.add_host {
            text.parse::<husk_net::etc_files::ExtraHost>()?;
        }
        Ok(self.add_host.clone())
    }

    fn publishes(&self) -> Result<Vec<String>> {
        for text in &self.publish {
            text.parse::<husk_net::Publish>()?;
        }
        husk_net::Mode::parse(&self.network, husk_engine::rootless::is_rootless())?;
        Ok(self.publish.clone())
    }

    /// `--network` with `--network-alias`, which is of the first.
    fn networks(&self) -> Result<Vec<String>> {
        let Some(alias) = self.network_alias.first() else { return Ok(self.network.clone()) };
        let is_rootless = husk_engine::rootless::is_rootless();
        let mut values = self.network.clone();
        match husk_net::Mode::parse(&values, is_rootless)? {
            husk_net::Mode::Networks(mut attachments) if !values.is_empty() => {
                if let (Some(first), Some(value)) = (attachments.first_mut(), values.first_mut()) {
                    first.aliases.extend(self.network_alias.iter().cloned());
                    *value = husk_net::network_value(first);
                }
                husk_net::Mode::parse(&values, is_rootless)?;
                Ok(values)
            }
            _ => Err(Error::flag(
                "--network-alias",
                alias,
                "needs --network with a network of yours",
            )),
        }
    }

    fn mac(&self) -> Result<Option<String>> {
        let Some(text) = &self.mac_address else { return Ok(None) };
        husk_net::parse_mac(text)?;
        match husk_net::Mode::parse(&self.network, husk_engine::rootless::is_rootless())? {
            husk_net::Mode::Networks(_) => Ok(Some(text.clone())),
            _ => Err(Error::flag(
                "--mac-address",
                text,
                "is for a bridge network, which requires root",
            )),
        }
    }

    fn exposed(&self, image: &Facts) -> Result<Vec<String>> {
        let mut ranges = image.exposed_ports.clone();
        for text in &self.expose {
            let port = husk_image::facts::parse_port(text);
            ranges.push(port.map_err(|problem| Error::flag("--expose", text, problem))?);
        }
        // As Docker: a range port by port.
        let mut exposed = Vec::new();
        for range in ranges {
            for port in range.first..=range.last {
                let text = format!("{port}/{}", range.protocol);
                if !exposed.contains(&text) {
                    exposed.push(text);
                }
            }
        }
        Ok(exposed)
    }

    fn oom_score(&self) -> Result<Option<i32>> {
        match self.oom_score_adj {
            Some(score) if !(-1000..=1000).contains(&score) => {
                Err(Error::flag("--oom-score-adj", score, "must be -1000 to 1000"))
            }
            score => Ok(score),
        }
    }
}
