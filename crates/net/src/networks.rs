//! What an engine calls: networks, and containers on them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::claim::{Claim, ClaimFile, Held, Owner};
use crate::error::{Error, Failures, Result};
use crate::json_file::Lock;
use crate::lease::{Attachment, Claimant, Endpoint, LeaseFiles};
use crate::netlink::Socket;
use crate::netns::NetNs;
use crate::network::{DEFAULT_NETWORK, Network, NewNetwork};
use crate::nft::table;
use crate::publish::Publish;
use crate::store::Store;
use crate::{bridge, conntrack, firewall, sysctl};

/// The networks of one root directory, and the containers on them.
///
/// Holds no socket and no lock: every call works in the network namespace of the
/// calling thread, and any number of processes and threads may call at once.
#[derive(Debug, Clone)]
pub struct Networks {
    store: Store,
    leases: LeaseFiles,
    claims: ClaimFile,
    rules_lock: PathBuf,
}

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

/// Sockets of the calling thread's network namespace.
struct Host {
    route: Socket,
    netfilter: Socket,
}

impl Host {
    fn open() -> Result<Self> {
        Ok(Self { route: Socket::route()?, netfilter: Socket::netfilter()? })
    }
}

fn refused(object: &str) -> impl Fn(crate::Refusal) -> Error + '_ {
    move |refusal| refusal.into_error("change packet filter rules (nf_tables) for", object)
}

impl Networks {
    /// `config` holds the definitions and survives a reboot (below
    /// /var/lib/husk); `runtime` holds what is in use and does not (below /run).
    /// Both are made if need be, mode 0700.
    ///
    /// # Errors
    ///
    /// A directory that cannot be made.
    pub fn open(config: &Path, runtime: &Path) -> Result<Self> {
        Ok(Self {
            store: Store::open(config)?,
            leases: LeaseFiles::open(runtime)?,
            claims: ClaimFile::open(runtime)?,
            rules_lock: runtime.join("rules.lock"),
        })
    }

    /// `network create`: validates, chooses what was not given, writes it down.
    ///
    /// # Errors
    ///
    /// Those of [`NewNetwork::validate`], [`Error::NetworkExists`],
    /// [`Error::SubnetTaken`], [`Error::NoFreeSubnet`].
    pub fn create(&self, request: &NewNetwork) -> Result<Network> {
        self.store.create(request)
    }

    /// `network ls`: every network, sorted by name; the default one included.
    ///
    /// # Errors
    ///
    /// An unreadable or damaged file.
    pub fn list(&self) -> Result<Vec<Network>> {
        self.store.get_or_default(DEFAULT_NETWORK)?;
        self.store.list()
    }

    /// `network inspect`: the network of that name, or whose id begins so, if
    /// it is the only one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`].
    pub fn inspect(&self, name: &str) -> Result<Network> {
        match self.store.get_or_default(name) {
            Err(Error::NoSuchNetwork { .. }) if name.len() >= 3 => {
                let mut matching = self.store.list()?;
                matching.retain(|network| network.id.starts_with(name));
                match (matching.pop(), matching.is_empty()) {
                    (Some(network), true) => Ok(network),
                    _ => Err(Error::NoSuchNetwork { name: name.to_owned() }),
                }
            }
            found => found,
        }
    }

    /// The endpoints on a network, or on all.
    ///
    /// # Errors
    ///
    /// An unreadable or damaged file.
    pub fn endpoints(&self, network: Option<&str>) -> Result<Vec<Endpoint>> {
        match network {
            Some(network) => self.leases.endpoints(network),
            None => self.leases.all(),
        }
    }

    /// A container's published ports (`port`), or everyone's.
    ///
    /// # Errors
    ///
    /// An unreadable or damaged file.
    pub fn claims(&self, container: Option<&str>) -> Result<Vec<Claim>> {
        match container {
            Some(container) => self.claims.of(container),
            None => self.claims.all(),
        }
    }

    /// `network rm`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`], [`Error::NetworkInUse`], [`Error::BuiltIn`].
    pub fn remove(&self, name: &str) -> Result<()> {
        if name == DEFAULT_NETWORK {
            return Err(Error::BuiltIn { name: name.to_owned() });
        }
        let network = self.inspect(name)?;
        let _store = self.store.lock()?;
        let _lease = self.leases.lock(&network.name)?;
        let endpoints = self.leases.endpoints(&network.name)?;
        if !endpoints.is_empty() {
            let names: Vec<&str> = endpoints.iter().map(|e| e.name.as_str()).collect();
            return Err(Error::NetworkInUse { name: network.name, containers: names.join(", ") });
        }
        self.store.remove(&network.name)?;
        self.leases.forget_lock(&network.name)
    }

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

    /// Installs what is missing of the table; returns whether anything was.
    fn install_rules(&self, network: &Network, host: &mut Host) -> Result<bool> {
        let _rules = Lock::exclusive(&self.rules_lock)?;
        let name = &network.name;
        let present = table::presence(&mut host.netfilter, network).map_err(refused(name))?;
        match (present.base, present.network) {
            (true, true) => return Ok(false),
            (true, false) => {
                table::install(&mut host.netfilter, false, std::slice::from_ref(network), &[])
            }
            (false, _) => {
                let networks = self.networks_in_use()?;
                table::install(&mut host.netfilter, true, &networks, &self.claims.all()?)
            }
        }
        .map_err(refused(name))?;
        Ok(true)
    }

    fn networks_in_use(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for network in self.store.list()? {
            if !self.leases.endpoints(&network.name)?.is_empty() {
                networks.push(usable(network));
            }
        }
        Ok(networks)
    }

    /// Puts back every rule of every network and port in use, whatever another
    /// program flushed. Costs one transaction; changes nothing where nothing is
    /// missing. Returns notices as [`Self::set_up`] does.
    ///
    /// # Errors
    ///
    /// What the kernel refused, or an unreadable file.
    pub fn ensure(&self) -> Result<Vec<String>> {
        let mut notices = Vec::new();
        let _rules = Lock::exclusive(&self.rules_lock)?;
        let networks = self.networks_in_use()?;
        if networks.is_empty() {
            return Ok(notices);
        }
        let mut socket = Socket::netfilter()?;
        table::install(&mut socket, true, &networks, &self.claims.all()?)
            .map_err(refused("all networks"))?;
        for network in &networks {
            firewall::admit(&mut socket, network, &mut notices)?;
        }
        Ok(notices)
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

    /// Tears down every container that `is_alive` denies, for example those of
    /// killed engines. Returns their ids.
    ///
    /// # Errors
    ///
    /// Every step that failed.
    pub fn reclaim(&self, is_alive: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let endpoints = self.leases.all()?.into_iter().map(|e| e.container);
        let mut stale: Vec<String> =
            endpoints.chain(self.claims.all()?.into_iter().map(|c| c.container)).collect();
        stale.sort();
        stale.dedup();
        stale.retain(|container| !is_alive(container));
        let mut failures = Failures::default();
        for container in &stale {
            failures.note(self.tear_down(container));
        }
        failures.finish()?;
        Ok(stale)
    }

    fn undone(&self, error: Error, container: &str) -> Error {
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
            table::unpublish(&mut host.netfilter, claims).map_err(refused("ports"))?;
        }
        let mut targets: Vec<IpAddr> = claims.iter().flat_map(|c| c.targets.clone()).collect();
        targets.sort();
        targets.dedup();
        conntrack::forget_after(&mut host.netfilter, &targets)?;
        self.claims.remove(container)
    }

    fn tear_down_endpoint(&self, endpoint: &Endpoint, host: &mut Host) -> Result<()> {
        let _lock = self.leases.lock(&endpoint.network)?;
        bridge::tear_down(endpoint, &mut host.route)?;
        if self
            .leases
            .endpoints(&endpoint.network)?
            .iter()
            .all(|e| e.container == endpoint.container)
        {
            match self.store.get(&endpoint.network) {
                Ok(network) => self.tear_down_network(&network, host)?,
                // Its file was removed by hand: to be said, but no second time.
                Err(error) => {
                    self.leases.remove(&endpoint.network, &endpoint.container)?;
                    return Err(error);
                }
            }
        }
        self.leases.remove(&endpoint.network, &endpoint.container)?;
        Ok(())
    }

    /// The bridge and the rules, once nobody is on the network.
    fn tear_down_network(&self, network: &Network, host: &mut Host) -> Result<()> {
        bridge::tear_down_bridge(network, &mut host.route)?;
        firewall::withdraw(&mut host.netfilter, network)?;
        let _rules = Lock::exclusive(&self.rules_lock)?;
        table::remove_network(&mut host.netfilter, network).map_err(refused(&network.name))
    }

    fn remove_unused_table(&self, host: &mut Host) -> Result<()> {
        let _rules = Lock::exclusive(&self.rules_lock)?;
        if self.leases.all()?.is_empty() {
            table::remove_table(&mut host.netfilter).map_err(refused("all networks"))?;
        }
        Ok(())
    }
}

/// A host whose IPv6 was switched off since the network was made has its IPv4.
fn usable(mut network: Network) -> Network {
    if !sysctl::has_ipv6() {
        network.pools.retain(|pool| !pool.subnet.is_ipv6());
    }
    network
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
