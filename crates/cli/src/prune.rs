//! `prune` of containers, images, volumes, the build cache, and of everything.

use clap::Args;
use husk_image::store::{Removal, StoreError};

use super::output;
use husk_engine::container::Container;
use husk_engine::container::sweep::{restore_pins, sweep};
use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::notice;
use husk_engine::remove;
use husk_engine::usage;
use husk_engine::volume::Volume;

/// Of one kind.
#[derive(Debug, Args)]
pub(super) struct Plain {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `image prune`.
#[derive(Debug, Args)]
pub(super) struct Images {
    /// All that no container is of
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `builder prune`.
#[derive(Debug, Args)]
pub(super) struct Cache {
    /// All of it, as is always done
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `volume prune`.
#[derive(Debug, Args)]
pub(super) struct Volumes {
    /// Also those with a name
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// `system prune`.
#[derive(Debug, Args)]
pub(super) struct Everything {
    /// All images that no container is of, not only those without a name
    #[arg(short, long)]
    all: bool,
    /// Anonymous volumes too
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Asks on standard error; no answer is no.
fn agreed(force: bool, what: &str) -> Result<bool> {
    if force {
        return Ok(true);
    }
    notice::write(format!("This removes {what}. Go on? [y/N] ").as_bytes());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(file("read", "standard input"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

impl Plain {
    pub(super) fn containers(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "all containers that do not run")? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.containers(home)?;
        pruning.report()
    }

    pub(super) fn networks(&self, home: &Home) -> Result<u8> {
        if agreed(self.force, "all networks that no container is on")? {
            let mut pruning = Pruning::default();
            pruning.networks(home)?;
            return Ok(u8::from(pruning.failed));
        }
        Ok(0)
    }
}

impl Cache {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "the results of all build steps that no image has")? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.cache(home)?;
        pruning.report()
    }
}

impl Images {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let what = match self.all {
            true => "all images that no container is of",
            false => "all images without a name",
        };
        if !agreed(self.force, what)? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.images(home, self.all)?;
        pruning.report()
    }
}

impl Volumes {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let what = match self.all {
            true => "all volumes that no container has",
            false => "all anonymous volumes that no container has",
        };
        if !agreed(self.force, what)? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.volumes(home, self.all)?;
        pruning.report()
    }
}

impl Everything {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let images_too = if self.all { "all unused images" } else { "images without a name" };
        let volumes_too = if self.volumes { ", unused anonymous volumes" } else { "" };
        let what = format!(
            "containers that do not run, unused networks, {images_too}{volumes_too}, and the build cache"
        );
        if !agreed(self.force, &what)? {
            return Ok(0);
        }
        let mut pruning = Pruning::default();
        pruning.containers(home)?;
        pruning.networks(home)?;
        if self.volumes {
            pruning.volumes(home, false)?;
        }
        pruning.images(home, self.all)?;
        pruning.cache(home)?;
        pruning.freed += home.images()?.remove_partials()?;
        pruning.report()
    }
}

/// Prunes one object after another: one that cannot be removed is told, and must not keep the
/// others. Gives the bytes that were freed; `failed` is the first failure.
#[derive(Default)]
struct Pruning {
    freed: u64,
    failed: bool,
}

impl Pruning {
    /// Takes the outcome of a removal: `Ok(None)` where the object is in use.
    fn take(&mut self, what: &str, outcome: Result<Option<(u64, String)>>) -> Result<()> {
        match outcome {
            Ok(Some((bytes, name))) => {
                self.freed += bytes;
                output::line(format_args!("Deleted {what}: {name}"))
            }
            Ok(None) => Ok(()),
            // One that another removes at the same time is gone as well.
            Err(Error::NoContainer(_) | Error::NoVolume(_) | Error::VolumeInUse { .. }) => Ok(()),
            Err(error @ Error::ReaderGone) => Err(error),
            Err(error) => {
                self.fail(&error);
                Ok(())
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        output::error(error);
        self.failed = true;
    }

    /// The bytes of a step that may fail as a whole, and then must not keep the next.
    fn add(&mut self, freed: Result<u64>) -> Result<()> {
        match freed {
            Ok(freed) => self.freed += freed,
            Err(error @ Error::ReaderGone) => return Err(error),
            Err(error) => self.fail(&error),
        }
        Ok(())
    }

    fn report(&self) -> Result<u8> {
        let freed = output::size(self.freed);
        output::line(format_args!("Total reclaimed space: {freed}"))?;
        Ok(u8::from(self.failed))
    }

    fn containers(&mut self, home: &Home) -> Result<()> {
        let swept = sweep(home);
        self.add(swept)?;
        for container in Container::all(home)? {
            let bytes = usage::tree(&container.directory);
            let removed =
                container.lock().and_then(|_lock| remove::remove(home, &container, true, false));
            let id = container.id().to_owned();
            self.take("container", removed.map(|gone| gone.then_some((bytes, id))))?;
        }
        Ok(())
    }

    fn networks(&mut self, home: &Home) -> Result<()> {
        let nets = home.networks()?;
        let mut used = std::collections::HashSet::new();
        for container in Container::all(home)? {
            used.extend(container.record.config.networks);
        }
        for network in nets.list()? {
            if used.contains(&network.name) || network.name == "bridge" {
                continue;
            }
            let removed = match nets.remove(&network.name) {
                Err(
                    husk_net::Error::NoSuchNetwork { .. } | husk_net::Error::NetworkInUse { .. },
                ) => Ok(None),
                removed => removed.map(|()| Some((0, network.name))).map_err(Error::from),
            };
            self.take("network", removed)?;
        }
        Ok(())
    }

    fn volumes(&mut self, home: &Home, all: bool) -> Result<()> {
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
            let bytes = usage::tree(&husk_engine::volume::data(home, &volume.name));
            let removed = Volume::remove(home, &volume.name);
            self.take("volume", removed.map(|()| Some((bytes, volume.name))))?;
        }
        Ok(())
    }

    fn images(&mut self, home: &Home, all: bool) -> Result<()> {
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
                        output::line(format_args!("Untagged: {}", name.familiar()))?;
                    }
                    Removal::Deleted(id) => output::line(format_args!("Deleted image: {id}"))?,
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
            notice::notice("a pull or build is under way: what it may need stays");
        }
        self.freed += before.saturating_sub(usage::store(&store)?);
        Ok(())
    }
}
