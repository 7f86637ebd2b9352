//! Address management: who has which address on a network.
//!
//! ```text
//! <runtime>/endpoints/NAME.json   the endpoints on network NAME
//! <runtime>/endpoints/NAME.lock   held while that file, or the bridge, changes
//! ```
//!
//! A file without endpoints says that the network's bridge and rules are still there, unused
//! since the file was written (`networks/idle.rs`).
//!
//! An address is written down before it is used and struck out after everything
//! that used it is gone, so what a killed program leaves behind can be found
//! here and undone. The files lie below /run: a reboot, which removes every link
//! and rule, removes them too. Which address is given is for `allocate.rs` to say.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ipam::mac::mac_text;
use crate::links::link::Mac;
use crate::networks::json_file::{self, Lock};
use crate::networks::network::Network;

/// A container's address on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The subnet's prefix length.
    pub prefix: u8,
    /// The bridge's address on the same subnet.
    pub gateway: IpAddr,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    pub container: String,
    /// Name of the container, for messages and for [`crate::dns`].
    pub name: String,
    /// Other names of the container on this network: its hostname, `--network-alias`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `TARGET:ALIAS`: names that this container alone knows others by (`--link`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// The link inside the container, `eth0`, `eth1`, ...
    pub interface: String,
    /// The other end of the veth pair, on the host; empty where the link has none (macvlan,
    /// ipvlan).
    pub host_interface: String,
    /// Hardware address of `interface`.
    #[serde(with = "mac_text")]
    pub mac: Mac,
    /// At most one of each family, IPv4 first.
    pub addresses: Vec<Address>,
    /// Whether the container's default routes lead here.
    pub default_route: bool,
    /// Whether what it sends is dropped unless it comes from these addresses.
    #[serde(default)]
    pub source_checked: bool,
}

impl Endpoint {
    /// Whether it has an end on a bridge of the host.
    #[must_use]
    pub fn has_port(&self) -> bool {
        !self.host_interface.is_empty()
    }

    /// The address of a family.
    #[must_use]
    pub fn address(&self, ipv6: bool) -> Option<&Address> {
        self.addresses.iter().find(|a| a.address.is_ipv6() == ipv6)
    }
}

/// What a container wants of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Name of the network.
    pub network: String,
    /// Fixed addresses (`--ip`, `--ip6`), at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Fixed hardware address (`--mac-address`).
    pub mac: Option<Mac>,
    /// Other names that containers on the network know it by.
    pub aliases: Vec<String>,
    /// `TARGET:ALIAS`: names that it alone knows others by.
    pub links: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Leases {
    /// The address given out last in each pool. The next one is above it, so that
    /// an address just given back rests while others may still believe in it.
    pub(super) last: Vec<IpAddr>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// The endpoints of all networks.
#[derive(Debug, Clone)]
pub(crate) struct LeaseFiles {
    directory: PathBuf,
}

/// Who asks for an endpoint, and which of the container's it is.
pub(crate) struct Claimant<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
    pub(crate) interface: String,
    pub(crate) default_route: bool,
    pub(crate) source_checked: bool,
}

impl LeaseFiles {
    pub(crate) fn open(runtime: &Path) -> Result<Self> {
        let directory = runtime.join("endpoints");
        json_file::make_dir(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, network: &str) -> PathBuf {
        self.directory.join(format!("{network}.json"))
    }

    /// The lock of one network, for its leases and its bridge.
    pub(crate) fn lock(&self, network: &str) -> Result<Lock> {
        Ok(Lock::exclusive(&self.directory.join(format!("{network}.lock")))?)
    }

    /// The caller holds the network's lock and has removed the network.
    pub(crate) fn forget_lock(&self, network: &str) -> Result<()> {
        json_file::remove(&self.directory.join(format!("{network}.lock")))
    }

    pub(crate) fn endpoints(&self, network: &str) -> Result<Vec<Endpoint>> {
        let leases: Option<Leases> = json_file::read(&self.path(network))?;
        Ok(leases.map(|leases| leases.endpoints).unwrap_or_default())
    }

    /// Files that cannot be read.
    pub(crate) fn damaged(&self) -> Result<Vec<PathBuf>> {
        let mut damaged = Vec::new();
        for network in json_file::names(&self.directory)? {
            if let Err(Error::Damaged { path, .. }) = self.endpoints(&network) {
                damaged.push(path);
            }
        }
        Ok(damaged)
    }

    /// Every endpoint of every network.
    pub(crate) fn all(&self) -> Result<Vec<Endpoint>> {
        let mut all = Vec::new();
        for network in json_file::names(&self.directory)? {
            match self.endpoints(&network) {
                Ok(endpoints) => all.extend(endpoints),
                // One network's damage is told where that network is asked for.
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Allocates and records; the caller holds the network's lock.
    pub(crate) fn add(
        &self,
        network: &Network,
        wanted: &Attachment,
        claimant: Claimant<'_>,
    ) -> Result<Endpoint> {
        let path = self.path(&network.name);
        let mut leases: Leases = json_file::read(&path)?.unwrap_or_default();
        let endpoint = leases.allocate(network, wanted, claimant)?;
        leases.endpoints.push(endpoint.clone());
        json_file::write(&path, &leases)?;
        Ok(endpoint)
    }

    /// Whether the fixed addresses of an attachment can be given out at present.
    pub(crate) fn check(&self, network: &Network, wanted: &Attachment) -> Result<()> {
        let leases: Leases = json_file::read(&self.path(&network.name))?.unwrap_or_default();
        leases.refuse_all_fixed(network, wanted)
    }

    /// Notes that a container's default route leads here now; the caller holds the
    /// network's lock.
    pub(crate) fn set_default_route(&self, network: &str, container: &str) -> Result<()> {
        let path = self.path(network);
        let Some(mut leases) = json_file::read::<Leases>(&path)? else {
            return Ok(());
        };
        let mut endpoints = leases.endpoints.iter_mut();
        endpoints
            .find(|e| e.container == container)
            .into_iter()
            .for_each(|e| e.default_route = true);
        json_file::write(&path, &leases)
    }

    /// Strikes a container out; the caller holds the network's lock, and has removed the
    /// bridge if this is the last one.
    pub(crate) fn remove(&self, network: &str, container: &str) -> Result<()> {
        match self.strike_out(network, container)? {
            Some(0) => self.forget(network),
            _ => Ok(()),
        }
    }

    /// The same where the bridge stays also after the last. Returns how many endpoints are
    /// left; `None` where none was written down.
    pub(crate) fn strike_out(&self, network: &str, container: &str) -> Result<Option<usize>> {
        let path = self.path(network);
        let Some(mut leases) = json_file::read::<Leases>(&path)? else {
            return Ok(None);
        };
        leases.endpoints.retain(|endpoint| endpoint.container != container);
        json_file::write(&path, &leases)?;
        Ok(Some(leases.endpoints.len()))
    }

    /// Notes that the bridge of a network without endpoints is gone; the caller holds the
    /// network's lock.
    pub(crate) fn forget(&self, network: &str) -> Result<()> {
        json_file::remove(&self.path(network))
    }

    /// The networks without endpoints whose bridges are still there, and for how long each has
    /// been so; after a change of the clock, for ever.
    pub(crate) fn idle(&self) -> Result<Vec<(String, Duration)>> {
        let mut idle = Vec::new();
        for network in json_file::names(&self.directory)? {
            let Some(age) = self.idle_for(&network)? else { continue };
            idle.push((network, age));
        }
        Ok(idle)
    }

    /// How long a network has been without endpoints; `None` where it has some, or no bridge.
    pub(crate) fn idle_for(&self, network: &str) -> Result<Option<Duration>> {
        let path = self.path(network);
        let written = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
        match json_file::read::<Leases>(&path) {
            Ok(Some(leases)) if leases.endpoints.is_empty() => {}
            // Damage is told where the network is asked for.
            Ok(_) | Err(Error::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(written.ok().and_then(|at| at.elapsed().ok()).unwrap_or(Duration::MAX)))
    }

    /// Whether every bridge is gone.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(json_file::names(&self.directory)?.is_empty())
    }
}
