//! What volumes have on the disk.

use super::{Volume, data};
use crate::container::Container;
use crate::container::config::Mount;
use crate::error::Result;
use crate::home::Home;
use crate::usage;

/// A volume and what it has on the disk.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// How many containers have it.
    pub links: usize,
    /// Bytes.
    pub size: u64,
}

/// Every volume's share of the disk, by name.
///
/// # Errors
/// Records that cannot be read.
pub fn usage(home: &Home) -> Result<Vec<VolumeUsage>> {
    let containers = Container::all(home)?;
    let mut all = Vec::new();
    for volume in Volume::all(home)? {
        let has =
            |mount: &Mount| matches!(mount, Mount::Volume { name, .. } if *name == volume.name);
        let users = containers.iter().filter(|one| one.record.config.mounts.iter().any(has));
        let (links, size) = (users.count(), usage::tree(&data(home, &volume.name)));
        all.push(VolumeUsage { volume, links, size });
    }
    Ok(all)
}
