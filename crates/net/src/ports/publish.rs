//! `--publish`: which ports of a container the host answers for.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A transport protocol that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in an IP header (IANA protocol numbers).
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One `--publish`, `[[HOST-IP:][HOST-PORT]:]PORT[/PROTOCOL]`, where a port may
/// be a range `FIRST-LAST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// `None`: every address of the host, both families. `0.0.0.0` and `::`:
    /// every address of that family.
    pub host_ip: Option<IpAddr>,
    /// `None`: a free one for each, chosen by the kernel.
    pub host_ports: Option<RangeInclusive<u16>>,
    /// As many as there are host ports, or one, which then gets the first free
    /// of the host ports.
    pub container_ports: RangeInclusive<u16>,
    /// TCP unless said.
    pub protocol: Protocol,
}

impl Publish {
    /// `--publish-all`: a port of the image's on a free port of the host.
    #[must_use]
    pub fn exposed(port: u16, protocol: Protocol) -> Self {
        Self { host_ip: None, host_ports: None, container_ports: port..=port, protocol }
    }

    /// Each container port with the host ports it may have, in order of preference;
    /// none means any free one.
    pub(crate) fn choices(&self) -> Vec<(u16, Vec<u16>)> {
        let container = self.container_ports.clone();
        match &self.host_ports {
            None => container.map(|port| (port, Vec::new())).collect(),
            Some(host) if container.len() == 1 => {
                vec![(*container.start(), host.clone().collect())]
            }
            Some(host) => container.zip(host.clone()).map(|(c, h)| (c, vec![h])).collect(),
        }
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let number = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535"),
        Ok(port) => Ok(port),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err("the range ends before it begins");
    }
    Ok(first..=last)
}

/// Cuts off a host address; IPv6 stands in brackets.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    let bad = "the host address is no IP address";
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("'[' without ']'")?;
        let address = address.parse().map_err(|_| bad)?;
        let rest = rest.strip_prefix(':').ok_or("no port after the host address")?;
        return Ok((Some(address), rest));
    }
    match text.matches(':').count() {
        0 | 1 => Ok((None, text)),
        2 => {
            let (address, rest) = text.split_once(':').ok_or(bad)?;
            match address {
                "" => Ok((None, rest)),
                _ => Ok((Some(address.parse().map_err(|_| bad)?), rest)),
            }
        }
        _ => Err("an IPv6 host address stands in brackets"),
    }
}

fn parse(text: &str) -> Result<Publish, &'static str> {
    let (rest, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((rest, "tcp")) => (rest, Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some((_, "sctp")) => return Err("sctp cannot be published, only tcp and udp"),
        Some(_) => return Err("the protocol is neither tcp nor udp"),
    };
    let (host_ip, rest) = split_address(rest)?;
    let (host, container) = match rest.split_once(':') {
        Some((host, container)) => (host, container),
        None => ("", rest),
    };
    let container_ports = ports(container)?;
    let host_ports = match host {
        "" => None,
        host => Some(ports(host)?),
    };
    let lengths = (host_ports.as_ref().map(ExactSizeIterator::len), container_ports.len());
    match lengths {
        (Some(host), container) if host != container && container != 1 => {
            Err("the two ranges differ in length")
        }
        _ => Ok(Publish { host_ip, host_ports, container_ports, protocol }),
    }
}

/// As it is read.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |ports: &RangeInclusive<u16>| match ports.start() == ports.end() {
            true => ports.start().to_string(),
            false => format!("{}-{}", ports.start(), ports.end()),
        };
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(ip) => write!(f, "{ip}:")?,
            None => {}
        }
        match &self.host_ports {
            Some(ports) => write!(f, "{}:", range(ports))?,
            None if self.host_ip.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}/{}", range(&self.container_ports), self.protocol)
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::PublishSyntax { value: text.to_owned(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(text: &str) -> Publish {
        text.parse().unwrap()
    }

    #[test]
    fn reads_every_form() {
        let base = Publish {
            host_ip: None,
            host_ports: Some(8080..=8080),
            container_ports: 80..=80,
            protocol: Protocol::Tcp,
        };
        assert_eq!(publish("8080:80"), base);
        assert_eq!(publish("8080:80/tcp"), base);
        assert_eq!(publish(":8080:80"), base);
        assert_eq!(publish("8080:80/udp"), Publish { protocol: Protocol::Udp, ..base.clone() });
        let local = Some("127.0.0.1".parse().unwrap());
        assert_eq!(publish("127.0.0.1:8080:80"), Publish { host_ip: local, ..base.clone() });
        assert_eq!(
            publish("127.0.0.1::80"),
            Publish { host_ip: local, host_ports: None, ..base.clone() }
        );
        let v6 = Some("::1".parse().unwrap());
        assert_eq!(publish("[::1]:8080:80"), Publish { host_ip: v6, ..base.clone() });
        assert_eq!(publish("80"), Publish { host_ports: None, ..base.clone() });
        assert_eq!(publish("80"), Publish::exposed(80, Protocol::Tcp));
        let ranges = publish("8000-8002:80-82");
        assert_eq!(ranges.choices(), [(80, vec![8000]), (81, vec![8001]), (82, vec![8002])]);
        assert_eq!(publish("8000-8002:80").choices(), [(80, vec![8000, 8001, 8002])]);
        assert_eq!(publish("80-81").choices(), [(80, vec![]), (81, vec![])]);
        for text in ["8080:80/tcp", "127.0.0.1::80/udp", "[::1]:1-2:3-4/tcp", "80/tcp"] {
            assert_eq!(publish(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_in_one_line() {
        let cases = [
            ("", "a port is a number from 1 to 65535"),
            ("0:80", "a port is a number from 1 to 65535"),
            ("8080:65536", "a port is a number from 1 to 65535"),
            ("80:http", "a port is a number from 1 to 65535"),
            ("9-8:9-8", "the range ends before it begins"),
            ("8000-8002:80-81", "the two ranges differ in length"),
            ("8080:80/sctp", "sctp cannot be published, only tcp and udp"),
            ("8080:80/icmp", "the protocol is neither tcp nor udp"),
            ("localhost:8080:80", "the host address is no IP address"),
            ("::1:8080:80", "an IPv6 host address stands in brackets"),
            ("[::1:8080:80", "'[' without ']'"),
            ("[::1]8080:80", "no port after the host address"),
        ];
        for (text, reason) in cases {
            let expected = format!(
                "publish {text:?}: {reason} (the form is [[HOST-IP:]HOST-PORT:]PORT[/tcp|/udp])"
            );
            assert_eq!(text.parse::<Publish>().unwrap_err().to_string(), expected);
        }
    }
}
