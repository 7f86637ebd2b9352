//! Core scheduling, prctl(2), `PR_SCHED_CORE`: processes of different cookies
//! never run on the threads of one core at the same time, so that none learns
//! of another by what they share there.

use husk_sys::schedule;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::plan::Process;
use crate::plan::annotation::{CORE_SCHEDULING, Effort, property};
use crate::report::{self, Code, Error, Result};

/// Gives the container's first process a cookie, which all of them inherit.
pub fn separate(process: &Process, pid: Pid) -> Result<()> {
    match process.core_scheduling {
        None => Ok(()),
        Some(effort) => judge(effort, schedule::core_cookie(pid)),
    }
}

/// Joins the container's cookie, for the process to be born here to inherit it.
/// This process has it then, too: it only waits for that one from here on.
pub fn join(process: &Process, first: Option<Pid>) -> Result<()> {
    match (process.core_scheduling, first) {
        (Some(effort), Some(first)) => judge(effort, schedule::share_core_cookie(first)),
        _ => Ok(()),
    }
}

fn judge(effort: Effort, done: Result<(), Errno>) -> Result<()> {
    let why = match done {
        Ok(()) => return Ok(()),
        // prctl(2): an option that the kernel was built without.
        Err(Errno::INVAL) => "this kernel has no core scheduling (CONFIG_SCHED_CORE)",
        Err(Errno::NODEV) => "no core of this machine runs several threads",
        Err(errno) => return Err(Error::kernel(property(CORE_SCHEDULING), "prctl", errno)),
    };
    match effort {
        Effort::Best => {
            report::warning(format_args!("{}: {why}", property(CORE_SCHEDULING)));
            Ok(())
        }
        Effort::Strict => Err(Error::new(Code::Unsupported, property(CORE_SCHEDULING), why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_a_warning_or_an_error() {
        for errno in [Errno::INVAL, Errno::NODEV] {
            assert!(judge(Effort::Best, Err(errno)).is_ok());
            let said = judge(Effort::Strict, Err(errno)).unwrap_err().to_string();
            assert!(said.starts_with("annotations (io.github.husk.core-scheduling)"), "{said}");
        }
        for effort in [Effort::Best, Effort::Strict] {
            assert!(judge(effort, Ok(())).is_ok());
            assert!(judge(effort, Err(Errno::PERM)).is_err());
        }
    }
}
