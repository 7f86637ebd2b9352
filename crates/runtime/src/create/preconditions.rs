//! What is looked at before anything of a container is made.

use husk_spec::NamespaceType;
use rustix::fs::{self, Mode, OFlags};

use crate::create::launch::Options;
use crate::plan::LaunchPlan;
use crate::report::{self, Code, Error, Result};

/// A capability that the runtime does not have itself is a warning, config.md,
/// "capabilities". In a new user namespace it has all.
pub fn warn_of_ungrantable(plan: &LaunchPlan) -> Result<()> {
    if plan.user_namespace.is_some() || plan.namespaces.joins(NamespaceType::User) {
        return Ok(());
    }
    let permitted = crate::mech::capability::permitted()
        .map_err(|errno| Error::kernel("process.capabilities", "capget", errno))?;
    let wanted = &plan.process.capabilities;
    let missing = (wanted.permitted | wanted.effective) & !permitted;
    for name in crate::plan::CapabilitySets::names_of(missing) {
        report::warning(format_args!(
            "process.capabilities.permitted ({name}): not granted, since the runtime does not have it"
        ));
    }
    Ok(())
}

/// A terminal needs somebody to hold its other end, and nothing else does.
pub fn check_console(plan: &LaunchPlan, options: &Options) -> Result<()> {
    match (plan.process.terminal.is_some(), options.console.is_some()) {
        (true, false) => Err(Error::new(
            Code::Usage,
            "--console-socket",
            "missing: process.terminal is true and nobody would hold the terminal's other end",
        )),
        (false, true) => Err(Error::new(
            Code::Usage,
            "--console-socket",
            "there is no terminal to send: process.terminal is false",
        )),
        _ => Ok(()),
    }
}

/// The root directory must be there.
pub fn check_root(plan: &LaunchPlan) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(&plan.root.path, flags, Mode::empty()).map(drop).map_err(|errno| {
        Error::kernel(
            format_args!("root.path ({})", plan.root.path.to_string_lossy()),
            "open",
            errno,
        )
    })
}
