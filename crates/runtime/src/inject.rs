//! Failures on demand, for tests of what happens after them. In release builds
//! there are none: nothing here reads the environment, and all of it is gone.

use rustix::io::Errno;

use crate::sync::fault::{Fault, Step};

/// What `HUSK_FAULT` says, read once: a process that joins a container erases its environment.
#[cfg(debug_assertions)]
fn asked() -> Option<&'static str> {
    static ASKED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ASKED.get_or_init(|| std::env::var("HUSK_FAULT").ok()).as_deref()
}

/// `HUSK_FAULT=STEP:INDEX` has that step of the process that becomes the
/// container fail with EIO, once what it does has been done. The step is the
/// name of its variant.
#[cfg(debug_assertions)]
fn wanted(step: Step, index: usize) -> bool {
    asked()
        .and_then(|asked| asked.split_once(':'))
        .is_some_and(|(name, number)| name == format!("{step:?}") && number.parse() == Ok(index))
}

#[cfg(not(debug_assertions))]
const fn wanted(_: Step, _: usize) -> bool {
    false
}

/// Whether to do without procfs's option `pidns`, as before Linux 6.18: `HUSK_FAULT=no-pidns`.
#[inline]
pub fn lacks_pidns() -> bool {
    #[cfg(debug_assertions)]
    return asked() == Some("no-pidns");
    #[cfg(not(debug_assertions))]
    false
}

/// Fails where this step is to fail.
#[inline]
pub fn after(step: Step, index: usize) -> Result<(), Fault> {
    if wanted(step, index) {
        return Err(Fault { errno: Some(Errno::IO), ..Fault::because(step, index, "injected") });
    }
    Ok(())
}
