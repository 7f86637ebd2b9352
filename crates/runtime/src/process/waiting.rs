//! First processes that wait for `start` with the capability to load their filter, and who may not
//! come near them meanwhile.
//!
//! Without no_new_privs, and with a profile that refuses what the wait takes, `CAP_SYS_ADMIN` is
//! kept until execve(2) ([`crate::process::confinement`]). The container's own processes cannot
//! take such a process over, as their bounding set lacks `CAP_SYS_PTRACE`. One that is added with
//! it could, so it has to wait for the program.

use std::fs;
use std::os::unix::fs::MetadataExt;

use husk_spec::NamespaceType;
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use crate::mech::namespace::Opened;
use crate::mech::proc::Proc;
use crate::report::{Code, Error, Result};
use crate::state::record;

/// Refuses a process that may have `bounding` beside a first process that waits so.
pub fn check_process(bounding: u64, first: Pid, proc: &Proc) -> Result<()> {
    if traces(bounding) && holds_more(first, proc) {
        return Err(refusal("process.capabilities"));
    }
    Ok(())
}

/// The same for a container that joins a pid namespace.
pub fn check_joined(bounding: u64, joined: &[Opened], proc: &Proc) -> Result<()> {
    let Some(namespace) = joined.iter().find(|opened| opened.kind == NamespaceType::Pid) else {
        return Ok(());
    };
    if !traces(bounding) {
        return Ok(());
    }
    let failed = |errno| Error::kernel("linux.namespaces", "fstat", errno);
    let inode = rustix::fs::fstat(&namespace.file).map_err(failed)?.st_ino;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        let is_inside =
            || fs::metadata(entry.path().join("ns/pid")).is_ok_and(|status| status.ino() == inode);
        if holds_more(pid, proc) && is_inside() {
            return Err(refusal("linux.namespaces"));
        }
    }
    Ok(())
}

fn traces(bounding: u64) -> bool {
    bounding & CapabilitySet::SYS_PTRACE.bits() != 0
}

/// Whether a process is the first one of its pid namespace, has not executed anything, and has
/// capabilities that its bounding set lacks. One that is gone does not.
fn holds_more(pid: Pid, proc: &Proc) -> bool {
    record::status(pid, proc).is_some_and(|text| is_privileged(&text))
        && record::process_flags(pid, proc)
            .is_some_and(|(_, flags)| flags & record::FORKNOEXEC != 0)
}

fn is_privileged(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bits = |name: &str| field(name).and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let number = field("NSpid:").and_then(|numbers| numbers.split_whitespace().last());
    match (number, bits("CapPrm:"), bits("CapBnd:")) {
        (Some("1"), Some(permitted), Some(bounding)) => permitted & !bounding != 0,
        _ => false,
    }
}

fn refusal(property: &str) -> Error {
    Error::new(
        Code::WrongState,
        property,
        "CAP_SYS_PTRACE beside a container that waits for `start` with a privilege to load its seccomp filter",
    )
    .hint("start that container first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_process_with_more_than_its_bounding_set() {
        let status = |number: &str, permitted: &str, bounding: &str| {
            format!("Name:\tx\nNSpid:\t{number}\nCapPrm:\t{permitted}\nCapBnd:\t{bounding}\n")
        };
        let (none, admin) = ("0000000000000000", "0000000000200000");
        assert!(is_privileged(&status("4711\t1", admin, none)));
        assert!(!is_privileged(&status("4711\t2", admin, none)));
        assert!(!is_privileged(&status("4711\t1", admin, admin)));
        assert!(!is_privileged(&status("4711\t1", none, none)));
        assert!(!is_privileged(""));
    }
}
