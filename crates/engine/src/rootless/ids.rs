//! The id maps of the user namespace: the caller is its root, the caller's subordinate ids
//! are the others (subuid(5), newuidmap(1)).
//!
//! newuidmap must be run from outside, where the ranges are the caller's. So a process is
//! forked off before unshare(2), and told when that is done.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use husk_sys::clone::{Cloned, clone};
use husk_sys::exec::exit_now;
use husk_userns::Range;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

use crate::error::{Result, file};

const KINDS: [&str; 2] = ["uid", "gid"];

/// What is to be mapped.
#[derive(Debug)]
pub(super) struct Maps {
    /// The caller's ids, and the subordinate ones: uid, gid.
    own: [u32; 2],
    ranges: [Vec<Range>; 2],
    /// Why there is the caller's own id alone.
    pub(super) lacking: Option<String>,
}

impl Maps {
    /// What the caller may map.
    pub(super) fn of_caller() -> Self {
        let own = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
        let ranges = KINDS.map(husk_userns::subordinate);
        let lacking = KINDS.iter().zip(&ranges).find_map(|(kind, ranges)| {
            ranges.is_empty().then(|| husk_userns::helper_hint(kind, ""))
        });
        Self { own, ranges, lacking }
    }

    /// Arguments of newuidmap(1) after the pid: inside, outside, how many; and again.
    fn arguments(&self, kind: usize) -> Vec<String> {
        let mut next = 1;
        let mut arguments = vec!["0".to_owned(), self.own[kind].to_string(), "1".to_owned()];
        for range in &self.ranges[kind] {
            arguments.extend([next, range.first, range.count].map(|number| number.to_string()));
            next = next.saturating_add(range.count);
        }
        arguments
    }
}

/// The process that will write the maps.
pub(super) struct Pending {
    pid: Pid,
    go: OwnedFd,
    words: File,
}

/// Forks it off.
///
/// # Errors
/// The errno of pipe2(2) or clone3(2).
pub(super) fn prepare(maps: &Maps) -> Result<Pending> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(file("make", "a pipe"));
    let (told, go) = pipe()?;
    let (words, say) = pipe()?;
    let target = std::process::id();
    match clone(0, None, false).map_err(file("make", "a process"))? {
        Cloned::Parent(pid, _) => Ok(Pending { pid, go, words: File::from(words) }),
        Cloned::Child => {
            // The pipe's other end is here too: without closing it, it would never end.
            drop(go);
            let asked = matches!(File::from(told).read(&mut [0]), Ok(1));
            let refused = asked.then(|| write_maps(maps, target)).and_then(Result::err);
            let _ = File::from(say).write_all(refused.unwrap_or_default().as_bytes());
            exit_now(0)
        }
    }
}

/// By newuidmap and newgidmap, of the package uidmap.
fn write_maps(maps: &Maps, target: u32) -> Result<(), String> {
    for (index, kind) in KINDS.into_iter().enumerate() {
        let program = format!("new{kind}map");
        let cannot = |why: &str| {
            format!(
                "{program} cannot be run ({why}): install the package that holds it (uidmap, shadow-utils)"
            )
        };
        let path = husk_userns::find_program(&program)
            .ok_or_else(|| cannot("no absolute directory of PATH has it"))?;
        let mut command = Command::new(path);
        let output = command.arg(target.to_string()).args(maps.arguments(index)).output();
        let output = output.map_err(|error| cannot(&error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            return Err(format!("{program}: {said} ({})", husk_userns::helper_hint(kind, &said)));
        }
    }
    Ok(())
}

impl Pending {
    /// Has the maps written, now that the namespace is there.
    ///
    /// # Errors
    /// Why they could not be.
    pub(super) fn finish(mut self) -> Result<(), String> {
        let told = rustix::io::write(&self.go, b"!");
        drop(self.go);
        let mut refusal = String::new();
        let heard = self.words.read_to_string(&mut refusal);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        match (told, heard) {
            (Ok(_), Ok(0)) => Ok(()),
            (Ok(_), Ok(_)) => Err(refusal),
            _ => Err("the process that maps user IDs ended unexpectedly".to_owned()),
        }
    }
}

/// Maps the caller's own ids alone, which takes no privilege (user_namespaces(7)). That
/// one may leave no group then: a group can deny something.
///
/// # Errors
/// The errno of write(2).
pub(super) fn map_own(maps: &Maps) -> Result<()> {
    let [uid, gid] = maps.own;
    for (name, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = Path::new("/proc/self").join(name);
        match std::fs::write(&path, text) {
            // newuidmap has done its part, newgidmap could not do its own.
            Err(error) if name == "uid_map" && error.raw_os_error() == Some(1) => {}
            written => written.map_err(file("write", &path))?,
        }
    }
    Ok(())
}

/// The first id that a map of /proc/PID/gid_map leaves out, counted from 0.
pub(super) fn end_of(map: &str) -> u32 {
    let mut ranges: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
            let (inside, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            Some((inside, count))
        })
        .collect();
    ranges.sort_unstable();
    let follow = |end: u32, (inside, count): (u32, u32)| match inside <= end {
        true => end.max(inside.saturating_add(count)),
        false => end,
    };
    ranges.into_iter().fold(0, follow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_without_a_gap() {
        let range = |first, count| Range { first, count };
        let ranges = [vec![range(100_000, 65_536), range(300_000, 10)], vec![range(7, 1)]];
        let maps = Maps { own: [1000, 1001], ranges, lacking: None };
        assert_eq!(maps.arguments(0).join(" "), "0 1000 1 1 100000 65536 65537 300000 10");
        assert_eq!(maps.arguments(1).join(" "), "0 1001 1 1 7 1");
    }

    #[test]
    fn the_end_of_a_map() {
        assert_eq!(end_of("         0       1000          1\n1 100000 65536\n"), 65_537);
        assert_eq!(end_of("0 1000 1\n5 7 9\n"), 1);
        assert_eq!(end_of(""), 0);
    }
}
