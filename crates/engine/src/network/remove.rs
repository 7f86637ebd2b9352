//! Removing a network.

use crate::error::Result;
use crate::home::Home;

/// Removes a network by its name, its id or the beginning of one; one whose definition is
/// damaged only by its name.
///
/// # Errors
/// [`husk_net::Error::NoSuchNetwork`], [`husk_net::Error::NetworkInUse`],
/// [`husk_net::Error::BuiltIn`].
pub fn remove(home: &Home, name: &str) -> Result<()> {
    Ok(home.networks()?.remove(name)?)
}
