//! The program itself, called again for what it has a command for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use husk_engine::home::Home;

use crate::load::plain;
use crate::project::Failure;

/// Calls of `husk` with the same directories.
#[derive(Clone, Debug)]
pub(crate) struct Husk<'a> {
    home: &'a Home,
}

impl<'a> Husk<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// A call that is not made yet. It is this very program, also while it is being upgraded.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("husk");
        command.arg("--root").arg(&self.home.root).arg("--runroot").arg(&self.home.run);
        command.args(words);
        command
    }

    /// Runs it with the caller's own streams; gives its exit code.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<u8, Failure> {
        let status = self.command(words).status().map_err(failed)?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
    }

    /// Runs it and gives what it printed.
    ///
    /// # Errors
    /// Its own message.
    pub(crate) fn output<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<String, Failure> {
        let output = self.command(words).stdin(Stdio::null()).output().map_err(failed)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(message(&output.stderr)),
        }
    }

    /// Runs it with `input` on its standard input.
    ///
    /// # Errors
    /// Its own message.
    pub(crate) fn feed<S: AsRef<std::ffi::OsStr>>(
        &self,
        words: &[S],
        input: &[u8],
    ) -> Result<(), Failure> {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Where it does not read to the end, its own message says why.
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() { Ok(()) } else { Err(message(&output.stderr)) }
    }
}

fn failed(error: std::io::Error) -> Failure {
    format!("cannot execute /proc/self/exe: {}", plain(&error))
}

/// What a call said last, without the word before it.
fn message(stderr: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let line = lines.iter().rev().find(|line| line.starts_with("Error: ")).or(lines.last());
    line.map_or("husk failed", |line| line.strip_prefix("Error: ").unwrap_or(line)).to_owned()
}
