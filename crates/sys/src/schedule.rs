//! Scheduling, I/O priority, memory policy and personality of a process.

use rustix::io::Errno;
use rustix::process::Pid;

use crate::call::check;

/// `struct sched_attr`, sched_setattr(2); times in nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Size of this structure.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`.
    pub period: u64,
}

/// sched_setattr(2).
pub fn sched_setattr(pid: Pid, attributes: &SchedAttr) -> Result<(), Errno> {
    // SAFETY: the attributes are a whole sched_attr with its size in it.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            pid.as_raw_nonzero().get(),
            std::ptr::from_ref(attributes),
            0,
        )
    })
    .map(drop)
}

/// ioprio_set(2) for one process; `value` is class << 13 | priority.
pub fn ioprio_set(pid: Pid, value: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes numbers only.
    check(unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid.as_raw_nonzero().get(), value)
    })
    .map(drop)
}

/// sched_setaffinity(2) with a mask of any length: bit n of word n / 64 is CPU n.
pub fn sched_setaffinity(pid: Pid, mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads the length given.
    check(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            pid.as_raw_nonzero().get(),
            size_of_val(mask),
            mask.as_ptr(),
        )
    })
    .map(drop)
}

/// Lets this process run on every CPU that its cpuset has: the kernel leaves out the others.
pub fn reset_affinity() -> Result<(), Errno> {
    /// `NR_CPUS` of the largest kernels that are built.
    const CPUS: usize = 8192;
    let all = [u64::MAX; CPUS / 64];
    // SAFETY: the kernel reads the length given; 0 is the caller.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&all), all.as_ptr()) })
        .map(drop)
}

/// set_mempolicy(2) of this process; bit n of word n / 64 of the mask is node n.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let (mask, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told.
        _ => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the kernel reads `bits - 1` bits of the mask.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// personality(2) of this process.
pub fn personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) }).map(drop)
}

// linux/prctl.h: PR_SCHED_CORE, Linux 5.14.
const PR_SCHED_CORE: libc::c_int = 62;
const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
const PR_SCHED_CORE_SHARE_FROM: libc::c_ulong = 3;
const SCOPE_THREAD: libc::c_ulong = 0;
const SCOPE_THREAD_GROUP: libc::c_ulong = 1;

/// Gives a process a core scheduling cookie of its own, which its children
/// inherit. EINVAL without `CONFIG_SCHED_CORE`, ENODEV without SMT.
pub fn core_cookie(pid: Pid) -> Result<(), Errno> {
    core(PR_SCHED_CORE_CREATE, pid, SCOPE_THREAD_GROUP)
}

/// Takes another process's core scheduling cookie for this thread.
pub fn share_core_cookie(of: Pid) -> Result<(), Errno> {
    core(PR_SCHED_CORE_SHARE_FROM, of, SCOPE_THREAD)
}

fn core(command: libc::c_ulong, pid: Pid, scope: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: these commands take numbers only; the address must be 0.
    check(unsafe {
        libc::syscall(
            libc::SYS_prctl,
            PR_SCHED_CORE,
            command,
            libc::c_long::from(pid.as_raw_nonzero().get()),
            scope,
            0 as libc::c_ulong,
        )
    })
    .map(drop)
}
