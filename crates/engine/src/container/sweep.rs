//! What is left of containers whose making or removal was cut short: a kill, a lost battery.
//!
//! A container is made in the order directory, pin, name, record, and removed in the order
//! record, name, directories, pin. So what has no record is the rest of one, unless it is just
//! being made; that is done under the store's activity lock.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Container, Source, directory_of, names_of, remove_directory};
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::lock::Lock;
use crate::runtime::Runtime;
use crate::{connection, rootfs, usage};

/// How long the monitor of a container is waited for whose process was killed.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const RETRY: Duration = Duration::from_millis(5);

/// Removes it, and gives its bytes. Where something is being made nothing is done: the next
/// sweep finds the same.
///
/// # Errors
/// What could not be undone.
pub fn sweep(home: &Home) -> Result<u64> {
    let store = home.images()?;
    let Some(_quiet) = store.quiet()? else { return Ok(0) };
    let is_rest = |id: &str| {
        id.len() == 64
            && !directory_of(home, id).join("container.json").exists()
            && !Lock::is_held(&Container::monitor_lock_of(home, id))
    };
    let mut rests = Container::ids(home)?;
    rests.extend(names_in(&home.run.join("containers"))?);
    let pins: Vec<String> = store.pins()?.into_iter().map(|(id, _)| id).collect();
    rests.extend(pins.iter().cloned());
    rests.sort();
    rests.dedup();
    rests.retain(|id| is_rest(id));
    let mut freed = 0;
    // One that cannot be removed must not keep the others.
    let mut failed = Ok(());
    for id in &rests {
        match remove(home, id).and_then(|bytes| Ok(store.unpin(id).map(|()| bytes)?)) {
            Ok(bytes) => freed += bytes,
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    for name in names_in(&names_of(home))? {
        let path = names_of(home).join(&name);
        if std::fs::read_to_string(&path).is_ok_and(|id| id.len() != 64 || is_rest(&id)) {
            let _ = std::fs::remove_file(&path);
        }
    }
    store.remove_scratch()?;
    failed.map(|()| freed)
}

fn remove(home: &Home, id: &str) -> Result<u64> {
    let (directory, run) = (directory_of(home, id), home.run.join("containers").join(id));
    if home.oci().join(id).exists() {
        Runtime::find(home)?.output(&["delete", "--force", id])?;
    }
    rootfs::discard_below(&run)?;
    connection::tear_down_of(home, id, &run)?;
    let freed = usage::tree(&directory);
    for path in [&run, &directory] {
        remove_directory(path)?;
    }
    Ok(freed)
}

/// Gives containers back the pins on their images that a power failure has taken: without one
/// an image in use could be removed.
///
/// # Errors
/// What could not be read or written.
pub fn restore_pins(home: &Home) -> Result<()> {
    let store = home.images()?;
    let pinned: std::collections::HashSet<String> =
        store.pins()?.into_iter().map(|(id, _)| id).collect();
    let (containers, _) = Container::survey(home)?;
    for container in containers {
        if let Source::Image { manifest, .. } = &container.record.source
            && !pinned.contains(container.id())
        {
            match store.pin(container.id(), manifest) {
                // Gone before its pin was missed: there is nothing left to keep.
                Err(husk_image::store::StoreError::NoImage(_)) => {}
                pinned => pinned?,
            }
        }
    }
    Ok(())
}

/// Removes a container whose record is damaged: its process, what is mounted and connected
/// for it, its directories, names and pin.
///
/// # Errors
/// What could not be undone.
pub fn remove_damaged(home: &Home, id: &str) -> Result<u64> {
    if home.oci().join(id).exists() {
        Runtime::find(home)?.output(&["delete", "--force", id])?;
    }
    // Its monitor takes apart what it made.
    let monitor = Container::monitor_lock_of(home, id);
    let until = Instant::now() + LIMIT;
    while Lock::is_held(&monitor) {
        if Instant::now() >= until {
            let id = super::name::short(id);
            return Err(Error::other(format_args!(
                "the monitor of container {id} did not end within 10 s of its process"
            )));
        }
        std::thread::sleep(RETRY);
    }
    let freed = remove(home, id)?;
    super::forget_names(home, id);
    home.images()?.unpin(id)?;
    Ok(freed)
}

fn names_in(path: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(file("list", path))?.file_name().into_string());
    }
    Ok(names)
}
