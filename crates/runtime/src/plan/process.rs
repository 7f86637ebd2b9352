//! `process`: what is run, as whom, with which limits.

use std::collections::BTreeMap;
use std::ffi::CString;

use husk_spec::Linux;
use husk_sys::exec::CStringArray;
use husk_sys::schedule::SchedAttr;
use rustix::process::{Resource, Rlimit};

use super::annotation::Effort;
use super::{Host, Landlock, Request, bit_list, check_id, cstring};
use crate::report::{Error, Result};

mod capability;
mod memory_policy;
mod priority;
mod rlimit;

pub use capability::{CapabilitySets, bit as capability_bit, names as capability_names};
pub use memory_policy::{FLAGS as MEMORY_POLICY_FLAGS, MODES as MEMORY_POLICY_MODES, MemoryPolicy};

/// `NGROUPS_MAX`, setgroups(2).
const MAX_GROUPS: usize = 65_536;

/// One process to run in a container: its first, or one more by `exec`.
pub struct Process {
    /// Property that it comes from, for messages.
    pub property: &'static str,
    /// Arguments, the executable's name first.
    pub arguments: CStringArray,
    /// Environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// Whether `HOME` is missing and is looked up in the container's passwd(5).
    pub needs_home: bool,
    /// Directories of `PATH`, where the executable's name has no slash.
    pub search: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// umask(2).
    pub umask: Option<u32>,
    /// Capabilities.
    pub capabilities: CapabilitySets,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Index, resource and limits.
    pub rlimits: Vec<(usize, Resource, Rlimit)>,
    /// For `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// sched_setattr(2).
    pub scheduler: Option<SchedAttr>,
    /// ioprio_set(2).
    pub io_priority: Option<u32>,
    /// CPUs until the container's cgroup is entered (`exec` only).
    pub initial_affinity: Option<Vec<u64>>,
    /// CPUs from then on (`exec` only).
    pub final_affinity: Option<Vec<u64>>,
    /// personality(2).
    pub personality: Option<u32>,
    /// set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicy>,
    /// A pseudo-terminal.
    pub terminal: Option<Terminal>,
    /// AppArmor profile.
    pub apparmor: Option<CString>,
    /// SELinux label.
    pub selinux: Option<CString>,
    /// Landlock rules.
    pub landlock: Option<Landlock>,
    /// A core scheduling cookie of the container's own.
    pub core_scheduling: Option<Effort>,
    /// The filter.
    pub seccomp: Option<Seccomp>,
    /// Descriptors from 3 on that stay open.
    pub preserve_fds: u32,
}

/// A terminal of a size, if one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    /// A line feed of the program's stays one: what it prints is copied to standard output, which
    /// may be a file. A terminal there has settings of its own.
    pub keeps_line_feeds: bool,
}

/// A compiled filter.
pub struct Seccomp {
    /// The program and how to load it.
    pub program: husk_seccomp::Program,
    /// Refusals notify the runtime, `--seccomp-explain`.
    pub explained: bool,
    /// Whether a process under the filter may be unable to tell the runtime of a failure.
    pub silences: bool,
    /// The agent's socket, where the filter notifies.
    pub listener_path: Option<String>,
    /// For the agent.
    pub listener_metadata: String,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("arguments", &self.arguments.strings())
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// Plans the process of a document; `property` is its place there.
pub fn plan(
    process: &husk_spec::Process,
    property: &'static str,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Process> {
    let (environment, search_path) = environment(process, property)?;
    // An empty one counts as none, as with runc.
    let has_home = |entry: &CString| {
        entry.to_bytes().strip_prefix(b"HOME=").is_some_and(|home| !home.is_empty())
    };
    let needs_home = !environment.iter().any(has_home);
    let mut environment = environment;
    if needs_home {
        environment.retain(|entry| !entry.to_bytes().starts_with(b"HOME="));
    }
    let (apparmor, selinux) = labels(process, property, host)?;
    let user = &process.user;
    if let Some(umask) = user.umask.filter(|umask| *umask > 0o777) {
        return Err(Error::invalid(
            format_args!("{property}.user.umask ({umask})"),
            "more than 0777 (511)",
        ));
    }
    for (name, id) in [("uid", user.uid), ("gid", user.gid)] {
        check_id(&format!("{property}.user.{name}"), id)?;
    }
    for (index, gid) in user.additional_gids.iter().enumerate() {
        check_id(&format!("{property}.user.additionalGids[{index}]"), *gid)?;
    }
    if user.additional_gids.len() > MAX_GROUPS {
        return Err(Error::invalid(
            format_args!("{property}.user.additionalGids"),
            format_args!(
                "{} groups, and the kernel takes {MAX_GROUPS}",
                user.additional_gids.len()
            ),
        ));
    }
    if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(Error::invalid(
            format_args!("{property}.oomScoreAdj ({score})"),
            "not in -1000 to 1000",
        ));
    }
    let affinity = process.exec_cpu_affinity.as_ref();
    Ok(Process {
        property,
        arguments: arguments(process, property)?,
        environment,
        needs_home,
        search: search(process, search_path),
        cwd: cwd(process, property)?,
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone(),
        umask: user.umask,
        capabilities: CapabilitySets::plan(process.capabilities.as_ref(), property, warnings),
        no_new_privileges: process.no_new_privileges,
        rlimits: rlimit::plan(&process.rlimits, property)?,
        oom_score_adj: process.oom_score_adj,
        scheduler: process
            .scheduler
            .as_ref()
            .map(|scheduler| priority::scheduler(scheduler, property))
            .transpose()?,
        io_priority: process
            .io_priority
            .as_ref()
            .map(|priority| priority::io_priority(priority, property))
            .transpose()?,
        initial_affinity: cpus(affinity.and_then(|a| a.initial.as_deref()), property, "initial")?,
        final_affinity: cpus(affinity.and_then(|a| a.final_.as_deref()), property, "final")?,
        personality: None,
        memory_policy: None,
        terminal: process.terminal.then(|| Terminal {
            size: process.console_size.as_ref().map(|size| (size.height, size.width)),
            keeps_line_feeds: false,
        }),
        apparmor,
        selinux,
        landlock: None,
        core_scheduling: None,
        seccomp: None,
        preserve_fds: 0,
    })
}

impl Process {
    /// Sets a variable of the environment.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) -> Result<()> {
        let prefix = format!("{name}=");
        self.environment.retain(|entry| !entry.to_bytes().starts_with(prefix.as_bytes()));
        self.environment.push(cstring(name, &(prefix + value))?);
        Ok(())
    }

    /// Adds what the container's own document and the command line say of its first process.
    pub(super) fn plan_container(&mut self, linux: &Linux, request: &Request) -> Result<()> {
        self.plan_kernel_settings(linux)?;
        if let Some(terminal) = &mut self.terminal {
            terminal.keeps_line_feeds = request.foreground;
        }
        self.preserve_fds =
            request.preserve_fds.checked_add(request.listen_fds).ok_or_else(|| {
                Error::new(
                    crate::report::Code::Usage,
                    format_args!("--preserve-fds ({})", request.preserve_fds),
                    "too many",
                )
            })?;
        // sd_listen_fds(3): the number counts for the process that LISTEN_PID names.
        if request.listen_fds > 0 {
            self.set_variable("LISTEN_FDS", &request.listen_fds.to_string())?;
            self.set_variable("LISTEN_PID", "1")?;
        }
        Ok(())
    }

    /// Adds what `linux` says of every process in the container.
    pub fn plan_kernel_settings(&mut self, linux: &Linux) -> Result<()> {
        self.personality = linux.personality.as_ref().map(priority::personality).transpose()?;
        self.memory_policy = linux.memory_policy.as_ref().map(MemoryPolicy::plan).transpose()?;
        self.seccomp = linux.seccomp.as_ref().map(Seccomp::plan).transpose()?;
        if let Some(seccomp) = &self.seccomp {
            for name in &seccomp.program.unknown {
                crate::report::debug(|| format!("linux.seccomp: unknown system call {name}"));
            }
        }
        Ok(())
    }
}

impl Seccomp {
    fn plan(profile: &husk_spec::Seccomp) -> Result<Self> {
        let program = husk_seccomp::compile(profile, native_architecture()?)
            .map_err(|error| Error::invalid(error, ""))?;
        Ok(Self {
            program,
            explained: false,
            silences: !lets_pass(profile, "sendto"),
            listener_path: profile.listener_path.clone().filter(|path| !path.is_empty()),
            listener_metadata: profile.listener_metadata.clone().unwrap_or_default(),
        })
    }
}

/// Whether a profile certainly allows a system call, whatever its arguments.
fn lets_pass(profile: &husk_spec::Seccomp, name: &str) -> bool {
    use husk_spec::SeccompAction::{Allow, Log};
    let mut rules =
        profile.syscalls.iter().filter(|rule| rule.names.iter().any(|named| named == name));
    match rules.next() {
        None => matches!(profile.default_action, Allow | Log),
        Some(rule) => {
            rules.next().is_none() && rule.args.is_empty() && matches!(rule.action, Allow | Log)
        }
    }
}

/// The architecture this program is built for.
pub fn native_architecture() -> Result<husk_spec::SeccompArch> {
    use husk_spec::SeccompArch as Arch;
    match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("x86_64", _) => Ok(Arch::X86_64),
        ("aarch64", true) => Ok(Arch::Aarch64),
        ("riscv64", _) => Ok(Arch::Riscv64),
        ("powerpc64", true) => Ok(Arch::Ppc64le),
        ("powerpc64", false) => Ok(Arch::Ppc64),
        ("s390x", _) => Ok(Arch::S390x),
        ("loongarch64", _) => Ok(Arch::Loongarch64),
        ("arm", _) => Ok(Arch::Arm),
        ("x86", _) => Ok(Arch::X86),
        (other, _) => Err(Error::invalid(
            "linux.seccomp",
            format_args!("no filter can be made for this machine's architecture, {other}"),
        )),
    }
}

fn arguments(process: &husk_spec::Process, property: &str) -> Result<CStringArray> {
    match process.args.first().map(String::as_str) {
        None => return Err(Error::invalid(format_args!("{property}.args"), "missing or empty")),
        Some("") => {
            return Err(Error::invalid(format_args!("{property}.args[0]"), "an empty name"));
        }
        Some(_) => {}
    }
    let arguments = process
        .args
        .iter()
        .enumerate()
        .map(|(index, argument)| cstring(format_args!("{property}.args[{index}]"), argument))
        .collect::<Result<_>>()?;
    Ok(CStringArray::new(arguments))
}

/// The environment, a variable that is given twice with its last value, and `PATH`.
fn environment<'a>(
    process: &'a husk_spec::Process,
    property: &str,
) -> Result<(Vec<CString>, Option<&'a str>)> {
    let mut path = None;
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let mut environment: Vec<CString> = Vec::with_capacity(process.env.len() + 3);
    for (index, entry) in process.env.iter().enumerate() {
        let property = format_args!("{property}.env[{index}]");
        let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::invalid(
                format_args!("{property} ({entry})"),
                "not of the form NAME=value",
            ));
        };
        if name == "PATH" {
            path = Some(value);
        }
        let entry = cstring(property, entry)?;
        match names.insert(name, environment.len()) {
            Some(at) => {
                environment[at] = entry;
                names.insert(name, at);
            }
            None => environment.push(entry),
        }
    }
    Ok((environment, path))
}

/// Where execvp(3) would look; nowhere for a name with a slash.
fn search(process: &husk_spec::Process, path: Option<&str>) -> Vec<CString> {
    const DEFAULT: &str = "/bin:/usr/bin";
    if process.args.first().is_some_and(|name| name.contains('/')) {
        return Vec::new();
    }
    path.unwrap_or(DEFAULT)
        .split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .filter_map(|directory| CString::new(directory).ok())
        .collect()
}

fn cwd(process: &husk_spec::Process, property: &str) -> Result<CString> {
    let property = format!("{property}.cwd");
    match process.cwd.as_str() {
        "" => Err(Error::invalid(property, "missing")),
        cwd if !cwd.starts_with('/') => {
            Err(Error::invalid(format_args!("{property} ({cwd})"), "not an absolute path"))
        }
        cwd => cstring(property, cwd),
    }
}

fn labels(
    process: &husk_spec::Process,
    property: &str,
    host: &Host,
) -> Result<(Option<CString>, Option<CString>)> {
    let label = |name: &str, value: Option<&str>, there: bool, system: &str| match value {
        None | Some("") => Ok(None),
        Some(value) if there => cstring(format_args!("{property}.{name}"), value).map(Some),
        Some(value) => Err(Error::invalid(
            format_args!("{property}.{name} ({value})"),
            format_args!("{system} is not enabled on this host"),
        )),
    };
    // "unconfined" asks for nothing, so that it can be had without AppArmor as well.
    let apparmor =
        process.apparmor_profile.as_deref().filter(|p| host.apparmor || *p != "unconfined");
    Ok((
        label("apparmorProfile", apparmor, host.apparmor, "AppArmor")?,
        label("selinuxLabel", process.selinux_label.as_deref(), host.selinux, "SELinux")?,
    ))
}

fn cpus(list: Option<&str>, property: &str, name: &str) -> Result<Option<Vec<u64>>> {
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    match bit_list(list) {
        Some(mask) if !mask.is_empty() => Ok(Some(mask)),
        _ => Err(Error::invalid(
            format_args!("{property}.execCPUAffinity.{name} ({list})"),
            "not a list of CPUs such as 0-3,7",
        )),
    }
}
