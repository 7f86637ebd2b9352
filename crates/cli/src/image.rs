//! Commands of the images in the store.

use clap::Args;
use husk_image::digest::Digest;
use husk_image::reference::Reference;
use husk_image::store::{ImageRecord, Removal, Store, StoreError};
use serde_json::{Value, json};

use super::filter::{self, Filter};
use super::{for_each, output};
use crate::error::{Error, Result};
use crate::template::{Nil, OMITTED, nil};
use husk_engine::clock;
use husk_engine::container::sweep::{restore_pins, sweep};
use husk_engine::container::{Container, Source};
use husk_engine::home::Home;
use husk_engine::notice;

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

const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

fn created(record: &ImageRecord) -> Option<clock::Instant> {
    record.created.as_deref().and_then(clock::instant)
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let store = home.images()?;
        // A name, or as of `--filter reference=` a pattern.
        let wanted = self.repository.as_deref();
        let named: Option<Reference> = wanted.and_then(|text| text.parse().ok());
        let filters = filter::parse(&self.filter, &FILTERS)?;
        for filter in filters.iter().filter(|one| matches!(one.name, "before" | "since")) {
            store.find(filter.value)?;
        }
        let mut rows = Vec::new();
        store.damaged()?.iter().for_each(notice::notice);
        for image in store.images()? {
            let size = store.unpacked_size(&image.record.chain_ids())?;
            let names = image.names.iter().map(|(name, target)| (Some(name), *target));
            let dangling = image.names.is_empty().then_some((None, image.record.manifest));
            for (reference, target) in names.chain(dangling) {
                let matches = match (wanted, reference) {
                    (None, _) => true,
                    (Some(pattern), Some(name)) => {
                        filter::matches(pattern, &name.familiar_name())
                            || filter::matches(pattern, &name.familiar())
                            || named.as_ref().is_some_and(|wanted| {
                                wanted.name() == name.name()
                                    && wanted.tag().is_none_or(|tag| name.tag() == Some(tag))
                            })
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
            "before" => Ok(created(record) < created(&store.find(filter.value)?)),
            "since" => Ok(created(record) > created(&store.find(filter.value)?)),
            "until" => filter.is_before(created(record)),
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
    let store = home.images()?;
    let listed = Images::default();
    let images = store.images()?;
    let mut users: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    for image in &images {
        for layer in image.record.chain_ids() {
            *users.entry(layer).or_default() += 1;
        }
    }
    let pins = store.pins()?;
    let mut rows = Vec::new();
    for image in images {
        let (mut shared, mut unique) = (0, 0);
        for layer in store.layers(&image.record.chain_ids())? {
            match users.get(&layer.chain_id) {
                Some(2..) => shared += layer.record.size,
                _ => unique += layer.record.size,
            }
        }
        let containers = pins.iter().filter(|(_, manifest)| *manifest == image.record.manifest);
        let containers = containers.count().to_string();
        let names = image.names.iter().map(|(name, target)| (Some(name), *target));
        let untagged = image.names.is_empty().then_some((None, image.record.manifest));
        for (reference, target) in names.chain(untagged) {
            let mut row = listed.row(&image.record, reference, target, shared + unique);
            row["SharedSize"] = output::size(shared).into();
            row["UniqueSize"] = output::size(unique).into();
            row["Containers"] = containers.clone().into();
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Bytes of a container's image; 0 where it has none, or none that is there.
pub(super) fn size_of(home: &Home, container: &Container) -> u64 {
    let Source::Image { manifest, .. } = &container.record.source else { return 0 };
    let layers = home.images().and_then(|store| {
        let record = store.image(manifest)?;
        Ok(store.layers(&record.chain_ids())?)
    });
    layers.unwrap_or_default().iter().map(|layer| layer.record.size).sum()
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
        // A pin of a container that is no more would keep its image.
        sweep(home)?;
        restore_pins(home)?;
        let store = home.images()?;
        for_each(&self.images, |name| {
            let removed = match store.remove(name, self.force) {
                // As Docker: said, and no failure.
                Err(error @ StoreError::NoImage(_)) if self.force => {
                    output::error(&error.into());
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
        let store = home.images()?;
        let record = store.find(&self.image)?;
        let reference: Reference = self.name.parse()?;
        if reference.digest().is_some() {
            return Err(Error::other(format_args!(
                "{}: cannot tag a name with a digest",
                self.name
            )));
        }
        store.tag(&reference.or_latest(), &record.manifest, &record.manifest)?;
        Ok(0)
    }
}

/// `history`.
#[derive(Debug, Args)]
pub(super) struct History {
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
    let comment = config.history.as_ref().and_then(|history| history.last()?.comment.clone());
    let mut shown = json!({
        "Id": record.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment.unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author.unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "GraphDriver": graph_driver(&store, &record)?,
        "Config": run_config(config.config)?,
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        OMITTED: { "Variant": "", "OsVersion": "", "VirtualSize": size },
    });
    if let Some(variant) = config.variant.filter(|variant| !variant.is_empty()) {
        shown["Variant"] = variant.into();
    }
    Ok(shown)
}

/// The directories of the image's layers.
fn graph_driver(store: &Store, record: &ImageRecord) -> Result<Value> {
    let layers = store.layers(&record.chain_ids())?;
    let mut paths = layers.iter().rev().map(|layer| layer.path.display().to_string());
    let upper = paths.next().unwrap_or_default();
    let lower: Vec<String> = paths.collect();
    Ok(json!({ "Name": "overlay", "Data": { "UpperDir": upper, "LowerDir": lower.join(":") } }))
}

/// The image's Config with the fields that Docker always has, null where they are not set.
fn run_config(config: Option<husk_image::config::RunConfig>) -> Result<Value> {
    let mut shown = serde_json::to_value(config.unwrap_or_default()).map_err(Error::other)?;
    let mut omitted = json!({});
    let fields = [
        ("Cmd", nil(Nil::List), true),
        ("Entrypoint", nil(Nil::List), true),
        ("Env", nil(Nil::List), true),
        ("Labels", nil(Nil::Map), true),
        ("OnBuild", nil(Nil::List), true),
        ("User", "".into(), true),
        ("Volumes", nil(Nil::Map), true),
        ("WorkingDir", "".into(), true),
        ("ExposedPorts", nil(Nil::Map), false),
        ("Healthcheck", Value::Null, false),
        ("Shell", nil(Nil::List), false),
        ("StopSignal", "".into(), false),
        ("ArgsEscaped", false.into(), false),
        ("Image", "".into(), false),
    ];
    for (name, none, always) in fields {
        if shown.get(name).is_none() {
            let into = if always { &mut shown } else { &mut omitted };
            into[name] = none;
        }
    }
    shown[OMITTED] = omitted;
    Ok(shown)
}
