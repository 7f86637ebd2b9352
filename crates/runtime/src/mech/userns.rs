//! The id maps of a new user namespace.

use std::ffi::CString;
use std::process::Command;

use husk_spec::IdMapping;
use rustix::io::Errno;
use rustix::process::Pid;

use super::proc::Proc;
use crate::plan::UserNamespace;
use crate::report::{Code, Error, Result, io_text};
use crate::sync::fault::{Context, Fault, Step};

/// Writes the maps of a process in a new user namespace: directly where the
/// kernel allows it, else by newuidmap(1) and newgidmap(1).
pub fn write_maps(namespace: &UserNamespace, pid: Pid, proc: &Proc) -> Result<()> {
    let maps = [
        ("uid", &namespace.uid_mappings, "linux.uidMappings"),
        ("gid", &namespace.gid_mappings, "linux.gidMappings"),
    ];
    for (kind, map, property) in maps {
        match write(proc, pid, &format!("{kind}_map"), &UserNamespace::text(map)) {
            Ok(()) => continue,
            Err(Errno::PERM) => {}
            Err(errno) => {
                return Err(Error::kernel(property, format_args!("write {kind}_map"), errno));
            }
        }
        if is_own_id(kind, map) {
            write_own(kind, map, property, pid, proc)?;
        } else {
            run_helper(kind, map, property, pid)?;
        }
    }
    Ok(())
}

fn write(proc: &Proc, pid: Pid, file: &str, text: &str) -> Result<(), Errno> {
    let path =
        CString::new(format!("{}/{file}", pid.as_raw_nonzero())).map_err(|_| Errno::INVAL)?;
    proc.write(&path, text.as_bytes())
}

/// Whether a map is the one line that anyone may write: the own id alone.
fn is_own_id(kind: &str, map: &[IdMapping]) -> bool {
    let own = match kind {
        "uid" => rustix::process::geteuid().as_raw(),
        _ => rustix::process::getegid().as_raw(),
    };
    matches!(map, [single] if single.host_id == own && single.size == 1)
}

/// user_namespaces(7): a group map without privilege takes the right to
/// setgroups(2) away first, or a process could leave a group that denies it something.
fn write_own(kind: &str, map: &[IdMapping], property: &str, pid: Pid, proc: &Proc) -> Result<()> {
    if kind == "gid" {
        write(proc, pid, "setgroups", "deny")
            .map_err(|errno| Error::kernel(property, "write setgroups", errno))?;
    }
    write(proc, pid, &format!("{kind}_map"), &UserNamespace::text(map))
        .map_err(|errno| Error::kernel(property, format_args!("write {kind}_map"), errno))
}

fn run_helper(kind: &str, map: &[IdMapping], property: &str, pid: Pid) -> Result<()> {
    let program = format!("new{kind}map");
    let missing = "install the package that holds newuidmap and newgidmap (uidmap, shadow-utils)";
    let Some(path) = husk_userns::find_program(&program) else {
        let detail = format!("{program} is in no absolute directory of PATH");
        return Err(Error::new(Code::Kernel, property, detail).hint(missing));
    };
    let mut command = Command::new(path);
    command.arg(pid.as_raw_nonzero().to_string());
    for line in map {
        command.args([line.container_id, line.host_id, line.size].map(|id| id.to_string()));
    }
    let output = command.output().map_err(|error| {
        let detail = format!("{program} cannot be run: {}", io_text(&error));
        Error::new(Code::Kernel, property, detail).hint(missing)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Code::Kernel, property, format_args!("{program}: {said}"))
        .hint(husk_userns::helper_hint(kind, &said)))
}

/// In the new namespace: its root, if it has one, so that what is made in the
/// container belongs to that and not to an unmapped id.
pub fn become_root(namespace: &UserNamespace) -> Result<(), Fault> {
    use rustix::process::{Gid, Uid};
    let first = |maps: &[IdMapping]| {
        let has_zero = maps.iter().any(|map| map.container_id == 0);
        if has_zero { 0 } else { maps.first().map_or(0, |map| map.container_id) }
    };
    let gid = Gid::from_raw(first(&namespace.gid_mappings));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::UserNamespace, 0, "setresgid")?;
    let uid = Uid::from_raw(first(&namespace.uid_mappings));
    rustix::thread::set_keep_capabilities(true).at(
        Step::UserNamespace,
        0,
        "prctl PR_SET_KEEPCAPS",
    )?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::UserNamespace, 0, "setresuid")
}

/// In a user namespace that exists: its root, where it has one. What it has
/// instead is settled by the change to the process's own user.
pub fn become_joined_root() -> Result<(), Fault> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_keep_capabilities(true).at(
        Step::UserNamespace,
        0,
        "prctl PR_SET_KEEPCAPS",
    )?;
    match rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno).at(Step::UserNamespace, 0, "setresgid"),
    }
    match rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno).at(Step::UserNamespace, 0, "setresuid"),
    }
}
