//! What the runtime sets for the container process from outside, since it has
//! the privilege and the process may not: rlimits, OOM score, priorities, CPUs.

use std::ffi::CString;

use husk_sys::schedule;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit};

use super::proc::Proc;
use crate::plan::Process;
use crate::report::{Error, Result};
use crate::sync::fault::{Context, Fault, Step};

/// Raises hard limits of a process that is, or is about to be, in a user
/// namespace other than the runtime's: in there nobody may (setrlimit(2)).
pub fn raise_hard(process: &Process, pid: Option<Pid>) -> Result<(), Fault> {
    raise(process, pid, |_| true)
}

fn raise(process: &Process, pid: Option<Pid>, which: fn(Resource) -> bool) -> Result<(), Fault> {
    for (index, resource, limit) in process.rlimits.iter().filter(|(_, one, _)| which(*one)) {
        let current = rustix::process::getrlimit(*resource);
        let above = |wanted: Option<u64>| match (wanted, current.maximum) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(maximum)) => wanted > maximum,
        };
        if above(limit.maximum) {
            let raised = Rlimit { current: current.current, maximum: limit.maximum };
            rustix::process::prlimit(pid, *resource, raised).at(
                Step::Rlimits,
                *index,
                "prlimit",
            )?;
        }
    }
    Ok(())
}

/// Sets this process's rlimits but for that on processes: late, since a small one is in the
/// way of what comes before, and while it still has the privilege.
pub fn set_own(process: &Process) -> Result<(), Fault> {
    set_those(process, |resource| resource != Resource::Nproc)
}

/// Makes room for the limit on processes, which [`set_process_limit`] sets after the last
/// process of ours has been made: to raise it takes a privilege, to lower it none.
pub fn allow_process_limit(process: &Process) -> Result<(), Fault> {
    raise(process, None, |resource| resource == Resource::Nproc)
}

/// Sets the limit on processes.
pub fn set_process_limit(process: &Process) -> Result<(), Fault> {
    set_those(process, |resource| resource == Resource::Nproc)
}

fn set_those(process: &Process, which: fn(Resource) -> bool) -> Result<(), Fault> {
    for (index, resource, limit) in process.rlimits.iter().filter(|(_, one, _)| which(*one)) {
        rustix::process::setrlimit(*resource, *limit).at(Step::Rlimits, *index, "setrlimit")?;
    }
    Ok(())
}

/// Sets the priorities of a process that has not run the user's program yet.
pub fn apply(process: &Process, pid: Pid) -> Result<()> {
    let property = process.property;
    if let Some(attributes) = &process.scheduler {
        schedule::sched_setattr(pid, attributes).map_err(|errno| {
            Error::kernel(format_args!("{property}.scheduler"), "sched_setattr", errno)
        })?;
    }
    if let Some(priority) = process.io_priority {
        schedule::ioprio_set(pid, priority).map_err(|errno| {
            Error::kernel(format_args!("{property}.ioPriority"), "ioprio_set", errno)
        })?;
    }
    Ok(())
}

/// Sets the score by which the OOM killer chooses, proc_pid_oom_score_adj(5).
pub fn set_oom_score(process: &Process, pid: Pid, proc: &Proc) -> Result<()> {
    let property = process.property;
    if let Some(score) = process.oom_score_adj {
        let path = CString::new(format!("{}/oom_score_adj", pid.as_raw_nonzero()))
            .map_err(|_| Error::invalid("oomScoreAdj", "not a path"))?;
        proc.write(&path, score.to_string().as_bytes()).map_err(|errno| {
            let error =
                Error::kernel(format_args!("{property}.oomScoreAdj ({score})"), "write", errno);
            match errno {
                Errno::ACCESS => error.hint("to lower it takes CAP_SYS_RESOURCE"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

/// Takes back a mask of CPUs that the runtime has from its caller (taskset(1), systemd's
/// `CPUAffinity=`): this process is to have all of its cgroup. Where an outer container's filter
/// refuses that, the mask stays.
pub fn reset_affinity() {
    let _ = schedule::reset_affinity();
}

/// Sets this process's own score, which those that it clones inherit.
pub fn set_own_oom_score(process: &Process, proc: &Proc) -> Result<(), Fault> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    proc.write(c"self/oom_score_adj", score.to_string().as_bytes()).at(Step::OomScore, 0, "write")
}

/// Sets the CPUs of a process, `process.execCPUAffinity`.
pub fn set_affinity(process: &Process, name: &str, mask: Option<&[u64]>, pid: Pid) -> Result<()> {
    let Some(mask) = mask else {
        return Ok(());
    };
    schedule::sched_setaffinity(pid, mask).map_err(|errno| {
        Error::kernel(
            format_args!("{}.execCPUAffinity.{name}", process.property),
            "sched_setaffinity",
            errno,
        )
    })
}
