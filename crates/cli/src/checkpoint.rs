//! `checkpoint`, in Docker's words; `container checkpoint` and `container restore`, in podman's.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::flags::mounts;
use super::{for_each, output, progress};
use crate::error::{Error, Result};
use husk_engine::checkpoint::{
    self, CheckpointRequest, Compression, ExportRequest, ImportRequest, ImportSource, LATEST,
    Place, RestoreRequest,
};
use husk_engine::container::Container;
use husk_engine::container::request::{ContainerRequest, HostConfig};
use husk_engine::container::state::Status;
use husk_engine::home::Home;
use husk_engine::launch::StartRequest;
use husk_engine::notice::notice;
use husk_net::Publish;

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
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of podman's")]
pub(super) struct ContainerCheckpoint {
    /// All running containers
    #[arg(short, long, conflicts_with_all = ["export", "create_image"])]
    all: bool,
    /// How the archive is packed: gzip, none or zstd
    #[arg(short, long, value_name = "NAME")]
    compress: Option<String>,
    /// Make an image of the checkpoint, for run --from-checkpoint
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["export", "keep"])]
    create_image: Option<String>,
    /// Write the checkpoint into an archive, with changed files and volumes
    #[arg(short, long, value_name = "FILE", conflicts_with = "keep")]
    export: Option<PathBuf>,
    /// Write file locks down
    #[arg(long)]
    file_locks: bool,
    /// Leave changed files of the root out of the archive
    #[arg(long)]
    ignore_rootfs: bool,
    /// Leave volumes out of the archive
    #[arg(long)]
    ignore_volumes: bool,
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
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of podman's")]
pub(super) struct ContainerRestore {
    /// All containers with a checkpoint that do not run
    #[arg(short, long, conflicts_with = "import")]
    all: bool,
    /// Take file locks
    #[arg(long)]
    file_locks: bool,
    /// Leave the root as the image has it
    #[arg(long)]
    ignore_rootfs: bool,
    /// Take no address from the archive
    #[arg(long)]
    ignore_static_ip: bool,
    /// Take no hardware address from the archive
    #[arg(long)]
    ignore_static_mac: bool,
    /// Leave volumes as they are
    #[arg(long)]
    ignore_volumes: bool,
    /// Make a container of an archive: it runs what whoever wrote it has put into it
    #[arg(short, long, value_name = "FILE", conflicts_with = "containers")]
    import: Option<PathBuf>,
    /// Keep the checkpoint, and CRIU's log in the container's directory
    #[arg(short, long)]
    keep: bool,
    /// Name of the container that is made
    #[arg(short, long)]
    name: Option<String>,
    /// Publish a port of it: [[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "SPEC")]
    publish: Vec<String>,
    /// Have TCP connections closed
    #[arg(long, conflicts_with = "tcp_established")]
    tcp_close: bool,
    /// Take up TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Mount a path that the archive wants, or another volume: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "SPEC")]
    volume: Vec<String>,
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
        if let (Some(name), None) = (&self.compress, &self.export) {
            return Err(Error::flag("--compress", name, "goes with --export"));
        }
        if self.export.is_some() || self.create_image.is_some() {
            return self.export(home);
        }
        if self.ignore_rootfs || self.ignore_volumes {
            return Err(Error::other(
                "--ignore-rootfs and --ignore-volumes go with --export or --create-image",
            ));
        }
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

    /// With `--export` or `--create-image`.
    fn export(&self, home: &Home) -> Result<u8> {
        let [name] = self.containers.as_slice() else {
            return Err(Error::other("only one container goes into an archive or an image"));
        };
        let compression = match &self.compress {
            None => Compression::default(),
            Some(name) => Compression::from_name(name)
                .ok_or_else(|| Error::flag("--compress", name, "must be gzip, none or zstd"))?,
        };
        let container = Container::find(home, name)?;
        let request = ExportRequest {
            checkpoint: CheckpointRequest {
                leave_running: self.leave_running,
                tcp_established: self.tcp_established,
                file_locks: self.file_locks,
                ..CheckpointRequest::default()
            },
            compression,
            ignore_rootfs: self.ignore_rootfs,
            ignore_volumes: self.ignore_volumes,
        };
        let reporter = progress::of(false);
        match (&self.export, &self.create_image) {
            (Some(path), _) => checkpoint::export(home, &container, path, &request, &*reporter)?,
            (None, Some(image)) => {
                checkpoint::create_image(home, &container, image, &request, &*reporter)?;
            }
            (None, None) => {}
        }
        output::line(name)?;
        Ok(0)
    }
}

impl ContainerRestore {
    /// With `--import`.
    fn import(&self, home: &Home, path: &Path) -> Result<u8> {
        let parse = |text: &String| -> Result<Publish> { Ok(text.parse::<Publish>()?) };
        let host_config = HostConfig {
            binds: mounts::binds(&self.volume)?,
            port_bindings: self.publish.iter().map(parse).collect::<Result<_>>()?,
            ..HostConfig::default()
        };
        let name = self.name.clone().unwrap_or_default();
        let request = ImportRequest {
            source: ImportSource::Archive(path.to_owned()),
            container: ContainerRequest { name, host_config, ..ContainerRequest::default() },
            ignore_rootfs: self.ignore_rootfs,
            ignore_volumes: self.ignore_volumes,
            ignore_static_ip: self.ignore_static_ip,
            ignore_static_mac: self.ignore_static_mac,
        };
        let imported = checkpoint::import(home, &request, &*progress::of(false))?;
        let (container, options) = (&imported.container, self.options(&imported.container));
        let start = StartRequest::default();
        let mut tell = |text| notice(text);
        checkpoint::restore(home, container, &imported.place, &options, &start, &mut tell)
            .inspect_err(|_| imported.undo(home))?;
        if !self.keep {
            checkpoint::remove(container, &imported.place)?;
        }
        output::line(container.id())?;
        Ok(0)
    }

    fn options(&self, container: &Container) -> RestoreRequest {
        RestoreRequest {
            tcp_established: self.tcp_established,
            tcp_close: self.tcp_close,
            file_locks: self.file_locks,
            work_path: self.keep.then(|| container.directory.clone()),
        }
    }

    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        if let Some(path) = &self.import {
            return self.import(home, path);
        }
        let of_import = [
            ("--ignore-rootfs", self.ignore_rootfs),
            ("--ignore-static-ip", self.ignore_static_ip),
            ("--ignore-static-mac", self.ignore_static_mac),
            ("--ignore-volumes", self.ignore_volumes),
            ("--name", self.name.is_some()),
            ("--publish", !self.publish.is_empty()),
            ("--volume", !self.volume.is_empty()),
        ];
        if let Some((flag, _)) = of_import.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Error::other(format_args!("{flag} goes with --import")));
        }
        let restorable = |container: &Container| {
            let names = checkpoint::list(container, None).unwrap_or_default();
            !is_running(container) && names.iter().any(|name| name == LATEST)
        };
        let containers = chosen(home, self.all, &self.containers, restorable)?;
        for_each(&containers, |name| {
            let container = Container::find(home, name)?;
            let request = self.options(&container);
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
