//! `prune` of containers, images, volumes, the build cache, and of everything.

use clap::Args;
use husk_image::store::Removal;

use super::output;
use husk_engine::container::Container;
use husk_engine::container::sweep::sweep;
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

fn report(freed: u64) -> Result<u8> {
    output::line(format_args!("Total reclaimed space: {}", output::size(freed))).map(|()| 0)
}

impl Plain {
    pub(super) fn containers(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "all containers that do not run")? {
            return Ok(0);
        }
        report(containers(home)?)
    }

    pub(super) fn networks(&self, home: &Home) -> Result<u8> {
        if agreed(self.force, "all networks that no container is on")? {
            networks(home)?;
        }
        Ok(0)
    }
}

impl Cache {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if !agreed(self.force, "the results of all build steps that no image has")? {
            return Ok(0);
        }
        report(cache(home)?)
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
        report(images(home, self.all)?)
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
        report(volumes(home, self.all)?)
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
        let mut freed = containers(home)?;
        networks(home)?;
        if self.volumes {
            freed += volumes(home, false)?;
        }
        freed += images(home, self.all)?;
        freed += cache(home)?;
        freed += home.images()?.remove_partials()?;
        report(freed)
    }
}

fn containers(home: &Home) -> Result<u64> {
    let mut freed = sweep(home)?;
    for container in Container::all(home)? {
        let bytes = usage::tree(&container.directory);
        match container.lock().and_then(|_lock| remove::remove(home, &container, true, false)) {
            Ok(true) => {
                freed += bytes;
                output::line(format_args!("Deleted container: {}", container.id()))?;
            }
            // One that another removes at the same time is gone as well.
            Ok(false) | Err(Error::NoContainer(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(freed)
}

fn networks(home: &Home) -> Result<()> {
    let nets = home.networks()?;
    let mut used = std::collections::HashSet::new();
    for container in Container::all(home)? {
        used.extend(container.record.config.networks);
    }
    for network in nets.list()? {
        let busy = used.contains(&network.name) || !nets.endpoints(Some(&network.name))?.is_empty();
        if busy || network.name == "bridge" {
            continue;
        }
        nets.remove(&network.name)?;
        output::line(format_args!("Deleted network: {}", network.name))?;
    }
    Ok(())
}

fn volumes(home: &Home, all: bool) -> Result<u64> {
    let mut freed = Volume::sweep(home)?;
    for volume in Volume::all(home)? {
        if !(all || volume.anonymous) || Volume::user(home, &volume.name)?.is_some() {
            continue;
        }
        let bytes = usage::tree(&husk_engine::volume::data(home, &volume.name));
        Volume::remove(home, &volume.name)?;
        freed += bytes;
        output::line(format_args!("Deleted volume: {}", volume.name))?;
    }
    Ok(freed)
}

fn images(home: &Home, all: bool) -> Result<u64> {
    // A pin of a container that is no more would keep its image.
    sweep(home)?;
    let store = home.images()?;
    let before = usage::store(&store)?;
    let pinned: Vec<_> = store.pins()?.into_iter().map(|(_, manifest)| manifest).collect();
    for image in store.images()? {
        if pinned.contains(&image.record.manifest) || !(all || image.names.is_empty()) {
            continue;
        }
        // By its digest it goes with all its names.
        for removal in store.remove(&image.record.manifest.to_string(), true)? {
            match removal {
                Removal::Untagged(name) => {
                    output::line(format_args!("Untagged: {}", name.familiar()))?;
                }
                Removal::Deleted(id) => output::line(format_args!("Deleted image: {id}"))?,
            }
        }
    }
    Ok(before.saturating_sub(usage::store(&store)?))
}

fn cache(home: &Home) -> Result<u64> {
    let store = home.images()?;
    let before = usage::store(&store)?;
    store.remove_steps()?;
    store.remove_cache_mounts()?;
    if store.collect()?.busy {
        notice::notice("a pull or build is under way: what it may need stays");
    }
    Ok(before.saturating_sub(usage::store(&store)?))
}
