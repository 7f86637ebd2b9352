//! Labels for the program to be executed: AppArmor and SELinux.

use rustix::io::Errno;

use super::proc::Proc;
use crate::plan::Process;
use crate::sync::fault::{Context, Fault, Step};

/// Sets the label that the next execve(2) takes on. It is written through a
/// procfs of our own, so that the container cannot take the write to another file.
pub fn label(process: &Process, proc: &Proc) -> Result<(), Fault> {
    if let Some(profile) = &process.apparmor {
        let value = [b"exec ", profile.as_bytes()].concat();
        // The first path is AppArmor's alone, Linux 5.8; the second is shared with others.
        let done = match proc.write(c"self/attr/apparmor/exec", &value) {
            Err(Errno::NOENT) => proc.write(c"self/attr/exec", &value),
            done => done,
        };
        done.at(Step::Label, 0, "write attr/exec")?;
    }
    if let Some(label) = &process.selinux {
        proc.write(c"self/attr/exec", label.as_bytes()).at(Step::Label, 1, "write attr/exec")?;
    }
    Ok(())
}
