//! `network`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use husk_net::Subnet;
use serde_json::json;

use super::progress::Notices;
use super::{filter, flags, for_each, output, prune};
use crate::error::{EngineError, Error, Result};
use crate::template::LABELS;
use husk_engine::clock;
use husk_engine::home::Home;
use husk_engine::network::{self, ConnectRequest, CreateRequest, DisconnectRequest};
use husk_engine::reporter::Reporter;

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Network {
    /// Create a network
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Display detailed information on networks
    Inspect(Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove all unused networks
    Prune(prune::Plain),
    /// Connect a container to a network
    Connect(Connect),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
}

/// `network create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Subnet: ADDRESS/PREFIX
    #[arg(long)]
    subnet: Vec<Subnet>,
    /// Gateway of the subnet: the bridge's address
    #[arg(long)]
    gateway: Vec<IpAddr>,
    /// Allocate container addresses from a part of the subnet
    #[arg(long)]
    ip_range: Vec<Subnet>,
    /// Enable or disable IPv6
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ipv6: Option<bool>,
    /// Isolate the network from the outside
    #[arg(long)]
    internal: bool,
    /// Reserve an address, which no container is given: NAME=ADDRESS
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Accepted for Swarm, where it lets containers of other stacks connect; nothing else changes
    #[arg(long)]
    attachable: bool,
    /// Network driver: bridge, macvlan or ipvlan
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Driver option: com.docker.network.bridge.name=LINK, .enable_icc=BOOL,
    /// .enable_ip_masquerade=BOOL, .host_binding_ipv4=ADDRESS, com.docker.network.driver.mtu=BYTES;
    /// parent=LINK, macvlan_mode=MODE, ipvlan_mode=MODE
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// Set a label: NAME[=VALUE]
    #[arg(long)]
    label: Vec<String>,
    /// Name
    name: String,
}

/// `network ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Only print IDs
    #[arg(short, long)]
    quiet: bool,
    /// Do not truncate IDs
    #[arg(long)]
    no_trunc: bool,
    /// Filter the list: dangling, driver, id, label, name, scope, type
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output as json, table, or by a Go template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
}

/// `network inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Format output as json or by a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Names or IDs
    #[arg(required = true)]
    networks: Vec<String>,
}

/// `network rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Do not fail if it does not exist
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true)]
    networks: Vec<String>,
}

/// `network connect`.
#[derive(Debug, Args)]
pub(super) struct Connect {
    /// IP address on the network
    #[arg(long)]
    ip: Option<std::net::Ipv4Addr>,
    /// IP address on the network
    #[arg(long)]
    ip6: Option<std::net::Ipv6Addr>,
    /// Another name of the container on the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Know another container on the network by a name of one's own: CONTAINER[:ALIAS]
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
    /// Name or ID
    network: String,
    /// Name or ID
    container: String,
}

/// `network disconnect`.
#[derive(Debug, Args)]
pub(super) struct Disconnect {
    /// Succeed even if the container is not on the network
    #[arg(short, long)]
    force: bool,
    /// Name or ID
    network: String,
    /// Name or ID
    container: String,
}

impl Network {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        match self {
            Self::Create(create) => {
                if create.attachable {
                    Reporter::notice(&Notices, "--attachable changes nothing without Swarm");
                }
                output::line(network::create(home, &create.request()?)?.id).map(|()| 0)
            }
            Self::Ls(ls) => ls.run(home),
            Self::Inspect(inspect) => inspect.run(home),
            Self::Prune(prune) => prune.networks(home),
            Self::Rm(rm) => for_each(&rm.networks, |name| {
                match network::remove(home, name) {
                    Err(EngineError::Net(husk_net::Error::NoSuchNetwork { .. })) if rm.force => {
                        return Ok(());
                    }
                    other => other?,
                }
                output::line(name)
            }),
            Self::Connect(connect) => {
                let addresses = [connect.ip.map(IpAddr::from), connect.ip6.map(IpAddr::from)];
                let request = ConnectRequest {
                    network: connect.network.clone(),
                    container: connect.container.clone(),
                    addresses: addresses.into_iter().flatten().collect(),
                    aliases: connect.alias.clone(),
                    links: connect.link.clone(),
                };
                network::connect(home, &request, &Notices)?;
                Ok(0)
            }
            Self::Disconnect(disconnect) => {
                let request = DisconnectRequest {
                    network: disconnect.network.clone(),
                    container: disconnect.container.clone(),
                    force: disconnect.force,
                };
                network::disconnect(home, &request)?;
                Ok(0)
            }
        }
    }
}

impl Create {
    fn request(&self) -> Result<CreateRequest> {
        Ok(CreateRequest {
            name: self.name.clone(),
            driver: self.driver.clone(),
            subnets: self.subnet.clone(),
            gateways: self.gateway.clone(),
            ranges: self.ip_range.clone(),
            ipv6: self.ipv6,
            internal: self.internal,
            attachable: self.attachable,
            reserved: self.reserved()?,
            options: flags::pairs("--opt", &self.opt, false)?,
            labels: flags::pairs("--label", &self.label, true)?,
        })
    }
}

impl Create {
    fn reserved(&self) -> Result<BTreeMap<String, IpAddr>> {
        let mut reserved = BTreeMap::new();
        for (name, text) in flags::pairs("--aux-address", &self.aux_address, false)? {
            let bad = |_| Error::flag("--aux-address", &text, "must be NAME=ADDRESS");
            reserved.insert(name, text.parse().map_err(bad)?);
        }
        Ok(reserved)
    }
}

impl Ls {
    fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.filter, &network::FILTERS)?;
        let networks = network::list(home, &filters, &Notices)?;
        let id = |id: &str| match self.no_trunc {
            true => id.to_owned(),
            false => id.get(..12).unwrap_or(id).to_owned(),
        };
        if self.quiet {
            networks.iter().try_for_each(|network| output::line(id(&network.id)))?;
            return Ok(0);
        }
        let row = |network: &network::Network| {
            json!({
                "ID": id(&network.id), "Name": network.name, "Driver": network.driver,
                "Scope": "local", "Internal": network.internal.to_string(),
                "IPv4": "true", "IPv6": network.has_ipv6().to_string(),
                "CreatedAt": clock::local(&husk_image::compose::rfc3339(network.created, 0)),
                "Labels": filter::joined(&network.labels), LABELS: network.labels,
            })
        };
        let rows: Vec<_> = networks.iter().map(row).collect();
        let columns =
            [("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope")];
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}

impl Inspect {
    fn run(&self, home: &Home) -> Result<u8> {
        let mut found = Vec::new();
        let code = for_each(&self.networks, |name| {
            found.push(husk_docker::inspect_network(home, name)?);
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }
}
