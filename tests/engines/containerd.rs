//! containerd's runc shim with `ctr run --runc-binary`.

use std::fs;
use std::process::Stdio;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::console::Master;
use husk_tests::event::{Process, until};
use husk_tests::invocation::{Invocation, Running};
use husk_tests::runtime;
use husk_tests::sandbox::Sandbox;

use crate::installed;

/// A containerd of its own.
struct Containerd<'a> {
    case: &'a Case,
    bundle: Bundle,
    // Dropped first: containerd ends before its namespaces do.
    _daemon: Running,
    sandbox: Sandbox<'a>,
}

impl<'a> Containerd<'a> {
    /// None, and a reason, where containerd is not installed.
    fn new(case: &'a Case) -> Option<Containerd<'a>> {
        let needed = [
            ("containerd", "containerd"),
            ("ctr", "containerd"),
            ("containerd-shim-runc-v2", "containerd"),
            ("nsenter", "util-linux"),
        ];
        if !installed(&needed) {
            return None;
        }
        let dir = case.dir().display();
        fs::write(
            case.path("config.toml"),
            format!(
                "version = 2\n\
                 root = \"{dir}/root\"\n\
                 state = \"{dir}/shims\"\n\
                 disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\n\
                 address = \"{dir}/sock\"\n\
                 [ttrpc]\n\
                 address = \"{dir}/sock.ttrpc\"\n"
            ),
        )
        .unwrap();
        let sandbox = Sandbox::new(case);
        let daemon =
            sandbox.program("containerd").arg("--config").arg(case.path("config.toml")).spawn();
        let containerd = Containerd { case, bundle: case.bundle(), _daemon: daemon, sandbox };
        until("an answer of containerd", || containerd.ctr(&["version"]).output().status.success());
        Some(containerd)
    }

    /// Kills a task and deletes it when the shim has seen its end, of which
    /// `ctr` tells nobody.
    fn kill_and_delete(&self, id: &str) {
        self.ctr(&["tasks", "kill", "-s", "KILL", id]).ok();
        until("the end of the task", || {
            let tasks = self.ctr(&["tasks", "ls"]).ok();
            tasks.lines().iter().any(|l| l.starts_with(id) && l.contains("STOPPED"))
        });
        let delete = self.ctr(&["tasks", "delete", id]).output();
        assert!(delete.stderr.contains("137"), "{}", delete.stderr);
        self.ctr(&["containers", "delete", id]).ok();
    }

    fn ctr(&self, args: &[&str]) -> Invocation {
        self.sandbox
            .program("ctr")
            .arg("--address")
            .arg(self.case.path("sock"))
            .args(["--namespace", self.case.marker()])
            .args(args)
    }

    /// `run` on the bundle's rootfs.
    fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Invocation {
        self.ctr(&["run", "--rootfs", "--runc-binary"])
            .arg(runtime::path())
            .args(flags)
            .arg(self.bundle.rootfs(""))
            .arg(id)
            .args(command)
    }
}

#[test]
fn run_prints_and_gives_the_exit_code() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    let run = containerd.run(&["--rm"], "one", &["/bin/echo", "hello"]).ok();
    assert_eq!(run.text(), "hello");
    for code in [1, 7, 255] {
        let script = format!("exit {code}");
        let run = containerd.run(&["--rm"], "one", &["/bin/sh", "-c", &script]).output();
        assert_eq!(run.code(), code, "{}", run.stderr);
    }
}

/// The shim reads the runtime's JSON log for the text of an error.
#[test]
fn an_error_of_the_runtime_is_shown() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    let run = containerd.run(&["--rm"], "one", &["/no/such/program"]).output().refused();
    assert!(run.stderr.contains("/no/such/program"), "{}", run.stderr);
}

#[test]
fn a_detached_container_lives_and_ends() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    containerd.run(&["--detach"], "one", &["/bin/sleep", "1000"]).ok();
    let tasks = containerd.ctr(&["tasks", "ls"]).ok();
    assert!(tasks.stdout.contains("RUNNING"), "{}", tasks.stdout);

    let exec = containerd.ctr(&["tasks", "exec", "--exec-id", "e1", "one"]);
    let exec = exec.args(["/bin/sh", "-c", "echo in; exit 5"]).output();
    assert_eq!((exec.text(), exec.code()), ("in", 5), "{}", exec.stderr);
    let ps = containerd.ctr(&["tasks", "ps", "one"]).ok();
    assert_eq!(ps.lines().len(), 2, "{}", ps.stdout);

    containerd.kill_and_delete("one");
    assert_eq!(containerd.ctr(&["containers", "ls", "-q"]).ok().text(), "");
}

#[test]
fn forced_deletion_of_a_running_task() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    containerd.run(&["--detach"], "one", &["/bin/sleep", "1000"]).ok();
    containerd.ctr(&["tasks", "delete", "--force", "one"]).output();
    containerd.ctr(&["containers", "delete", "one"]).ok();
    for cgroup in husk_tests::host::cgroups_named(case.marker()) {
        assert!(!cgroup.ends_with("one"), "{} is left", cgroup.display());
    }
}

#[test]
fn a_terminal() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    let (master, terminal) = Master::open();
    master.resize(30, 90);
    let stream = || Stdio::from(terminal.try_clone().unwrap());
    let mut run = std::process::Command::new("setsid")
        .args(["--ctty", "--wait"])
        .args(containerd.sandbox.prefix())
        .args(["ctr", "--address"])
        .arg(case.path("sock"))
        .args(["--namespace", case.marker(), "run", "--rm", "--tty", "--rootfs", "--runc-binary"])
        .arg(runtime::path())
        .arg(containerd.bundle.rootfs(""))
        .args(["one", "/bin/sh", "-c", "tty; read line; echo \"<$line>\"; exit 9"])
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    master.read_until("/dev/pts/0");
    master.write("typed\r");
    master.read_until("<typed>");
    Process::open(run.id() as i32).wait();
    assert_eq!(run.wait().unwrap().code(), Some(9));
}

/// Pause and resume go through the runtime where it has them.
#[test]
fn pause_and_resume() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    containerd.run(&["--detach"], "one", &["/bin/sleep", "1000"]).ok();
    let help = case.program(runtime::path().to_str().unwrap()).arg("--help").ok();
    if help.stdout.contains("pause") {
        containerd.ctr(&["tasks", "pause", "one"]).ok();
        let tasks = containerd.ctr(&["tasks", "ls"]).ok();
        assert!(tasks.stdout.contains("PAUSED"), "{}", tasks.stdout);
        containerd.ctr(&["tasks", "resume", "one"]).ok();
    }
    containerd.kill_and_delete("one");
}
