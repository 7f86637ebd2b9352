//! Hooks of the runtime namespace, in their order; [`crate::mech::hook`] runs one.

use std::os::fd::{AsFd, OwnedFd};

use husk_spec::{Hook, Status};
use rustix::fs::{Mode, OFlags};

use crate::mech::hook::{self, Place};
use crate::report::{self, Code, Error, Result};
use crate::state::record::Record;

/// Runs hooks in order; the first that fails ends it. They begin in the bundle, with the
/// runtime's own environment where they name none: what hooks of this field are written for.
pub fn run_hooks(kind: &str, hooks: &[Hook], bundle: &str, state: &[u8]) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let directory = open_directory(bundle);
    let place = Place { directory: directory.as_ref().map(AsFd::as_fd), ..Place::default() };
    for (index, one) in hooks.iter().enumerate() {
        let name = format_args!("hooks.{kind}[{index}]");
        report::debug(|| format!("{name}: running {}", one.path));
        hook::run(one, state, &place).map_err(|failed| Error::new(Code::Hook, name, failed))?;
    }
    Ok(())
}

/// runtime.md, "Lifecycle": a poststop hook that fails is a warning, and the
/// next one runs all the same.
pub fn run_poststop(hooks: &[Hook], record: &Record) {
    if hooks.is_empty() {
        return;
    }
    let Ok(state) = serde_json::to_vec(&record.state(Status::Stopped)) else { return };
    let directory = open_directory(&record.bundle);
    let place = Place { directory: directory.as_ref().map(AsFd::as_fd), ..Place::default() };
    for (index, one) in hooks.iter().enumerate() {
        report::debug(|| format!("hooks.poststop[{index}]: running {}", one.path));
        if let Err(failed) = hook::run(one, &state, &place) {
            report::warning(format_args!("hooks.poststop[{index}]: {failed}"));
        }
    }
}

/// The bundle; the caller may have removed it before the container, which is no reason not to run
/// a hook.
fn open_directory(bundle: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(bundle, flags, Mode::empty()).ok()
}
