//! The shim's own log: containerd reads the FIFO `log` of the bundle and copies it to its own.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Where messages go; nowhere, if containerd made no FIFO.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<File>,
}

impl Log {
    /// Opens the FIFO of the bundle that is the working directory. It is opened for reading as
    /// well, so that writing works on after containerd has gone, and does not block.
    pub(crate) fn open(bundle: &Path) -> Self {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(bundle.join("log"), flags, Mode::empty());
        Self { file: file.ok().map(File::from) }
    }

    /// One line about a container. A full FIFO loses it: nothing waits for a log.
    pub(crate) fn warn(&mut self, container: &str, message: &str) {
        if let Some(file) = &mut self.file {
            let line = format!("level=warning msg={message:?} container={container}\n");
            let _ = file.write_all(line.as_bytes());
        }
    }
}
