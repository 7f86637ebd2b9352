//! The log of a runtime in JSON, `--log FILE --log-format json`: one object a line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

/// The most that is read of a log, in bytes: its end counts, where the failure stands.
const LIMIT: u64 = 1 << 20;

/// How serious an entry is. Levels of other runtimes that are not listed count as
/// [`Level::Debug`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The command failed, or a part of it.
    #[serde(alias = "fatal", alias = "panic")]
    Error,
    /// Something was done differently from what was asked for.
    #[serde(alias = "warn")]
    Warning,
    /// For information.
    Info,
    /// For debugging.
    #[serde(other)]
    Debug,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// How serious it is.
    pub level: Level,
    /// The message, which names the cause.
    #[serde(rename = "msg")]
    pub message: String,
    /// husk-oci's class of the failure, such as `exec`.
    pub code: Option<String>,
    /// The errno of the failed system call.
    pub errno: Option<i32>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The message of the last error in the log.
    pub message: String,
    /// husk-oci's class of the failure, where it gave one.
    pub code: Option<String>,
    /// The errno of the failed system call, where there was one.
    pub errno: Option<i32>,
}

/// What a log says of a command that has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages of its warnings, in order.
    pub warnings: Vec<String>,
    /// The last error.
    pub failure: Option<Failure>,
}

impl Outcome {
    /// Reads a log file. A file that does not exist says nothing; lines that are not entries
    /// are passed over.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(path) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let start = length.saturating_sub(LIMIT);
            let mut file = file;
            let _ = std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start));
            let _ = file.take(LIMIT).read_to_end(&mut bytes);
        }
        Self::parse(&bytes)
    }

    /// Parses the bytes of a log.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut outcome = Self::default();
        let entries = bytes.split(|byte| *byte == b'\n');
        for entry in entries.filter_map(|line| serde_json::from_slice::<Entry>(line).ok()) {
            match entry.level {
                Level::Error => {
                    outcome.failure = Some(Failure {
                        message: entry.message,
                        code: entry.code,
                        errno: entry.errno,
                    });
                }
                Level::Warning => outcome.warnings.push(entry.message),
                Level::Info | Level::Debug => {}
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_the_last_error() {
        let log = br#"{"level":"warning","msg":"one","time":"x"}
not json
{"level":"error","msg":"first"}
{"level":"trace","msg":"nothing"}
{"level":"error","msg":"exec ./a: No such file or directory","code":"exec","errno":2}
"#;
        let outcome = Outcome::parse(log);
        assert_eq!(outcome.warnings, ["one"]);
        let failure = outcome.failure.expect("a failure");
        assert_eq!(failure.message, "exec ./a: No such file or directory");
        assert_eq!((failure.code.as_deref(), failure.errno), (Some("exec"), Some(2)));
    }

    #[test]
    fn a_log_that_does_not_exist_says_nothing() {
        assert_eq!(Outcome::read(Path::new("/nonexistent/log.json")), Outcome::default());
    }
}
