//! An engine of a test's own: its directories, an image made of busybox, and, where the
//! test wants a network, a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const HUSK: &str = env!("CARGO_BIN_EXE_husk");
const BUSYBOX: &str = "/bin/busybox";

/// Why the tests cannot run here.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let oci = Path::new(HUSK).with_file_name("husk-oci");
    if !oci.is_file() {
        return Some(format!("{} is not built (cargo build -p husk-runtime)", oci.display()));
    }
    (!Path::new(BUSYBOX).is_file()).then(|| format!("no {BUSYBOX} (busybox-static)"))
}

/// A running network namespace; it ends with this.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An engine of its own.
pub(crate) struct Engine {
    directory: tempfile::TempDir,
    namespace: Option<Namespace>,
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Engine {
    /// With the image `bb`; without a network.
    pub(crate) fn new() -> Self {
        let engine = Self { directory: tempfile::tempdir().unwrap(), namespace: None };
        engine.ok(&["import", "-c", "ENV FOO=bar", "-c", "CMD [\"/bin/sh\"]", &engine.tar(), "bb"]);
        engine
    }

    /// In a network namespace with nothing but loopback.
    pub(crate) fn with_network() -> Self {
        let sleep = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec sleep 600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = sleep.id();
        let namespace = Some(Namespace(sleep));
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let there = || std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns != own);
        wait_for("a network namespace", there);
        let mut engine = Self::new();
        engine.namespace = namespace;
        engine
    }

    fn tar(&self) -> String {
        let path = self.directory.path().join("bb.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        let program = std::fs::read(BUSYBOX).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(program.len() as u64);
        tar.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
        for applet in [
            "sh", "cat", "echo", "env", "id", "ip", "kill", "ls", "nc", "pwd", "sleep", "touch",
            "tty", "grep", "hostname", "mount", "dd", "true", "wget", "head", "chmod",
        ] {
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Symlink);
            link.set_size(0);
            tar.append_link(&mut link, format!("bin/{applet}"), "busybox").unwrap();
        }
        let passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(passwd.len() as u64);
        tar.append_data(&mut header, "etc/passwd", passwd.as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(5);
        tar.append_data(&mut header, "data/file", b"image".as_slice()).unwrap();
        tar.finish().unwrap();
        path.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg("--target").arg(namespace.0.id().to_string()).args(["--net", HUSK]);
                command
            }
            None => Command::new(HUSK),
        };
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        command.args(arguments).stdin(Stdio::null()).env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().unwrap().into()
    }

    /// Its output, trimmed; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.out.trim().to_owned()
    }

    /// Runs a program in the engine's network namespace.
    pub(crate) fn beside(&self, script: &str) -> Done {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg("--target").arg(namespace.0.id().to_string()).args(["--net", "sh"]);
                command
            }
            None => Command::new("sh"),
        };
        command.args(["-c", script]).stdin(Stdio::null()).output().unwrap().into()
    }

    pub(crate) fn inspect(&self, container: &str, template: &str) -> String {
        self.ok(&["inspect", "--type", "container", "-f", template, container])
    }

    /// Asserts that nothing of any container is left.
    pub(crate) fn assert_nothing_left(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.directory.path().display().to_string();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&own)).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
        for below in
            ["root/containers", "root/container-names", "root/pins", "run/containers", "run/oci"]
        {
            let path = self.path(below);
            let entries = std::fs::read_dir(&path).map(Iterator::count).unwrap_or(0);
            assert_eq!(entries, 0, "entries left in {below}");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let ids = self.run(&["ps", "-aq"]).out;
        let mut arguments = vec!["rm", "-f", "-v"];
        arguments.extend(ids.split_whitespace());
        if arguments.len() > 3 {
            self.run(&arguments);
        }
    }
}

/// Waits for something that another process does.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if there() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not come about within 20 s");
}
