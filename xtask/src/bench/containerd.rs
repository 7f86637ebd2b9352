//! `ctr run` with a containerd of the run's own, which has no network to offer but the host's
//! and CNI's: it is measured with none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::engine::first_instructions;
use super::statistics::Summary;
use crate::process;

/// For containerd to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A containerd that ends with this.
pub(super) struct Containerd {
    daemon: Child,
    socket: PathBuf,
}

impl Containerd {
    /// Times of `ctr run` of the image in a docker archive.
    ///
    /// # Errors
    /// It is not there, or cannot run the image.
    pub(super) fn measure(scratch: &Path, image: &str, rounds: usize) -> anyhow::Result<Summary> {
        let containerd = Self::start(scratch)?;
        let names = process::output(&mut containerd.ctr(&["images", "import", image]))?;
        let name = process::output(&mut containerd.ctr(&["images", "ls", "-q"]))
            .ok()
            .and_then(|list| list.lines().next().map(str::to_owned))
            .with_context(|| format!("no image was imported: {names}"))?;
        first_instructions(rounds, |round| {
            containerd.ctr(&["run", "--rm", &name, &format!("bench{round}")])
        })
    }

    fn start(scratch: &Path) -> anyhow::Result<Self> {
        for program in ["containerd", "ctr", "containerd-shim-runc-v2"] {
            process::find(program).with_context(|| format!("{program} is not on PATH"))?;
        }
        let directory = scratch.join("run/containerd");
        fs::create_dir_all(&directory)?;
        let (run, root) = (directory.display(), scratch.join("containerd").display().to_string());
        let settings = format!(
            "version = 2\n\
             root = \"{root}\"\n\
             state = \"{run}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n\
             address = \"{run}/sock\"\n\
             [ttrpc]\n\
             address = \"{run}/ttrpc\"\n"
        );
        fs::write(directory.join("config.toml"), settings)?;
        let daemon = Command::new("containerd")
            .arg("--config")
            .arg(directory.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("containerd")?;
        let containerd = Self { daemon, socket: directory.join("sock") };
        let begin = Instant::now();
        while process::output(&mut containerd.ctr(&["version"])).is_err() {
            if begin.elapsed() > DEADLINE {
                bail!("containerd does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(containerd)
    }

    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&self.socket).args(arguments).stdin(Stdio::null());
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
