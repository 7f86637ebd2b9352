//! Commands that only look at containers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::container::image_id;
use super::output;
use crate::clock;
use crate::container::config::Mount;
use crate::container::state::{State, Status};
use crate::container::{Container, name};
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::lock::Lock;
use crate::monitor::{Entry, log_files};

/// `ps`.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Those that do not run too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// The N youngest
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// The youngest
    #[arg(short, long)]
    latest: bool,
    /// id=, name=, label=, status=, ancestor=, exited=, network=
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, or a template such as '{{.Names}}'
    #[arg(long)]
    format: Option<String>,
}

fn status_word(state: &State) -> &'static str {
    match state.status {
        Status::Created => "created",
        Status::Running if state.paused => "paused",
        Status::Running => "running",
        Status::Exited => "exited",
    }
}

fn since(time: &str) -> String {
    let (now, _) = clock::now();
    clock::human(now.saturating_sub(clock::parse(time).unwrap_or(now)))
}

fn status_text(state: &State) -> String {
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running if state.paused => format!("Up {} (Paused)", since(&state.started)),
        Status::Running => format!("Up {}", since(&state.started)),
        Status::Exited => {
            let when = if state.finished.is_empty() { &state.started } else { &state.finished };
            format!("Exited ({}) {} ago", state.exit_code, since(when))
        }
    }
}

fn ports(claims: &[husk_net::Claim]) -> String {
    let mut texts = Vec::new();
    for claim in claims {
        let hosts = match claim.host_ip {
            None => vec!["0.0.0.0".to_owned(), "[::]".to_owned()],
            Some(std::net::IpAddr::V6(ip)) => vec![format!("[{ip}]")],
            Some(ip) => vec![ip.to_string()],
        };
        for host in hosts {
            texts.push(format!(
                "{host}:{}->{}/{}",
                claim.host_port, claim.container_port, claim.protocol
            ));
        }
    }
    texts.join(", ")
}

fn command_text(container: &Container) -> String {
    format!("\"{}\"", container.record.config.args.join(" "))
}

fn clip(text: &str, length: usize) -> String {
    match text.chars().count() > length {
        true => text.chars().take(length - 1).chain("…".chars()).collect(),
        false => text.to_owned(),
    }
}

impl Ps {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut containers = Vec::new();
        for container in Container::all(home)? {
            let state = container.state()?;
            containers.push((container, state));
        }
        let asked_status = self
            .filter
            .iter()
            .any(|filter| filter.starts_with("status=") || filter.starts_with("exited="));
        let last = if self.latest { Some(1) } else { self.last };
        if !self.all && !asked_status && last.is_none() {
            containers.retain(|(_, state)| state.status == Status::Running);
        }
        for filter in &self.filter {
            let (key, value) = filter
                .split_once('=')
                .ok_or_else(|| Error::flag("--filter", filter, "is not NAME=VALUE"))?;
            check_filter(key, filter)?;
            containers.retain(|(container, state)| passes(container, state, key, value));
        }
        containers.truncate(last.unwrap_or(usize::MAX));
        if self.quiet {
            for (container, _) in &containers {
                let id = container.id();
                output::line(if self.no_trunc { id } else { name::short(id) })?;
            }
            return Ok(0);
        }
        let claims = match containers.iter().any(|(_, state)| state.status == Status::Running) {
            true => home.networks()?.claims(None)?,
            false => Vec::new(),
        };
        let rows: Vec<Value> =
            containers.iter().map(|(one, state)| self.row(one, state, &claims)).collect();
        self.print(&rows)
    }

    fn row(&self, container: &Container, state: &State, claims: &[husk_net::Claim]) -> Value {
        let own: Vec<husk_net::Claim> =
            claims.iter().filter(|claim| claim.container == container.id()).cloned().collect();
        let (id, command) = match self.no_trunc {
            true => (container.id().to_owned(), command_text(container)),
            false => (name::short(container.id()).to_owned(), clip(&command_text(container), 20)),
        };
        let config = &container.record.config;
        let labels: Vec<String> =
            config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let networks = if config.networks.is_empty() {
            "bridge".to_owned()
        } else {
            config.networks.join(",")
        };
        json!({
            "ID": id,
            "Image": container.record.image,
            "Command": command,
            "CreatedAt": container.record.created,
            "RunningFor": format!("{} ago", since(&container.record.created)),
            "Status": status_text(state),
            "State": status_word(state),
            "Ports": ports(&own),
            "Names": container.record.name,
            "Labels": labels.join(","),
            "Networks": networks,
        })
    }

    fn print(&self, rows: &[Value]) -> Result<u8> {
        if let Some(template) = &self.format {
            for row in rows {
                output::line(output::format(template, row)?)?;
            }
            return Ok(0);
        }
        let fields = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
        let header = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
        output::rows(&header, &fields, rows).map(|()| 0)
    }
}

fn check_filter(key: &str, filter: &str) -> Result<()> {
    const KEYS: [&str; 7] = ["id", "name", "label", "status", "ancestor", "exited", "network"];
    match KEYS.contains(&key) {
        true => Ok(()),
        false => Err(Error::flag(
            "--filter",
            filter,
            "only id, name, label, status, ancestor, exited and network are built yet",
        )),
    }
}

fn passes(container: &Container, state: &State, key: &str, value: &str) -> bool {
    let config = &container.record.config;
    match key {
        "id" => container.id().starts_with(value),
        "name" => container.record.name.contains(value),
        "label" => match value.split_once('=') {
            Some((name, value)) => config.labels.get(name).is_some_and(|known| known == value),
            None => config.labels.contains_key(value),
        },
        "status" => status_word(state) == value,
        "ancestor" => {
            container.record.image == value
                || image_id(container).trim_start_matches("sha256:").starts_with(value)
        }
        "exited" => state.status == Status::Exited && state.exit_code.to_string() == value,
        "network" => {
            config.networks.iter().any(|network| network == value)
                || (config.networks.is_empty() && value == "bridge")
        }
        _ => false,
    }
}

/// `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The last N lines, or all
    #[arg(short = 'n', long, default_value = "all", value_name = "N")]
    tail: String,
    /// Name or id
    container: String,
}

impl Logs {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        if container.record.config.log.disabled {
            return Err(Error::other("its log driver is none: nothing was kept"));
        }
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(
                text.parse::<usize>()
                    .map_err(|_| Error::flag("--tail", text, "is neither a number nor all"))?,
            ),
        };
        let mut entries = Vec::new();
        let files = log_files(&container.directory);
        let mut end = 0;
        for (index, path) in files.iter().enumerate() {
            let read = read_log(path, 0)?;
            entries.extend(read.0);
            if index + 1 == files.len() {
                end = read.1;
            }
        }
        let skip = tail.map_or(0, |tail| entries.len().saturating_sub(tail));
        for entry in entries.iter().skip(skip) {
            self.print(entry)?;
        }
        if self.follow {
            self.follow(&container, files.last().cloned().unwrap_or_default(), end)?;
        }
        Ok(0)
    }

    fn print(&self, entry: &Entry) -> Result<()> {
        let text = match self.timestamps {
            true => format!("{} {}", entry.time, entry.log),
            false => entry.log.clone(),
        };
        match entry.stream.as_str() {
            "stderr" => drop(std::io::stderr().write_all(text.as_bytes())),
            _ => output::print(&text)?,
        }
        Ok(())
    }

    fn follow(&self, container: &Container, path: PathBuf, mut at: u64) -> Result<()> {
        loop {
            // Looked at before the log: what is written until the end is read after it.
            let alive = Lock::is_held(&container.monitor_lock());
            let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            if size < at {
                // Rotated: the rest of the old file is the next older one's end.
                let older = path.with_extension("json.1");
                for entry in read_log(&older, at).map(|read| read.0).unwrap_or_default() {
                    self.print(&entry)?;
                }
                at = 0;
            }
            let (entries, end) = read_log(&path, at)?;
            at = end;
            for entry in &entries {
                self.print(entry)?;
            }
            if !alive || container.state().map_or(true, |state| state.status != Status::Running) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// The entries from byte `at` on, and where the last whole one ends.
fn read_log(path: &std::path::Path, at: u64) -> Result<(Vec<Entry>, u64)> {
    let mut entries = Vec::new();
    let mut opened = match std::fs::File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((entries, at)),
        Err(error) => return Err(file("open", path)(error)),
    };
    opened.seek(std::io::SeekFrom::Start(at)).map_err(file("seek in", path))?;
    let mut reader = BufReader::new(opened);
    let (mut line, mut end) = (Vec::new(), at);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(file("read", path))?;
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok((entries, end));
        }
        end += length as u64;
        entries.extend(serde_json::from_slice(&line).ok());
    }
}

/// `port`.
#[derive(Debug, Args)]
pub(super) struct Port {
    /// Name or id
    container: String,
    /// PORT[/PROTOCOL] of the container
    port: Option<String>,
}

impl Port {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        let wanted = self.port.as_ref().map(|port| match port.contains('/') {
            true => port.clone(),
            false => format!("{port}/tcp"),
        });
        let mut found = false;
        for claim in home.networks()?.claims(Some(container.id()))? {
            let inside = format!("{}/{}", claim.container_port, claim.protocol);
            if wanted.as_ref().is_some_and(|wanted| *wanted != inside) {
                continue;
            }
            found = true;
            let hosts = match claim.host_ip {
                None => vec!["0.0.0.0".to_owned(), "[::]".to_owned()],
                Some(std::net::IpAddr::V6(ip)) => vec![format!("[{ip}]")],
                Some(ip) => vec![ip.to_string()],
            };
            for host in hosts {
                match wanted {
                    Some(_) => output::line(format_args!("{host}:{}", claim.host_port))?,
                    None => output::line(format_args!("{inside} -> {host}:{}", claim.host_port))?,
                }
            }
        }
        match (wanted, found) {
            (Some(wanted), false) => Err(Error::other(format_args!(
                "port {wanted} of {} is not published",
                self.container
            ))),
            _ => Ok(0),
        }
    }
}

/// `inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// json, or a template such as '{{.State.Pid}}'
    #[arg(short, long)]
    format: Option<String>,
    /// container or image
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    /// Of one kind, where none is asked for.
    pub(super) fn of(mut self, kind: &str) -> Self {
        self.kind.get_or_insert_with(|| kind.to_owned());
        self
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut found = Vec::new();
        for name in &self.names {
            found.push(self.one(home, name)?);
        }
        match &self.format {
            Some(template) => {
                for one in &found {
                    output::line(output::format(template, one)?)?;
                }
            }
            None => {
                let text = serde_json::to_string_pretty(&found).map_err(Error::other)?;
                output::line(text)?;
            }
        }
        Ok(0)
    }

    fn one(&self, home: &Home, name: &str) -> Result<Value> {
        if !matches!(self.kind.as_deref(), None | Some("container" | "image")) {
            let kind = self.kind.clone().unwrap_or_default();
            return Err(Error::flag("--type", kind, "is neither container nor image"));
        }
        if self.kind.as_deref() != Some("image") {
            match Container::find(home, name) {
                Ok(container) => return describe(home, &container),
                Err(Error::NoContainer(_)) if self.kind.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        match super::image::inspect(home, name) {
            Err(_) if self.kind.is_none() => {
                Err(Error::other(format_args!("no such container or image: {name}")))
            }
            other => other,
        }
    }
}

fn mounts(home: &Home, container: &Container) -> Vec<Value> {
    let one = |mount: &Mount| match mount {
        Mount::Bind { source, target, read_only, propagation } => json!({
            "Type": "bind", "Source": source, "Destination": target, "RW": !read_only,
            "Propagation": if propagation.is_empty() { "rprivate" } else { propagation },
        }),
        Mount::Volume { name, target, read_only, .. } => json!({
            "Type": "volume", "Name": name, "Source": crate::volume::data(home, name),
            "Destination": target, "RW": !read_only, "Driver": "local",
        }),
        Mount::Tmpfs { target, .. } => {
            json!({ "Type": "tmpfs", "Source": "", "Destination": target, "RW": true })
        }
    };
    container.record.config.mounts.iter().map(one).collect()
}

fn describe(home: &Home, container: &Container) -> Result<Value> {
    let state = container.state()?;
    let record = &container.record;
    let config = &record.config;
    let nets = home.networks()?;
    let mut networks = BTreeMap::new();
    for endpoint in nets.endpoints(None)?.into_iter().filter(|one| one.container == record.id) {
        let v4 = endpoint.address(false);
        let v6 = endpoint.address(true);
        let text = |ip: std::net::IpAddr| ip.to_string();
        networks.insert(
            endpoint.network.clone(),
            json!({
                "IPAddress": v4.map_or_else(String::new, |a| text(a.address)),
                "IPPrefixLen": v4.map_or(0, |a| a.prefix),
                "Gateway": v4.map_or_else(String::new, |a| text(a.gateway)),
                "GlobalIPv6Address": v6.map_or_else(String::new, |a| text(a.address)),
                "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix),
                "MacAddress": husk_net::format_mac(endpoint.mac),
            }),
        );
    }
    let mut published: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for claim in nets.claims(Some(&record.id))? {
        let host = claim.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        let key = format!("{}/{}", claim.container_port, claim.protocol);
        let entry = json!({ "HostIp": host, "HostPort": claim.host_port.to_string() });
        published.entry(key).or_default().push(entry);
    }
    let (entrypoint, cmd) = config.args.split_at(config.entrypoint_length.min(config.args.len()));
    let address = networks
        .values()
        .next()
        .and_then(|one| one.get("IPAddress").cloned())
        .unwrap_or_else(|| json!(""));
    Ok(json!({
        "Id": record.id,
        "Created": record.created,
        "Name": format!("/{}", record.name),
        "Path": config.args.first(),
        "Args": config.args.get(1..).unwrap_or_default(),
        "State": {
            "Status": status_word(&state),
            "Running": state.status == Status::Running,
            "Paused": state.paused,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": state.pid,
            "MonitorPid": state.monitor,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started,
            "FinishedAt": state.finished,
        },
        "Image": image_id(container),
        "LogPath": container.directory.join("log.json"),
        "HostsPath": container.run.join("hosts"),
        "HostnamePath": container.run.join("hostname"),
        "ResolvConfPath": container.run.join("resolv.conf"),
        "Mounts": mounts(home, container),
        "Config": {
            "Hostname": if config.hostname.is_empty() { name::short(&record.id) } else { &config.hostname },
            "Domainname": config.domainname,
            "User": config.user,
            "Tty": config.tty,
            "OpenStdin": config.interactive,
            "Env": config.env,
            "Cmd": cmd,
            "Entrypoint": entrypoint,
            "Image": record.image,
            "WorkingDir": config.working_dir,
            "Labels": config.labels,
            "StopSignal": if config.stop_signal.is_empty() { "SIGTERM" } else { &config.stop_signal },
            "StopTimeout": config.stop_timeout,
        },
        "HostConfig": {
            "AutoRemove": config.auto_remove,
            "Privileged": config.privileged,
            "ReadonlyRootfs": config.read_only,
            "CapAdd": config.cap_add,
            "CapDrop": config.cap_drop,
            "NetworkMode": config.networks.first().map_or("bridge", String::as_str),
            "PublishAllPorts": config.publish_all,
            "Dns": config.dns,
            "ExtraHosts": config.add_hosts,
            "ShmSize": config.shm_size,
            "Sysctls": config.sysctls,
            "Memory": config.limits.memory.unwrap_or(0),
            "MemorySwap": config.limits.memory_swap.unwrap_or(0),
            "MemoryReservation": config.limits.memory_reservation.unwrap_or(0),
            "CpuQuota": config.limits.cpu_quota.unwrap_or(0),
            "CpuPeriod": config.limits.cpu_period.unwrap_or(0),
            "CpuShares": config.limits.cpu_shares.unwrap_or(0),
            "CpusetCpus": config.limits.cpuset_cpus,
            "PidsLimit": config.limits.pids,
            "OomScoreAdj": config.oom_score_adj.unwrap_or(0),
        },
        "NetworkSettings": {
            "IPAddress": address,
            "Ports": published,
            "Networks": networks,
        },
    }))
}
