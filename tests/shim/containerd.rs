//! containerd itself, with this shim as its runtime.

use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::until;
use husk_tests::invocation::{Invocation, Running};
use husk_tests::sandbox::Sandbox;

use crate::daemon::program;

struct Containerd<'a> {
    case: &'a Case,
    bundle: Bundle,
    // Dropped first: containerd ends before its namespaces do.
    daemon: Option<Running>,
    sandbox: Sandbox<'a>,
}

impl<'a> Containerd<'a> {
    /// `None`, and a reason, where containerd is not installed.
    fn new(case: &'a Case) -> Option<Self> {
        for needed in ["containerd", "ctr", "nsenter"] {
            let path = std::env::var_os("PATH").unwrap_or_default();
            if !std::env::split_paths(&path).any(|directory| directory.join(needed).is_file()) {
                // Not eprintln: the test harness would swallow it.
                let _ = std::io::Write::write_fmt(
                    &mut std::io::stderr(),
                    format_args!("skipped: no {needed} on this host (Debian package containerd)\n"),
                );
                return None;
            }
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
        let mut containerd = Self { case, bundle: case.bundle(), daemon: None, sandbox };
        containerd.restart();
        Some(containerd)
    }

    /// Ends containerd with SIGKILL, if it runs, and starts it.
    fn restart(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(rustix::process::Signal::KILL);
            daemon.wait();
        }
        let program = self.sandbox.program("containerd");
        let daemon = program.arg("--config").arg(self.case.path("config.toml")).spawn();
        self.daemon = Some(daemon);
        until("an answer of containerd", || self.ctr(&["version"]).output().status.success());
    }

    fn ctr(&self, args: &[&str]) -> Invocation {
        self.sandbox
            .program("ctr")
            .arg("--address")
            .arg(self.case.path("sock"))
            .args(["--namespace", self.case.marker()])
            .args(args)
    }

    /// `run` on the bundle's rootfs with this shim, by its path.
    fn run(&self, flags: &[&str], id: &str, command: &[&str]) -> Invocation {
        self.ctr(&["run", "--rootfs", "--runtime"])
            .arg(program())
            .args(flags)
            .arg(self.bundle.rootfs(""))
            .arg(id)
            .args(command)
    }
}

#[test]
fn run_exec_pause_kill() {
    let case = Case::new();
    let Some(containerd) = Containerd::new(&case) else { return };
    let run = containerd.run(&["--rm"], "one", &["/bin/sh", "-c", "echo hello; exit 7"]).output();
    assert_eq!((run.text(), run.code()), ("hello", 7), "{}", run.stderr);
    containerd.run(&["--detach"], "two", &["/bin/sleep", "1000"]).ok();
    let exec = containerd.ctr(&["tasks", "exec", "--exec-id", "e1", "two"]);
    let exec = exec.args(["/bin/sh", "-c", "echo in; exit 5"]).output();
    assert_eq!((exec.text(), exec.code()), ("in", 5), "{}", exec.stderr);
    containerd.ctr(&["tasks", "pause", "two"]).ok();
    assert!(containerd.ctr(&["tasks", "ls"]).ok().stdout.contains("PAUSED"));
    containerd.ctr(&["tasks", "resume", "two"]).ok();
    let metrics = containerd.ctr(&["tasks", "metrics", "two"]).ok();
    assert!(metrics.stdout.contains("memory") || metrics.stdout.contains("pids"));
    containerd.ctr(&["tasks", "delete", "--force", "two"]).output();
    containerd.ctr(&["containers", "delete", "two"]).ok();
}

/// A task goes on while containerd is away, and one that ends meanwhile is known to have ended.
#[test]
fn containerd_is_killed_and_comes_back() {
    let case = Case::new();
    let Some(mut containerd) = Containerd::new(&case) else { return };
    containerd.run(&["--detach"], "stays", &["/bin/sleep", "1000"]).ok();
    containerd.run(&["--detach"], "ends", &["/bin/sh", "-c", "sleep 0.2; exit 9"]).ok();
    containerd.restart();
    let listed = || containerd.ctr(&["tasks", "ls"]).ok().stdout;
    let line = |id: &str| {
        listed().lines().find(|line| line.starts_with(id)).unwrap_or_default().to_owned()
    };
    assert!(line("stays").contains("RUNNING"), "{}", listed());
    until("the end of the task", || line("ends").contains("STOPPED"));
    let deleted = containerd.ctr(&["tasks", "delete", "ends"]).output();
    assert!(deleted.stderr.contains('9'), "{}", deleted.stderr);
    containerd.ctr(&["tasks", "delete", "--force", "stays"]).output();
    for id in ["stays", "ends"] {
        containerd.ctr(&["containers", "delete", id]).ok();
    }
}
