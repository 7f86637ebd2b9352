//! `prune` of containers, images, volumes, the build cache, and of everything.

use std::collections::BTreeMap;

use clap::Args;
use husk_image::store::{Removal, StoreError};

use super::filter::{self, Filter};
use super::output;
use crate::error::{EngineError, Error, Result, file};
use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::sweep::{restore_pins, sweep};
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
        let mut pruning = Pruning::default();
        pruning.containers(home, &filters)?;
        pruning.report()
    }

    pub(super) fn networks(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &FILTERS)?;
        if agreed(self.common.force, "all networks not used by at least one container")? {
            let mut pruning = Pruning::default();
            pruning.networks(home, &filters)?;
            pruning.end_list()?;
            return Ok(u8::from(pruning.failed));
        }
        Ok(0)
    }
}

impl Cache {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "all results of build steps that no image uses")? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.cache(home)?;
        pruning.report()
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
        let mut pruning = Pruning::default();
        pruning.images(home, all, &filters)?;
        pruning.report()
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
        let mut pruning = Pruning::default();
        pruning.volumes(home, all, &filters)?;
        pruning.report()
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
        let mut pruning = Pruning::default();
        pruning.containers(home, &filters)?;
        pruning.networks(home, &filters)?;
        if self.volumes {
            pruning.volumes(home, false, &filters)?;
        }
        pruning.images(home, self.all, &filters)?;
        if filters.is_empty() {
            pruning.cache(home)?;
            pruning.freed += home.images()?.remove_partials()?;
        }
        pruning.report()
    }
}

/// Prunes one object after another: one that cannot be removed is told, and must not keep the
/// others. Gives the bytes that were freed; `failed` is the first failure.
#[derive(Default)]
struct Pruning {
    freed: u64,
    failed: bool,
    /// The kind of what was removed last, whose list is open.
    listed: Option<&'static str>,
}

impl Pruning {
    /// Takes the outcome of a removal: `Ok(None)` where the object is in use.
    fn take(
        &mut self,
        what: &'static str,
        outcome: Result<Option<(u64, String)>, impl Into<Error>>,
    ) -> Result<()> {
        match outcome.map_err(Into::into) {
            Ok(Some((bytes, name))) => {
                self.freed += bytes;
                self.deleted(what, name)
            }
            Ok(None) => Ok(()),
            // One that another removes at the same time is gone as well.
            Err(Error::Engine(
                EngineError::NoContainer(_)
                | EngineError::NoVolume(_)
                | EngineError::VolumeInUse { .. },
            )) => Ok(()),
            Err(error @ Error::ReaderGone) => Err(error),
            Err(error) => {
                self.fail(&error);
                Ok(())
            }
        }
    }

    /// Lists what was removed as Docker does: under its kind, an empty line after the last.
    fn deleted(&mut self, kind: &'static str, name: String) -> Result<()> {
        if self.listed != Some(kind) {
            self.end_list()?;
            output::line(format_args!("Deleted {kind}:"))?;
            self.listed = Some(kind);
        }
        output::line(name)
    }

    fn end_list(&mut self) -> Result<()> {
        match self.listed.take() {
            Some(_) => output::line(""),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: &Error) {
        output::error(error);
        self.failed = true;
    }

    /// The bytes of a step that may fail as a whole, and then must not keep the next.
    fn add(&mut self, freed: Result<u64, impl Into<Error>>) -> Result<()> {
        match freed.map_err(Into::into) {
            Ok(freed) => self.freed += freed,
            Err(error @ Error::ReaderGone) => return Err(error),
            Err(error) => self.fail(&error),
        }
        Ok(())
    }

    fn report(&mut self) -> Result<u8> {
        self.end_list()?;
        let freed = output::size(self.freed);
        output::line(format_args!("Total reclaimed space: {freed}"))?;
        Ok(u8::from(self.failed))
    }

    fn containers(&mut self, home: &Home, filters: &[Filter<'_>]) -> Result<()> {
        let swept = sweep(home);
        self.add(swept)?;
        for container in Container::all(home)? {
            let created = clock::instant(&container.record.created);
            if !passes(filters, created, &container.record.config.labels)? {
                continue;
            }
            let bytes = usage::tree(&container.directory);
            let removed =
                container.lock().and_then(|_lock| remove::remove(home, &container, true, false));
            let id = container.id().to_owned();
            self.take("Containers", removed.map(|gone| gone.then_some((bytes, id))))?;
        }
        Ok(())
    }

    fn networks(&mut self, home: &Home, filters: &[Filter<'_>]) -> Result<()> {
        let nets = home.networks()?;
        let mut used = std::collections::HashSet::new();
        for container in Container::all(home)? {
            used.extend(container.record.config.networks);
        }
        for network in nets.list()? {
            let is_used = used.iter().any(|value| husk_net::network_name(value) == network.name);
            if is_used || network.name == "bridge" {
                continue;
            }
            let created = clock::seconds(&network.created.to_string());
            if !passes(filters, created, &network.labels)? {
                continue;
            }
            let removed = match nets.remove(&network.name) {
                Err(
                    husk_net::Error::NoSuchNetwork { .. } | husk_net::Error::NetworkInUse { .. },
                ) => Ok(None),
                removed => removed.map(|()| Some((0, network.name))).map_err(Error::from),
            };
            self.take("Networks", removed)?;
        }
        Ok(())
    }

    fn volumes(&mut self, home: &Home, all: bool, filters: &[Filter<'_>]) -> Result<()> {
        let (_, damaged) = Container::survey(home)?;
        if let Some((id, _)) = damaged.first() {
            let id = husk_engine::container::name::short(id);
            notice::notice(format_args!(
                "volumes stay: the record of container {id} is damaged, and which it has is not \
                 known (\"husk rm -f {id}\" removes it)"
            ));
            return Ok(());
        }
        self.add(Volume::sweep(home))?;
        for volume in Volume::all(home)? {
            // What one was made for is lost with its record.
            let wanted = all || volume.anonymous;
            if !wanted || volume.damage.is_some() || Volume::user(home, &volume.name)?.is_some() {
                continue;
            }
            if !passes(filters, clock::instant(&volume.created), &volume.labels)? {
                continue;
            }
            let bytes = usage::tree(&husk_engine::volume::data(home, &volume.name));
            let removed = Volume::remove(home, &volume.name);
            self.take("Volumes", removed.map(|()| Some((bytes, volume.name))))?;
        }
        Ok(())
    }

    fn images(&mut self, home: &Home, all: bool, filters: &[Filter<'_>]) -> Result<()> {
        // A pin of a container that is no more would keep its image, and one that was lost
        // would not keep it.
        let swept = sweep(home).and_then(|_| restore_pins(home)).map(|()| 0);
        self.add(swept)?;
        let store = home.images()?;
        let before = usage::store(&store)?;
        let damaged = store.damaged()?;
        if let (Some(error), false) = (damaged.first(), all) {
            // An image whose name cannot be read looks like one without.
            notice::notice(format_args!("images stay: {error}"));
            return Ok(());
        }
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
            let removals = match store.remove(&image.record.manifest.to_string(), true) {
                // Another removes it at the same time.
                Err(StoreError::NoImage(_)) => continue,
                Err(error) => {
                    self.fail(&error.into());
                    continue;
                }
                Ok(removals) => removals,
            };
            for removal in removals {
                match removal {
                    Removal::Untagged(name) => {
                        self.deleted("Images", format!("untagged: {}", name.familiar()))?;
                    }
                    Removal::Deleted(id) => self.deleted("Images", format!("deleted: {id}"))?,
                }
            }
        }
        self.freed += before.saturating_sub(usage::store(&store)?);
        Ok(())
    }

    fn cache(&mut self, home: &Home) -> Result<()> {
        let store = home.images()?;
        let before = usage::store(&store)?;
        store.remove_steps()?;
        store.remove_cache_mounts()?;
        if store.collect()?.busy {
            notice::notice("skipped objects in use by a running pull or build");
        }
        self.freed += before.saturating_sub(usage::store(&store)?);
        Ok(())
    }
}
