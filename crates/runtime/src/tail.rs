//! The last steps before the user's program runs, the same for `create` and for
//! `exec`: from root in the container to its user, with nothing left of ours.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_sys::exec::{self, CStringArray};
use husk_sys::{keyring, schedule, signal};
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::executable;
use crate::fault::{Context, Fault, Step};
use crate::mech::proc::Proc;
use crate::mech::resolve::{self, Missing};
use crate::mech::{capability, credential, limit, lsm, seccomp, terminal};
use crate::passwd;
use crate::plan::Process;
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
    filter_loaded: bool,
}

impl<'a> Tail<'a> {
    /// Everything up to, but not including, what waits for `start`. Of the
    /// descriptors that are not the program's, only `wire` and `start` stay open:
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
        capability::drop_bounding(&process.capabilities)?;
        let filter = process.seccomp.as_ref();
        let mut filter_loaded = false;
        if process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(
                Step::NoNewPrivileges,
                0,
                "prctl PR_SET_NO_NEW_PRIVS",
            )?;
        } else if let Some(filter) = filter {
            // Without it, loading takes CAP_SYS_ADMIN, which is about to go.
            load_filter(filter, wire)?;
            filter_loaded = true;
        }
        credential::become_user(process)?;
        capability::apply(&process.capabilities)?;
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
        let kept = [Some(wire.as_fd()), start];
        let kept: Vec<BorrowedFd<'_>> = kept.into_iter().flatten().collect();
        exec::close_all_but(3 + process.preserve_fds, &kept).at(
            Step::Descriptors,
            0,
            "close_range",
        )?;
        let path = executable::find(process)?;
        if let Some(filter) = filter.filter(|filter| !filter_loaded && filter.program.notifies) {
            // The listener can only be handed over while the runtime is there.
            load_filter(filter, wire)?;
            filter_loaded = true;
        }
        Ok(Prepared { process, path, environment, filter_loaded })
    }
}

impl Prepared<'_> {
    /// Runs the program. Returns only on failure.
    pub fn execute(self) -> Fault {
        if let Err(fault) = signal::restore_defaults().at(Step::Exec, 0, "sigprocmask") {
            return fault;
        }
        if let Some(filter) = self.process.seccomp.as_ref().filter(|_| !self.filter_loaded)
            && let Err(fault) = seccomp::load(filter)
        {
            return fault;
        }
        let errno = exec::execve(&self.path, &self.process.arguments, &self.environment);
        executable::diagnose(&self.path, errno)
    }
}

fn load_filter(filter: &crate::plan::Seccomp, wire: &Wire) -> Result<(), Fault> {
    let Some(listener) = seccomp::load(filter)? else {
        return Ok(());
    };
    wire.send_with(&Message::Listener, listener.as_fd()).at(Step::SeccompListener, 0, "sendmsg")?;
    drop(listener);
    match wire.await_go().at(Step::SeccompListener, 0, "recvmsg")? {
        Some(_) => Ok(()),
        None => Err(Fault::because(Step::Sync, 0, "the runtime is gone")),
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
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // `/` names the root of this process, which is the container's by now.
    let root = fs::open(c"/", flags, Mode::empty())?;
    let open = || fs::openat2(&root, path, flags, Mode::empty(), resolve);
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
