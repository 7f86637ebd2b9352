//! `--output`: the files of an image, as a directory or a tar.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::BuildError;
use super::layer_step::Scratch;
use crate::overlay::OverlayPlan;
use crate::pack::Archive;
use crate::store::{ImageRecord, Store};
use crate::tree::at;
use crate::tree::copy::{Copier, Rules};
use crate::tree::walk::Walk;

/// Writes the files of an image as a tar; gives what was left out.
///
/// # Errors
/// [`BuildError`].
pub fn export_tar(
    store: &Store,
    image: &ImageRecord,
    out: impl Write,
) -> Result<Vec<String>, BuildError> {
    let scratch = Scratch::new(store)?;
    let layers = store.layers(&image.chain_ids())?;
    let mount = OverlayPlan::read_only(&layers, &scratch.0)?.mount()?;
    let mut archive = Archive::new(out);
    archive.add(mount.as_fd(), b"")?;
    Ok(archive.finish()?)
}

/// Copies the files of an image into a directory, which is made where it is missing; gives
/// what was left out. Owners are kept where the caller may give files away. Set-user-id and
/// set-group-id bits, capabilities and device nodes are not: they would be this machine's.
///
/// # Errors
/// [`BuildError`].
pub fn export_directory(
    store: &Store,
    image: &ImageRecord,
    directory: &Path,
) -> Result<Vec<String>, BuildError> {
    let shown = directory.display().to_string();
    std::fs::create_dir_all(directory).map_err(at("make the directory", &shown))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(directory, flags, Mode::empty()).map_err(at("open", &shown))?;
    let scratch = Scratch::new(store)?;
    let layers = store.layers(&image.chain_ids())?;
    let mount = OverlayPlan::read_only(&layers, &scratch.0)?.mount()?;
    let me = (rustix::process::geteuid(), rustix::process::getegid());
    let rules = Rules {
        owner: (!me.0.is_root()).then_some(me),
        mode: None,
        privileges: false,
        lenient: true,
        devices: false,
    };
    let mut copier = Copier::new(rules, Walk::LAYER);
    copier.content(mount.as_fd(), target.as_fd(), "/", &shown)?;
    Ok(copier.left_out)
}
