//! What one test owns, and its containers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::event::{Fifo, Process, readable};
use crate::host::{self, Footprint};
use crate::invocation::{Invocation, Output};
use crate::runtime;
use crate::user_namespace;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A directory beside the suite's executable, kept from one run to the next.
pub fn shared_dir() -> PathBuf {
    let dir = runtime::built("husk-tests");
    fs::create_dir_all(&dir).expect("a directory beside the suite");
    dir
}

/// A test's own directory, runtime `--root` and ids.
#[derive(Debug)]
pub struct Case {
    dir: PathBuf,
    marker: String,
    user_namespace: bool,
    bundles: AtomicU32,
}

impl Default for Case {
    fn default() -> Case {
        Case::new()
    }
}

impl Case {
    /// A case whose bundles stay as they are in a suite that adds a user namespace
    /// to them: `reason` says why that has no meaning.
    pub fn without_user_namespace(reason: &str) -> Case {
        user_namespace::announce_exemption(reason);
        let mut case = Case::new();
        case.user_namespace = false;
        case
    }

    /// Makes the case.
    ///
    /// # Panics
    /// Without root: a test that did nothing would count as passed.
    pub fn new() -> Case {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes containers as root: sudo -E cargo test -p husk-tests"
        );
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The end keeps case 1 apart from case 10 where names are searched.
        let marker = format!("husktest{}n{number}x", std::process::id());
        let dir = fs::canonicalize(std::env::temp_dir()).expect("a temporary directory");
        let dir = dir.join(&marker);
        fs::create_dir(&dir).expect("a directory for the test");
        if user_namespace::is_added() {
            // Hooks run there as the root of the container, which is nobody here.
            fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
        }
        Case { dir, marker, user_namespace: user_namespace::is_added(), bundles: AtomicU32::new(0) }
    }

    /// The test's own directory, an absolute path without symlinks.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the test's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The runtime's `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What is in every name this test gives to things on the host.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// The id on the host of an id of the containers.
    pub fn host_id(&self, id: u32) -> u32 {
        if self.user_namespace { user_namespace::FIRST + id } else { id }
    }

    /// Gives a file or directory on the host to the root of the containers.
    pub fn give(&self, path: &Path) {
        if self.user_namespace {
            user_namespace::give(path);
        }
    }

    /// Makes a new bundle with an id of its own.
    pub fn bundle(&self) -> Bundle {
        let number = self.bundles.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("bundle{number}"));
        Bundle::make(dir, format!("{}{number}", self.marker), self.user_namespace)
    }

    /// Makes a FIFO in the bundle's rootfs, for the container to write to.
    pub fn fifo(&self, bundle: &Bundle, path: &str) -> Fifo {
        Fifo::make(&bundle.rootfs(path))
    }

    /// Makes a directory of the test's own.
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// A call of any program.
    pub fn program(&self, program: &str) -> Invocation {
        Invocation::new(program, &self.dir)
    }

    /// A call of the runtime with the test's own `--root`.
    pub fn runtime(&self) -> Invocation {
        Invocation::new(runtime::path(), &self.dir)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("XDG_RUNTIME_DIR")
            .arg("--root")
            .arg(self.state_root())
    }

    /// A call of one of the runtime's commands on an id.
    pub fn on(&self, command: &str, id: &str) -> Invocation {
        self.runtime().arg(command).arg(id)
    }

    /// `run --bundle DIR` without the id, so that flags can follow.
    pub fn running(&self, bundle: &Bundle, flags: &[&str]) -> Invocation {
        self.with_bundle("run", bundle, flags)
    }

    /// `create` as above.
    pub fn creating(&self, bundle: &Bundle, flags: &[&str]) -> Invocation {
        self.with_bundle("create", bundle, flags)
    }

    fn with_bundle(&self, command: &str, bundle: &Bundle, flags: &[&str]) -> Invocation {
        bundle.write();
        self.runtime().arg(command).arg("--bundle").arg(bundle.dir()).args(flags).arg(bundle.id())
    }

    /// Runs the bundle in the foreground, to its end.
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.running(bundle, &[]).output()
    }

    /// Runs the bundle, which must succeed; returns what it printed.
    pub fn print(&self, bundle: &Bundle) -> String {
        self.run(bundle).ok().stdout
    }

    /// Runs the probe of the bundle; returns what it saw.
    pub fn report(&self, bundle: &Bundle) -> Value {
        self.run(bundle).ok().json()
    }

    /// Creates the bundle's container.
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        self.create_with(bundle, &[])
    }

    /// Creates the bundle's container with more flags.
    pub fn create_with(&self, bundle: &Bundle, flags: &[&str]) -> Container<'_> {
        let pid_file = self.dir.join(format!("{}.pid", bundle.id()));
        self.with_bundle(
            "create",
            bundle,
            &[&["--pid-file", path_text(&pid_file)], flags].concat(),
        )
        .ok();
        self.container(bundle.id(), &pid_file)
    }

    /// Creates and starts the bundle's container.
    pub fn start(&self, bundle: &Bundle) -> Container<'_> {
        let container = self.create(bundle);
        self.on("start", bundle.id()).ok();
        container
    }

    /// Creates and starts a container that sleeps until it is killed. It runs
    /// its program when this returns: `start` alone does not promise that the
    /// runtime's process has become the program yet.
    pub fn sleeper(&self) -> (Bundle, Container<'_>) {
        let mut bundle = self.bundle();
        let started = self.fifo(&bundle, "started");
        bundle.shell("echo started >/started; exec sleep 1000");
        let container = self.start(&bundle);
        assert_eq!(started.line(), "started");
        (bundle, container)
    }

    /// A container that exists already.
    pub fn container(&self, id: &str, pid_file: &Path) -> Container<'_> {
        let text = fs::read_to_string(pid_file)
            .unwrap_or_else(|e| panic!("pid file {}: {e}", pid_file.display()));
        let pid = text.trim().parse().unwrap_or_else(|e| panic!("pid file {text:?}: {e}"));
        Container { case: self, id: id.to_owned(), pid, process: Process::open(pid) }
    }

    /// Fails the test when a container, or anything of one, is on the host.
    pub fn assert_nothing_left(&self) {
        let left = self.left();
        assert!(left.is_none(), "left on the host: {}", left.unwrap_or_default());
    }

    /// The ids the runtime keeps state of, whether it can still read it or not.
    pub fn kept_ids(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.state_root()) else { return Vec::new() };
        entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            // What a runtime keeps for all its containers is no container's name.
            .filter(|name| !name.starts_with(['.', '@']))
            .collect()
    }

    fn left(&self) -> Option<String> {
        let state = self.kept_ids();
        let mut footprint = Footprint::of(&self.dir, &self.marker);
        // A killed process needs a moment to be gone: wait for its exit.
        for (pid, _) in &footprint.processes {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid)
                && let Ok(fd) =
                    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            {
                readable(&fd, Duration::from_secs(2));
            }
        }
        if !footprint.processes.is_empty() {
            footprint = Footprint::of(&self.dir, &self.marker);
        }
        let nothing = state.is_empty() && footprint.is_empty();
        (!nothing).then(|| format!("state of {state:?}, {footprint:?}"))
    }

    fn clear(&self) {
        // No signal ends what a v1 freezer holds.
        for cgroup in host::cgroups_named(&self.marker) {
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
            let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
        }
        for (pid, _) in Footprint::of(&self.dir, &self.marker).processes {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            if let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                let _ = rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL);
                readable(&fd, Duration::from_secs(5));
            }
        }
        for target in host::mounts_below(&self.dir).iter().rev() {
            let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        }
        for cgroup in host::cgroups_named(&self.marker) {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        for id in self.kept_ids() {
            self.runtime().args(["delete", "--force", &id]).output();
        }
        let left = self.left();
        if left.is_some() {
            self.clear();
        }
        let removed = fs::remove_dir_all(&self.dir);
        if std::thread::panicking() {
            return;
        }
        if let Some(left) = left {
            panic!("left on the host after `delete --force`: {left}");
        }
        removed.expect("the test's directory can be removed");
    }
}

/// A path as text, for arguments.
pub fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A container the runtime knows.
#[derive(Debug)]
pub struct Container<'a> {
    case: &'a Case,
    id: String,
    pid: i32,
    process: Process,
}

impl Container<'_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its main process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A handle on the main process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What `state` prints.
    pub fn state(&self) -> Value {
        self.case.on("state", &self.id).ok().json()
    }

    /// The `status` of the state.
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("status").to_owned()
    }

    /// `start`.
    pub fn start(&self) {
        self.case.on("start", &self.id).ok();
    }

    /// `kill` with a signal.
    pub fn kill(&self, signal: &str) {
        self.case.on("kill", &self.id).arg(signal).ok();
    }

    /// Kills the main process and waits for its end.
    pub fn stop(&self) {
        self.kill("KILL");
        self.process.wait();
    }

    /// `delete`, without `--force`.
    pub fn delete(&self) {
        self.case.on("delete", &self.id).ok();
    }

    /// `exec FLAGS ID COMMAND`.
    pub fn exec(&self, flags: &[&str], command: &[&str]) -> Invocation {
        self.case.runtime().arg("exec").args(flags).arg(&self.id).args(command)
    }

    /// A file of its main process in /proc.
    pub fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}
