//! The process that becomes the container: the other side of [`crate::create::launch`].
//! It executes a plan; what fails is told by coordinates.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use husk_spec::{Hook, NamespaceType, Status};
use husk_sys::exec;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::Pid;

use crate::create::clone_init::makes_namespaces_itself;
use crate::inject;
use crate::mech::hook::{self, Place};
use crate::mech::namespace::Opened;
use crate::mech::proc::Proc;
use crate::mech::resolve::{self, Missing};
use crate::mech::{
    cgroup_mount, device, limit, mask, mount, namespace, pivot_root, rootfs, sysctl, terminal,
    userns,
};
use crate::plan::{LaunchPlan, MountSource, RootPlace, clone_flag};
use crate::process::setup::{PidNamespace, ProcessSetup, ReadyProcess, set_not_dumpable};
use crate::state::record::Record;
use crate::sync::fault::{Context, Fault, Step};
use crate::sync::wire::{Message, Wire};
use crate::timing::{self, Phase};

/// What the process is born with.
pub struct Init<'a> {
    /// The steps.
    pub plan: &'a LaunchPlan,
    /// Namespaces to join.
    pub joined: &'a [Opened],
    /// Mounts that the runtime has opened, by index.
    pub trees: Vec<Option<OwnedFd>>,
    /// `tasks` files of the cgroup's v1 hierarchies.
    pub tasks: Vec<(String, OwnedFd)>,
    /// What is remembered of the container, but for its process: this one.
    pub record: &'a Record,
    /// The caller's environment, for createContainer hooks: this process loses its own.
    pub environment: Vec<CString>,
    /// The conversation.
    pub wire: Wire,
    /// Where `start` is awaited; None to go on at once.
    pub start: Option<OwnedFd>,
    /// Where the terminal's other end goes.
    pub console: Option<BorrowedFd<'a>>,
    /// The host's procfs.
    pub proc: &'a Proc,
}

/// Runs it; ends in the user's program or in an exit.
pub fn run(mut init: Init<'_>) -> ! {
    let plan = init.plan;
    let ready = match init.set_up() {
        Ok(ready) => ready,
        Err(fault) => report(&init.wire, fault),
    };
    // Who is told of what goes wrong from here on: `start`, where that is awaited.
    let caller = match init.start.take() {
        None => init.wire,
        Some(listener) => {
            // Before the end of the conversation, by which `create` returns: whoever signals the
            // created container then must find the handlers.
            husk_sys::signal::end_on_termination();
            drop(init.wire);
            match await_start(listener) {
                Ok(caller) => caller,
                Err(_) => exec::exit_now(1),
            }
        }
    };
    let place = Place {
        directory: None,
        environment: Some(ready.environment()),
        confine: Some(&|| ready.confine_hook()),
    };
    let hooks = &plan.hooks.start_container;
    let pid = Some(rustix::process::getpid());
    let run = run_hooks(Step::StartContainer, hooks, init.record, Status::Created, pid, &place);
    if let Err(fault) = run {
        report(&caller, fault);
    }
    report(&caller, ready.execute())
}

/// Hooks are started before the container's root is entered. From here they would be born in
/// the pid namespace, with the host's root.
const EXPOSED_HOOKS: &str = "cannot run beside a user namespace that does not own the joined pid namespace: the processes in there would see the hook with the host's root";

fn report(wire: &Wire, fault: Fault) -> ! {
    // Where even that cannot be sent, the exit status says so.
    let _ = wire.send(&Message::Fault(fault));
    exec::exit_now(1)
}

/// Waits for `start` to connect. The connection closes with execve(2), which
/// tells it that the program runs.
fn await_start(listener: OwnedFd) -> Result<Wire, Errno> {
    rustix::io::retry_on_intr(|| rustix::net::accept_with(&listener, SocketFlags::CLOEXEC))
        .map(Wire::from)
}

/// Runs hooks in the container's namespaces, with its process id as it is there
/// (runtime.md, "State"), where it has one yet.
fn run_hooks(
    step: Step,
    hooks: &[Hook],
    record: &Record,
    status: Status,
    pid: Option<Pid>,
    place: &Place<'_>,
) -> Result<(), Fault> {
    if hooks.is_empty() {
        return Ok(());
    }
    let mut state = record.state(status);
    state.pid = pid.map(|pid| pid.as_raw_nonzero().get());
    let state = serde_json::to_vec(&state)
        .map_err(|error| Fault::because(step, 0, format!("the state: {error}")))?;
    for (index, one) in hooks.iter().enumerate() {
        hook::run(one, &state, place)
            .map_err(|failed| Fault::because(step, index, failed.to_string()))?;
    }
    Ok(())
}

impl<'a> Init<'a> {
    /// All steps up to the wait for `start`.
    fn set_up(&mut self) -> Result<ReadyProcess<'a>, Fault> {
        let plan = self.plan;
        let pid_namespace = match makes_namespaces_itself(plan) {
            true => self.make_namespaces()?,
            false => self.pid_namespace(),
        };
        match &plan.user_namespace {
            Some(namespace) => {
                self.await_go()?;
                // Before the change of user, after which this process is no more
                // dumpable and its timens_offsets is the host's root's.
                self.enter_time_namespace()?;
                userns::become_root(namespace)?;
            }
            None => self.enter_time_namespace()?,
        }
        self.enter_cgroup()?;
        // From here on others may see this process: they must not read its
        // memory or its descriptors (CVE-2016-9962).
        set_not_dumpable()?;
        // With a user namespace they were joined before: see `clone_init`.
        match (&plan.user_namespace, plan.namespaces.joins(NamespaceType::User)) {
            (None, false) => namespace::join(self.joined)?,
            (None, true) => userns::become_joined_root()?,
            (Some(_), _) => {}
        }
        // While it waits for `start`, too: nobody is to read what the runtime was called with.
        husk_sys::arguments::erase();
        if plan.namespaces.makes(NamespaceType::Cgroup) {
            husk_sys::namespace::unshare(clone_flag(NamespaceType::Cgroup)).at(
                Step::Cgroup,
                0,
                "unshare",
            )?;
        }
        rustix::process::setsid().at(Step::Sync, 0, "setsid")?;
        if plan.namespaces.makes(NamespaceType::Network) {
            loopback_up()?;
        }
        sysctl::write(&plan.sysctls, self.proc)?;
        self.set_names()?;
        timing::done(Phase::Enter);
        let slave = match plan.root.place {
            RootPlace::OwnNamespace | RootPlace::RuntimesNamespace => self.set_up_root()?,
            RootPlace::Bare => {
                let root = rootfs::open(&plan.root)?;
                self.run_create_hooks(root.as_fd())?;
                pivot_root::chroot_into(&root)?;
                self.open_terminal(None)?
            }
        };
        let setup = ProcessSetup {
            process: &plan.process,
            keyring: plan.keyring.as_deref(),
            slave,
            proc: self.proc,
            makes_cwd: true,
            pid_namespace,
            hooks_follow: !plan.hooks.start_container.is_empty(),
        };
        let ready = setup.prepare(&self.wire, self.start.as_ref().map(AsFd::as_fd))?;
        timing::done(Phase::Confine);
        self.wire.send(&Message::Ready).at(Step::Sync, 0, "sendmsg")?;
        self.await_go()?;
        Ok(ready)
    }

    /// The pid namespace that is joined, if one is.
    fn joined_pid_namespace(&self) -> Option<&'a Opened> {
        self.joined.iter().find(|opened| opened.kind == NamespaceType::Pid)
    }

    fn pid_namespace(&self) -> PidNamespace<'a> {
        self.joined_pid_namespace().map_or(PidNamespace::Born, PidNamespace::Join)
    }

    /// Joins and makes namespaces where clone3(2) has not: see [`makes_namespaces_itself`].
    fn make_namespaces(&self) -> Result<PidNamespace<'a>, Fault> {
        let plan = self.plan;
        let joined_user = self.joined.iter().find(|opened| opened.kind == NamespaceType::User);
        if joined_user.is_some() {
            limit::raise_hard(&plan.process, None)?;
            set_not_dumpable()?;
        }
        // The privilege over the pid namespace is that of the user namespace that it belongs
        // to: as late as can be.
        let late = match (joined_user, self.joined_pid_namespace()) {
            (Some(user), Some(pid)) => namespace::belongs_to(pid, user)?,
            _ => false,
        };
        if late {
            namespace::join(self.joined)?;
        } else {
            if !plan.hooks.create_container.is_empty() {
                return Err(Fault::because(Step::CreateContainer, 0, EXPOSED_HOOKS));
            }
            namespace::join_all(self.joined)?;
        }
        husk_sys::namespace::unshare(plan.namespaces.clone_flags()).at(
            Step::Namespace,
            0,
            "unshare",
        )?;
        if plan.user_namespace.is_some() {
            self.wire.send(&Message::Unmapped).at(Step::Sync, 0, "sendmsg")?;
        }
        Ok(if late { self.pid_namespace() } else { PidNamespace::Entered })
    }

    /// Makes a time namespace with its offsets and enters it: unshare(2) alone
    /// would give it to children only, setns(2) gives it to the caller.
    fn enter_time_namespace(&self) -> Result<(), Fault> {
        if !self.plan.namespaces.makes(NamespaceType::Time) {
            return Ok(());
        }
        let index = 0;
        let flag = clone_flag(NamespaceType::Time);
        husk_sys::namespace::unshare(flag).at(Step::Namespace, index, "unshare")?;
        if let Some(offsets) = &self.plan.namespaces.time_offsets {
            let file = rustix::fs::open(
                c"/proc/self/timens_offsets",
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .at(Step::TimeOffsets, 0, "open /proc/self/timens_offsets")?;
            rustix::io::write(&file, offsets.as_bytes()).at(
                Step::TimeOffsets,
                0,
                "write /proc/self/timens_offsets",
            )?;
        }
        let made = rustix::fs::open(
            c"/proc/self/ns/time_for_children",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at(Step::Namespace, index, "open /proc/self/ns/time_for_children")?;
        husk_sys::namespace::setns(made.as_fd(), flag).at(Step::Namespace, index, "setns")
    }

    fn await_go(&self) -> Result<(), Fault> {
        match self.wire.await_go().at(Step::Sync, 0, "recvmsg")? {
            true => Ok(()),
            // Nobody is left to be told, and nobody knows of this process.
            false => exec::exit_now(1),
        }
    }

    /// Moves into the v1 hierarchies: `0` stands for the writer, and the kernel
    /// takes no global lock for it (see [`husk_cgroup::Entry`]).
    fn enter_cgroup(&mut self) -> Result<(), Fault> {
        for (index, (_, file)) in self.tasks.drain(..).enumerate() {
            rustix::io::write(&file, b"0").at(Step::Cgroup, index, "write tasks")?;
        }
        limit::reset_affinity();
        Ok(())
    }

    fn set_names(&self) -> Result<(), Fault> {
        if let Some(name) = &self.plan.hostname {
            rustix::system::sethostname(name.as_bytes()).at(Step::Hostname, 0, "sethostname")?;
        }
        if let Some(name) = &self.plan.domainname {
            rustix::system::setdomainname(name.as_bytes()).at(
                Step::Domainname,
                0,
                "setdomainname",
            )?;
        }
        Ok(())
    }

    /// The root filesystem, from binding it to standing in it.
    fn set_up_root(&mut self) -> Result<Option<OwnedFd>, Fault> {
        let plan = self.plan;
        let root = rootfs::bind(&plan.root)?;
        let pid_namespace = self.joined_pid_namespace().map(|opened| opened.file.as_fd());
        // What stays writable until everything below it is there.
        let mut readonly = Vec::new();
        for (index, one) in plan.mounts.iter().enumerate() {
            let tree = self.trees.get_mut(index).and_then(Option::take);
            let done = match &one.source {
                MountSource::Cgroup(source) => {
                    cgroup_mount::attach(one, source, root.as_fd(), &self.record.cgroup)
                        .map(|()| None)
                }
                _ => mount::attach(one, root.as_fd(), tree, pid_namespace),
            };
            let tree = done.map_err(|refused| refused.at(Step::Mount, index))?;
            readonly.extend(tree.map(|tree| (index, tree)));
            inject::after(Step::Mount, index)?;
        }
        timing::done(Phase::Mounts);
        if plan.populate_dev {
            device::populate(&plan.devices, root.as_fd())?;
        }
        timing::done(Phase::Nodes);
        self.run_create_hooks(root.as_fd())?;
        let slave = self.open_terminal(Some(root.as_fd()))?;
        let protected =
            plan.root.readonly || !plan.readonly_paths.is_empty() || !readonly.is_empty();
        if protected && plan.process.cwd.as_c_str() != c"/" {
            // What is wrong with it is told when it is entered.
            let _ = resolve::open_or_make(root.as_fd(), &plan.process.cwd, Missing::Directory);
        }
        for (index, tree) in readonly {
            mount::make_readonly(&tree).map_err(|refused| refused.at(Step::Mount, index))?;
        }
        mask::make_readonly(&plan.readonly_paths, root.as_fd())?;
        mask::mask(&plan.masked_paths, root.as_fd())?;
        if plan.root.readonly {
            rootfs::make_readonly(&root)?;
        }
        timing::done(Phase::Masks);
        match (plan.root.place, plan.root.no_pivot) {
            (RootPlace::OwnNamespace, false) => {
                pivot_root::pivot(&root, rootfs::is_shared(&plan.root))?;
            }
            (RootPlace::OwnNamespace, true) => pivot_root::move_over(&root, self.proc)?,
            _ => pivot_root::chroot_into(&root)?,
        }
        rootfs::finish_propagation(&plan.root)?;
        timing::done(Phase::Pivot);
        Ok(slave)
    }

    /// The hooks that see the container's namespaces before its root is entered.
    /// createContainer hooks begin in the root, by its path on the host, as with runc.
    fn run_create_hooks(&self, root: BorrowedFd<'_>) -> Result<(), Fault> {
        let plan = self.plan;
        let hooks = &plan.hooks;
        if hooks.prestart.is_empty()
            && hooks.create_runtime.is_empty()
            && hooks.create_container.is_empty()
            && plan.net_devices.is_empty()
        {
            return Ok(());
        }
        self.wire.send(&Message::Hooks).at(Step::Sync, 0, "sendmsg")?;
        self.await_go()?;
        // One that joins a pid namespace is not in there yet, and so are its hooks not.
        let pid = match self.joined_pid_namespace() {
            None => Some(rustix::process::getpid()),
            Some(_) => None,
        };
        let environment = Some(self.environment.as_slice());
        let place = Place { directory: Some(root), environment, confine: None };
        let hooks = &hooks.create_container;
        run_hooks(Step::CreateContainer, hooks, self.record, Status::Creating, pid, &place)
    }

    /// Makes the terminal and sends its other end away.
    fn open_terminal(&self, root: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>, Fault> {
        let (Some(wanted), Some(console)) = (self.plan.process.terminal, self.console) else {
            return Ok(None);
        };
        let own_root;
        let root = match root {
            Some(root) => root,
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                own_root =
                    rustix::fs::open(c"/", flags, Mode::empty()).at(Step::Terminal, 0, "open /")?;
                own_root.as_fd()
            }
        };
        let pair = terminal::open(root, wanted, &self.plan.process)?;
        if self.plan.root.place != RootPlace::Bare {
            terminal::bind_console(root, &pair.slave)?;
        }
        terminal::send_master(console, &pair.master)?;
        Ok(Some(pair.slave))
    }
}

fn loopback_up() -> Result<(), Fault> {
    use rustix::net::{AddressFamily, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .at(Step::Loopback, 0, "socket")?;
    husk_sys::interface::loopback_up(socket.as_fd()).at(Step::Loopback, 0, "ioctl SIOCSIFFLAGS")
}
