//! Landlock, landlock(7): the rules are made as root of the container, which
//! reaches every path, and come into force as late as they can.

use std::os::fd::{AsFd, OwnedFd};

use husk_sys::landlock;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::resolve;
use crate::plan::Landlock;
use crate::sync::fault::{Context, Fault, Step};

/// Makes the rules. A path that leads nowhere is an error: what it should
/// allow would be denied.
pub fn rules(landlock: &Landlock) -> Result<OwnedFd, Fault> {
    let failed = |op: &str, path: &std::ffi::CStr| {
        let op = format!("{op} {}", path.to_string_lossy());
        move |errno: Errno| Fault {
            step: Step::Landlock,
            index: 0,
            op: op.clone().into(),
            errno: Some(errno),
            detail: String::new(),
        }
    };
    let ruleset = landlock::create_ruleset(&landlock.handled).at(
        Step::Landlock,
        0,
        "landlock_create_ruleset",
    )?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The root of this process, which is the container's by now.
    let root = fs::open(c"/", flags, Mode::empty()).at(Step::Landlock, 0, "open /")?;
    for (path, access) in &landlock.paths {
        let file = resolve::open(root.as_fd(), path).map_err(failed("open", path))?;
        let status = fs::fstat(&file).map_err(failed("fstat", path))?;
        let directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        let access = Landlock::of_file(*access, directory);
        landlock::allow_path(ruleset.as_fd(), file.as_fd(), access)
            .map_err(failed("landlock_add_rule", path))?;
    }
    for (port, access) in &landlock.ports {
        landlock::allow_port(ruleset.as_fd(), *port, *access).at(
            Step::Landlock,
            0,
            "landlock_add_rule",
        )?;
    }
    Ok(ruleset)
}

/// Puts them in force.
pub fn restrict(ruleset: &OwnedFd) -> Result<(), Fault> {
    landlock::restrict_self(ruleset.as_fd()).at(Step::Landlock, 0, "landlock_restrict_self")
}
