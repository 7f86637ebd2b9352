//! Removing a network.

use crate::error::Result;
use crate::events::{Journal, NetworkName};
use crate::home::Home;

/// Removes a network by its name, its id or the beginning of one; one whose definition is
/// damaged only by its name.
///
/// # Errors
/// [`husk_net::Error::NoSuchNetwork`], [`husk_net::Error::NetworkInUse`],
/// [`husk_net::Error::BuiltIn`].
pub fn remove(home: &Home, name: &str) -> Result<()> {
    let network = NetworkName::find(home, name);
    home.networks()?.remove(name)?;
    if let Some(network) = network {
        Journal::of(home).network("destroy", &network.id, &network.name, network.driver);
    }
    Ok(())
}
