//! The command line: one file a command. Flags come in, an exit status goes
//! out; what is done stands elsewhere.

mod arguments;
mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod global;
mod init;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::process::ExitCode;

use arguments::Arguments;
use global::Global;

use crate::report::{self, Code, Error, Result};
use crate::timing;

/// What a command answers: the exit status.
type Exit = Result<i32>;

/// A command: its name, its help, and what it does.
struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    flags: &'static [(&'static str, &'static str)],
    run: fn(&Global, Arguments) -> Exit,
    /// Whether a container's process could reach this one: then its executable is sealed first.
    enters: bool,
}

const COMMANDS: &[Command] = &[
    checkpoint::COMMAND,
    create::COMMAND,
    delete::COMMAND,
    events::COMMAND,
    exec::COMMAND,
    features::COMMAND,
    init::COMMAND,
    kill::COMMAND,
    list::COMMAND,
    pause::PAUSE,
    ps::COMMAND,
    pause::RESUME,
    restore::COMMAND,
    run::COMMAND,
    spec::COMMAND,
    start::COMMAND,
    state::COMMAND,
    update::COMMAND,
];

/// Runs the program.
pub fn main() -> ExitCode {
    let mut arguments = Arguments::from_environment();
    let mut global = match Global::parse(&mut arguments) {
        Ok(global) => global,
        Err(error) => return fail(&error, 1),
    };
    report::debug(|| {
        let command = global.command.as_deref().unwrap_or_default();
        let root = global.store().map(|store| store.root().display().to_string());
        format!(
            "husk-oci {} (process {}): {command}, --root {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            root.unwrap_or_default()
        )
    });
    let done = run(&global, arguments);
    timing::tell_steps();
    if let (Some(spans), Some(command)) = (&mut global.timings, &global.command)
        && let Err(error) = timing::tell(command, spans.as_mut())
    {
        report::warning(error);
    }
    match done {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(255)),
        // A status of its own for exec: 1 is too likely the program's (as runc has it).
        Err(error) if global.command.as_deref() == Some("exec") => fail(&error, 255),
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &Error, status: u8) -> ExitCode {
    report::error(error);
    ExitCode::from(status)
}

fn run(global: &Global, arguments: Arguments) -> Exit {
    if global.version {
        return print(&version());
    }
    let Some(name) = &global.command else {
        return match global.help {
            true => print(&help()),
            false => Err(Error::new(Code::Usage, "command", "missing").hint("husk-oci --help")),
        };
    };
    if name == "help" {
        return print(&help());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(unknown_command(name));
    };
    if global.help || arguments.asks_for_help() {
        return print(&command.help());
    }
    if command.enters {
        crate::seal::ensure()?;
    }
    (command.run)(global, arguments)
}

fn unknown_command(name: &str) -> Error {
    let error = Error::new(Code::Usage, name, "no such command");
    match COMMANDS.iter().find(|command| similar(command.name, name)) {
        Some(command) => error.hint(format_args!("did you mean {}?", command.name)),
        None => error.hint("husk-oci --help lists the commands"),
    }
}

/// Whether two words differ by little: by their beginning, or one letter.
fn similar(known: &str, typed: &str) -> bool {
    let (known, typed) = (known.as_bytes(), typed.as_bytes());
    let prefix = known.iter().zip(typed).take_while(|(a, b)| a == b).count();
    let suffix = known.iter().rev().zip(typed.iter().rev()).take_while(|(a, b)| a == b).count();
    let longer = known.len().max(typed.len());
    typed.len() > 1 && (prefix == typed.len() || prefix + suffix + 1 >= longer)
}

fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has gone is no failure; a full disk is one.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io(Code::Kernel, "standard output", &error))
        }
        _ => Ok(0),
    }
}

fn version() -> String {
    format!(
        "husk-oci version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("HUSK_COMMIT").unwrap_or("unknown"),
        husk_spec::VERSION
    )
}

fn help() -> String {
    let mut text = String::from(
        "husk-oci runs containers as the OCI runtime specification describes them.\n\n\
         Usage: husk-oci [GLOBAL FLAGS] COMMAND [FLAGS] [CONTAINER] ...\n\nCommands:\n",
    );
    for command in COMMANDS {
        text += &format!("  {:<10} {}\n", command.name, command.about);
    }
    text += "\nGlobal flags:\n";
    text += &table(global::FLAGS);
    text += "\nhusk-oci COMMAND --help tells more of a command.\n";
    text
}

fn table(flags: &[(&str, &str)]) -> String {
    flags.iter().map(|(flag, about)| format!("  {flag:<34} {about}\n")).collect()
}

impl Command {
    fn help(&self) -> String {
        let mut text = format!("{}\n\nUsage: husk-oci {}\n", self.about, self.usage);
        if !self.flags.is_empty() {
            text += "\nFlags:\n";
            text += &table(self.flags);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        assert!(similar("create", "creat"));
        assert!(similar("delete", "delte"));
        assert!(similar("start", "stxrt"));
        assert!(!similar("start", "kill"));
    }

    #[test]
    fn the_usage_of_a_command_begins_with_its_name() {
        for command in COMMANDS {
            assert!(command.usage.starts_with(command.name), "{}", command.name);
        }
    }
}
