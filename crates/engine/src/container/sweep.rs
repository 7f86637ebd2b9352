//! What is left of containers whose making or removal was cut short: a kill, a lost battery.
//!
//! A container is made in the order directory, pin, name, record, and removed in the order
//! record, name, directories, pin. So what has no record is the rest of one, unless it is just
//! being made; that is done under the store's activity lock.

use std::path::Path;

use super::{Container, directory_of, names_of};
use crate::error::{Result, file};
use crate::home::Home;
use crate::lock::Lock;
use crate::runtime::Runtime;
use crate::{connection, rootfs, usage};

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
    for id in &rests {
        freed += remove(home, id)?;
        store.unpin(id)?;
    }
    for name in names_in(&names_of(home))? {
        let path = names_of(home).join(&name);
        if std::fs::read_to_string(&path).is_ok_and(|id| id.len() != 64 || is_rest(&id)) {
            let _ = std::fs::remove_file(&path);
        }
    }
    store.remove_scratch()?;
    Ok(freed)
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
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("remove", path)(error));
            }
            _ => {}
        }
    }
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
