//! How the container's process comes to be: by clone3(2), in the namespaces that
//! only a birth can give.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use husk_cgroup::Entry;
use husk_spec::NamespaceType;
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use rustix::fs::{self, Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use crate::fault::{Context, Fault, Step};
use crate::host;
use crate::mech::limit;
use crate::mech::namespace::{self, Opened};
use crate::plan::{LaunchPlan, clone_flag};
use crate::report::{Code, Error, Result};
use crate::wire::{self, Message};

/// What a container's process is born with.
pub struct Birth<'a> {
    /// The steps.
    pub plan: &'a LaunchPlan,
    /// Namespaces to join.
    pub joined: &'a [Opened],
    /// The ways into its cgroup.
    pub entry: &'a Entry,
}

impl Birth<'_> {
    /// Clones the process; `describe` puts a fault into words.
    pub fn give(&self, describe: &dyn Fn(&Fault) -> Error) -> Result<Cloned> {
        let beside = self.plan.user_namespace.is_some() && !self.joined.is_empty();
        if beside || self.plan.namespaces.joins(NamespaceType::User) {
            return self.give_joined(describe);
        }
        let pid_namespace = self.joined.iter().find(|opened| opened.kind == NamespaceType::Pid);
        match pid_namespace {
            None => self.clone_process(false).map_err(|errno| self.explain(errno)),
            Some(opened) => self.give_into(opened, describe),
        }
    }

    /// Into a pid namespace that exists: setns(2) gives it to children only, and
    /// it is then taken back.
    fn give_into(&self, opened: &Opened, describe: &dyn Fn(&Fault) -> Error) -> Result<Cloned> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = fs::open(c"/proc/self/ns/pid", flags, Mode::empty())
            .map_err(|errno| Error::kernel("/proc/self/ns/pid", "open", errno))?;
        namespace::enter(opened).map_err(|fault| describe(&fault))?;
        let born = self.clone_process(false).map_err(|errno| self.explain(errno));
        if let Ok(Cloned::Parent(..)) = born {
            let flag = clone_flag(NamespaceType::Pid);
            husk_sys::namespace::setns(own.as_fd(), flag)
                .map_err(|errno| Error::kernel("/proc/self/ns/pid", "setns", errno))?;
        }
        born
    }

    /// By way of a process between, which joins namespaces before the birth. Beside a
    /// new user namespace: from inside of that there is no way into the others. Into a
    /// user namespace that exists: what is made at the birth then belongs to it. The
    /// container's process becomes our child by `CLONE_PARENT`.
    fn give_joined(&self, describe: &dyn Fn(&Fault) -> Error) -> Result<Cloned> {
        match between(None, || self.join_and_clone())? {
            Ok(born) => Ok(born),
            Err(fault) => match (fault.step, fault.errno) {
                (Step::Sync, Some(errno)) => Err(self.explain(errno)),
                _ => Err(describe(&fault)),
            },
        }
    }

    fn join_and_clone(&self) -> Result<Cloned, Fault> {
        if self.plan.namespaces.joins(NamespaceType::User) {
            limit::raise_hard(&self.plan.process, None)?;
            // Who is in there already must not look into the runtime (CVE-2016-9962).
            set_not_dumpable()?;
        }
        namespace::join(self.joined)?;
        if let Some(opened) = self.joined.iter().find(|opened| opened.kind == NamespaceType::Pid) {
            namespace::enter(opened)?;
        }
        self.clone_process(true).at(Step::Sync, 0, "clone3")
    }

    fn clone_process(&self, of_parent: bool) -> Result<Cloned, rustix::io::Errno> {
        let flags = self.plan.namespaces.clone_flags();
        clone(flags, self.entry.into.as_ref().map(AsFd::as_fd), of_parent)
    }

    fn explain(&self, errno: rustix::io::Errno) -> Error {
        host::explain_clone(Error::kernel("linux.namespaces", "clone3", errno), self.plan)
    }
}

/// Takes this process's memory and descriptors out of other processes' reach.
pub fn set_not_dumpable() -> Result<(), Fault> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(
        Step::Sync,
        0,
        "prctl PR_SET_DUMPABLE",
    )
}

/// Clones by way of a process between, in the cgroup `into`: that runs `steps`, which
/// end in a clone with `CLONE_PARENT`, so that the caller is the parent, and ends.
pub fn between(
    into: Option<BorrowedFd<'_>>,
    steps: impl FnOnce() -> Result<Cloned, Fault>,
) -> Result<Result<Cloned, Fault>> {
    let failed = |op: &'static str| move |errno| Error::kernel("husk-oci", op, errno);
    // A socket of its own: on any other the new process could speak first.
    let (ours, theirs) = wire::pair().map_err(failed("socketpair"))?;
    let pid = match clone(0, into, false).map_err(failed("clone3"))? {
        Cloned::Parent(pid, _) => pid,
        Cloned::Child => match steps() {
            Ok(Cloned::Child) => return Ok(Ok(Cloned::Child)),
            Ok(Cloned::Parent(_, pidfd)) => {
                let _ = theirs.send_with(&Message::Ready, pidfd.as_fd());
                exec::exit_now(0)
            }
            Err(fault) => {
                let _ = theirs.send(&Message::Fault(fault));
                exec::exit_now(1)
            }
        },
    };
    drop(theirs);
    let received = ours.receive().map_err(failed("recvmsg"))?;
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    match received {
        Some((Message::Ready, Some(pidfd))) => {
            Ok(Ok(Cloned::Parent(pid_of(pidfd.as_fd())?, pidfd)))
        }
        Some((Message::Fault(fault), _)) => Ok(Err(fault)),
        _ => Err(Error::new(Code::Kernel, "clone3", "the process between is gone")),
    }
}

/// The process that a pidfd stands for, as this pid namespace numbers it:
/// `Pid:` of its fdinfo, pidfd_open(2).
fn pid_of(pidfd: BorrowedFd<'_>) -> Result<Pid> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text =
        std::fs::read_to_string(&path).map_err(|error| Error::io(Code::Kernel, &path, &error))?;
    text.lines()
        .find_map(|line| {
            // -1 once it has been reaped.
            let number = line.strip_prefix("Pid:")?.trim().parse().ok().filter(|pid| *pid > 0)?;
            Pid::from_raw(number)
        })
        .ok_or_else(|| Error::new(Code::Kernel, path, "names no process"))
}
