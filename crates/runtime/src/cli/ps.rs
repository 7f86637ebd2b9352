//! `ps`: the processes of a container, as the host's ps(1) shows them.

use super::arguments::{Argument, Arguments, missing_id};
use super::list::format;
use super::state::json;
use super::{Command, Exit, Global, print};
use crate::report::{Code, Error, Result, io_text};
use crate::state::census;

pub(super) const COMMAND: Command = Command {
    name: "ps",
    usage: "ps [FLAGS] CONTAINER [PS ARGUMENTS]",
    about: "List the processes of a container",
    flags: &[("-f, --format table|json", "table by ps(1), or process ids as JSON (table)")],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let (mut as_json, mut id) = (false, None);
    while id.is_none() {
        match arguments.next()? {
            None => return Err(missing_id()),
            Some(Argument::Flag(flag)) if matches!(flag.as_str(), "f" | "format") => {
                as_json = format(&arguments.value()?)?;
            }
            Some(Argument::Value(value)) => id = Some(value),
            Some(other) => return Err(other.unexpected()),
        }
    }
    let mut ps_arguments = arguments.rest()?;
    let directory = global.store()?.open(&id.unwrap_or_default())?;
    let processes = census::processes(&directory.record()?)?;
    if as_json {
        return print(&(json(&processes)? + "\n"));
    }
    if ps_arguments.is_empty() {
        ps_arguments.push("-ef".to_owned());
    }
    print(&table(&ps_arguments, &processes)?)
}

/// The lines of ps(1) whose PID column names one of the processes.
fn table(arguments: &[String], processes: &[i32]) -> Result<String> {
    let failed = |why: String| Error::new(Code::Kernel, "ps", why);
    let program = husk_userns::find_program("ps").ok_or_else(|| {
        failed(
            "no absolute directory of PATH has it (install procps, or use --format json)"
                .to_owned(),
        )
    })?;
    let output = std::process::Command::new(program).args(arguments).output().map_err(|error| {
        let text = io_text(&error);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                failed(format!("{text} (install procps, or use --format json)"))
            }
            _ => failed(text.to_string()),
        }
    })?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| failed("its output has no column PID".to_owned()))?;
    let mut table = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid: i32| processes.contains(&pid)) {
            table += line;
            table.push('\n');
        }
    }
    Ok(table)
}
