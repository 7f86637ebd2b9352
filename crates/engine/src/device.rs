//! Device nodes that a container is given.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use husk_spec::Device;

use crate::error::{Error, Field, Result, file};
use crate::rootless;

fn device(path: &Path, inside: &str) -> Result<Option<Device>> {
    let meta = std::fs::metadata(path).map_err(file("stat", path))?;
    let typ = match meta.file_type() {
        typ if typ.is_char_device() => "c",
        typ if typ.is_block_device() => "b",
        _ => return Ok(None),
    };
    let number = |number: u32| Some(i64::from(number));
    // In a user namespace the host's node is bound as it is, and so nothing is asked of it.
    let own = !rootless::is_rootless();
    Ok(Some(Device {
        typ: typ.to_owned(),
        path: inside.to_owned(),
        major: number(rustix::fs::major(meta.rdev())),
        minor: number(rustix::fs::minor(meta.rdev())),
        file_mode: own.then(|| meta.mode() & 0o777),
        uid: own.then(|| meta.uid()),
        gid: own.then(|| meta.gid()),
    }))
}

/// Major and minor number of a block device.
///
/// # Errors
/// A path that is none, by the field's name.
pub fn block_number(field: Field, path: &str) -> Result<(i64, i64)> {
    let failed = |error: std::io::Error| Error::field(field, path, error.to_string());
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.file_type().is_block_device() {
        return Err(Error::field(field, path, "is not a block device"));
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    Ok((i64::from(major), i64::from(minor)))
}

/// The devices of `--device`: host path, path inside, access.
///
/// # Errors
/// A path that is no device.
pub fn asked(devices: &[(String, String, String)]) -> Result<Vec<(Device, String)>> {
    let mut found = Vec::new();
    for (path, inside, access) in devices {
        match device(Path::new(path), inside)? {
            Some(device) => found.push((device, access.clone())),
            None => {
                return Err(Error::field(
                    Field::Devices,
                    path,
                    "is not a character or block device",
                ));
            }
        }
    }
    Ok(found)
}

/// Every node of the host's /dev that the runtime does not make itself. What cannot be
/// looked at is left out: nodes come and go.
pub fn of_host() -> Vec<Device> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), &mut devices, 0);
    devices
}

fn collect(directory: &Path, devices: &mut Vec<Device>, depth: u32) {
    const OWN: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(typ) = entry.file_type() else { continue };
        let name = entry.file_name();
        let top = depth == 0 && name.to_str().is_some_and(|name| OWN.contains(&name));
        // pts and shm are mounts of the container's own.
        let own = depth == 0 && (name == "pts" || name == "shm" || name == "mqueue");
        if typ.is_dir() && !own && depth < 4 {
            collect(&path, devices, depth + 1);
        } else if !top
            && let Some(text) = path.to_str()
            && (typ.is_char_device() || typ.is_block_device())
        {
            devices.extend(device(&path, text).ok().flatten());
        }
    }
}
