//! Lists: `ps` and `port`.

use clap::Args;
use serde_json::{Value, json};

use super::container::image_id;
use super::output;
use crate::clock;
use crate::container::state::{State, Status};
use crate::container::{Container, name};
use crate::error::{Error, Result};
use crate::home::Home;

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

pub(super) fn status_word(state: &State) -> &'static str {
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
