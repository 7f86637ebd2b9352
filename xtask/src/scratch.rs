//! A directory of our own that goes when its owner does.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::process;

/// A directory under the system's temporary one, mode 0700, removed on drop.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes `husk-PURPOSE-PID-N`.
    ///
    /// # Errors
    /// The directory cannot be made, or is there already: it is never taken over.
    pub(crate) fn new(purpose: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "husk-{purpose}-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("mkdir {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("xtask: {} is left behind: {error}", self.path.display());
        }
    }
}

/// A tmpfs, unmounted on drop.
pub(crate) struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one at `path`, which is made.
    ///
    /// # Errors
    /// What mkdir(2) or mount(8) refuses.
    pub(crate) fn mount(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir(path).with_context(|| format!("mkdir {}", path.display()))?;
        let mut mount = Command::new("mount");
        process::run(mount.args(["-t", "tmpfs", "-o", "mode=0700", "husk-bench"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
