//! `checkpoint`: has CRIU write a container's processes to a directory of images.
//!
//! ```text
//! husk-oci                                     criu swrk
//!   looks at mounts, namespaces, streams
//!   DUMP, with all that is external  ----->      freezes the cgroup, writes images
//!   <----- notifications                         kills the processes, or lets them go on
//!   destroys the container, unless it goes on
//! ```
//!
//! What fails leaves the container running, and the image directory as it was.

mod criu;
pub mod restore;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use husk_spec::{Spec, Status};
use rustix::fs::{Mode, OFlags};

use crate::checkpoint::criu::image::{self, Directory as ImageDirectory};
use crate::checkpoint::criu::message::{
    CgroupMode, Kind, Notification, Options as Dump, PageServer,
};
use crate::checkpoint::criu::worker::{Criu, Streams};
use crate::checkpoint::criu::{log, names};
use crate::host;
use crate::host::cgroup_error;
use crate::plan::{Host, LaunchPlan, Request, clone_flag};
use crate::report::{self, Code, Error, Result};
use crate::state::lifecycle;
use crate::state::record::Record;
use crate::state::{Directory, Store};

/// File of the images that says what the standard streams were, as runc has it.
pub(crate) const STREAMS: &str = "descriptors.json";

/// Name in the images of a network namespace that is joined by its path.
pub(crate) const NETWORK: &str = "extRootNetNS";
/// As [`NETWORK`], of a pid namespace.
pub(crate) const PID: &str = "extRootPidNS";

/// Options for the administrator of the host, with which CRIU is configured; the first that is
/// there counts, as with crun.
const CONFIGURATIONS: [&str; 2] = ["/etc/criu/husk-oci.conf", "/etc/criu/runc.conf"];

/// Flags that `checkpoint` and `restore` share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// `--criu`: where CRIU is, if not in PATH.
    pub criu: Option<String>,
    /// `--image-path`.
    pub image_path: String,
    /// `--work-path`.
    pub work_path: Option<String>,
    /// `--tcp-established`.
    pub tcp_established: bool,
    /// `--ext-unix-sk`.
    pub ext_unix_sk: bool,
    /// `--shell-job`.
    pub shell_job: bool,
    /// `--file-locks`.
    pub file_locks: bool,
    /// `--link-remap`.
    pub link_remap: bool,
    /// `--lazy-pages`.
    pub lazy_pages: bool,
    /// `--auto-dedup`.
    pub auto_dedup: bool,
    /// `--empty-ns network`.
    pub empty_network: bool,
    /// `--manage-cgroups-mode`, by its name.
    pub cgroups: Option<String>,
}

/// How a container is checkpointed.
#[derive(Debug, Default)]
pub struct Options {
    /// What `restore` has as well.
    pub shared: Shared,
    /// `--parent-path`.
    pub parent_path: Option<String>,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--pre-dump`.
    pub pre_dump: bool,
    /// `--tcp-skip-in-flight`.
    pub tcp_skip_in_flight: bool,
    /// `--page-server`: address and port.
    pub page_server: Option<(String, u16)>,
    /// `--status-fd`.
    pub status: Option<OwnedFd>,
}

/// Checkpoints a container.
pub fn checkpoint(store: &Store, id: &str, options: Options) -> Result<()> {
    check_caller()?;
    let directory = store.open(id)?;
    directory.lock()?;
    let record = directory.record()?;
    let status = directory.status(&record);
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::new(
            Code::WrongState,
            format_args!("container {id}"),
            "only a running container can be checkpointed",
        )
        .hint(format_args!("it is {}", status.name())));
    }
    let criu = find(&options.shared)?;
    check_kernel(&criu, &options)?;
    let spec = directory.config()?;
    refuse_configuration(&spec)?;
    let plan = plan(&spec, &record)?;
    check_plan(&plan)?;
    let images = ImageDirectory::make("image-path", &options.shared.image_path)?;
    let leaves_running = options.leave_running || options.pre_dump;
    let done = Checkpoint { directory: &directory, record: &record, plan: &plan, criu, options }
        .run(&images);
    directory.remove_work()?;
    if let Err(error) = done {
        images.discard();
        // CRIU lets the processes go; where it was killed, it could not.
        if status == Status::Running && record.cgroup.frozen().is_ok_and(|frozen| frozen) {
            record.cgroup.thaw().map_err(cgroup_error)?;
        }
        return Err(error);
    }
    match leaves_running {
        true => Ok(()),
        false => lifecycle::destroy(&directory, &record),
    }
}

/// CRIU of another user than root knows too little of a container.
pub(crate) fn check_caller() -> Result<()> {
    if rustix::process::geteuid().is_root() && !husk_userns::in_user_namespace() {
        return Ok(());
    }
    Err(Error::new(
        Code::Unsupported,
        "checkpoint and restore",
        "only for root of the host: CRIU cannot make a container's mounts and cgroups without",
    ))
}

/// The version of the CRIU that `checkpoint` would use; None where there is none that can be used.
pub fn usable(criu: Option<&str>) -> Option<String> {
    check_caller().ok()?;
    Some(Criu::find(criu).ok()?.version())
}

pub(crate) fn find(shared: &Shared) -> Result<Criu> {
    let criu = Criu::find(shared.criu.as_deref())?;
    report::debug(|| format!("criu: version {}", criu.version()));
    Ok(criu)
}

/// Flags that not every kernel can do.
pub(crate) fn check_kernel(criu: &Criu, options: &Options) -> Result<()> {
    let tracks = options.pre_dump || options.parent_path.is_some();
    if !tracks && !options.shared.lazy_pages {
        return Ok(());
    }
    let features = criu.features()?;
    if tracks && features.mem_track != Some(true) {
        let flag = if options.pre_dump { "--pre-dump" } else { "--parent-path" };
        return Err(Error::new(
            Code::Unsupported,
            flag,
            "the kernel does not track which pages change",
        )
        .hint("it is built without CONFIG_MEM_SOFT_DIRTY"));
    }
    check_lazy_pages(&options.shared, features.lazy_pages)
}

pub(crate) fn check_lazy_pages(shared: &Shared, has: Option<bool>) -> Result<()> {
    match shared.lazy_pages && has != Some(true) {
        false => Ok(()),
        true => {
            Err(Error::new(Code::Unsupported, "--lazy-pages", "userfaultfd(2) cannot be used here")
                .hint("the kernel lacks CONFIG_USERFAULTFD, or vm.unprivileged_userfaultfd"))
        }
    }
}

/// An annotation may come from an image, and this one would name a file of the host whose
/// options override everything.
pub(crate) fn refuse_configuration(spec: &Spec) -> Result<()> {
    match spec.annotations.get("org.criu.config") {
        None => Ok(()),
        Some(path) => Err(Error::invalid(
            format_args!("annotations.org.criu.config ({path})"),
            "not read: whoever wrote an image could have it name any options",
        )
        .hint(format_args!("options for all containers belong into {}", CONFIGURATIONS[0]))),
    }
}

/// What CRIU cannot write down, whatever the processes are.
pub(crate) fn check_plan(plan: &LaunchPlan) -> Result<()> {
    if !plan.net_devices.is_empty() {
        return Err(Error::new(
            Code::Unsupported,
            "linux.netDevices",
            "a container that has been given network devices cannot be checkpointed",
        ));
    }
    if !plan.namespaces.has_mount() {
        return Err(Error::new(
            Code::Unsupported,
            "linux.namespaces",
            "a container without a mount namespace of its own cannot be checkpointed",
        ));
    }
    Ok(())
}

/// The configuration of a container that exists, as steps.
fn plan(spec: &Spec, record: &Record) -> Result<LaunchPlan> {
    let layout = husk_cgroup::Layout::detect().map_err(cgroup_error)?;
    let host: Host = host::facts(spec, spec.process.as_ref(), layout);
    let request = Request {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        no_new_keyring: record.no_new_keyring,
        ..Request::default()
    };
    LaunchPlan::new(spec, &request, &host)
}

impl Shared {
    /// The options that mean the same at both ends.
    pub(crate) fn request(&self) -> Result<Dump> {
        let mode = match self.cgroups.as_deref() {
            None | Some("" | "soft") => CgroupMode::Soft,
            Some("full") => CgroupMode::Full,
            Some("strict") => CgroupMode::Strict,
            Some("ignore") => CgroupMode::Ignore,
            Some(other) => {
                return Err(Error::new(
                    Code::Usage,
                    format_args!("--manage-cgroups-mode ({other})"),
                    "must be one of soft, full, strict, ignore",
                ));
            }
        };
        let configuration = CONFIGURATIONS.iter().find(|path| std::path::Path::new(path).exists());
        Ok(Dump {
            log_level: Some(4),
            notify_scripts: Some(true),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(mode.into()),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.ext_unix_sk),
            shell_job: Some(self.shell_job),
            file_locks: Some(self.file_locks),
            link_remap: Some(self.link_remap),
            lazy_pages: Some(self.lazy_pages),
            auto_dedup: Some(self.auto_dedup),
            orphan_pts_master: Some(true),
            empty_ns: self.empty_network.then_some(clone_flag(husk_spec::NamespaceType::Network)),
            config_file: configuration.map(|path| (*path).to_owned()),
            ..Dump::default()
        })
    }
}

struct Checkpoint<'a> {
    directory: &'a Directory,
    record: &'a Record,
    plan: &'a LaunchPlan,
    criu: Criu,
    options: Options,
}

impl Checkpoint<'_> {
    fn run(mut self, images: &ImageDirectory) -> Result<()> {
        let pid = self.record.pid;
        if let Some(parent) = &self.options.parent_path {
            image::check_parent(images, parent)?;
        }
        let root = self.open_root()?;
        let work = image::open_work(self.options.shared.work_path.as_deref(), || {
            self.directory.make_work()
        })?;
        let mut external = names::of_running(self.plan, pid, &root)?;
        external.extend(self.namespaces()?);
        self.write_streams(images)?;
        let (kind, log) = match self.options.pre_dump {
            true => (Kind::PreDump, "pre-dump.log"),
            false => (Kind::Dump, "dump.log"),
        };
        let page_server = self.options.page_server.as_ref().map(|(address, port)| PageServer {
            address: Some(address.clone()),
            port: Some(i32::from(*port)),
        });
        let freezer = self.record.cgroup.freezer();
        let request = Dump {
            images_dir_fd: images.fd.as_raw_fd(),
            work_dir_fd: Some(work.fd.as_raw_fd()),
            log_file: Some(log.to_owned()),
            pid: Some(pid),
            root: Some(self.record.rootfs.clone()),
            leave_running: Some(self.options.leave_running || self.options.pre_dump),
            tcp_skip_in_flight: Some(self.options.tcp_skip_in_flight),
            track_mem: (self.options.pre_dump || self.options.parent_path.is_some())
                .then_some(true),
            parent_img: self.options.parent_path.clone(),
            page_server,
            external,
            freeze_cgroup: freezer.map(|path| path.to_string_lossy().into_owned()),
            ..self.options.shared.request()?
        };
        let worker = self.criu.start(Streams::Null, &[])?;
        let status = self.options.status.take();
        let mut status = status.map(File::from);
        let response = worker.work(kind, request, &mut |notification, _| {
            if is(notification, "status-ready")
                && let Some(mut file) = status.take()
            {
                file.write_all(&[0])
                    .map_err(|error| Error::io(Code::Usage, "--status-fd", &error))?;
            }
            Ok(())
        })?;
        if response.success {
            return Ok(());
        }
        let place = format!("container {}", self.record.id);
        let path = self.options.shared.work_path.as_ref().map(|path| format!("{path}/{log}"));
        Err(log::failure(&place, &response, work.fd.as_fd(), log, path.as_deref()))
    }

    fn open_root(&self) -> Result<OwnedFd> {
        let path = format!("/proc/{}/root", self.record.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|errno| Error::kernel(&path, "open", errno))?;
        match self.record.process()? {
            // Alive now, so it was then, and the number in the path was not another's.
            Some(_) => Ok(root),
            None => Err(Error::new(
                Code::WrongState,
                format_args!("container {}", self.record.id),
                "container not running",
            )),
        }
    }

    /// Namespaces that outlive the container: CRIU leaves them alone.
    fn namespaces(&self) -> Result<Vec<String>> {
        let mut external = Vec::new();
        for join in self.plan.namespaces.joined() {
            let (file, name) = match join.kind {
                husk_spec::NamespaceType::Network => ("net", NETWORK),
                husk_spec::NamespaceType::Pid => ("pid", PID),
                _ => continue,
            };
            let path = format!("/proc/{}/ns/{file}", self.record.pid);
            let status =
                rustix::fs::stat(&path).map_err(|errno| Error::kernel(&path, "stat", errno))?;
            external.push(format!("{file}[{}]:{name}", status.st_ino));
        }
        Ok(external)
    }

    /// Writes down what the standard streams are: pipes are known again by these names.
    fn write_streams(&self, images: &ImageDirectory) -> Result<()> {
        let stream = |number: i32| {
            let link = std::fs::read_link(format!("/proc/{}/fd/{number}", self.record.pid));
            link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let text = serde_json::to_vec(&[stream(0), stream(1), stream(2)])
            .map_err(|error| Error::invalid(STREAMS, error))?;
        let failed = |op: &'static str| {
            let path = images.path.join(STREAMS).display().to_string();
            move |errno| Error::kernel(path, op, errno)
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&images.fd, STREAMS, flags, Mode::from_raw_mode(0o600))
            .map_err(failed("open"))?;
        File::from(file)
            .write_all(&text)
            .map_err(|error| Error::io(Code::Kernel, images.path.join(STREAMS).display(), &error))
    }
}

pub(crate) fn is(notification: &Notification, script: &str) -> bool {
    notification.script.as_deref() == Some(script)
}
