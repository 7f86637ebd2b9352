//! `linux.netDevices`: network devices of the host that move into the container.

use rustix::process::Pid;

use crate::report::{Code, Error, Result};

/// Moves them all into the network namespace of a process.
pub fn move_all(devices: &[(String, String)], _pid: Pid) -> Result<()> {
    match devices.first() {
        None => Ok(()),
        Some((name, _)) => Err(Error::new(
            Code::Unsupported,
            format_args!("linux.netDevices ({name})"),
            "not built yet",
        )),
    }
}
