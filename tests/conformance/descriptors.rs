//! What a caller hands to a container and gets from the runtime: descriptors,
//! pid files, sockets of service managers.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::console::DescriptorSocket;
use husk_tests::event::{LIMIT, readable};
use husk_tests::invocation::Invocation;
use husk_tests::runtime;
use serde_json::json;

/// The runtime called with /a on descriptor 3, /b on 4 and /c on 5.
fn with_descriptors(case: &Case, bundle: &Bundle, before: &str, flags: &[&str]) -> Invocation {
    bundle.write();
    for name in ["a", "b", "c"] {
        fs::write(case.path(name), format!("{name}\n")).unwrap();
    }
    let dir = case.dir().display();
    let script = format!("{before} exec \"$@\" 3<{dir}/a 4<{dir}/b 5<{dir}/c");
    case.program("/bin/sh")
        .args(["-c", &script, "sh"])
        .arg(runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .args(flags)
        .arg(bundle.id())
}

/// command line, `--preserve-fds N`: descriptors 3 to 2 + N, at their numbers.
#[test]
fn preserve_fds_passes_descriptors() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("cat <&3; cat <&4; test -e /proc/$$/fd/5 || echo closed");
    let run = with_descriptors(&case, &bundle, "", &["--preserve-fds", "2"]).ok();
    assert_eq!(run.stdout, "a\nb\nclosed\n");
}

/// command line, `--preserve-fds`: one that is not open is an error.
#[test]
fn preserve_fds_of_a_closed_descriptor_is_an_error() {
    let case = Case::new();
    let bundle = case.bundle();
    with_descriptors(&case, &bundle, "", &["--preserve-fds", "9"]).output().refused();
    case.assert_nothing_left();
}

/// sd_listen_fds(3): LISTEN_FDS descriptors are passed, and the variables are
/// those of the new process.
#[test]
fn listen_fds_are_passed() {
    let case = Case::new();
    let mut bundle = case.bundle();
    // Variables of the configuration's own do not stand in the way.
    bundle.set("/process/env/-", "LISTEN_FDS=7").set("/process/env/-", "LISTEN_PID=8");
    bundle.shell("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4; env | grep -c LISTEN_");
    let before = "LISTEN_FDS=2 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID;";
    let run = with_descriptors(&case, &bundle, before, &[]).ok();
    assert_eq!(run.stdout, "2 1\na\nb\n2\n");
}

/// sd_notify(3): readiness inside reaches the caller's NOTIFY_SOCKET.
#[test]
fn notify_socket_is_forwarded() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let socket = UnixDatagram::bind(case.path("notify")).unwrap();
    case.give(&case.path("notify"));
    bundle.shell("/bin/probe notify READY=1 && exec sleep 1000");
    bundle.write();
    case.runtime()
        .env("NOTIFY_SOCKET", case.path("notify"))
        .args(["create", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .ok();
    // A service manager's runtime waits at start until the program is ready.
    let start = case.on("start", bundle.id()).env("NOTIFY_SOCKET", case.path("notify")).spawn();
    let mut text = String::new();
    while !text.contains("READY=1") {
        assert!(readable(&socket, LIMIT), "no READY=1 came, only {text:?}");
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    start.wait().ok();
}

/// command line, `--pid-file`: the main process as the host sees it.
#[test]
fn the_pid_file_has_the_main_process() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let said = case.fifo(&bundle, "said");
    bundle.shell("echo ready >/said; read x <>/never");
    let container = case.start(&bundle);
    assert_eq!(said.line(), "ready");
    assert_eq!(container.state()["pid"], container.pid());
    assert!(container.proc("cmdline").starts_with("/bin/sh\0-c\0"));
    let text = fs::read_to_string(case.path(&format!("{}.pid", bundle.id()))).unwrap();
    assert_eq!(text, container.pid().to_string(), "digits alone");
}

/// The command line of an `exec --detach` that has said it runs.
fn exec_waiting(case: &Case, flags: &[&str]) -> impl Fn(&str) -> String + use<> {
    let (bundle, container) = case.sleeper();
    let said = case.fifo(&bundle, "said");
    let script = "echo ready >/said; read exec_waits <>/never";
    container.exec(flags, &["/bin/sh", "-c", script]).ok();
    assert_eq!(said.line(), "ready");
    |pid| fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap()
}

/// command line, `exec --pid-file`.
#[test]
fn exec_writes_a_pid_file() {
    let case = Case::new();
    let file = case.path("exec.pid");
    let command = exec_waiting(&case, &["--detach", "--pid-file", path_text(&file)]);
    assert!(command(&fs::read_to_string(&file).unwrap()).contains("exec_waits"));
}

/// command line, `--pid-file`: no number stays of a process that could not execute its program.
#[test]
fn no_pid_file_stays_of_a_failed_start() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let (other, container) = case.sleeper();
    for path in [bundle.rootfs("bin/garbage"), other.rootfs("bin/garbage")] {
        // Executable as far as can be told without execve(2).
        fs::write(&path, "\x7fELF, but no more").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let file = case.path("failed.pid");
    let flags = ["--pid-file", path_text(&file)];
    container.exec(&flags, &["/bin/garbage"]).output().refused();
    assert!(!file.exists(), "of exec");
    bundle.args(["/bin/garbage"]);
    case.running(&bundle, &flags).output().refused();
    assert!(!file.exists(), "of run");
    bundle.args(["/bin/sleep", "1000"]);
    bundle.set("/hooks/poststart", json!([{ "path": "/bin/false" }]));
    case.running(&bundle, &flags).output().refused();
    assert!(!file.exists(), "of run with a hook that fails");
}

/// command line, `--pidfd-socket`: a pidfd of the main process. (runc 1.2)
#[test]
fn the_pidfd_socket_gets_a_pidfd() {
    let case = Case::new();
    let bundle = case.bundle();
    let socket = DescriptorSocket::listen(&case.path("pidfd"));
    let container = case.create_with(&bundle, &["--pidfd-socket", path_text(socket.path())]);
    let pidfd = socket.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    assert!(info.lines().any(|l| l == format!("Pid:\t{}", container.pid())), "{info}");
}

/// command line, `exec --pidfd-socket`. (runc 1.2)
#[test]
fn exec_sends_a_pidfd() {
    let case = Case::new();
    let socket = DescriptorSocket::listen(&case.path("pidfd"));
    let flags = ["--detach", "--pidfd-socket", path_text(socket.path())];
    let command = exec_waiting(&case, &flags);
    let pidfd = socket.receive();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid:\t")).unwrap();
    assert!(command(pid).contains("exec_waits"));
}

/// command line, `--no-new-keyring`: without it the program has a session
/// keyring of its own (keyrings(7)).
#[test]
fn the_program_has_a_session_keyring_of_its_own() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/cat", "/proc/keys"]);
    // runc puts `_ses.` before the id, crun does not.
    let printed = case.print(&bundle);
    assert!(printed.contains(bundle.id()), "{printed}");
    let mut bundle = case.bundle();
    bundle.args(["/bin/cat", "/proc/keys"]);
    let printed = case.running(&bundle, &["--no-new-keyring"]).ok().stdout;
    assert!(!printed.contains(bundle.id()), "{printed}");
}

/// What is opened here for a log is not the caller's to be passed on.
#[test]
fn a_log_is_not_a_preserved_descriptor() {
    if runtime::name() != "husk-oci" {
        return;
    }
    let case = Case::new();
    let bundle = case.bundle();
    bundle.write();
    let log = case.path("log");
    let run = case.runtime().args(["--log", path_text(&log), "run", "--preserve-fds", "1"]);
    let run = run.arg("--bundle").arg(bundle.dir()).arg(bundle.id()).output();
    run.refused_in_one_line(&["--preserve-fds", "descriptor 3 is not open"]);
}

/// The same for a process of `exec`: the caller's keys are not the container's.
#[test]
fn a_process_of_exec_has_the_session_keyring_of_its_container() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let printed = container.exec(&[], &["/bin/cat", "/proc/keys"]).ok().stdout;
    assert!(printed.contains(container.id()), "{printed}");
}
