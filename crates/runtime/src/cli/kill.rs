//! `kill`.

use super::arguments::{Argument, Arguments, missing_id};
use super::{Command, Exit, Global};
use crate::report::{Code, Error};
use crate::state::lifecycle;

pub(super) const COMMAND: Command = Command {
    name: "kill",
    usage: "kill [FLAGS] CONTAINER [SIGNAL]",
    about: "Send a signal to a container's process (TERM)",
    flags: &[("-a, --all", "to all processes of the container")],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let (mut all, mut values) = (false, Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "a" | "all") => {
                all = arguments.switch(&flag)?;
            }
            Argument::Value(value) if values.len() < 2 => values.push(value),
            other => return Err(other.unexpected()),
        }
    }
    let mut values = values.into_iter();
    let id = values.next().ok_or_else(missing_id)?;
    let name = values.next().unwrap_or_else(|| "TERM".to_owned());
    let number = match name.as_str() {
        // kill(2): no signal, only the question whether there is a process.
        "0" => 0,
        _ => husk_sys::signal_name::number(&name).ok_or_else(|| {
            Error::new(Code::Usage, format_args!("signal ({name})"), "unknown signal")
        })?,
    };
    lifecycle::kill(&global.store()?, &id, number, all)?;
    Ok(0)
}
