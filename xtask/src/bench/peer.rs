//! Who takes part: OCI runtimes by their common command line, and the floor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::site::{Kind, Site};
use crate::process::{self, Outcome, Words};

/// No single step of any measurement takes this long; who does hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// One program in the comparison.
pub(crate) struct Peer {
    /// What it is called in the tables.
    pub(crate) name: String,
    /// Its executable.
    pub(crate) path: PathBuf,
    /// The first line of its `--version`.
    pub(crate) version: String,
    /// Whether it is the floor, which knows no command but "run".
    pub(crate) floor: bool,
}

impl Peer {
    /// A runtime at `path`, which must answer `--version`.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn runtime(name: &str, path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| path.display().to_string())?;
        let version = process::output(Command::new(&path).arg("--version"))?;
        let version = version.lines().next().unwrap_or_default().to_owned();
        Ok(Self { name: name.to_owned(), path, version, floor: false })
    }

    /// The floor.
    pub(crate) fn floor(path: PathBuf) -> Self {
        let version = "the same container by bare system calls".to_owned();
        Self { name: "floor".to_owned(), path, version, floor: true }
    }

    /// Where this peer keeps its state.
    pub(crate) fn state(&self, site: &Site) -> PathBuf {
        site.work.join("state").join(&self.name)
    }

    /// The peer with its `--root`, in an environment that is the same for all.
    pub(crate) fn command(&self, site: &Site) -> Command {
        self.command_with_state(site, &self.state(site))
    }

    /// The same with another `--root`: one that no cache of an earlier run is in.
    pub(crate) fn command_with_state(&self, _site: &Site, state: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if !self.floor {
            command.arg("--root").arg(state);
        }
        command
    }

    /// `run` of a bundle, or what the floor does in its place.
    pub(crate) fn run(&self, site: &Site, kind: Kind, id: &str) -> Command {
        self.run_with_state(site, kind, id, &self.state(site))
    }

    /// As [`Self::run`], with another `--root`.
    pub(crate) fn run_with_state(
        &self,
        site: &Site,
        kind: Kind,
        id: &str,
        state: &Path,
    ) -> Command {
        let mut command = self.command_with_state(site, state);
        if self.floor {
            command.arg(site.bundle(kind).join("rootfs")).arg(&site.cgroup).arg("/bin/true");
        } else {
            command.args(["run", "--bundle"]).arg(site.bundle(kind)).arg(id);
        }
        command
    }

    /// Makes a container that sleeps, and starts it.
    ///
    /// # Errors
    /// Either command fails.
    pub(crate) fn create_and_start(&self, site: &Site, id: &str) -> anyhow::Result<Duration> {
        let mut words = Words::new()?;
        let mut create = self.command(site);
        create.args(["create", "--bundle"]).arg(site.bundle(site.sleeping())).arg(id);
        let created = succeed(&mut create, &mut words)?;
        let started = succeed(self.command(site).args(["start", id]), &mut words)?;
        Ok(created + started)
    }

    /// Removes a container, whatever state it is in.
    ///
    /// # Errors
    /// The command fails.
    pub(crate) fn delete(&self, site: &Site, id: &str) -> anyhow::Result<Duration> {
        succeed(self.command(site).args(["delete", "--force", id]), &mut Words::new()?)
    }
}

/// Runs `command` within [`DEADLINE`] and returns how long it took.
///
/// # Errors
/// It fails or hangs: with the last lines it wrote to standard error.
pub(crate) fn succeed(command: &mut Command, words: &mut Words) -> anyhow::Result<Duration> {
    command.stderr(words.stdio()?);
    let outcome = process::run_within(command, DEADLINE)?;
    judge(&outcome, words)?;
    Ok(outcome.time)
}

/// An error unless `outcome` is a success.
///
/// # Errors
/// With how it ended and what was said.
pub(crate) fn judge(outcome: &Outcome, words: &mut Words) -> anyhow::Result<()> {
    if outcome.success() {
        return Ok(());
    }
    let said = words.take();
    if said.is_empty() {
        bail!("{}", outcome.words());
    }
    bail!("{}: {said}", outcome.words());
}
