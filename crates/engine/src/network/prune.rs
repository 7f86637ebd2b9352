//! Removing networks that no container is to be on.

use std::collections::HashSet;

use crate::clock;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::events::{EventType, Journal};
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::prune::{self, Pruned};

/// Removes the networks that no container, running or not, has; gives their names. Bridges that no
/// container is on go, too, also those of networks that stay.
///
/// # Errors
/// A filter that cannot be honoured, records that cannot be read.
pub fn prune(home: &Home, filters: &[Filter]) -> Result<Pruned<String>> {
    filter::check(filters, &prune::FILTERS)?;
    let mut pruned = Pruned::default();
    let nets = home.networks()?;
    // Of a monitor that was killed while it waited; those of others would be gone in a second.
    nets.remove_idle(std::time::Duration::ZERO)?;
    let mut used = HashSet::new();
    for container in Container::all(home)? {
        used.extend(container.record.config.networks);
    }
    for network in nets.list()? {
        let is_used = used.iter().any(|value| husk_net::network_name(value) == network.name);
        if is_used || network.name == husk_net::DEFAULT_NETWORK {
            continue;
        }
        let created = clock::seconds(&network.created.to_string());
        if !prune::passes(filters, created, &network.labels)? {
            continue;
        }
        pruned.take(match super::remove(home, &network.name) {
            Err(Error::Net(
                husk_net::Error::NoSuchNetwork { .. } | husk_net::Error::NetworkInUse { .. },
            )) => Ok(None),
            removed => removed.map(|()| Some((0, network.name))),
        });
    }
    Journal::of(home).prune(EventType::Network, pruned.freed);
    Ok(pruned)
}
