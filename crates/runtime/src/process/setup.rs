//! The last steps before the user's program runs, the same for `create` and for
//! `exec`: from root in the container to its user, with nothing left of ours.
//!
//! Where the process joins a pid namespace, the processes in there see it from its first
//! instruction on. So all of this is done outside, by a process that they do not see, and the
//! one that is cloned into the namespace has the program's root, directory, descriptors, user,
//! capabilities and rules already (CVE-2016-9962; security.md, "Processes that join").

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_sys::exec::{self, CStringArray};
use husk_sys::{keyring, schedule, signal};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;

use crate::mech::namespace::{self, Opened};
use crate::mech::proc::Proc;
use crate::mech::resolve::{self, Missing};
use crate::mech::{capability, credential, hook, limit, lsm, terminal};
use crate::plan::Process;
use crate::process::confinement::{Confinement, Remaining};
use crate::process::executable;
use crate::process::passwd;
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire::{Message, Wire};

/// What is needed beside the process itself.
pub struct ProcessSetup<'a> {
    /// What to run.
    pub process: &'a Process,
    /// Name of the session keyring to join.
    pub keyring: Option<&'a CStr>,
    /// The container's end of its terminal.
    pub slave: Option<OwnedFd>,
    /// A procfs that the container has no hand in.
    pub proc: &'a Proc,
    /// Whether a working directory that is missing is made, as for a container's first process.
    pub makes_cwd: bool,
    /// How the program's process gets into its pid namespace.
    pub pid_namespace: PidNamespace<'a>,
    /// Whether startContainer hooks run between this and the program.
    pub hooks_follow: bool,
}

/// How a process gets into its pid namespace.
#[derive(Clone, Copy)]
pub enum PidNamespace<'a> {
    /// It was born there, and nobody else was.
    Born,
    /// This one is to be entered by the clone of this process.
    Join(&'a Opened),
    /// The same, and setns(2) has been called for it.
    Entered,
}

/// A process that is ready to execute the program.
pub struct ReadyProcess<'a> {
    process: &'a Process,
    path: CString,
    environment: CStringArray,
    confinement: Confinement<'a>,
}

impl<'a> ProcessSetup<'a> {
    /// Everything up to, but not including, what waits for `start`. Of the
    /// descriptors that are not the program's, only `wire`, `start` and its own stay open:
    /// the caller must not drop the owner of any other.
    ///
    /// Returns in the process that is to run the program, which is another one than the
    /// caller where a pid namespace is joined: the caller has ended then.
    pub fn prepare(
        mut self,
        wire: &Wire,
        start: Option<BorrowedFd<'_>>,
    ) -> Result<ReadyProcess<'a>, Fault> {
        let process = self.process;
        let joins = !matches!(self.pid_namespace, PidNamespace::Born);
        self.set_inherited()?;
        let has_terminal = self.slave.is_some();
        self.take_streams(joins)?;
        lsm::label(process, self.proc)?;
        let environment = environment(process);
        // As root first, as the user if that is denied: each may go where the
        // other may not (a home on NFS; /root as cwd of a user).
        let entered = enter_cwd(&process.cwd, self.makes_cwd);
        if let PidNamespace::Join(opened) = self.pid_namespace {
            // For the process to be cloned. This takes a privilege that is about to go.
            namespace::enter(opened)?;
        }
        limit::set_own(process)?;
        match joins {
            // For one process that is one too many.
            true => limit::allow_process_limit(process)?,
            false => limit::set_process_limit(process)?,
        }
        let mut confinement = Confinement::prepare(process)?;
        capability::drop_bounding(&process.capabilities)?;
        if process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(
                Step::NoNewPrivileges,
                0,
                "prctl PR_SET_NO_NEW_PRIVS",
            )?;
        }
        credential::become_user(process)?;
        let confines = confinement.is_left() && !process.no_new_privileges;
        let privilege = capability::apply(&process.capabilities, confines)?;
        match entered {
            Err(Errno::ACCESS | Errno::PERM) => enter_cwd(&process.cwd, self.makes_cwd),
            done => done,
        }
        .at(Step::Cwd, 0, "chdir")?;
        credential::set_umask(process);
        check_cwd()?;
        // Closed, not marked close-on-exec: that takes effect only after execve(2)
        // has resolved the program's path, which could lead through a descriptor
        // of the host's (CVE-2024-21626). And before the program is looked for.
        let kept = [Some(wire.as_fd()), start, confinement.rules()];
        let kept: Vec<BorrowedFd<'_>> = kept.into_iter().flatten().collect();
        exec::close_all_but(process.preserve_fds.saturating_add(3), &kept).at(
            Step::Descriptors,
            0,
            "close_range",
        )?;
        let path = executable::find(process)?;
        // The change of user has reset it, to what fs.suid_dumpable says.
        set_not_dumpable()?;
        let remaining = Remaining { joins, waits: start.is_some(), runs_hooks: self.hooks_follow };
        if confines && confinement.comes_before(&remaining, process.capabilities.bounding)? {
            confinement.enforce(wire)?;
            privilege.give_up()?;
        } else if joins && !self.hooks_follow {
            confinement.restrict()?;
            if confinement.spares(&remaining) {
                confinement.enforce(wire)?;
            }
        }
        if joins {
            clone_into_pid_namespace(process, wire, has_terminal)?;
        }
        if confinement.notifies() {
            // The listener can only be handed over while the runtime is there.
            confinement.enforce(wire)?;
        }
        Ok(ReadyProcess { process, path, environment, confinement })
    }

    /// What execve(2) and clone(2) pass on and nothing else depends on.
    fn set_inherited(&self) -> Result<(), Fault> {
        if let Some(name) = self.keyring {
            join_keyring(name)?;
        }
        if let Some(persona) = self.process.personality {
            schedule::personality(persona).at(Step::Personality, 0, "personality")?;
        }
        if let Some(policy) = &self.process.memory_policy {
            schedule::set_mempolicy(policy.mode, &policy.nodes).at(
                Step::MemoryPolicy,
                0,
                "set_mempolicy",
            )?;
        }
        Ok(())
    }

    /// Descriptors 0 to 2. A terminal is controlled by the leader of a session, which is
    /// the process to be cloned where there is one.
    fn take_streams(&mut self, is_cloned: bool) -> Result<(), Fault> {
        let Some(slave) = self.slave.take() else {
            return terminal::own_streams(self.process);
        };
        terminal::become_streams(&slave)?;
        if is_cloned { Ok(()) } else { terminal::control() }
    }
}

/// Clones the process that runs the program and ends; returns in the new one alone.
fn clone_into_pid_namespace(
    process: &Process,
    wire: &Wire,
    has_terminal: bool,
) -> Result<(), Fault> {
    match husk_sys::clone::fork_sibling() {
        Ok(Some(number)) => {
            let born = Message::Born(number.as_raw_nonzero().get());
            if let Err(errno) = wire.send(&born) {
                // It waits for an answer that nobody will give.
                let _ = rustix::process::kill_process(number, rustix::process::Signal::KILL);
                return Err(errno).at(Step::Sync, 0, "sendto");
            }
            exec::exit_now(0)
        }
        Ok(None) => {}
        Err(errno) => return Err(explain_clone(errno)),
    }
    // Until it is known to the runtime, it would be nobody's.
    if !wire.await_go().at(Step::Sync, 0, "recvmsg")? {
        exec::exit_now(1);
    }
    rustix::process::setsid().at(Step::Sync, 0, "setsid")?;
    if has_terminal {
        terminal::control()?;
    }
    limit::set_process_limit(process)
}

/// Takes this process's memory and descriptors out of other processes' reach.
pub fn set_not_dumpable() -> Result<(), Fault> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(
        Step::Sync,
        0,
        "prctl PR_SET_DUMPABLE",
    )
}

fn explain_clone(errno: Errno) -> Fault {
    let (step, detail) = match errno {
        Errno::AGAIN => (Step::Cgroup, "the limit on processes leaves no room for two more"),
        // pid_namespaces(7): without its first process a namespace takes no other.
        Errno::NOMEM => (Step::Sync, "or the first process of the pid namespace has ended"),
        _ => (Step::Sync, ""),
    };
    Fault { op: "clone".into(), errno: Some(errno), ..Fault::because(step, 0, detail) }
}

impl ReadyProcess<'_> {
    /// The program's environment.
    pub fn environment(&self) -> &[CString] {
        self.environment.strings()
    }

    /// What confines a process of this one before it executes a hook, which is the container's
    /// own program: the same as the program itself.
    pub fn confine_hook(&self) -> Result<hook::Steps, Errno> {
        self.confinement.for_hook()
    }

    /// Runs the program. Returns only on failure.
    pub fn execute(mut self) -> Fault {
        if let Err(fault) = self.take_last_steps() {
            return fault;
        }
        let errno = exec::execve(&self.path, &self.process.arguments, &self.environment);
        let mut fault = executable::diagnose(&self.path, errno);
        if errno == Errno::ACCESS && fault.detail.is_empty() && self.process.landlock.is_some() {
            fault.detail = format!("{} does not let it be executed", Step::Landlock.property());
        }
        fault
    }

    fn take_last_steps(&mut self) -> Result<(), Fault> {
        signal::restore_defaults().at(Step::Exec, 0, "sigprocmask")?;
        self.confinement.enforce_last(&self.path)
    }
}

fn environment(process: &Process) -> CStringArray {
    let mut environment = process.environment.clone();
    if process.needs_home {
        environment.push(passwd::home_variable(process.uid));
    }
    CStringArray::new(environment)
}

/// A session keyring of the container's own, so that it has no part in the
/// caller's keys.
fn join_keyring(name: &CStr) -> Result<(), Fault> {
    /// `KEY_USR_SEARCH`: who is of the same user may find keys in it.
    const KEY_USR_SEARCH: u32 = 0x0008_0000;
    let serial = match keyring::join_session(name) {
        // No keyrings in this kernel, or forbidden by an outer container's filter.
        Err(Errno::NOSYS | Errno::PERM) => return Ok(()),
        done => done.at(Step::Keyring, 0, "keyctl KEYCTL_JOIN_SESSION_KEYRING")?,
    };
    let permissions =
        keyring::permissions(serial).at(Step::Keyring, 0, "keyctl KEYCTL_DESCRIBE")?;
    keyring::set_permissions(serial, permissions | KEY_USR_SEARCH).at(
        Step::Keyring,
        0,
        "keyctl KEYCTL_SETPERM",
    )
}

/// Changes into the working directory; never through a link of procfs, which
/// could lead to a descriptor of ours and with it to the host (CVE-2024-21626).
fn enter_cwd(path: &CStr, make: bool) -> Result<(), Errno> {
    if path == c"/" {
        return rustix::process::chdir(c"/");
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // `/` names the root of this process, which is the container's by now.
    let root = fs::open(c"/", flags, Mode::empty())?;
    let open = || resolve::open_with(root.as_fd(), path, flags);
    let directory = match open() {
        Err(Errno::NOENT) if make => {
            resolve::open_or_make(root.as_fd(), path, Missing::Directory)?;
            open()?
        }
        done => done?,
    };
    rustix::process::fchdir(&directory)
}

/// Whether the working directory is inside the root: getcwd(2) says otherwise
/// with a path that does not start with a slash.
fn check_cwd() -> Result<(), Fault> {
    let cwd = rustix::process::getcwd(Vec::new()).at(Step::Cwd, 0, "getcwd")?;
    match cwd.to_bytes().starts_with(b"/") {
        true => Ok(()),
        false => Err(Fault::because(Step::Cwd, 0, "outside the container's root")),
    }
}
