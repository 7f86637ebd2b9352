//! `pause` and `resume`.

use super::{Arguments, Command, Exit, Global};
use crate::state::lifecycle;

pub(super) const PAUSE: Command = Command {
    name: "pause",
    usage: "pause CONTAINER",
    about: "Freeze all processes of a container",
    flags: &[],
    run: |global: &Global, arguments: Arguments| -> Exit {
        lifecycle::pause(&global.store()?, &arguments.only_id()?)?;
        Ok(0)
    },
    enters: false,
};

pub(super) const RESUME: Command = Command {
    name: "resume",
    usage: "resume CONTAINER",
    about: "Thaw a paused container",
    flags: &[],
    run: |global: &Global, arguments: Arguments| -> Exit {
        lifecycle::resume(&global.store()?, &arguments.only_id()?)?;
        Ok(0)
    },
    enters: false,
};
