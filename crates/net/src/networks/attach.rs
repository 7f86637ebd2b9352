//! Containers onto networks: reserve, then set up.

use std::cell::RefCell;

use super::{Effects, Host, Networks, refused, usable};
use crate::error::{Error, Failures, Result};
use crate::ipam::lease::{Attachment, Claimant, Endpoint};
use crate::links::forwarding::Change;
use crate::links::netlink::Socket;
use crate::links::netns::NetNs;
use crate::links::{bridge, forwarding, link, vlan};
use crate::networks::installation::lock_host;
use crate::networks::json_file::Lock;
use crate::networks::network::{DEFAULT_BRIDGE, Network};
use crate::networks::options::Driver;
use crate::nft::firewall;
use crate::nft::ports::{self, ForeignPort};
use crate::nft::sources;
use crate::ports::claim::{Claim, Held, Owner, refuse_foreign};
use crate::ports::conntrack;
use crate::ports::publish::Publish;

/// What a container is to be connected to.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Its id, unique; at most 128 of letters, digits, `_`, `.`, `-`.
    pub container: String,
    /// Its name, for messages.
    pub name: String,
    /// Networks in order: `eth0`, `eth1`, ...; the first has the default route
    /// and the published ports.
    pub attachments: Vec<Attachment>,
    /// Published ports.
    pub publishes: Vec<Publish>,
    /// Whether the container is to configure its network itself (CAP_NET_ADMIN), and may
    /// send from other addresses than its own to its neighbours.
    pub configures_network: bool,
}

/// Addresses and ports that are a container's from now on, though nothing uses
/// them yet. Dropping this lets go of the sockets that hold the ports (hold it
/// until the container and its [`crate::LoopbackProxy`] run); only
/// [`Networks::tear_down`] gives addresses and ports back.
#[derive(Debug, Default)]
#[must_use = "addresses and ports stay taken until tear_down"]
pub struct Reservation {
    endpoints: Vec<Endpoint>,
    held: Held,
    notices: Vec<String>,
    /// What setting up changed of the host's settings.
    forwarding: RefCell<Vec<Change>>,
}

impl Reservation {
    /// One for each attachment, in the request's order.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The published ports, with the host's ports that were chosen.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.held.claims
    }

    /// Lets go of the sockets that hold the ports: what serves them has them by now.
    pub fn release_ports(&mut self) {
        self.held.sockets.clear();
    }
}

impl Networks {
    /// Validates everything, then takes addresses and ports: all, or none. What an
    /// earlier run of the container left is to be torn down before.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`], [`Error::AddressInUse`], [`Error::SubnetFull`],
    /// [`Error::PortInUse`], [`Error::Invalid`] and others, each with its object.
    pub fn reserve(&self, request: &Request) -> Result<Reservation> {
        let mut networks = Vec::new();
        let mut socket = Socket::route()?;
        if let Some(endpoint) =
            self.leases.all()?.into_iter().find(|e| e.container == request.container)
        {
            // Before anything that would be undone, and the running container with it.
            let (container, network) = (request.name.clone(), endpoint.network);
            return Err(Error::AlreadyConnected { container, network });
        }
        self.claim_runtime()?;
        let mut notices = Vec::new();
        for attachment in &request.attachments {
            networks.push(self.settled(&attachment.network, &mut socket, &mut notices)?);
        }
        if let Some(publish) = request.publishes.first() {
            refuse_unpublishable(request, networks.first(), publish)?;
        }
        let mut reservation = self
            .reserve_all(request, &networks)
            .map_err(|error| self.undone(error, &request.container))?;
        reservation.notices = notices;
        Ok(reservation)
    }

    fn claim_runtime(&self) -> Result<()> {
        if self.installation.has_claimed_runtime() {
            return Ok(());
        }
        let _rules = Lock::exclusive(&self.rules_lock)?;
        let is_idle = || Ok(self.leases.all()?.is_empty() && self.claims.all()?.is_empty());
        self.installation.claim_runtime(is_idle)
    }

    /// The network, as this host can have it.
    fn settled(
        &self,
        name: &str,
        socket: &mut Socket,
        notices: &mut Vec<String>,
    ) -> Result<Network> {
        let mut network = self.store.get_or_default(name, &self.installation)?;
        if network.driver != Driver::Bridge {
            vlan::check_parent(&network, socket)?;
            return Ok(usable(network));
        }
        let is_unsettled = network.bridge == DEFAULT_BRIDGE
            && self.installation.default_bridge(&network.id) != DEFAULT_BRIDGE;
        if is_unsettled || link::find(socket, &network.bridge)?.is_none() {
            let _store = self.store.lock()?;
            let _lease = self.leases.lock(&network.name)?;
            network = self.store.get(name)?;
            if self.leases.endpoints(&network.name)?.is_empty() {
                let before = network.pools.clone();
                network = self.store.settle(network, &self.installation)?;
                if network.pools != before {
                    let subnets: Vec<String> =
                        network.pools.iter().map(|pool| pool.subnet.to_string()).collect();
                    notices.push(format!(
                        "network {name}: its subnet is in use on this host by now, it is {} from now on",
                        subnets.join(" and ")
                    ));
                }
            }
        }
        let network = usable(network);
        bridge::validate(&network, &self.installation, socket)?;
        Ok(network)
    }

    fn reserve_all(&self, request: &Request, networks: &[Network]) -> Result<Reservation> {
        let mut endpoints = Vec::new();
        // An internal network leads nowhere.
        let way_out = networks.iter().position(|network| !network.internal);
        for (i, (network, attachment)) in networks.iter().zip(&request.attachments).enumerate() {
            let claimant = Claimant {
                container: &request.container,
                name: &request.name,
                interface: format!("eth{i}"),
                default_route: way_out == Some(i),
                source_checked: !request.configures_network,
            };
            endpoints.push(self.lease(network, attachment, claimant)?);
        }
        let owner = Owner {
            container: &request.container,
            name: &request.name,
            endpoint: endpoints.first(),
        };
        let held = self.claims.add(&owner, &request.publishes, &self.foreign_ports(request)?)?;
        Ok(Reservation { endpoints, held, ..Reservation::default() })
    }

    fn foreign_ports(&self, request: &Request) -> Result<Vec<ForeignPort>> {
        if request.publishes.is_empty() {
            return Ok(Vec::new());
        }
        let mut socket = Socket::netfilter()?;
        ports::foreign(&mut socket, self.table().name()).map_err(refused("other installations"))
    }

    /// Takes ports alone, of a container that pasta connects. They are given back
    /// by [`Self::tear_down`].
    ///
    /// # Errors
    ///
    /// [`Error::PortInUse`], [`Error::PortRefused`].
    pub fn reserve_ports(
        &self,
        container: &str,
        name: &str,
        publishes: &[Publish],
    ) -> Result<Reservation> {
        let held = self.claims.add(&Owner { container, name, endpoint: None }, publishes, &[])?;
        Ok(Reservation { held, ..Reservation::default() })
    }

    fn lease(
        &self,
        network: &Network,
        wanted: &Attachment,
        claimant: Claimant<'_>,
    ) -> Result<Endpoint> {
        let _lock = self.leases.lock(&network.name)?;
        // Removed since it was read: the lock is what `remove` holds too.
        self.store.get(&network.name)?;
        self.leases.add(network, wanted, claimant)
    }

    /// Connects the container's namespace as reserved. On an error everything is
    /// undone, the reservation too. Returns notices: what was changed on the
    /// host, or could not be had, one line each, for the person at the shell.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn set_up(&self, reservation: &Reservation, netns: &NetNs) -> Result<Vec<String>> {
        let mut effects = Effects { notices: reservation.notices.clone(), ..Effects::default() };
        let done = self.set_up_all(reservation, netns, &mut effects);
        reservation.forwarding.replace(effects.forwarding);
        match (done, reservation.endpoints.first()) {
            (Ok(()), _) => Ok(effects.notices),
            (Err(error), Some(endpoint)) => {
                let error = self.undone(error, &endpoint.container);
                let _ = self.restore_forwarding(reservation);
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Undoes a set-up whose container then could not be started: as
    /// [`Self::tear_down`], and the host forwards packets only if it did before.
    ///
    /// # Errors
    ///
    /// Every step that failed.
    pub fn abandon(&self, reservation: &Reservation) -> Result<()> {
        let mut failures = Failures::default();
        let owner = reservation.endpoints.first().map(|endpoint| &endpoint.container);
        let owner = owner.or(reservation.held.claims.first().map(|claim| &claim.container));
        if let Some(container) = owner {
            failures.note(self.tear_down(container));
        }
        failures.note(self.restore_forwarding(reservation));
        failures.finish()
    }

    fn restore_forwarding(&self, reservation: &Reservation) -> Result<()> {
        let _host = lock_host();
        forwarding::undo(reservation.forwarding.take(), &mut Socket::route()?)
    }

    fn set_up_all(
        &self,
        reservation: &Reservation,
        netns: &NetNs,
        effects: &mut Effects,
    ) -> Result<()> {
        let mut host = Host::open()?;
        for endpoint in &reservation.endpoints {
            self.set_up_endpoint(endpoint, &mut host, netns, effects)?;
        }
        let claims = &reservation.held.claims;
        if !claims.is_empty() {
            let _host = lock_host();
            let _rules = Lock::exclusive(&self.rules_lock)?;
            let (table, failed) = (self.table(), refused("ports"));
            let foreign = ports::foreign(&mut host.netfilter, table.name()).map_err(&failed)?;
            refuse_foreign(claims, &foreign)?;
            table.publish(&mut host.netfilter, claims).map_err(&failed)?;
        }
        conntrack::forget_before(&mut host.netfilter, claims)
    }

    fn set_up_endpoint(
        &self,
        endpoint: &Endpoint,
        host: &mut Host,
        netns: &NetNs,
        effects: &mut Effects,
    ) -> Result<()> {
        let network = usable(self.store.get(&endpoint.network)?);
        let notices = &mut effects.notices;
        if network.driver != Driver::Bridge {
            let _lock = self.leases.lock(&network.name)?;
            let (own, route) = (&self.installation, &mut host.route);
            return vlan::set_up(&network, endpoint, own, route, netns, notices);
        }
        let link = {
            let _lock = self.leases.lock(&network.name)?;
            let (link, created) =
                bridge::set_up_bridge(&network, &self.installation, &mut host.route)?;
            // What isolates the network comes before the host forwards anything to it.
            let installed = self.install_rules(&network, host)?;
            if !network.internal {
                forwarding::enable(&network, &mut effects.forwarding, notices)?;
            }
            if created && network.pools.len() < self.store.get(&network.name)?.pools.len() {
                notices.push(format!(
                    "network {} is without its IPv6 subnet: IPv6 is off on this host (net.ipv6.conf.all.disable_ipv6)",
                    network.name
                ));
            }
            if created || installed {
                firewall::admit(&mut host.netfilter, std::slice::from_ref(&network), notices)?;
            }
            link
        };
        {
            let _rules = Lock::exclusive(&self.rules_lock)?;
            let all = || self.leases.all();
            sources::check(&mut host.netfilter, &self.installation.table(), endpoint, all)?;
        }
        let is_isolated = !network.settings().icc;
        bridge::set_up(endpoint, &link, &mut host.route, netns, is_isolated, notices)
    }

    /// Whether a container could be given an attachment's addresses, as far as its network
    /// can tell while nothing is connected.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`], [`Error::Invalid`], [`Error::AddressInUse`].
    pub fn check_addresses(&self, attachment: &Attachment) -> Result<()> {
        let network = self.store.get_or_default(&attachment.network, &self.installation)?;
        self.leases.check(&network, attachment)
    }

    /// `network connect` of a running container; `configures_network` as in [`Request`].
    ///
    /// # Errors
    ///
    /// As [`Self::reserve`] and [`Self::set_up`]; on an error the container is
    /// not on the network, and is otherwise as it was.
    pub fn connect(
        &self,
        container: &str,
        name: &str,
        attachment: &Attachment,
        configures_network: bool,
        netns: &NetNs,
    ) -> Result<(Endpoint, Vec<String>)> {
        let mut host = Host::open()?;
        let mut effects = Effects::default();
        let network = self.settled(&attachment.network, &mut host.route, &mut effects.notices)?;
        let mut present = self.leases.all()?;
        present.retain(|endpoint| endpoint.container == container);
        let free = (0..=present.len()).map(|i| format!("eth{i}"));
        let mut free = free.filter(|eth| present.iter().all(|e| e.interface != *eth));
        let claimant = Claimant {
            container,
            name,
            interface: free.next().unwrap_or_else(|| "eth0".to_owned()),
            default_route: !network.internal && present.iter().all(|e| !e.default_route),
            source_checked: !configures_network,
        };
        let endpoint = self.lease(&network, attachment, claimant)?;
        match self.set_up_endpoint(&endpoint, &mut host, netns, &mut effects) {
            Ok(()) => Ok((endpoint, effects.notices)),
            Err(error) => {
                let mut failures = Failures::default();
                failures.note::<()>(Err(error));
                failures.note(self.tear_down_endpoint(&endpoint, &mut host));
                let _host = lock_host();
                failures.note(forwarding::undo(effects.forwarding, &mut host.route));
                failures.finish()?;
                Err(Error::NotConnected { container: name.to_owned(), network: network.name })
            }
        }
    }
}

fn refuse_unpublishable(
    request: &Request,
    first: Option<&Network>,
    publish: &Publish,
) -> Result<()> {
    let reason = match first {
        None => "the container is on no network of its own".to_owned(),
        Some(network) if network.internal => format!("network {} is internal", network.name),
        Some(network) if network.driver != Driver::Bridge => format!(
            "network {} is a {}: its containers are reached at their own addresses",
            network.name,
            network.driver.name()
        ),
        Some(_) => return Ok(()),
    };
    let port = publish.container_ports.start();
    Err(Error::Invalid {
        property: "publish",
        value: format!("port {port}/{} of container {}", publish.protocol, request.name),
        reason,
    })
}
