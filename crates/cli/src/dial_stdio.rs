//! `system dial-stdio`: standard input and output become a connection to the API's socket, which
//! is how `docker -H ssh://HOST` reaches it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Result, file};
use husk_engine::rootless::is_rootless;

/// `system dial-stdio`.
#[derive(Debug, Args)]
pub(super) struct DialStdio {
    /// Socket of husk serve [default: $DOCKER_HOST, or the one that husk serve has by default]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl DialStdio {
    pub(super) fn run(&self) -> Result<u8> {
        let path = self.path()?;
        let mut from = UnixStream::connect(&path).map_err(file("connect to", &path))?;
        let mut to = from.try_clone().map_err(file("duplicate", &path))?;
        // It ends with the process: a blocked read of standard input cannot be ended otherwise.
        std::thread::spawn(move || {
            let _ = copy(&mut std::io::stdin().lock(), &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        copy(&mut from, &mut std::io::stdout().lock()).map_err(file("copy from", &path))?;
        Ok(0)
    }

    fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        match (host, is_rootless()) {
            (Some(host), _) => match host.strip_prefix("unix://") {
                Some(path) => Ok(PathBuf::from(path)),
                None => Err(Error::other(format_args!(
                    "DOCKER_HOST {host:?}: must be unix://PATH, or give --socket PATH"
                ))),
            },
            (None, false) => Ok(PathBuf::from("/run/husk.sock")),
            (None, true) => std::env::var_os("XDG_RUNTIME_DIR")
                .map(|path| PathBuf::from(path).join("docker.sock"))
                .ok_or_else(|| Error::other("XDG_RUNTIME_DIR is not set: give --socket PATH")),
        }
    }
}

/// Passes on what comes at once: a request is not a line.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..length).unwrap_or_default())?;
        to.flush()?;
    }
}
