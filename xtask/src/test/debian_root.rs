//! The root file system of a Debian image for the tests: built by debootstrap, once.

use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use anyhow::Context;

use crate::scratch::Scratch;
use crate::{cargo, debian, process};

/// Where the tests look for the tar.
pub(super) const VARIABLE: &str = "HUSK_DEBIAN_TAR";

/// The tar, for [`VARIABLE`]: made at most once and kept in target/. `None` where the variable
/// is set already.
///
/// # Errors
/// We are not root, or debootstrap or tar fails.
pub(super) fn tar() -> anyhow::Result<Option<PathBuf>> {
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(None);
    }
    let kept = cargo::workspace().join(format!("target/debian-{}.tar", debian::RELEASE));
    if !kept.exists() {
        if !process::is_root() {
            anyhow::bail!("debootstrap needs root");
        }
        // A run beside this one sees the whole file or none.
        let partial = kept.with_extension(format!("partial-{}", std::process::id()));
        let made = make(&partial)
            .and_then(|()| fs::rename(&partial, &kept).context(kept.display().to_string()));
        if made.is_err() {
            remove(&partial);
        }
        made?;
    }
    Ok(Some(kept))
}

/// The tar, whoever made it.
///
/// # Errors
/// As [`tar`].
pub(crate) fn any() -> anyhow::Result<PathBuf> {
    match tar()? {
        Some(made) => Ok(made),
        None => std::env::var_os(VARIABLE).map(PathBuf::from).context(VARIABLE),
    }
}

fn make(tar: &std::path::Path) -> anyhow::Result<()> {
    let scratch = Scratch::new("debian")?;
    let root = scratch.path().join("root");
    eprintln!("==> debootstrap {} (once; half a minute)", debian::RELEASE);
    process::output(
        Command::new("debootstrap")
            .args(["--variant=minbase", debian::RELEASE])
            .arg(&root)
            .args(debian::mirror()),
    )
    .with_context(|| format!("see {}/debootstrap/debootstrap.log", root.display()))?;
    // What was downloaded is half of it, and no image has it.
    remove_archives(&root)?;
    process::output(
        Command::new("tar")
            .args(["--create", "--sort=name", "--numeric-owner", "--format=posix"])
            .args(["--xattrs", "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime"])
            .arg("--directory")
            .arg(&root)
            .arg("--file")
            .arg(tar)
            .arg("."),
    )
    .map(drop)
}

fn remove_archives(root: &std::path::Path) -> anyhow::Result<()> {
    let archives = root.join("var/cache/apt/archives");
    for entry in fs::read_dir(&archives).with_context(|| archives.display().to_string())? {
        let path = entry.context("archives")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn remove(partial: &std::path::Path) {
    if let Err(error) = fs::remove_file(partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("xtask: {}: {error}", partial.display());
    }
}
