//! Calling the program `husk`, whose command line is the way to what the library cannot do by
//! itself yet.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use husk_engine::error::file;
use hyper::StatusCode;

use crate::failure::{Failure, Result};
use crate::service::Service;

impl Service {
    /// A command of it, with this engine's directories.
    pub(crate) fn husk(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.home.root).arg("--runroot").arg(&self.home.run);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and gives what it printed: its output, and its remarks line by
    /// line.
    ///
    /// # Errors
    /// Its message.
    pub(crate) fn ask<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<(String, Vec<String>)> {
        let mut command = self.husk();
        let output = command.args(words).output().map_err(file("execute", &self.program))?;
        let remarks = remarks(&output);
        match output.status.success() {
            true => Ok((String::from_utf8_lossy(&output.stdout).into_owned(), remarks)),
            false => Err(refusal(&remarks.join("\n"))),
        }
    }
}

fn remarks(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let plain = |line: &str| line.strip_prefix("husk: ").unwrap_or(line).to_owned();
    text.lines().map(plain).filter(|line| !line.is_empty()).collect()
}

/// What it has refused, by its words.
fn refusal(message: &str) -> Failure {
    let status = if message.contains("no such ") {
        StatusCode::NOT_FOUND
    } else if message.contains("is in use") || message.contains("is running") {
        StatusCode::CONFLICT
    } else {
        StatusCode::BAD_REQUEST
    };
    Failure::new(status, message)
}
