//! The command line of a shim, in the form of Go's flag package: `-name value`, `-name=value`,
//! with one dash or two.

use std::path::PathBuf;

/// What containerd asks a shim to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Serve calls on the socket that is standard input.
    #[default]
    Serve,
    /// Start a serving shim, or find the one of the same pod.
    Start,
    /// Remove what a shim that has died left behind.
    Delete,
    /// Print what the shim is and can do.
    Info,
    /// Print the version.
    Version,
    /// Internal: become a logging program of a `binary://` URI.
    Logger,
}

/// The arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) action: Action,
    /// containerd's namespace, `-namespace`.
    pub(crate) namespace: String,
    /// containerd's gRPC socket, `-address`.
    pub(crate) address: String,
    /// The container's id, `-id`.
    pub(crate) id: String,
    /// The bundle to clean up, `-bundle`.
    pub(crate) bundle: Option<PathBuf>,
    /// More messages, `-debug`.
    pub(crate) debug: bool,
    /// Of [`Action::Logger`]: the program and its arguments.
    pub(crate) rest: Vec<String>,
}

impl Arguments {
    /// Parses the words after the program's name.
    ///
    /// # Errors
    /// A flag is unknown or lacks its value, or the command is unknown.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter();
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else {
                arguments.action = match word.as_str() {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    "logger" => Action::Logger,
                    _ => return Err(format!("unknown command {word:?}: must be start or delete")),
                };
                arguments.rest = words.collect();
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let switch = |given: Option<String>| match given.as_deref() {
                None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
                Some(other) => Err(format!("-{name}={other}: must be true or false")),
            };
            match name {
                "debug" => arguments.debug = switch(given)?,
                "info" if switch(given.clone())? => arguments.action = Action::Info,
                "v" | "version" if switch(given.clone())? => arguments.action = Action::Version,
                "info" | "v" | "version" => {}
                "namespace" | "address" | "id" | "bundle" | "publish-binary" | "socket" => {
                    let value = given.or_else(|| words.next());
                    let value = value.ok_or_else(|| format!("-{name}: the value is missing"))?;
                    match name {
                        "namespace" => arguments.namespace = value,
                        "address" => arguments.address = value,
                        "id" => arguments.id = value,
                        "bundle" => arguments.bundle = Some(value.into()),
                        // Events go to TTRPC_ADDRESS, and the socket is standard input.
                        _ => {}
                    }
                }
                _ => return Err(format!("unknown flag -{name}")),
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn as_containerd_calls_it() {
        let start = parse(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a start",
        )
        .expect("start");
        assert_eq!(start.action, Action::Start);
        assert_eq!((start.namespace.as_str(), start.id.as_str()), ("k8s.io", "a"));
        let delete = parse("--namespace=x -id=b -bundle /run/b -debug delete").expect("delete");
        assert_eq!(delete.action, Action::Delete);
        assert_eq!(delete.bundle, Some(PathBuf::from("/run/b")));
        assert!(delete.debug);
        assert_eq!(parse("-info").expect("info").action, Action::Info);
        assert_eq!(parse("-v").expect("version").action, Action::Version);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse("-x").expect_err("x"), "unknown flag -x");
        assert_eq!(parse("-id").expect_err("id"), "-id: the value is missing");
        assert!(parse("stop").expect_err("stop").contains("start or delete"));
        assert!(parse("-debug=maybe").expect_err("debug").contains("true or false"));
    }
}
