//! What removing the unused gives, whatever the kind.

use std::collections::BTreeMap;

use crate::clock;
use crate::error::{Error, Result};
use crate::filter::{self, Filter};

/// What a prune did. One object that cannot be removed does not keep the others.
#[derive(Debug)]
pub struct Pruned<T> {
    /// What was removed, in order.
    pub removed: Vec<T>,
    /// Bytes that were freed.
    pub freed: u64,
    /// Why some that should have been removed were not.
    pub failures: Vec<Error>,
}

impl<T> Default for Pruned<T> {
    fn default() -> Self {
        Self { removed: Vec::new(), freed: 0, failures: Vec::new() }
    }
}

impl<T> Pruned<T> {
    /// Takes the outcome of one removal and the bytes it freed: `Ok(None)` where the object is
    /// in use.
    pub fn take(&mut self, outcome: Result<Option<(u64, T)>>) {
        match outcome {
            Ok(Some((bytes, object))) => {
                self.freed += bytes;
                self.removed.push(object);
            }
            Ok(None) => {}
            // One that another removes at the same time is gone as well.
            Err(Error::NoContainer(_) | Error::NoVolume(_) | Error::VolumeInUse { .. }) => {}
            Err(error) => self.failures.push(error),
        }
    }

    /// Takes the bytes of a step that may fail as a whole, and then must not keep the next.
    pub fn add(&mut self, freed: Result<u64>) {
        match freed {
            Ok(freed) => self.freed += freed,
            Err(error) => self.failures.push(error),
        }
    }
}

/// The filters of a prune, of every kind but volumes.
pub const FILTERS: [&str; 2] = ["until", "label"];

/// Whether something that was made then and has these labels passes.
///
/// # Errors
/// A time that is none.
pub fn passes(
    filters: &[Filter],
    created: Option<clock::Instant>,
    labels: &BTreeMap<String, String>,
) -> Result<bool> {
    filter::all_pass(filters, |filter| match filter.name.as_str() {
        "until" => filter.is_before(created),
        _ => Ok(filter.has_label(labels)),
    })
}
