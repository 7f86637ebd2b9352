//! The flags that say how a container is to run, and what they mean.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use husk_image::facts::Facts;
use husk_spec::NamespaceType;

use crate::attach;
use crate::container::config::{Config, Limits, LogOptions, Mount, Security};
use crate::container::name;
use crate::error::{Error, Result, file};
use crate::spec::capability;

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
    /// TARGET[:OPTIONS] of a tmpfs
    #[arg(long, value_name = "SPEC")]
    tmpfs: Vec<String>,
    /// HOST[:INSIDE[:rwm]] of a device
    #[arg(long, value_name = "SPEC")]
    device: Vec<String>,
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
    /// IPv4 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<std::net::Ipv6Addr>,
    /// [[ADDRESS:]PORT:]PORT[/PROTOCOL] of the host and the container
    #[arg(short, long, value_name = "SPEC")]
    publish: Vec<String>,
    /// Publish the ports that the image exposes
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// One more port that --publish-all publishes
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// host: the host's processes
    #[arg(long)]
    pid: Option<String>,
    /// host or private
    #[arg(long)]
    ipc: Option<String>,
    /// host: the host's name
    #[arg(long)]
    uts: Option<String>,
    /// NAME=VALUE to find the container by
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
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
    /// What typed in order detaches
    #[arg(long, default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: String,
    /// Talk to any registry, without TLS too
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

/// Limits of the cgroup.
#[derive(Debug, Args)]
pub(super) struct LimitFlags {
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit of memory and swap together; -1 for none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<String>,
    /// How many CPUs' time
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// CPU time a period, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Length of the period, in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,
    /// Share of CPU time against others
    #[arg(short, long, value_name = "N")]
    cpu_shares: Option<u64>,
    /// CPUs to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Share of block I/O against others, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
}

/// `512`, `64k`, `1.5g` in bytes.
pub(super) fn bytes(flag: &'static str, text: &str) -> Result<i64> {
    let bad = || Error::flag(flag, text, "is not a size, such as 64m or 1g");
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let plain = plain.strip_suffix('i').unwrap_or(plain);
    let (digits, shift) = match plain.chars().next_back() {
        Some('k') => (&plain[..plain.len() - 1], 10),
        Some('m') => (&plain[..plain.len() - 1], 20),
        Some('g') => (&plain[..plain.len() - 1], 30),
        Some('t') => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let value: f64 = digits.trim().parse().map_err(|_| bad())?;
    let bytes =
        value * f64::from(1u32 << (shift % 32)) * if shift >= 32 { 4_294_967_296.0 } else { 1.0 };
    match bytes {
        bytes if bytes.is_finite() && (0.0..9.0e18).contains(&bytes) => Ok(bytes as i64),
        _ => Err(bad()),
    }
}

impl LimitFlags {
    pub(super) fn resolve(&self) -> Result<Limits> {
        let memory = self.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?;
        if memory.is_some_and(|memory| memory < 6 << 20) {
            let text = self.memory.clone().unwrap_or_default();
            return Err(Error::flag("--memory", text, "is below the least, 6m"));
        }
        let memory_swap = match self.memory_swap.as_deref() {
            Some("-1") => Some(-1),
            Some(text) => Some(bytes("--memory-swap", text)?),
            None => None,
        };
        let (mut cpu_quota, mut cpu_period) = (self.cpu_quota, self.cpu_period);
        if let Some(cpus) = &self.cpus {
            let value = cpus.parse::<f64>().ok().filter(|n| (0.01..=8192.0).contains(n));
            let value = value.ok_or_else(|| Error::flag("--cpus", cpus, "is not 0.01 to 8192"))?;
            if cpu_quota.is_some() || cpu_period.is_some() {
                let problem = "cannot stand beside --cpu-quota and --cpu-period";
                return Err(Error::flag("--cpus", cpus, problem));
            }
            (cpu_quota, cpu_period) = (Some((value * 100_000.0) as i64), Some(100_000));
        }
        Ok(Limits {
            memory,
            memory_swap,
            memory_reservation: self
                .memory_reservation
                .as_deref()
                .map(|text| bytes("--memory-reservation", text))
                .transpose()?,
            cpu_quota,
            cpu_period,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
        })
    }
}

impl Flags {
    /// What flags and image together say.
    ///
    /// # Errors
    /// A flag's value that cannot be honoured, by its name.
    pub(super) fn resolve(&self, image: &Facts) -> Result<Config> {
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
        let mut labels = image.labels.clone();
        labels.extend(pairs("--label", &self.label, true)?);
        attach::parse_keys(&self.detach_keys)?;
        Ok(Config {
            args,
            entrypoint_length: entrypoint.len(),
            env: self.environment(image)?,
            working_dir: workdir,
            user: self.user.clone().unwrap_or_else(|| image.user.clone()),
            groups: self.group_add.clone(),
            tty: self.tty,
            interactive: self.interactive,
            hostname: self.hostname()?,
            domainname: self.domainname.clone(),
            add_hosts: self.add_hosts()?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            networks: self.network.clone(),
            addresses: self
                .ip
                .map(IpAddr::from)
                .into_iter()
                .chain(self.ip6.map(IpAddr::from))
                .collect(),
            publishes: self.publishes()?,
            exposed: self.exposed(image)?,
            publish_all: self.publish_all,
            mounts: self.mounts(image)?,
            devices: self.devices()?,
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: capabilities("--cap-add", &self.cap_add)?,
            cap_drop: capabilities("--cap-drop", &self.cap_drop)?,
            security: self.security()?,
            limits: self.limits.resolve()?,
            ulimits: self.ulimits()?,
            shm_size: bytes("--shm-size", &self.shm_size)?.unsigned_abs(),
            sysctls: pairs("--sysctl", &self.sysctl, false)?,
            oom_score_adj: self.oom_score()?,
            host_namespaces: self.host_namespaces()?,
            labels,
            stop_signal: match self.stop_signal.as_str() {
                "" => image.stop_signal.clone().unwrap_or_default(),
                signal => signal.to_owned(),
            },
            stop_timeout: self.stop_timeout,
            auto_remove: self.remove,
            log: self.log()?,
        })
    }

    fn hostname(&self) -> Result<String> {
        if !self.hostname.is_empty() {
            husk_net::dns::validate_hostname(&self.hostname)?;
        }
        Ok(self.hostname.clone())
    }

    fn add_hosts(&self) -> Result<Vec<String>> {
        for text in &self.add_host {
            text.parse::<husk_net::dns::ExtraHost>()?;
        }
        Ok(self.add_host.clone())
    }

    fn publishes(&self) -> Result<Vec<String>> {
        for text in &self.publish {
            text.parse::<husk_net::Publish>()?;
        }
        husk_net::Mode::parse(&self.network, crate::rootless::is_rootless())?;
        Ok(self.publish.clone())
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

    fn environment(&self, image: &Facts) -> Result<Vec<String>> {
        let mut env: Vec<(String, String)> = image.env.clone();
        let mut set = |entry: &str, flag| {
            let (name, value) = match entry.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                // Our own value; without one the container has none either.
                None => (entry, std::env::var(entry).ok()),
            };
            if name.is_empty() || entry.contains('\0') {
                return Err(Error::flag(flag, entry, "is not NAME=VALUE"));
            }
            let Some(value) = value else { return Ok(()) };
            match env.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = value,
                None => env.push((name.to_owned(), value)),
            }
            Ok(())
        };
        for path in &self.env_file {
            let text = std::fs::read_to_string(path).map_err(file("read --env-file", path))?;
            for line in text.lines().map(str::trim_start) {
                if !line.is_empty() && !line.starts_with('#') {
                    set(line, "--env-file")?;
                }
            }
        }
        for entry in &self.env {
            set(entry, "--env")?;
        }
        Ok(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    fn devices(&self) -> Result<Vec<(String, String, String)>> {
        let mut devices = Vec::new();
        for text in &self.device {
            let parts: Vec<&str> = text.split(':').collect();
            let access_of =
                |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
            let (host, inside, access) = match parts.as_slice() {
                [host] => (*host, *host, "rwm"),
                [host, access] if access_of(access) => (*host, *host, *access),
                [host, inside] => (*host, *inside, "rwm"),
                [host, inside, access] if access_of(access) => (*host, *inside, *access),
                _ => return Err(Error::flag("--device", text, "is not HOST[:INSIDE[:rwm]]")),
            };
            if !host.starts_with('/') || !inside.starts_with('/') {
                return Err(Error::flag("--device", text, "is not an absolute path"));
            }
            devices.push((host.to_owned(), inside.to_owned(), access.to_owned()));
        }
        Ok(devices)
    }

    fn security(&self) -> Result<Security> {
        let mut security = Security::default();
        for text in &self.security_opt {
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, "true"));
            let bad = |problem: &str| Error::flag("--security-opt", text, problem);
            match (name, value) {
                ("no-new-privileges", "true" | "false") => {
                    security.no_new_privileges = value == "true";
                }
                ("seccomp", "unconfined") => security.seccomp_unconfined = true,
                ("seccomp", value) => match value.strip_prefix('+') {
                    Some(name) => security.seccomp_allow.push(name.to_owned()),
                    None => security.seccomp_profile = Some(seccomp_file(value)?),
                },
                ("apparmor", profile) => security.apparmor = Some(profile.to_owned()),
                ("systempaths", "unconfined") => security.unmasked = true,
                // Nothing is labelled unless asked for.
                ("label", "disable") => security.selinux_label = None,
                ("label", label) if label.matches(':').count() >= 3 => {
                    security.selinux_label = Some(label.to_owned());
                }
                ("label", _) => return Err(bad("label= takes disable or a whole SELinux label")),
                _ => {
                    return Err(bad(
                        "is none of no-new-privileges, seccomp=, apparmor=, label=, systempaths=unconfined",
                    ));
                }
            }
        }
        crate::spec::seccomp::default_profile(&[], &security.seccomp_allow)?;
        Ok(security)
    }

    fn ulimits(&self) -> Result<Vec<(String, u64, u64)>> {
        const NAMES: [&str; 16] = [
            "as",
            "core",
            "cpu",
            "data",
            "fsize",
            "locks",
            "memlock",
            "msgqueue",
            "nice",
            "nofile",
            "nproc",
            "rss",
            "rtprio",
            "rttime",
            "sigpending",
            "stack",
        ];
        let mut ulimits = Vec::new();
        for text in &self.ulimit {
            let bad = |problem: &str| Error::flag("--ulimit", text, problem);
            let number = |text: &str| match text {
                "-1" | "unlimited" => Ok(u64::MAX),
                text => text.parse().map_err(|_| bad("is not NAME=SOFT[:HARD]")),
            };
            let (name, value) =
                text.split_once('=').ok_or_else(|| bad("is not NAME=SOFT[:HARD]"))?;
            if !NAMES.contains(&name) {
                return Err(bad("has no such limit (getrlimit(2) lists them)"));
            }
            let (soft, hard) = value.split_once(':').unwrap_or((value, value));
            let (soft, hard) = (number(soft)?, number(hard)?);
            if soft > hard {
                return Err(bad("is softer above than hard"));
            }
            ulimits.push((name.to_owned(), soft, hard));
        }
        Ok(ulimits)
    }

    fn host_namespaces(&self) -> Result<Vec<NamespaceType>> {
        let mut namespaces = Vec::new();
        for (flag, value, typ) in [
            ("--pid", &self.pid, NamespaceType::Pid),
            ("--ipc", &self.ipc, NamespaceType::Ipc),
            ("--uts", &self.uts, NamespaceType::Uts),
        ] {
            match value.as_deref() {
                None | Some("" | "private") => {}
                Some("host") => namespaces.push(typ),
                Some(other) => {
                    return Err(Error::flag(flag, other, "only host and private are built yet"));
                }
            }
        }
        if namespaces.contains(&NamespaceType::Uts) && !self.hostname.is_empty() {
            return Err(Error::flag(
                "--hostname",
                &self.hostname,
                "would be the host's with --uts host",
            ));
        }
        Ok(namespaces)
    }

    fn log(&self) -> Result<LogOptions> {
        let mut log = LogOptions::default();
        match self.log_driver.as_str() {
            "json-file" => {}
            "none" => log.disabled = true,
            other => {
                return Err(Error::flag(
                    "--log-driver",
                    other,
                    "only json-file and none are built yet",
                ));
            }
        }
        for (name, value) in pairs("--log-opt", &self.log_opt, false)? {
            match name.as_str() {
                "max-size" => log.max_size = bytes("--log-opt max-size", &value)?.unsigned_abs(),
                "max-file" => {
                    let files = value.parse().ok().filter(|files| *files > 0);
                    log.max_files = files.ok_or_else(|| {
                        Error::flag("--log-opt max-file", &value, "is no number above 0")
                    })?;
                }
                _ => {
                    return Err(Error::flag(
                        "--log-opt",
                        name,
                        "only max-size and max-file are built yet",
                    ));
                }
            }
        }
        Ok(log)
    }

    fn mounts(&self, image: &Facts) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(volume(text)?);
        }
        for text in &self.mount {
            mounts.push(super::volume::parse_mount(text)?);
        }
        for text in &self.tmpfs {
            let (target, options) = text.split_once(':').unwrap_or((text, ""));
            let options = options.split(',').filter(|one| !one.is_empty()).map(str::to_owned);
            mounts.push(Mount::Tmpfs { target: target.to_owned(), options: options.collect() });
        }
        for (index, mount) in mounts.iter().enumerate() {
            let target = mount.target();
            if !target.starts_with('/') || target.trim_matches('/').is_empty() {
                return Err(Error::flag(
                    "--volume",
                    target,
                    "the target is an absolute path, and not /",
                ));
            }
            if mounts[..index].iter().any(|other| other.target() == target) {
                return Err(Error::flag("--volume", target, "two mounts have this target"));
            }
        }
        for target in &image.volumes {
            if mounts.iter().all(|mount| mount.target() != target) {
                mounts.push(anonymous(target)?);
            }
        }
        Ok(mounts)
    }
}

fn anonymous(target: &str) -> Result<Mount> {
    let (name, target) = (name::new_id()?, target.to_owned());
    Ok(Mount::Volume { name, target, read_only: false, anonymous: true })
}

/// `-v`.
fn volume(text: &str) -> Result<Mount> {
    let bad = |problem: &str| Error::flag("--volume", text, problem);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => return anonymous(target),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(bad("is not SOURCE:TARGET[:OPTIONS]")),
    };
    let (mut read_only, mut propagation) = (false, String::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // SELinux labels: nothing is relabelled where nothing is labelled.
            "rw" | "z" | "Z" => {}
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => {
                option.clone_into(&mut propagation);
            }
            _ => return Err(bad("has an option other than ro, rw, z, Z and propagation")),
        }
    }
    let target = target.to_owned();
    if source.starts_with('/') || source.starts_with('.') {
        let source = std::path::absolute(source).map_err(file("resolve", source))?;
        let source = source.to_str().ok_or_else(|| bad("is not UTF-8"))?.to_owned();
        if !std::path::Path::new(&source).exists() {
            // As Docker for -v: what is missing becomes a directory.
            std::fs::create_dir_all(&source).map_err(file("make", &source))?;
        }
        return Ok(Mount::Bind { source, target, read_only, propagation });
    }
    name::validate(source)
        .map_err(|_| bad("the source is neither an absolute path nor a volume's name"))?;
    Ok(Mount::Volume { name: source.to_owned(), target, read_only, anonymous: false })
}

fn seccomp_file(path: &str) -> Result<husk_spec::Seccomp> {
    let opened = std::fs::File::open(path).map_err(file("open --security-opt seccomp", path))?;
    let failed = |error: husk_spec::LoadError| Error::flag("--security-opt seccomp", path, error);
    let bytes = husk_spec::read_bounded(opened).map_err(failed)?;
    husk_spec::parse(&bytes).map_err(failed)
}

fn capabilities(flag: &'static str, names: &[String]) -> Result<Vec<String>> {
    names.iter().map(|name| capability::parse(flag, name)).collect()
}

/// NAME=VALUE; with `bare` NAME alone is NAME=.
pub(super) fn pairs(
    flag: &'static str,
    list: &[String],
    bare: bool,
) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for text in list {
        let pair = match text.split_once('=') {
            Some(pair) if !pair.0.is_empty() => pair,
            None if bare && !text.is_empty() => (text.as_str(), ""),
            _ => return Err(Error::flag(flag, text, "is not NAME=VALUE")),
        };
        map.insert(pair.0.to_owned(), pair.1.to_owned());
    }
    Ok(map)
}
