//! Flags of seccomp(2), linux/seccomp.h.

use husk_spec::{Seccomp, SeccompFlag};

/// Give the filter to all threads.
pub const FILTER_FLAG_TSYNC: u32 = 1;
/// Log every action but ALLOW.
pub const FILTER_FLAG_LOG: u32 = 1 << 1;
/// Leave speculative store bypass as it is.
pub const FILTER_FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// Return the descriptor of a listener.
pub const FILTER_FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Report a thread that cannot be synchronised as ESRCH (Linux 5.7).
pub const FILTER_FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// Once received, a notified call is interrupted by fatal signals only (5.19).
pub const FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// The flags a profile asks for.
pub(crate) fn flags(profile: &Seccomp, notifies: bool) -> u32 {
    let mut flags = 0;
    for flag in &profile.flags {
        flags |= match flag {
            SeccompFlag::Tsync => FILTER_FLAG_TSYNC,
            SeccompFlag::Log => FILTER_FLAG_LOG,
            SeccompFlag::SpecAllow => FILTER_FLAG_SPEC_ALLOW,
            SeccompFlag::WaitKillableRecv => FILTER_FLAG_WAIT_KILLABLE_RECV,
        };
    }
    if notifies {
        flags |= FILTER_FLAG_NEW_LISTENER;
        // With both, a result above 0 would be a descriptor or a thread: the
        // kernel wants the third flag to tell them apart.
        if flags & FILTER_FLAG_TSYNC != 0 {
            flags |= FILTER_FLAG_TSYNC_ESRCH;
        }
    } else {
        // The kernel refuses it where there is nothing to receive.
        flags &= !FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    flags
}
