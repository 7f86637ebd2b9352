//! What the engine and its host are.

use std::path::{Path, PathBuf};

use crate::container::Container;
use crate::container::request::counts_swap;
use crate::container::state::Status;
use crate::error::Result;
use crate::home::Home;
use crate::rootless::is_rootless;
use crate::runtime::Runtime;

/// The engine and its host.
#[derive(Clone, Debug)]
pub struct Info {
    /// Containers that run and are not paused.
    pub running: usize,
    /// Containers that are paused.
    pub paused: usize,
    /// All other containers.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// Versions.
    pub version: Version,
    /// Why the runtime cannot be asked, where that is so.
    pub runtime_problem: Option<String>,
    /// The runtime's program, where it is known.
    pub runtime_path: PathBuf,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// What confines every container, in Docker's words.
    pub security_options: Vec<&'static str>,
    /// The operating system, as os-release(5) calls it.
    pub operating_system: String,
    /// The machine's architecture, as uname(2) has it.
    pub architecture: String,
    /// The host's name.
    pub hostname: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Memory of the host in bytes.
    pub memory: u64,
    /// Whether each can be limited.
    pub limits_memory: bool,
    /// As [`Self::limits_memory`].
    pub limits_swap: bool,
    /// As [`Self::limits_memory`].
    pub limits_pids: bool,
    /// As [`Self::limits_memory`].
    pub limits_cpu: bool,
    /// As [`Self::limits_memory`].
    pub limits_cpuset: bool,
    /// Whether the engine is an ordinary user's.
    pub rootless: bool,
}

/// Versions of the engine's parts and of the kernel.
#[derive(Clone, Debug)]
pub struct Version {
    /// The engine's.
    pub engine: &'static str,
    /// The first line of what the runtime says of itself; none where it cannot be asked.
    pub runtime: Option<String>,
    /// The kernel's release, as uname(2) has it.
    pub kernel: String,
    /// The architecture in the words of images, as `amd64`.
    pub architecture: String,
}

impl Version {
    /// The version in the runtime's line; empty where it cannot be asked.
    #[must_use]
    pub fn runtime_number(&self) -> &str {
        self.runtime.as_deref().and_then(|line| line.split(' ').nth(2)).unwrap_or_default()
    }
}

fn runtime_version(home: &Home) -> Result<String> {
    let said = Runtime::find(home)?.output(&["--version"])?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn version_with(runtime: Option<String>) -> Version {
    Version {
        engine: env!("CARGO_PKG_VERSION"),
        runtime,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        architecture: husk_image::platform::Platform::host().architecture,
    }
}

/// The versions. That the runtime is missing is no failure.
pub fn version(home: &Home) -> Version {
    version_with(runtime_version(home).ok())
}

/// What the engine and its host are. That the runtime is missing is no failure.
///
/// # Errors
/// Records that cannot be read.
pub fn info(home: &Home) -> Result<Info> {
    let (mut running, mut paused, mut stopped) = (0, 0, 0);
    for container in Container::all(home)? {
        let state = container.state()?;
        match state.status {
            Status::Running if state.paused => paused += 1,
            Status::Running | Status::Restarting => running += 1,
            _ => stopped += 1,
        }
    }
    let host = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let (runtime, runtime_problem) = match runtime_version(home) {
        Ok(line) => (Some(line), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Info {
        running,
        paused,
        stopped,
        images: home.images()?.images()?.len(),
        version: version_with(runtime),
        runtime_problem,
        runtime_path: Runtime::own().unwrap_or_default(),
        cgroup_version: if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 },
        security_options: security_options(),
        operating_system: pretty.unwrap_or_default().trim_matches('"').to_owned(),
        architecture: text(host.machine()),
        hostname: text(host.nodename()),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        memory: total_memory(),
        limits_memory: has_controller("memory"),
        limits_swap: counts_swap(),
        limits_pids: has_controller("pids"),
        limits_cpu: has_controller("cpu"),
        limits_cpuset: has_controller("cpuset"),
        rootless: is_rootless(),
    })
}

/// Memory of the host in bytes (proc_meminfo(5)); 0 where it is not known.
pub fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Whether the kernel has a cgroup controller (/proc/cgroups).
fn has_controller(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    text.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some(name) && words.next_back() == Some("1")
    })
}

fn security_options() -> Vec<&'static str> {
    let mut options = vec!["name=seccomp,profile=builtin"];
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if apparmor.is_ok_and(|text| text.trim() == "Y") {
        options.push("name=apparmor");
    }
    if is_rootless() {
        options.push("name=rootless");
    }
    options.push("name=cgroupns");
    options
}
