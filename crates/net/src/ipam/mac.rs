//! Hardware addresses: those that husk gives, and their text.

use std::net::{IpAddr, Ipv6Addr};

use crate::error::{Error, Result};
use crate::ipam::lease::Address;
use crate::links::link::Mac;
use crate::networks::network::Network;

/// Locally administered, and a function of the address: a container that gets an
/// address soon after another had it also gets the hardware address that
/// neighbours may still have in their caches.
pub(crate) fn mac_of(addresses: &[Address]) -> Mac {
    mac_for(addresses.first().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |a| a.address))
}

/// The hardware address of a network's bridge.
pub(crate) fn bridge_mac(network: &Network) -> Mac {
    mac_for(network.pools.first().map_or(IpAddr::from([0; 4]), |pool| pool.gateway))
}

fn mac_for(address: IpAddr) -> Mac {
    let [a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let [.., a, b, c, d] = v6.octets();
            [a, b, c, d]
        }
    };
    [0x02, b'H', a, b, c, d]
}

/// `02:48:0a:d6:00:02`.
#[must_use]
pub fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads six colon-separated hexadecimal bytes.
///
/// # Errors
///
/// Anything else, and a multicast address, which no link can have.
pub fn parse_mac(text: &str) -> Result<Mac> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    bytes.and_then(|bytes| Mac::try_from(bytes).ok()).filter(|mac| mac[0] & 1 == 0).ok_or_else(
        || Error::Invalid {
            property: "--mac-address",
            value: text.to_owned(),
            reason: "is no unicast hardware address (as in 02:48:0a:d6:00:02)".to_owned(),
        },
    )
}

pub(super) mod mac_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Mac, format_mac, parse_mac};

    pub(crate) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_mac(*mac))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_mac(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        assert_eq!(format_mac(mac_for("10.9.0.7".parse().unwrap())), "02:48:0a:09:00:07");
        assert_eq!(parse_mac("02:48:0a:09:00:07").unwrap(), [2, 0x48, 10, 9, 0, 7]);
        for wrong in
            ["", "02:48:0a:09:00", "2:48:a:9:0:7", "01:00:5e:00:00:01", "02:48:0a:09:00:0g"]
        {
            assert!(parse_mac(wrong).is_err(), "{wrong}");
        }
    }
}
