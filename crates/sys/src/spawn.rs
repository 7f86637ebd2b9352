//! What a new process does between fork(2) and execve(2).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

/// Has the new process run `steps` right before it executes the program. Whatever `steps` needs
/// is made before: they must do no more than system calls.
///
/// The caller must be single-threaded when the process is spawned, as for
/// [`crate::clone::clone`].
pub fn before_exec(
    command: &mut Command,
    mut steps: impl FnMut() -> Result<(), Errno> + Send + Sync + 'static,
) {
    // SAFETY: after fork(2) from a single-threaded process no lock is held by another thread,
    // so that everything may be called.
    unsafe { command.pre_exec(move || steps().map_err(io::Error::from)) };
}
