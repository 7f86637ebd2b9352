//! Removing the build cache.

use crate::error::Result;
use crate::events::{EventType, Journal};
use crate::home::Home;
use crate::reporter::Reporter;
use crate::usage;

/// Removes the results of build steps and the cache mounts; gives the bytes that were freed.
/// What a running pull or build has stays, which is a notice.
///
/// # Errors
/// A store that cannot be read or written.
pub fn prune_cache(home: &Home, reporter: &dyn Reporter) -> Result<u64> {
    let store = home.images()?;
    let before = usage::store(&store)?;
    store.remove_steps()?;
    store.remove_cache_mounts()?;
    if store.collect()?.busy {
        reporter.notice("skipped objects in use by a running pull or build");
    }
    let freed = before.saturating_sub(usage::store(&store)?);
    Journal::of(home).prune(EventType::Builder, freed);
    Ok(freed)
}
