//! Containers onto networks: reserve, then set up.

use super::{Host, Networks, refused, usable};
use crate::claim::{Claim, Held, Owner};
use crate::error::{Error, Failures, Result};
use crate::json_file::Lock;
use crate::lease::{Attachment, Claimant, Endpoint};
use crate::netlink::Socket;
use crate::netns::NetNs;
use crate::network::Network;
use crate::nft::table;
use crate::publish::Publish;
use crate::{bridge, conntrack, firewall};

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
}

/// Addresses and ports that are a container's from now on, though nothing uses
/// them yet. Dropping this lets go of the sockets that hold the ports (hold it
/// until the container and its [`crate::LoopbackProxy`] run); only
/// [`Networks::tear_down`] gives addresses and ports back.
#[derive(Debug)]
#[must_use = "addresses and ports stay taken until tear_down"]
pub struct Reservation {
    endpoints: Vec<Endpoint>,
    held: Held,
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
        for attachment in &request.attachments {
            let network = usable(self.store.get_or_default(&attachment.network)?);
            bridge::validate(&network, &mut socket)?;
            networks.push(network);
        }
        if let Some(publish) = request.publishes.first() {
            refuse_unpublishable(request, networks.first(), publish)?;
        }
        self.reserve_all(request, &networks).map_err(|error| self.undone(error, &request.container))
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
            };
            endpoints.push(self.lease(network, attachment, claimant)?);
        }
        let owner = Owner {
            container: &request.container,
            name: &request.name,
            endpoint: endpoints.first(),
        };
        let held = self.claims.add(&owner, &request.publishes)?;
        Ok(Reservation { endpoints, held })
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
        let held = self.claims.add(&Owner { container, name, endpoint: None }, publishes)?;
        Ok(Reservation { endpoints: Vec::new(), held })
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
        let mut notices = Vec::new();
        let done = self.set_up_all(reservation, netns, &mut notices);
        match (done, reservation.endpoints.first()) {
            (Ok(()), _) => Ok(notices),
            (Err(error), Some(endpoint)) => Err(self.undone(error, &endpoint.container)),
            (Err(error), None) => Err(error),
        }
    }

    fn set_up_all(
        &self,
        reservation: &Reservation,
        netns: &NetNs,
        notices: &mut Vec<String>,
    ) -> Result<()> {
        let mut host = Host::open()?;
        for endpoint in &reservation.endpoints {
            self.set_up_endpoint(endpoint, &mut host, netns, notices)?;
        }
        if !reservation.held.claims.is_empty() {
            let _rules = Lock::exclusive(&self.rules_lock)?;
            table::publish(&mut host.netfilter, &reservation.held.claims)
                .map_err(refused("ports"))?;
        }
        conntrack::forget_before(&mut host.netfilter, &reservation.held.claims)
    }

    fn set_up_endpoint(
        &self,
        endpoint: &Endpoint,
        host: &mut Host,
        netns: &NetNs,
        notices: &mut Vec<String>,
    ) -> Result<()> {
        let network = usable(self.store.get(&endpoint.network)?);
        let link = {
            let _lock = self.leases.lock(&network.name)?;
            let (link, created) = bridge::set_up_bridge(&network, &mut host.route, notices)?;
            let installed = self.install_rules(&network, host)?;
            if created && network.pools.len() < self.store.get(&network.name)?.pools.len() {
                notices.push(format!(
                    "network {} is without its IPv6 subnet: IPv6 is off on this host (net.ipv6.conf.all.disable_ipv6)",
                    network.name
                ));
            }
            if created || installed {
                firewall::admit(&mut host.netfilter, &network, notices)?;
            }
            link
        };
        bridge::set_up(endpoint, &link, &mut host.route, netns, notices)
    }

    /// `network connect` of a running container.
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
        netns: &NetNs,
    ) -> Result<(Endpoint, Vec<String>)> {
        let mut host = Host::open()?;
        let network = usable(self.store.get_or_default(&attachment.network)?);
        bridge::validate(&network, &mut host.route)?;
        let mut present = self.leases.all()?;
        present.retain(|endpoint| endpoint.container == container);
        let free = (0..=present.len()).map(|i| format!("eth{i}"));
        let mut free = free.filter(|eth| present.iter().all(|e| e.interface != *eth));
        let claimant = Claimant {
            container,
            name,
            interface: free.next().unwrap_or_else(|| "eth0".to_owned()),
            default_route: !network.internal && present.iter().all(|e| !e.default_route),
        };
        let endpoint = self.lease(&network, attachment, claimant)?;
        let mut notices = Vec::new();
        match self.set_up_endpoint(&endpoint, &mut host, netns, &mut notices) {
            Ok(()) => Ok((endpoint, notices)),
            Err(error) => {
                let mut failures = Failures::default();
                failures.note::<()>(Err(error));
                failures.note(self.tear_down_endpoint(&endpoint, &mut host));
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
        Some(_) => return Ok(()),
    };
    let port = publish.container_ports.start();
    Err(Error::Invalid {
        property: "publish",
        value: format!("port {port}/{} of container {}", publish.protocol, request.name),
        reason,
    })
}
