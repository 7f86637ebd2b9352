//! `NetworkingConfig`, and `HostConfig.NetworkMode`, which names the first network.

use husk_net::Attachment;
use serde_json::{Map, Value};

use crate::object::{Object, Result};

/// Fields of an answer, which clients send back.
const OF_AN_ANSWER: [&str; 11] = [
    "DNSNames",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "NetworkID",
    "SandboxID",
    "SandboxKey",
];

fn is_default(name: &str) -> bool {
    matches!(name, "" | "default" | "bridge")
}

/// The networks, that of `mode` first.
pub(super) fn read(mode: &str, networking: Option<Object>) -> Result<Vec<Attachment>> {
    let mut networks = Vec::new();
    if let Some(mut networking) = networking {
        for (name, object) in networking.objects_by_key("EndpointsConfig")? {
            networks.push(endpoint(name, object)?);
        }
        networking.finish()?;
    }
    let plain = |name: &str| Attachment { network: name.to_owned(), ..Attachment::default() };
    let is_mode =
        |one: &Attachment| one.network == mode || (is_default(mode) && is_default(&one.network));
    match networks.iter().position(is_mode) {
        Some(at) => {
            let first = networks.remove(at);
            networks.insert(0, first);
        }
        // Without endpoints the default network is that of the engine.
        None if is_default(mode) => {}
        None => networks.insert(0, plain(mode)),
    }
    // `default` and `bridge` ask for the same; without anything else it is the engine's default,
    // which is another one without root.
    match networks.as_slice() {
        [one] if is_default(&one.network) && *one == plain(&one.network) => Ok(Vec::new()),
        _ => Ok(networks),
    }
}

/// What `EndpointConfig` of a connection to `network` asks for.
///
/// # Errors
/// What is not supported, by its path.
pub fn connection(network: &str, config: Value) -> Result<Attachment> {
    let body = Value::Object(Map::from_iter([("EndpointConfig".to_owned(), config)]));
    let mut body = Object::of(body)?;
    let object = body.object("EndpointConfig")?;
    match object {
        Some(object) => endpoint(network.to_owned(), object),
        None => Ok(Attachment { network: network.to_owned(), ..Attachment::default() }),
    }
}

fn endpoint(network: String, mut object: Object) -> Result<Attachment> {
    object.drop_all(&OF_AN_ANSWER);
    let mut aliases = object.texts("Aliases")?;
    // Containers on the default network have no names.
    if is_default(&network) {
        aliases.clear();
    }
    let mut attachment = Attachment { network, aliases, ..Attachment::default() };
    let mac = object.text("MacAddress")?;
    if !mac.is_empty() {
        let parsed = husk_net::parse_mac(&mac);
        let parsed = parsed.map_err(|error| object.error("MacAddress", error.to_string()))?;
        attachment.mac = Some(parsed);
    }
    if let Some(mut ipam) = object.object("IPAMConfig")? {
        for (name, is_v6) in [("IPv4Address", false), ("IPv6Address", true)] {
            let text = ipam.text(name)?;
            if text.is_empty() {
                continue;
            }
            match text.parse::<std::net::IpAddr>() {
                Ok(address) if address.is_ipv6() == is_v6 => attachment.addresses.push(address),
                _ => return Err(ipam.error(name, format!("{text:?} is not such an address"))),
            }
        }
        ipam.finish()?;
    }
    object.finish()?;
    Ok(attachment)
}
