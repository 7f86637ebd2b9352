//! `init`.

use super::arguments::Arguments;
use super::{Command, Exit, Global};
use crate::report::{Code, Error};

pub(super) const COMMAND: Command = Command {
    name: "init",
    usage: "init -- PROGRAM [ARGUMENTS]",
    about: "Inside a container: run a program, pass signals to it, reap what it leaves",
    flags: &[],
    run,
    enters: false,
};

fn run(_: &Global, mut arguments: Arguments) -> Exit {
    let mut words = arguments.rest()?;
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    if words.is_empty() {
        return Err(Error::new(Code::Usage, "init", "which program?"));
    }
    crate::create::reaper::run(&words)
}
