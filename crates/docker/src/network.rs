//! `GET /networks/{id}`.

use husk_engine::error::Result;
use husk_engine::home::Home;
use husk_engine::network::{self, NetworkDetails};
use serde_json::{Value, json};

use crate::container::endpoint_id;
use crate::document::{Nil, OMITTED, nil};

/// What Docker says of a network beside its name, id, driver and addresses.
fn with_common(mut shown: Value) -> Value {
    let common = json!({
        "Scope": "local", "EnableIPv4": true, "Ingress": false,
        "ConfigFrom": { "Network": "" }, "ConfigOnly": false,
    });
    if let (Some(shown), Value::Object(common)) = (shown.as_object_mut(), common) {
        shown.extend(common);
    }
    shown
}

/// The document of a network, by its name, its id or the beginning of one.
///
/// # Errors
/// A network that is not there; files of the engine that cannot be read.
pub fn inspect_network(home: &Home, name: &str) -> Result<Value> {
    let NetworkDetails { network, endpoints } = network::inspect(home, name)?;
    if network.pools.is_empty() {
        return Ok(with_common(json!({
            "Name": network.name, "Id": network.id, "Created": "0001-01-01T00:00:00Z",
            "Driver": network.driver, "EnableIPv6": false, "Internal": false, "Attachable": false,
            "IPAM": { "Driver": "default", "Options": nil(Nil::Map), "Config": nil(Nil::List) },
            "Containers": {}, "Options": {}, "Labels": {},
        })));
    }
    let mut containers = serde_json::Map::new();
    for endpoint in endpoints {
        let text = |ipv6| {
            let address = endpoint.address(ipv6);
            address.map_or_else(String::new, |a| format!("{}/{}", a.address, a.prefix))
        };
        containers.insert(
            endpoint.container.clone(),
            json!({
                "Name": endpoint.name, "MacAddress": husk_net::format_mac(endpoint.mac),
                "IPv4Address": text(false), "IPv6Address": text(true),
                "EndpointID": endpoint_id(&endpoint.container, &network.id),
            }),
        );
    }
    let pools = network.pools.iter().map(|pool| {
        let mut shown = json!({
            "Subnet": pool.subnet.to_string(), "Gateway": pool.gateway,
            OMITTED: { "IPRange": "", "AuxiliaryAddresses": nil(Nil::Map) },
        });
        if let Some(range) = &pool.range {
            shown["IPRange"] = range.to_string().into();
        }
        if !pool.reserved.is_empty() {
            shown["AuxiliaryAddresses"] = json!(pool.reserved);
        }
        shown
    });
    Ok(with_common(json!({
        "Name": network.name, "Id": network.id,
        "Created": husk_image::compose::rfc3339(network.created, 0),
        "Driver": network.driver, "EnableIPv6": network.has_ipv6(), "Internal": network.internal,
        "Attachable": network.attachable,
        "IPAM": {
            "Driver": "default", "Options": nil(Nil::Map), "Config": pools.collect::<Vec<_>>(),
        },
        "Options": network.options, "Labels": network.labels, "Containers": containers,
    })))
}
