//! config.md, process.terminal and consoleSize; the console socket of runc's
//! command line.

use std::process::Stdio;

use husk_tests::case::{Case, Container, path_text};
use husk_tests::console::{DescriptorSocket, Master};
use husk_tests::runtime;
use serde_json::{Value, json};

fn with_terminal<'a>(
    case: &'a Case,
    bundle: &husk_tests::bundle::Bundle,
) -> (Container<'a>, Master) {
    let socket = DescriptorSocket::listen(&case.path("console"));
    let container = case.create_with(bundle, &["--console-socket", path_text(socket.path())]);
    let master = Master::new(socket.receive());
    (container, master)
}

fn report(master: &Master) -> Value {
    let text = master.read_to_end();
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// config.md, process.terminal: the standard streams are a terminal, whose
/// master goes to the console socket.
#[test]
fn a_terminal_is_on_the_standard_streams() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    let (container, master) = with_terminal(&case, &bundle);
    container.start();
    let report = report(&master);
    for stream in ["0", "1", "2"] {
        let link = report["descriptors"][stream].as_str().unwrap();
        assert!(link.starts_with("/dev/pts/") || link == "/dev/console", "{stream}: {link}");
    }
    assert_eq!(report["descriptors"].as_object().unwrap().len(), 3);
}

/// tty_ioctl(4): it is the controlling terminal of the program's session.
#[test]
fn the_terminal_is_the_controlling_one() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true).shell("echo through >/dev/tty; tty");
    let (container, master) = with_terminal(&case, &bundle);
    container.start();
    let text = master.read_to_end();
    assert!(text.starts_with("through\r\n"), "{text}");
    assert!(text.contains("/dev/"), "{text}");
}

/// config.md, process.terminal: what is typed reaches the program, and ^C is a
/// signal for it.
#[test]
fn the_terminal_works_both_ways() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    // wait: a signal that comes just before it is not slept through, as by read.
    bundle.shell(
        "trap 'echo interrupted; exit 5' INT; echo ready; read line; echo \"<$line>\"
                  while :; do sleep 1000 >/dev/null 2>&1 & wait $!; done",
    );
    let (container, master) = with_terminal(&case, &bundle);
    container.start();
    master.read_until("ready");
    master.write("hello\n");
    master.read_until("<hello>");
    master.write("\u{3}");
    master.read_until("interrupted");
    container.process().wait();
}

/// config-linux.md, Default Devices: /dev/console is that terminal.
#[test]
fn dev_console_is_the_terminal() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    bundle.shell("echo through >/dev/console; stat -L -c %t:%T /dev/console /proc/self/fd/0");
    let (container, master) = with_terminal(&case, &bundle);
    container.start();
    let text = master.read_to_end();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(lines[0], "through");
    assert_eq!(lines[1], lines[2], "{text}");
}

/// config.md, process.consoleSize.
#[test]
fn console_size_is_set() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    bundle.set("/process/consoleSize", json!({ "height": 33, "width": 111 }));
    let (container, master) = with_terminal(&case, &bundle);
    assert_eq!(master.size(), (33, 111));
    container.start();
    let report = report(&master);
    assert_eq!(report["terminal"]["rows"], 33);
    assert_eq!(report["terminal"]["columns"], 111);
}

/// config.md, process.consoleSize: ignored without a terminal.
#[test]
fn console_size_without_a_terminal_is_ignored() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/consoleSize", json!({ "height": 33, "width": 111 }));
    assert_eq!(case.report(&bundle)["terminal"], Value::Null);
}

/// The terminal belongs to the program's user.
#[test]
fn the_terminal_belongs_to_the_user() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    bundle.set("/process/user", json!({ "uid": 1234, "gid": 1234 }));
    bundle.shell("stat -L -c %u /proc/self/fd/0; echo ok >/dev/pts/0 && echo written");
    let (container, master) = with_terminal(&case, &bundle);
    container.start();
    let text = master.read_to_end();
    assert!(text.starts_with("1234\r\n"), "{text}");
    assert!(text.contains("written"), "{text}");
}

/// command line, `create`: a terminal needs somewhere to send its master.
#[test]
fn create_with_a_terminal_needs_a_console_socket() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    case.creating(&bundle, &[]).output().refused();
    case.assert_nothing_left();
}

/// command line, `create`: a console socket without a terminal is a mistake.
#[test]
fn a_console_socket_without_a_terminal_is_an_error() {
    let case = Case::new();
    let bundle = case.bundle();
    let socket = DescriptorSocket::listen(&case.path("console"));
    case.creating(&bundle, &["--console-socket", path_text(socket.path())]).output().refused();
    case.assert_nothing_left();
}

/// command line, `--console-socket`: nobody listens.
#[test]
fn a_dead_console_socket_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    // Bound and closed: the file is there, and nobody behind it.
    drop(DescriptorSocket::listen(&case.path("console")));
    let socket = case.path("console");
    case.creating(&bundle, &["--console-socket", path_text(&socket)]).output().refused();
    case.assert_nothing_left();
}

/// `run` in a session of its own, whose controlling terminal is `terminal`.
fn run_on(
    case: &Case,
    bundle: &husk_tests::bundle::Bundle,
    terminal: std::fs::File,
) -> std::process::Child {
    bundle.write();
    let stream = || Stdio::from(terminal.try_clone().unwrap());
    std::process::Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap()
}

fn exit_code(mut run: std::process::Child) -> Option<i32> {
    husk_tests::event::Process::open(run.id() as i32).wait();
    run.wait().unwrap().code()
}

/// `run` in the foreground joins the caller's terminal to the container's.
#[test]
fn run_joins_the_callers_terminal() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    bundle.shell("echo ready; read line; echo \"<$line>\"; exit 9");
    let (master, terminal) = Master::open();
    let run = run_on(&case, &bundle, terminal);
    master.read_until("ready");
    master.write("typed\r");
    master.read_until("<typed>");
    assert_eq!(exit_code(run), Some(9));
    case.assert_nothing_left();
}

/// `run` in the foreground gives the terminal inside the caller's size, before
/// the program can ask for it.
#[test]
fn run_passes_the_size_on() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true).args(["/bin/stty", "size"]);
    let (master, terminal) = Master::open();
    master.resize(41, 123);
    let run = run_on(&case, &bundle, terminal);
    master.read_until("41 123");
    assert_eq!(exit_code(run), Some(0));
}

/// `run` in the foreground passes a change of the terminal's size on.
#[test]
fn run_passes_a_change_of_size_on() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true);
    bundle.shell("trap 'stty size' WINCH; echo ready; until read line; do :; done; echo done");
    let (master, terminal) = Master::open();
    master.resize(20, 60);
    let run = run_on(&case, &bundle, terminal);
    master.read_until("ready");
    // The kernel sends SIGWINCH to the foreground process group: the runtime.
    master.resize(52, 99);
    master.read_until("52 99");
    master.write("\r");
    master.read_until("done");
    assert_eq!(exit_code(run), Some(0));
    case.assert_nothing_left();
}

/// `exec --tty` with a console socket.
#[test]
fn exec_with_a_terminal() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let socket = DescriptorSocket::listen(&case.path("console"));
    let flags = ["--tty", "--detach", "--console-socket", path_text(socket.path())];
    container.exec(&flags, &["/bin/sh", "-c", "tty; echo through >/dev/tty"]).ok();
    let text = Master::new(socket.receive()).read_to_end();
    assert!(text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("through"), "{text}");
}

/// `exec --process` with consoleSize.
#[test]
fn exec_takes_the_console_size() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let socket = DescriptorSocket::listen(&case.path("console"));
    let process = json!({
        "terminal": true, "consoleSize": { "height": 31, "width": 71 },
        "args": ["/bin/stty", "size"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
    });
    std::fs::write(case.path("process.json"), process.to_string()).unwrap();
    case.runtime()
        .args(["exec", "--detach", "--console-socket", path_text(socket.path()), "--process"])
        .arg(case.path("process.json"))
        .arg(container.id())
        .ok();
    let text = Master::new(socket.receive()).read_to_end();
    assert_eq!(text.trim(), "31 71");
}

/// Where the output goes to a file, a line feed stays one, as with runc: scripts compare it.
#[test]
fn a_line_feed_stays_one_in_the_foreground() {
    if runtime::name() == "crun" {
        return;
    }
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/terminal", true).shell("test -t 1 && echo one && echo two");
    assert_eq!(case.print(&bundle), "one\ntwo\n");
    bundle.set("/process/terminal", false);
    let started = case.fifo(&bundle, "started");
    bundle.shell("echo started >/started; exec sleep 1000");
    let container = case.start(&bundle);
    assert_eq!(started.line(), "started");
    let exec = container.exec(&["--tty"], &["/bin/sh", "-c", "test -t 1 && echo one"]).ok();
    assert_eq!(exec.stdout, "one\n");
}
