//! Waiting for processes to end, and for the kernel's bookkeeping where nothing tells of it.
//!
//! By poll(2), which may fail without harm: the caller looks again then, a little too early.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How many processes are held by a descriptor at once, of the 1024 that a process may
/// open by default.
pub(crate) const AT_ONCE: usize = 128;

/// Waits for some time, or less.
pub(crate) fn pause(time: Duration) {
    let _ = poll(&mut [], timeout(time).as_ref());
}

/// Waits until processes have ended, but not longer than `patience`. Those that cannot be held
/// are taken for ended.
pub(crate) fn wait_for_ends(pids: &[i32], patience: Duration) {
    let deadline = Instant::now() + patience;
    for some in pids.chunks(AT_ONCE) {
        let opened = some.iter().filter_map(|pid| {
            let pid = if *pid > 0 { Pid::from_raw(*pid)? } else { return None };
            pidfd_open(pid, PidfdFlags::empty()).ok()
        });
        for pidfd in opened.collect::<Vec<_>>() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout(left).as_ref());
        }
    }
}

fn timeout(time: Duration) -> Option<Timespec> {
    Timespec::try_from(time).ok()
}
