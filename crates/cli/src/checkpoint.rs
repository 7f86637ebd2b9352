//! `checkpoint`, in Docker's words; `container checkpoint` and `container restore`, in podman's.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{for_each, output};
use crate::error::{Error, Result};
use husk_engine::checkpoint::{self, CheckpointRequest, Place, RestoreRequest};
use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::home::Home;
use husk_engine::launch::StartRequest;
use husk_engine::notice::notice;

/// The checkpoint of `container checkpoint`.
const LATEST: &str = "latest";

/// Its commands.
#[derive(Debug, Subcommand)]
pub(super) enum Checkpoint {
    /// Write the program of a running container to files, and stop it
    Create(Create),
    /// List the checkpoints of a container
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Remove a checkpoint
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// `checkpoint create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// Directory for the checkpoint, if it is not the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Let the container go on
    #[arg(long)]
    leave_running: bool,
    /// Name or ID
    container: String,
    /// Name of the checkpoint
    checkpoint: String,
}

/// `checkpoint ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Directory of the checkpoints, if it is not the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Name or ID
    container: String,
}

/// `checkpoint rm`.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Directory of the checkpoint, if it is not the container's own
    #[arg(long, value_name = "DIR")]
    checkpoint_dir: Option<PathBuf>,
    /// Name or ID
    container: String,
    /// Name of the checkpoint
    checkpoint: String,
}

impl Checkpoint {
    pub(super) fn run(self, home: &Home) -> Result<u8> {
        match self {
            Self::Create(create) => {
                let container = Container::find(home, &create.container)?;
                let name = create.checkpoint;
                let place = Place { directory: create.checkpoint_dir, name: name.clone() };
                let leave_running = create.leave_running;
                let request =
                    CheckpointRequest { place, leave_running, ..CheckpointRequest::default() };
                checkpoint::create(home, &container, &request)?;
                output::line(&name)?;
            }
            Self::Ls(ls) => {
                let container = Container::find(home, &ls.container)?;
                output::line("CHECKPOINT NAME")?;
                for name in checkpoint::list(&container, ls.checkpoint_dir.as_deref())? {
                    output::line(&name)?;
                }
            }
            Self::Rm(rm) => {
                let container = Container::find(home, &rm.container)?;
                let place = Place { directory: rm.checkpoint_dir, name: rm.checkpoint };
                checkpoint::remove(&container, &place)?;
            }
        }
        Ok(0)
    }
}

/// `container checkpoint`.
#[derive(Debug, Args)]
pub(super) struct ContainerCheckpoint {
    /// All running containers
    #[arg(short, long)]
    all: bool,
    /// Write file locks down
    #[arg(long)]
    file_locks: bool,
    /// Keep CRIU's log, in the container's directory
    #[arg(short, long)]
    keep: bool,
    /// Let the container go on
    #[arg(short = 'R', long)]
    leave_running: bool,
    /// Write TCP connections down
    #[arg(long)]
    tcp_established: bool,
    /// Names or IDs
    containers: Vec<String>,
}

/// `container restore`.
#[derive(Debug, Args)]
pub(super) struct ContainerRestore {
    /// All containers with a checkpoint that do not run
    #[arg(short, long)]
    all: bool,
    /// Take file locks
    #[arg(long)]
    file_locks: bool,
    /// Keep the checkpoint, and CRIU's log in the container's directory
    #[arg(short, long)]
    keep: bool,
    /// Have TCP connections closed
    #[arg(long, conflicts_with = "tcp_established")]
    tcp_close: bool,
    /// Take up TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Names or IDs
    containers: Vec<String>,
}

fn latest() -> Place {
    Place { directory: None, name: LATEST.to_owned() }
}

/// The containers that are named, or with `--all` those that `wanted` picks.
fn chosen(
    home: &Home,
    all: bool,
    named: &[String],
    wanted: impl Fn(&Container) -> bool,
) -> Result<Vec<String>> {
    match (all, named) {
        (true, []) => {}
        (true, _) => return Err(Error::other("--all does not go with names of containers")),
        (false, []) => return Err(Error::other("name a container, or use --all")),
        (false, named) => return Ok(named.to_vec()),
    }
    let containers = Container::all(home)?;
    Ok(containers.iter().filter(|one| wanted(one)).map(|one| one.record.name.clone()).collect())
}

fn is_running(container: &Container) -> bool {
    container.state().is_ok_and(|state| state.status == Status::Running)
}

impl ContainerCheckpoint {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let containers = chosen(home, self.all, &self.containers, is_running)?;
        for_each(&containers, |name| {
            let container = Container::find(home, name)?;
            let request = CheckpointRequest {
                place: latest(),
                leave_running: self.leave_running,
                tcp_established: self.tcp_established,
                file_locks: self.file_locks,
                work_path: self.keep.then(|| container.directory.clone()),
                replace: true,
            };
            checkpoint::create(home, &container, &request)?;
            output::line(name)
        })
    }
}

impl ContainerRestore {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let restorable = |container: &Container| {
            let names = checkpoint::list(container, None).unwrap_or_default();
            !is_running(container) && names.iter().any(|name| name == LATEST)
        };
        let containers = chosen(home, self.all, &self.containers, restorable)?;
        for_each(&containers, |name| {
            let container = Container::find(home, name)?;
            let request = RestoreRequest {
                tcp_established: self.tcp_established,
                tcp_close: self.tcp_close,
                file_locks: self.file_locks,
                work_path: self.keep.then(|| container.directory.clone()),
            };
            let start = StartRequest::default();
            let mut tell = |text| notice(text);
            checkpoint::restore(home, &container, &latest(), &request, &start, &mut tell)?;
            if !self.keep {
                checkpoint::remove(&container, &latest())?;
            }
            output::line(name)
        })
    }
}
