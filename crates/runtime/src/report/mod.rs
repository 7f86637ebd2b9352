//! What the user is told: one line for one failure, in words or as JSON.

pub mod clock;
pub mod describe;

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use husk_spec::LoadError;
use rustix::io::Errno;
use serde::Serialize;

/// What kind of failure it is: stable words for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The command line.
    Usage,
    /// The bundle or a document of it.
    InvalidConfig,
    /// No such container.
    NotFound,
    /// The id is taken.
    InUse,
    /// The container is in a state that does not allow this.
    WrongState,
    /// Asked for, and not to be had from this runtime or this kernel.
    Unsupported,
    /// The kernel refused a step.
    Kernel,
    /// A hook failed.
    Hook,
    /// The user's program could not be executed.
    Exec,
}

/// One failure. Displayed as one line: property, operation, errno, detail, hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind it is.
    pub code: Code,
    /// The property of the document, or the object, with its value.
    pub path: String,
    /// What was tried: a system call, most often.
    pub op: Option<String>,
    /// What the kernel answered.
    pub errno: Option<Errno>,
    /// What it means here.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that fails here fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure described by its object and a sentence.
    pub fn new(code: Code, path: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self {
            code,
            path: path.to_string(),
            op: None,
            errno: None,
            detail: detail.to_string(),
            hint: None,
        }
    }

    /// A property of the configuration that cannot be honoured.
    pub fn invalid(property: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self::new(Code::InvalidConfig, property, detail)
    }

    /// A system call on an object that failed.
    pub fn kernel(path: impl fmt::Display, op: impl fmt::Display, errno: Errno) -> Self {
        Self { op: Some(op.to_string()), errno: Some(errno), ..Self::new(Code::Kernel, path, "") }
    }

    /// Work on a file that failed.
    pub fn io(code: Code, path: impl fmt::Display, error: &std::io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self { errno: Some(errno), ..Self::new(code, path, "") },
            None => Self::new(code, path, error),
        }
    }

    /// A document that cannot be read or understood.
    pub fn document(path: impl fmt::Display, error: LoadError) -> Self {
        match error {
            LoadError::Io(error) => Self::io(Code::InvalidConfig, path, &error),
            error => Self::invalid(path, error),
        }
    }

    /// The same with what to do about it.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

/// The kernel's words for an errno.
pub fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// What went wrong with a file, without Rust's "(os error N)".
pub fn io_text(error: &std::io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), errno_text)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = self.errno.map(errno_text);
        let parts = [
            Some(self.path.as_str()),
            self.op.as_deref(),
            errno.as_deref(),
            Some(self.detail.as_str()),
        ];
        let mut first = true;
        for part in parts.into_iter().flatten().filter(|part| !part.is_empty()) {
            if !first {
                f.write_str(": ")?;
            }
            first = false;
            write_on_one_line(f, part)?;
        }
        if let Some(hint) = &self.hint {
            f.write_str(" (")?;
            write_on_one_line(f, hint)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Bytes of a property, a detail or a hint that are shown: values may be megabytes.
const MAX_PART: usize = 4096;

/// Values come from documents: a line break or an escape sequence in one must
/// not forge a second line or reach the terminal.
fn write_on_one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let shown = text.floor_char_boundary(MAX_PART);
    let (text, rest) = text.split_at(shown);
    for piece in text.split_inclusive(char::is_control) {
        match piece.char_indices().next_back() {
            Some((at, last)) if last.is_control() => {
                write!(f, "{}{}", &piece[..at], last.escape_default())?;
            }
            _ => f.write_str(piece)?,
        }
    }
    match rest.len() {
        0 => Ok(()),
        more => write!(f, "... ({more} bytes more)"),
    }
}

impl std::error::Error for Error {}

/// Where messages go: `--log`, `--log-format` and `--debug`.
#[derive(Debug, Default)]
pub struct Log {
    /// The file of `--log`, open for appending.
    pub file: Option<std::fs::File>,
    /// `--log-format json`.
    pub json: bool,
    /// `--debug`.
    pub debug: bool,
    /// `--log-only`: what the file has is not written to standard error as well.
    pub only: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Sets where messages go; the first call counts.
pub fn set_log(log: Log) {
    let _ = LOG.set(log);
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

fn write_line(level: &str, message: &str, error: Option<&Error>) {
    let default = Log::default();
    let log = LOG.get().unwrap_or(&default);
    let time = clock::rfc3339_now();
    let json = Line {
        level,
        msg: message,
        time: &time,
        code: error.map(|error| error.code),
        op: error.and_then(|error| error.op.as_deref()),
        path: error.map(|error| error.path.as_str()),
        errno: error.and_then(|error| error.errno).map(Errno::raw_os_error),
        hint: error.and_then(|error| error.hint.as_deref()),
    };
    let json = || serde_json::to_string(&json).unwrap_or_default();
    if let Some(mut file) = log.file.as_ref() {
        let line = if log.json {
            json() + "\n"
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        // One write, so that lines of several processes do not mix.
        let written = file.write_all(line.as_bytes()).is_ok();
        if (log.only && written) || matches!(level, "warning" | "debug") {
            // Standard error is the container's by now, and ends up in its log.
            return;
        }
    }
    let prefix = match level {
        "error" | "info" => "",
        "warning" => "warning: ",
        _ => "debug: ",
    };
    let line = if log.json && log.file.is_none() {
        json() + "\n"
    } else {
        format!("husk-oci: {prefix}{message}\n")
    };
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Tells of a failure.
pub fn error(error: &Error) {
    write_line("error", &error.to_string(), Some(error));
}

/// Tells of something that was asked for and is done otherwise, or not at all.
pub fn warning(message: impl fmt::Display) {
    // Values come from documents.
    write_line("warning", &on_one_line(message), None);
}

/// Tells something that was asked for.
pub fn information(message: impl fmt::Display) {
    // Names of processes come from the container.
    write_line("info", &on_one_line(message), None);
}

fn on_one_line(message: impl fmt::Display) -> String {
    Error::new(Code::Kernel, message, "").to_string()
}

/// Whether `--debug` was given.
pub fn is_debug() -> bool {
    LOG.get().is_some_and(|log| log.debug)
}

/// Tells how something was done, with `--debug`.
pub fn debug(message: impl FnOnce() -> String) {
    if is_debug() {
        write_line("debug", &on_one_line(message()), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_every_part() {
        let error = Error::kernel("mounts[7] (tmpfs on /x, size=banana)", "fsconfig", Errno::INVAL);
        assert_eq!(
            error.to_string(),
            "mounts[7] (tmpfs on /x, size=banana): fsconfig: Invalid argument"
        );
    }

    #[test]
    fn an_errno_is_told_once_and_for_programs() {
        let missing = std::io::Error::from(Errno::NOENT);
        let error = Error::document("config.json", missing.into());
        assert_eq!(error.to_string(), "config.json: No such file or directory");
        assert_eq!(error.errno, Some(Errno::NOENT));
        let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let error = Error::io(Code::Kernel, "pipe", &end);
        assert_eq!(
            (error.errno, error.to_string().as_str()),
            (None, "pipe: unexpected end of file")
        );
    }

    #[test]
    fn a_value_of_a_megabyte_is_cut() {
        let text = Error::invalid("a", "ä".repeat(1 << 20)).to_string();
        assert!(text.len() < 5000 && text.ends_with("ä... (2093056 bytes more)"), "{}", text.len());
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        let error = Error::invalid("process.cwd", "a\nb\u{1b}[2J").hint("x\ty");
        assert_eq!(error.to_string(), "process.cwd: a\\nb\\u{1b}[2J (x\\ty)");
    }
}
