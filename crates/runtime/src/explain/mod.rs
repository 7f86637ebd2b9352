//! `--seccomp-explain`: which system call the filter refused, and why.
//!
//! The kernel does not tell. So the filter's refusals become notifications
//! (`notifying`), which come to this process, and it answers each as the
//! filter would have: with the errno, or by killing. It never lets a call of
//! the program pass. Should this process die, the kernel answers ENOSYS.
//!
//! What differs from a run without it: a process that handles or blocks SIGSYS,
//! and the init of a pid namespace, which no such signal reaches, are killed by
//! SIGKILL; of a process with several threads, all are killed, not one. TRAP
//! stays the kernel's, since nobody else can send its signal.

mod capability;
mod denial;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_seccomp::{Call, Decision, Reason};
use husk_spec::{Seccomp as Profile, SeccompAction, SeccompArch};
use husk_sys::seccomp::Notification;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::plan;
use crate::report::{self, Code, Error, Result};
use crate::sync::wire::Wire;
use denial::{Denial, Task};

// SECCOMP_RET_*, linux/seccomp.h.
const ACTION: u32 = 0xffff_0000;
const DATA: u32 = 0xffff;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;

const SIGKILL: i32 = libc::SIGKILL;
const SIGSYS: i32 = libc::SIGSYS;

/// More different refusals than these are counted, not told.
const MAX_DENIALS: usize = 64;

fn failed(op: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::kernel("--seccomp-explain", op, errno)
}

/// Turns what a filter refuses into notifications.
fn notifying(instructions: &mut [[u8; 8]]) {
    for instruction in instructions {
        let [a, b, _, _, rest @ ..] = *instruction;
        let code = u32::from(u16::from_ne_bytes([a, b]));
        let value = u32::from_ne_bytes(rest);
        let refuses = matches!(value & ACTION, KILL_PROCESS | KILL_THREAD | ERRNO);
        if code == libc::BPF_RET | libc::BPF_K && refuses {
            instruction[4..].copy_from_slice(&USER_NOTIF.to_ne_bytes());
        }
    }
}

/// Listens to the filter of one process and what it starts.
#[derive(Debug)]
pub struct Explainer {
    profile: Profile,
    native: SeccompArch,
    listener: Option<OwnedFd>,
    /// The process, once there is one.
    process: i32,
    killed: bool,
    denials: Vec<Denial>,
    more: u64,
}

impl Explainer {
    /// Changes a process's filter so that it can be explained.
    pub fn prepare(process: &mut plan::Process, profile: Option<&Profile>) -> Result<Option<Self>> {
        const FLAG: &str = "--seccomp-explain";
        let (Some(filter), Some(profile)) = (&mut process.seccomp, profile) else {
            report::warning(format_args!("{FLAG}: linux.seccomp is missing: nothing is refused"));
            return Ok(None);
        };
        if filter.program.notifies {
            return Err(Error::new(
                Code::Unsupported,
                FLAG,
                "the profile has rules with SCMP_ACT_NOTIFY, and the kernel has one listener only",
            ));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new(Code::Unsupported, FLAG, "needs root"));
        }
        notifying(&mut filter.program.instructions);
        filter.program.flags &= !husk_seccomp::FILTER_FLAG_TSYNC;
        filter.program.flags |= husk_seccomp::FILTER_FLAG_NEW_LISTENER;
        filter.explained = true;
        Ok(Some(Self {
            profile: profile.clone(),
            native: plan::native_architecture()?,
            listener: None,
            process: 0,
            killed: false,
            denials: Vec::new(),
            more: 0,
        }))
    }

    /// Takes the listener out of the process that is about to load the filter,
    /// as soon as it is there under the number told. The process cannot send it:
    /// the filter may refuse that.
    pub fn fetch(&mut self, pid: Pid, pidfd: BorrowedFd<'_>, number: i32) -> Result<()> {
        const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };
        self.process = pid.as_raw_nonzero().get();
        loop {
            match pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()) {
                Ok(listener) => {
                    self.listener = Some(listener);
                    return Ok(());
                }
                Err(Errno::BADF) => {}
                // It has died; what of is told by others.
                Err(Errno::SRCH) => return Ok(()),
                Err(errno) => return Err(failed("pidfd_getfd")(errno)),
            }
            let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&PAUSE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(failed("poll")(errno)),
            }
        }
    }

    /// The listener, to be watched for input.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// From now on this is the process that runs the program.
    pub fn follow(&mut self, pid: Pid) {
        self.process = pid.as_raw_nonzero().get();
    }

    /// Answers one call. With a wire, the program may not run yet.
    pub fn answer(&mut self, wire: Option<&Wire>) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let notification = match husk_sys::seccomp::receive(listener.as_fd()) {
            Ok(notification) => notification,
            Err(Errno::NOENT | Errno::INTR) => {
                // Without a process left under the filter there is nothing more to come.
                if is_over(listener.as_fd()) {
                    self.listener = None;
                }
                return Ok(());
            }
            Err(errno) => return Err(failed("ioctl SECCOMP_IOCTL_NOTIF_RECV")(errno)),
        };
        let call = Call {
            arch: notification.arch,
            number: notification.number.cast_unsigned(),
            arguments: notification.arguments,
        };
        let decision = husk_seccomp::explain(&self.profile, self.native, &call)
            .map_err(|error| Error::invalid(error, ""))?;
        let own = notification.thread.cast_signed() == self.process;
        let executes = own && matches!(decision.syscall, Some("execve" | "execveat"));
        // The wire closes with execve(2), hence before the program's first call.
        let ours = wire.is_some_and(|wire| !executes && !has_hung_up(wire));
        let done = match ours {
            true => husk_sys::seccomp::let_pass(listener.as_fd(), notification.id),
            false => self.enforce(notification, call, decision),
        };
        match done {
            // Interrupted or killed meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => Ok(()),
            Err(errno) => Err(failed("answer")(errno)),
        }
    }

    /// Does to a call what the filter would have done.
    fn enforce(
        &mut self,
        notification: Notification,
        call: Call,
        decision: Decision,
    ) -> Result<(), Errno> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let task = Task::of(notification.thread);
        if !husk_sys::seccomp::awaits_answer(listener.as_fd(), notification.id) {
            return Ok(());
        }
        if decision.ret & ACTION == ERRNO {
            let errno = (decision.ret & DATA).cast_signed();
            husk_sys::seccomp::refuse(listener.as_fd(), notification.id, errno)?;
        } else {
            self.killed |= task.process == self.process;
            kill(&task)?;
        }
        self.record(Denial::new(call, decision, task));
        Ok(())
    }

    fn record(&mut self, denial: Denial) {
        if let Some(same) = self.denials.iter_mut().find(|other| other.is_like(&denial)) {
            same.count += 1;
        } else if self.denials.len() < MAX_DENIALS {
            self.denials.push(denial);
        } else {
            self.more += 1;
        }
    }

    /// Tells what was refused, and gives the exit status as the filter alone
    /// would have made it: for our SIGKILL, the SIGSYS of the kernel.
    pub fn conclude(&self, status: i32) -> i32 {
        self.tell(Some(status));
        if self.killed && status == 128 + SIGKILL { 128 + SIGSYS } else { status }
    }

    /// Tells what was refused, one line for each call.
    pub fn tell(&self, status: Option<i32>) {
        for denial in &self.denials {
            report::information(denial.describe(&self.profile));
        }
        if self.more > 0 {
            report::information(format_args!("seccomp: and {} more refused calls", self.more));
        }
        if status == Some(128 + SIGSYS) && !self.killed {
            let traps: Vec<String> = self
                .profile
                .syscalls
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.action == SeccompAction::Trap)
                .map(|(index, _)| format!("linux.seccomp.syscalls[{index}]"))
                .chain(
                    (self.profile.default_action == SeccompAction::Trap)
                        .then(|| "linux.seccomp.defaultAction".to_owned()),
                )
                .collect();
            if !traps.is_empty() {
                report::information(format_args!(
                    "seccomp: ended by SIGSYS: a call with SCMP_ACT_TRAP ({}), which leaves no trace",
                    traps.join(", ")
                ));
            }
        }
    }
}

/// Ends a process as the filter does. The signal of the filter's own cannot be
/// caught; ours can, and does not reach the init of a pid namespace.
fn kill(task: &Task) -> Result<(), Errno> {
    let process = if task.process > 0 { Pid::from_raw(task.process) } else { None };
    let process = process.ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(process, PidfdFlags::empty())?;
    let signal = if task.dies_of(SIGSYS) { SIGSYS } else { SIGKILL };
    husk_sys::signal::send(pidfd.as_fd(), signal)
}

fn events(fd: BorrowedFd<'_>) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

fn has_hung_up(wire: &Wire) -> bool {
    events(wire.as_fd()).contains(PollFlags::HUP)
}

fn is_over(listener: BorrowedFd<'_>) -> bool {
    events(listener).contains(PollFlags::HUP)
}

/// Where a refusal comes from, as the configuration names it.
fn source(reason: Reason) -> String {
    match reason {
        Reason::Rule(index) => format!("linux.seccomp.syscalls[{index}]"),
        Reason::Default => "linux.seccomp.defaultAction".to_owned(),
        Reason::NewerThanProfile => {
            "linux.seccomp, for it is newer than every call named there".to_owned()
        }
        Reason::Architecture => {
            "linux.seccomp.architectures, which lacks that of the call".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_filter_notifies() {
        let profile: Profile = husk_spec::parse(
            br#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["read","write"],"action":"SCMP_ACT_ALLOW"},
                {"names":["mount"],"action":"SCMP_ACT_KILL"},
                {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"},
                {"names":["ptrace"],"action":"SCMP_ACT_TRAP"},
                {"names":["personality"],"action":"SCMP_ACT_LOG"}]}"#,
        )
        .unwrap();
        let program = husk_seccomp::compile(&profile, SeccompArch::X86_64).unwrap();
        let returns = |instructions: &[[u8; 8]]| -> std::collections::BTreeSet<u32> {
            instructions
                .iter()
                // BPF_RET of the accumulator would escape.
                .inspect(|i| assert_ne!(u16::from_ne_bytes([i[0], i[1]]), 0x16))
                .filter(|i| u16::from_ne_bytes([i[0], i[1]]) == 0x06)
                .map(|i| u32::from_ne_bytes([i[4], i[5], i[6], i[7]]) & ACTION)
                .collect()
        };
        let (log, trap, allow) = (0x7ffc_0000, 0x0003_0000, 0x7fff_0000);
        assert_eq!(
            returns(&program.instructions),
            [KILL_THREAD, trap, ERRNO, log, allow, KILL_PROCESS].into()
        );
        let mut changed = program.instructions.clone();
        notifying(&mut changed);
        assert_eq!(returns(&changed), [trap, USER_NOTIF, log, allow].into());
        assert_eq!(changed.len(), program.instructions.len());
    }
}
