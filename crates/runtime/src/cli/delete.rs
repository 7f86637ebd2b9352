//! `delete`.

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::state::lifecycle;

pub(super) const COMMAND: Command = Command {
    name: "delete",
    usage: "delete [FLAGS] CONTAINER",
    about: "Remove a container and all that was made for it",
    flags: &[("-f, --force", "kill it first; succeed if it does not exist")],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let (mut force, mut id) = (false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "f" | "force") => {
                force = arguments.switch(&flag)?;
            }
            Argument::Value(value) if id.is_none() => id = Some(value),
            other => return Err(other.unexpected()),
        }
    }
    lifecycle::delete(&global.store()?, &id.ok_or_else(missing_id)?, force)?;
    Ok(0)
}
