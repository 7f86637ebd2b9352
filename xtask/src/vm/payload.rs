//! The second disk, made anew for each run: the programs under test and the script.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::image;
use super::machine::END;

const RUN: &str = include_str!("inside/run.sh");
const AS_USER: &str = include_str!("inside/as-user.sh");
const SMOKE: &str = include_str!("inside/smoke.sh");

/// What is put on the disk, which the machine mounts on /husk.
pub(super) struct Payload {
    /// The programs, by name: in /husk itself.
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// Test executables, by name: in /husk/deps, as cargo has them.
    pub(super) tests: BTreeMap<String, PathBuf>,
    /// Other files: in /husk/files.
    pub(super) files: Vec<PathBuf>,
    /// The runtime under test, a path inside the machine.
    pub(super) runtime: String,
    /// What to run: words for the shell.
    pub(super) script: String,
}

impl Payload {
    /// Writes the disk into `directory`.
    ///
    /// # Errors
    /// A file cannot be copied, or the disk not be made.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let tree = directory.join("payload");
        for sub in ["deps", "files", "systemd"] {
            let sub = tree.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("mkdir {}", sub.display()))?;
        }
        for (name, path) in &self.programs {
            copy(path, &tree.join(name))?;
        }
        for (name, path) in &self.tests {
            copy(path, &tree.join("deps").join(name))?;
        }
        for path in &self.files {
            let name = path.file_name().context("a file has no name")?;
            copy(path, &tree.join("files").join(name))?;
        }
        // A suite knows a runtime by its path alone: here is one with the systemd driver.
        let with_systemd = format!("#!/bin/sh\nexec {} --systemd-cgroup \"$@\"\n", self.runtime);
        executable(&tree.join("systemd/husk-oci"), &with_systemd)?;
        executable(&tree.join("as-user"), AS_USER)?;
        executable(&tree.join("smoke"), SMOKE)?;
        executable(&tree.join("job"), &self.script)?;
        let run = RUN.replace("@RUNTIME@", &self.runtime).replace("@END@", END);
        executable(&tree.join("run"), &run)?;
        let disk = directory.join("payload.ext4");
        let size = format!("{}M", 512 + bytes(&tree) / (1024 * 1024));
        image::make_disk(&disk, &tree, &size)?;
        fs::remove_dir_all(&tree).context("rm payload")?;
        Ok(disk)
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).map(|_| ()).with_context(|| format!("copy {}", from.display()))
}

fn executable(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("chmod")
}

fn bytes(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
