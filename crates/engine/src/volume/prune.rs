//! Removing volumes that no container has.

use super::{Volume, data};
use crate::clock;
use crate::container::{Container, name};
use crate::error::Result;
use crate::events::{EventType, Journal};
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::prune::{self, Pruned};
use crate::reporter::Reporter;
use crate::usage;

/// Which volumes go.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// Also those with names.
    pub all: bool,
    /// `label`, and `all`, which says `all` as well.
    pub filters: Vec<Filter>,
}

impl PruneRequest {
    /// Whether those with names go too.
    ///
    /// # Errors
    /// A filter that cannot be honoured.
    pub fn takes_all(&self) -> Result<bool> {
        filter::check(&self.filters, &["label", "all"])?;
        let mut all = self.all;
        for filter in self.filters.iter().filter(|filter| filter.name == "all") {
            all = filter.truth()?;
        }
        Ok(all)
    }
}

/// Removes the volumes that no container has; gives their names. Where it cannot be known
/// which are in use all stay, which is a notice.
///
/// # Errors
/// A filter that cannot be honoured, records that cannot be read.
pub fn prune(
    home: &Home,
    request: &PruneRequest,
    reporter: &dyn Reporter,
) -> Result<Pruned<String>> {
    let all = request.takes_all()?;
    let mut filters = request.filters.clone();
    filters.retain(|filter| filter.name != "all");
    let mut pruned = Pruned::default();
    let (_, damaged) = Container::survey(home)?;
    if let Some((id, _)) = damaged.first() {
        let id = name::short(id);
        reporter.notice(&format!(
            "volumes stay: the record of container {id} is damaged, and which it has is not \
             known (\"husk rm -f {id}\" removes it)"
        ));
        return Ok(pruned);
    }
    pruned.add(Volume::sweep(home));
    for volume in Volume::all(home)? {
        // What one was made for is lost with its record.
        let wanted = all || volume.anonymous;
        if !wanted || volume.damage.is_some() || Volume::user(home, &volume.name)?.is_some() {
            continue;
        }
        if !prune::passes(&filters, clock::instant(&volume.created), &volume.labels)? {
            continue;
        }
        let bytes = usage::tree(&data(home, &volume.name));
        let removed = Volume::remove(home, &volume.name);
        pruned.take(removed.map(|()| Some((bytes, volume.name))));
    }
    Journal::of(home).prune(EventType::Volume, pruned.freed);
    Ok(pruned)
}
