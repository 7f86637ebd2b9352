//! A procfs of a pid namespace that the container joins.
//!
//! A procfs shows the pid namespace of the process that opens it, and ours stays outside of the
//! joined one until it has nothing of the host's left. Linux 6.18 takes the namespace as an
//! option. Before, a process has to be in there: it is made so that it has nothing to take away,
//! and its privilege is over a user namespace with nobody else in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_spec::NamespaceType;
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use husk_sys::mount::{MountAttr, mount_setattr};
use husk_sys::namespace;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsmount, fsopen, move_mount, unmount,
};
use rustix::process::{
    DumpableBehavior, WaitOptions, fchdir, pivot_root, set_dumpable_behavior, waitpid,
};

use crate::inject;
use crate::plan::{Propagation, clone_flag};
use crate::sync::fault::{Context, Refused};
use crate::sync::wire::{self, Message, Wire};

/// A context of fsopen(2) for a procfs of a pid namespace.
pub fn open_context(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).op("fsopen")?;
    match fsconfig_set_fd(context.as_fd(), c"pidns", pid_namespace) {
        Ok(()) if inject::lacks_pidns() => open_inside(pid_namespace),
        Ok(()) => Ok(context),
        // An option that this kernel does not know.
        Err(Errno::INVAL) => open_inside(pid_namespace),
        Err(errno) => Err(errno).op("fsconfig pidns"),
    }
}

/// By a process in the pid namespace, which is made by another one outside.
fn open_inside(pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let (ours, theirs) = wire::pair().op("socketpair")?;
    let pid = match clone(0, None, false).op("clone3")? {
        Cloned::Parent(pid, _) => pid,
        Cloned::Child => {
            let told = match leave_the_host(&theirs, pid_namespace) {
                Ok(()) => clone_inside(&theirs),
                Err(errno) => Err(errno),
            };
            let status = told.map_or_else(Errno::raw_os_error, |()| 0);
            exec::exit_now(status)
        }
    };
    drop(theirs);
    let received = ours.receive().op("recvmsg")?;
    let ended = waitpid(Some(pid), WaitOptions::empty()).op("waitpid")?;
    match received {
        Some((Message::Ready, Some(context))) => Ok(context),
        _ => {
            let status = ended.and_then(|(_, status)| status.exit_status()).unwrap_or(0);
            let errno = (status != 0).then(|| Errno::from_raw_os_error(status));
            let detail = "a procfs of a pid namespace that is joined takes Linux 6.18, or a user namespace (user.max_user_namespaces)";
            Err(Refused { errno, ..Refused::because(detail) })
        }
    }
}

/// Leaves this process with an empty root, no descriptors but `wire`, and no words of the
/// caller's, and has its children be in the pid namespace.
fn leave_the_host(wire: &Wire, pid_namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    enter_empty_root()?;
    namespace::setns(pid_namespace, clone_flag(NamespaceType::Pid))?;
    husk_sys::arguments::erase();
    exec::close_all_but(0, &[wire.as_fd()])
}

/// Exchanges all mounts of this process for one empty directory.
fn enter_empty_root() -> Result<(), Errno> {
    namespace::unshare(clone_flag(NamespaceType::Mount))?;
    let old = openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // What happens here to mounts that are shared with the host would happen there, too.
    let slave = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
    mount_setattr(old.as_fd(), c"", true, &slave)?;
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let empty = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(empty.as_fd(), c"", CWD, c"/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&empty)?;
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)
}

/// Clones the process inside, which sends the context, and waits for its end.
fn clone_inside(wire: &Wire) -> Result<(), Errno> {
    let flags = clone_flag(NamespaceType::User) | clone_flag(NamespaceType::Mount);
    match clone(flags, None, false)? {
        Cloned::Parent(pid, _) => {
            let ended = waitpid(Some(pid), WaitOptions::empty())?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(status) => Err(Errno::from_raw_os_error(status)),
                None => Err(Errno::CHILD),
            }
        }
        Cloned::Child => {
            let sent = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)
                .and_then(|context| wire.send_with(&Message::Ready, context.as_fd()));
            exec::exit_now(sent.map_or_else(Errno::raw_os_error, |()| 0))
        }
    }
}
