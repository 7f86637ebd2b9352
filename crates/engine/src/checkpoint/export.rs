//! A checkpoint as one file, in podman's format.
//!
//! ```text
//! checkpoint/        CRIU's images
//! config.dump        what the container was (podman's ContainerConfig, as far as it is read)
//! spec.dump          its runtime-spec document
//! rootfs-diff.tar    files that are not its image's
//! deleted.files      and those of its image's that are gone, as a JSON array
//! volumes/NAME.tar   what is in its volumes
//! ```

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use husk_image::archive::{self, ImportOptions};
use husk_image::pack::Archive;
use husk_image::reference::Reference;
use husk_image::registry::PullOptions;
use husk_image::tree::{open_directory, open_entry};
use husk_rootfs::resolve::{IN_ROOT, open_at};
use rustix::fs::OFlags;
use serde_json::json;

use super::{CheckpointRequest, Place, RestoreRequest, create, restore};
use crate::changes::{self, Kind};
use crate::container::config::Mount;
use crate::container::{Container, Source};
use crate::error::{Error, Field, Result, file};
use crate::files;
use crate::home::{Home, Scratch};
use crate::launch::StartRequest;
use crate::reporter::{Reporter, StoreProgress};
use crate::view::View;

/// The directory of CRIU's images in an archive.
pub(super) const IMAGES: &str = "checkpoint";
pub(super) const CONFIG: &str = "config.dump";
pub(super) const SPEC: &str = "spec.dump";
pub(super) const ROOTFS: &str = "rootfs-diff.tar";
pub(super) const DELETED: &str = "deleted.files";
pub(super) const VOLUMES: &str = "volumes";

/// How an archive is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip(1).
    Gzip,
    /// By zstd(1), as podman does.
    #[default]
    Zstd,
}

impl Compression {
    /// `none`, `gzip` or `zstd`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// How a checkpoint becomes a file.
#[derive(Clone, Debug, Default)]
pub struct ExportRequest {
    /// How the container is checkpointed; its place is the archive.
    pub checkpoint: CheckpointRequest,
    /// How the archive is packed.
    pub compression: Compression,
    /// Leave out changed files of the container's root.
    pub ignore_rootfs: bool,
    /// Leave out what is in its volumes.
    pub ignore_volumes: bool,
}

/// Checkpoints a running container into the file `path`, which only root can read, and which is
/// there once it is whole. A container whose archive cannot be written goes on running.
///
/// # Errors
/// Those of [`create`]; a container that is removed when it ends; a file that cannot be written.
pub fn export(
    home: &Home,
    container: &Container,
    path: &Path,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Before anything is done to the container.
    let draft = tempfile::Builder::new().prefix(".checkpoint-").tempfile_in(parent);
    let draft = draft.map_err(file("make a file in", parent))?;
    let scratch = dump(home, container, request)?;
    let written = fill(home, container, scratch.path(), request, reporter)
        .and_then(|()| pack(scratch.path(), draft.as_file(), request.compression, reporter))
        .and_then(|()| {
            draft.as_file().sync_all().map_err(file("write", path))?;
            draft.persist(path).map_err(|error| file("write", path)(error.error))?;
            Ok(())
        });
    written.map_err(|error| go_on(home, container, scratch.path(), request, error))
}

/// Checkpoints a running container into an image of one layer, from which new containers start.
/// Gives its id.
///
/// # Errors
/// Those of [`export`]; a name that cannot be an image's.
pub fn create_image(
    home: &Home,
    container: &Container,
    name: &str,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<String> {
    let reference: Reference = name.parse()?;
    if reference.digest().is_some() {
        return Err(Error::field(Field::Tag, name, "a digest cannot be given"));
    }
    let scratch = dump(home, container, request)?;
    let made = fill(home, container, scratch.path(), request, reporter)
        .and_then(|()| layer(home, scratch.path(), reference.or_latest(), reporter));
    made.map_err(|error| go_on(home, container, scratch.path(), request, error))
}

fn layer(
    home: &Home,
    directory: &Path,
    reference: Reference,
    reporter: &dyn Reporter,
) -> Result<String> {
    let below = home.root.join("tmp");
    let mut tar = tempfile::tempfile_in(&below).map_err(file("make a file in", &below))?;
    pack(directory, &tar, Compression::Zstd, reporter)?;
    tar.rewind().map_err(file("rewind the archive in", &below))?;
    let options = ImportOptions {
        message: Some("checkpoint".to_owned()),
        reference: Some(reference),
        ..ImportOptions::default()
    };
    let (store, progress) = (home.images()?, StoreProgress(reporter));
    let stream = BufReader::new(tar);
    let image = archive::import(&store, stream, options, &PullOptions::default(), &progress)?;
    Ok(image.id.to_string())
}

/// Checkpoints into a directory of the engine's.
fn dump(home: &Home, container: &Container, request: &ExportRequest) -> Result<Scratch> {
    let name = &container.record.name;
    if container.record.config.auto_remove && !request.checkpoint.leave_running {
        return Err(Error::other(format_args!(
            "container {name} is removed when it ends (--rm), and its files with it: let it go on"
        )));
    }
    if !matches!(container.record.source, Source::Image { .. }) {
        return Err(Error::other(format_args!(
            "container {name} has no image on which its checkpoint could be restored"
        )));
    }
    let scratch = home.scratch("checkpoint-")?;
    // It is that of the run that ends.
    let (spec, target) = (container.run.join("config.json"), scratch.path().join(SPEC));
    container.running()?;
    std::fs::copy(&spec, &target).map_err(file("copy", &spec))?;
    let place = Place { directory: Some(scratch.path().to_owned()), name: IMAGES.to_owned() };
    create(home, container, &CheckpointRequest { place, ..request.checkpoint.clone() })?;
    Ok(scratch)
}

/// Lets a container whose archive was not written go on from its images.
fn go_on(
    home: &Home,
    container: &Container,
    scratch: &Path,
    request: &ExportRequest,
    error: Error,
) -> Error {
    if request.checkpoint.leave_running {
        return error;
    }
    let place = Place { directory: Some(scratch.to_owned()), name: IMAGES.to_owned() };
    let options = RestoreRequest {
        tcp_established: request.checkpoint.tcp_established,
        file_locks: request.checkpoint.file_locks,
        ..RestoreRequest::default()
    };
    let start = StartRequest::default();
    match restore(home, container, &place, &options, &start, &mut |_| ()) {
        Ok(_) => error,
        Err(second) => Error::other(format_args!("{error}; the container has ended: {second}")),
    }
}

/// Adds what is not CRIU's.
fn fill(
    home: &Home,
    container: &Container,
    scratch: &Path,
    request: &ExportRequest,
    reporter: &dyn Reporter,
) -> Result<()> {
    write(scratch, CONFIG, &config(container))?;
    if !request.ignore_rootfs {
        rootfs(home, container, scratch, reporter)?;
    }
    if request.ignore_volumes {
        return Ok(());
    }
    let directory = scratch.join(VOLUMES);
    for (name, target) in volumes(container) {
        std::fs::create_dir_all(&directory).map_err(file("make", &directory))?;
        let path = directory.join(format!("{name}.tar"));
        let out = File::create_new(&path).map_err(file("make", &path))?;
        let content = format!("{}/.", target.trim_end_matches('/'));
        files::archive(home, container, &content, false, BufWriter::new(out), reporter)?;
    }
    Ok(())
}

fn volumes(container: &Container) -> impl Iterator<Item = (&str, &str)> {
    container.record.config.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { name, target, .. } => Some((name.as_str(), target.as_str())),
        _ => None,
    })
}

fn write(scratch: &Path, name: &str, value: &serde_json::Value) -> Result<()> {
    let path = scratch.join(name);
    std::fs::write(&path, value.to_string()).map_err(file("write", &path))
}

/// podman's ContainerConfig: what is needed to make such a container again. Labels and
/// annotations are not in it, since they say how an engine treats a container.
fn config(container: &Container) -> serde_json::Value {
    let record = &container.record;
    let named: Vec<_> = volumes(container)
        .map(|(name, target)| {
            json!({ "volumeName": name, "dest": target, "options": ["rprivate", "rbind"] })
        })
        .collect();
    let config = &record.config;
    let id = container.image_id();
    json!({
        "id": container.id(),
        "name": record.name,
        "rootfsImageID": id.rsplit(':').next().unwrap_or_default(),
        "rootfsImageName": record.image,
        "namedVolumes": named,
        "command": config.args,
        "createdTime": record.created,
        "staticIP": config.addresses.first(),
        "staticMAC": config.mac,
        "createNetNS": config.networks.first().is_none_or(|name| name != "none" && name != "host"),
        "shmSize": config.shm_size,
        "stopTimeout": config.stop_timeout.unwrap_or(10),
        "stopSignal": 15,
        "cgroupsMode": "enabled",
        "logDriver": "k8s-file",
        "idMappingsOptions": { "HostUIDMapping": true, "HostGIDMapping": true },
    })
}

/// What the container has changed of its image.
fn rootfs(
    home: &Home,
    container: &Container,
    scratch: &Path,
    reporter: &dyn Reporter,
) -> Result<()> {
    let path = scratch.join(ROOTFS);
    let out = File::create_new(&path).map_err(file("make", &path))?;
    let changes = changes::of(home, container)?;
    let view = View::open(home, container, false)?;
    let mut archive = Archive::new(BufWriter::new(out));
    let (mut deleted, flags) = (Vec::new(), OFlags::PATH | OFlags::NOFOLLOW);
    for (kind, changed) in changes {
        if kind == Kind::Deleted {
            deleted.push(changed);
            continue;
        }
        let (parent, name) = changed.rsplit_once('/').unwrap_or_default();
        let parent = if parent.is_empty() { "/" } else { parent };
        let opened = open_at(view.root(), parent.as_bytes(), flags | OFlags::DIRECTORY, IN_ROOT)
            .and_then(|parent| open_entry(parent.as_fd(), name.as_bytes()));
        let opened = opened.map_err(file("open the container's", &changed))?;
        archive.add_alone(opened.as_fd(), changed.trim_start_matches('/').as_bytes())?;
    }
    archive.finish()?.iter().for_each(|left_out| reporter.notice(left_out));
    write(scratch, DELETED, &json!(deleted))
}

/// Packs the directory of an archive's content.
pub(super) fn pack(
    directory: &Path,
    out: &File,
    compression: Compression,
    reporter: &dyn Reporter,
) -> Result<()> {
    let failed = || file("write", PathBuf::from("the archive"));
    let out = BufWriter::new(out);
    match compression {
        Compression::None => content(directory, out, reporter),
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            content(directory, &mut gzip, reporter)?;
            gzip.finish().and_then(|mut out| out.flush()).map_err(failed())
        }
        Compression::Zstd => {
            let mut zstd = zstd::stream::write::Encoder::new(out, 0).map_err(failed())?;
            content(directory, &mut zstd, reporter)?;
            zstd.finish().and_then(|mut out| out.flush()).map_err(failed())
        }
    }
}

fn content(directory: &Path, out: impl Write, reporter: &dyn Reporter) -> Result<()> {
    let opened = File::open(directory).map_err(file("open", directory))?;
    let opened = open_directory(opened.as_fd()).map_err(file("open", directory))?;
    let mut packed = Archive::new(out);
    packed.add(opened.as_fd(), b"")?;
    packed.finish()?.iter().for_each(|left_out| reporter.notice(left_out));
    Ok(())
}
