//! Lists: `ps` and `port`.

use clap::Args;
use serde_json::{Value, json};

use super::filter::{self, Filter};
use super::output;
use crate::error::{Error, Result};
use crate::template::LABELS;
use husk_engine::clock;
use husk_engine::container::config::Mount;
use husk_engine::container::health::HealthStatus;
use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, name};
use husk_engine::home::Home;
use husk_engine::usage;

/// `ps`.
#[derive(Debug, Default, Args)]
pub(super) struct Ps {
    /// Include stopped containers
    #[arg(short, long)]
    all: bool,
    /// Only print IDs
    #[arg(short, long)]
    quiet: bool,
    /// Do not truncate IDs and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show the N most recently created containers
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Show the most recently created container
    #[arg(short, long)]
    latest: bool,
    /// Show total file sizes
    #[arg(short, long)]
    size: bool,
    /// Filter the list, for example status=exited or label=NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output as json, table, or by a Go template such as '{{.Names}}'
    #[arg(long)]
    format: Option<String>,
}

fn since(time: &str) -> String {
    let (now, _) = clock::now();
    clock::human(now.saturating_sub(clock::parse(time).unwrap_or(now)))
}

/// What is shown of a container's health; what cannot be read is not shown.
fn health_of(container: &Container, state: &State) -> Option<HealthStatus> {
    container.health(state).ok().flatten().map(|health| health.status)
}

/// A port as `ps` shows it: of the container, and of the host where it is published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    inside: u16,
    /// As it is written before a colon; empty where the port is exposed alone.
    host: String,
    outside: u16,
    protocol: String,
}

/// The ports of a running container, those that are exposed and not published first; ports in a
/// row are one range, as Docker has them.
fn ports(claims: &[husk_net::Claim], exposed: &[String]) -> String {
    let mut ports = Vec::new();
    for claim in claims {
        let hosts = match claim.host_ip {
            None => vec!["0.0.0.0".to_owned(), "[::]".to_owned()],
            Some(std::net::IpAddr::V6(ip)) => vec![format!("[{ip}]")],
            Some(ip) => vec![ip.to_string()],
        };
        let (inside, outside) = (claim.container_port, claim.host_port);
        let protocol = claim.protocol.to_string();
        ports.extend(hosts.into_iter().map(|host| {
            let protocol = protocol.clone();
            Port { inside, host, outside, protocol }
        }));
    }
    for text in exposed {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let Ok(inside) = port.parse() else { continue };
        if !ports.iter().any(|one| one.inside == inside && one.protocol == protocol) {
            let (host, protocol) = (String::new(), protocol.to_owned());
            ports.push(Port { inside, host, outside: 0, protocol });
        }
    }
    shown(ports)
}

fn shown(mut ports: Vec<Port>) -> String {
    ports.sort();
    ports.dedup();
    // Ranges of one address and protocol: first and last.
    let mut ranges: Vec<(Port, u16)> = Vec::new();
    let mut done = Vec::new();
    let mut others = Vec::new();
    let text = |first: &Port, last: u16| {
        let ports = match first.inside == last {
            true => last.to_string(),
            false => format!("{}-{last}", first.inside),
        };
        match first.host.as_str() {
            "" => format!("{ports}/{}", first.protocol),
            host => format!("{host}:{ports}->{ports}/{}", first.protocol),
        }
    };
    for port in ports {
        if !port.host.is_empty() && port.outside != port.inside {
            let Port { inside, host, outside, protocol } = port;
            others.push(format!("{host}:{outside}->{inside}/{protocol}"));
            continue;
        }
        let same = |range: &&mut (Port, u16)| {
            range.0.host == port.host && range.0.protocol == port.protocol
        };
        match ranges.iter_mut().find(same) {
            Some((_, last)) if port.inside == last.saturating_add(1) => *last = port.inside,
            Some(range) => {
                done.push(text(&range.0, range.1));
                *range = (port.clone(), port.inside);
            }
            None => ranges.push((port.clone(), port.inside)),
        }
    }
    done.extend(ranges.iter().map(|(first, last)| text(first, *last)));
    done.extend(others);
    done.join(", ")
}

fn command_text(container: &Container) -> String {
    let mut words = container.record.config.args.iter();
    let mut text = words.next().cloned().unwrap_or_default();
    for word in words {
        // As Docker: a word with a blank is quoted, and nothing escaped.
        match word.contains(' ') {
            true => text.push_str(&format!(" '{word}'")),
            false => text.push_str(&format!(" {word}")),
        }
    }
    format!("\"{text}\"")
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
        filters.iter().try_for_each(|filter| check(home, filter))?;
        let asked_status =
            filters.iter().any(|one| matches!(one.name.as_str(), "status" | "exited"));
        let last = if self.latest { Some(1) } else { self.last };
        if !self.all && !asked_status && last.is_none() {
            containers
                .retain(|(_, state)| matches!(state.status, Status::Running | Status::Restarting));
        }
        let claims = match self.needs_claims(&filters, &containers) {
            true => home.networks()?.claims(None)?,
            false => Vec::new(),
        };
        let mut kept = Vec::new();
        for (container, state) in containers {
            let passes = |filter: &Filter| passes(home, &container, &state, &claims, filter);
            if filter::all_pass(&filters, passes)? {
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
        let rows: Vec<Value> =
            containers.iter().map(|(one, state)| self.row(home, one, state, &claims)).collect();
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

    /// Whether ports are shown or asked for.
    fn needs_claims(&self, filters: &[Filter], containers: &[(Container, State)]) -> bool {
        let runs = containers.iter().any(|(_, state)| state.status == Status::Running);
        let filtered = filters.iter().any(|filter| filter.name == "publish");
        runs && (filtered || !self.quiet)
    }

    fn row(
        &self,
        home: &Home,
        container: &Container,
        state: &State,
        claims: &[husk_net::Claim],
    ) -> Value {
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
            true => {
                let own = usage::changes(container);
                let whole = own + husk_engine::image::size_of(home, container);
                format!("{} (virtual {})", output::size(own), output::size(whole))
            }
            false => "0B".to_owned(),
        };
        let mounts = config.mounts.iter().map(Mount::source).filter(|source| !source.is_empty());
        let mounts: Vec<&str> = mounts.collect();
        let volumes = config.mounts.iter().filter(|one| matches!(one, Mount::Volume { .. }));
        json!({
            "ID": id,
            "Image": container.record.image,
            "Command": command,
            "CreatedAt": clock::local(&container.record.created),
            "RunningFor": format!("{} ago", since(&container.record.created)),
            "Status": husk_docker::status_text(state, health_of(container, state)),
            "State": state.word(),
            "Ports": match state.status {
                Status::Running => ports(&own, &config.exposed),
                _ => String::new(),
            },
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

const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name",
    "network", "publish", "since", "status", "volume",
];
const STATUS: [&str; 7] =
    ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// Refuses a wrong value, also where there is nothing to filter.
fn check(home: &Home, filter: &Filter) -> Result<()> {
    match filter.name.as_str() {
        "status" => Ok(filter.one_of(&STATUS).map(drop)?),
        "health" => Ok(filter.one_of(&HEALTH).map(drop)?),
        "before" | "since" => Ok(Container::find(home, &filter.value).map(drop)?),
        "expose" | "publish" => port_range(filter).map(drop),
        _ => Ok(()),
    }
}

const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

fn passes(
    home: &Home,
    container: &Container,
    state: &State,
    claims: &[husk_net::Claim],
    filter: &Filter,
) -> Result<bool> {
    let config = &container.record.config;
    let value = filter.value.as_str();
    let created = |container: &Container| clock::instant(&container.record.created);
    Ok(match filter.name.as_str() {
        "id" => container.id().starts_with(value),
        // Docker's names have a slash in front.
        "name" => {
            let name = &container.record.name;
            filter.names(name)? || filter.names(&format!("/{name}"))?
        }
        "label" => filter.has_label(&config.labels),
        "status" => state.word() == value,
        "ancestor" => {
            let image = &container.record.image;
            image == value
                || image.strip_suffix(":latest").unwrap_or(image)
                    == value.strip_suffix(":latest").unwrap_or(value)
                || container
                    .image_id()
                    .trim_start_matches("sha256:")
                    .starts_with(value.trim_start_matches("sha256:"))
        }
        "exited" => state.status == Status::Exited && state.exit_code.to_string() == value,
        "before" => created(container) < created(&Container::find(home, value)?),
        "since" => created(container) > created(&Container::find(home, value)?),
        // As Docker: of what runs.
        "expose" => {
            let wanted = port_range(filter)?;
            let runs = state.status == Status::Running;
            runs && config
                .exposed
                .iter()
                .chain(published(config).iter())
                .any(|port| wanted.has(port))
        }
        "publish" => {
            let wanted = port_range(filter)?;
            let of_container = claims.iter().filter(|claim| claim.container == container.id());
            of_container
                .map(|one| format!("{}/{}", one.host_port, one.protocol))
                .any(|port| wanted.has(&port))
        }
        "health" => health_of(container, state).map_or("none", HealthStatus::name) == value,
        "is-task" => !filter.truth()?,
        "volume" => config.mounts.iter().any(|one| one.source() == value || one.target() == value),
        _ => {
            config.networks.iter().any(|network| husk_net::network_name(network) == value)
                || (config.networks.is_empty() && value == "bridge")
        }
    })
}

/// The rows of `system df -v`.
pub(super) fn usage(home: &Home) -> Result<Vec<Value>> {
    let ps = Ps { size: true, all: true, ..Ps::default() };
    let mut rows = Vec::new();
    for container in Container::all(home)? {
        let state = container.state()?;
        let mut row = ps.row(home, &container, &state, &[]);
        row["Size"] = output::size(usage::changes(&container)).into();
        rows.push(row);
    }
    Ok(rows)
}

/// `PORT[-PORT][/PROTOCOL]` of a filter.
struct PortRange {
    ports: std::ops::RangeInclusive<u16>,
    protocol: String,
}

impl PortRange {
    /// Whether `PORT/PROTOCOL` is in it.
    fn has(&self, text: &str) -> bool {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        protocol == self.protocol && port.parse().is_ok_and(|port| self.ports.contains(&port))
    }
}

fn port_range(filter: &Filter) -> Result<PortRange> {
    let text = filter.value.as_str();
    let parsed = husk_image::facts::parse_port(text);
    let parsed = parsed.map_err(|problem| Error::flag("--filter", text, problem))?;
    Ok(PortRange { ports: parsed.first..=parsed.last, protocol: parsed.protocol.to_string() })
}

/// The container's ports that --publish names.
fn published(config: &husk_engine::container::config::Config) -> Vec<String> {
    let publishes =
        config.publishes.iter().filter_map(|text| text.parse::<husk_net::Publish>().ok());
    let ports = publishes.flat_map(|one| {
        let protocol = one.protocol;
        one.container_ports.map(move |port| format!("{port}/{protocol}")).collect::<Vec<_>>()
    });
    ports.collect()
}

/// `port`.
#[derive(Debug, Args)]
pub(super) struct Published {
    /// Name or ID
    container: String,
    /// Port of the container: PORT[/PROTOCOL]
    port: Option<String>,
}

impl Published {
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
                "no public port {wanted} published for {}",
                self.container
            ))),
            _ => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        let port = |host: &str, outside: u16, inside: u16, protocol: &str| Port {
            inside,
            host: host.to_owned(),
            outside,
            protocol: protocol.to_owned(),
        };
        // As docker 28.5 shows -p 8080:80 -p 127.0.0.1:7000-7001:7000-7001/udp --expose 90.
        let ports = vec![
            port("127.0.0.1", 7001, 7001, "udp"),
            port("127.0.0.1", 7000, 7000, "udp"),
            port("0.0.0.0", 8080, 80, "tcp"),
            port("[::]", 8080, 80, "tcp"),
            port("", 0, 90, "tcp"),
        ];
        let expected = "90/tcp, 127.0.0.1:7000-7001->7000-7001/udp, 0.0.0.0:8080->80/tcp, \
                        [::]:8080->80/tcp";
        assert_eq!(shown(ports), expected);
        let apart = [90, 91, 93, 95].map(|inside| port("", 0, inside, "tcp")).to_vec();
        assert_eq!(shown(apart), "90-91/tcp, 93/tcp, 95/tcp");
        assert_eq!(shown(Vec::new()), "");
    }
}
