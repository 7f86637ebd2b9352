//! `prune` of containers, images, volumes, the build cache, and of everything.

use std::collections::BTreeMap;

use clap::Args;
use husk_image::store::Removal;

use super::filter::{self, Filter};
use super::output;
use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::sweep::sweep;
use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::notice;
use husk_engine::remove;
use husk_engine::usage;
use husk_engine::volume::Volume;

/// `--force` and `--filter`.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
    /// Remove only what matches, such as until=24h or label=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

/// `container prune` and `network prune`.
#[derive(Debug, Args)]
pub(super) struct Plain {
    #[command(flatten)]
    common: Common,
}

/// `builder prune`.
#[derive(Debug, Args)]
pub(super) struct Cache {
    /// Has no effect: all unused results are removed in any case
    #[arg(short, long)]
    all: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

/// `image prune`.
#[derive(Debug, Args)]
pub(super) struct Images {
    /// Remove all unused images, not just untagged ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// `volume prune`.
#[derive(Debug, Args)]
pub(super) struct Volumes {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

/// `system prune`.
#[derive(Debug, Args)]
pub(super) struct Everything {
    /// Remove all unused images, not just untagged ones
    #[arg(short, long)]
    all: bool,
    /// Remove unused anonymous volumes too
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    common: Common,
}

/// Asks on standard error; no answer is no.
fn agreed(force: bool, what: &str) -> Result<bool> {
    if force {
        return Ok(true);
    }
    notice::write(format!("This will remove {what}. Continue? [y/N] ").as_bytes());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(file("read", "standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn report(freed: u64) -> Result<u8> {
    output::line(format_args!("Total reclaimed space: {}", output::size(freed))).map(|()| 0)
}

/// What was removed, as Docker lists it.
fn list_deleted(kind: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    output::line(format_args!("Deleted {kind}:\n{}\n", names.join("\n")))
}

/// What may be pruned.
const FILTERS: [&str; 2] = ["until", "label"];

/// Whether something that was made then and has these labels passes.
fn passes(
    filters: &[Filter<'_>],
    created: Option<clock::Instant>,
    labels: &BTreeMap<String, String>,
) -> Result<bool> {
    filter::all_pass(filters, |filter| match filter.name {
        "until" => filter.is_before(created),
        _ => Ok(filter.has_label(labels)),
    })
}

impl Plain {
    pub(super) fn containers(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &FILTERS)?;
        if !agreed(self.common.force, "all stopped containers")? {
            return Ok(0);
        }
        report(containers(home, &filters)?)
    }

    pub(super) fn networks(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &FILTERS)?;
        if agreed(self.common.force, "all networks not used by at least one container")? {
            networks(home, &filters)?;
        }
        Ok(0)
    }
}

impl Cache {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "all results of build steps that no image uses")? {
            return Ok(0);
        }
        report(cache(home)?)
    }
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &["until", "label", "dangling"])?;
        let mut all = self.all;
        for filter in filters.iter().filter(|filter| filter.name == "dangling") {
            all = !filter.truth()?;
        }
        let filters: Vec<_> =
            filters.into_iter().filter(|filter| filter.name != "dangling").collect();
        let what = match all {
            true => "all images without at least one container associated to them",
            false => "all untagged images",
        };
        if !agreed(self.common.force, what)? {
            return Ok(0);
        }
        report(images(home, all, &filters)?)
    }
}

impl Volumes {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &["label", "all"])?;
        let mut all = self.all;
        for filter in filters.iter().filter(|filter| filter.name == "all") {
            all = filter.truth()?;
        }
        let filters: Vec<_> = filters.into_iter().filter(|filter| filter.name != "all").collect();
        let what = match all {
            true => "all volumes not used by at least one container",
            false => "anonymous volumes not used by at least one container",
        };
        if !agreed(self.common.force, what)? {
            return Ok(0);
        }
        report(volumes(home, all, &filters)?)
    }
}

impl Everything {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &FILTERS)?;
        if self.volumes
            && let Some(until) = self.common.filter.iter().find(|text| text.starts_with("until"))
        {
            let problem = "cannot be combined with --volumes, which have no such filter";
            return Err(Error::flag("--filter", until, problem));
        }
        let images_too = if self.all { "all unused images" } else { "untagged images" };
        let volumes_too = if self.volumes { ", unused anonymous volumes" } else { "" };
        // The results of build steps have neither a time nor labels.
        let cache_too = if filters.is_empty() { ", and the build cache" } else { "" };
        let what =
            format!("stopped containers, unused networks, {images_too}{volumes_too}{cache_too}");
        if !agreed(self.common.force, &what)? {
            return Ok(0);
        }
        let mut freed = containers(home, &filters)?;
        networks(home, &filters)?;
        if self.volumes {
            freed += volumes(home, false, &filters)?;
        }
        freed += images(home, self.all, &filters)?;
        if filters.is_empty() {
            freed += cache(home)?;
            freed += home.images()?.remove_partials()?;
        }
        report(freed)
    }
}

fn containers(home: &Home, filters: &[Filter<'_>]) -> Result<u64> {
    let mut freed = sweep(home)?;
    let mut deleted = Vec::new();
    for container in Container::all(home)? {
        let created = clock::instant(&container.record.created);
        if !passes(filters, created, &container.record.config.labels)? {
            continue;
        }
        let bytes = usage::tree(&container.directory);
        match container.lock().and_then(|_lock| remove::remove(home, &container, true, false)) {
            Ok(true) => {
                freed += bytes;
                deleted.push(container.id().to_owned());
            }
            // One that another removes at the same time is gone as well.
            Ok(false) | Err(Error::NoContainer(_)) => {}
            Err(error) => return Err(error),
        }
    }
    list_deleted("Containers", &deleted).map(|()| freed)
}

fn networks(home: &Home, filters: &[Filter<'_>]) -> Result<()> {
    let nets = home.networks()?;
    let mut used = std::collections::HashSet::new();
    let mut deleted = Vec::new();
    for container in Container::all(home)? {
        used.extend(container.record.config.networks);
    }
    for network in nets.list()? {
        let busy = used.contains(&network.name) || !nets.endpoints(Some(&network.name))?.is_empty();
        let created = clock::seconds(&network.created.to_string());
        if busy || network.name == "bridge" || !passes(filters, created, &network.labels)? {
            continue;
        }
        nets.remove(&network.name)?;
        deleted.push(network.name);
    }
    list_deleted("Networks", &deleted)
}

fn volumes(home: &Home, all: bool, filters: &[Filter<'_>]) -> Result<u64> {
    let mut freed = Volume::sweep(home)?;
    let mut deleted = Vec::new();
    for volume in Volume::all(home)? {
        if !(all || volume.anonymous) || Volume::user(home, &volume.name)?.is_some() {
            continue;
        }
        if !passes(filters, clock::instant(&volume.created), &volume.labels)? {
            continue;
        }
        let bytes = usage::tree(&husk_engine::volume::data(home, &volume.name));
        Volume::remove(home, &volume.name)?;
        freed += bytes;
        deleted.push(volume.name);
    }
    list_deleted("Volumes", &deleted).map(|()| freed)
}

fn images(home: &Home, all: bool, filters: &[Filter<'_>]) -> Result<u64> {
    // A pin of a container that is no more would keep its image.
    sweep(home)?;
    let store = home.images()?;
    let before = usage::store(&store)?;
    let mut deleted = Vec::new();
    let pinned: Vec<_> = store.pins()?.into_iter().map(|(_, manifest)| manifest).collect();
    for image in store.images()? {
        if pinned.contains(&image.record.manifest) || !(all || image.names.is_empty()) {
            continue;
        }
        if !filters.is_empty() {
            let config = store.config(&image.record)?.config.unwrap_or_default();
            let created = image.record.created.as_deref().and_then(clock::instant);
            if !passes(filters, created, &config.labels.unwrap_or_default())? {
                continue;
            }
        }
        // By its digest it goes with all its names.
        for removal in store.remove(&image.record.manifest.to_string(), true)? {
            match removal {
                Removal::Untagged(name) => deleted.push(format!("untagged: {}", name.familiar())),
                Removal::Deleted(id) => deleted.push(format!("deleted: {id}")),
            }
        }
    }
    list_deleted("Images", &deleted)?;
    Ok(before.saturating_sub(usage::store(&store)?))
}

fn cache(home: &Home) -> Result<u64> {
    let store = home.images()?;
    let before = usage::store(&store)?;
    store.remove_steps()?;
    store.remove_cache_mounts()?;
    if store.collect()?.busy {
        notice::notice("skipped objects in use by a running pull or build");
    }
    Ok(before.saturating_sub(usage::store(&store)?))
}
