//! What the black-box tests share: the host's layout, processes to put into a
//! cgroup, and the second run on a pure v2 layout. `HUSK_CGROUP_MANAGER=systemd` has the
//! limits made by systemd.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's failure")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use husk_cgroup::{Cgroup, Layout, Manager, Request, V1};
use husk_spec::Resources;

/// Says why a test cannot run here.
pub(crate) fn skip(reason: &str) {
    // Past the test harness, which keeps what it captures of tests that pass.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

pub(crate) struct Host {
    pub(crate) layout: Layout,
    /// Who makes the cgroups of [`Host::request`].
    pub(crate) manager: Manager,
    id: String,
    annotations: BTreeMap<String, String>,
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The host, for root alone and by the cgroupfs driver alone; else `None`.
pub(crate) fn host_of_root(name: &str) -> Option<Host> {
    if !root() {
        skip("not root");
        return None;
    }
    let mut host = host(name)?;
    host.manager = Manager::Cgroupfs;
    Some(host)
}

/// The host, for a test that makes the cgroup `husk-test-NAME`; `None` where the caller
/// cannot make one: an ordinary user needs a delegated part of the v2 hierarchy.
pub(crate) fn host(name: &str) -> Option<Host> {
    let host = Host::new(name);
    let layout = &host.layout;
    let delegated = || layout.v2.as_ref()?.delegated.as_ref()?.base.as_ref();
    if layout.read_only()
        || (layout.v1.is_empty() && layout.v2.is_none())
        || (!root() && delegated().is_none())
    {
        skip(&layout.describe());
        return None;
    }
    Some(host)
}

/// A failed test leaves nothing behind either.
impl Drop for Host {
    fn drop(&mut self) {
        let name = format!("husk-{}", self.id);
        if self.manager == Manager::Systemd {
            let mut stop = systemctl(!root());
            let _ = stop.args(["--quiet", "stop", &format!("{name}.scope")]).output();
            return;
        }
        let v1 = self.layout.v1.iter().map(|hierarchy| V1 {
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            path: hierarchy.mount.join(&name),
        });
        let left = Cgroup {
            v1: v1.collect(),
            v2: self.layout.v2.as_ref().map(|unified| {
                let base = unified.delegated.as_ref().and_then(|d| d.base.as_deref());
                unified.mount.join(base.unwrap_or_default().trim_start_matches('/')).join(&name)
            }),
            ..Cgroup::none()
        };
        if left.exists() {
            let _ = left.kill_all();
            let _ = left.remove();
        }
    }
}

impl Host {
    /// The host as it is, whoever asks.
    pub(crate) fn new(name: &str) -> Self {
        let layout = Layout::detect().unwrap();
        // Both runs share the v2 hierarchy.
        let run = if std::env::var_os("HUSK_PURE_V2").is_some() { "pure-" } else { "" };
        let manager = match std::env::var("HUSK_CGROUP_MANAGER").as_deref() {
            Ok("systemd") => Manager::Systemd,
            Ok("cgroupfs") | Err(_) => Manager::Cgroupfs,
            Ok(other) => panic!("HUSK_CGROUP_MANAGER={other}"),
        };
        Self { layout, manager, id: format!("test-{run}{name}"), annotations: BTreeMap::new() }
    }

    /// The cgroup's path where none is asked for.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.id)
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            manager: self.manager,
            id: &self.id,
            cgroups_path: None,
            resources: None,
            annotations: &self.annotations,
            rootless: !root(),
            intel_rdt: None,
        }
    }

    /// Whether a controller is there, by its v1 and its v2 name.
    pub(crate) fn has(&self, v1: &str, v2: &str) -> bool {
        self.layout.v1.iter().any(|h| h.controllers.iter().any(|name| name == v1))
            || self.layout.v2.as_ref().is_some_and(|u| u.controllers.iter().any(|n| n == v2))
    }

    /// Resources, if the host has every controller that they need.
    pub(crate) fn resources(&self, json: &str) -> Option<Resources> {
        let resources: Resources = serde_json::from_str(json).unwrap();
        let cpuset = |cpu: &husk_spec::Cpu| cpu.cpus.is_some() || cpu.mems.is_some();
        let needs = [
            (resources.pids.is_some(), "pids", "pids"),
            (resources.memory.is_some(), "memory", "memory"),
            (resources.cpu.as_ref().is_some_and(|cpu| !cpuset(cpu)), "cpu", "cpu"),
            (resources.cpu.as_ref().is_some_and(cpuset), "cpuset", "cpuset"),
            (resources.block_io.is_some(), "blkio", "io"),
            (!resources.hugepage_limits.is_empty(), "hugetlb", "hugetlb"),
            (resources.network.is_some(), "net_cls", "-"),
            (!resources.rdma.is_empty(), "rdma", "rdma"),
        ];
        needs.iter().all(|(needed, v1, v2)| !needed || self.has(v1, v2)).then_some(resources)
    }
}

/// The command that asks systemd: the host's, or the caller's own.
pub(crate) fn systemctl(user: bool) -> Command {
    let mut command = Command::new("systemctl");
    command.args(if user { &["--user"][..] } else { &[] });
    command
}

/// Where a cgroup of this name would be in every hierarchy.
pub(crate) fn record(layout: &Layout, name: &str) -> Vec<PathBuf> {
    let v1 = layout.v1.iter().map(|hierarchy| hierarchy.mount.join(name));
    v1.chain(layout.v2.iter().map(|unified| unified.mount.join(name))).collect()
}

/// Runs this test program again below a private mount of cgroup2.
pub(crate) fn again_on_pure_v2(program: &str) {
    if std::env::var_os("HUSK_PURE_V2").is_some() {
        return;
    }
    let Some(host) = host_of_root("layout") else { return };
    if std::env::var_os("HUSK_CGROUP_MANAGER").is_some() {
        return skip("systemd knows of the host's own layout alone");
    }
    if host.layout.v1.is_empty() {
        return skip("pure v2 is what the host has");
    }
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"")
        .arg(program)
        .arg(std::env::current_exe().unwrap())
        .env("HUSK_PURE_V2", "1")
        .status()
        .unwrap();
    assert!(status.success(), "the tests fail on pure v2");
}

/// Processor time of a process, user and system, in clock ticks.
pub(crate) fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A process that sleeps until it is killed.
pub(crate) struct Sleeper(Child);

impl Sleeper {
    pub(crate) fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// Waits for its end and tells the signal.
    pub(crate) fn signal(mut self) -> Option<i32> {
        self.0.wait().unwrap().signal()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell that waits to be let go, so that it is in its cgroup before it acts.
pub(crate) struct Shell(Option<Child>);

impl Shell {
    pub(crate) fn new(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read go || :\n{script}")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    pub(crate) fn inside(cgroup: &Cgroup, script: &str) -> Self {
        let shell = Self::new(script);
        cgroup.attach(shell.pid()).unwrap();
        shell
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.as_ref().unwrap().id()).unwrap()
    }

    /// Lets it go without waiting for its end.
    pub(crate) fn go(&mut self) {
        use std::io::Write;
        self.0.as_mut().unwrap().stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Reads one line of its output.
    pub(crate) fn line(&mut self) -> String {
        use std::io::BufRead;
        let mut line = String::new();
        let out = self.0.as_mut().unwrap().stdout.as_mut().unwrap();
        std::io::BufReader::with_capacity(1, out).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets it go, waits for its end, and tells what it wrote to standard error,
    /// which others may hold open for longer.
    pub(crate) fn complaint(mut self) -> String {
        use std::io::Read;
        self.go();
        let mut child = self.0.take().unwrap();
        child.wait().unwrap();
        let mut buffer = [0; 4096];
        let length = child.stderr.as_mut().unwrap().read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Lets it go and waits for its end.
    pub(crate) fn end(mut self) -> std::process::Output {
        let mut child = self.0.take().unwrap();
        drop(child.stdin.take());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The text of a controller's file in a container's cgroup.
pub(crate) fn file(cgroup: &Cgroup, v1: (&str, &str), v2: &str) -> String {
    let directory =
        cgroup.v1.iter().find(|directory| directory.controllers.iter().any(|name| name == v1.0));
    let path = match directory {
        Some(directory) => directory.path.join(v1.1),
        None => cgroup.v2.as_ref().unwrap().join(v2),
    };
    let text = std::fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim_end().to_owned()
}
