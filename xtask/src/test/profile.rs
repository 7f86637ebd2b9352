//! Docker's default seccomp profile, which no package installs by itself: it is taken out of
//! that of Docker's sources, without the hundred packages that one depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::scratch::Scratch;
use crate::{cargo, process};

/// Where the tests look for the file.
pub(super) const VARIABLE: &str = "HUSK_DOCKER_PROFILE";

const PACKAGE: &str = "golang-github-docker-docker-dev";
const INSTALLED: &str =
    "/usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json";

/// The profile, for [`VARIABLE`]: fetched at most once and kept in target/. `None` where the
/// variable is set already or the package is installed, which the tests see themselves.
///
/// # Errors
/// apt cannot fetch the package, or the package has no such file.
pub(super) fn docker() -> anyhow::Result<Option<PathBuf>> {
    if std::env::var_os(VARIABLE).is_some() || Path::new(INSTALLED).exists() {
        return Ok(None);
    }
    let kept = cargo::workspace().join("target/docker-seccomp.json");
    if !kept.exists() {
        let text = fetch()?;
        // A run beside this one sees the whole file or none.
        let partial = kept.with_extension(format!("partial-{}", std::process::id()));
        fs::write(&partial, text).with_context(|| partial.display().to_string())?;
        fs::rename(&partial, &kept).with_context(|| kept.display().to_string())?;
    }
    Ok(Some(kept))
}

fn fetch() -> anyhow::Result<String> {
    let scratch = Scratch::new("profile")?;
    process::output(
        Command::new("apt-get").args(["download", PACKAGE]).current_dir(scratch.path()),
    )?;
    let archive = fs::read_dir(scratch.path())
        .context("scratch")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {PACKAGE} left no file"))?;
    let tree = scratch.path().join("tree");
    process::output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&tree))?;
    let profile = tree.join(INSTALLED.trim_start_matches('/'));
    fs::read_to_string(&profile).with_context(|| format!("{PACKAGE} has no {INSTALLED}"))
}
