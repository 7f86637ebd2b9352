//! Removing images that no container has.

use husk_image::store::{Removal, StoreError};

use crate::clock;
use crate::container::sweep::{restore_pins, sweep};
use crate::error::Result;
use crate::events::object::{self, Removed};
use crate::events::{EventType, Journal};
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::prune::{self, Pruned};
use crate::reporter::Reporter;
use crate::usage;

/// Which images go.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// Also those with names.
    pub all: bool,
    /// `until`, `label`, and `dangling`, which says `all` as well.
    pub filters: Vec<Filter>,
}

impl PruneRequest {
    /// Whether those with names go too.
    ///
    /// # Errors
    /// A filter that cannot be honoured.
    pub fn takes_all(&self) -> Result<bool> {
        filter::check(&self.filters, &["until", "label", "dangling"])?;
        let mut all = self.all;
        for filter in self.filters.iter().filter(|filter| filter.name == "dangling") {
            all = !filter.truth()?;
        }
        Ok(all)
    }
}

/// Removes the images that no container has.
///
/// # Errors
/// A filter that cannot be honoured, a store that cannot be read.
pub fn prune(
    home: &Home,
    request: &PruneRequest,
    reporter: &dyn Reporter,
) -> Result<Pruned<Removal>> {
    let all = request.takes_all()?;
    let mut filters = request.filters.clone();
    filters.retain(|filter| filter.name != "dangling");
    let mut pruned = Pruned::default();
    // A pin of a container that is no more would keep its image, and one that was lost
    // would not keep it.
    pruned.add(sweep(home).and_then(|_| restore_pins(home)).map(|()| 0));
    let store = home.images()?;
    let before = usage::store(&store)?;
    let damaged = store.damaged()?;
    if let (Some(error), false) = (damaged.first(), all) {
        // An image whose name cannot be read looks like one without.
        reporter.notice(&format!("images stay: {error}"));
        return Ok(pruned);
    }
    let pinned: Vec<_> = store.pins()?.into_iter().map(|(_, manifest)| manifest).collect();
    for image in store.images()? {
        if pinned.contains(&image.record.manifest) || !(all || image.names.is_empty()) {
            continue;
        }
        if !filters.is_empty() {
            let config = store.config(&image.record)?.config.unwrap_or_default();
            let created = image.record.created.as_deref().and_then(clock::instant);
            if !prune::passes(&filters, created, &config.labels.unwrap_or_default())? {
                continue;
            }
        }
        let gone = Removed::of(home, &image.record);
        // By its digest it goes with all its names.
        match store.remove(&image.record.manifest.to_string(), true) {
            // Another removes it at the same time.
            Err(StoreError::NoImage(_)) => {}
            Err(error) => pruned.failures.push(error.into()),
            Ok(removals) => {
                object::record_removal(home, &gone, &removals);
                pruned.removed.extend(removals);
            }
        }
    }
    pruned.freed += before.saturating_sub(usage::store(&store)?);
    Journal::of(home).prune(EventType::Image, pruned.freed);
    Ok(pruned)
}
