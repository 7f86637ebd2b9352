//! An image's history: the steps that made it.

use husk_image::digest::Digest;
use husk_image::reference::Reference;

use crate::error::Result;
use crate::home::Home;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id, of the last step; others were images only where they were built.
    pub id: Option<Digest>,
    /// RFC 3339, as the image says.
    pub created: Option<String>,
    /// The instruction or command.
    pub created_by: String,
    /// Bytes of the files of its layer; 0 where it has none.
    pub size: u64,
    /// What its maker wrote.
    pub comment: String,
    /// The image's names, of the last step.
    pub tags: Vec<Reference>,
}

/// The steps of an image, the last one first.
///
/// # Errors
/// An image that is not there.
pub fn history(home: &Home, image: &str) -> Result<Vec<HistoryEntry>> {
    let store = home.images()?;
    let record = store.find(image)?;
    let config = store.config(&record)?;
    let mut sizes = store.layers(&record.chain_ids())?.into_iter().map(|layer| layer.record.size);
    let mut entries = Vec::new();
    for entry in config.history.unwrap_or_default() {
        entries.push(HistoryEntry {
            id: None,
            created: entry.created,
            created_by: entry.created_by.unwrap_or_default(),
            size: if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
            comment: entry.comment.unwrap_or_default(),
            tags: Vec::new(),
        });
    }
    entries.reverse();
    if let Some(first) = entries.first_mut() {
        first.id = Some(record.id);
        first.tags = store
            .images()?
            .into_iter()
            .filter(|known| known.record.manifest == record.manifest)
            .flat_map(|known| known.names)
            .map(|(name, _)| name)
            .collect();
    }
    Ok(entries)
}
