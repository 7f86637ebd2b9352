//! Idmapped mounts, mount_setattr(2).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use husk_spec::NamespaceType;
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use husk_sys::mount::{MountAttr, mount_setattr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::namespace::Opened;
use super::proc::Proc;
use super::userns;
use crate::plan::{IdMap, LaunchPlan, UserNamespace, clone_flag};
use crate::sync::fault::{Context, Refused};
use crate::sync::wire;

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;

/// Maps the ids of a detached mount: by its own maps, or by those of the
/// container's user namespace.
pub fn apply(
    tree: &OwnedFd,
    map: &IdMap,
    plan: &LaunchPlan,
    joined: &[Opened],
    proc: &Proc,
) -> Result<(), Refused> {
    let own = UserNamespace {
        uid_mappings: map.uid_mappings.clone(),
        gid_mappings: map.gid_mappings.clone(),
    };
    let wanted = match (&plan.user_namespace, map.uid_mappings.is_empty()) {
        (_, false) => Some(&own),
        (Some(container), true) => Some(container),
        (None, true) => None,
    };
    let made;
    let user_namespace = match wanted {
        Some(namespace) => {
            made = namespace_with(namespace, proc)?;
            made.as_fd()
        }
        None => joined
            .iter()
            .find(|opened| opened.kind == NamespaceType::User)
            .map(|opened| opened.file.as_fd())
            .ok_or_else(|| Refused::because("idmap without mappings needs a user namespace"))?,
    };
    let attributes = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        userns_fd: user_namespace.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), c"", map.recursive, &attributes).map_err(|errno| Refused {
        op: "mount_setattr MOUNT_ATTR_IDMAP",
        errno: Some(errno),
        detail: match errno {
            Errno::INVAL => "its filesystem does not support idmapped mounts".to_owned(),
            Errno::PERM => "takes CAP_SYS_ADMIN over the filesystem".to_owned(),
            _ => String::new(),
        },
    })
}

/// A user namespace with these maps, held by its file alone: the process that
/// was needed to make it ends at once.
fn namespace_with(namespace: &UserNamespace, proc: &Proc) -> Result<OwnedFd, Refused> {
    let (ours, theirs) = wire::pair().op("socketpair")?;
    match clone(clone_flag(NamespaceType::User), None, false).op("clone3")? {
        Cloned::Child => {
            drop(ours);
            let _ = theirs.await_go();
            exec::exit_now(0)
        }
        Cloned::Parent(pid, _) => {
            drop(theirs);
            let made = open_namespace(namespace, pid, proc);
            // Closing it ends the process's wait.
            drop(ours);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            made
        }
    }
}

fn open_namespace(namespace: &UserNamespace, pid: Pid, proc: &Proc) -> Result<OwnedFd, Refused> {
    userns::write_maps(namespace, pid, proc)
        .map_err(|error| Refused::because(error.to_string()))?;
    let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).op("open ns/user")
}
