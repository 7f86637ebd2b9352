//! Networks and ports of a container.

use std::collections::BTreeMap;

use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, Record};
use husk_engine::error::Result;
use husk_net::{Attachment, Mode};
use serde_json::{Value, json};

use crate::document::{Nil, nil};

/// Where a container is in a network, or all of it empty.
pub(super) fn endpoint(one: Option<&husk_net::Endpoint>) -> Value {
    let (v4, v6) = (one.and_then(|e| e.address(false)), one.and_then(|e| e.address(true)));
    let text = |ip: std::net::IpAddr| ip.to_string();
    json!({
        "IPAMConfig": null, "Links": nil(Nil::List), "Aliases": nil(Nil::List),
        "DriverOpts": nil(Nil::Map), "GwPriority": 0, "DNSNames": nil(Nil::List),
        "EndpointID": "",
        "IPAddress": v4.map_or_else(String::new, |a| text(a.address)),
        "IPPrefixLen": v4.map_or(0, |a| a.prefix),
        "Gateway": v4.map_or_else(String::new, |a| text(a.gateway)),
        "GlobalIPv6Address": v6.map_or_else(String::new, |a| text(a.address)),
        "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix),
        "IPv6Gateway": v6.map_or_else(String::new, |a| text(a.gateway)),
        "MacAddress": one.map_or_else(String::new, |e| husk_net::format_mac(e.mac)),
    })
}

/// Names a container's endpoint in a network, which has no id of its own.
pub(crate) fn endpoint_id(container: &str, network: &str) -> String {
    let half = |id: &str| id.get(..32).unwrap_or_default().to_owned();
    format!("{}{}", half(container), half(network))
}

/// Its names in a network, each once.
fn names(record: &Record, aliases: &[String]) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let short = husk_engine::container::name::short(&record.id).to_owned();
    let hostname = Some(record.config.hostname.clone()).filter(|name| !name.is_empty());
    for name in aliases.iter().cloned().chain([short]).chain(hostname) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What was asked for of a container's place in a network.
fn add_asked(shown: &mut Value, record: &Record, asked: &Attachment) {
    if !asked.aliases.is_empty() {
        shown["Aliases"] = json!(asked.aliases);
    }
    if asked.network != husk_net::DEFAULT_NETWORK {
        shown["DNSNames"] = json!(names(record, &asked.aliases));
    }
    for address in &asked.addresses {
        let name = if address.is_ipv6() { "IPv6Address" } else { "IPv4Address" };
        shown["IPAMConfig"][name] = address.to_string().into();
    }
}

/// The container's networks: those it is on, and those it will be on when it is started.
pub(super) fn networks(nets: &husk_net::Networks, record: &Record) -> Result<Value> {
    let attachments = match Mode::parse(&record.config.networks, false) {
        Ok(Mode::Networks(attachments)) => attachments,
        _ => Vec::new(),
    };
    let mut networks = BTreeMap::new();
    let default = ["bridge".to_owned()];
    let asked: &[String] = match record.config.networks.as_slice() {
        [] => &default,
        asked => asked,
    };
    let asked = asked.iter().map(|value| husk_net::network_name(value));
    for name in asked.filter(|name| !name.starts_with("container:")) {
        networks.insert(name.to_owned(), endpoint(None));
    }
    let mut connected = Vec::new();
    for one in nets.endpoints(None)?.into_iter().filter(|one| one.container == record.id) {
        networks.insert(one.network.clone(), endpoint(Some(&one)));
        connected.push(one.network);
    }
    for (name, shown) in &mut networks {
        let id = husk_engine::network::id(nets, name).unwrap_or_default();
        if connected.contains(name) {
            shown["EndpointID"] = endpoint_id(&record.id, &id).into();
        }
        shown["NetworkID"] = id.into();
        if let Some(asked) = attachments.iter().find(|one| one.network == *name) {
            add_asked(shown, record, asked);
        }
    }
    Ok(json!(networks))
}

/// The published ports as they are, and the exposed ones that are not published.
pub(super) fn ports(
    nets: &husk_net::Networks,
    container: &Container,
    state: &State,
) -> Result<Value> {
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for claim in nets.claims(Some(container.id()))? {
        let hosts = match claim.host_ip {
            None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
            Some(ip) => vec![ip.to_string()],
        };
        let list = ports.entry(format!("{}/{}", claim.container_port, claim.protocol)).or_default();
        for host in hosts {
            list.push(json!({ "HostIp": host, "HostPort": claim.host_port.to_string() }));
        }
    }
    let mut ports: BTreeMap<String, Value> =
        ports.into_iter().map(|(port, list)| (port, json!(list))).collect();
    if state.status == Status::Running {
        for port in &container.record.config.exposed {
            ports.entry(port.clone()).or_insert_with(|| nil(Nil::List));
        }
    }
    Ok(json!(ports))
}
