//! `linux.sysctl`.

use rustix::io::Errno;

use super::proc::Proc;
use crate::plan::Sysctl;
use crate::sync::fault::{Context, Fault, Step};

/// Writes them through a procfs of which nothing is covered. Which namespace is
/// meant follows from the writer, not from the mount.
pub fn write(sysctls: &[Sysctl], proc: &Proc) -> Result<(), Fault> {
    let mut private = None;
    for (index, sysctl) in sysctls.iter().enumerate() {
        let value = sysctl.value.as_bytes();
        let done = match proc.write(&sysctl.path, value) {
            // Inside another container /proc/sys is a read-only mount of its own.
            Err(Errno::XDEV | Errno::ROFS) => {
                if private.is_none() {
                    private = Some(Proc::private().at(Step::Sysctl, index, "fsopen proc")?);
                }
                private.as_ref().map_or(Err(Errno::NOENT), |proc| proc.write(&sysctl.path, value))
            }
            done => done,
        };
        done.at(Step::Sysctl, index, "write")?;
    }
    Ok(())
}
