//! The clone of a container's first process, in the namespaces that clone3(2) makes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use husk_cgroup::Entry;
use husk_spec::NamespaceType;
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use rustix::process::{Pid, WaitOptions};

use crate::host;
use crate::mech::limit;
use crate::mech::namespace::{self, Opened};
use crate::plan::LaunchPlan;
use crate::process::setup::set_not_dumpable;
use crate::report::{Code, Error, Result};
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire::{self, Message};

/// What a container's process is cloned with.
pub struct CloneInit<'a> {
    /// The steps.
    pub plan: &'a LaunchPlan,
    /// Namespaces to join.
    pub joined: &'a [Opened],
    /// The ways into its cgroup.
    pub entry: &'a Entry,
}

impl CloneInit<'_> {
    /// Clones the process; `describe` puts a fault into words.
    ///
    /// One that joins a pid namespace is cloned outside of it, and enters it by one more
    /// clone when all else is done ([`crate::process::setup`]).
    pub fn clone_init(&self, describe: &dyn Fn(&Fault) -> Error) -> Result<Cloned> {
        let namespaces = &self.plan.namespaces;
        let by_itself = makes_namespaces_itself(self.plan);
        let beside = self.plan.user_namespace.is_some() && !self.joined.is_empty();
        if !by_itself && (beside || namespaces.joins(NamespaceType::User)) {
            return self.clone_via_intermediate(describe);
        }
        let flags = if by_itself { 0 } else { namespaces.clone_flags() };
        self.clone_process(flags, false).map_err(|errno| self.explain(errno))
    }

    /// By an intermediate process, which joins namespaces first. Beside a
    /// new user namespace: from inside of that there is no way into the others. Into a
    /// user namespace that exists: what is then made belongs to it. The
    /// container's process becomes our child by `CLONE_PARENT`.
    fn clone_via_intermediate(&self, describe: &dyn Fn(&Fault) -> Error) -> Result<Cloned> {
        match intermediate(|| self.join_and_clone())? {
            Ok(cloned) => Ok(cloned),
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
        let flags = self.plan.namespaces.clone_flags();
        self.clone_process(flags, true).at(Step::Sync, 0, "clone3")
    }

    fn clone_process(&self, flags: u32, sibling: bool) -> Result<Cloned, rustix::io::Errno> {
        clone(flags, self.entry.into.as_ref().map(AsFd::as_fd), sibling)
    }

    fn explain(&self, errno: rustix::io::Errno) -> Error {
        host::explain_clone(Error::kernel("linux.namespaces", "clone3", errno), self.plan)
    }
}

/// Whether the new process joins and makes its namespaces by setns(2) and unshare(2). It must
/// be outside of the pid namespace that it joins while it does, and the order is that of
/// `CloneInit::clone_via_intermediate`: one privilege is needed for what is joined, another
/// for what is made.
pub fn makes_namespaces_itself(plan: &LaunchPlan) -> bool {
    let has_user = plan.user_namespace.is_some() || plan.namespaces.joins(NamespaceType::User);
    has_user && plan.namespaces.joins(NamespaceType::Pid)
}

/// Clones by an intermediate process: that runs `steps`, which
/// end in a clone with `CLONE_PARENT`, so that the caller is the parent, and ends.
fn intermediate(steps: impl FnOnce() -> Result<Cloned, Fault>) -> Result<Result<Cloned, Fault>> {
    let failed = |op: &'static str| move |errno| Error::kernel("husk-oci", op, errno);
    // A socket of its own: on any other the new process could speak first.
    let (ours, theirs) = wire::pair().map_err(failed("socketpair"))?;
    let pid = match clone(0, None, false).map_err(failed("clone3"))? {
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
        _ => Err(Error::new(Code::Kernel, "clone3", "the intermediate process is gone")),
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
