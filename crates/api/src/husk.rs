//! Calling the program `husk` for builds and archives, which run in processes of their own: a
//! client that goes away ends them by a signal.

use std::process::{Command, Stdio};

use crate::service::Service;

impl Service {
    /// A command of it, with this engine's directories.
    pub(crate) fn husk(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.home.root).arg("--runroot").arg(&self.home.run);
        command.stdin(Stdio::null());
        command
    }
}
