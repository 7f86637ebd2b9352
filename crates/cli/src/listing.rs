//! Lists: `ps` and `port`.

use clap::Args;
use serde_json::{Value, json};

use super::container::image_id;
use super::filter::{self, Filter};
use super::output;
use crate::template::LABELS;
use husk_engine::clock;
use husk_engine::container::config::Mount;
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, name};
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;
use husk_engine::{rootfs, usage};

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
    /// With what each has written to its root
    #[arg(short, long)]
    size: bool,
    /// id=, name=, label=, status=, ancestor=, exited=, network=, volume=
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
        let filters = filter::parse(&self.filter, &FILTERS)?;
        let asked_status = filters.iter().any(|one| matches!(one.name, "status" | "exited"));
        let last = if self.latest { Some(1) } else { self.last };
        if !self.all && !asked_status && last.is_none() {
            containers.retain(|(_, state)| state.status == Status::Running);
        }
        let mut kept = Vec::new();
        for (container, state) in containers {
            if filter::all_pass(&filters, |filter| passes(&container, &state, filter))? {
                kept.push((container, state));
            }
        }
        let mut containers = kept;
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
        let mut columns = vec![
            ("CONTAINER ID", "ID"),
            ("IMAGE", "Image"),
            ("COMMAND", "Command"),
            ("CREATED", "RunningFor"),
            ("STATUS", "Status"),
            ("PORTS", "Ports"),
            ("NAMES", "Names"),
        ];
        columns.extend(self.size.then_some(("SIZE", "Size")));
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }

    fn row(&self, container: &Container, state: &State, claims: &[husk_net::Claim]) -> Value {
        let own: Vec<husk_net::Claim> =
            claims.iter().filter(|claim| claim.container == container.id()).cloned().collect();
        let (id, command) = match self.no_trunc {
            true => (container.id().to_owned(), command_text(container)),
            false => (name::short(container.id()).to_owned(), clip(&command_text(container), 20)),
        };
        let config = &container.record.config;
        let networks = if config.networks.is_empty() {
            "bridge".to_owned()
        } else {
            let names: Vec<&str> =
                config.networks.iter().map(|value| husk_net::network_name(value)).collect();
            names.join(",")
        };
        let size = match self.size || self.format.as_deref().is_some_and(|f| f.contains(".Size")) {
            true => output::size(usage::tree(&rootfs::upper_of(container))),
            false => "0B".to_owned(),
        };
        let mounts: Vec<&str> = config.mounts.iter().map(Mount::source).collect();
        let volumes = config.mounts.iter().filter(|one| matches!(one, Mount::Volume { .. }));
        json!({
            "ID": id,
            "Image": container.record.image,
            "Command": command,
            "CreatedAt": clock::local(&container.record.created),
            "RunningFor": format!("{} ago", since(&container.record.created)),
            "Status": status_text(state),
            "State": status_word(state),
            "Ports": ports(&own),
            "Names": container.record.name,
            "Labels": filter::joined(&config.labels),
            "Networks": networks,
            "Mounts": mounts.join(","),
            "LocalVolumes": volumes.count().to_string(),
            "Size": size,
            LABELS: config.labels,
        })
    }
}

const FILTERS: [&str; 8] =
    ["id", "name", "label", "status", "ancestor", "exited", "network", "volume"];
const STATUS: [&str; 7] =
    ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

fn passes(container: &Container, state: &State, filter: &Filter<'_>) -> Result<bool> {
    let config = &container.record.config;
    let value = filter.value;
    Ok(match filter.name {
        "id" => container.id().starts_with(value),
        "name" => filter.names(&container.record.name)?,
        "label" => filter.has_label(&config.labels),
        "status" if !STATUS.contains(&value) => {
            let problem = format!("is none of {}", STATUS.join(", "));
            return Err(Error::flag("--filter status", value, problem));
        }
        "status" => status_word(state) == value,
        "ancestor" => {
            let image = &container.record.image;
            image == value
                || image.strip_suffix(":latest").unwrap_or(image)
                    == value.strip_suffix(":latest").unwrap_or(value)
                || image_id(container)
                    .trim_start_matches("sha256:")
                    .starts_with(value.trim_start_matches("sha256:"))
        }
        "exited" => state.status == Status::Exited && state.exit_code.to_string() == value,
        "volume" => config.mounts.iter().any(|one| one.source() == value || one.target() == value),
        _ => {
            config.networks.iter().any(|network| husk_net::network_name(network) == value)
                || (config.networks.is_empty() && value == "bridge")
        }
    })
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
