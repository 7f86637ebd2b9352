//! Networks and ports of a container.

use std::collections::BTreeMap;

use husk_engine::container::state::{State, Status};
use husk_engine::container::{Container, Record};
use husk_engine::error::Result;
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

/// The container's networks: those it is on, and those it will be on when it is started.
pub(super) fn networks(nets: &husk_net::Networks, record: &Record) -> Result<Value> {
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
    for one in nets.endpoints(None)?.into_iter().filter(|one| one.container == record.id) {
        networks.insert(one.network.clone(), endpoint(Some(&one)));
    }
    for (name, endpoint) in &mut networks {
        endpoint["NetworkID"] = husk_engine::network::id(nets, name).unwrap_or_default().into();
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
