//! The last steps before the user's program runs, the same for `create` and for
//! `exec`: from root in the container to its user, with nothing left of ours.
//!
//! The seccomp filter comes last, and after it execve(2) alone: a profile need not allow any
//! call that this program makes, and one from before a call existed may refuse it. Without
//! no_new_privs, loading a filter takes `CAP_SYS_ADMIN`, which is therefore kept beside what
//! the configuration grants; execve(2) drops it again, since it computes the permitted set from
//! the bounding, inheritable and ambient ones alone (capabilities(7), "Transformation of
//! capabilities during execve()").

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use husk_sys::exec::{self, CStringArray};
use husk_sys::{keyring, schedule, signal};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::executable;
use crate::fault::{Context, Fault, Step};
use crate::mech::proc::Proc;
use crate::mech::resolve::{self, Missing};
use crate::mech::{capability, credential, hook, landlock, limit, lsm, seccomp, terminal};
use crate::passwd;
use crate::plan::{Process, Seccomp};
use crate::wire::{Message, Wire};

/// What the tail needs beside the process itself.
pub struct Tail<'a> {
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
}

/// A process that is ready to execute the program.
pub struct Prepared<'a> {
    process: &'a Process,
    path: CString,
    environment: CStringArray,
    /// The filter, where it is not in force yet.
    filter: Option<&'a Seccomp>,
    /// Rules that are not in force yet.
    landlock: Option<OwnedFd>,
    /// For the runtime to fetch; closed by execve(2).
    _listener: Option<OwnedFd>,
}

impl<'a> Tail<'a> {
    /// Everything up to, but not including, what waits for `start`. Of the
    /// descriptors that are not the program's, only `wire`, `start` and its own stay open:
    /// the caller must not drop the owner of any other.
    pub fn prepare(
        self,
        wire: &Wire,
        start: Option<BorrowedFd<'_>>,
    ) -> Result<Prepared<'a>, Fault> {
        let process = self.process;
        if let Some(name) = self.keyring {
            join_keyring(name)?;
        }
        if let Some(persona) = process.personality {
            schedule::personality(persona).at(Step::Personality, 0, "personality")?;
        }
        if let Some(policy) = &process.memory_policy {
            schedule::set_mempolicy(policy.mode, &policy.nodes).at(
                Step::MemoryPolicy,
                0,
                "set_mempolicy",
            )?;
        }
        match self.slave {
            Some(slave) => terminal::take(&slave)?,
            None => terminal::own_streams(process)?,
        }
        lsm::label(process, self.proc)?;
        let environment = environment(process);
        // As root first, as the user if that is denied: each may go where the
        // other may not (a home on NFS; /root as cwd of a user).
        let entered = enter_cwd(&process.cwd, self.makes_cwd);
        limit::set_own(process)?;
        let mut landlock = process.landlock.as_ref().map(landlock::rules).transpose()?;
        capability::drop_bounding(&process.capabilities)?;
        let filter = process.seccomp.as_ref();
        let confined = filter.is_some() || landlock.is_some();
        if process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(
                Step::NoNewPrivileges,
                0,
                "prctl PR_SET_NO_NEW_PRIVS",
            )?;
        }
        credential::become_user(process)?;
        let loads_by_privilege = confined && !process.no_new_privileges;
        capability::apply(&process.capabilities, loads_by_privilege)?;
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
        let ours = landlock.as_ref().map(AsFd::as_fd);
        let kept = [Some(wire.as_fd()), start, ours];
        let kept: Vec<BorrowedFd<'_>> = kept.into_iter().flatten().collect();
        exec::close_all_but(process.preserve_fds.saturating_add(3), &kept).at(
            Step::Descriptors,
            0,
            "close_range",
        )?;
        let path = executable::find(process)?;
        let (filter, listener) = match filter {
            // Its listener can only be handed over while the runtime is there.
            Some(filter) if filter.program.notifies || filter.explained => {
                restrict(&mut landlock)?;
                (None, load_filter(filter, wire)?)
            }
            filter => (filter, None),
        };
        Ok(Prepared { process, path, environment, filter, landlock, _listener: listener })
    }
}

impl Prepared<'_> {
    /// The program's environment.
    pub fn environment(&self) -> &[CString] {
        self.environment.strings()
    }

    /// What confines a process of this one before it executes a hook, which is the container's
    /// own program: the same as the program itself.
    pub fn confine_hook(&self) -> Result<hook::Steps, Errno> {
        let landlock = self.landlock.as_ref().map(OwnedFd::try_clone).transpose();
        let landlock =
            landlock.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        let filter = self.filter.map(|filter| filter.program.clone());
        Ok(Box::new(move || {
            if let Some(rules) = &landlock {
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
        restrict(&mut self.landlock)?;
        let Some(filter) = self.filter else { return Ok(()) };
        if filter.silences {
            executable::check_interpreter(&self.path)?;
        }
        seccomp::load(filter).map(drop)
    }
}

/// Puts Landlock rules in force that are not yet.
fn restrict(rules: &mut Option<OwnedFd>) -> Result<(), Fault> {
    rules.take().as_ref().map_or(Ok(()), landlock::restrict)
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

fn environment(process: &Process) -> CStringArray {
    let mut environment = process.environment.clone();
    if process.needs_home {
        environment.push(passwd::home_variable(process.uid));
    }
    CStringArray::new(environment)
}

/// A session keyring of the container's own, so that it has no part in the
/// caller's keys. The name is runc's, which tools look for.
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
