//! What an engine calls: networks, and containers on them.

mod attach;
mod detach;
mod idle;
pub(crate) mod installation;
pub(crate) mod json_file;
pub(crate) mod mode;
pub(crate) mod network;
pub(crate) mod options;
pub(crate) mod store;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::ipam::lease::{Endpoint, LeaseFiles};
use crate::links::netlink::Socket;
use crate::links::{forwarding, sysctl};
use crate::networks::installation::Installation;
use crate::networks::json_file::Lock;
use crate::networks::network::{DEFAULT_NETWORK, Network, NewNetwork, validate_name};
use crate::networks::options::Driver;
use crate::networks::store::Store;
use crate::nft::firewall;
use crate::nft::sources;
use crate::nft::table::Table;
use crate::ports::claim::{Claim, ClaimFile};

pub use attach::{Request, Reservation};
pub use idle::LINGER;

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
    installation: Installation,
    runtime: PathBuf,
}

/// A network that is not of the store: what `--network host` and `none` stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltIn {
    /// `host` or `none`.
    pub name: &'static str,
    /// As Docker calls it: `host` or `null`.
    pub driver: &'static str,
    /// 64 hexadecimal digits, always the same of one installation.
    pub id: String,
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

/// What a start does beside setting up links, for the person and for its undoing.
#[derive(Debug, Default)]
struct Effects {
    notices: Vec<String>,
    forwarding: Vec<forwarding::Change>,
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
        let store = Store::open(config)?;
        let leases = LeaseFiles::open(runtime)?;
        Ok(Self {
            store,
            leases,
            claims: ClaimFile::open(runtime)?,
            rules_lock: runtime.join("rules.lock"),
            installation: Installation::open(config, runtime)?,
            runtime: runtime.to_path_buf(),
        })
    }

    /// `network create`: validates, chooses what was not given, writes it down.
    ///
    /// # Errors
    ///
    /// Those of [`NewNetwork::validate`], [`Error::NetworkExists`],
    /// [`Error::SubnetTaken`], [`Error::NoFreeSubnet`].
    pub fn create(&self, request: &NewNetwork) -> Result<Network> {
        self.store.create(request, &self.installation)
    }

    /// `network ls`: every network, sorted by name; the default one included.
    ///
    /// # Errors
    ///
    /// An unreadable or damaged file.
    pub fn list(&self) -> Result<Vec<Network>> {
        match self.store.get_or_default(DEFAULT_NETWORK, &self.installation) {
            // It is told by `damaged`, as any other.
            Ok(_) | Err(Error::Damaged { .. }) => self.store.list(),
            Err(error) => Err(error),
        }
    }

    /// Networks whose definitions are damaged, and how; [`Self::remove`] removes them, the
    /// default one too, which is then made anew.
    ///
    /// # Errors
    ///
    /// A directory that cannot be read.
    pub fn damaged(&self) -> Result<Vec<(String, Error)>> {
        self.store.damaged()
    }

    /// `network inspect`: the network of that name, or whose id begins so, if
    /// it is the only one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchNetwork`].
    pub fn inspect(&self, name: &str) -> Result<Network> {
        match self.store.get_or_default(name, &self.installation) {
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

    /// `host` and `none`, which every host has: there is nothing to create for them.
    #[must_use]
    pub fn built_in(&self) -> [BuiltIn; 2] {
        [("host", "host"), ("none", "null")].map(|(name, driver)| BuiltIn {
            name,
            driver,
            id: self.installation.id_of(name),
        })
    }

    /// Files of addresses and ports in use that are damaged.
    ///
    /// # Errors
    ///
    /// A directory that cannot be read.
    pub fn damaged_leases(&self) -> Result<Vec<PathBuf>> {
        let mut damaged = self.leases.damaged()?;
        if let Err(Error::Damaged { path, .. }) = self.claims.all() {
            damaged.push(path);
        }
        Ok(damaged)
    }

    /// The endpoints on a network, or on all.
    ///
    /// # Errors
    ///
    /// An unreadable or damaged file.
    pub fn endpoints(&self, network: Option<&str>) -> Result<Vec<Endpoint>> {
        match network {
            Some(network) => {
                validate_name(network)?;
                self.leases.endpoints(network)
            }
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
        if ["host", "none"].contains(&name) {
            return Err(Error::BuiltIn { name: name.to_owned() });
        }
        let name = match self.inspect(name) {
            Ok(network) if network.name == DEFAULT_NETWORK => {
                return Err(Error::BuiltIn { name: network.name });
            }
            Ok(network) => network.name,
            // Its name is that of its file.
            Err(Error::Damaged { .. }) => name.to_owned(),
            Err(error) => return Err(error),
        };
        let _store = self.store.lock()?;
        let _lease = self.leases.lock(&name)?;
        let endpoints = self.leases.endpoints(&name)?;
        if !endpoints.is_empty() {
            let names: Vec<&str> = endpoints.iter().map(|e| e.name.as_str()).collect();
            return Err(Error::NetworkInUse { name, containers: names.join(", ") });
        }
        if self.leases.idle_for(&name)?.is_some() {
            let mut host = Host::open()?;
            match self.tear_down_idle(&name, &mut host) {
                // Whatever it defined: it is to go.
                Ok(()) | Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            self.remove_unused_table(&mut host)?;
        }
        self.store.remove(&name)?;
        self.leases.forget_lock(&name)
    }

    /// The name of the `inet` table that has this installation's rules (nft(8)).
    #[must_use]
    pub fn table_name(&self) -> String {
        self.installation.table()
    }

    fn table(&self) -> Table {
        Table::main(&self.installation)
    }

    /// Installs what is missing of the table; returns whether anything was.
    fn install_rules(&self, network: &Network, host: &mut Host) -> Result<bool> {
        let _rules = Lock::exclusive(&self.rules_lock)?;
        let (table, one) = (self.table(), std::slice::from_ref(network));
        let name = &network.name;
        let present = table.presence(&mut host.netfilter, one).map_err(refused(name))?;
        match (present.base, present.networks) {
            (true, true) => return Ok(false),
            (true, false) => table.install(&mut host.netfilter, false, one, &[]),
            (false, _) => {
                let networks = self.networks_in_use()?;
                table.install(&mut host.netfilter, true, &networks, &self.claims.all()?)
            }
        }
        .map_err(refused(name))?;
        Ok(true)
    }

    fn networks_in_use(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for network in self.store.list()? {
            let is_bridge = network.driver == Driver::Bridge;
            if is_bridge && !self.leases.endpoints(&network.name)?.is_empty() {
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
        let _rules = Lock::exclusive(&self.rules_lock)?;
        let mut notices = Vec::new();
        self.restore(&self.networks_in_use()?, true, &mut notices)?;
        Ok(notices)
    }

    /// As [`Self::ensure`], but rules are only written if some are missing, and nothing is
    /// done while another process changes them. Returns the networks in use.
    pub(crate) fn restore_unless_busy(&self) -> Result<Option<Vec<Network>>> {
        let Some(_rules) = Lock::try_exclusive(&self.rules_lock)? else { return Ok(None) };
        let networks = self.networks_in_use()?;
        self.restore(&networks, false, &mut Vec::new())?;
        Ok(Some(networks))
    }

    fn restore(&self, networks: &[Network], always: bool, notices: &mut Vec<String>) -> Result<()> {
        if networks.is_empty() {
            return Ok(());
        }
        let (table, mut socket) = (self.table(), Socket::netfilter()?);
        let failed = refused("all networks");
        let claims = self.claims.all()?;
        let present = table.presence(&mut socket, networks).map_err(&failed)?;
        let is_whole = present.base
            && present.networks
            && table.publishes(&mut socket, &claims).map_err(&failed)?;
        if always || !is_whole {
            table.install(&mut socket, true, networks, &claims).map_err(&failed)?;
        }
        if always || !sources::is_whole(&mut socket, table.name()).map_err(&failed)? {
            let mut endpoints = self.leases.all()?;
            endpoints.retain(Endpoint::has_port);
            sources::install(&mut socket, table.name(), &endpoints).map_err(&failed)?;
        }
        firewall::admit(&mut socket, networks, notices)
    }

    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }
}

/// A host whose IPv6 was switched off since the network was made has its IPv4.
fn usable(mut network: Network) -> Network {
    if !sysctl::has_ipv6() {
        network.pools.retain(|pool| !pool.subnet.is_ipv6());
    }
    network
}
