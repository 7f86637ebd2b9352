//! The second line of defence: isolation that a flush of the ruleset does not remove.
//!
//! `nft flush ruleset`, which a reloaded firewall does, removes the table `inet husk`.
//! Until it is put back, networks would be open to whoever routes to them. So the
//! monitor that watches the rules ([`crate::nft::watch`]) also keeps a table
//! `inet husk-guard` with the chains input and forward, owned by its netlink socket
//! (`flags owner`, Linux 5.12): the kernel skips it when others flush, and refuses them
//! to change it. It goes with that monitor; since Linux 6.9 (`flags persist`) it stays
//! until the next monitor takes it over.
//!
//! Older kernels have no such tables; there, the rules are back as soon as the monitor
//! has been told of the change, some milliseconds later.

use rustix::io::Errno;

use crate::error::Result;
use crate::links::netlink::{Refusal, Socket, attribute, string};
use crate::networks::installation::Installation;
use crate::networks::network::Network;
use crate::nft::batch::{Attributes, INET, Request, body};
use crate::nft::table::{OWNED, PERSISTENT, Table};

/// What kernels have, the best first.
const FLAGS: [u32; 2] = [OWNED | PERSISTENT, OWNED];

/// The guard's table, as long as this lives.
#[derive(Debug)]
pub(crate) struct Guard {
    table: Table,
    socket: Socket,
    networks: Vec<Network>,
}

impl Guard {
    /// Makes the table, or takes it over; `None` on a kernel without owned tables.
    pub(crate) fn install(
        installation: &Installation,
        networks: Vec<Network>,
    ) -> Result<Option<Self>> {
        for flags in FLAGS {
            let table = Table::guard(installation, flags);
            let mut socket = Socket::netfilter()?;
            match table.replace(&mut socket, &networks) {
                Ok(()) => return Ok(Some(Self { table, socket, networks })),
                Err(refusal) if is_unknown(&refusal) => {}
                Err(refusal) => return Err(failed(refusal)),
            }
        }
        Ok(None)
    }

    /// Makes the table what it should be, if the networks in use are others by now.
    pub(crate) fn update(&mut self, networks: Vec<Network>) -> Result<()> {
        if networks != self.networks {
            self.table.replace(&mut self.socket, &networks).map_err(failed)?;
            self.networks = networks;
        }
        Ok(())
    }

    /// Removes the table.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.table.remove(&mut self.socket).map_err(failed)
    }
}

fn failed(refusal: Refusal) -> crate::Error {
    refusal.into_error("change packet filter rules (nf_tables) for", "the guard of all networks")
}

fn is_unknown(refusal: &Refusal) -> bool {
    [Errno::OPNOTSUPP, Errno::INVAL].contains(&refusal.errno)
}

/// Removes the table that a monitor left, unless a monitor has it.
pub(crate) fn remove(installation: &Installation, socket: &mut Socket) -> Result<()> {
    let name = installation.guard_table();
    let mut request = Attributes::default();
    request.text(1, &name);
    let present = match socket.query(Request::GetTable.kind(), &body(INET, &request)) {
        Ok(Some(answer)) => answer
            .get(4..)
            .and_then(|attributes| attribute(attributes, 1))
            .is_some_and(|found| string(found) == name),
        Ok(None) | Err(Refusal { errno: Errno::NOENT, .. }) => false,
        Err(refusal) => return Err(failed(refusal)),
    };
    if !present {
        return Ok(());
    }
    for flags in FLAGS {
        match Table::guard(installation, flags).remove(socket) {
            // It is a monitor's, which removes it when it ends.
            Ok(()) | Err(Refusal { errno: Errno::PERM, .. }) => return Ok(()),
            Err(refusal) if is_unknown(&refusal) => {}
            Err(refusal) => return Err(failed(refusal)),
        }
    }
    Ok(())
}
