//! Bridges that no container is on any more.
//!
//! To remove a bridge, a chain or a table is to wait for the readers of all processors (RCU),
//! some 50 ms in all, and to make it again costs half as much; a person at the shell, a loop of
//! `run --rm` and the restart of a lone container would wait for both each time. So the end of a
//! container leaves the bridge and the rules ([`Networks::release`]), a lease file without
//! endpoints says so, and once its caller has its answer the monitor looks after them
//! ([`Networks::linger`]): what has been without a container for [`LINGER`] is removed.
//!
//! One process at a time does so. If it is killed, the file remains, and the end or the removal
//! of any other container, `network prune` or `network rm` finds it.

use std::time::Duration;

use super::{Host, Networks};
use crate::error::{Failures, Result};
use crate::links::bridge;
use crate::networks::json_file::Lock;

/// How long a bridge without containers stays.
pub const LINGER: Duration = Duration::from_secs(1);

impl Networks {
    /// Waits until no bridge has been without containers for [`LINGER`] and removes those that
    /// have; returns at once where there is none, or another process does it.
    ///
    /// # Errors
    ///
    /// What could not be removed, which is left for a later call.
    pub fn linger(&self) -> Result<()> {
        // Looked at again without the lock: a bridge that came to be without containers just
        // before it was given back was left to us.
        while !self.leases.idle()?.is_empty() {
            let Some(_alone) = Lock::try_exclusive(&self.runtime.join("idle.lock"))? else {
                return Ok(());
            };
            while let Some(rest) = self.remove_idle(LINGER)? {
                std::thread::sleep(rest);
            }
        }
        Ok(())
    }

    /// Removes the bridges, and then the rules, of networks that have been without containers
    /// for `least`. Returns how long it takes until another one has; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Every step that failed.
    pub fn remove_idle(&self, least: Duration) -> Result<Option<Duration>> {
        let idle = self.leases.idle()?;
        let (due, rest): (Vec<_>, Vec<_>) = idle.into_iter().partition(|(_, age)| *age >= least);
        // One that was killed may have left the tables alone.
        if !due.is_empty() || least.is_zero() {
            let (mut host, mut failures) = (Host::open()?, Failures::default());
            for (name, _) in due {
                failures.note(self.remove_idle_network(&name, least, &mut host));
            }
            failures.note(self.remove_unused_table(&mut host));
            failures.finish()?;
        }
        Ok(rest.into_iter().map(|(_, age)| least.saturating_sub(age)).min())
    }

    fn remove_idle_network(&self, name: &str, least: Duration, host: &mut Host) -> Result<()> {
        let _lock = self.leases.lock(name)?;
        match self.leases.idle_for(name)? {
            Some(age) if age >= least => self.tear_down_idle(name, host),
            // A container came, or came and went.
            _ => Ok(()),
        }
    }

    /// The caller holds the lock of the network, which has no endpoints.
    pub(super) fn tear_down_idle(&self, name: &str, host: &mut Host) -> Result<()> {
        let network = match self.store.get(name) {
            Ok(network) => network,
            // Its file was removed by hand: to be said, but no second time.
            Err(error) => {
                self.leases.forget(name)?;
                return Err(error);
            }
        };
        bridge::tear_down_bridge(&network, &mut host.route)?;
        let _rules = Lock::exclusive(&self.rules_lock)?;
        self.remove_rules(&network, host)?;
        self.leases.forget(name)
    }
}
