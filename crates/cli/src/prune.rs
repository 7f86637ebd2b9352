//! `prune` of containers, images, volumes, the build cache, and of everything.

use clap::Args;

use super::filter::{self, Filter};
use super::output;
use super::progress::Notices;
use crate::error::{Error, Result, file};
use husk_engine::clock;
use husk_engine::container::Container;
use husk_engine::container::sweep::sweep;
use husk_engine::events::{EventType, Journal};
use husk_engine::home::Home;
use husk_engine::image::{self, Removal};
use husk_engine::prune::{self, Pruned};
use husk_engine::{build, network, notice, remove, usage, volume};

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
    /// Remove only what was not changed since, as in until=24h
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
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

impl Plain {
    pub(super) fn containers(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &prune::FILTERS)?;
        if !agreed(self.common.force, "all stopped containers")? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.containers(home, &filters)?;
        pruning.report()
    }

    pub(super) fn networks(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &prune::FILTERS)?;
        if agreed(self.common.force, "all networks not used by at least one container")? {
            let mut pruning = Pruning::default();
            pruning.networks(home, &filters)?;
            return Ok(u8::from(pruning.failed));
        }
        Ok(0)
    }
}

impl Cache {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.filter, &["until"])?;
        if !agreed(self.force, "all results of build steps that no image uses")? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.cache(home, &filters)?;
        pruning.report()
    }
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &["until", "label", "dangling"])?;
        let request = image::PruneRequest { all: self.all, filters };
        let all = request.takes_all()?;
        let what = match all {
            true => "all images without at least one container associated to them",
            false => "all untagged images",
        };
        if !agreed(self.common.force, what)? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.images(home, &request)?;
        pruning.report()
    }
}

impl Volumes {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &["label", "all"])?;
        let request = volume::PruneRequest { all: self.all, filters };
        let all = request.takes_all()?;
        let what = match all {
            true => "all volumes not used by at least one container",
            false => "anonymous volumes not used by at least one container",
        };
        if !agreed(self.common.force, what)? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.volumes(home, &request)?;
        pruning.report()
    }
}

impl Everything {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let filters = filter::parse(&self.common.filter, &prune::FILTERS)?;
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
            let request = volume::PruneRequest { all: false, filters: filters.clone() };
            pruning.volumes(home, &request)?;
        }
        let request = image::PruneRequest { all: self.all, filters: filters.clone() };
        pruning.images(home, &request)?;
        if filters.is_empty() {
            pruning.cache(home, &[])?;
            pruning.freed += home.images()?.remove_partials()?;
        }
        pruning.report()
    }
}

/// Prints what was removed, one kind after another.
#[derive(Default)]
struct Pruning {
    freed: u64,
    failed: bool,
}

impl Pruning {
    /// Lists what was removed as Docker does: under its kind, an empty line after the last. What
    /// could not be removed is told.
    fn list<T>(
        &mut self,
        kind: &str,
        pruned: Pruned<T>,
        shown: impl Fn(&T) -> String,
    ) -> Result<()> {
        self.freed += pruned.freed;
        for error in pruned.failures {
            output::error(&error.into());
            self.failed = true;
        }
        if pruned.removed.is_empty() {
            return Ok(());
        }
        output::line(format_args!("Deleted {kind}:"))?;
        pruned.removed.iter().try_for_each(|one| output::line(shown(one)))?;
        output::line("")
    }

    fn report(&self) -> Result<u8> {
        let freed = output::size(self.freed);
        output::line(format_args!("Total reclaimed space: {freed}"))?;
        Ok(u8::from(self.failed))
    }

    fn containers(&mut self, home: &Home, filters: &[Filter]) -> Result<()> {
        let mut pruned = Pruned::default();
        pruned.add(sweep(home));
        for container in Container::all(home)? {
            let created = clock::instant(&container.record.created);
            if !prune::passes(filters, created, &container.record.config.labels)? {
                continue;
            }
            let bytes = usage::tree(&container.directory);
            let removed =
                container.lock().and_then(|_lock| remove::remove(home, &container, true, false));
            let id = container.id().to_owned();
            pruned.take(removed.map(|gone| gone.then_some((bytes, id))));
        }
        Journal::of(home).prune(EventType::Container, pruned.freed);
        self.list("Containers", pruned, String::clone)
    }

    fn networks(&mut self, home: &Home, filters: &[Filter]) -> Result<()> {
        let pruned = network::prune(home, filters)?;
        self.list("Networks", pruned, String::clone)
    }

    fn volumes(&mut self, home: &Home, request: &volume::PruneRequest) -> Result<()> {
        let pruned = volume::prune(home, request, &Notices)?;
        self.list("Volumes", pruned, String::clone)
    }

    fn images(&mut self, home: &Home, request: &image::PruneRequest) -> Result<()> {
        let pruned = image::prune(home, request, &Notices)?;
        self.list("Images", pruned, |removal| match removal {
            Removal::Untagged(name) => format!("untagged: {}", name.familiar()),
            Removal::Deleted(id) => format!("deleted: {id}"),
        })
    }

    fn cache(&mut self, home: &Home, filters: &[Filter]) -> Result<()> {
        self.freed += build::prune_cache(home, filters, &Notices)?;
        Ok(())
    }
}
