//! Removing the build cache.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::events::{EventType, Journal};
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::reporter::Reporter;
use crate::usage;

/// Removes the results of build steps and the cache mounts that every filter passes (`until`, by
/// when a result was written and a cache mount changed last); gives the bytes that were freed. What
/// a running pull or build has stays, which is a notice.
///
/// # Errors
/// A filter that cannot be honoured; a store that cannot be read or written.
pub fn prune_cache(home: &Home, filters: &[Filter], reporter: &dyn Reporter) -> Result<u64> {
    filter::check(filters, &["until"])?;
    let store = home.images()?;
    let before = usage::store(&store)?;
    let goes = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Some((since.as_secs(), since.subsec_nanos()));
        // What is no time was refused above.
        filters.iter().all(|filter| filter.is_before(time).unwrap_or(false))
    };
    store.remove_steps_of(&goes)?;
    store.remove_cache_mounts_of(&goes)?;
    if store.collect()?.busy {
        reporter.notice("skipped objects in use by a running pull or build");
    }
    let freed = before.saturating_sub(usage::store(&store)?);
    Journal::of(home).prune(EventType::Builder, freed);
    Ok(freed)
}
