//! `start`.

use super::{Arguments, Command, Exit, Global};
use crate::state::lifecycle;

pub(super) const COMMAND: Command = Command {
    name: "start",
    usage: "start CONTAINER",
    about: "Run the program of a created container",
    flags: &[],
    run: |global: &Global, arguments: Arguments| -> Exit {
        lifecycle::start(&global.store()?, &arguments.only_id()?)?;
        Ok(0)
    },
    enters: false,
};
