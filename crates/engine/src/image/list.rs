//! The list of images.

use std::collections::BTreeMap;

use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::store::{Image, ImageRecord, Store};

use crate::clock;
use crate::error::Result;
use crate::filter::{self, Filter};
use crate::home::Home;
use crate::reporter::Reporter;

/// Which images are wanted.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// A name, or a pattern as that of the filter `reference`.
    pub repository: Option<String>,
    /// `before`, `dangling`, `label`, `reference`, `since`, `until`.
    pub filters: Vec<Filter>,
}

/// An image in the list.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Its record: ids, platform, time, layers.
    pub record: ImageRecord,
    /// Those of its names that pass, with the digest that the registry knew it by for each.
    pub names: Vec<(Reference, Digest)>,
    /// Bytes of the files of its layers.
    pub size: u64,
    /// The labels of its config.
    pub labels: BTreeMap<String, String>,
    /// How many containers have it.
    pub containers: usize,
}

/// The filters of the list.
pub const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

fn created(record: &ImageRecord) -> Option<clock::Instant> {
    record.created.as_deref().and_then(clock::instant)
}

/// The images, those with names first, in the order of the names. One whose record is
/// damaged is a notice.
///
/// # Errors
/// A filter that cannot be honoured, a store that cannot be read.
pub fn list(
    home: &Home,
    request: &ListRequest,
    reporter: &dyn Reporter,
) -> Result<Vec<ImageSummary>> {
    let store = home.images()?;
    filter::check(&request.filters, &FILTERS)?;
    for filter in &request.filters {
        if matches!(filter.name.as_str(), "before" | "since") {
            store.find(&filter.value)?;
        }
    }
    for damage in store.damaged()? {
        reporter.notice(&damage.to_string());
    }
    let pins = store.pins()?;
    let mut summaries = Vec::new();
    for Image { record, mut names } in store.images()? {
        let config = store.config(&record).ok().and_then(|config| config.config);
        let labels = config.and_then(|config| config.labels).unwrap_or_default();
        let passes = |reference: Option<&Reference>| -> Result<bool> {
            let wanted = request.repository.as_deref();
            Ok(wanted.is_none_or(|wanted| is_named(wanted, reference))
                && passes(&request.filters, &store, &record, &labels, reference)?)
        };
        if names.is_empty() {
            if !passes(None)? {
                continue;
            }
        } else {
            let mut kept = Vec::new();
            for name in names {
                if passes(Some(&name.0))? {
                    kept.push(name);
                }
            }
            if kept.is_empty() {
                continue;
            }
            names = kept;
        }
        let size = store.unpacked_size(&record.chain_ids())?;
        let containers = pins.iter().filter(|(_, manifest)| *manifest == record.manifest).count();
        summaries.push(ImageSummary { record, names, size, labels, containers });
    }
    Ok(summaries)
}

/// Whether a name is the one that is wanted, or fits it as a pattern.
fn is_named(wanted: &str, reference: Option<&Reference>) -> bool {
    let Some(name) = reference else { return false };
    let named = wanted.parse::<Reference>();
    filter::matches(wanted, &name.familiar_name())
        || filter::matches(wanted, &name.familiar())
        || named.is_ok_and(|wanted| {
            wanted.name() == name.name() && wanted.tag().is_none_or(|tag| name.tag() == Some(tag))
        })
}

fn passes(
    filters: &[Filter],
    store: &Store,
    record: &ImageRecord,
    labels: &BTreeMap<String, String>,
    reference: Option<&Reference>,
) -> Result<bool> {
    filter::all_pass(filters, |filter| match filter.name.as_str() {
        "dangling" => Ok(filter.truth()? == reference.is_none()),
        "reference" => Ok(reference.is_some_and(|name| {
            let (name, whole) = (name.familiar_name(), name.familiar());
            filter::matches(&filter.value, &name) || filter::matches(&filter.value, &whole)
        })),
        "before" => Ok(created(record) < created(&store.find(&filter.value)?)),
        "since" => Ok(created(record) > created(&store.find(&filter.value)?)),
        "until" => filter.is_before(created(record)),
        _ => Ok(filter.has_label(labels)),
    })
}
