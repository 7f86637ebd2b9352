//! What `--network` asks for.

use crate::error::{Error, Result};
use crate::etc_files::validate_hostname;
use crate::ipam::lease::Attachment;
use crate::ipam::mac::parse_mac;
use crate::networks::network::{DEFAULT_NETWORK, validate_name};

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `none`: a namespace with nothing but loopback. The runtime brings that up.
    None,
    /// `host`: no network namespace; the spec has none.
    Host,
    /// `container:NAME`: the namespace of another container, by name or id. The
    /// spec's network namespace gets `/proc/PID/ns/net` of its init as path.
    Container(String),
    /// Networks of the store, in the order given; the first has the default route
    /// and the published ports.
    Networks(Vec<Attachment>),
    /// Rootless: pasta connects the namespace (see [`crate::pasta`]).
    Pasta,
}

impl Mode {
    /// Reads the values of `--network`; none at all is the default: the bridge,
    /// or pasta without root.
    ///
    /// # Errors
    ///
    /// [`Error::Mode`] for what cannot be combined or needs root, and
    /// [`Error::NetworkName`]. Whether a network exists is found out later.
    pub fn parse(values: &[String], rootless: bool) -> Result<Self> {
        let refuse = |value: &str, reason| Err(Error::Mode { value: value.to_owned(), reason });
        let mut networks = Vec::new();
        for value in values {
            let attachment = parse_attachment(value)?;
            let name = &attachment.network;
            let is_plain = attachment == plain(name);
            let alone = match name.as_str() {
                "none" => Some(Self::None),
                "host" => Some(Self::Host),
                "pasta" => Some(Self::Pasta),
                "bridge" | "default" if rootless => Some(Self::Pasta),
                other => {
                    other.strip_prefix("container:").map(|name| Self::Container(name.to_owned()))
                }
            };
            match alone {
                Some(Self::Container(name)) if name.is_empty() => {
                    return refuse(value, "names no container (as in container:web)");
                }
                Some(Self::Pasta) if !rootless => {
                    return refuse(value, "is for containers without root; use bridge");
                }
                Some(_) if values.len() > 1 => {
                    return refuse(value, "cannot be combined with another network");
                }
                Some(_) if !is_plain => {
                    return refuse(value, "takes no address: only networks of the store do");
                }
                Some(mode) => return Ok(mode),
                None if rootless => {
                    return refuse(value, "custom networks require root; use pasta, host or none");
                }
                None => {}
            }
            let name = if name == "default" { DEFAULT_NETWORK } else { name };
            validate_name(name)?;
            if networks.iter().any(|n: &Attachment| n.network == name) {
                return refuse(value, "is given twice");
            }
            let has_names = !attachment.aliases.is_empty() || !attachment.links.is_empty();
            if name == DEFAULT_NETWORK && has_names {
                return refuse(
                    value,
                    "takes no alias and no link: containers on it have no names; create a network",
                );
            }
            networks.push(Attachment { network: name.to_owned(), ..attachment.clone() });
        }
        Ok(match (networks.is_empty(), rootless) {
            (false, _) => Self::Networks(networks),
            (true, false) => Self::Networks(vec![plain(DEFAULT_NETWORK)]),
            (true, true) => Self::Pasta,
        })
    }
}

fn plain(name: &str) -> Attachment {
    Attachment { network: name.to_owned(), ..Attachment::default() }
}

/// The network that a value of `--network` names, without its options.
#[must_use]
pub fn network_name(value: &str) -> &str {
    let mut fields = value.split(',');
    fields.find_map(|field| field.strip_prefix("name=")).unwrap_or(value)
}

/// Reads `NAME` or `name=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=ADDRESS,alias=NAME,...`.
///
/// # Errors
///
/// [`Error::Invalid`].
pub fn parse_attachment(value: &str) -> Result<Attachment> {
    if !value.contains('=') {
        return Ok(plain(value));
    }
    let mut attachment = Attachment::default();
    for field in value.split(',') {
        let invalid = |reason: &str| Error::Invalid {
            property: "--network",
            value: value.to_owned(),
            reason: format!("{field:?} {reason}"),
        };
        let (key, text) = field.split_once('=').ok_or_else(|| invalid("is not KEY=VALUE"))?;
        match key {
            "name" => attachment.network = text.to_owned(),
            "ip" | "ip6" => {
                let address: std::net::IpAddr =
                    text.parse().map_err(|_| invalid("is not an IP address"))?;
                if address.is_ipv6() != (key == "ip6") {
                    return Err(invalid("is an address of the other family"));
                }
                attachment.addresses.push(address);
            }
            "mac-address" => attachment.mac = Some(parse_mac(text)?),
            "alias" => {
                validate_hostname(text).map_err(|_| invalid("is not a host name"))?;
                attachment.aliases.push(text.to_owned());
            }
            "link" => {
                let (target, alias) = text.split_once(':').unwrap_or((text, text));
                validate_hostname(alias).map_err(|_| invalid("is not CONTAINER[:ALIAS]"))?;
                if target.is_empty() {
                    return Err(invalid("is not CONTAINER[:ALIAS]"));
                }
                attachment.links.push(format!("{target}:{alias}"));
            }
            "driver-opt" | "link-local-ip" | "gw-priority" => {
                return Err(invalid("is not supported yet"));
            }
            _ => return Err(invalid("must be name, ip, ip6, mac-address, alias or link")),
        }
    }
    if attachment.network.is_empty() {
        return Err(Error::Invalid {
            property: "--network",
            value: value.to_owned(),
            reason: "has no name= (as in name=app,ip=10.89.0.10)".to_owned(),
        });
    }
    Ok(attachment)
}

/// The value of `--network` that asks for an attachment.
#[must_use]
pub fn network_value(attachment: &Attachment) -> String {
    if *attachment == plain(&attachment.network) {
        return attachment.network.clone();
    }
    let mut value = format!("name={}", attachment.network);
    for address in &attachment.addresses {
        let key = if address.is_ipv6() { "ip6" } else { "ip" };
        value.push_str(&format!(",{key}={address}"));
    }
    if let Some(mac) = attachment.mac {
        value.push_str(&format!(",mac-address={}", crate::ipam::mac::format_mac(mac)));
    }
    for alias in &attachment.aliases {
        value.push_str(&format!(",alias={alias}"));
    }
    for link in &attachment.links {
        value.push_str(&format!(",link={link}"));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str], rootless: bool) -> Result<Mode> {
        let values: Vec<String> = values.iter().map(|&v| v.to_owned()).collect();
        Mode::parse(&values, rootless)
    }

    #[test]
    fn reads_every_form() {
        let bridge = Mode::Networks(vec![plain("bridge")]);
        assert_eq!(parse(&[], false).unwrap(), bridge);
        assert_eq!(parse(&["default"], false).unwrap(), bridge);
        assert_eq!(parse(&[], true).unwrap(), Mode::Pasta);
        assert_eq!(parse(&["bridge"], true).unwrap(), Mode::Pasta);
        assert_eq!(parse(&["none"], true).unwrap(), Mode::None);
        assert_eq!(parse(&["host"], false).unwrap(), Mode::Host);
        assert_eq!(parse(&["container:db"], false).unwrap(), Mode::Container("db".to_owned()));
        assert_eq!(
            parse(&["a", "b"], false).unwrap(),
            Mode::Networks(vec![plain("a"), plain("b")])
        );
        let value =
            "name=app,ip=10.89.0.10,ip6=fd00::10,mac-address=02:00:00:00:00:07,alias=db,alias=sql";
        let Mode::Networks(app) = parse(&[value], false).unwrap() else { panic!() };
        assert_eq!(app[0].network, "app");
        assert_eq!(app[0].addresses.len(), 2);
        assert_eq!(app[0].aliases, ["db", "sql"]);
        assert_eq!(app[0].mac, Some([2, 0, 0, 0, 0, 7]));
        assert_eq!((network_name(value), network_name("app")), ("app", "app"));
        assert_eq!(network_value(&app[0]), value);
        assert_eq!(network_value(&plain("app")), "app");
    }

    #[test]
    fn refuses_in_one_line() {
        let cases: [(&[&str], bool, &str); 13] = [
            (&["host", "a"], false, "--network host: cannot be combined with another network"),
            (&["a", "none"], false, "--network none: cannot be combined with another network"),
            (
                &["container:"],
                false,
                "--network container:: names no container (as in container:web)",
            ),
            (&["pasta"], false, "--network pasta: is for containers without root; use bridge"),
            (
                &["app"],
                true,
                "--network app: custom networks require root; use pasta, host or none",
            ),
            (&["a", "a"], false, "--network a: is given twice"),
            (&["a", "name=a"], false, "--network name=a: is given twice"),
            (
                &["ip=10.0.0.1"],
                false,
                "--network ip=10.0.0.1: has no name= (as in name=app,ip=10.89.0.10)",
            ),
            (
                &["name=a,ip=fd00::1"],
                false,
                "--network name=a,ip=fd00::1: \"ip=fd00::1\" is an address of the other family",
            ),
            (
                &["name=a,speed=9"],
                false,
                "--network name=a,speed=9: \"speed=9\" must be name, ip, ip6, mac-address, alias or link",
            ),
            (
                &["name=bridge,alias=db"],
                false,
                "--network name=bridge,alias=db: takes no alias and no link: containers on it have no names; create a network",
            ),
            (
                &["name=none,ip=10.0.0.1"],
                false,
                "--network name=none,ip=10.0.0.1: takes no address: only networks of the store do",
            ),
            (
                &["a/b"],
                false,
                "network name \"a/b\": must begin with a letter or digit, hold only letters, digits, '_', '.' and '-', and be at most 128 long",
            ),
        ];
        for (values, rootless, message) in cases {
            assert_eq!(parse(values, rootless).unwrap_err().to_string(), message);
        }
    }
}
