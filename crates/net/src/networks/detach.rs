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
            failures.note(self.tear_down_endpoint(endpoint, &mut host));
        }
        failures.note(self.remove_unused_table(&mut host));
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
        if endpoint.has_port() {
            let _rules = Lock::exclusive(&self.rules_lock)?;
            sources::forget(&mut host.netfilter, &self.installation.table(), endpoint)
                .map_err(refused(&endpoint.name))?;
        }
        if self
            .leases
            .endpoints(&endpoint.network)?
            .iter()
            .all(|e| e.container == endpoint.container)
        {
            return match self.store.get(&endpoint.network) {
                Ok(network) => self.tear_down_network(&network, endpoint, host),
                // Its file was removed by hand: to be said, but no second time.
                Err(error) => {
                    self.leases.remove(&endpoint.network, &endpoint.container)?;
                    Err(error)
                }
            };
        }
        self.leases.remove(&endpoint.network, &endpoint.container)?;
        Ok(())
    }

    /// The bridge and the rules, with the last endpoint.
    fn tear_down_network(&self, network: &Network, last: &Endpoint, host: &mut Host) -> Result<()> {
        if network.driver != Driver::Bridge {
            vlan::tear_down(network, &self.installation, &mut host.route)?;
            return self.leases.remove(&last.network, &last.container).map(drop);
        }
        bridge::tear_down_bridge(network, &mut host.route)?;
        // Whoever watches the rules puts them back as long as the endpoint is written down.
        let _rules = Lock::exclusive(&self.rules_lock)?;
        firewall::withdraw(&mut host.netfilter, network)?;
        self.table()
            .remove_network(&mut host.netfilter, network)
            .map_err(refused(&network.name))?;
        self.leases.remove(&last.network, &last.container).map(drop)
    }

    fn remove_unused_table(&self, host: &mut Host) -> Result<()> {
        let _rules = Lock::exclusive(&self.rules_lock)?;
        if self.leases.all()?.is_empty() {
            self.table().remove(&mut host.netfilter).map_err(refused("all networks"))?;
            guard::remove(&self.installation, &mut host.netfilter)?;
            sources::remove(&mut host.netfilter, &self.installation.table())
                .map_err(refused("all networks"))?;
        }
        Ok(())
    }
}
