//! Checkpoints of containers: files from which their programs go on.
//!
//! ```text
//! containers/ID/checkpoints/NAME/   CRIU's images (or in a directory of the caller's)
//! run/containers/ID/restore.json    what the next start restores, in place of running anew
//! ```
//!
//! The runtime does the work, with CRIU; docs/checkpoint.md. The network's namespace is the
//! engine's, and is made and connected as for any other start.

mod export;
mod import;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, statat};
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::container::state::Status;
use crate::error::{Error, Field, Result, file};
use crate::events;
use crate::home::{Home, make_directory};
use crate::launch::{self, StartRequest};
use crate::monitor::protocol::{self, Attachment, Request};
use crate::rootless;
use crate::runtime::Runtime;
use crate::stop;

pub use export::{Compression, ExportRequest, create_image, export};
pub use import::{ImportRequest, ImportSource, Imported, import};

const DIRECTORY: &str = "checkpoints";
/// The checkpoint of podman's commands, and of a container that was imported.
pub const LATEST: &str = "latest";
const RESTORE: &str = "restore.json";

/// How long the monitor may take to write down that the container has ended.
const LIMIT: Duration = Duration::from_secs(10);

/// Where a checkpoint is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// A directory for checkpoints other than the container's own.
    pub directory: Option<PathBuf>,
    /// The checkpoint's name.
    pub name: String,
}

/// How a container is checkpointed.
#[derive(Clone, Debug, Default)]
pub struct CheckpointRequest {
    /// Where the files go.
    pub place: Place,
    /// Let the container go on.
    pub leave_running: bool,
    /// Write TCP connections down.
    pub tcp_established: bool,
    /// Write file locks down.
    pub file_locks: bool,
    /// A directory for CRIU's log.
    pub work_path: Option<PathBuf>,
    /// Replace a checkpoint of the same name.
    pub replace: bool,
}

/// How a container is restored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRequest {
    /// Take up TCP connections.
    pub tcp_established: bool,
    /// Have TCP connections closed.
    pub tcp_close: bool,
    /// Take file locks.
    pub file_locks: bool,
    /// A directory for CRIU's log.
    pub work_path: Option<PathBuf>,
}

/// What the next start restores.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restore {
    images: PathBuf,
    request: RestoreRequest,
}

impl Restore {
    /// Takes the order that a start was given; None where it runs the program anew.
    pub(crate) fn take(container: &Container) -> Result<Option<Self>> {
        let path = container.run.join(RESTORE);
        let order = husk_record::read(&path)?;
        forget(container);
        Ok(order)
    }

    /// Flags of the runtime's `restore`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let Self { images, request } = self;
        let mut flags = vec!["--image-path".to_owned(), images.display().to_string()];
        if let Some(path) = &request.work_path {
            flags.extend(["--work-path".to_owned(), path.display().to_string()]);
        }
        for (flag, given) in [
            ("--tcp-established", request.tcp_established),
            ("--tcp-close", request.tcp_close),
            ("--file-locks", request.file_locks),
        ] {
            flags.extend(given.then(|| flag.to_owned()));
        }
        flags
    }
}

/// Takes back the order to restore.
pub(crate) fn forget(container: &Container) {
    let _ = std::fs::remove_file(container.run.join(RESTORE));
}

impl Place {
    /// The directory of the checkpoint.
    ///
    /// # Errors
    /// The name is not one of a checkpoint.
    pub fn path(&self, container: &Container) -> Result<PathBuf> {
        let name = &self.name;
        let mut bytes = name.bytes();
        let valid = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && name.len() <= 128
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !valid {
            let problem = "must begin with a letter or digit and have only letters, digits, _ . -";
            return Err(Error::field(Field::Checkpoint, name, problem));
        }
        Ok(directory_of(container, self.directory.as_deref()).join(name))
    }
}

fn directory_of(container: &Container, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| container.directory.join(DIRECTORY), Path::to_owned)
}

fn refuse_rootless() -> Result<()> {
    match rootless::is_rootless() {
        false => Ok(()),
        true => Err(Error::other(
            "checkpoint and restore are only for root: CRIU makes mounts and cgroups",
        )),
    }
}

/// Checkpoints a running container, which ends by that unless it is to go on.
///
/// # Errors
/// [`Error::NotRunning`]; a checkpoint of that name; why CRIU could not.
pub fn create(home: &Home, container: &Container, request: &CheckpointRequest) -> Result<()> {
    refuse_rootless()?;
    let _lock = container.lock()?;
    container.running()?;
    let name = &container.record.name;
    if container.record.config.auto_remove
        && !request.leave_running
        && request.place.directory.is_none()
    {
        return Err(Error::other(format_args!(
            "container {name} is removed when it ends (--rm), and its checkpoints with it: \
             let it go on, or name a directory for the checkpoint"
        )));
    }
    let images = request.place.path(container)?;
    let there = statat(CWD, &images, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if there && !request.replace {
        let checkpoint = request.place.name.clone();
        return Err(Error::CheckpointExists { container: name.clone(), name: checkpoint });
    }
    // Beside, so that a failure leaves the one that is there.
    let draft = images.with_file_name(format!(".{}.new", request.place.name));
    let parent = images.parent().unwrap_or(&images);
    std::fs::create_dir_all(parent).map_err(file("make", parent))?;
    remove_tree(&draft)?;
    let mut arguments = vec!["checkpoint".to_owned(), "--image-path".to_owned()];
    arguments.push(draft.display().to_string());
    if let Some(path) = &request.work_path {
        arguments.extend(["--work-path".to_owned(), path.display().to_string()]);
    }
    for (flag, given) in [
        ("--leave-running", request.leave_running),
        ("--tcp-established", request.tcp_established),
        ("--file-locks", request.file_locks),
    ] {
        arguments.extend(given.then(|| flag.to_owned()));
    }
    arguments.push(container.id().to_owned());
    let monitor = match request.leave_running {
        true => None,
        false => Attachment::connect(&container.run)?,
    };
    let tell = |signal| {
        if let Some(monitor) = &monitor {
            // A monitor that has gone has no restart policy to follow either.
            let _ = monitor.send(&Request::ByHand(signal));
        }
    };
    // Before it ends: a restart policy counts what nobody has asked for.
    tell(0);
    Runtime::of(home, container)?.output(&arguments).inspect_err(|_| tell(protocol::NOBODY))?;
    events::container::record(container, "checkpoint", &[]);
    remove_tree(&images)?;
    std::fs::rename(&draft, &images).map_err(file("rename", &draft))?;
    if !request.leave_running {
        // For the next command, which may be to start it from here.
        stop::wait_end(container, Some(Instant::now() + LIMIT))?;
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    husk_rootfs::remove::tree(path).map_err(file("remove", path))
}

/// Names of the checkpoints of a container, sorted.
///
/// # Errors
/// The directory cannot be read.
pub fn list(container: &Container, directory: Option<&Path>) -> Result<Vec<String>> {
    let directory = directory_of(container, directory);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        done => done.map_err(file("read", &directory))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .filter(|name| directory.join(name).join("inventory.img").is_file())
        .collect();
    names.sort();
    Ok(names)
}

/// Removes a checkpoint.
///
/// # Errors
/// There is none of that name.
pub fn remove(container: &Container, place: &Place) -> Result<()> {
    let _lock = container.lock()?;
    let path = find(container, place)?;
    remove_tree(&path)
}

/// The directory of a checkpoint that is there.
fn find(container: &Container, place: &Place) -> Result<PathBuf> {
    let path = place.path(container)?;
    let status = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW);
    let directory = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
    match status {
        Ok(status) if directory(status.st_mode) && path.join("inventory.img").is_file() => Ok(path),
        _ => Err(Error::NoCheckpoint {
            container: container.record.name.clone(),
            name: place.name.clone(),
        }),
    }
}

/// Starts a container from a checkpoint. `notice` gets remarks.
///
/// # Errors
/// [`Error::Running`]; no such checkpoint; why CRIU could not.
pub fn restore(
    home: &Home,
    container: &Container,
    place: &Place,
    request: &RestoreRequest,
    start: &StartRequest,
    notice: &mut dyn FnMut(String),
) -> Result<Attachment> {
    refuse_rootless()?;
    let _lock = container.lock()?;
    if matches!(container.state()?.status, Status::Running | Status::Restarting) {
        return Err(Error::Running(container.record.name.clone()));
    }
    let images = find(container, place)?;
    let images = images.canonicalize().map_err(file("resolve", &images))?;
    make_directory(&container.run)?;
    let order = Restore { images, request: request.clone() };
    husk_record::write_json(&container.run.join(RESTORE), &order)?;
    let started = launch::start_as_ordered(home, container, start, notice);
    forget(container);
    started
}
