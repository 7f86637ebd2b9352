//! `network`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use husk_net::{Attachment, NewNetwork, Subnet};
use serde_json::{Value, json};

use super::{filter, flags, for_each, output, prune};
use crate::error::{EngineError, Error, Result};
use crate::template::{LABELS, Nil, OMITTED, nil};
use husk_engine::clock;
use husk_engine::connection;
use husk_engine::container::Container;
use husk_engine::home::Home;
use husk_engine::notice;

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
    /// Network driver; only bridge
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Driver option: mtu=BYTES
    #[arg(short, long)]
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
                notices.iter().for_each(notice::notice);
                Ok(0)
            }
            Self::Disconnect(disconnect) => {
                let network = nets.inspect(&disconnect.network)?.name;
                let container = Container::find(home, &disconnect.container)?;
                match connection::leave(home, container, &network) {
                    Err(EngineError::Net(husk_net::Error::NotConnected { .. }))
                        if disconnect.force => {}
                    other => other?,
                }
                Ok(0)
            }
        }
    }
}

impl Create {
    fn request(&self) -> Result<NewNetwork> {
        if husk_engine::rootless::is_rootless() {
            return Err(Error::other(
                "custom networks require root; use --network pasta, host or none",
            ));
        }
        if self.driver != "bridge" {
            return Err(Error::flag(
                "--driver",
                &self.driver,
                "must be bridge, the only network driver",
            ));
        }
        let mut mtu = None;
        for (name, value) in flags::pairs("--opt", &self.opt, false)? {
            if name != "mtu" && name != "com.docker.network.driver.mtu" {
                return Err(Error::flag(
                    "--opt",
                    name,
                    "unsupported option; only mtu is supported",
                ));
            }
            let number =
                value.parse().map_err(|_| Error::flag("--opt mtu", &value, "must be a number"));
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

/// Prints which networks exist and cannot be listed.
fn report_damaged(nets: &husk_net::Networks) -> Result<()> {
    for (name, error) in nets.damaged()? {
        notice::notice(format_args!(
            "network {name}: {error}; \"husk network rm {name}\" removes it"
        ));
    }
    Ok(())
}

/// One line of `network ls`.
struct Listed {
    id: String,
    name: String,
    driver: &'static str,
    created: u64,
    internal: bool,
    ipv6: bool,
    labels: BTreeMap<String, String>,
    /// Made by a person, and not always there.
    custom: bool,
}

fn listed(nets: &husk_net::Networks) -> Result<Vec<Listed>> {
    let mut all: Vec<Listed> = nets
        .list()?
        .into_iter()
        .map(|network| Listed {
            ipv6: network.pools.iter().any(|pool| pool.gateway.is_ipv6()),
            custom: network.name != "bridge",
            id: network.id,
            name: network.name,
            driver: "bridge",
            created: network.created,
            internal: network.internal,
            labels: network.labels,
        })
        .collect();
    all.extend(nets.built_in().map(|network| Listed {
        id: network.id,
        name: network.name.to_owned(),
        driver: network.driver,
        created: 0,
        internal: false,
        ipv6: false,
        labels: BTreeMap::new(),
        custom: false,
    }));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

const FILTERS: [&str; 7] = ["id", "name", "label", "driver", "scope", "type", "dangling"];

impl Ls {
    fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.filter, &FILTERS)?;
        let nets = home.networks()?;
        report_damaged(&nets)?;
        let mut networks = Vec::new();
        for network in listed(&nets)? {
            let passes = filter::all_pass(&filters, |filter| match filter.name {
                "id" => Ok(network.id.starts_with(filter.value)),
                "name" => filter.names(&network.name),
                "label" => Ok(filter.has_label(&network.labels)),
                "scope" => Ok(filter.value == "local"),
                "type" => filter
                    .one_of(&["custom", "builtin"])
                    .map(|kind| (kind == "custom") == network.custom),
                "dangling" => {
                    let used = !network.custom || !nets.endpoints(Some(&network.name))?.is_empty();
                    Ok(filter.truth()? != used)
                }
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
                "IPv4": "true", "IPv6": network.ipv6.to_string(),
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
        let nets = home.networks()?;
        let mut found = Vec::new();
        let code = for_each(&self.networks, |name| {
            found.push(document(&nets, name)?);
            Ok(())
        })?;
        output::inspected(self.format.as_deref(), &found).map(|()| code)
    }
}

/// The id of a network by its name.
pub(super) fn id(nets: &husk_net::Networks, name: &str) -> Result<String> {
    match built_in(nets, name) {
        Some(network) => Ok(network.id),
        None => Ok(nets.inspect(name)?.id),
    }
}

/// `host` or `none`, by its name or the beginning of its id.
fn built_in(nets: &husk_net::Networks, wanted: &str) -> Option<husk_net::BuiltIn> {
    nets.built_in()
        .into_iter()
        .find(|one| one.name == wanted || (wanted.len() >= 3 && one.id.starts_with(wanted)))
}

/// What Docker says of a network beside its name, id, driver and addresses.
fn with_common(mut shown: Value) -> Value {
    let common = json!({
        "Scope": "local", "EnableIPv4": true, "Attachable": false, "Ingress": false,
        "ConfigFrom": { "Network": "" }, "ConfigOnly": false,
    });
    if let (Some(shown), Value::Object(common)) = (shown.as_object_mut(), common) {
        shown.extend(common);
    }
    shown
}

/// What `inspect` tells of a network.
pub(super) fn document(nets: &husk_net::Networks, name: &str) -> Result<Value> {
    if let Some(network) = built_in(nets, name) {
        return Ok(with_common(json!({
            "Name": network.name, "Id": network.id, "Created": "0001-01-01T00:00:00Z",
            "Driver": network.driver, "EnableIPv6": false, "Internal": false,
            "IPAM": { "Driver": "default", "Options": nil(Nil::Map), "Config": nil(Nil::List) },
            "Containers": {}, "Options": {}, "Labels": {},
        })));
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
                "IPv4Address": text(false), "IPv6Address": text(true), "EndpointID": "",
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
        shown
    });
    let mut options = json!({ "com.docker.network.bridge.name": network.bridge });
    if let Some(mtu) = network.mtu {
        options["com.docker.network.driver.mtu"] = mtu.to_string().into();
    }
    let has_ipv6 = network.pools.iter().any(|pool| pool.gateway.is_ipv6());
    Ok(with_common(json!({
        "Name": network.name, "Id": network.id,
        "Created": husk_image::compose::rfc3339(network.created, 0),
        "Driver": "bridge", "EnableIPv6": has_ipv6, "Internal": network.internal,
        "IPAM": {
            "Driver": "default", "Options": nil(Nil::Map), "Config": pools.collect::<Vec<_>>(),
        },
        "Options": options, "Labels": network.labels, "Containers": containers,
    })))
}
