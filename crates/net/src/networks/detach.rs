//! Containers off networks: every step is tried, every failure is said.

use std::net::IpAddr;

use super::{Host, Networks, refused};
use crate::error::{Error, Failures, Result};
use crate::ipam::lease::Endpoint;
use crate::links::netns::NetNs;
use crate::links::{bridge, vlan};
use crate::networks::json_file::Lock;
use crate::networks::network::Network;
use crate::networks::options::Driver;
use crate::nft::sources;
use crate::nft::{firewall, guard};
use crate::ports::claim::Claim;
use crate::ports::conntrack;

/// What becomes of a bridge that no container is on any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unused {
    Remove,
    Keep,
}

impl Networks {
    /// `network disconnect` of a running container. Its published ports go with
    /// the network they were published on; the default route moves to another.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`]; every step that failed.
    pub fn disconnect(
        &self,
        container: &str,
        name: &str,
        network: &str,
        netns: &NetNs,
    ) -> Result<()> {
        let mut rest = self.leases.all()?;
        rest.retain(|endpoint| endpoint.container == container);
        let Some(at) = rest.iter().position(|endpoint| endpoint.network == network) else {
            let (container, network) = (name.to_owned(), network.to_owned());
            return Err(Error::NotConnected { container, network });
        };
        let endpoint = rest.remove(at);
        let mut host = Host::open()?;
        let mut failures = Failures::default();
        let mut claims = self.claims.of(container)?;
        claims.retain(|c| {
            c.targets.iter().any(|t| endpoint.addresses.iter().any(|a| a.address == *t))
        });
        if !claims.is_empty() {
            failures.note(self.unpublish(container, &claims, &mut host));
        }
        if !endpoint.has_port() {
            failures.note(vlan::leave(&endpoint, netns));
        }
        failures.note(self.tear_down_endpoint(&endpoint, &mut host));
        if endpoint.default_route {
            failures.note(self.move_default_route(&rest, netns));
        }
        failures.finish()
    }

    /// To the first of a container's endpoints that leads somewhere.
    fn move_default_route(&self, endpoints: &[Endpoint], netns: &NetNs) -> Result<()> {
        for endpoint in endpoints {
            if !self.store.get(&endpoint.network)?.internal {
                bridge::set_default_routes(endpoint, netns)?;
                let _lock = self.leases.lock(&endpoint.network)?;
                return self.leases.set_default_route(&endpoint.network, &endpoint.container);
            }
        }
        Ok(())
    }

    /// Undoes everything of a container: ports, rules, links, and with the last
    /// container of a network its bridge. Tries every step whatever fails, and
    /// may be called again, also for a container that is half set up, whose
    /// namespace is gone, or that never was.
    ///
    /// # Errors
    ///
    /// Every step that failed ([`Error::Several`]). What failed stays written
    /// down, so that a later call finds it.
    pub fn tear_down(&self, container: &str) -> Result<()> {
        self.undo(container, Unused::Remove)
    }

    /// As [`Self::tear_down`], of a container whose processes have ended, and without waiting
    /// for the kernel: links to its namespace go with that, and a bridge that it was the last
    /// on stays with its rules, for the next container or [`Self::linger`] to find.
    ///
    /// # Errors
    ///
    /// As [`Self::tear_down`].
    pub fn release(&self, container: &str) -> Result<()> {
        self.undo(container, Unused::Keep)
    }

    fn undo(&self, container: &str, unused: Unused) -> Result<()> {
        let mut failures = Failures::default();
        let endpoints = failures.note(self.leases.all()).unwrap_or_default();
        let claims = failures.note(self.claims.of(container)).unwrap_or_default();
        let of_container = || endpoints.iter().filter(|e| e.container == container);
        if of_container().next().is_none() && claims.is_empty() {
            return failures.finish();
        }
        if claims.iter().all(|claim| claim.targets.is_empty()) && of_container().next().is_none() {
            // pasta's: nothing in the kernel is ours.
            failures.note(self.claims.remove(container));
            return failures.finish();
        }
        let mut host = Host::open()?;
        if !claims.is_empty() {
            failures.note(self.unpublish(container, &claims, &mut host));
        }
        for endpoint in of_container() {
            failures.note(match unused {
                Unused::Remove => self.tear_down_endpoint(endpoint, &mut host),
                Unused::Keep => self.release_endpoint(endpoint, &mut host),
            });
        }
        if unused == Unused::Remove {
            failures.note(self.remove_unused_table(&mut host));
        }
        failures.finish()
    }

    /// Tears down every container of which `end` says that it has ended, for example
    /// those of killed engines. What `end` gives is held until that is done: it must
    /// keep the container from being started meanwhile. Returns their ids.
    ///
    /// # Errors
    ///
    /// Every step that failed.
    pub fn reclaim<G>(&self, end: &dyn Fn(&str) -> Option<G>) -> Result<Vec<String>> {
        let endpoints = self.leases.all()?.into_iter().map(|e| e.container);
        let mut known: Vec<String> =
            endpoints.chain(self.claims.all()?.into_iter().map(|c| c.container)).collect();
        known.sort();
        known.dedup();
        let (mut failures, mut stale) = (Failures::default(), Vec::new());
        for container in known {
            let Some(_ended) = end(&container) else { continue };
            failures.note(self.tear_down(&container));
            stale.push(container);
        }
        failures.finish()?;
        Ok(stale)
    }

    pub(super) fn undone(&self, error: Error, container: &str) -> Error {
        match self.tear_down(container) {
            Ok(()) => error,
            Err(Error::Several(mut errors)) => {
                errors.insert(0, error);
                Error::Several(errors)
            }
            Err(other) => Error::Several(vec![error, other]),
        }
    }

    fn unpublish(&self, container: &str, claims: &[Claim], host: &mut Host) -> Result<()> {
        {
            let _rules = Lock::exclusive(&self.rules_lock)?;
            self.table().unpublish(&mut host.netfilter, claims).map_err(refused("ports"))?;
            // Before the lock is given back: whoever watches the rules would put them back.
            self.claims.remove(container)?;
        }
        let mut targets: Vec<IpAddr> = claims.iter().flat_map(|c| c.targets.clone()).collect();
        targets.sort();
        targets.dedup();
        conntrack::forget_after(&mut host.netfilter, &targets)
    }

    pub(super) fn tear_down_endpoint(&self, endpoint: &Endpoint, host: &mut Host) -> Result<()> {
        let _lock = self.leases.lock(&endpoint.network)?;
        bridge::tear_down(endpoint, &mut host.route)?;
        self.forget_sources(endpoint, host)?;
        let (name, container) = (&endpoint.network, &endpoint.container);
        if self.leases.endpoints(name)?.iter().any(|e| e.container != *container) {
            return self.leases.remove(name, container);
        }
        match self.store.get(name) {
            Ok(network) => self.tear_down_network(&network, container, host),
            // Its file was removed by hand: to be said, but no second time.
            Err(error) => {
                self.leases.remove(name, container)?;
                Err(error)
            }
        }
    }

    fn release_endpoint(&self, endpoint: &Endpoint, host: &mut Host) -> Result<()> {
        if !endpoint.has_port() {
            // On no bridge that could be kept.
            return self.tear_down_endpoint(endpoint, host);
        }
        let _lock = self.leases.lock(&endpoint.network)?;
        bridge::release(endpoint, &mut host.route)?;
        self.forget_sources(endpoint, host)?;
        self.leases.strike_out(&endpoint.network, &endpoint.container).map(drop)
    }

    fn forget_sources(&self, endpoint: &Endpoint, host: &mut Host) -> Result<()> {
        if !endpoint.has_port() {
            return Ok(());
        }
        let _rules = Lock::exclusive(&self.rules_lock)?;
        sources::forget(&mut host.netfilter, &self.installation.table(), endpoint)
            .map_err(refused(&endpoint.name))
    }

    /// The bridge and the rules, with the last container. The caller holds the network's lock.
    fn tear_down_network(&self, network: &Network, last: &str, host: &mut Host) -> Result<()> {
        if network.driver != Driver::Bridge {
            vlan::tear_down(network, &self.installation, &mut host.route)?;
            return self.leases.remove(&network.name, last);
        }
        bridge::tear_down_bridge(network, &mut host.route)?;
        // Whoever watches the rules puts them back as long as the endpoint is written down.
        let _rules = Lock::exclusive(&self.rules_lock)?;
        self.remove_rules(network, host)?;
        self.leases.remove(&network.name, last)
    }

    /// The caller holds the lock of the rules.
    pub(super) fn remove_rules(&self, network: &Network, host: &mut Host) -> Result<()> {
        firewall::withdraw(&mut host.netfilter, network)?;
        self.table().remove_network(&mut host.netfilter, network).map_err(refused(&network.name))
    }

    pub(super) fn remove_unused_table(&self, host: &mut Host) -> Result<()> {
        let _rules = Lock::exclusive(&self.rules_lock)?;
        if self.leases.is_empty()? {
            self.table().remove(&mut host.netfilter).map_err(refused("all networks"))?;
            guard::remove(&self.installation, &mut host.netfilter)?;
            sources::remove(&mut host.netfilter, &self.installation.table())
                .map_err(refused("all networks"))?;
        }
        Ok(())
    }
}
