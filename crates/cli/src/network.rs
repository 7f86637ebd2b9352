//! `network`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use husk_net::{Attachment, NewNetwork, Subnet};
use serde_json::{Value, json};

use super::{filter, flags, for_each, output, prune};
use crate::template::LABELS;
use husk_engine::connection;
use husk_engine::container::Container;
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Network {
    /// Make a network
    Create(Create),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Print what is known of networks, as JSON
    Inspect(Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove those that no container is on
    Prune(prune::Plain),
    /// Connect a container to a network
    Connect(Connect),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
}

/// `network create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// ADDRESS/PREFIX
    #[arg(long)]
    subnet: Vec<Subnet>,
    /// The bridge's address
    #[arg(long)]
    gateway: Vec<IpAddr>,
    /// The part of the subnet for containers
    #[arg(long)]
    ip_range: Vec<Subnet>,
    /// With IPv6
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ipv6: Option<bool>,
    /// No way out and none in
    #[arg(long)]
    internal: bool,
    /// bridge
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// mtu=BYTES
    #[arg(short, long)]
    opt: Vec<String>,
    /// NAME=VALUE
    #[arg(long)]
    label: Vec<String>,
    /// Its name
    name: String,
}

/// `network ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// id=, name=, label=, driver=
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, or a template such as '{{.Name}}'
    #[arg(long)]
    format: Option<String>,
}

/// `network inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// json, or a template
    #[arg(short, long)]
    format: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
}

/// `network rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// No error for what is not there
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    networks: Vec<String>,
}

/// `network connect`.
#[derive(Debug, Args)]
pub(super) struct Connect {
    /// Address on it
    #[arg(long)]
    ip: Option<std::net::Ipv4Addr>,
    /// Address on it
    #[arg(long)]
    ip6: Option<std::net::Ipv6Addr>,
    /// Another name of the container on the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

/// `network disconnect`.
#[derive(Debug, Args)]
pub(super) struct Disconnect {
    /// Succeed even if the container is not on the network
    #[arg(short, long)]
    force: bool,
    /// Name or id
    network: String,
    /// Name or id
    container: String,
}

impl Network {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let nets = home.networks()?;
        match self {
            Self::Create(create) => output::line(nets.create(&create.request()?)?.id).map(|()| 0),
            Self::Ls(ls) => ls.run(home),
            Self::Inspect(inspect) => inspect.run(home),
            Self::Prune(prune) => prune.networks(home),
            Self::Rm(rm) => for_each(&rm.networks, |name| {
                match nets.remove(name) {
                    Err(husk_net::Error::NoSuchNetwork { .. }) if rm.force => return Ok(()),
                    other => other?,
                }
                output::line(name)
            }),
            Self::Connect(connect) => {
                let addresses = [connect.ip.map(IpAddr::from), connect.ip6.map(IpAddr::from)];
                let attachment = Attachment {
                    network: nets.inspect(&connect.network)?.name,
                    addresses: addresses.into_iter().flatten().collect(),
                    aliases: connect.alias.clone(),
                    ..Attachment::default()
                };
                let container = Container::find(home, &connect.container)?;
                let notices = connection::join(home, container, &attachment)?;
                notices.iter().for_each(husk_engine::notice::notice);
                Ok(0)
            }
            Self::Disconnect(disconnect) => {
                let network = nets.inspect(&disconnect.network)?.name;
                let container = Container::find(home, &disconnect.container)?;
                match connection::leave(home, container, &network) {
                    Err(Error::Net(husk_net::Error::NotConnected { .. })) if disconnect.force => {
                        Ok(0)
                    }
                    other => other.map(|()| 0),
                }
            }
        }
    }
}

impl Create {
    fn request(&self) -> Result<NewNetwork> {
        if husk_engine::rootless::is_rootless() {
            return Err(Error::other(
                "networks of one's own need root; see --network pasta, host, none of husk run",
            ));
        }
        if self.driver != "bridge" {
            return Err(Error::flag("--driver", &self.driver, "only bridge is built yet"));
        }
        let mut mtu = None;
        for (name, value) in flags::pairs("--opt", &self.opt, false)? {
            if name != "mtu" && name != "com.docker.network.driver.mtu" {
                return Err(Error::flag("--opt", name, "only mtu is built yet"));
            }
            let number =
                value.parse().map_err(|_| Error::flag("--opt mtu", &value, "is no number"));
            mtu = Some(number?);
        }
        Ok(NewNetwork {
            name: self.name.clone(),
            subnets: self.subnet.clone(),
            gateways: self.gateway.clone(),
            ranges: self.ip_range.clone(),
            ipv6: self.ipv6,
            internal: self.internal,
            mtu,
            labels: flags::pairs("--label", &self.label, true)?,
        })
    }
}

/// A line of `network ls`.
struct Listed {
    id: String,
    name: String,
    driver: &'static str,
    internal: bool,
    labels: BTreeMap<String, String>,
}

impl From<husk_net::Network> for Listed {
    fn from(network: husk_net::Network) -> Self {
        let husk_net::Network { id, name, internal, labels, .. } = network;
        Self { id, name, driver: "bridge", internal, labels }
    }
}

impl From<husk_net::BuiltIn> for Listed {
    fn from(network: husk_net::BuiltIn) -> Self {
        let (id, driver) = (network.id, network.driver);
        Self { id, name: network.name.to_owned(), driver, internal: false, labels: BTreeMap::new() }
    }
}

impl Ls {
    fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.filter, &["id", "name", "label", "driver"])?;
        let nets = home.networks()?;
        let mut all: Vec<Listed> = nets.list()?.into_iter().map(Listed::from).collect();
        all.extend(nets.built_in().map(Listed::from));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let mut networks = Vec::new();
        for network in all {
            let passes = filter::all_pass(&filters, |filter| match filter.name {
                "id" => Ok(network.id.starts_with(filter.value)),
                "name" => filter.names(&network.name),
                "label" => Ok(filter.has_label(&network.labels)),
                _ => Ok(filter.value == network.driver),
            })?;
            networks.extend(passes.then_some(network));
        }
        let id = |id: &str| match self.no_trunc {
            true => id.to_owned(),
            false => id.get(..12).unwrap_or(id).to_owned(),
        };
        if self.quiet {
            networks.iter().try_for_each(|network| output::line(id(&network.id)))?;
            return Ok(0);
        }
        let row = |network: &Listed| {
            json!({
                "ID": id(&network.id), "Name": network.name, "Driver": network.driver,
                "Scope": "local", "Internal": network.internal.to_string(),
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
        let nets = home.networks()?;
        let mut found = Vec::new();
        let built_in = nets.built_in();
        let code = for_each(&self.networks, |name| {
            let is_asked = |one: &&husk_net::BuiltIn| {
                one.name == name || name.len() >= 3 && one.id.starts_with(name)
            };
            if let Some(one) = built_in.iter().find(is_asked) {
                found.push(json!({
                    "Name": one.name, "Id": one.id, "Created": husk_image::compose::rfc3339(0, 0),
                    "Scope": "local", "Driver": one.driver, "Internal": false,
                    "IPAM": { "Driver": "default", "Config": [] },
                    "Options": {}, "Labels": {}, "Containers": {},
                }));
                return Ok(());
            }
            let network = nets.inspect(name)?;
            let mut containers = serde_json::Map::new();
            for endpoint in nets.endpoints(Some(&network.name))? {
                let text = |ipv6| {
                    let address = endpoint.address(ipv6);
                    address.map_or_else(String::new, |a| format!("{}/{}", a.address, a.prefix))
                };
                containers.insert(
                    endpoint.container.clone(),
                    json!({
                        "Name": endpoint.name, "MacAddress": husk_net::format_mac(endpoint.mac),
                        "IPv4Address": text(false), "IPv6Address": text(true),
                    }),
                );
            }
            let pools: Vec<Value> = network
                .pools
                .iter()
                .map(|pool| {
                    let range = pool.range.as_ref().map(ToString::to_string);
                    json!({
                        "Subnet": pool.subnet.to_string(), "Gateway": pool.gateway, "IPRange": range,
                    })
                })
                .collect();
            found.push(json!({
                "Name": network.name, "Id": network.id,
                "Created": husk_image::compose::rfc3339(network.created, 0),
                "Scope": "local", "Driver": "bridge", "Internal": network.internal,
                "IPAM": { "Driver": "default", "Config": pools },
                "Options": { "bridge": network.bridge, "mtu": network.mtu },
                "Labels": network.labels, "Containers": containers,
            }));
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }
}
