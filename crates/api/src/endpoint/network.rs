//! Networks.

use std::collections::BTreeMap;

use husk_engine::clock;
use husk_engine::connection;
use husk_engine::container::Container;
use husk_engine::error::Error;
use husk_engine::events::{EventType, Journal};
use husk_engine::network::CreateRequest;
use husk_net::Subnet;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::create::refused;
use super::list::{has_label, name_matches};
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::query::Filters;
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const LIST_FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

/// The networks of every engine, by their names.
const BUILT_IN: [&str; 3] = ["bridge", "host", "none"];

/// # Errors
/// Those of the endpoint.
pub(crate) async fn answer(service: Shared, mut call: Call, path: &[&str]) -> Result<Reply> {
    match (call.method.as_str(), path) {
        ("GET", []) => {
            let filters = call.query.filters(&LIST_FILTERS)?;
            let listed = service.blocking(move |service| list(service, &filters)).await?;
            reply::json(&listed)
        }
        ("POST", ["create"]) => {
            let body: Create = call.json().await?;
            let id = service.blocking(move |service| create(service, body)).await?;
            reply::json_with(StatusCode::CREATED, &json!({ "Id": id, "Warning": "" }))
        }
        ("POST", ["prune"]) => {
            let filters = call.query.filters(&PRUNE_FILTERS)?;
            let removed = service.blocking(move |service| prune(service, &filters)).await?;
            let removed = if removed.is_empty() { Value::Null } else { json!(removed) };
            reply::json(&json!({ "NetworksDeleted": removed }))
        }
        ("GET", [name]) => {
            let name = (*name).to_owned();
            let found = service.blocking(move |service| inspect(service, &name)).await?;
            reply::json(&found)
        }
        ("DELETE", [name]) => {
            let name = (*name).to_owned();
            service.blocking(move |service| remove(service, &name)).await?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        ("POST", [name, "connect"]) => {
            let (name, body): (_, Connect) = ((*name).to_owned(), call.json().await?);
            service.blocking(move |service| connect(service, &name, body)).await?;
            Ok(reply::empty(StatusCode::OK))
        }
        ("POST", [name, "disconnect"]) => {
            let (name, body): (_, Connect) = ((*name).to_owned(), call.json().await?);
            service.blocking(move |service| disconnect(service, &name, &body)).await?;
            Ok(reply::empty(StatusCode::OK))
        }
        _ => Err(Failure::not_found("page not found")),
    }
}

fn document(service: &Service, name: &str) -> Result<Value> {
    let document = husk_docker::inspect_network(&service.home, name)?;
    Ok(husk_docker::document::public(&document))
}

fn list(service: &Service, filters: &Filters) -> Result<Vec<Value>> {
    let nets = service.home.networks()?;
    let mut names: Vec<String> = nets.list()?.into_iter().map(|network| network.name).collect();
    // The default network is there before its first container.
    if !names.iter().any(|name| name == husk_net::DEFAULT_NETWORK) && nets.inspect("bridge").is_ok()
    {
        names.push("bridge".to_owned());
    }
    names.extend(nets.built_in().iter().map(|one| one.name.to_owned()));
    let mut used = std::collections::BTreeSet::new();
    if filters.contains_key("dangling") {
        used.extend(nets.endpoints(None)?.into_iter().map(|endpoint| endpoint.network));
    }
    let mut listed = Vec::new();
    for name in names {
        let mut document = document(service, &name)?;
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        let (id, name, driver) = (text("Id"), text("Name"), text("Driver"));
        let built_in = BUILT_IN.contains(&name.as_str());
        let labels: BTreeMap<String, String> =
            serde_json::from_value(document["Labels"].clone()).unwrap_or_default();
        let passes = filters.iter().all(|(filter, values)| {
            let one = |value: &String| match filter.as_str() {
                "id" => id.starts_with(value.as_str()),
                "name" => name_matches(&name, value),
                "label" => has_label(&labels, value),
                "driver" => driver == *value,
                "scope" => value == "local",
                "type" => (value == "builtin") == built_in,
                _ => {
                    let dangling = !built_in && !used.contains(&name);
                    dangling == matches!(value.as_str(), "true" | "1")
                }
            };
            match filter.as_str() {
                "label" => values.iter().all(one),
                _ => values.iter().any(one),
            }
        });
        if passes && sees(service, &name, &labels) {
            document["Containers"] = json!({});
            listed.push(document);
        }
    }
    Ok(listed)
}

/// Whether this socket may see it: those that every engine has are everyone's.
fn sees(service: &Service, name: &str, labels: &BTreeMap<String, String>) -> bool {
    BUILT_IN.contains(&name)
        || service.policy.label().is_none_or(|(label, value)| {
            labels.get(label).is_some_and(|has| value.is_none_or(|value| has == value))
        })
}

fn missing(name: &str) -> Failure {
    Failure::not_found(format!("network {name} not found"))
}

/// A network's name by its name or the beginning of its id.
fn resolve(service: &Service, wanted: &str) -> Result<String> {
    let nets = service.home.networks()?;
    let wanted = if wanted == "default" { husk_net::DEFAULT_NETWORK } else { wanted };
    let built_in = nets.built_in().into_iter();
    let mut built_in = built_in
        .filter(|one| one.name == wanted || (wanted.len() >= 3 && one.id.starts_with(wanted)));
    if let Some(network) = built_in.next() {
        return Ok(network.name.to_owned());
    }
    let network = nets.inspect(wanted).map_err(|_| missing(wanted))?;
    match sees(service, &network.name, &network.labels) {
        true => Ok(network.name),
        false => Err(missing(wanted)),
    }
}

fn inspect(service: &Service, wanted: &str) -> Result<Value> {
    let name = resolve(service, wanted)?;
    document(service, &name)
}

/// The body of a creation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    name: Option<String>,
    driver: Option<String>,
    scope: Option<String>,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    internal: Option<bool>,
    attachable: Option<bool>,
    ingress: Option<bool>,
    config_only: Option<bool>,
    config_from: Option<ConfigFrom>,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigFrom {
    network: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    driver: Option<String>,
    options: Option<BTreeMap<String, String>>,
    config: Option<Vec<PoolConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PoolConfig {
    subnet: Option<String>,
    #[serde(rename = "IPRange")]
    range: Option<String>,
    gateway: Option<String>,
    #[serde(rename = "AuxiliaryAddresses", alias = "AuxAddress")]
    auxiliary: Option<BTreeMap<String, String>>,
}

fn create(service: &Service, body: Create) -> Result<String> {
    let name = body.name.unwrap_or_default();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if name.is_empty() {
        return Err(Failure::invalid("network name is missing"));
    }
    if BUILT_IN.contains(&name.as_str()) || name == "default" {
        let message = format!("operation is not permitted on predefined {name} network");
        return Err(Failure::forbidden(message));
    }
    let driver = given(body.driver).unwrap_or_default();
    if !matches!(driver.as_str(), "" | "bridge" | "macvlan" | "ipvlan") {
        let message =
            format!("could not find plugin {driver} in v1 plugin registry: plugin not found");
        return Err(Failure::not_found(message));
    }
    if husk_engine::rootless::is_rootless() {
        return Err(Failure::forbidden("user-defined networks require root; use host or none"));
    }
    for (field, is_set) in [
        ("Scope", given(body.scope).is_some_and(|scope| scope != "local")),
        ("Ingress", body.ingress == Some(true)),
        ("ConfigOnly", body.config_only == Some(true)),
        ("ConfigFrom", body.config_from.and_then(|from| given(from.network)).is_some()),
        ("EnableIPv4", body.enable_ipv4 == Some(false)),
    ] {
        if is_set {
            return Err(refused(field, "is not supported"));
        }
    }
    let mut options = body.options.unwrap_or_default();
    // What every network has here.
    options.retain(|name, value| {
        name != "com.docker.network.enable_ipv4" || !matches!(value.as_str(), "true" | "1")
    });
    let mut new = CreateRequest {
        name: name.clone(),
        driver,
        ipv6: body.enable_ipv6.filter(|wanted| *wanted),
        internal: body.internal == Some(true),
        attachable: body.attachable == Some(true),
        labels: body.labels.unwrap_or_default(),
        options,
        ..CreateRequest::default()
    };
    if let Some((label, value)) = service.policy.label() {
        new.labels.insert(label.to_owned(), value.unwrap_or_default().to_owned());
    }
    let ipam = body.ipam.unwrap_or_default();
    if given(ipam.driver).is_some_and(|driver| driver != "default") {
        return Err(refused("IPAM.Driver", "must be default"));
    }
    if ipam.options.is_some_and(|options| !options.is_empty()) {
        return Err(refused("IPAM.Options", "is not supported"));
    }
    for pool in ipam.config.unwrap_or_default() {
        for (name, text) in pool.auxiliary.unwrap_or_default() {
            let field = format!("IPAM.Config.AuxiliaryAddresses[{name}]");
            let bad = |_| refused(&field, &format!("{text:?} is not an address"));
            new.reserved.insert(name, text.parse().map_err(bad)?);
        }
        let subnet = |field: &str, text: String| -> Result<Subnet> {
            text.parse().map_err(|_| refused(field, &format!("{text:?} is not a subnet")))
        };
        if let Some(text) = given(pool.subnet) {
            new.subnets.push(subnet("IPAM.Config.Subnet", text)?);
        }
        if let Some(text) = given(pool.range) {
            new.ranges.push(subnet("IPAM.Config.IPRange", text)?);
        }
        if let Some(text) = given(pool.gateway) {
            let bad = |_| refused("IPAM.Config.Gateway", &format!("{text:?} is not an address"));
            new.gateways.push(text.parse().map_err(bad)?);
        }
    }
    match husk_engine::network::create(&service.home, &new) {
        Err(Error::Net(husk_net::Error::NetworkExists { .. })) => {
            Err(Failure::conflict(format!("network with name {name} already exists")))
        }
        Err(Error::Net(husk_net::Error::SubnetTaken { .. })) => Err(Failure::forbidden(
            "invalid pool request: Pool overlaps with other one on this address space",
        )),
        other => Ok(other?.id),
    }
}

fn remove(service: &Service, wanted: &str) -> Result<()> {
    let name = resolve(service, wanted)?;
    if BUILT_IN.contains(&name.as_str()) {
        let message = format!("{name} is a pre-defined network and cannot be removed");
        return Err(Failure::forbidden(message));
    }
    let nets = service.home.networks()?;
    let id = nets.inspect(&name).map(|network| network.id).unwrap_or_default();
    match husk_engine::network::remove(&service.home, &name) {
        Err(Error::Net(husk_net::Error::NetworkInUse { .. })) => Err(Failure::forbidden(format!(
            "error while removing network: network {name} id {id} has active endpoints"
        ))),
        Err(Error::Net(husk_net::Error::NoSuchNetwork { .. })) => Err(missing(wanted)),
        other => Ok(other?),
    }
}

fn prune(service: &Service, filters: &Filters) -> Result<Vec<String>> {
    let of = |name: &str| filters.get(name).cloned().unwrap_or_default();
    let before = until(&of("until"))?;
    let (with, without) = (of("label"), of("label!"));
    let nets = service.home.networks()?;
    let mut used = std::collections::BTreeSet::new();
    for container in Container::survey(&service.home)?.0 {
        let networks = container.record.config.networks;
        used.extend(networks.iter().map(|value| husk_net::network_name(value).to_owned()));
    }
    let mut removed = Vec::new();
    for network in nets.list()? {
        if BUILT_IN.contains(&network.name.as_str())
            || used.contains(&network.name)
            || !sees(service, &network.name, &network.labels)
            || !with.iter().all(|label| has_label(&network.labels, label))
            || without.iter().any(|label| has_label(&network.labels, label))
            || before.is_some_and(|(seconds, _)| network.created >= seconds)
        {
            continue;
        }
        if husk_engine::network::remove(&service.home, &network.name).is_ok() {
            removed.push(network.name);
        }
    }
    Journal::of(&service.home).prune(EventType::Network, 0);
    Ok(removed)
}

/// The latest of the filter `until`.
///
/// # Errors
/// What is no time.
pub(super) fn until(values: &[String]) -> Result<Option<clock::Instant>> {
    let mut before = None;
    for text in values {
        let time = clock::instant(text).or_else(|| clock::seconds(text));
        let bad = || Failure::invalid(format!("invalid filter 'until={text}'"));
        before = Some(time.or_else(|| clock::ago(text)).ok_or_else(bad)?);
    }
    Ok(before)
}

/// The body of a connection, and of its end.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Connect {
    container: Option<String>,
    endpoint_config: Value,
    force: Option<bool>,
}

fn connect(service: &Service, wanted: &str, body: Connect) -> Result<()> {
    let name = resolve(service, wanted)?;
    let container = service.container(body.container.as_deref().unwrap_or_default())?;
    let own = container.record.name.clone();
    let attachment = husk_docker::connection(&name, body.endpoint_config)?;
    match connection::join(&service.home, container, &attachment) {
        Err(Error::Net(husk_net::Error::AlreadyConnected { .. })) => {
            let message = format!("endpoint with name {own} already exists in network {name}");
            Err(Failure::forbidden(message))
        }
        other => Ok(other.map(drop)?),
    }
}

fn disconnect(service: &Service, wanted: &str, body: &Connect) -> Result<()> {
    let name = resolve(service, wanted)?;
    let container = service.container(body.container.as_deref().unwrap_or_default())?;
    let id = container.id().to_owned();
    match connection::leave(&service.home, container, &name) {
        Err(Error::Net(husk_net::Error::NotConnected { .. })) => {
            if body.force == Some(true) {
                return Ok(());
            }
            let message = format!("container {id} is not connected to network {name}");
            Err(Failure::forbidden(message))
        }
        other => Ok(other?),
    }
}
