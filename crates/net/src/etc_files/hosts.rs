//! `/etc/hosts` (hosts(5)).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::etc_files::validate_hostname;

/// One `--add-host NAME:ADDRESS`, or `NAME=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// `None` is `host-gateway`: the host as the container reaches it.
    pub address: Option<IpAddr>,
}

impl FromStr for ExtraHost {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::Invalid {
            property: "--add-host",
            value: text.to_owned(),
            reason: reason.to_owned(),
        };
        // IPv6 addresses have colons; names have none.
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(|| invalid("the form is NAME:ADDRESS or NAME:host-gateway"))?;
        validate_hostname(name).map_err(|_| invalid("the name is no host's name"))?;
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address = match bare {
            "host-gateway" => None,
            bare => Some(bare.parse().map_err(|_| invalid("the address is no IP address"))?),
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

/// What goes into a container's `/etc/hosts`.
#[derive(Debug, Clone, Default)]
pub struct HostsFile<'a> {
    /// The container's hostname, and after it other names of its own.
    pub names: &'a [&'a str],
    /// Its addresses, of every network; none for `--network none`.
    pub addresses: &'a [IpAddr],
    /// `--add-host`.
    pub extra: &'a [ExtraHost],
    /// What `host-gateway` stands for: the gateways of its first network.
    pub gateways: &'a [IpAddr],
    /// The host's own file, of a container on the host's network: nothing is added to
    /// it but `extra`.
    pub host: Option<&'a str>,
}

impl HostsFile<'_> {
    /// The file's text. Extra hosts come before the container's own names, so that
    /// a person can give one of these another address.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for `host-gateway` where there is no gateway.
    pub fn text(&self) -> Result<String> {
        let mut text = self.host.map_or_else(|| BASE.to_owned(), with_newline);
        self.push_extra(&mut text)?;
        if self.host.is_none() && !self.names.is_empty() {
            // Without a network the name is the container's loopback.
            let alone = [IpAddr::from([127, 0, 1, 1])];
            let addresses = if self.addresses.is_empty() { &alone } else { self.addresses };
            for address in addresses {
                let _ = writeln!(text, "{address}\t{}", self.names.join(" "));
            }
        }
        Ok(text)
    }

    fn push_extra(&self, text: &mut String) -> Result<()> {
        for host in self.extra {
            let addresses = match &host.address {
                Some(address) => std::slice::from_ref(address),
                None if self.gateways.is_empty() => {
                    return Err(Error::Invalid {
                        property: "--add-host",
                        value: format!("{}:host-gateway", host.name),
                        reason: "the container has no network with a gateway".to_owned(),
                    });
                }
                None => self.gateways,
            };
            for address in addresses {
                let _ = writeln!(text, "{address}\t{}", host.name);
            }
        }
        Ok(())
    }
}

/// What every hosts file of a container begins with.
const BASE: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

fn with_newline(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let extra: Vec<ExtraHost> =
            ["db:10.0.0.9", "six=fd00::9", "six2:[fd00::9]", "gw:host-gateway"]
                .iter()
                .map(|t| t.parse().unwrap())
                .collect();
        let addresses = ["10.214.0.2", "fd00::2"].map(|a| a.parse().unwrap());
        let gateways = ["10.214.0.1".parse().unwrap()];
        let file = HostsFile {
            names: &["web.example", "web"],
            addresses: &addresses,
            extra: &extra,
            gateways: &gateways,
            host: None,
        };
        let expected = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
10.0.0.9\tdb
fd00::9\tsix
fd00::9\tsix2
10.214.0.1\tgw
10.214.0.2\tweb.example web
fd00::2\tweb.example web
";
        assert_eq!(file.text().unwrap(), expected);
        let shared = HostsFile { host: Some("10.9.8.7 db.internal"), ..file };
        let expected = "10.9.8.7 db.internal
10.0.0.9\tdb
fd00::9\tsix
fd00::9\tsix2
10.214.0.1\tgw
";
        assert_eq!(shared.text().unwrap(), expected);
        let alone = HostsFile { names: &["web"], ..HostsFile::default() };
        assert!(alone.text().unwrap().ends_with("ip6-allrouters\n127.0.1.1\tweb\n"));
    }

    #[test]
    fn refuses_in_one_line() {
        let cases = [
            ("db", "--add-host db: the form is NAME:ADDRESS or NAME:host-gateway"),
            ("db:", "--add-host db:: the address is no IP address"),
            ("d b:10.0.0.1", "--add-host d b:10.0.0.1: the name is no host's name"),
            ("db:10.0.0", "--add-host db:10.0.0: the address is no IP address"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<ExtraHost>().unwrap_err().to_string(), message);
        }
        let extra = ["gw:host-gateway".parse().unwrap()];
        let file = HostsFile { extra: &extra, ..HostsFile::default() };
        assert_eq!(
            file.text().unwrap_err().to_string(),
            "--add-host gw:host-gateway: the container has no network with a gateway"
        );
    }
}
