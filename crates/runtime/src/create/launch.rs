//! Making a container: the runtime's side of the conversation in [`crate::sync::wire`].
//! The other side is [`crate::create::init`].

use std::os::fd::{AsFd, OwnedFd};

use husk_cgroup::Cgroup;
use husk_spec::{NamespaceType, Spec, Status};
use husk_sys::clone::Cloned;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, WaitStatus};

use crate::create::announce::{announce, renounce};
use crate::create::block::Block;
use crate::create::clone_init::{CloneInit, makes_namespaces_itself};
use crate::create::hooks::{run_hooks, run_poststop};
use crate::create::init::{self, Init};
use crate::create::placement;
use crate::create::preconditions;
use crate::explain::Explainer;
use crate::host;
use crate::mech::namespace::Opened;
use crate::mech::notify::{self, Notify};
use crate::mech::proc::Proc;
use crate::mech::{
    core_scheduling, hook, idmap, limit, mount, namespace, net_device, rootfs, seccomp, userns,
};
use crate::plan::{Host, LaunchPlan, MountSource, Request, RootPlace};
use crate::process::waiting;
use crate::report::describe::{self, Described};
use crate::report::{self, Code, Error, Result};
use crate::state::record::{Record, process_start};
use crate::state::{Directory, Store};
use crate::sync::fault::{Fault, Refused};
use crate::sync::wire::{self, Wire};
use crate::sync::{Child, Conversation, Reactions};
use crate::timing::{self, Phase};

/// How a container is made, beside its configuration.
#[derive(Debug)]
pub struct Options {
    /// What the command line says.
    pub request: Request,
    /// Who makes the cgroup.
    pub cgroup_manager: husk_cgroup::Manager,
    /// Whether a cgroup that must not be made is a warning, as long as no limit was asked for.
    pub rootless: bool,
    /// Where the terminal's other end goes.
    pub console: Option<OwnedFd>,
    /// Where a pidfd of the process goes, `--pidfd-socket`.
    pub pidfd_socket: Option<String>,
    /// `--pid-file`.
    pub pid_file: Option<String>,
    /// Whether the program waits for `start`.
    pub waits_for_start: bool,
    /// `--seccomp-explain`.
    pub explains_seccomp: bool,
    /// `--block-fd`.
    pub block: Option<Block>,
}

/// A container that has been made.
#[derive(Debug)]
pub struct Launched {
    /// Its directory, locked.
    pub directory: Directory,
    /// What is remembered of it.
    pub record: Record,
    /// Its first process.
    pub pid: Pid,
    /// The same.
    pub pidfd: OwnedFd,
    /// Where the program tells that it is ready, if it runs and anyone asked.
    pub notify: Option<Notify>,
    /// What answers for the filter from here on, `--seccomp-explain`.
    pub explainer: Option<Explainer>,
}

/// Makes a container. On failure nothing of it is left.
pub fn launch(store: &Store, spec: &Spec, config: &[u8], options: &Options) -> Result<Launched> {
    timing::about(&options.request.id);
    timing::done(Phase::Read);
    let layout = placement::layout(spec, options)?;
    let host = host::facts(spec, spec.process.as_ref(), layout);
    let mut plan = LaunchPlan::new(spec, &options.request, &host)?;
    for warning in &plan.warnings {
        report::warning(warning);
    }
    report::debug(|| {
        let (id, bundle) = (&options.request.id, &options.request.bundle);
        format!("container {id}: bundle {bundle}, {}", host.layout.describe())
    });
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let explainer = match options.explains_seccomp {
        true => Explainer::prepare(&mut plan.process, profile)?,
        false => None,
    };
    preconditions::warn_of_ungrantable(&plan)?;
    preconditions::check_console(&plan, options)?;
    preconditions::check_root(&plan)?;
    let joined =
        plan.namespaces.joined().iter().map(namespace::open).collect::<Result<Vec<Opened>>>()?;
    namespace::check_host_is_spared(&joined, &plan)?;
    let proc = Proc::open().map_err(|errno| Error::kernel("/proc", "open", errno))?;
    waiting::check_joined(plan.process.capabilities.bounding, &joined, &proc)?;
    let cgroup_plan = placement::plan(spec, options, &host)?;
    timing::done(Phase::Plan);
    let directory = store.create(&options.request.id)?;
    let mut launch = Launch {
        store,
        spec,
        options,
        plan: &plan,
        joined: &joined,
        proc: &proc,
        record: record(spec, &plan, options, cgroup_plan.intended()),
        directory: Some(directory),
        child: None,
        cgroup_made: false,
        hooks_ran: false,
        ready: false,
        notify: None,
        passage: None,
        explainer,
    };
    match launch.run(config, cgroup_plan, &host) {
        Ok(Child { pid, pidfd }) => {
            let Launch { directory, record, notify, explainer, .. } = launch;
            let directory =
                directory.ok_or_else(|| Error::new(Code::Kernel, "container", "lost"))?;
            Ok(Launched { directory, record, pid, pidfd, notify, explainer })
        }
        Err(error) => {
            launch.undo();
            if let Some(explainer) = &launch.explainer {
                explainer.tell(None);
            }
            Err(error)
        }
    }
}

/// What is remembered of a container before it has a process.
pub(crate) fn record(spec: &Spec, plan: &LaunchPlan, options: &Options, cgroup: Cgroup) -> Record {
    Record {
        oci_version: spec.oci_version.clone(),
        id: options.request.id.clone(),
        pid: 0,
        start_time: 0,
        bundle: options.request.bundle.clone(),
        rootfs: plan.root.path.to_string_lossy().into_owned(),
        created: report::clock::rfc3339_now(),
        owner: rustix::process::geteuid().as_raw(),
        annotations: spec.annotations.clone(),
        cgroup,
        no_new_keyring: options.request.no_new_keyring,
        own_pid_namespace: plan.namespaces.makes(NamespaceType::Pid),
        covered_mount: None,
        restored: false,
        poststart: plan.hooks.poststart.clone(),
        poststop: plan.hooks.poststop.clone(),
    }
}

/// A container in the making.
struct Launch<'a> {
    store: &'a Store,
    spec: &'a Spec,
    options: &'a Options,
    plan: &'a LaunchPlan,
    joined: &'a [Opened],
    proc: &'a Proc,
    record: Record,
    directory: Option<Directory>,
    child: Option<Child>,
    cgroup_made: bool,
    hooks_ran: bool,
    /// Whether the process has said so, and is on record.
    ready: bool,
    notify: Option<Notify>,
    /// The way on which network devices have gone into the container.
    passage: Option<net_device::Passage>,
    explainer: Option<Explainer>,
}

impl Launch<'_> {
    fn describe(&self, fault: &Fault) -> Error {
        match &self.spec.process {
            Some(process) => {
                describe::fault(fault, Described { spec: self.spec, process, property: "process" })
            }
            None => Error::invalid("process", "missing"),
        }
    }

    fn directory(&self) -> Result<&Directory> {
        self.directory.as_ref().ok_or_else(|| Error::new(Code::Kernel, "container", "lost"))
    }

    fn run(
        &mut self,
        config: &[u8],
        cgroup_plan: husk_cgroup::CgroupPlan,
        host: &Host,
    ) -> Result<Child> {
        // Before anything is made that the record is needed to find again.
        if self.plan.root.place == RootPlace::RuntimesNamespace {
            let path = &self.plan.root.path;
            let covered = rootfs::mount_id(path)
                .map_err(|errno| Error::kernel("root.path", "statx", errno))?;
            self.record.covered_mount = Some(covered);
        }
        self.directory()?.write_config(config)?;
        self.directory()?.write(&self.record)?;
        if let (Some(_), Some(manager)) =
            (&self.options.request.notify_directory, notify::manager())
        {
            self.directory()?.make_notify_directory()?;
            if !self.options.waits_for_start {
                self.notify = Some(Notify::bind(self.directory()?, manager)?);
            }
        }
        timing::done(Phase::Record);
        let (cgroup, devices) = cgroup_plan.create_unguarded().map_err(host::cgroup_error)?;
        self.record.cgroup = cgroup;
        self.cgroup_made = true;
        report::debug(|| match self.record.cgroup.directories().next() {
            Some(first) => format!("cgroup: {}, and alike in each hierarchy", first.display()),
            None => "cgroup: none of its own".to_owned(),
        });
        let entry = self.record.cgroup.entry().map_err(host::cgroup_error)?;
        let trees = self.open_trees(host)?;
        let start = match self.options.waits_for_start {
            true => Some(self.start_socket()?),
            false => None,
        };
        let (wire, theirs) =
            wire::pair().map_err(|e| Error::kernel("husk-oci", "socketpair", e))?;
        timing::done(Phase::Cgroup);
        // So that what is made in the container has the modes it was given.
        let umask = rustix::process::umask(Mode::empty());
        let clone = CloneInit { plan: self.plan, joined: self.joined, entry: &entry };
        let cloned = clone.clone_init(&|fault| self.describe(fault));
        if let Ok(Cloned::Child) = cloned {
            drop(wire);
            // Its lock must not live on with the container.
            drop(self.directory.take());
            let environment = match self.plan.hooks.create_container.is_empty() {
                true => Vec::new(),
                false => hook::own_environment(),
            };
            init::run(Init {
                plan: self.plan,
                joined: self.joined,
                trees,
                tasks: entry.tasks,
                record: &self.record,
                environment,
                wire: theirs,
                start,
                console: self.options.console.as_ref().map(AsFd::as_fd),
                proc: self.proc,
            });
        }
        rustix::process::umask(umask);
        drop(theirs);
        if let Cloned::Parent(pid, pidfd) = cloned? {
            report::debug(|| format!("container process: {pid}"));
            self.child = Some(Child { pid, pidfd });
        }
        timing::done(Phase::Clone);
        // While the process makes its mounts, and before it or a hook is told to go on.
        devices
            .enforce(&mut self.record.cgroup, &entry, Some(self.store.root()))
            .map_err(host::cgroup_error)?;
        for warning in &self.record.cgroup.warnings {
            report::warning(warning);
        }
        self.attend(&wire)
    }

    /// Sources of bind mounts that the container's user may not reach, and
    /// idmapped ones: opened here, with the runtime's privilege, and inherited.
    fn open_trees(&self, host: &Host) -> Result<Vec<Option<OwnedFd>>> {
        let other_user =
            self.plan.user_namespace.is_some() || self.plan.namespaces.joins(NamespaceType::User);
        let open_here = other_user && host.euid == 0;
        let mut trees = Vec::with_capacity(self.plan.mounts.len());
        for (index, mount) in self.plan.mounts.iter().enumerate() {
            let MountSource::Bind { path, recursive, links } = &mount.source else {
                trees.push(None);
                continue;
            };
            if !open_here && mount.id_map.is_none() {
                trees.push(None);
                continue;
            }
            let tree = mount::open_source(path, *recursive, *links).and_then(|tree| {
                match &mount.id_map {
                    None => {}
                    Some(map) => idmap::apply(&tree, map, self.plan, self.joined, self.proc)?,
                }
                Ok(tree)
            });
            // Root of a user namespace without a mount namespace of its own may not;
            // the container's process may.
            if mount.id_map.is_none()
                && matches!(&tree, Err(refused) if refused.errno == Some(Errno::PERM))
            {
                trees.push(None);
                continue;
            }
            let tree = tree.map_err(|refused| match refused.errno {
                Some(Errno::PERM) => Refused {
                    detail: "an idmapped mount takes CAP_SYS_ADMIN over the filesystem".to_owned(),
                    ..refused
                },
                _ => refused,
            });
            let step = crate::sync::fault::Step::Mount;
            trees.push(Some(tree.map_err(|refused| self.describe(&refused.at(step, index)))?));
        }
        Ok(trees)
    }

    /// The socket on which the created container waits for `start`.
    fn start_socket(&self) -> Result<OwnedFd> {
        let failed = |op: &'static str| move |errno| Error::kernel("start socket", op, errno);
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed("socket"))?;
        rustix::net::bind(&socket, &self.directory()?.start_address()?).map_err(failed("bind"))?;
        rustix::net::listen(&socket, 1).map_err(failed("listen"))?;
        Ok(socket)
    }

    /// Serves the process until it waits for `start` or runs the program.
    fn attend(&mut self, wire: &Wire) -> Result<Child> {
        let child = self
            .child
            .take()
            .ok_or_else(|| Error::new(Code::Kernel, "clone3", "made no process"))?;
        let mut conversation = Conversation {
            wire,
            proc: self.proc,
            child,
            explainer: self.explainer.take(),
            enters_last: self.plan.namespaces.joins(NamespaceType::Pid),
        };
        let held = self.begin(&conversation).and_then(|()| conversation.hold(self));
        let Conversation { child, explainer, .. } = conversation;
        self.explainer = explainer;
        if let Err(error) = held {
            self.child = Some(child);
            return Err(error);
        }
        Ok(child)
    }

    /// What is set from outside before the process goes on.
    fn begin(&mut self, conversation: &Conversation<'_>) -> Result<()> {
        let child = &conversation.child;
        // While the process is dumpable: then it is ours without privilege, too.
        limit::set_oom_score(&self.plan.process, child.pid, self.proc)?;
        core_scheduling::separate(&self.plan.process, child.pid)?;
        if self.plan.user_namespace.is_some() && !makes_namespaces_itself(self.plan) {
            self.map_ids(child)?;
            conversation.go()?;
        }
        if conversation.enters_last {
            // For the hooks of the runtime namespace: it is in all namespaces but that of pids.
            self.record.pid = child.pid.as_raw_nonzero().get();
        } else {
            self.prepare_record(child.pid)?;
        }
        timing::done(Phase::Devices);
        Ok(())
    }

    /// Writes the record with the process in it, to count when that is ready. While the
    /// process makes its mounts: later it would wait for us.
    fn prepare_record(&mut self, pid: Pid) -> Result<()> {
        let number = pid.as_raw_nonzero().get();
        let (_, start_time) = process_start(number)
            .map_err(|errno| Error::kernel(format_args!("/proc/{number}/stat"), "read", errno))?;
        self.record.pid = number;
        self.record.start_time = start_time;
        self.directory()?.prepare(&self.record)
    }

    /// Lets the record with the process in it count, and tells those who asked.
    fn remember(&mut self, pid: Pid) -> Result<()> {
        self.directory()?.commit()?;
        self.ready = true;
        announce(pid, self.options.pid_file.as_deref(), self.options.pidfd_socket.as_deref())
    }

    /// Takes back what was made. What cannot be is said; the first failure is
    /// what the caller hears of in any case.
    fn undo(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
        if self.ready {
            renounce(self.options.pid_file.as_deref());
        }
        if let Some(passage) = self.passage.take() {
            passage.back();
        }
        self.record.pid = 0;
        let cgroup = &self.record.cgroup;
        // Before it is made it may be another container's, whose processes live.
        let removed = match self.cgroup_made {
            true => cgroup.kill_all().and_then(|()| cgroup.remove()),
            false => Ok(()),
        };
        let released = self.record.release_mounts();
        let directory = self.directory.take();
        // What `delete --force` finds the cgroup by stays as long as the cgroup does.
        let removed = removed.map_err(host::cgroup_error);
        if let Err(error) = removed
            .and(released)
            .and_then(|()| directory.map_or(Ok(()), |directory| directory.remove()))
        {
            report::warning(error);
        }
        if self.hooks_ran {
            run_poststop(&self.plan.hooks.poststop, &self.record);
        }
    }
}

impl Reactions for Launch<'_> {
    fn map_ids(&mut self, child: &Child) -> Result<()> {
        let Some(namespace) = &self.plan.user_namespace else { return Ok(()) };
        userns::write_maps(namespace, child.pid, self.proc)?;
        limit::raise_hard(&self.plan.process, Some(child.pid))
            .map_err(|fault| self.describe(&fault))
    }

    fn run_hooks(&mut self, child: &Child) -> Result<()> {
        if !self.plan.net_devices.is_empty() {
            let passage = net_device::Passage::open(child.pid, child.pidfd.as_fd())?;
            self.passage.insert(passage).move_all(&self.plan.net_devices)?;
        }
        self.hooks_ran = true;
        let state = serde_json::to_vec(&self.record.state(Status::Creating))
            .map_err(|error| Error::invalid("annotations", error))?;
        let hooks = &self.plan.hooks;
        let bundle = &self.record.bundle;
        run_hooks("prestart", &hooks.prestart, bundle, &state)?;
        run_hooks("createRuntime", &hooks.create_runtime, bundle, &state)
    }

    fn know(&mut self, child: &Child) -> Result<()> {
        self.prepare_record(child.pid)
    }

    fn hand_over(&mut self, child: &Child, listener: &OwnedFd) -> Result<()> {
        let mut state = self.record.state(Status::Creating);
        state.pid = Some(child.pid.as_raw_nonzero().get());
        match &self.plan.process.seccomp {
            Some(filter) => seccomp::hand_over(filter, listener, &state),
            None => Ok(()),
        }
    }

    fn make_ready(&mut self, child: &Child) -> Result<()> {
        self.record.cgroup.entered();
        limit::apply(&self.plan.process, child.pid)?;
        if let Some(block) = &self.options.block {
            block.wait()?;
        }
        self.remember(child.pid)
    }

    fn describe(&self, fault: &Fault) -> Error {
        self.describe(fault)
    }

    fn describe_death(&self, status: Option<WaitStatus>) -> Error {
        describe::death(status, &self.record)
    }
}
