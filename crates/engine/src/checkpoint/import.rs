//! A container from a checkpoint that is an archive or an image: one of podman's or of `export`.
//!
//! What is in it was written by somebody else. Of its documents only what the program is counts:
//! its image, its words, its user, where volumes are. What a container may do comes from the
//! request; what the documents want beyond that is refused by name, and what CRIU makes of the
//! images is compared with the configuration by the runtime.

mod document;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use husk_image::unpack::{Owners, UnpackOptions, unpack};
use husk_rootfs::resolve::{IN_ROOT, open_at};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::export::{CONFIG, DELETED, IMAGES, ROOTFS, SPEC, VOLUMES};
use super::{LATEST, Place, refuse_rootless};
use crate::container::config::Mount;
use crate::container::request::{ContainerRequest, PullPolicy};
use crate::container::{self, Container};
use crate::error::{Error, Result, file};
use crate::files;
use crate::home::{Home, Scratch};
use crate::remove::{RemoveRequest, remove_container};
use crate::reporter::Reporter;
use crate::rootfs;
use crate::view::View;
use crate::volume::Volume;
use document::{ConfigDump, SpecDump};

/// Bytes of a document; podman's have some ten thousand.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Bytes of an archive when it is unpacked.
const MAX_ARCHIVE: u64 = 1 << 40;

/// Where a checkpoint comes from.
#[derive(Clone, Debug)]
pub enum ImportSource {
    /// An archive, packed by gzip, zstd or not.
    Archive(PathBuf),
    /// An image, by its name or id.
    Image(String),
}

/// A container that is to be made of a checkpoint.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The checkpoint.
    pub source: ImportSource,
    /// What the container may do. Its name is empty for that of the checkpoint; what the program
    /// is (its words, environment, user and directory) must be left as it is.
    pub container: ContainerRequest,
    /// Leave the root as the image has it.
    pub ignore_rootfs: bool,
    /// Leave volumes as they are; they must be there.
    pub ignore_volumes: bool,
    /// Take no address from the checkpoint.
    pub ignore_static_ip: bool,
    /// Take no hardware address from the checkpoint.
    pub ignore_static_mac: bool,
}

/// A container that has been made, and its checkpoint, from which [`super::restore`] starts it.
#[derive(Debug)]
pub struct Imported {
    /// The container.
    pub container: Container,
    /// Its checkpoint.
    pub place: Place,
    /// The volumes that were made for it.
    pub volumes: Vec<String>,
}

impl Imported {
    /// Removes it again, with the volumes that were made for it.
    pub fn undo(&self, home: &Home) {
        // What failed before is what the person has to see.
        let request = RemoveRequest { force: true, volumes: true };
        let _ = remove_container(home, &self.container, &request);
        for name in &self.volumes {
            let _ = Volume::remove(home, name);
        }
    }
}

/// Makes a container of a checkpoint, without starting it.
///
/// # Errors
/// An archive that is none; what its documents ask for and the request does not give; an image
/// or a volume that is not there. Nothing is left of it then.
pub fn import(home: &Home, request: &ImportRequest, reporter: &dyn Reporter) -> Result<Imported> {
    refuse_rootless()?;
    match &request.source {
        ImportSource::Archive(path) => {
            let scratch = unpacked(home, path)?;
            let imported = make(home, request, scratch.path(), reporter)?;
            let moved = keep(&imported, scratch.path());
            moved.inspect_err(|_| imported.undo(home)).map(|place| Imported { place, ..imported })
        }
        ImportSource::Image(name) => {
            let store = home.images()?;
            let image = store.find(name)?;
            let layers = rootfs::layers(home, &image.manifest)?;
            let [layer] = layers.as_slice() else {
                return Err(no_checkpoint(name, "an image of one has one layer"));
            };
            make(home, request, &layer.path, reporter)
        }
    }
}

fn no_checkpoint(name: &str, why: &str) -> Error {
    Error::other(format_args!("{name} is not a checkpoint: {why}"))
}

/// Unpacks an archive by the rules of layers: no name leads out of it, and devices and owners
/// are left out.
fn unpacked(home: &Home, path: &Path) -> Result<Scratch> {
    // A FIFO would have us wait for its writer; a regular file is read as always.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let archive = rustix::fs::open(path, flags, Mode::empty()).map_err(file("open", path))?;
    let archive = File::from(archive);
    let is_file = archive.metadata().map_err(file("look at", path))?.is_file();
    if !is_file {
        return Err(no_checkpoint(&path.display().to_string(), "not a regular file"));
    }
    let scratch = home.scratch("checkpoint-")?;
    let options = UnpackOptions {
        devices: false,
        owners: Owners::Squash,
        limit: MAX_ARCHIVE,
        ..UnpackOptions::of_this_process()
    };
    let directory = open_directory(scratch.path())?;
    unpack(BufReader::new(archive), directory, None, &options, &|_| {}).map_err(|error| {
        let error = error.to_string().replacen("layer", "archive", 1);
        Error::other(format_args!("{}: {error}", path.display()))
    })?;
    Ok(scratch)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(file("open", path))
}

/// Opens a regular file of the archive without following a link. None where there is none.
fn member(directory: BorrowedFd<'_>, name: &str) -> Result<Option<File>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    // A FIFO of that name would have us wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match open_at(directory, name.as_bytes(), flags, resolve) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.map_err(file("open the archive's", name))?,
    };
    let status = fstat(&opened).map_err(file("look at the archive's", name))?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => Ok(Some(File::from(opened))),
        _ => Err(Error::other(format_args!("the archive's {name} is not a regular file"))),
    }
}

fn document<T: DeserializeOwned>(directory: BorrowedFd<'_>, name: &str) -> Result<Option<T>> {
    let Some(opened) = member(directory, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = opened.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    read.map_err(file("read the archive's", name))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::other(format_args!(
            "the archive's {name} has more than {MAX_DOCUMENT} bytes"
        )));
    }
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| Error::other(format_args!("the archive's {name}: {error}")))
}

/// Makes the container from the directory of an archive's content.
fn make(
    home: &Home,
    request: &ImportRequest,
    directory: &Path,
    reporter: &dyn Reporter,
) -> Result<Imported> {
    let opened = open_directory(directory)?;
    let source = match &request.source {
        ImportSource::Archive(path) => path.display().to_string(),
        ImportSource::Image(name) => name.clone(),
    };
    let missing = |name: &str| no_checkpoint(&source, &format!("it has no {name}"));
    if member(opened.as_fd(), &format!("{IMAGES}/inventory.img"))?.is_none() {
        return Err(missing("checkpoint/inventory.img"));
    }
    let config = document::<ConfigDump>(opened.as_fd(), CONFIG)?.ok_or_else(|| missing(CONFIG))?;
    let spec = document::<SpecDump>(opened.as_fd(), SPEC)?.ok_or_else(|| missing(SPEC))?;
    let (wanted, named) = document::request(request, &config, &spec)?;
    check_image(home, &config)?;
    let mut made = Vec::new();
    for name in &named {
        match (Volume::find(home, name), request.ignore_volumes) {
            (Err(Error::NoVolume(_)), true) => {
                return Err(Error::other(format_args!(
                    "no such volume: {name}, and --ignore-volumes does not take it from the \
                     checkpoint"
                )));
            }
            (Err(Error::NoVolume(_)), false) => made.push(name.clone()),
            (Err(error), _) => return Err(error),
            (Ok(_), true) => {}
            (Ok(_), false) => {
                return Err(Error::other(format_args!(
                    "volume {name} is there already: remove it, or keep what is in it with \
                     --ignore-volumes"
                )));
            }
        }
    }
    let container = container::create(home, &wanted, reporter)?;
    let place = Place { directory: Some(directory.to_owned()), name: IMAGES.to_owned() };
    let imported = Imported { container, place, volumes: made };
    let filled = fill(home, request, opened.as_fd(), &imported);
    filled.inspect_err(|_| imported.undo(home))?;
    Ok(imported)
}

/// The image must be the one that the program was started from.
fn check_image(home: &Home, config: &ConfigDump) -> Result<()> {
    let name = &config.image_name;
    let found = home.images()?.find(name).map_err(|error| {
        Error::other(format_args!("{error}: pull or load the image of the checkpoint first"))
    })?;
    let id = found.id.to_string();
    match id.rsplit(':').next() == Some(config.image_id.as_str()) || config.image_id.is_empty() {
        true => Ok(()),
        false => Err(Error::other(format_args!(
            "image {name} differs: the checkpoint was made on {}, and here it is {id}",
            config.image_id
        ))),
    }
}

/// Fills root and volumes.
fn fill(
    home: &Home,
    request: &ImportRequest,
    directory: BorrowedFd<'_>,
    imported: &Imported,
) -> Result<()> {
    let container = &imported.container;
    if !request.ignore_rootfs {
        if let Some(archive) = member(directory, ROOTFS)? {
            files::extract(home, container, "/", BufReader::new(archive), ROOTFS)?;
        }
        // podman writes `null` where there are none.
        let deleted: Option<Option<Vec<String>>> = document(directory, DELETED)?;
        let deleted = deleted.flatten().unwrap_or_default();
        delete(home, container, &deleted)?;
    }
    let made: BTreeSet<&String> = imported.volumes.iter().collect();
    for mount in &container.record.config.mounts {
        let Mount::Volume { name, target, .. } = mount else { continue };
        if !made.contains(name) {
            continue;
        }
        let path = format!("{VOLUMES}/{name}.tar");
        let archive = member(directory, &path)?;
        let archive = archive.ok_or_else(|| {
            Error::other(format_args!(
                "volume {name} is not in the checkpoint: make it, and use --ignore-volumes"
            ))
        })?;
        files::extract(home, container, target, BufReader::new(archive), &path)?;
    }
    Ok(())
}

/// Removes files of the image that the container had removed, in its root, which nothing leaves.
fn delete(home: &Home, container: &Container, deleted: &[String]) -> Result<()> {
    if deleted.is_empty() {
        return Ok(());
    }
    let view = View::open(home, container, false)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for path in deleted {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { "/" } else { parent };
        let failed = |errno: Errno| file("remove the container's", path)(errno);
        if matches!(name, "" | "." | "..") {
            return Err(failed(Errno::INVAL));
        }
        match open_at(view.root(), parent.as_bytes(), flags, IN_ROOT) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(failed(errno)),
            Ok(parent) => {
                husk_rootfs::remove::entry(parent.as_fd(), name.as_bytes()).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Makes the images of an archive the container's checkpoint.
fn keep(imported: &Imported, scratch: &Path) -> Result<Place> {
    let place = Place { directory: None, name: LATEST.to_owned() };
    let target = place.path(&imported.container)?;
    let parent = target.parent().unwrap_or(&target);
    std::fs::create_dir_all(parent).map_err(file("make", parent))?;
    let source = scratch.join(IMAGES);
    std::fs::rename(&source, &target).map_err(file("rename", &source))?;
    Ok(place)
}

/// Pulls nothing: what runs is what was named.
const PULL: PullPolicy = PullPolicy::Never;
