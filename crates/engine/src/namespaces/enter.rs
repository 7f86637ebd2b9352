//! `husk enter`: a program in the namespaces of a container or process, as nsenter(1), in its
//! cgroup and with no more rights than it has.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use husk_spec::{Linux, Namespace, NamespaceType, Process, Spec, User};

use super::{Streams, bounding, capabilities, document, run};
use crate::container::Container;
use crate::container::state::start_ticks;
use crate::error::{Error, Result, file};
use crate::home::Home;
use crate::spec::capability;

/// Whose namespaces.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Those of a container that runs.
    Container(&'a Container),
    /// Those of a process of the host.
    Process(i32),
}

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct EnterRequest<'a> {
    /// Whose namespaces.
    pub target: Target<'a>,
    /// Which; none for all that are not the caller's own.
    pub kinds: Vec<NamespaceType>,
    /// With every capability of the caller's and without the target's seccomp filter.
    pub privileged: bool,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`; where the target's files are entered a container's own environment counts.
    pub env: Vec<String>,
    /// Whether standard input and output are a terminal.
    pub terminal: bool,
}

/// A process, and how it is known that it is still that one.
struct Living {
    pid: i32,
    ticks: u64,
}

impl Living {
    fn check(&self) -> Result<()> {
        match start_ticks(self.pid) == Some(self.ticks) {
            true => Ok(()),
            false => Err(Error::other(format_args!("process {} has ended", self.pid))),
        }
    }
}

/// What the target is confined by.
struct Confinement {
    process: Process,
    seccomp: Option<husk_spec::Seccomp>,
}

/// Runs the program to its end and gives its exit status. The calling process moves into the
/// target's cgroups for that: it is to be a command's own. `notice` is told what cannot be joined.
///
/// # Errors
/// [`Error::NotRunning`], a process that is not there, a pid namespace without the others that
/// hide this machine, what husk-oci refuses.
pub fn enter(
    home: &Home,
    request: &EnterRequest<'_>,
    notice: &mut dyn FnMut(String),
) -> Result<i32> {
    let living = living(request.target)?;
    let confinement = match request.target {
        Target::Container(container) => of_container(container)?,
        Target::Process(_) => of_process(&living, request, notice)?,
    };
    // Opened, and then known to be of that process: a number can be another's by the time that
    // husk-oci opens the path.
    let namespaces = open(&living, &request.kinds)?;
    living.check()?;
    refuse_exposure(&living, &namespaces)?;
    let spec = spec(request, confinement, &namespaces);
    for (hierarchy, error) in join_cgroups(living.pid) {
        notice(format!("cannot join the cgroup of {hierarchy}: {error}"));
    }
    // The target's processes can open what they see of the program, and its files can be theirs.
    // With a terminal husk-oci makes one.
    let is_within_reach =
        namespaces.iter().any(|(typ, _)| matches!(typ, NamespaceType::Pid | NamespaceType::Mount));
    let streams = match is_within_reach && !request.terminal {
        true => Streams::Between,
        false => Streams::Own,
    };
    run(home, &spec, streams)
}

/// Processes of a pid namespace see each other's root, mounts and sockets by /proc/PID, whoever is
/// in there (security.md, "Processes that join"). So a program enters that of the target without
/// this machine's alone.
fn refuse_exposure(living: &Living, namespaces: &[(NamespaceType, File)]) -> Result<()> {
    let joins = |typ| namespaces.iter().any(|(joined, _)| *joined == typ);
    if !joins(NamespaceType::Pid) {
        return Ok(());
    }
    let exposed =
        [(NamespaceType::Mount, "-m"), (NamespaceType::Network, "-n"), (NamespaceType::Ipc, "-i")];
    let mut missing = Vec::new();
    for (typ, flag) in exposed {
        if !joins(typ) && !open(living, &[typ])?.is_empty() {
            missing.push(flag);
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::other(format_args!(
            "-p without {}: the target's processes would see this machine's files, sockets or \
             shared memory through the program; add {0}, or leave -p out",
            missing.join(" ")
        ))),
    }
}

fn living(target: Target<'_>) -> Result<Living> {
    let pid = match target {
        Target::Container(container) => container.running()?.pid,
        Target::Process(pid) => pid,
    };
    let missing = || Error::other(format_args!("there is no process {pid}"));
    Ok(Living { pid, ticks: start_ticks(pid).ok_or_else(missing)? })
}

/// What a container's own program has, as its first process was started; as its root.
fn of_container(container: &Container) -> Result<Confinement> {
    let path = container.run.join("config.json");
    let spec: Option<Spec> = husk_record::read(&path)?;
    let spec = spec.ok_or_else(|| Error::other(format_args!("{}: missing", path.display())))?;
    let mut process = spec.process.unwrap_or_default();
    process.user = User::default();
    Ok(Confinement { process, seccomp: spec.linux.and_then(|linux| linux.seccomp) })
}

/// What the kernel shows of a process's confinement.
fn of_process(
    living: &Living,
    request: &EnterRequest<'_>,
    notice: &mut dyn FnMut(String),
) -> Result<Confinement> {
    let path = format!("/proc/{}/status", living.pid);
    let status = std::fs::read_to_string(&path).map_err(file("read", &path))?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.map_or("", str::trim)
    };
    if field("Seccomp:") == "2" && !request.privileged {
        notice(format!(
            "process {} has a seccomp filter, which cannot be read: the program runs without it",
            living.pid
        ));
    }
    let names = bounding(&living.pid.to_string()).unwrap_or_default();
    let process = Process {
        capabilities: Some(capabilities(&names)),
        no_new_privileges: field("NoNewPrivs:") == "1",
        ..Process::default()
    };
    Ok(Confinement { process, seccomp: None })
}

fn spec(
    request: &EnterRequest<'_>,
    confinement: Confinement,
    namespaces: &[(NamespaceType, File)],
) -> Spec {
    let Confinement { mut process, mut seccomp } = confinement;
    let has_files = namespaces.iter().any(|(typ, _)| *typ == NamespaceType::Mount);
    process.args.clone_from(&request.args);
    process.terminal = request.terminal;
    process.console_size = None;
    "/".clone_into(&mut process.cwd);
    if !has_files || process.env.is_empty() {
        process.env.clone_from(&request.env);
    }
    // The container's own first process has these, whatever its user.
    let names = process.capabilities.take().map(|sets| sets.bounding).unwrap_or_default();
    process.capabilities = Some(capabilities(&names));
    if request.privileged {
        process.capabilities = Some(capabilities(&capability::resolve(true, &[], &[])));
        process.no_new_privileges = false;
        process.apparmor_profile = None;
        process.selinux_label = None;
        seccomp = None;
    }
    let path = |opened: &File| format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
    let each =
        namespaces.iter().map(|(typ, opened)| Namespace { typ: *typ, path: Some(path(opened)) });
    let linux = Linux { namespaces: each.collect(), seccomp, ..Linux::default() };
    document("/", process, linux)
}

/// The file of a kind of namespace in /proc/PID/ns.
fn file_of(typ: NamespaceType) -> &'static str {
    match typ {
        NamespaceType::Mount => "mnt",
        NamespaceType::Network => "net",
        other => other.name(),
    }
}

/// The namespaces of these kinds, without those that are the caller's own; of every kind where
/// none is named.
fn open(living: &Living, kinds: &[NamespaceType]) -> Result<Vec<(NamespaceType, File)>> {
    let mut opened = Vec::new();
    for typ in NamespaceType::ALL {
        if !kinds.is_empty() && !kinds.contains(&typ) {
            continue;
        }
        let path = format!("/proc/{}/ns/{}", living.pid, file_of(typ));
        let namespace = match File::open(&path) {
            // A kernel without that kind has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && kinds.is_empty() => {
                continue;
            }
            namespace => namespace.map_err(file("join", &path))?,
        };
        let meta = namespace.metadata().map_err(file("stat", &path))?;
        let own = std::fs::metadata(format!("/proc/self/ns/{}", file_of(typ)));
        let is_own = own.is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()));
        if !is_own {
            opened.push((typ, namespace));
        }
    }
    Ok(opened)
}

/// Moves this process into the cgroups of another; gives those that it could not enter.
fn join_cgroups(pid: i32) -> Vec<(String, std::io::Error)> {
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut failed = Vec::new();
    for line in membership.lines().filter(|line| !own.lines().any(|one| one == *line)) {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some(root) = hierarchy(controllers) else { continue };
        let procs = root.join(path.trim_start_matches('/')).join("cgroup.procs");
        let entered = std::fs::OpenOptions::new().write(true).open(&procs);
        if let Err(error) = entered.and_then(|mut procs| procs.write_all(b"0")) {
            failed.push((procs.display().to_string(), error));
        }
    }
    failed
}

/// Where a hierarchy is mounted: of the unified one, whose controllers have no name here, or of
/// one with these.
fn hierarchy(controllers: &str) -> Option<std::path::PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if controllers.is_empty() {
        let both = [root.to_owned(), root.join("unified")];
        return both.into_iter().find(|path| {
            path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists()
        });
    }
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    let named = root.join(name);
    let first = root.join(name.split(',').next().unwrap_or_default());
    [named, first].into_iter().find(|path| path.join("cgroup.procs").exists())
}
