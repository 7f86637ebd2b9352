//! `exec`: one more process in a container that runs. Its own list of steps,
//! with the same tail as `create`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_cgroup::{Cgroup, Entry};
use husk_spec::{NamespaceType, Spec, Status};
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use rustix::fs::Mode;
use rustix::process::{Pid, WaitOptions};

use crate::announce::{announce, renounce};
use crate::birth;
use crate::describe::{self, Described};
use crate::explain::Explainer;
use crate::fault::{Context, Fault, Step};
use crate::host;
use crate::mech::proc::Proc;
use crate::mech::{core_scheduling, limit, pivot_root, seccomp, terminal, userns};
use crate::plan::{self, Process, clone_flag};
use crate::record::Record;
use crate::report::{self, Code, Error, Result};
use crate::state::Store;
use crate::tail::Tail;
use crate::timing::{self, Phase};
use crate::wire::{self, Message, Wire};

/// How a process is added, beside its description.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the terminal's other end goes.
    pub console: Option<OwnedFd>,
    /// Whether the terminal is copied to and from this command's standard streams.
    pub foreground: bool,
    /// Where a pidfd of the process goes, `--pidfd-socket`.
    pub pidfd_socket: Option<String>,
    /// `--pid-file`.
    pub pid_file: Option<String>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
    /// `--cgroup`.
    pub cgroup: Vec<String>,
    /// `--seccomp-explain`.
    pub explains_seccomp: bool,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Entered {
    /// Its process id.
    pub pid: Pid,
    /// The same.
    pub pidfd: OwnedFd,
    /// What answers for the filter from here on, `--seccomp-explain`.
    pub explainer: Option<Explainer>,
}

/// A container to enter.
#[derive(Debug)]
pub struct Target {
    /// What is remembered of it.
    pub record: Record,
    /// Its configuration as it was at `create`.
    pub config: Spec,
    init: OwnedFd,
    status: Status,
}

impl Target {
    /// The root directory of the container's first process.
    pub fn root(&self) -> Result<OwnedFd> {
        use rustix::fs::OFlags;
        let path = format!("/proc/{}/root", self.record.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |op: &'static str| {
            let path = path.clone();
            move |errno| Error::kernel(path, op, errno)
        };
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("open"))?;
        // Alive now, so it was then, and the number in the path was not another's.
        husk_sys::signal::send(self.init.as_fd(), 0).map_err(failed("pidfd_send_signal"))?;
        Ok(root)
    }
}

/// Looks a container up that a process can be added to.
pub fn target(store: &Store, id: &str, ignore_paused: bool) -> Result<Target> {
    let directory = store.open(id)?;
    let record = directory.record()?;
    let status = directory.status(&record);
    let (Some(init), Status::Created | Status::Running | Status::Paused) =
        (record.process()?, status)
    else {
        return Err(Error::new(
            Code::WrongState,
            format_args!("container {id}"),
            "cannot exec in a container that is not running",
        )
        .hint(format_args!("it is {}", status.name())));
    };
    if status == Status::Paused && !ignore_paused {
        return Err(Error::new(
            Code::WrongState,
            format_args!("container {id}"),
            "cannot exec in a paused container",
        )
        .hint("husk-oci resume it, or use --ignore-paused to have the process wait for that"));
    }
    Ok(Target { config: directory.config()?, record, init, status })
}

/// Adds a process to a container.
pub fn enter(
    target: &Target,
    process: &husk_spec::Process,
    added_capabilities: u64,
    options: &Options,
) -> Result<Entered> {
    const PROPERTY: &str = "process";
    timing::about(&target.record.id);
    timing::done(Phase::Read);
    // The cgroup is on record: no hierarchy is looked at.
    let host = host::facts(&target.config, Some(process), husk_cgroup::Layout::default());
    let mut warnings = Vec::new();
    let mut plan = plan::plan_process(process, PROPERTY, &host, &mut warnings)?;
    plan.capabilities.add(added_capabilities);
    let linux = target.config.linux.clone().unwrap_or_default();
    plan.plan_kernel_settings(&linux)?;
    plan.plan_annotations(&target.config.annotations, &host, &mut warnings)?;
    plan.preserve_fds = options.preserve_fds;
    if let Some(terminal) = &mut plan.terminal {
        terminal.keeps_line_feeds = options.foreground;
    }
    for warning in &warnings {
        report::warning(warning);
    }
    if plan.terminal.is_some() != options.console.is_some() {
        return Err(Error::new(
            Code::Usage,
            "--console-socket",
            "goes with a terminal, and a terminal with it",
        ));
    }
    let described = Described { spec: &target.config, process, property: PROPERTY };
    let proc = Proc::open().map_err(|errno| Error::kernel("/proc", "open", errno))?;
    let explainer = match options.explains_seccomp {
        true => Explainer::prepare(&mut plan, linux.seccomp.as_ref())?,
        false => None,
    };
    timing::done(Phase::Plan);
    let has_mounts = linux.namespaces.iter().any(|one| one.typ == NamespaceType::Mount);
    let root = if has_mounts { None } else { Some(target.root()?) };
    let enter = Enter { target, plan: &plan, described, options, proc, root };
    enter.run(explainer)
}

struct Enter<'a> {
    target: &'a Target,
    plan: &'a Process,
    described: Described<'a>,
    options: &'a Options,
    proc: Proc,
    /// The container's root, where that does not come with its mount namespace.
    root: Option<OwnedFd>,
}

impl Enter<'_> {
    fn run(&self, mut explainer: Option<Explainer>) -> Result<Entered> {
        limit::set_affinity(
            self.plan,
            "initial",
            self.plan.initial_affinity.as_deref(),
            rustix::process::getpid(),
        )?;
        core_scheduling::join(self.plan, self.target.record.first())?;
        let (wire, theirs) =
            wire::pair().map_err(|e| Error::kernel("husk-oci", "socketpair", e))?;
        let Some((pid, pidfd)) = self.give_birth(theirs)? else {
            return Err(Error::new(Code::Kernel, "clone3", "made no process"));
        };
        timing::done(Phase::Clone);
        match self.converse(&wire, pid, pidfd.as_fd(), &mut explainer) {
            Ok(()) => Ok(Entered { pid, pidfd, explainer }),
            Err(error) => {
                let _ = husk_sys::signal::send(pidfd.as_fd(), 9);
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                if let Some(explainer) = &explainer {
                    explainer.tell(None);
                }
                Err(error)
            }
        }
    }

    /// The cgroup to enter: the container's, a part of it that `--cgroup` names,
    /// or, where the container has put itself below its own, that of its init.
    fn cgroup(&self, of_init: bool) -> Result<Cgroup> {
        let record = &self.target.record;
        if of_init {
            record.cgroup.of_process(record.pid).map_err(host::cgroup_error)
        } else {
            record.cgroup.sub(&self.options.cgroup).map_err(host::cgroup_error)
        }
    }

    /// Kinds of namespaces that the container has for itself.
    fn namespaces(&self) -> u32 {
        let namespaces = self.target.config.linux.as_ref().map(|linux| &linux.namespaces);
        namespaces.into_iter().flatten().map(|namespace| clone_flag(namespace.typ)).sum()
    }

    fn give_birth(&self, theirs: Wire) -> Result<Option<(Pid, OwnedFd)>> {
        let namespaces = self.namespaces();
        let pid_namespace = namespaces & clone_flag(NamespaceType::Pid);
        let needs_user = namespaces & clone_flag(NamespaceType::User) != 0;
        let own_privilege = rustix::process::geteuid().is_root();
        let init = self.target.init.as_fd();
        let mut entry = self.cgroup(false)?.entry().map_err(host::cgroup_error)?;
        if needs_user && !own_privilege {
            return self.give_birth_unprivileged(theirs, entry);
        }
        if pid_namespace != 0 {
            husk_sys::namespace::setns(init, pid_namespace)
                .map_err(|errno| Error::kernel("linux.namespaces (pid)", "setns", errno))?;
        }
        let mut born = clone(0, entry.into.as_ref().map(AsFd::as_fd), false);
        // cgroups(7), "no internal processes": the container has made cgroups of
        // its own below its cgroup and moved into one.
        if matches!(born, Err(rustix::io::Errno::BUSY | rustix::io::Errno::OPNOTSUPP))
            && self.options.cgroup.is_empty()
        {
            entry = self.cgroup(true)?.entry().map_err(host::cgroup_error)?;
            born = clone(0, entry.into.as_ref().map(AsFd::as_fd), false);
        }
        match born.map_err(|errno| Error::kernel("exec", "clone3", errno))? {
            Cloned::Parent(pid, pidfd) => {
                drop(theirs);
                Ok(Some((pid, pidfd)))
            }
            Cloned::Child => {
                let joins = namespaces & !pid_namespace;
                self.become_process(theirs, entry.tasks, joins)
            }
        }
    }

    /// Whether the privilege to enter is that of the container's user namespace alone.
    fn is_unprivileged(&self) -> bool {
        self.namespaces() & clone_flag(NamespaceType::User) != 0
            && !rustix::process::geteuid().is_root()
    }

    /// Without privilege here, but with that of the container's user namespace:
    /// a process between joins that and the pid namespace.
    fn give_birth_unprivileged(
        &self,
        theirs: Wire,
        entry: Entry,
    ) -> Result<Option<(Pid, OwnedFd)>> {
        let born = birth::between(entry.into.as_ref().map(AsFd::as_fd), || {
            // Inherited; later it is out of our reach, and from the start no
            // process of the container may look into the new one.
            limit::set_oom_score(self.plan, rustix::process::getpid(), &self.proc)
                .map_err(|error| Fault::because(Step::Sync, 0, error.to_string()))?;
            birth::set_not_dumpable()?;
            husk_sys::namespace::setns(self.target.init.as_fd(), self.namespaces()).at(
                Step::Namespace,
                0,
                "setns",
            )?;
            clone(0, None, true).at(Step::Sync, 0, "clone3")
        })?;
        match born {
            Ok(Cloned::Child) => self.become_process(theirs, entry.tasks, 0),
            Ok(Cloned::Parent(pid, pidfd)) => Ok(Some((pid, pidfd))),
            Err(fault) => Err(describe::fault(&fault, self.described)),
        }
    }

    /// The new process: never returns.
    fn become_process(&self, wire: Wire, tasks: Vec<(String, OwnedFd)>, namespaces: u32) -> ! {
        let fault = match self.set_up(&wire, tasks, namespaces) {
            Ok(prepared) => prepared.execute(),
            Err(fault) => fault,
        };
        let _ = wire.send(&Message::Fault(fault));
        exec::exit_now(1)
    }

    fn set_up(
        &self,
        wire: &Wire,
        tasks: Vec<(String, OwnedFd)>,
        namespaces: u32,
    ) -> Result<crate::tail::Prepared<'_>, Fault> {
        for (index, (_, file)) in tasks.into_iter().enumerate() {
            rustix::io::write(&file, b"0").at(Step::Cgroup, index, "write tasks")?;
        }
        // `final`, if it is given, is set once this is ready.
        limit::reset_affinity();
        birth::set_not_dumpable()?;
        if namespaces & clone_flag(NamespaceType::User) != 0 {
            limit::raise_hard(self.plan, None)?;
        }
        if namespaces != 0 {
            husk_sys::namespace::setns(self.target.init.as_fd(), namespaces).at(
                Step::Namespace,
                0,
                "setns",
            )?;
        }
        if namespaces & clone_flag(NamespaceType::User) != 0
            || !rustix::process::geteuid().is_root()
        {
            userns::become_joined_root()?;
        }
        if let Some(root) = &self.root {
            pivot_root::chroot_into(root)?;
        }
        rustix::process::setsid().at(Step::Sync, 0, "setsid")?;
        timing::done(Phase::Enter);
        let slave = match (self.plan.terminal, &self.options.console) {
            (Some(wanted), Some(console)) => {
                Some(open_terminal(self.plan, wanted, console.as_fd())?)
            }
            _ => None,
        };
        let tail =
            Tail { process: self.plan, keyring: None, slave, proc: &self.proc, makes_cwd: false };
        let prepared = tail.prepare(wire, None)?;
        timing::done(Phase::Confine);
        wire.send(&Message::Ready).at(Step::Sync, 0, "sendmsg")?;
        match wire.await_go().at(Step::Sync, 0, "recvmsg")? {
            true => Ok(prepared),
            false => exec::exit_now(1),
        }
    }

    fn converse(
        &self,
        wire: &Wire,
        pid: Pid,
        pidfd: BorrowedFd<'_>,
        explainer: &mut Option<Explainer>,
    ) -> Result<()> {
        let go = || match wire.send(&Message::Go) {
            Ok(()) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::kernel("exec", "sendmsg", errno)),
        };
        let mut ready = false;
        loop {
            if let Some(explainer) = explainer {
                explainer.await_message(wire)?;
            }
            let received = wire.receive().map_err(|e| Error::kernel("exec", "recvmsg", e))?;
            match received {
                Some((Message::ListenerAt(number), _)) => {
                    if let Some(explainer) = explainer {
                        explainer.fetch(pid, pidfd, number)?;
                    }
                }
                Some((Message::Listener, Some(listener))) => {
                    let mut state = self.target.record.state(self.target.status);
                    state.pid = Some(pid.as_raw_nonzero().get());
                    if let Some(filter) = &self.plan.seccomp {
                        seccomp::hand_over(filter, &listener, &state)?;
                    }
                    go()?;
                }
                Some((Message::Ready, _)) => {
                    timing::done(Phase::Setup);
                    if !self.is_unprivileged() {
                        limit::set_oom_score(self.plan, pid, &self.proc)?;
                    }
                    limit::apply(self.plan, pid)?;
                    let mask = self.plan.final_affinity.as_deref();
                    limit::set_affinity(self.plan, "final", mask, pid)?;
                    let pid_file = self.options.pid_file.as_deref();
                    announce(pid, pid_file, self.options.pidfd_socket.as_deref())?;
                    ready = true;
                    go()?;
                }
                Some((Message::Fault(fault), _)) => {
                    if ready {
                        renounce(self.options.pid_file.as_deref());
                    }
                    return Err(describe::fault(&fault, self.described));
                }
                Some((other, _)) => {
                    return Err(Error::new(
                        Code::Kernel,
                        "exec",
                        format_args!("the process said {other:?} out of turn"),
                    ));
                }
                None if ready => {
                    timing::done(Phase::Exec);
                    return Ok(());
                }
                None => {
                    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                    let status = status.ok().flatten().map(|(_, status)| status);
                    return Err(describe::death(status, &self.target.record));
                }
            }
        }
    }
}

fn open_terminal(
    process: &Process,
    wanted: plan::Terminal,
    console: BorrowedFd<'_>,
) -> Result<OwnedFd, Fault> {
    use rustix::fs::OFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty()).at(Step::Terminal, 0, "open /")?;
    let pair = terminal::open(root.as_fd(), wanted, process)?;
    terminal::send_master(console, &pair.master)?;
    Ok(pair.slave)
}
