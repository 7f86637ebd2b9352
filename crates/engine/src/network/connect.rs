//! Connecting containers to networks, running or not.

use std::net::IpAddr;

use husk_net::Attachment;

use crate::connection;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::reporter::Reporter;

/// Which container is to be on which network, and as what.
#[derive(Clone, Debug, Default)]
pub struct ConnectRequest {
    /// The network, by its name or id.
    pub network: String,
    /// The container, by its name or id.
    pub container: String,
    /// At most one of each family; chosen where none is given.
    pub addresses: Vec<IpAddr>,
    /// Names beside the container's own that others on the network find it by.
    pub aliases: Vec<String>,
    /// `CONTAINER[:ALIAS]`: names that it alone finds others by.
    pub links: Vec<String>,
}

/// Which container is to leave which network.
#[derive(Clone, Debug, Default)]
pub struct DisconnectRequest {
    /// The network, by its name or id.
    pub network: String,
    /// The container, by its name or id.
    pub container: String,
    /// That it is not on the network is no error.
    pub force: bool,
}

/// `CONTAINER[:ALIAS]` with its alias.
fn linked(text: &str) -> Result<String> {
    let value = husk_net::parse_attachment(&format!("name=any,link={text}"))?;
    Ok(value.links.into_iter().next().unwrap_or_default())
}

/// Connects a container, at once if it runs, and at each of its starts.
///
/// # Errors
/// What is not there; [`husk_net::Error::AlreadyConnected`]; what the kernel refused.
pub fn connect(home: &Home, request: &ConnectRequest, reporter: &dyn Reporter) -> Result<()> {
    let attachment = Attachment {
        network: home.networks()?.inspect(&request.network)?.name,
        addresses: request.addresses.clone(),
        aliases: request.aliases.clone(),
        links: request.links.iter().map(|link| linked(link)).collect::<Result<_>>()?,
        ..Attachment::default()
    };
    let container = Container::find(home, &request.container)?;
    let notices = connection::join(home, container, &attachment)?;
    notices.iter().for_each(|notice| reporter.notice(notice));
    Ok(())
}

/// Disconnects a container, at once if it runs, and from then on.
///
/// # Errors
/// What is not there; [`husk_net::Error::NotConnected`] unless forced.
pub fn disconnect(home: &Home, request: &DisconnectRequest) -> Result<()> {
    let network = home.networks()?.inspect(&request.network)?.name;
    let container = Container::find(home, &request.container)?;
    match connection::leave(home, container, &network) {
        Err(Error::Net(husk_net::Error::NotConnected { .. })) if request.force => Ok(()),
        other => other,
    }
}
