//! The flags that say how a container is to run, and what they mean.

mod environment;
mod limits;
mod log;
mod mounts;
mod namespaces;
mod security;

use std::net::IpAddr;

use clap::Args;
use husk_image::facts::Facts;

use husk_engine::container::config::Config;
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;

pub(super) use environment::{lines, pairs};
use limits::FixedLimitFlags;
pub(super) use limits::{LimitFlags, bytes};
use security::capabilities;

/// Flags of `run` and `create`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of Docker's")]
pub(super) struct Flags {
    /// The container's name
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) name: String,
    /// Keep the program's input open and send it ours
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Run the program below a small one that reaps and passes signals on
    #[arg(long)]
    init: bool,
    /// Remove the container when its program ends
    #[arg(long = "rm")]
    pub(super) remove: bool,
    /// Environment: NAME=VALUE, or NAME for our own value
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// A file of such lines
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Working directory
    #[arg(short, long)]
    workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// One more group, by name or number
    #[arg(long)]
    group_add: Vec<String>,
    /// What runs instead of the image's entrypoint; empty for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// SOURCE:TARGET[:ro] of a path or a volume, or TARGET for a new volume
    #[arg(short, long, value_name = "SPEC")]
    volume: Vec<String>,
    /// type=bind|volume|tmpfs,source=...,target=...
    #[arg(long, value_name = "SPEC")]
    mount: Vec<String>,
    /// CONTAINER[:ro]: its volumes and paths too
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// TARGET[:OPTIONS] of a tmpfs
    #[arg(long, value_name = "SPEC")]
    tmpfs: Vec<String>,
    /// HOST[:INSIDE[:rwm]] of a device
    #[arg(long, value_name = "SPEC")]
    device: Vec<String>,
    /// A rule such as 'c 10:200 rwm' for the devices that it may use
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// no: what has ended is not started again, and nothing else is built yet
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Make the root read-only
    #[arg(long)]
    read_only: bool,
    /// Give the container all the host's root has
    #[arg(long)]
    privileged: bool,
    /// One more capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// One capability less, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined|FILE|+io_uring|+af_alg, apparmor=PROFILE,
    /// label=LABEL, systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    #[command(flatten)]
    pub(super) limits: LimitFlags,
    #[command(flatten)]
    fixed_limits: FixedLimitFlags,
    /// NAME=SOFT[:HARD] of a resource limit
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", default_value = "64m")]
    shm_size: String,
    /// NAME=VALUE of a kernel setting of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// The container's hostname
    #[arg(short = 'h', long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// The container's NIS domain
    #[arg(long, default_value = "", hide_default_value = true)]
    domainname: String,
    /// NAME:ADDRESS for /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// A DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// A DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// A resolver option
    #[arg(long, value_name = "OPTION", visible_alias = "dns-opt")]
    dns_option: Vec<String>,
    /// bridge, none, host, container:NAME or a network's name
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
    /// Hardware address on the first network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// [[ADDRESS:]PORT:]PORT[/PROTOCOL] of the host and the container
    #[arg(short, long, value_name = "SPEC")]
    publish: Vec<String>,
    /// Publish the ports that the image exposes
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// One more port that --publish-all publishes
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// host: the host's processes; container:NAME: those of another container
    #[arg(long)]
    pid: Option<String>,
    /// private, host or container:NAME
    #[arg(long)]
    ipc: Option<String>,
    /// host: the host's name
    #[arg(long)]
    uts: Option<String>,
    /// private, or host: the host's view of cgroups
    #[arg(long)]
    cgroupns: Option<String>,
    /// host, which is what it is without
    #[arg(long)]
    userns: Option<String>,
    /// NAME=VALUE to find the container by
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// A file of such lines
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// NAME=VALUE for the runtime
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Write the container's id to a file, which must not be there
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<std::path::PathBuf>,
    /// An OCI runtime instead of husk-oci, by its name or path
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// Signal of stop
    #[arg(long, default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds from the stop signal to KILL
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// json-file or none
    #[arg(long, default_value = "json-file")]
    log_driver: String,
    /// max-size=BYTES, max-file=N
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// always, missing or never
    #[arg(long, default_value = "missing")]
    pub(super) pull: String,
    /// OS/ARCHITECTURE of the image to pull
    #[arg(long)]
    pub(super) platform: Option<String>,
    /// No progress of pulling
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Do not say that the image's health check is not run: husk runs none yet
    #[arg(long)]
    pub(super) no_healthcheck: bool,
    /// What typed in order detaches
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: String,
    /// Whether TLS and its certificates are wanted
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(super) tls_verify: bool,
    /// The image
    pub(super) image: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
    #[arg(long, action = clap::ArgAction::HelpLong, help = "Print this")]
    help: Option<bool>,
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
                "image {} has no command; give one after its name",
                self.image
            )));
        }
        let workdir = self.workdir.clone().unwrap_or_else(|| image.working_dir.clone());
        if !workdir.starts_with('/') {
            return Err(Error::flag("--workdir", workdir, "is not an absolute path"));
        }
        crate::attach::parse_keys(&self.detach_keys)?;
        if let Some(policy) = self.restart.as_deref().filter(|one| !matches!(*one, "" | "no")) {
            return Err(Error::flag("--restart", policy, "is not built yet; only no is"));
        }
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
            devices: self.devices()?,
            device_rules: self.device_rules()?,
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: capabilities("--cap-add", &self.cap_add)?,
            cap_drop: capabilities("--cap-drop", &self.cap_drop)?,
            security: self.security()?,
            limits: self.fixed_limits.add_to(self.limits.resolve()?)?,
            ulimits: self.ulimits()?,
            shm_size: bytes("--shm-size", &self.shm_size)?.unsigned_abs(),
            sysctls: pairs("--sysctl", &self.sysctl, false)?,
            oom_score_adj: self.oom_score()?,
            host_namespaces: self.host_namespaces()?,
            joined_namespaces: self.joined_namespaces()?,
            labels: self.labels(image)?,
            annotations: pairs("--annotation", &self.annotation, false)?,
            stop_signal: self.stop_signal(image)?,
            stop_timeout: self.stop_timeout,
            auto_remove: self.remove,
            log: self.log()?,
        })
    }

    /// Empty: that of the engine.
    fn stop_signal(&self, image: &Facts) -> Result<String> {
        let known = |signal: &str| husk_sys::signal_name::number(signal).is_some();
        match (self.stop_signal.as_str(), &image.stop_signal) {
            ("", None) => Ok(String::new()),
            ("", Some(signal)) if known(signal) => Ok(signal.clone()),
            ("", Some(signal)) => Err(Error::other(format_args!(
                "the image's StopSignal {signal:?} is no signal's name or number: \
                 give one with --stop-signal"
            ))),
            (signal, _) if known(signal) => Ok(signal.to_owned()),
            (signal, _) => {
                Err(Error::flag("--stop-signal", signal, "is no signal's name or number"))
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
            _ => {
                Err(Error::flag("--mac-address", text, "is for a bridge network, which takes root"))
            }
        }
    }

    fn exposed(&self, image: &Facts) -> Result<Vec<String>> {
        let mut exposed: Vec<String> =
            image.exposed_ports.iter().map(ToString::to_string).collect();
        for text in &self.expose {
            let port = husk_image::facts::parse_port(text);
            exposed
                .push(port.map_err(|problem| Error::flag("--expose", text, problem))?.to_string());
        }
        Ok(exposed)
    }

    fn oom_score(&self) -> Result<Option<i32>> {
        match self.oom_score_adj {
            Some(score) if !(-1000..=1000).contains(&score) => {
                Err(Error::flag("--oom-score-adj", score, "is not -1000 to 1000"))
            }
            score => Ok(score),
        }
    }
}
