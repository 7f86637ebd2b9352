//! Drivers of networks and their options, by Docker's names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most that a link's name can have (`IFNAMSIZ`, without its NUL).
const MAX_LINK_NAME: usize = 15;

const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const ENABLE_ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";

/// What makes a network's links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host, which routes and translates.
    #[default]
    Bridge,
    /// Links with hardware addresses of their own on a link of the host.
    Macvlan,
    /// Links on a link of the host, with its hardware address.
    Ipvlan,
}

impl Driver {
    /// Docker's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    /// The driver of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], with those there are.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "" | "bridge" => Ok(Self::Bridge),
            "macvlan" => Ok(Self::Macvlan),
            "ipvlan" => Ok(Self::Ipvlan),
            "overlay" => Err(invalid("driver", name, "is for Swarm; use bridge")),
            _ => Err(invalid("driver", name, "must be bridge, macvlan or ipvlan")),
        }
    }
}

/// What a network's options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bridge's link.
    pub bridge: Option<String>,
    /// Whether its containers reach each other.
    pub icc: bool,
    /// Whether containers leave the host with the host's address.
    pub masquerade: bool,
    /// The address of the host that ports are published at where none is said.
    pub host_binding: Option<Ipv4Addr>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// The link of the host below those of macvlan and ipvlan.
    pub parent: Option<String>,
    /// How those reach each other: `bridge`, `private`, `vepa`, `passthru`; `l2`, `l3`, `l3s`.
    pub mode: String,
    /// The same of ipvlan: `bridge`, `private` or `vepa`.
    pub flag: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bridge: None,
            icc: true,
            masquerade: true,
            host_binding: None,
            mtu: None,
            parent: None,
            mode: String::new(),
            flag: "bridge".to_owned(),
        }
    }
}

fn invalid(property: &'static str, value: impl ToString, reason: impl Into<String>) -> Error {
    Error::Invalid { property, value: value.to_string(), reason: reason.into() }
}

impl Settings {
    /// Reads the options of a network.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]: a value that is none, an option that the driver has not.
    pub fn read(driver: Driver, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut settings = Self::default();
        match driver {
            Driver::Bridge => {}
            Driver::Macvlan => "bridge".clone_into(&mut settings.mode),
            Driver::Ipvlan => "l2".clone_into(&mut settings.mode),
        }
        for (name, value) in options {
            settings.take(driver, name, value)?;
        }
        Ok(settings)
    }

    fn take(&mut self, driver: Driver, name: &str, value: &str) -> Result<()> {
        let option = |reason: &str| invalid("driver option", format!("{name}={value}"), reason);
        let one_of = |known: &[&str]| match known.contains(&value) {
            true => Ok(value.to_owned()),
            false => Err(option(&format!("must be one of {}", known.join(", ")))),
        };
        match (driver, name) {
            (_, MTU | "mtu") => {
                self.mtu = Some(value.parse().map_err(|_| option("must be a number of bytes"))?);
            }
            (Driver::Bridge, BRIDGE_NAME) => self.bridge = Some(link_name(value).map_err(option)?),
            (Driver::Bridge, ENABLE_ICC) => self.icc = truth(value).map_err(option)?,
            (Driver::Bridge, MASQUERADE) => self.masquerade = truth(value).map_err(option)?,
            (Driver::Bridge, HOST_BINDING) => {
                let address = value.parse().map_err(|_| option("must be an IPv4 address"))?;
                self.host_binding = Some(address);
            }
            (Driver::Macvlan | Driver::Ipvlan, "parent") => {
                self.parent = Some(link_name(value).map_err(option)?);
            }
            (Driver::Macvlan, "macvlan_mode" | "mode") => {
                self.mode = one_of(&["bridge", "private", "vepa", "passthru"])?;
            }
            (Driver::Ipvlan, "ipvlan_mode" | "mode") => {
                self.mode = one_of(&["l2", "l3", "l3s"])?;
            }
            (Driver::Ipvlan, "ipvlan_flag") => {
                self.flag = one_of(&["bridge", "private", "vepa"])?;
            }
            (driver, _) => {
                let known = match driver {
                    Driver::Bridge => {
                        "com.docker.network.bridge.name, .enable_icc, \
                         .enable_ip_masquerade, .host_binding_ipv4 and com.docker.network.driver.mtu"
                    }
                    Driver::Macvlan => "parent, macvlan_mode and com.docker.network.driver.mtu",
                    Driver::Ipvlan => {
                        "parent, ipvlan_mode, ipvlan_flag and com.docker.network.driver.mtu"
                    }
                };
                let reason = format!("the {} driver has {known}", driver.name());
                return Err(invalid("driver option", name, reason));
            }
        }
        Ok(())
    }
}

fn truth(value: &str) -> std::result::Result<bool, &'static str> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false"),
    }
}

/// A link's name as the kernel takes it (`dev_valid_name`), of printable characters.
fn link_name(value: &str) -> std::result::Result<String, &'static str> {
    let fits = !value.is_empty()
        && value.len() <= MAX_LINK_NAME
        && ![".", "..", "lo"].contains(&value)
        && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
    match fits {
        true => Ok(value.to_owned()),
        false => Err("must be the name of a link: 1 to 15 characters without '/', ':' and blanks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: Driver, options: &[(&str, &str)]) -> std::result::Result<Settings, String> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Settings::read(driver, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_options_of_each_driver() {
        let bridge = read(
            Driver::Bridge,
            &[
                (BRIDGE_NAME, "lab0"),
                (ENABLE_ICC, "false"),
                (MASQUERADE, "0"),
                (HOST_BINDING, "127.0.0.1"),
                (MTU, "9000"),
            ],
        );
        let wanted = Settings {
            bridge: Some("lab0".to_owned()),
            icc: false,
            masquerade: false,
            host_binding: Some(Ipv4Addr::LOCALHOST),
            mtu: Some(9000),
            ..Settings::default()
        };
        assert_eq!(bridge.unwrap(), wanted);
        let macvlan = read(Driver::Macvlan, &[("parent", "eth0.50"), ("macvlan_mode", "vepa")]);
        let macvlan = macvlan.unwrap();
        assert_eq!((macvlan.parent.as_deref(), &*macvlan.mode), (Some("eth0.50"), "vepa"));
        assert_eq!(read(Driver::Macvlan, &[]).unwrap().mode, "bridge");
        assert_eq!(read(Driver::Ipvlan, &[("ipvlan_mode", "l3s")]).unwrap().mode, "l3s");
    }

    #[test]
    fn refuses_what_a_driver_has_not() {
        let cases = [
            (Driver::Bridge, "parent", "eth0", "driver option parent: the bridge driver has"),
            (Driver::Macvlan, ENABLE_ICC, "true", "the macvlan driver has parent"),
            (Driver::Bridge, ENABLE_ICC, "maybe", "enable_icc=maybe: must be true or false"),
            (Driver::Bridge, BRIDGE_NAME, "a/b", "must be the name of a link"),
            (Driver::Bridge, BRIDGE_NAME, "sixteen-letters-x", "must be the name of a link"),
            (Driver::Bridge, HOST_BINDING, "::1", "must be an IPv4 address"),
            (Driver::Ipvlan, "ipvlan_mode", "l4", "must be one of l2, l3, l3s"),
            (Driver::Bridge, "mtu", "large", "must be a number of bytes"),
        ];
        for (driver, name, value, message) in cases {
            let error = read(driver, &[(name, value)]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert!(Driver::from_name("overlay").unwrap_err().to_string().contains("Swarm"));
        assert!(Driver::from_name("weave").is_err());
    }
}
