//! `restore`: makes a container whose processes CRIU takes from a directory of images.
//!
//! The container is made as `create` makes one, of today's configuration: id, cgroup, limits,
//! sources of mounts, namespaces by path. Only its processes come from the images, with what is
//! in them: memory, open files, credentials, filters. Before they go on, they are compared with
//! the configuration (`criu/verify.rs`).
//!
//! ```text
//! husk-oci                                     criu swrk
//!   cgroup, mount points, state
//!   moves criu into the cgroup
//!   RESTORE, with sources of what is external -->
//!   <----- setup-namespaces (pid)                made the first process
//!   hooks prestart, createRuntime
//!   <----- orphan-pts-master (descriptor)        made the terminal
//!   sends it to the console socket
//!   <----- pre-resume                            made all processes, which stand still
//!   verifies them; records the first one
//!   <----- answer                                lets them go
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use husk_cgroup::CgroupPlan;
use husk_spec::{NamespaceType, Spec, Status};
use husk_sys::mount::{MountAttr, mount_setattr};
use husk_sys::namespace::{setns, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::checkpoint::criu::image::{self, Directory as ImageDirectory};
use crate::checkpoint::criu::message::{
    CgroupRoot, InheritFd, JoinNamespace, Kind, Options as Request,
};
use crate::checkpoint::criu::worker::{Criu, Streams, Worker};
use crate::checkpoint::criu::{log, names, verify};
use crate::checkpoint::{self, NETWORK, PID, STREAMS, Shared};
use crate::create::announce::{announce, renounce};
use crate::create::hooks::{run_hooks, run_poststop};
use crate::create::launch::{self, Launched};
use crate::create::{placement, preconditions};
use crate::host::{self, cgroup_error};
use crate::mech::namespace::{self, Opened};
use crate::mech::resolve;
use crate::plan::{LaunchPlan, Propagation, clone_flag};
use crate::report::{self, Code, Error, Result};
use crate::state::record::{Record, process_start};
use crate::state::{Directory, Store};
use crate::sync::wire;
use crate::timing::{self, Phase};

/// Name of the log.
const LOG: &str = "restore.log";

/// How a container is restored, beside how it is made.
#[derive(Debug, Default)]
pub struct Options {
    /// What `checkpoint` has as well.
    pub shared: Shared,
    /// `--tcp-close`.
    pub tcp_close: bool,
    /// `--lsm-profile`.
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context`.
    pub lsm_mount_context: Option<String>,
}

/// Restores a container. On failure nothing of it is left.
pub fn restore(
    store: &Store,
    spec: &Spec,
    config: &[u8],
    made: &launch::Options,
    options: &Options,
) -> Result<Launched> {
    timing::about(&made.request.id);
    timing::done(Phase::Read);
    checkpoint::check_caller()?;
    checkpoint::refuse_configuration(spec)?;
    let criu = checkpoint::find(&options.shared)?;
    if options.shared.lazy_pages {
        checkpoint::check_lazy_pages(&options.shared, criu.features()?.lazy_pages)?;
    }
    let images = ImageDirectory::open(&options.shared.image_path)?;
    let layout = placement::layout(spec, made)?;
    let host = host::facts(spec, spec.process.as_ref(), layout);
    let plan = LaunchPlan::new(spec, &made.request, &host)?;
    for warning in &plan.warnings {
        report::warning(warning);
    }
    checkpoint::check_plan(&plan)?;
    preconditions::check_console(&plan, made)?;
    preconditions::check_root(&plan)?;
    let joined =
        plan.namespaces.joined().iter().map(namespace::open).collect::<Result<Vec<Opened>>>()?;
    namespace::check_host_is_spared(&joined, &plan)?;
    let cgroup_plan = placement::plan(spec, made, &host)?;
    timing::done(Phase::Plan);
    let directory = store.create(&made.request.id)?;
    let record = launch::record(spec, &plan, made, cgroup_plan.intended());
    let mut restore = Restore {
        store,
        made,
        options,
        plan: &plan,
        joined: &joined,
        images: &images,
        record: Record { restored: true, ..record },
        directory,
        cgroup_made: false,
        hooks_ran: false,
        announced: false,
        verified: false,
        worker: 0,
        child: None,
    };
    match restore.run(&criu, config, cgroup_plan) {
        Ok((pid, pidfd)) => {
            let Restore { directory, record, .. } = restore;
            Ok(Launched { directory, record, pid, pidfd, notify: None, explainer: None })
        }
        Err(error) => {
            restore.undo();
            Err(error)
        }
    }
}

struct Restore<'a> {
    store: &'a Store,
    made: &'a launch::Options,
    options: &'a Options,
    plan: &'a LaunchPlan,
    joined: &'a [Opened],
    images: &'a ImageDirectory,
    record: Record,
    directory: Directory,
    cgroup_made: bool,
    hooks_ran: bool,
    announced: bool,
    /// Whether the processes are what the configuration says.
    verified: bool,
    /// CRIU's process id.
    worker: i32,
    /// The first process, which is a child of ours.
    child: Option<Pid>,
}

impl Restore<'_> {
    fn run(
        &mut self,
        criu: &Criu,
        config: &[u8],
        cgroup_plan: CgroupPlan,
    ) -> Result<(Pid, OwnedFd)> {
        self.directory.write_config(config)?;
        self.directory.write(&self.record)?;
        if self.made.request.notify_directory.is_some() {
            self.directory.make_notify_directory()?;
        }
        let (cgroup, devices) = cgroup_plan.create_unguarded().map_err(cgroup_error)?;
        self.record.cgroup = cgroup;
        self.cgroup_made = true;
        let entry = self.record.cgroup.entry().map_err(cgroup_error)?;
        devices
            .enforce(&mut self.record.cgroup, &entry, Some(self.store.root()))
            .map_err(cgroup_error)?;
        for warning in &self.record.cgroup.warnings {
            report::warning(warning);
        }
        timing::done(Phase::Cgroup);
        let work = image::open_work(self.options.shared.work_path.as_deref(), || {
            self.directory.make_work()
        })?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.plan.root.path, flags, Mode::empty())
            .map_err(|errno| Error::kernel("root.path", "open", errno))?;
        names::make_mount_points(self.plan, &root)?;
        let mount_point = self.directory.make_root_mount_point()?;
        let mut request = Request {
            log_file: Some(LOG.to_owned()),
            root: Some(mount_point.to_string_lossy().into_owned()),
            rst_sibling: Some(true),
            evasive_devices: Some(true),
            external: names::for_restore(self.plan, &self.record.cgroup)?,
            tcp_close: Some(self.options.tcp_close),
            lsm_profile: self.options.lsm_profile.clone(),
            lsm_mount_context: self.options.lsm_mount_context.clone(),
            ..self.options.shared.request()?
        };
        self.add_streams(&mut request)?;
        let mut inherited = Vec::new();
        self.add_namespaces(&mut request, &mut inherited);
        let start =
            Start { images: self.images, work: &work, root: &root, mount_point: &mount_point };
        // CRIU opens the two by the numbers that they have here.
        let (worker, _directories) = self.start(criu, &start, &inherited, &mut request)?;
        self.worker = worker.pid();
        self.place(&worker, &mut request)?;
        self.record.cgroup.entered();
        let response = worker.work(Kind::Restore, request, &mut |notification, fd| {
            let script = notification.script.as_deref().unwrap_or_default();
            match (script, notification.pid) {
                ("setup-namespaces", Some(pid)) => self.set_up(pid),
                ("post-restore", Some(pid)) => self.know(pid),
                ("pre-resume", _) => self.finish(),
                ("orphan-pts-master", _) => self.hand_over(fd),
                _ => Ok(()),
            }
        })?;
        timing::done(Phase::Exec);
        if !response.success {
            let place = format!("--image-path ({})", self.images.path.display());
            let path = self.options.shared.work_path.as_ref().map(|path| format!("{path}/{LOG}"));
            return Err(log::failure(&place, &response, work.fd.as_fd(), LOG, path.as_deref()));
        }
        drop(work);
        self.directory.remove_work()?;
        let pid = self.child.filter(|_| self.verified).ok_or_else(|| {
            Error::new(Code::Kernel, "criu", "did not wait before it let the processes go")
        })?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Error::kernel("container process", "pidfd_open", errno))?;
        Ok((pid, pidfd))
    }

    /// Starts CRIU in a mount namespace of its own, where the root filesystem is mounted as it
    /// asks for: on a mount point that nothing covers. The host's mounts stay as they are.
    fn start(
        &self,
        criu: &Criu,
        start: &Start<'_>,
        inherited: &[BorrowedFd<'_>],
        request: &mut Request,
    ) -> Result<(Worker, [OwnedFd; 2])> {
        let failed = |op: &'static str| move |errno| Error::kernel("mount namespace", op, errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own =
            rustix::fs::open(c"/proc/self/ns/mnt", flags, Mode::empty()).map_err(failed("open"))?;
        let here = rustix::fs::open(c".", flags | OFlags::DIRECTORY, Mode::empty()).ok();
        unshare(clone_flag(NamespaceType::Mount)).map_err(failed("unshare"))?;
        let streams = match self.plan.process.terminal {
            Some(_) => Streams::Null,
            None => Streams::Own,
        };
        let started = start.mount_root().and_then(|()| {
            let (images, work) = (start.images.reopen()?, start.work.reopen()?);
            request.images_dir_fd = images.as_raw_fd();
            request.work_dir_fd = Some(work.as_raw_fd());
            Ok((criu.start(streams, inherited)?, [images, work]))
        });
        // Hooks and what they mount belong to the host's.
        setns(own.as_fd(), clone_flag(NamespaceType::Mount)).map_err(failed("setns"))?;
        if let Some(here) = here {
            let _ = rustix::process::fchdir(here);
        }
        started
    }

    /// The pipes that were the standard streams are those of this process now.
    fn add_streams(&self, request: &mut Request) -> Result<()> {
        if self.plan.process.terminal.is_some() {
            return Ok(());
        }
        let path = CString::new(STREAMS).unwrap_or_default();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.images.fd, &path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            done => done.map_err(|errno| Error::kernel(STREAMS, "open", errno))?,
        };
        let bytes = husk_spec::read_bounded(std::fs::File::from(file))
            .map_err(|error| Error::document(STREAMS, error))?;
        let streams: Vec<String> =
            serde_json::from_slice(&bytes).map_err(|error| Error::invalid(STREAMS, error))?;
        for (fd, stream) in (0..).zip(streams.iter().take(3)) {
            let number = stream.strip_prefix("pipe:[").and_then(|rest| rest.strip_suffix(']'));
            let pipe = number.is_some_and(|number| number.parse::<u64>().is_ok());
            if pipe && !request.inherit_fds.iter().any(|known| known.key == *stream) {
                request.inherit_fds.push(InheritFd { key: stream.clone(), fd });
            }
        }
        Ok(())
    }

    fn add_namespaces<'a>(&'a self, request: &mut Request, inherited: &mut Vec<BorrowedFd<'a>>) {
        for opened in self.joined {
            let external = match opened.kind {
                NamespaceType::Network => Some(NETWORK),
                NamespaceType::Pid => Some(PID),
                _ => None,
            };
            let fd = opened.file.as_raw_fd();
            match external {
                Some(name) => {
                    request.inherit_fds.push(InheritFd { key: name.to_owned(), fd });
                    inherited.push(opened.file.as_fd());
                }
                // CRIU does not know them; a cgroup namespace has no content either.
                None if opened.kind == NamespaceType::Cgroup => {}
                None => request.join_namespaces.push(JoinNamespace {
                    kind: match opened.kind {
                        NamespaceType::Mount => "mnt".to_owned(),
                        kind => kind.name().to_owned(),
                    },
                    // The file that was looked at, whatever its path leads to by now.
                    file: format!("/proc/{}/fd/{fd}", std::process::id()),
                }),
            }
        }
    }

    /// Moves CRIU into the cgroup, where its processes begin, and names that as the place of
    /// what was in the container's cgroup.
    fn place(&self, worker: &Worker, request: &mut Request) -> Result<()> {
        if self.record.cgroup.is_none() {
            return Ok(());
        }
        self.record.cgroup.attach(worker.pid()).map_err(cgroup_error)?;
        let path = format!("/proc/{}/cgroup", worker.pid());
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::io(Code::Kernel, &path, &error))?;
        for line in text.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
                request.cgroup_roots.push(CgroupRoot {
                    controllers: Some(controllers.to_owned()),
                    path: path.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The namespaces are there, and nothing runs in them.
    fn set_up(&mut self, pid: i32) -> Result<()> {
        self.know(pid)?;
        self.hooks_ran = true;
        let state = serde_json::to_vec(&self.record.state(Status::Creating))
            .map_err(|error| Error::invalid("annotations", error))?;
        let hooks = &self.plan.hooks;
        run_hooks("prestart", &hooks.prestart, &self.record.bundle, &state)?;
        run_hooks("createRuntime", &hooks.create_runtime, &self.record.bundle, &state)
    }

    fn know(&mut self, pid: i32) -> Result<()> {
        let failed = |errno| Error::kernel(format_args!("/proc/{pid}/stat"), "read", errno);
        let (_, start_time) = process_start(pid).map_err(failed)?;
        self.record.pid = pid;
        self.record.start_time = start_time;
        self.child = Pid::from_raw(pid);
        Ok(())
    }

    /// All processes are there with all that they are given, and stand still. CRIU would let them
    /// go on whatever is answered, so they are killed where they must not.
    fn finish(&mut self) -> Result<()> {
        let recorded = self.verify_and_record();
        self.verified = recorded.is_ok();
        if recorded.is_err() {
            self.record.cgroup.kill_all().map_err(cgroup_error)?;
        }
        recorded
    }

    fn verify_and_record(&mut self) -> Result<()> {
        verify::verify(self.plan, self.joined, &self.record, self.worker)?;
        self.directory.write(&self.record)?;
        if let Some(pid) = self.child {
            self.announced = true;
            announce(pid, self.made.pid_file.as_deref(), self.made.pidfd_socket.as_deref())?;
        }
        Ok(())
    }

    fn hand_over(&self, master: Option<OwnedFd>) -> Result<()> {
        match (master, &self.made.console) {
            (Some(master), Some(console)) => {
                wire::send_fd(console.as_fd(), b"/dev/ptmx", master.as_fd())
                    .map_err(|errno| Error::kernel("--console-socket", "sendmsg", errno))
            }
            (Some(_), None) => Err(Error::new(
                Code::InvalidConfig,
                "process.terminal",
                "false, and the checkpoint has a terminal",
            )),
            (None, _) => Err(Error::new(Code::Kernel, "criu", "sent no terminal")),
        }
    }

    /// Takes back what was made.
    fn undo(&mut self) {
        if self.announced {
            renounce(self.made.pid_file.as_deref());
        }
        let cgroup = &self.record.cgroup;
        let removed = match self.cgroup_made {
            true => cgroup.kill_all().and_then(|()| cgroup.remove()),
            false => Ok(()),
        };
        let removed = removed.map_err(cgroup_error);
        if let Err(error) = removed.and_then(|()| self.directory.remove()) {
            report::warning(error);
        }
        self.record.pid = 0;
        if self.hooks_ran {
            run_poststop(&self.plan.hooks.poststop, &self.record);
        }
    }
}

/// What CRIU finds in its mount namespace.
struct Start<'a> {
    images: &'a ImageDirectory,
    work: &'a ImageDirectory,
    root: &'a OwnedFd,
    mount_point: &'a Path,
}

impl Start<'_> {
    /// Mounts the root filesystem, in a mount namespace that hears of the host's mounts and
    /// tells it of none.
    fn mount_root(&self) -> Result<()> {
        let slave = MountAttr { propagation: Propagation::SLAVE, ..MountAttr::default() };
        mount_setattr(CWD, c"/", true, &slave)
            .map_err(|errno| Error::kernel("mount namespace", "mount_setattr", errno))?;
        // A descriptor of the namespace left behind cannot be bound; its path can.
        let source = std::fs::read_link(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
            .map_err(|error| Error::io(Code::Kernel, "root.path", &error))?;
        let failed = |op: &'static str| move |errno| Error::kernel("root.path", op, errno);
        rustix::mount::mount_bind_recursive(&source, self.mount_point).map_err(failed("mount"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let bound =
            rustix::fs::open(self.mount_point, flags, Mode::empty()).map_err(failed("open"))?;
        match resolve::same_file(bound.as_fd(), self.root.as_fd()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed("mount")(rustix::io::Errno::STALE)),
            Err(errno) => Err(failed("fstat")(errno)),
        }
    }
}
