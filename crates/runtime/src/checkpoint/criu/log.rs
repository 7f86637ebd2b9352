//! What CRIU's log says about a failure: its cause, on one line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};

use super::message::Response;
use crate::report::{Code, Error};

/// Lines with errors that CRIU goes on after: without CAP_SYS_RESOURCE it cannot raise its own
/// limit on descriptors, and says so at each start.
const HARMLESS: [&str; 3] = ["rlimit: Can't", "RLIMIT_NOFILE", "Can't keep kdat cache"];

/// What to do about causes that have a flag or a rule.
const HINTS: [(&str, &str); 13] = [
    ("Connected TCP socket", "--tcp-established writes connections down"),
    ("--tcp-established", "--tcp-established writes connections down"),
    ("--ext-unix-sk", "--ext-unix-sk leaves out sockets that lead outside of the container"),
    ("External socket", "--ext-unix-sk leaves out sockets that lead outside of the container"),
    ("file locks", "--file-locks writes locks down"),
    ("--shell-job", "--shell-job allows a terminal that is not the container's own"),
    (
        "Can't lookup mount",
        "an open file lies outside of the container's mounts; standard streams must be pipes, the container's own terminal or its /dev/null",
    ),
    ("io_uring", "a program with io_uring cannot be checkpointed"),
    (
        "doesn't have a proper root mount",
        "a mount that the configuration does not have cannot be checkpointed",
    ),
    ("No space left", "the filesystem of --image-path is full"),
    ("link remap", "--link-remap links files that were removed while they are open"),
    ("--link-remap", "--link-remap links files that were removed while they are open"),
    ("cpu_validate", "the images are from a machine with another processor"),
];

/// The failure that a response and the log tell of. `place` is the container or the image
/// directory, `log` the log's path where it stays.
pub(crate) fn failure(
    place: &str,
    response: &Response,
    directory: BorrowedFd<'_>,
    name: &str,
    log: Option<&str>,
) -> Error {
    let cause = first_error(directory, name)
        .or_else(|| response.error.as_deref().and_then(|text| text.lines().find_map(cause_of)))
        .unwrap_or_else(|| match response.errno {
            Some(errno) => format!(
                "criu: {}",
                crate::report::errno_text(rustix::io::Errno::from_raw_os_error(errno))
            ),
            None => "criu failed without naming a cause".to_owned(),
        });
    let hint = HINTS.iter().find(|(sign, _)| cause.contains(sign)).map(|(_, hint)| *hint);
    let error = Error::new(Code::Kernel, place, cause);
    match (hint, log) {
        (Some(hint), Some(log)) => error.hint(format_args!("{hint}; all of it is in {log}")),
        (Some(hint), None) => error.hint(hint),
        (None, Some(log)) => error.hint(format_args!("all of it is in {log}")),
        (None, None) => error,
    }
}

/// The first error of a log that is not harmless.
fn first_error(directory: BorrowedFd<'_>, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    BufReader::new(File::from(log))
        .split(b'\n')
        .map_while(Result::ok)
        .find_map(|line| cause_of(&String::from_utf8_lossy(&line)))
}

/// The cause in a line `(00.012)  12: Error (criu/mount.c:12): mnt: what failed`.
fn cause_of(line: &str) -> Option<String> {
    let (_, error) = line.split_once("Error (")?;
    if HARMLESS.iter().any(|harmless| line.contains(harmless)) {
        return None;
    }
    let (_, cause) = error.split_once("): ")?;
    Some(format!("criu: {}", cause.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_counts() {
        let line = "(00.022) Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.";
        let cause = cause_of(line).unwrap();
        assert!(cause.starts_with("criu: inet: Connected TCP socket"), "{cause}");
        let harmless =
            "(00.000) Error (criu/rlimit.c:9): rlimit: Can't setup RLIMIT_NOFILE for self";
        assert_eq!(cause_of(harmless), None);
        assert_eq!(cause_of("(00.1) Warn  (a.c:1): Error"), None);
        let with_pid = "(00.1)     1: Error (criu/files-reg.c:2): File bin/x has bad size 1";
        assert_eq!(cause_of(with_pid).unwrap(), "criu: File bin/x has bad size 1");
    }
}
