//! `exec`: one more process in a container that runs. Its own list of steps,
//! which ends in the same [`crate::process::setup`] as that of `create`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_cgroup::{Cgroup, Entry};
use husk_spec::{NamespaceType, Spec, Status};
use husk_sys::clone::{Cloned, clone};
use husk_sys::exec;
use rustix::fs::Mode;
use rustix::process::{Pid, WaitStatus};

use crate::create::announce::{announce, renounce};
use crate::explain::Explainer;
use crate::host;
use crate::mech::proc::Proc;
use crate::mech::{core_scheduling, limit, pivot_root, seccomp, terminal, userns};
use crate::plan::{self, Process, clone_flag};
use crate::process::setup::{PidNamespace, ProcessSetup, ReadyProcess, set_not_dumpable};
use crate::process::waiting;
use crate::report::describe::{self, Described};
use crate::report::{self, Code, Error, Result};
use crate::state::Store;
use crate::state::record::Record;
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire::{self, Message, Wire};
use crate::sync::{Child, Conversation, Reactions};
use crate::timing::{self, Phase};

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
pub struct Added {
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
pub fn add_process(
    target: &Target,
    process: &husk_spec::Process,
    added_capabilities: u64,
    options: &Options,
) -> Result<Added> {
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
    if let (Status::Created, Some(first)) = (target.status, target.record.first()) {
        waiting::check_process(plan.capabilities.bounding, first, &proc)?;
    }
    let explainer = match options.explains_seccomp {
        true => Explainer::prepare(&mut plan, linux.seccomp.as_ref())?,
        false => None,
    };
    timing::done(Phase::Plan);
    let has_mounts = linux.namespaces.iter().any(|one| one.typ == NamespaceType::Mount);
    let root = if has_mounts { None } else { Some(target.root()?) };
    let record = &target.record;
    let addition = Addition {
        target,
        plan: &plan,
        described,
        options,
        keyring: plan::session_keyring(&record.id, record.no_new_keyring)?,
        proc: &proc,
        root,
        announced: false,
    };
    addition.run(explainer)
}

/// A process that is being added.
struct Addition<'a> {
    target: &'a Target,
    plan: &'a Process,
    described: Described<'a>,
    options: &'a Options,
    /// Name of the container's session keyring.
    keyring: Option<CString>,
    proc: &'a Proc,
    /// The container's root, where that does not come with its mount namespace.
    root: Option<OwnedFd>,
    /// Whether others have been told of it.
    announced: bool,
}

impl Addition<'_> {
    fn run(mut self, explainer: Option<Explainer>) -> Result<Added> {
        limit::set_affinity(
            self.plan,
            "initial",
            self.plan.initial_affinity.as_deref(),
            rustix::process::getpid(),
        )?;
        core_scheduling::join(self.plan, self.target.record.first())?;
        let (wire, theirs) =
            wire::pair().map_err(|e| Error::kernel("husk-oci", "socketpair", e))?;
        let child = self.clone_process(theirs)?;
        timing::done(Phase::Clone);
        let enters_last = self.joins_pid_namespace();
        let mut conversation =
            Conversation { wire: &wire, proc: self.proc, child, explainer, enters_last };
        let held = conversation.hold(&mut self);
        let Conversation { child, explainer, .. } = conversation;
        if let Err(error) = held {
            child.kill();
            if self.announced {
                renounce(self.options.pid_file.as_deref());
            }
            if let Some(explainer) = &explainer {
                explainer.tell(None);
            }
            return Err(error);
        }
        Ok(Added { pid: child.pid, pidfd: child.pidfd, explainer })
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

    fn has(&self, kind: NamespaceType) -> bool {
        self.namespaces() & clone_flag(kind) != 0
    }

    /// Whether the program's process is cloned into the container's pid namespace, after all
    /// else: else there is none, and it sees the host's processes.
    fn joins_pid_namespace(&self) -> bool {
        self.has(NamespaceType::Pid)
    }

    /// Clones the process that joins the container. Its own pid namespace is ours, so that
    /// nothing in the container sees it.
    fn clone_process(&self, theirs: Wire) -> Result<Child> {
        let mut entry = self.cgroup(false)?.entry().map_err(host::cgroup_error)?;
        let clone_in = |entry: &Entry| clone(0, entry.into.as_ref().map(AsFd::as_fd), false);
        let mut cloned = clone_in(&entry);
        // cgroups(7), "no internal processes": the container has made cgroups of
        // its own below its cgroup and moved into one.
        if matches!(cloned, Err(rustix::io::Errno::BUSY | rustix::io::Errno::OPNOTSUPP))
            && self.options.cgroup.is_empty()
        {
            entry = self.cgroup(true)?.entry().map_err(host::cgroup_error)?;
            cloned = clone_in(&entry);
        }
        match cloned.map_err(|errno| Error::kernel("exec", "clone3", errno))? {
            Cloned::Parent(pid, pidfd) => Ok(Child { pid, pidfd }),
            Cloned::Child => self.become_process(&theirs, entry.tasks),
        }
    }

    /// The new process: never returns.
    fn become_process(&self, wire: &Wire, tasks: Vec<(String, OwnedFd)>) -> ! {
        let fault = match self.set_up(wire, tasks) {
            Ok(ready) => ready.execute(),
            Err(fault) => fault,
        };
        let _ = wire.send(&Message::Fault(fault));
        exec::exit_now(1)
    }

    fn set_up(
        &self,
        wire: &Wire,
        tasks: Vec<(String, OwnedFd)>,
    ) -> Result<ReadyProcess<'_>, Fault> {
        for (index, (_, file)) in tasks.into_iter().enumerate() {
            rustix::io::write(&file, b"0").at(Step::Cgroup, index, "write tasks")?;
        }
        // `final`, if it is given, is set once this is ready.
        limit::reset_affinity();
        // While it is dumpable: then its files in /proc are its own without privilege, too.
        limit::set_own_oom_score(self.plan, self.proc)?;
        set_not_dumpable()?;
        self.join_namespaces()?;
        if let Some(root) = &self.root {
            pivot_root::chroot_into(root)?;
        }
        // Nobody in the container is to read what the caller was called with.
        husk_sys::arguments::erase();
        // The caller's terminal stays behind with its session.
        rustix::process::setsid().at(Step::Sync, 0, "setsid")?;
        timing::done(Phase::Enter);
        let slave = match (self.plan.terminal, &self.options.console) {
            (Some(wanted), Some(console)) => {
                Some(open_terminal(self.plan, wanted, console.as_fd())?)
            }
            _ => None,
        };
        let setup = ProcessSetup {
            process: self.plan,
            keyring: self.keyring.as_deref(),
            slave,
            proc: self.proc,
            makes_cwd: false,
            pid_namespace: match self.joins_pid_namespace() {
                true => PidNamespace::Entered,
                false => PidNamespace::Born,
            },
            hooks_follow: false,
        };
        let ready = setup.prepare(wire, None)?;
        timing::done(Phase::Confine);
        wire.send(&Message::Ready).at(Step::Sync, 0, "sendmsg")?;
        match wire.await_go().at(Step::Sync, 0, "recvmsg")? {
            true => Ok(ready),
            false => exec::exit_now(1),
        }
    }

    /// Joins all namespaces at once; the pid namespace for the process to be cloned.
    fn join_namespaces(&self) -> Result<(), Fault> {
        let has_user = self.has(NamespaceType::User);
        if has_user {
            limit::raise_hard(self.plan, None)?;
        }
        let mut namespaces = self.namespaces();
        if self.target.record.restored && has_other_clocks(self.target.record.pid) {
            namespaces |= clone_flag(NamespaceType::Time);
        }
        if namespaces != 0 {
            let init = self.target.init.as_fd();
            husk_sys::namespace::setns(init, namespaces).at(Step::Namespace, 0, "setns")?;
        }
        if has_user || !rustix::process::geteuid().is_root() {
            userns::become_joined_root()?;
        }
        Ok(())
    }
}

impl Reactions for Addition<'_> {
    fn map_ids(&mut self, _: &Child) -> Result<()> {
        Err(Error::new(Code::Kernel, "exec", "the process made a user namespace"))
    }

    fn run_hooks(&mut self, _: &Child) -> Result<()> {
        Err(Error::new(Code::Kernel, "exec", "the process asked for hooks"))
    }

    fn know(&mut self, _: &Child) -> Result<()> {
        Ok(())
    }

    fn hand_over(&mut self, child: &Child, listener: &OwnedFd) -> Result<()> {
        let mut state = self.target.record.state(self.target.status);
        state.pid = Some(child.pid.as_raw_nonzero().get());
        match &self.plan.seccomp {
            Some(filter) => seccomp::hand_over(filter, listener, &state),
            None => Ok(()),
        }
    }

    fn make_ready(&mut self, child: &Child) -> Result<()> {
        limit::apply(self.plan, child.pid)?;
        let mask = self.plan.final_affinity.as_deref();
        limit::set_affinity(self.plan, "final", mask, child.pid)?;
        let (pid_file, socket) = (&self.options.pid_file, &self.options.pidfd_socket);
        announce(child.pid, pid_file.as_deref(), socket.as_deref())?;
        self.announced = true;
        Ok(())
    }

    fn describe(&self, fault: &Fault) -> Error {
        describe::fault(fault, self.described)
    }

    fn describe_death(&self, status: Option<WaitStatus>) -> Error {
        describe::death(status, &self.target.record)
    }
}

/// Whether a process is in another time namespace than this one.
fn has_other_clocks(pid: i32) -> bool {
    let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    link(&pid.to_string()).is_some_and(|theirs| link("self").is_some_and(|own| own != theirs))
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
