//! What other crates call, and what is printed.

use std::io::Write as _;
use std::path::PathBuf;

use husk_engine::home::Home;

use crate::arguments::{Command, Compose};
use crate::load::Environment;
use crate::output;
use crate::project::{Failure, Project, Request};
use crate::source::Severity;

/// Who calls: the environment and the directory that files and variables come from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Variables.
    pub environment: Environment,
    /// The working directory.
    pub current: PathBuf,
}

/// `config --format json` with these files, profiles and environment files.
///
/// # Errors
/// The text that a person sees: every mistake with its place.
pub fn config_json(
    caller: &Caller,
    files: &[String],
    profiles: &[String],
    env_files: &[String],
) -> Result<serde_json::Value, String> {
    let request = Request {
        files: files.to_vec(),
        profiles: profiles.to_vec(),
        env_files: env_files.to_vec(),
        ..Request::new(caller)
    };
    request.load().map(|project| output::json(&project.root, true))
}

impl Compose {
    /// Whether the engine is needed: `config` only reads files.
    pub fn needs_engine(&self) -> bool {
        !matches!(self.command, Command::Config(_))
    }

    /// Runs the command; says what is wrong on standard error. Gives the exit code.
    pub fn run(&self, home: &Home, caller: &Caller) -> u8 {
        match self.dispatch(home, caller) {
            Ok(code) => code,
            Err(failure) => {
                error(&failure);
                1
            }
        }
    }

    fn request(&self, caller: &Caller) -> Request {
        Request {
            files: self.file.clone(),
            name: self.project_name.clone(),
            directory: self.project_directory.clone(),
            profiles: self.profile.clone(),
            env_files: self.env_file.clone(),
            all_resources: self.all_resources,
            ..Request::new(caller)
        }
    }

    fn dispatch(&self, _home: &Home, caller: &Caller) -> Result<u8, Failure> {
        match &self.command {
            Command::Config(config) => config.run(self.request(caller)),
        }
    }
}

impl Project {
    /// Prints what was found and does no harm.
    pub(crate) fn warn(&self) {
        for warning in &self.warnings {
            note(Severity::Warning, &warning.line(&self.sources));
        }
    }
}

/// A text on standard output; that its reader has gone is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A failure on standard error.
pub(crate) fn error(text: &str) {
    note(Severity::Error, text);
}

/// A remark on standard error, without what a terminal would obey.
pub(crate) fn note(severity: Severity, text: &str) {
    let clean: String =
        text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    let word = match severity {
        Severity::Error => "Error: ",
        Severity::Warning => "Warning: ",
        Severity::Remark => "",
    };
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{word}{clean}");
}

/// Rows with columns of the same width, three blanks between them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let blanks = width + 3 - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
