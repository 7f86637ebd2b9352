//! The last steps before the user's program runs, the same for `create` and for
//! `exec`: from root in the container to its user, with nothing left of ours.
//!
//! Where the process joins a pid namespace, the processes in there see it from its first
//! instruction on. So all of this is done outside, by a process that they do not see, and the
//! one that is cloned into the namespace has the program's root, directory, descriptors, user,
//! capabilities and rules already (CVE-2016-9962; security.md, "Processes that join").

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use husk_seccomp::Call;
use husk_sys::exec::{self, CStringArray};
use husk_sys::{keyring, schedule, signal};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;

use crate::executable;
use crate::fault::{Context, Fault, Step};
use crate::mech::namespace::{self, Opened};
use crate::mech::proc::Proc;
use crate::mech::resolve::{self, Missing};
use crate::mech::{capability, credential, landlock, limit, lsm, seccomp, terminal};
use crate::passwd;
use crate::plan::{self, Process, Seccomp};
use crate::wire::{Message, Wire};

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
    filter_loaded: bool,
    /// Rules that are not in force yet.
    landlock: Option<OwnedFd>,
    /// For the runtime to fetch; closed by execve(2).
    _listener: Option<OwnedFd>,
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
        let mut landlock = process.landlock.as_ref().map(landlock::rules).transpose()?;
        capability::drop_bounding(&process.capabilities)?;
        let filter = process.seccomp.as_ref();
        let mut filter_loaded = false;
        let mut listener = None;
        if process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(
                Step::NoNewPrivileges,
                0,
                "prctl PR_SET_NO_NEW_PRIVS",
            )?;
        } else if !joins {
            // Without it, both take CAP_SYS_ADMIN, which is about to go. The
            // filter last: it may well forbid the other.
            restrict(&mut landlock)?;
            if let Some(filter) = filter {
                listener = load_filter(filter, wire)?;
                filter_loaded = true;
            }
        }
        credential::become_user(process)?;
        let confines = joins && !process.no_new_privileges;
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
        let ours = [landlock.as_ref(), listener.as_ref()].map(|fd| fd.map(AsFd::as_fd));
        let kept = [Some(wire.as_fd()), start].into_iter().chain(ours);
        let kept: Vec<BorrowedFd<'_>> = kept.flatten().collect();
        exec::close_all_but(process.preserve_fds.saturating_add(3), &kept).at(
            Step::Descriptors,
            0,
            "close_range",
        )?;
        let path = executable::find(process)?;
        if joins {
            // The change of user has reset it, to what fs.suid_dumpable says.
            set_not_dumpable()?;
            if confines {
                // The privilege for this is to be gone before anybody sees the process.
                restrict(&mut landlock)?;
                if let Some(filter) = filter {
                    check_allows_clone(filter)?;
                    listener = load_filter(filter, wire)?;
                    filter_loaded = true;
                }
                privilege.give_up()?;
            } else if !self.hooks_follow {
                restrict(&mut landlock)?;
                if let Some(filter) = filter.filter(|filter| spares_us(filter)) {
                    seccomp::load(filter)?;
                    filter_loaded = true;
                }
            }
            clone_into_pid_namespace(process, wire, has_terminal)?;
        }
        let notifies = |filter: &Seccomp| filter.program.notifies || filter.explained;
        if let Some(filter) = filter.filter(|filter| !filter_loaded && notifies(filter)) {
            restrict(&mut landlock)?;
            // The listener can only be handed over while the runtime is there.
            listener = load_filter(filter, wire)?;
            filter_loaded = true;
        }
        Ok(ReadyProcess {
            process,
            path,
            environment,
            filter_loaded,
            landlock,
            _listener: listener,
        })
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

/// A system call with its first two arguments.
type Use = (&'static str, libc::c_long, [u64; 2]);

/// What is called between the filter and the program at the least.
const NEEDED: [Use; 7] = [
    ("capset", libc::SYS_capset, [0, 0]),
    ("clone", libc::SYS_clone, [(libc::CLONE_PARENT | libc::SIGCHLD) as u64, 0]),
    ("sendto", libc::SYS_sendto, [0, 0]),
    ("exit_group", libc::SYS_exit_group, [0, 0]),
    ("recvmsg", libc::SYS_recvmsg, [0, 0]),
    ("setsid", libc::SYS_setsid, [0, 0]),
    ("execve", libc::SYS_execve, [0, 0]),
];

/// What may be called besides: for a terminal, a limit, `start`, memory, and a message of what
/// has failed.
const OCCASIONAL: [Use; 11] = [
    ("ioctl", libc::SYS_ioctl, [0, libc::TIOCSCTTY]),
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

/// A filter that is to be loaded before the clone must allow that. Afterwards it could only be
/// loaded with a privilege that nobody in the container is to see.
fn check_allows_clone(filter: &Seccomp) -> Result<(), Fault> {
    let refused = |needed: &&Use| !filter.explained && !allows(filter, needed);
    match NEEDED.iter().find(refused) {
        None => Ok(()),
        Some((name, ..)) => Err(Fault::because(
            Step::Seccomp,
            0,
            format!(
                "it refuses {name}, which is needed to enter the pid namespace with the filter in force; with process.noNewPrivileges it can be loaded after that"
            ),
        )),
    }
}

/// Whether a filter that may be loaded later, too, allows what is left to do from before the
/// clone on. It is then in force before anybody sees the process.
fn spares_us(filter: &Seccomp) -> bool {
    !filter.explained
        && !filter.program.notifies
        && NEEDED.iter().chain(&OCCASIONAL).all(|one| allows(filter, one))
}

impl ReadyProcess<'_> {
    /// Runs the program. Returns only on failure.
    pub fn execute(mut self) -> Fault {
        if let Err(fault) = signal::restore_defaults().at(Step::Exec, 0, "sigprocmask") {
            return fault;
        }
        if let Err(fault) = restrict(&mut self.landlock) {
            return fault;
        }
        if let Some(filter) = self.process.seccomp.as_ref().filter(|_| !self.filter_loaded)
            && let Err(fault) = seccomp::load(filter)
        {
            return fault;
        }
        let errno = exec::execve(&self.path, &self.process.arguments, &self.environment);
        let mut fault = executable::diagnose(&self.path, errno);
        if errno == Errno::ACCESS && fault.detail.is_empty() && self.process.landlock.is_some() {
            fault.detail = format!("{} does not let it be executed", Step::Landlock.property());
        }
        fault
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(profile: &str) -> Seccomp {
        let profile = husk_spec::parse(profile.as_bytes()).unwrap();
        let native = plan::native_architecture().unwrap();
        let program = husk_seccomp::compile(&profile, native).unwrap();
        Seccomp { program, explained: false, listener_path: None, listener_metadata: String::new() }
    }

    /// What a filter must allow to be loaded before the clone, and that a clone into new
    /// namespaces is none of it.
    #[test]
    fn a_filter_that_leaves_us_enough_is_loaded_early() {
        let names: Vec<&str> = NEEDED.iter().chain(&OCCASIONAL).map(|(name, ..)| *name).collect();
        let profile = |names: &[&str], action: &str| {
            format!(
                r#"{{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
                    {{"names":["{}"],"action":"{action}"}}]}}"#,
                names.join("\",\"")
            )
        };
        assert!(spares_us(&filter(&profile(&names, "SCMP_ACT_ALLOW"))));
        assert!(spares_us(&filter(&profile(&names, "SCMP_ACT_LOG"))));
        assert!(check_allows_clone(&filter(&profile(&names, "SCMP_ACT_LOG"))).is_ok());
        let few = filter(&profile(&["clone", "capset", "execve"], "SCMP_ACT_ALLOW"));
        assert!(check_allows_clone(&few).unwrap_err().detail.contains("sendto"));
        assert!(!spares_us(&filter(&profile(&names, "SCMP_ACT_ERRNO"))));
        for missing in &names {
            let others: Vec<&str> = names.iter().copied().filter(|name| name != missing).collect();
            assert!(!spares_us(&filter(&profile(&others, "SCMP_ACT_ALLOW"))), "{missing}");
        }
        let masked = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["clone"],"action":"SCMP_ACT_ERRNO","args":[
                {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_NE"}]}]}"#;
        assert!(!spares_us(&filter(masked)), "every value but one is refused");
        let notifies = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[
            {"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#;
        assert!(!spares_us(&filter(notifies)));
    }
}
