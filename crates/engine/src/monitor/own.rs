//! The monitor's own process: nothing of its caller's comes along.
//!
//! Whoever starts a container may have files open, signals ignored, limits lowered and itself
//! bound to a CPU. The program in the container is not to notice, and neither is the caller: it
//! gets no child that it would have to wait for, and its locks and pipes are not kept open.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CpuSet;

use husk_sys::clone::fork;

use crate::error::{Result, file};

/// The name in ps(1) and top(1).
const NAME: &std::ffi::CStr = c"husk-monitor";

/// As many descriptors as the program may have (podman's default; systemd's highest), where the
/// hard limit allows: there are programs that close each one that they may have.
const MAX_FILES: u64 = 1 << 20;

/// The kernel's own soft limit for the stack: with none mmap(2) would use another layout.
const STACK: u64 = 8 << 20;

/// Leaves the caller behind. The process that was called ends, so that the one that goes on is
/// not the caller's child; of descriptors only standard input, output and error are left.
///
/// To be called before anything else is opened, and by a single-threaded process.
///
/// # Errors
/// The errno of what failed.
pub fn leave_caller() -> Result<()> {
    husk_sys::exec::close_all_but(3, &[]).map_err(file("close", "the caller's descriptors"))?;
    if fork().map_err(file("fork", "the monitor"))?.is_some() {
        husk_sys::exec::exit_now(0);
    }
    // Of its own session: the shell's signals are not for it.
    rustix::process::setsid().map_err(file("begin", "a session"))?;
    husk_sys::signal::restore_own_defaults().map_err(file("reset", "the signals"))?;
    let _ = rustix::thread::set_name(NAME);
    // What is made in the container's root is Docker's there: the caller's umask is not.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    reset_priority();
    raise_limits();
    Ok(())
}

/// CPU affinity, nice value and OOM score, as far as we may: the program is the container's, and
/// not a part of the job that has started it.
fn reset_priority() {
    let mut every = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        every.set(cpu);
    }
    // The kernel takes what the cpuset allows of it.
    let _ = rustix::thread::sched_setaffinity(None, &every);
    let _ = rustix::process::setpriority_process(None, 0);
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// Soft limits as Docker's service has them: up to the hard ones.
fn raise_limits() {
    for resource in [
        Resource::Nofile,
        Resource::Nproc,
        Resource::Core,
        Resource::Cpu,
        Resource::Data,
        Resource::Fsize,
        Resource::As,
        Resource::Memlock,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Rss,
        Resource::Stack,
    ] {
        let limit = getrlimit(resource);
        let raised = raised(resource, &limit);
        if raised != limit {
            let _: Result<(), Errno> = setrlimit(resource, raised);
        }
    }
}

fn raised(resource: Resource, limit: &Rlimit) -> Rlimit {
    let most = |wanted: u64| Some(limit.maximum.map_or(wanted, |hard| hard.min(wanted)));
    let current = match resource {
        Resource::Nofile => most(MAX_FILES).max(limit.current),
        Resource::Stack => most(STACK),
        _ => limit.maximum,
    };
    Rlimit { current, maximum: limit.maximum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_within_the_hard_ones() {
        let limit = |current, maximum| Rlimit { current, maximum };
        let files = |current, maximum| raised(Resource::Nofile, &limit(current, maximum)).current;
        assert_eq!(files(Some(1024), Some(4096)), Some(4096));
        assert_eq!(files(Some(1024), None), Some(MAX_FILES));
        assert_eq!(files(Some(1 << 30), Some(1 << 30)), Some(1 << 30), "never lowered");
        let stack = |current, maximum| raised(Resource::Stack, &limit(current, maximum)).current;
        assert_eq!(stack(None, None), Some(STACK));
        assert_eq!(stack(Some(4096), Some(8192)), Some(8192));
        assert_eq!(raised(Resource::Core, &limit(Some(0), None)).current, None);
    }
}
