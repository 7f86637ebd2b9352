//! Exec sessions: what stands between a caller and a container, how a session ends, and what
//! others can see of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use husk_engine::container::Container;
use husk_engine::exec::{self, ExecRequest, ExecStart, ExecStatus};
use husk_engine::home::Home;
use husk_engine::monitor::protocol::{Attachment, Event};
use support::{Engine, engine, wait_for};

const RUN: [&str; 6] = ["run", "-d", "--network", "none", "--name", "box"];

fn with_sleeper(engine: &Engine) {
    engine.ok(&[&RUN[..], &["bb", "sleep", "600"]].concat());
}

fn opened(engine: &Engine) -> Container {
    let home = Home { root: engine.path("root"), run: engine.path("run") };
    Container::find(&home, "box").unwrap()
}

/// What arrives until the end, and the exit status.
fn rest(attachment: &Attachment) -> (String, i32) {
    let mut output = Vec::new();
    loop {
        match attachment.receive().unwrap().expect("an exit status") {
            Event::Stdout(data) | Event::Stderr(data) => output.extend(data),
            Event::Exited(code) => return (String::from_utf8(output).unwrap(), code),
            _ => {}
        }
    }
}

/// H1: a file of the host is in no container's reach, whatever it is to the caller.
#[test]
fn the_callers_files_stay_outside() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let path = engine.path("file");
    let reset = |mode| {
        std::fs::write(&path, "earlier\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let content = || std::fs::read_to_string(&path).unwrap();
    let reading = || Stdio::from(File::open(&path).unwrap());
    let appending = || Stdio::from(OpenOptions::new().append(true).open(&path).unwrap());

    reset(0o400);
    let script = "echo taken > /proc/self/fd/0; exit 0";
    for flags in [&["exec", "-i"][..], &["exec", "-d", "-i"], &["exec"], &["exec", "-d"]] {
        let mut command = engine.command(&[flags, &["box", "sh", "-c", script]].concat());
        assert!(command.stdin(reading()).status().unwrap().success());
        assert_eq!(content(), "earlier\n", "{flags:?}");
    }
    // Its lines are appended, as the caller asked, and what was there is out of reach.
    for (redirected, stderr) in [("/proc/self/fd/1", false), ("/proc/self/fd/2", true)] {
        reset(0o600);
        let script =
            format!("echo first > {redirected}; : > {redirected}; echo last > {redirected}");
        let mut command = engine.command(&["exec", "box", "sh", "-c", &script]);
        match stderr {
            true => command.stderr(appending()).stdout(Stdio::null()),
            false => command.stdout(appending()),
        };
        assert!(command.status().unwrap().success());
        assert_eq!(content(), "earlier\nfirst\nlast\n", "{redirected}");
    }
    // A descriptor that is open beside the standard ones does not come along either.
    let listed = engine.shell(&["exec", "box", "ls", "/proc/self/fd"], "\"$@\" 7</etc/passwd");
    assert_eq!(listed.out, "0\n1\n2\n3\n", "3 is the directory: {listed:?}");
    // What the program has in place of them is a pipe, and the container's own null device.
    let script = "stat -L -c %F /proc/self/fd/1 /proc/self/fd/2; \
                  [ /proc/self/fd/0 -ef /dev/null ] && echo own";
    let busybox = ["exec", "box", "/bin/busybox", "sh", "-c", script];
    assert_eq!(engine.ok(&busybox), "fifo\nfifo\nown");
    let run = ["run", "--rm", "--network", "none", "bb", "sh", "-c"];
    let own = engine.ok(&[&run[..], &["[ /proc/self/fd/0 -ef /dev/null ] && echo own"]].concat());
    assert_eq!(own, "own", "also of the container's first program");
    // A container that has another file there gets no hold of the host's.
    engine.ok(&["exec", "box", "sh", "-c", "rm /dev/null && echo x > /dev/null"]);
    assert_eq!(
        engine.ok(&["exec", "box", "sh", "-c", "[ -p /dev/fd/0 ] && cat && echo end"]),
        "end"
    );
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn streams_of_any_user_can_be_opened_again() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let script = "echo out > /dev/stdout; echo err > /dev/stderr";
    let done = engine.run(&["exec", "-u", "1000", "box", "sh", "-c", script]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "out\n", "err\n"));
    engine.ok(&["rm", "-f", "box"]);
}

#[test]
fn the_end_of_the_program_is_the_end_of_exec() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let begin = Instant::now();
    let script = "sleep 60 & dd if=/dev/zero bs=1k count=500 2>/dev/null; echo; echo up; exit 4";
    let done = engine.run(&["exec", "box", "sh", "-c", script]);
    assert!(begin.elapsed() < Duration::from_secs(30), "it waits for what is left behind");
    assert_eq!((done.code, done.out.len()), (4, 500 * 1024 + 4), "all that the program wrote");
    // What runs in the background as a whole outlives the command.
    engine.ok(&["exec", "-d", "box", "sh", "-c", "echo made > /mark; sleep 600"]);
    wait_for("the mark", || engine.run(&["exec", "box", "cat", "/mark"]).out == "made\n");
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn input_arrives_whole_and_ends() {
    let engine = engine!(new);
    with_sleeper(&engine);
    for size in [0, 1, 3_000_000] {
        let mut command = engine.command(&["exec", "-i", "box", "cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // In a thread: the program's output has to be read before it reads all.
        let writer = std::thread::spawn(move || stdin.write_all(&vec![b'x'; size]).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), size));
    }
    engine.ok(&["rm", "-f", "box"]);
}

#[test]
fn exit_codes() {
    let engine = engine!(new);
    let code = |arguments: &[&str]| engine.run(arguments).code;
    assert_eq!(code(&["exec", "nosuch", "true"]), 1);
    with_sleeper(&engine);
    assert_eq!(code(&["exec", "box", "sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["exec", "box", "sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["exec", "box", "nosuch"]), 127);
    assert_eq!(code(&["exec", "box", "/etc/passwd"]), 126);
    let user = engine.run(&["exec", "-u", "nobody-known", "box", "true"]);
    assert_eq!((user.code, user.err.lines().count()), (1, 1), "{user:?}");
    engine.ok(&["pause", "box"]);
    let paused = engine.run(&["exec", "box", "true"]);
    assert_eq!(paused.code, 1, "{paused:?}");
    assert!(paused.err.contains("unpause it first"), "{paused:?}");
    engine.ok(&["unpause", "box"]);
    engine.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(code(&["exec", "box", "true"]), 1);
    engine.ok(&["rm", "box"]);
    engine.assert_nothing_left();
}

/// Sessions are the container's, not those of the process that made them.
#[test]
fn a_session_outlives_who_asked_for_it() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let container = opened(&engine);
    let args = ["sh", "-c", "read line; echo got $line; exit 3"].map(str::to_owned).to_vec();
    let request = ExecRequest { args, stdin: true, ..ExecRequest::default() };
    let id = exec::create(&container, &request).unwrap();
    let status = || exec::inspect(&container, &id).unwrap();
    assert_eq!((status().status, status().exit_code), (ExecStatus::Created, None));
    // Its creator starts it and goes away.
    drop(exec::start(&container, &id, &ExecStart::default(), &mut |_| {}).unwrap());
    assert_eq!((status().status, status().exit_code), (ExecStatus::Running, None));
    assert!(status().pid > 0);
    let again = exec::start(&container, &id, &ExecStart::default(), &mut |_| {}).unwrap_err();
    assert!(again.to_string().contains("started before"), "{again}");
    // Two others attach; one of them types.
    let silent = exec::attach(&container, &id, false).unwrap();
    let typing = exec::attach(&container, &id, true).unwrap();
    typing.send(&husk_engine::monitor::protocol::Request::Input(b"it\n".to_vec())).unwrap();
    assert_eq!(rest(&typing), ("got it\n".to_owned(), 3));
    assert_eq!(rest(&silent), ("got it\n".to_owned(), 3));
    assert_eq!((status().status, status().exit_code), (ExecStatus::Exited, Some(3)));
    // Who comes late is told.
    assert_eq!(rest(&exec::attach(&container, &id, false).unwrap()), (String::new(), 3));
    assert_eq!(exec::list(&container).unwrap().len(), 1);
    assert!(exec::inspect(&container, "../state").is_err());
    // Neither arguments nor environment are left on disk for a session that has run.
    assert!(
        !engine
            .path("run")
            .join(format!("containers/{}/exec/{id}.process", container.id()))
            .exists()
    );
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn a_terminal_has_its_size_from_the_beginning() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let container = opened(&engine);
    let args = ["/bin/busybox", "sh", "-c", "busybox stty size; read x; busybox stty size"];
    let args = args.map(str::to_owned).to_vec();
    let request = ExecRequest { args, tty: true, stdin: true, ..ExecRequest::default() };
    let id = exec::create(&container, &request).unwrap();
    let start = ExecStart { attach: true, stdin: true, size: Some((33, 77)) };
    let attachment = exec::start(&container, &id, &start, &mut |_| {}).unwrap();
    let mut first = String::new();
    while !first.contains("33 77") {
        match attachment.receive().unwrap() {
            Some(Event::Stdout(data)) => first.push_str(&String::from_utf8(data).unwrap()),
            other => panic!("{other:?} after {first:?}"),
        }
    }
    exec::resize(&container, &id, 20, 40).unwrap();
    // By another connection, which is not ordered with this one.
    std::thread::sleep(Duration::from_millis(200));
    attachment.send(&husk_engine::monitor::protocol::Request::Input(b"\n".to_vec())).unwrap();
    let (output, code) = rest(&attachment);
    assert!(output.contains("20 40") && code == 0, "{output:?} {code}");
    engine.ok(&["rm", "-f", "box"]);
}

#[test]
fn sessions_end_with_their_container() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let running = engine.command(&["exec", "box", "sleep", "600"]).spawn().unwrap();
    wait_for("the session", || engine.ok(&["top", "box"]).matches("sleep 600").count() == 2);
    engine.ok(&["kill", "box"]);
    assert_eq!(running.wait_with_output().unwrap().status.code(), Some(137));
    engine.ok(&["rm", "box"]);
    engine.assert_nothing_left();
}

#[test]
fn without_its_monitor_a_container_says_so() {
    let engine = engine!(new);
    with_sleeper(&engine);
    let monitor = engine.inspect("box", "{{.State.MonitorPid}}");
    engine.beside(&format!("kill -9 {monitor}"));
    let done = engine.run(&["exec", "box", "true"]);
    assert_eq!((done.code, done.err.lines().count()), (1, 1), "{done:?}");
    assert!(done.err.contains("restart the container"), "{done:?}");
    engine.ok(&["restart", "-t", "0", "box"]);
    engine.ok(&["exec", "box", "true"]);
    engine.ok(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}
