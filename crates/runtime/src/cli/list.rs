//! `list`.

use super::arguments::{Argument, Arguments};
use super::state::{View, json};
use super::{Command, Exit, Global, print};
use crate::report::{self, Code, Error, Result};

pub(super) const COMMAND: Command = Command {
    name: "list",
    usage: "list [FLAGS]",
    about: "List the containers",
    flags: &[
        ("-f, --format table|json", "format of the list (table)"),
        ("-q, --quiet", "print ids only"),
    ],
    run,
    enters: false,
};

fn run(global: &Global, mut arguments: Arguments) -> Exit {
    let (mut as_json, mut quiet) = (false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Argument::Flag(flag) if matches!(flag.as_str(), "f" | "format") => {
                as_json = format(&arguments.value()?)?;
            }
            Argument::Flag(flag) if matches!(flag.as_str(), "q" | "quiet") => {
                quiet = arguments.switch(&flag)?;
            }
            other => return Err(other.unexpected()),
        }
    }
    let store = global.store()?;
    if global.root.is_some() && !store.root().exists() {
        // Nothing has been created yet, or the name is mistyped.
        report::warning(format_args!("--root ({}): does not exist", store.root().display()));
    }
    let ids = store.ids()?;
    if quiet {
        return print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let mut views = Vec::with_capacity(ids.len());
    for id in ids {
        let Ok(directory) = store.open(&id) else { continue };
        match directory.read() {
            Ok(Some(record)) => views.push(View::new(&directory, record)),
            // Deleted in between, or never finished: no reason not to list the others.
            Ok(None) => {
                report::warning(format_args!("container {id}: was never completely created"));
            }
            Err(error) => report::warning(error),
        }
    }
    if as_json {
        return print(&(json(&views)? + "\n"));
    }
    print(&table(&views))
}

/// `table` or `json`, as `ps` takes it too.
pub(super) fn format(value: &str) -> Result<bool> {
    match value {
        "table" => Ok(false),
        "json" => Ok(true),
        other => Err(Error::new(
            Code::Usage,
            format_args!("--format ({other})"),
            "neither table nor json",
        )),
    }
}

fn table(views: &[View]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = views.iter().map(|view| {
        [
            view.id.clone(),
            view.pid.to_string(),
            view.status().to_owned(),
            view.bundle.clone(),
            view.created.clone(),
            view.owner.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:<width$}   ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
