//! Commands of the images in the store.

use clap::Args;
use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Removal, StoreError};
use serde_json::{Value, json};

use super::progress::Notices;
use super::{filter, for_each, output};
use crate::error::{EngineError, Result};
use husk_engine::clock;
use husk_engine::home::Home;
use husk_engine::image::{self, ListRequest, RemoveRequest};

/// `images`.
#[derive(Debug, Default, Args)]
pub(super) struct Images {
    /// Only print IDs
    #[arg(short, long)]
    quiet: bool,
    /// Has no effect: all images are always listed
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not truncate IDs
    #[arg(long)]
    no_trunc: bool,
    /// Filter the list: before, dangling, label, reference, since, until
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Format output as json, table, or by a Go template such as '{{.Repository}}'
    #[arg(long)]
    format: Option<String>,
    /// Repository or name, which may be a pattern
    repository: Option<String>,
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let request = ListRequest {
            repository: self.repository.clone(),
            filters: filter::parse(&self.filter, &image::FILTERS)?,
        };
        let mut rows = Vec::new();
        for one in image::list(home, &request, &Notices)? {
            let names = one.names.iter().map(|(name, target)| (Some(name), *target));
            let dangling = one.names.is_empty().then_some((None, one.record.manifest));
            for (reference, target) in names.chain(dangling) {
                rows.push(self.row(&one.record, reference, target, one.size));
            }
        }
        if self.quiet {
            let mut seen = std::collections::HashSet::new();
            for row in &rows {
                let id = row.get("ID").and_then(Value::as_str).unwrap_or_default();
                if seen.insert(id.to_owned()) {
                    output::line(id)?;
                }
            }
            return Ok(0);
        }
        let mut columns = vec![
            ("REPOSITORY", "Repository"),
            ("TAG", "Tag"),
            ("IMAGE ID", "ID"),
            ("CREATED", "CreatedSince"),
            ("SIZE", "Size"),
        ];
        if self.digests {
            columns.insert(2, ("DIGEST", "Digest"));
        }
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }

    fn row(
        &self,
        record: &ImageRecord,
        reference: Option<&Reference>,
        target: Digest,
        size: u64,
    ) -> Value {
        let none = || "<none>".to_owned();
        let created = record.created.clone().unwrap_or_default();
        let since = match clock::parse(&created) {
            Some(then) => format!("{} ago", clock::human(clock::now().0.saturating_sub(then))),
            None => "N/A".to_owned(),
        };
        json!({
            "Repository": reference.map_or_else(none, Reference::familiar_name),
            "Tag": reference.and_then(Reference::tag).map_or_else(none, str::to_owned),
            "Digest": target.to_string(),
            "ID": if self.no_trunc { record.id.to_string() } else { record.id.short() },
            "CreatedAt": clock::local(&created),
            "CreatedSince": since,
            "Size": output::size(size),
            "VirtualSize": output::size(size),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
            "Containers": "N/A",
        })
    }
}

/// The rows of `system df -v`. A layer of several images is shared; what an image has alone goes
/// with it.
pub(super) fn usage(home: &Home) -> Result<Vec<Value>> {
    let listed = Images::default();
    let mut rows = Vec::new();
    for one in image::usage(home)? {
        let image = &one.image;
        let names = image.names.iter().map(|(name, target)| (Some(name), *target));
        let untagged = image.names.is_empty().then_some((None, image.record.manifest));
        for (reference, target) in names.chain(untagged) {
            let mut row = listed.row(&image.record, reference, target, one.shared + one.unique);
            row["SharedSize"] = output::size(one.shared).into();
            row["UniqueSize"] = output::size(one.unique).into();
            row["Containers"] = image.containers.to_string().into();
            rows.push(row);
        }
    }
    Ok(rows)
}

/// `rmi`.
#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// Remove all tags of an image ID, even if containers use it
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        for_each(&self.images, |name| {
            let request = RemoveRequest { image: name.to_owned(), force: self.force };
            let removed = match image::remove(home, &request) {
                // As Docker: said, and no failure.
                Err(EngineError::Store(error))
                    if self.force && matches!(*error, StoreError::NoImage(_)) =>
                {
                    output::error(&EngineError::Store(error).into());
                    return Ok(());
                }
                removed => removed?,
            };
            for removal in removed {
                match removal {
                    Removal::Untagged(reference) => {
                        output::line(format_args!("Untagged: {}", reference.familiar()))?;
                    }
                    Removal::Deleted(id) => output::line(format_args!("Deleted: {id}"))?,
                }
            }
            Ok(())
        })
    }
}

/// `tag`.
#[derive(Debug, Args)]
pub(super) struct Tag {
    /// Name or ID
    image: String,
    /// New name
    name: String,
}

impl Tag {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        image::tag(home, &self.image, &self.name)?;
        Ok(0)
    }
}

/// `history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Print sizes in words, and how long ago (--human=false: bytes, and dates)
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    human: bool,
    /// Do not truncate instructions and IDs
    #[arg(long)]
    no_trunc: bool,
    /// Only print IDs
    #[arg(short, long)]
    quiet: bool,
    /// Format output as json, table, or by a Go template such as '{{.CreatedBy}}'
    #[arg(long)]
    format: Option<String>,
    /// Name or ID
    image: String,
}

impl History {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let mut rows = Vec::new();
        for entry in image::history(home, &self.image)? {
            let mut by = entry.created_by.replace(['\n', '\t'], " ");
            if !self.no_trunc && by.chars().count() > 45 {
                by = by.chars().take(44).chain("…".chars()).collect();
            }
            let created = entry.created.as_deref().and_then(clock::parse);
            let since = match (created, &entry.created) {
                (Some(_), Some(date)) if !self.human => date.clone(),
                (Some(then), _) => {
                    format!("{} ago", clock::human(clock::now().0.saturating_sub(then)))
                }
                (None, _) => "N/A".to_owned(),
            };
            let size = match self.human {
                true => output::size(entry.size),
                false => entry.size.to_string(),
            };
            rows.push(json!({
                "ID": match entry.id {
                    Some(id) if self.no_trunc => id.to_string(),
                    Some(id) => id.short(),
                    None => "<missing>".to_owned(),
                },
                "CreatedAt": entry.created,
                "CreatedSince": since,
                "CreatedBy": by,
                "Size": size,
                "Comment": entry.comment,
            }));
        }
        if self.quiet {
            let mut ids = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str));
            return ids.try_for_each(output::line).map(|()| 0);
        }
        let columns = [
            ("IMAGE", "ID"),
            ("CREATED", "CreatedSince"),
            ("CREATED BY", "CreatedBy"),
            ("SIZE", "Size"),
            ("COMMENT", "Comment"),
        ];
        output::listing(self.format.as_deref(), &columns, &rows).map(|()| 0)
    }
}
