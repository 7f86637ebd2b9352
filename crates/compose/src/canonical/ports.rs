//! `ports`: `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, with ranges.

use std::net::IpAddr;

use crate::node::{Map, Node, Value};
use crate::schema::Kind;

use super::Reading;

/// The most ports that one range may have.
const RANGE: u32 = 65_535;

/// A short form, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Short {
    address: String,
    published: Option<(u32, u32)>,
    target: (u32, u32),
    protocol: String,
}

impl Reading<'_> {
    pub(super) fn ports(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let Value::List(list) = &node.value else { return self.wanted(node, path, "a list") };
        let mut out: Vec<Node> = Vec::with_capacity(list.len());
        for (index, one) in list.iter().enumerate() {
            let below = format!("{path}[{index}]");
            match &one.value {
                Value::Map(_) => out.extend(self.long_port(one, kind, &below)),
                Value::Int(_) | Value::Text(_) => {
                    let text = one.scalar_text().unwrap_or_default();
                    match parse(&text) {
                        Ok(short) => out.extend(expand(&short, one)),
                        Err(problem) => {
                            self.wrong::<()>(one, &below, format_args!("{text:?}: {problem}"));
                        }
                    }
                }
                Value::Float(_) => {
                    self.wrong::<()>(
                        one,
                        &below,
                        "is a number with a fraction: write the ports in quotes, as \"80:80\"",
                    );
                }
                _ => {
                    self.wanted::<()>(one, &below, "a port, as \"8080:80\", or a mapping");
                }
            }
        }
        Some(node.with(Value::List(out)))
    }

    fn long_port(&mut self, node: &Node, kind: &Kind, path: &str) -> Option<Node> {
        let mut port = self.canonical(node, kind, path)?;
        let place = port.place;
        match port.get("target").and_then(Node::as_int) {
            Some(1..=65_535) => {}
            Some(other) => {
                return self.wrong(
                    node,
                    path,
                    format_args!("the target {other} is not a port: 1 to 65535"),
                );
            }
            None => return self.wrong(node, path, "has no \"target\": the port in the container"),
        }
        if let Some(published) = port.text_of("published")
            && let Err(problem) = range(published, true)
        {
            let problem = problem.to_owned();
            return self.wrong(node, path, format_args!("published: {problem}"));
        }
        let map = port.as_map_mut()?;
        map.entry("mode".to_owned()).or_insert_with(|| Node::text("ingress", place));
        map.entry("protocol".to_owned()).or_insert_with(|| Node::text("tcp", place));
        Some(port)
    }
}

/// First and last port. An empty range is `None`, where that is allowed.
fn range(text: &str, zero: bool) -> Result<(u32, u32), &'static str> {
    let port = |text: &str| match text.parse::<u32>() {
        Ok(0) if zero => Ok(0),
        Ok(port @ 1..=65_535) => Ok(port),
        _ => Err("a port is a number from 1 to 65535"),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    match first <= last && last - first < RANGE {
        true => Ok((first, last)),
        false => Err("a range of ports begins with its lowest"),
    }
}

fn parse(text: &str) -> Result<Short, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("{protocol:?} is not a protocol: tcp, udp or sctp"));
    }
    let (address, published, target) = match ports.rsplit_once(':') {
        None => ("", "", ports),
        Some((host, target)) => match host.rsplit_once(':') {
            None => ("", host, target),
            Some((address, published)) => (address, published, target),
        },
    };
    let address =
        address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("{address:?} is not an address of the host"));
    }
    if target.is_empty() {
        return Err("has no port of the container".to_owned());
    }
    let target = range(target, false)?;
    let published = match published {
        "" => None,
        text => Some(range(text, true)?),
    };
    if let Some((first, last)) = published
        && last - first != target.1 - target.0
        && target.0 != target.1
    {
        return Err("the two ranges have different lengths".to_owned());
    }
    Ok(Short { address: address.to_owned(), published, target, protocol })
}

/// One port of the container each, in the order in which docker compose prints them.
fn expand(short: &Short, node: &Node) -> Vec<Node> {
    let (first, last) = short.target;
    let mut ports: Vec<(String, Node)> = (first..=last)
        .map(|target| {
            let mut map = Map::new();
            let mut set = |key: &str, value| {
                map.insert(key.to_owned(), Node::new(value, node.place));
            };
            set("mode", Value::Text("ingress".to_owned()));
            set("target", Value::Int(target.into()));
            set("protocol", Value::Text(short.protocol.clone()));
            if !short.address.is_empty() {
                set("host_ip", Value::Text(short.address.clone()));
            }
            match short.published {
                Some((from, to)) if first == last && from != to => {
                    set("published", Value::Text(format!("{from}-{to}")));
                }
                Some((from, _)) => {
                    set("published", Value::Text((from + target - first).to_string()));
                }
                None => {}
            }
            (format!("{target}/{}", short.protocol), Node::map(map, node.place))
        })
        .collect();
    ports.sort_by(|a, b| a.0.cmp(&b.0));
    ports.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let short = parse("[::1]:8000-8001:80-81/udp").unwrap();
        assert_eq!(short.address, "::1");
        assert_eq!(short.published, Some((8000, 8001)));
        assert_eq!(short.target, (80, 81));
        assert_eq!(short.protocol, "udp");
        for wrong in
            ["", ":", "80:", "0", "70000", "80-79", "1-3:1-2", "80/icmp", "host:80:80", "a"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
