//! Which runtime is called, and the arguments that every command of it gets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A runtime and the directory of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    program: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
    criu: Option<PathBuf>,
}

/// No executable of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound(String);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is neither beside this program nor in an absolute directory of PATH", self.0)
    }
}

impl std::error::Error for NotFound {}

impl Runtime {
    /// A runtime by its path.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), root: root.into(), systemd_cgroup: false, criu: None }
    }

    /// Looks for a runtime by name: a path as it is, else beside this program, else in the
    /// absolute directories of PATH. Relative ones are passed over: whoever can write the
    /// working directory could have a program of their choice executed.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str, root: impl Into<PathBuf>) -> Result<Self, NotFound> {
        if name.starts_with('/') {
            return Ok(Self::new(name, root));
        }
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|parent| parent.join(name));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let listed = std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name));
        beside
            .into_iter()
            .chain(listed)
            .find(|candidate| candidate.is_file())
            .map(|program| Self::new(program, root))
            .ok_or_else(|| NotFound(name.to_owned()))
    }

    /// Has systemd make the cgroups, `--systemd-cgroup`.
    #[must_use]
    pub fn with_systemd_cgroup(mut self, systemd_cgroup: bool) -> Self {
        self.systemd_cgroup = systemd_cgroup;
        self
    }

    /// The program CRIU, `--criu`; empty for the one in PATH.
    #[must_use]
    pub fn with_criu(mut self, criu: &str) -> Self {
        self.criu = Some(criu).filter(|path| !path.is_empty()).map(PathBuf::from);
        self
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The directory of its state, `--root`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A command with its global arguments; nothing is read from standard input, and what it
    /// says goes to `log` in JSON, which [`crate::Outcome::read`] reads.
    #[must_use]
    pub fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(log);
        command.args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        if let Some(criu) = &self.criu {
            command.arg("--criu").arg(criu);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}
