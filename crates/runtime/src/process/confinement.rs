//! The seccomp filter and the Landlock rules of a process that is about to run the program, and
//! when they come into force.
//!
//! As late as can be: with the filter last, and execve(2) alone after it, a profile need not allow
//! any call that this program makes. But without no_new_privs both take `CAP_SYS_ADMIN`, and a
//! process that holds it must not be seen by one of the container that may take it over
//! (ptrace(2)). It is then loaded before that, and the capability given up.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use husk_seccomp::Call;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::mech::{hook, landlock, seccomp};
use crate::plan::{self, Process, Seccomp};
use crate::process::executable;
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire::{Message, Wire};

/// What is not in force yet.
pub struct Confinement<'a> {
    filter: Option<&'a Seccomp>,
    rules: Option<OwnedFd>,
    /// For the runtime to fetch; closed by execve(2).
    listener: Option<OwnedFd>,
}

/// What is still to be done before the program runs.
pub struct Remaining {
    /// The program's process is cloned into a pid namespace with others in it.
    pub joins: bool,
    /// `start` is awaited.
    pub waits: bool,
    /// startContainer hooks run.
    pub runs_hooks: bool,
}

/// A system call with its first two arguments.
type Use = (&'static str, libc::c_long, [u64; 2]);

/// What is called between the filter and the program in any case.
const ALWAYS: [Use; 4] = [
    ("capset", libc::SYS_capset, [0, 0]),
    ("sendto", libc::SYS_sendto, [0, 0]),
    ("recvmsg", libc::SYS_recvmsg, [0, 0]),
    ("execve", libc::SYS_execve, [0, 0]),
];

/// What is called besides to enter a pid namespace.
const TO_JOIN: [Use; 3] = [
    ("clone", libc::SYS_clone, [(libc::CLONE_PARENT | libc::SIGCHLD) as u64, 0]),
    ("exit_group", libc::SYS_exit_group, [0, 0]),
    ("setsid", libc::SYS_setsid, [0, 0]),
];

/// What is called besides to wait for `start`.
const TO_WAIT: [Use; 3] = [
    ("close", libc::SYS_close, [0, 0]),
    ("rt_sigaction", libc::SYS_rt_sigaction, [libc::SIGTERM as u64, 0]),
    ("accept4", libc::SYS_accept4, [0, 0]),
];

/// What is called besides to run a hook, at the least.
const TO_RUN_HOOKS: [Use; 7] = [
    ("clone", libc::SYS_clone, [libc::SIGCHLD as u64, 0]),
    ("pipe2", libc::SYS_pipe2, [0, 0]),
    ("pidfd_open", libc::SYS_pidfd_open, [0, 0]),
    ("fcntl", libc::SYS_fcntl, [0, libc::F_SETFL as u64]),
    ("read", libc::SYS_read, [0, 0]),
    ("write", libc::SYS_write, [0, 0]),
    ("close", libc::SYS_close, [0, 0]),
];

/// What may be called besides: for a terminal, a limit, `start`, memory, and a message of what
/// has failed.
const OCCASIONAL: [Use; 11] = [
    ("ioctl", libc::SYS_ioctl, [0, libc::TIOCSCTTY as _]),
    ("prlimit64", libc::SYS_prlimit64, [0, libc::RLIMIT_NPROC as u64]),
    ("accept4", libc::SYS_accept4, [0, 0]),
    ("close", libc::SYS_close, [0, 0]),
    ("rt_sigaction", libc::SYS_rt_sigaction, [libc::SIGPIPE as u64, 0]),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask, [0, 0]),
    ("brk", libc::SYS_brk, [0, 0]),
    ("mmap", libc::SYS_mmap, [0, 0]),
    ("munmap", libc::SYS_munmap, [0, 0]),
    ("openat", libc::SYS_openat, [0, 0]),
    ("read", libc::SYS_read, [0, 0]),
];

impl Remaining {
    /// What is called at the least.
    fn needed(&self) -> impl Iterator<Item = &'static Use> {
        let wanted = |wanted: bool, calls: &'static [Use]| if wanted { calls } else { &[] };
        ALWAYS
            .iter()
            .chain(wanted(self.joins, &TO_JOIN))
            .chain(wanted(self.waits, &TO_WAIT))
            .chain(wanted(self.runs_hooks, &TO_RUN_HOOKS))
    }

    fn purpose(&self) -> &'static str {
        match self {
            Self { joins: true, .. } => "to enter the pid namespace",
            Self { runs_hooks: true, .. } => "to run startContainer hooks",
            _ => "to wait for `start`",
        }
    }
}

impl<'a> Confinement<'a> {
    /// Opens what takes a look at the container's files.
    pub fn prepare(process: &'a Process) -> Result<Self, Fault> {
        let rules = process.landlock.as_ref().map(landlock::rules).transpose()?;
        Ok(Self { filter: process.seccomp.as_ref(), rules, listener: None })
    }

    /// Whether there is anything to be put in force.
    pub fn is_left(&self) -> bool {
        self.filter.is_some() || self.rules.is_some()
    }

    /// The descriptor that must stay open until then.
    pub fn rules(&self) -> Option<BorrowedFd<'_>> {
        self.rules.as_ref().map(AsFd::as_fd)
    }

    /// Whether calls are judged by an agent, or by the runtime, that has to be given a listener.
    pub fn notifies(&self) -> bool {
        self.filter.is_some_and(|filter| filter.program.notifies || filter.explained)
    }

    /// Whether a process without no_new_privs must, or may as well, be confined before what
    /// remains. `bounding` are the capabilities that the container's processes can have. An error
    /// where it must and the filter does not allow what remains.
    pub fn comes_before(&self, remaining: &Remaining, bounding: u64) -> Result<bool, Fault> {
        let traces = bounding & CapabilitySet::SYS_PTRACE.bits() != 0;
        let is_reachable = remaining.joins || traces && (remaining.waits || remaining.runs_hooks);
        if !is_reachable {
            // Hooks take many calls, and are confined in processes of their own.
            return Ok(!remaining.runs_hooks && self.spares(remaining));
        }
        let Some(filter) = self.filter.filter(|filter| !filter.explained) else {
            return Ok(true);
        };
        // Afterwards it could only be loaded with a privilege that nobody in the container is
        // to see.
        match remaining.needed().find(|call| !allows(filter, call)) {
            None => Ok(true),
            Some((name, ..)) => Err(Fault::because(
                Step::Seccomp,
                0,
                format!(
                    "it refuses {name}, which is needed {} with the filter in force; with process.noNewPrivileges it can be loaded after that",
                    remaining.purpose()
                ),
            )),
        }
    }

    /// Whether the filter certainly allows all that remains.
    pub fn spares(&self, remaining: &Remaining) -> bool {
        !self.notifies()
            && self.filter.is_none_or(|filter| {
                remaining.needed().chain(&OCCASIONAL).all(|call| allows(filter, call))
            })
    }

    /// Puts the Landlock rules in force.
    pub fn restrict(&mut self) -> Result<(), Fault> {
        self.rules.take().as_ref().map_or(Ok(()), landlock::restrict)
    }

    /// Puts both in force, the filter last: it may well forbid the other.
    pub fn enforce(&mut self, wire: &Wire) -> Result<(), Fault> {
        self.restrict()?;
        if let Some(filter) = self.filter.take() {
            self.listener = load_filter(filter, wire)?;
        }
        Ok(())
    }

    /// The same right before the execve(2) of a path, after which nobody listens.
    pub fn enforce_last(&mut self, path: &CStr) -> Result<(), Fault> {
        self.restrict()?;
        let Some(filter) = self.filter.take() else { return Ok(()) };
        if filter.silences {
            executable::check_interpreter(path)?;
        }
        seccomp::load(filter).map(drop)
    }

    /// The same for a process of this one, which executes a hook.
    pub fn for_hook(&self) -> Result<hook::Steps, Errno> {
        let rules = self.rules.as_ref().map(OwnedFd::try_clone).transpose();
        let rules = rules.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        let filter = self.filter.map(|filter| filter.program.clone());
        Ok(Box::new(move || {
            if let Some(rules) = &rules {
                husk_sys::landlock::restrict_self(rules.as_fd())?;
            }
            match &filter {
                Some(program) => {
                    husk_sys::seccomp::set_filter(&program.instructions, program.flags).map(drop)
                }
                None => Ok(()),
            }
        }))
    }
}

/// Whether a filter lets a call pass, or has an agent decide that lets all of ours pass.
fn allows(filter: &Seccomp, (_, number, [first, second]): &Use) -> bool {
    const USER_NOTIF: u32 = 0x7fc0_0000;
    const LOG: u32 = 0x7ffc_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let Ok(arch) = plan::native_architecture().map(husk_seccomp::audit_arch) else {
        return false;
    };
    let call = Call { arch, number: *number as u32, arguments: [*first, *second, 0, 0, 0, 0] };
    matches!(filter.program.evaluate(&call), Some(USER_NOTIF | LOG | ALLOW))
}

/// Loads a filter and sees to it that its listener, if it has one, gets to the
/// runtime. One that the runtime fetches itself must stay open for that.
fn load_filter(filter: &Seccomp, wire: &Wire) -> Result<Option<OwnedFd>, Fault> {
    if filter.explained {
        // The kernel gives the lowest number that is free, and so does dup(2).
        let free = rustix::io::fcntl_dupfd_cloexec(wire, 0).at(Step::Seccomp, 0, "fcntl")?;
        let number = free.as_raw_fd();
        drop(free);
        wire.send(&Message::ListenerAt(number)).at(Step::Seccomp, 0, "sendmsg")?;
        return seccomp::load(filter);
    }
    let Some(listener) = seccomp::load(filter)? else {
        return Ok(None);
    };
    wire.send_with(&Message::Listener, listener.as_fd()).at(Step::SeccompListener, 0, "sendmsg")?;
    drop(listener);
    match wire.await_go().at(Step::SeccompListener, 0, "recvmsg")? {
        true => Ok(None),
        false => Err(Fault::because(Step::Sync, 0, "the runtime is gone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINS: Remaining = Remaining { joins: true, waits: false, runs_hooks: false };
    const WAITS: Remaining = Remaining { joins: false, waits: true, runs_hooks: false };
    const RUNS: Remaining = Remaining { joins: false, waits: false, runs_hooks: false };

    fn filter(profile: &str) -> Seccomp {
        let profile = husk_spec::parse(profile.as_bytes()).unwrap();
        let native = plan::native_architecture().unwrap();
        let program = husk_seccomp::compile(&profile, native).unwrap();
        Seccomp {
            program,
            explained: false,
            silences: false,
            listener_path: None,
            listener_metadata: String::new(),
        }
    }

    fn profile(names: &[&str], action: &str) -> String {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
                {{"names":["{}"],"action":"{action}"}}]}}"#,
            names.join("\",\"")
        )
    }

    fn spares(filter: &Seccomp, remaining: &Remaining) -> bool {
        Confinement { filter: Some(filter), rules: None, listener: None }.spares(remaining)
    }

    fn comes_before(filter: &Seccomp, remaining: &Remaining, bounding: u64) -> Result<bool, Fault> {
        let confinement = Confinement { filter: Some(filter), rules: None, listener: None };
        confinement.comes_before(remaining, bounding)
    }

    /// What a filter must allow to be loaded before the clone, and that a clone into new
    /// namespaces is none of it.
    #[test]
    fn a_filter_that_leaves_us_enough_is_loaded_early() {
        let names: Vec<&str> = JOINS.needed().chain(&OCCASIONAL).map(|(name, ..)| *name).collect();
        let all = |action| filter(&profile(&names, action));
        assert!(spares(&all("SCMP_ACT_ALLOW"), &JOINS));
        assert!(spares(&all("SCMP_ACT_LOG"), &JOINS));
        assert!(!spares(&all("SCMP_ACT_ERRNO"), &JOINS));
        for missing in &names {
            let others: Vec<&str> = names.iter().copied().filter(|name| name != missing).collect();
            assert!(!spares(&filter(&profile(&others, "SCMP_ACT_ALLOW")), &JOINS), "{missing}");
        }
        let masked = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["clone"],"action":"SCMP_ACT_ERRNO","args":[
                {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_NE"}]}]}"#;
        assert!(!spares(&filter(masked), &JOINS), "every value but one is refused");
        let notifies = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[
            {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(!spares(&filter(notifies), &JOINS));
    }

    /// Whoever may trace the process must not see it with what loads the filter.
    #[test]
    fn a_process_within_reach_is_confined_or_refused() {
        let traces = CapabilitySet::SYS_PTRACE.bits();
        let few = filter(&profile(&["clone", "capset", "execve"], "SCMP_ACT_ALLOW"));
        let refused = |remaining, bounding| comes_before(&few, remaining, bounding).unwrap_err();
        for bounding in [0, traces] {
            assert!(refused(&JOINS, bounding).detail.contains("sendto"));
        }
        assert!(refused(&WAITS, traces).detail.contains("wait for `start`"));
        assert!(!comes_before(&few, &WAITS, 0).unwrap());
        assert!(!comes_before(&few, &RUNS, traces).unwrap());
        let names: Vec<&str> = WAITS.needed().map(|(name, ..)| *name).collect();
        let enough = filter(&profile(&names, "SCMP_ACT_LOG"));
        assert!(comes_before(&enough, &WAITS, traces).unwrap());
        let open = filter(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        for bounding in [0, traces] {
            for remaining in [&JOINS, &WAITS, &RUNS] {
                assert!(comes_before(&open, remaining, bounding).unwrap());
            }
        }
    }
}
