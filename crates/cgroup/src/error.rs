//! What can go wrong with a container's cgroup, each naming what was asked for.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::systemd::Failure;

/// Why a cgroup could not be planned, made, changed, watched or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A property whose value means nothing, whatever the layout.
    #[error("{property}: {value}: {reason}")]
    Invalid {
        /// The property's path in `config.json`.
        property: String,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A property that this host's cgroups cannot honour.
    #[error("{property}: {value}: needs {file} of the {controller} controller: {reason}")]
    Unsupported {
        /// The property's path in `config.json`.
        property: String,
        /// The value as given.
        value: String,
        /// The file that the property would be written to.
        file: String,
        /// The controller that the file belongs to.
        controller: &'static str,
        /// Why it cannot be written.
        reason: String,
    },
    /// The kernel refused a setting.
    #[error("{property}: write {value:?} to {} ({controller} controller): {}{hint}",
        path.display(), text(*errno))]
    Setting {
        /// The property's path in `config.json`.
        property: String,
        /// What was written.
        value: String,
        /// The file.
        path: PathBuf,
        /// The controller that the file belongs to.
        controller: &'static str,
        /// The kernel's answer.
        errno: Errno,
        /// What the errno means here, with its own separator; or empty.
        hint: String,
    },
    /// A system call on a cgroup's file or directory.
    #[error("cgroup: {operation} {}: {}", path.display(), text(*errno))]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// `linux.cgroupsPath` names a cgroup that is in use.
    #[error("linux.cgroupsPath: {} already holds {processes} process(es)", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// How many processes are there and below.
        processes: usize,
    },
    /// A cgroup is needed, and there is no hierarchy to make one in.
    #[error("no cgroup can be made: {reason}")]
    NoHierarchy {
        /// The layout in words, and what would help.
        reason: String,
    },
    /// A cgroup that a user without privilege over the host may not make.
    #[error("{cause}; {advice}")]
    Forbidden {
        /// The refusal.
        cause: Box<Error>,
        /// What would allow it.
        advice: String,
    },
    /// Processes that did not go, stop or start within the time given.
    #[error("cgroup: {what} {}: not within {seconds} s", path.display())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// How long.
        seconds: u64,
    },
    /// A cgroup that cannot be seen, which does not say that it is gone.
    #[error("cgroup: {} cannot be looked for: {} is not of its hierarchy, another mount hides that",
        path.display(), at.display())]
    Hidden {
        /// The cgroup.
        path: PathBuf,
        /// What is there in place of the hierarchy.
        at: PathBuf,
    },
    /// A file whose text is not what the kernel documents.
    #[error("cgroup: {}: cannot read {text:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its text, or the part that is meant.
        text: String,
    },
    /// systemd did not do what was asked.
    #[error("systemd: {unit}: {failure}")]
    Systemd {
        /// The container's scope.
        unit: String,
        /// What went wrong.
        failure: Failure,
    },
    /// An update that failed, after which restoring failed as well.
    #[error("{cause}; and restoring what was failed: {restore}")]
    NotRestored {
        /// Why the update failed.
        cause: Box<Error>,
        /// The first error of the restoration.
        restore: Box<Error>,
    },
}

impl Error {
    /// The kernel's answer, if one is at the bottom of it.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Setting { errno, .. } | Self::System { errno, .. } => Some(*errno),
            Self::NotRestored { cause, .. } | Self::Forbidden { cause, .. } => cause.errno(),
            _ => None,
        }
    }

    pub(crate) fn invalid(property: &str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Invalid { property: property.into(), value: value.to_string(), reason: reason.into() }
    }

    pub(crate) fn system(operation: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self::System { operation, path: path.into(), errno }
    }
}

/// The text of an errno as perror(3) prints it, without Rust's "(os error N)".
pub(crate) fn text(errno: Errno) -> String {
    let mut text = io::Error::from(errno).to_string();
    if let Some(at) = text.find(" (os error") {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_is_one_line_with_property_value_file_controller_and_errno() {
        let error = Error::Setting {
            property: "linux.resources.pids.limit".into(),
            value: "5".into(),
            path: "/sys/fs/cgroup/pids/a/pids.max".into(),
            controller: "pids",
            errno: Errno::INVAL,
            hint: String::new(),
        };
        assert_eq!(
            error.to_string(),
            "linux.resources.pids.limit: write \"5\" to /sys/fs/cgroup/pids/a/pids.max \
             (pids controller): Invalid argument"
        );
    }
}
