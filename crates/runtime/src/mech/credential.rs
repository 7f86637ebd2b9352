//! User, groups and umask.

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::plan::Process;
use crate::sync::fault::{Context, Fault, Step};

/// Becomes the process's user. Capabilities survive it, to be dropped next.
pub fn become_user(process: &Process) -> Result<(), Fault> {
    // Without it the change from 0 to another drops all at once.
    let changes = process.uid != 0;
    if changes {
        rustix::thread::set_keep_capabilities(true).at(Step::User, 0, "prctl PR_SET_KEEPCAPS")?;
    }
    let groups: Vec<Gid> = process.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // Denied in a user namespace without a privileged map (user_namespaces(7),
        // "setgroups"); with no groups asked for there is none to miss.
        Err(Errno::PERM) if groups.is_empty() => {}
        done => done.at(Step::Groups, 0, "setgroups")?,
    }
    let gid = Gid::from_raw(process.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::User, 0, "setresgid")?;
    let uid = Uid::from_raw(process.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::User, 0, "setresuid")?;
    if changes {
        rustix::thread::set_keep_capabilities(false).at(Step::User, 0, "prctl PR_SET_KEEPCAPS")?;
    }
    Ok(())
}

/// Sets the umask that was asked for, or the usual one: the runtime's own is a
/// matter of its caller's, and no container's.
pub fn set_umask(process: &Process) {
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
}
