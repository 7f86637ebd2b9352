//! husk-oci, which makes the containers: executed, never linked.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Field, Result, file};
use crate::home::Home;
use crate::notice;

/// Where husk-oci is, and where it keeps its state.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
    root: PathBuf,
    own: bool,
}

/// One line of its log.
#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
    code: Option<String>,
    errno: Option<i32>,
}

const ENOENT: i32 = 2;

impl Runtime {
    /// The runtime of a container: husk-oci, or what `--runtime` names.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(home: &Home, container: &Container) -> Result<Self> {
        let program = match container.record.config.runtime.as_deref() {
            None => return Self::find(home),
            Some(path) if path.contains('/') => PathBuf::from(path),
            Some(name) => husk_userns::find_program(name)
                .ok_or_else(|| Error::field(Field::Runtime, name, "not found in PATH"))?,
        };
        Ok(Self { program, root: home.oci(), own: false })
    }

    /// husk-oci.
    ///
    /// # Errors
    /// It is not there.
    pub fn find(home: &Home) -> Result<Self> {
        Ok(Self { program: Self::own()?, root: home.oci(), own: true })
    }

    /// husk-oci's file: beside our own executable, then in the directories of PATH.
    ///
    /// # Errors
    /// It is in none.
    pub fn own() -> Result<PathBuf> {
        let own = std::env::current_exe().ok();
        let beside = own.and_then(|own| own.parent().map(|parent| parent.join("husk-oci")));
        beside
            .filter(|beside| beside.is_file())
            .or_else(|| husk_userns::find_program("husk-oci"))
            .ok_or_else(|| {
                Error::other(
                    "husk-oci is neither beside husk nor in a directory of PATH; install it",
                )
            })
    }

    /// A command of it, with its own state directory.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        command
    }

    /// Runs a command to its end and gives its output.
    ///
    /// # Errors
    /// Its message.
    pub fn output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().map_err(file("execute", &self.program))?;
        let words = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let message = self.named(said(&words));
            return Err(Error::Runtime { message, kind: ErrorKind::Runtime });
        }
        warnings_of(&words).for_each(notice::notice);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A message of it; with the name of a runtime that is not our own.
    fn named(&self, message: String) -> String {
        match self.own {
            true => message,
            false => format!("{}: {message}", self.program.display()),
        }
    }

    /// Whether it is husk-oci, as it belongs to this engine.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Begins a command whose standard streams are somebody else's; its messages come by
    /// `log`.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn begin_with_log(&self, log: &Path, set_up: impl FnOnce(&mut Command)) -> Result<Logged> {
        let _ = std::fs::remove_file(log);
        let mut command = self.command();
        command.arg("--log").arg(log).args(["--log-format", "json"]);
        set_up(&mut command);
        let child = command.spawn().map_err(file("execute", &self.program))?;
        Ok(Logged { child, log: log.to_owned() })
    }
}

/// A command that runs, and where its messages go.
#[derive(Debug)]
pub struct Logged {
    child: Child,
    log: PathBuf,
}

impl Logged {
    /// Waits for its end. Gives its warnings.
    ///
    /// # Errors
    /// Its message, with 126 or 127 where it could not execute the program.
    pub fn end(mut self, runtime: &Runtime) -> Result<Vec<String>> {
        let program = &runtime.program;
        let status = self.child.wait().map_err(file("wait for", program))?;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let (errors, warnings): (Vec<Line>, Vec<Line>) =
            lines.filter(|line| line.level != "debug").partition(|line| line.level == "error");
        if status.success() {
            return Ok(warnings.into_iter().map(|line| line.msg).collect());
        }
        Err(match errors.into_iter().next_back() {
            Some(line) => Error::Runtime { kind: kind_of(&line), message: runtime.named(line.msg) },
            None => Error::Runtime {
                message: format!("{} failed without a message ({status})", program.display()),
                kind: ErrorKind::Runtime,
            },
        })
    }
}

fn kind_of(line: &Line) -> ErrorKind {
    // A name that not found in PATH has no errno, but the words of one.
    let absent = line.errno == Some(ENOENT) || line.msg.contains("no such file or directory");
    match (line.code.as_deref(), absent) {
        (Some("exec"), true) => ErrorKind::ProgramNotFound,
        (Some("exec"), false) => ErrorKind::NotExecutable,
        _ => ErrorKind::Runtime,
    }
}

/// The last line of what it wrote, without its name.
fn said(words: &str) -> String {
    let last = words.lines().next_back().unwrap_or("failed without a message");
    last.strip_prefix("husk-oci: ").unwrap_or(last).to_owned()
}

/// Its warnings: something was asked for and is done otherwise, or not at all.
pub(crate) fn warnings_of(words: &str) -> impl Iterator<Item = &str> {
    words.lines().map(|line| line.strip_prefix("husk-oci: ").unwrap_or(line))
}

/// What a log says of an execution that is over: its warnings, and the last error, if there is
/// one.
pub fn outcome(log: &Path) -> (Vec<String>, Option<Error>) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let lines: Vec<Line> = lines.collect();
    let failure = lines.iter().rfind(|line| line.level == "error");
    let failure =
        failure.map(|line| Error::Runtime { kind: kind_of(line), message: line.msg.clone() });
    let warnings = lines.into_iter().filter(|line| line.level == "warning");
    (warnings.map(|line| line.msg).collect(), failure)
}
