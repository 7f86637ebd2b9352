//! podman with `--runtime`.

use std::fs;

use husk_tests::case::Case;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;
use husk_tests::sandbox::Sandbox;

use crate::installed;

const IMAGE: &str = "localhost/husk-test:1";

/// podman with storage, state and configuration of its own.
struct Podman<'a> {
    case: &'a Case,
    sandbox: Sandbox<'a>,
}

impl<'a> Podman<'a> {
    /// None, and a reason, where podman is not installed.
    fn new(case: &'a Case) -> Option<Podman<'a>> {
        let needed = [("podman", "podman"), ("conmon", "conmon"), ("nsenter", "util-linux")];
        if !installed(&needed) {
            return None;
        }
        fs::create_dir(case.path("networks")).unwrap();
        // Limits no higher than the host's: raising them needs
        // CAP_SYS_RESOURCE.
        fs::write(
            case.path("containers.conf"),
            format!(
                "[containers]\n\
                 default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                 log_driver = \"k8s-file\"\n\
                 [engine]\n\
                 events_logger = \"file\"\n\
                 cgroup_manager = \"cgroupfs\"\n\
                 lock_type = \"file\"\n\
                 [network]\n\
                 network_config_dir = \"{}\"\n",
                case.path("networks").display()
            ),
        )
        .unwrap();
        let podman = Podman { case, sandbox: Sandbox::new(case) };
        let rootfs = case.bundle();
        let layer = case.path("layer.tar");
        // busybox is a hard link that other tests make more of meanwhile: tar sees
        // its inode change and says so by status 1, with the archive as it should be.
        let tar = case.program("tar").arg("-C").arg(rootfs.rootfs("")).arg("-cf").arg(&layer);
        let code = tar.arg(".").output().code();
        assert!(code <= 1, "tar: status {code}");
        podman.call(&["import"]).arg(&layer).arg(IMAGE).ok();
        Some(podman)
    }

    fn call(&self, args: &[&str]) -> Invocation {
        let mut call = self
            .sandbox
            .program("podman")
            .env("CONTAINERS_CONF", self.case.path("containers.conf"));
        for (flag, dir) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            call = call.arg(flag).arg(self.case.path(dir));
        }
        call.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .arg("--runtime")
            .arg(runtime::path())
            .args(args)
    }

    /// `run` without a network, with the flags given and the command.
    fn run(&self, flags: &[&str], command: &[&str]) -> Invocation {
        let parent = format!("/{}", self.case.marker());
        self.call(&["run", "--cgroup-parent", &parent]).args(flags).arg(IMAGE).args(command)
    }
}

/// What podman's own defaults ask of a runtime, and what comes out.
#[test]
fn run_prints_and_gives_the_exit_code() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let none = ["--rm", "--network", "none"];
    assert_eq!(podman.run(&none, &["/bin/echo", "hello"]).ok().stdout, "hello\n");
    for code in [1, 7, 255] {
        let run = podman.run(&none, &["/bin/sh", "-c", &format!("exit {code}")]).output();
        assert_eq!(run.code(), code, "{}", run.stderr);
    }
    let run = podman.run(&none, &["/bin/sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
}

/// podman tells a program that is missing from one that is not executable by
/// the runtime's message.
#[test]
fn run_of_no_program_gives_127_and_126() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let none = ["--rm", "--network", "none"];
    for (command, code) in [("/no/such/program", 127), ("no-such-program", 127), ("/etc", 126)] {
        let run = podman.run(&none, &[command]).output();
        assert_eq!(run.code(), code, "{command}: {}", run.stderr);
    }
}

/// run -d, exec, stop, rm: the life of a service.
#[test]
fn a_detached_container_lives_and_ends() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done";
    let flags = ["-d", "--name", "one", "--network", "none"];
    podman.run(&flags, &["/bin/sh", "-c", script]).ok();
    let status =
        |format: &str| podman.call(&["inspect", "--format", format, "one"]).ok().text().to_owned();
    assert_eq!(status("{{.State.Status}}"), "running");

    let exec = podman.call(&["exec", "one", "/bin/sh", "-c", "echo in; exit 5"]).output();
    assert_eq!((exec.text(), exec.code()), ("in", 5), "{}", exec.stderr);
    let exec = podman.call(&["exec", "-u", "7:8", "-w", "/tmp", "-e", "A=b", "one"]);
    let exec = exec.args(["/bin/sh", "-c", "echo $(id -u) $(id -g) $PWD $A"]).ok();
    assert_eq!(exec.text(), "7 8 /tmp b");
    let top = podman.call(&["top", "one", "pid", "comm"]).ok();
    assert!(top.stdout.contains("sh"), "{}", top.stdout);

    podman.call(&["stop", "-t", "30", "one"]).ok();
    assert_eq!(status("{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    assert_eq!(podman.call(&["logs", "one"]).ok().stdout, "up\nbye\n");
    podman.call(&["rm", "one"]).ok();
    assert_eq!(podman.call(&["ps", "-aq"]).ok().text(), "");
}

/// stop of a program that does not listen ends in SIGKILL; kill sends others.
#[test]
fn stop_and_kill_end_a_container() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    for (how, code) in [(&["stop", "-t", "1"][..], 137), (&["kill", "-s", "KILL"], 137)] {
        podman.run(&["-d", "--name", "one", "--network", "none"], &["/bin/sleep", "1000"]).ok();
        podman.call(how).arg("one").ok();
        let wait = podman.call(&["wait", "one"]).ok();
        assert_eq!(wait.text(), code.to_string());
        podman.call(&["rm", "one"]).ok();
    }
    podman.run(&["-d", "--name", "two", "--network", "none"], &["/bin/sleep", "1000"]).ok();
    podman.call(&["rm", "--force", "--time", "0", "two"]).ok();
    assert_eq!(podman.call(&["ps", "-aq"]).ok().text(), "");
}

/// create, start and restart.
#[test]
fn create_start_and_restart() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let parent = format!("/{}", case.marker());
    let create = ["create", "--name", "one", "--network", "none", "--cgroup-parent", &parent];
    podman.call(&create).args([IMAGE, "/bin/sh", "-c", "echo ran; exec sleep 1000"]).ok();
    podman.call(&["start", "one"]).ok();
    podman.call(&["restart", "-t", "0", "one"]).ok();
    let state = podman.call(&["inspect", "--format", "{{.State.Status}}", "one"]).ok();
    assert_eq!(state.text(), "running");
    podman.call(&["rm", "-f", "-t", "0", "one"]).ok();
}

/// run -t and exec -t.
#[test]
fn a_terminal() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let run = podman.run(&["--rm", "-t", "--network", "none"], &["/bin/tty"]).ok();
    assert_eq!(run.stdout, "/dev/pts/0\r\n");
    podman.run(&["-d", "--name", "one", "--network", "none"], &["/bin/sleep", "1000"]).ok();
    let exec = podman.call(&["exec", "-t", "one", "/bin/sh", "-c", "tty; echo x >/dev/tty"]).ok();
    assert!(exec.stdout.starts_with("/dev/pts/"), "{}", exec.stdout);
    assert!(exec.stdout.ends_with("x\r\n"), "{}", exec.stdout);
    podman.call(&["rm", "-f", "-t", "0", "one"]).ok();
}

/// A bridge network without ports: an address, and the gateway answers.
#[test]
fn a_network_without_ports() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    if !std::path::Path::new("/usr/lib/cni/bridge").exists()
        && !std::path::Path::new("/usr/lib/podman/netavark").exists()
    {
        installed(&[("netavark", "containernetworking-plugins or netavark")]);
        return;
    }
    let script = "ip -4 -o addr show eth0; ip route";
    let run = podman.run(&["--rm", "--network", "podman"], &["/bin/sh", "-c", script]).ok();
    assert!(run.stdout.contains("inet 10.88."), "{}", run.stdout);
    assert!(run.stdout.contains("default via 10.88.0.1"), "{}", run.stdout);
}

/// The flags people use most, each seen inside.
#[test]
fn common_flags_take_effect() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    let volume = case.directory("volume");
    fs::write(volume.join("file"), "from the host\n").unwrap();
    let volume = format!("{}:/data:ro", volume.display());
    let flags = [
        "--rm",
        "--network",
        "none",
        "--hostname",
        "husk",
        "--user",
        "7:8",
        "--read-only",
        "--tmpfs",
        "/scratch",
        "-v",
        &volume,
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--workdir",
        "/tmp",
        "--env",
        "KEY=value",
        "--pids-limit",
        "50",
    ];
    let script = "hostname; id -u; cat /data/file; pwd; echo $KEY
                  touch /scratch/x && echo scratch; touch /x 2>/dev/null || echo read-only
                  grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
    let run = podman.run(&flags, &["/bin/sh", "-c", script]).ok();
    assert_eq!(
        run.lines(),
        [
            "husk",
            "7",
            "from the host",
            "/tmp",
            "value",
            "scratch",
            "read-only",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ],
        "{}",
        run.stderr
    );
}

/// Whatever podman was told, nothing of its containers stays.
#[test]
fn nothing_is_left() {
    let case = Case::new();
    let Some(podman) = Podman::new(&case) else { return };
    for number in 0..5 {
        let text = number.to_string();
        let run = podman.run(&["--rm", "--network", "none"], &["/bin/echo", &text]).ok();
        assert_eq!(run.text(), text);
    }
    // Only podman's own parents may be there, and they are empty.
    for cgroup in husk_tests::host::cgroups_named(case.marker()) {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs, "", "{}", cgroup.display());
    }
    let mounts = podman.sandbox.program("cat").arg("/proc/self/mountinfo").ok();
    let storage = case.path("storage").display().to_string();
    let left = mounts.lines().into_iter().filter(|l| l.contains(&storage) && l.contains("merged"));
    assert_eq!(left.count(), 0, "{}", mounts.stdout);
}
