//! Commands of the images in the store.

use clap::Args;
use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Removal, Store};
use serde_json::{Value, json};

use super::filter::{self, Filter};
use super::{for_each, output};
use husk_engine::clock;
use husk_engine::container::sweep::{restore_pins, sweep};
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;
use husk_engine::notice;

/// `images`.
#[derive(Debug, Args)]
pub(super) struct Images {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Also those without a name, which are listed anyway
    #[arg(short, long)]
    all: bool,
    /// With digests
    #[arg(long)]
    digests: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// dangling=true, reference=, label=
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// json, or a template such as '{{.Repository}}'
    #[arg(long)]
    format: Option<String>,
    /// Those of this repository
    repository: Option<String>,
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let wanted: Option<Reference> = self.repository.as_deref().map(str::parse).transpose()?;
        let filters = filter::parse(&self.filter, &["dangling", "reference", "label"])?;
        let mut rows = Vec::new();
        store.damaged()?.iter().for_each(notice::notice);
        for image in store.images()? {
            let size = store.unpacked_size(&image.record.chain_ids())?;
            let names = image.names.iter().map(|(name, target)| (Some(name), *target));
            let dangling = image.names.is_empty().then_some((None, image.record.manifest));
            for (reference, target) in names.chain(dangling) {
                let matches = match (&wanted, reference) {
                    (None, _) => true,
                    (Some(wanted), Some(name)) => {
                        wanted.name() == name.name()
                            && wanted.tag().is_none_or(|tag| name.tag() == Some(tag))
                    }
                    (Some(_), None) => false,
                };
                if matches && self.passes(&filters, &store, &image.record, reference)? {
                    rows.push(self.row(&image.record, reference, target, size));
                }
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

    fn passes(
        &self,
        filters: &[Filter<'_>],
        store: &Store,
        record: &ImageRecord,
        reference: Option<&Reference>,
    ) -> Result<bool> {
        filter::all_pass(filters, |filter| match filter.name {
            "dangling" => Ok(filter.truth()? == reference.is_none()),
            "reference" => Ok(reference.is_some_and(|name| {
                let (name, whole) = (name.familiar_name(), name.familiar());
                filter::matches(filter.value, &name) || filter::matches(filter.value, &whole)
            })),
            _ => {
                let config = store.config(record)?.config.unwrap_or_default();
                Ok(filter.has_label(&config.labels.unwrap_or_default()))
            }
        })
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
        })
    }
}

/// `rmi`.
#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// All names of an id; also where a container is of it
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        // A pin of a container that is no more would keep its image.
        sweep(home)?;
        restore_pins(home)?;
        let store = home.images()?;
        for_each(&self.images, |name| {
            for removal in store.remove(name, self.force)? {
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
    /// Name or id
    image: String,
    /// The new name
    name: String,
}

impl Tag {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let reference: Reference = self.name.parse()?;
        if reference.digest().is_some() {
            return Err(Error::other(format_args!("{}: a digest cannot be given away", self.name)));
        }
        store.tag(&reference.or_latest(), &record.manifest, &record.manifest)?;
        Ok(0)
    }
}

/// `history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// Whole instructions and ids
    #[arg(long)]
    no_trunc: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// json, or a template such as '{{.CreatedBy}}'
    #[arg(long)]
    format: Option<String>,
    /// Name or id
    image: String,
}

impl History {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let config = store.config(&record)?;
        let mut sizes =
            store.layers(&record.chain_ids())?.into_iter().map(|layer| layer.record.size);
        let mut rows = Vec::new();
        for entry in config.history.unwrap_or_default() {
            let size = if entry.empty_layer { 0 } else { sizes.next().unwrap_or(0) };
            let mut by = entry.created_by.unwrap_or_default().replace(['\n', '\t'], " ");
            if !self.no_trunc && by.chars().count() > 45 {
                by = by.chars().take(44).chain("…".chars()).collect();
            }
            let created = entry.created.as_deref().and_then(clock::parse);
            let since = created.map_or_else(
                || "N/A".to_owned(),
                |then| format!("{} ago", clock::human(clock::now().0.saturating_sub(then))),
            );
            rows.push(json!({
                "ID": "<missing>",
                "CreatedAt": entry.created,
                "CreatedSince": since,
                "CreatedBy": by,
                "Size": output::size(size),
                "Comment": entry.comment.unwrap_or_default(),
            }));
        }
        rows.reverse();
        if let Some(first) = rows.first_mut() {
            let id = if self.no_trunc { record.id.to_string() } else { record.id.short() };
            first["ID"] = id.into();
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

/// What is known of an image.
pub(super) fn inspect(home: &Home, name: &str) -> Result<Value> {
    let store = home.images()?;
    let record = store.find(name)?;
    let config = store.config(&record)?;
    let known = store.images()?;
    let names = known
        .into_iter()
        .find(|image| image.record.manifest == record.manifest)
        .map(|image| image.names)
        .unwrap_or_default();
    let tags: Vec<String> = names.iter().map(|(name, _)| name.familiar()).collect();
    let digests: Vec<String> =
        names.iter().map(|(name, target)| format!("{}@{target}", name.familiar_name())).collect();
    let size = store.unpacked_size(&record.chain_ids())?;
    let layers: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    Ok(json!({
        "Id": record.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": size,
        "Config": config.config,
        "RootFS": { "Type": "layers", "Layers": layers },
    }))
}
