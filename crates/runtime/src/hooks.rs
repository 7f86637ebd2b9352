//! Hooks of one kind, in their order; [`crate::mech::hook`] runs one.

use husk_spec::{Hook, Status};

use crate::mech::hook;
use crate::record::Record;
use crate::report::{self, Code, Error, Result};

/// Runs hooks in order; the first that fails ends it.
pub fn run_hooks(kind: &str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    for (index, one) in hooks.iter().enumerate() {
        hook::run(one, state).map_err(|failed| {
            Error::new(Code::Hook, format_args!("hooks.{kind}[{index}]"), failed)
        })?;
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
    for (index, one) in hooks.iter().enumerate() {
        if let Err(failed) = hook::run(one, &state) {
            report::warning(format_args!("hooks.poststop[{index}]: {failed}"));
        }
    }
}
