//! What each kind of object has on the disk, and what of that could be freed.

use crate::container::Container;
use crate::container::state::Status;
use crate::error::Result;
use crate::home::Home;
use crate::usage;
use crate::volume::{self, Volume};

/// What one kind of object has on the disk. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub total: usize,
    /// How many are in use.
    pub active: usize,
    /// What they have.
    pub size: u64,
    /// What of that a prune of all unused would free.
    pub reclaimable: u64,
}

/// The disk usage of every kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images; in use are those of containers.
    pub images: Share,
    /// Containers' changes to their images, and logs; in use are those that run.
    pub containers: Share,
    /// Volumes; in use are those of containers.
    pub volumes: Share,
    /// Results of build steps and cache mounts.
    pub build_cache: Share,
    /// Beginnings of blobs whose transfer broke off.
    pub partial_pulls: Share,
}

/// Adds up what is on the disk.
///
/// # Errors
/// Records that cannot be read.
pub fn disk_usage(home: &Home) -> Result<DiskUsage> {
    let store = home.images()?;
    let used = store.usage()?;
    let pins = store.pins()?;
    let images = store.images()?;
    let pinned = |one: &&husk_image::store::Image| {
        pins.iter().any(|(_, manifest)| *manifest == one.record.manifest)
    };
    let active = images.iter().filter(pinned).count();
    let images = Share { total: images.len(), active, size: used.images, reclaimable: used.unused };

    let mut containers = Share::default();
    for container in Container::all(home)? {
        let bytes = usage::tree(&container.directory);
        containers.total += 1;
        containers.size += bytes;
        match container.state()?.status {
            Status::Running | Status::Restarting => containers.active += 1,
            _ => containers.reclaimable += bytes,
        }
    }
    let mut volumes = Share::default();
    for volume in Volume::all(home)? {
        let bytes = usage::tree(&volume::data(home, &volume.name));
        volumes.total += 1;
        volumes.size += bytes;
        match Volume::user(home, &volume.name)? {
            Some(_) => volumes.active += 1,
            None => volumes.reclaimable += bytes,
        }
    }
    let cached = used.steps + usage::tree(&store.cache_mounts());
    let build_cache =
        Share { total: used.step_count, active: 0, size: cached, reclaimable: cached };
    let partial_pulls = Share { size: used.partial, reclaimable: used.partial, ..Share::default() };
    Ok(DiskUsage { images, containers, volumes, build_cache, partial_pulls })
}
