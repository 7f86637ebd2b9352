//! Standard streams: FIFOs, files, logging programs, terminals.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use husk_shim::message::Empty;
use husk_shim::message::task::*;
use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::until;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::daemon::*;

fn fifo(case: &Case, name: &str) -> PathBuf {
    let path = case.path(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path
}

/// Opens a FIFO's reading end without waiting for a writer; reads wait.
fn reader(path: &Path) -> fs::File {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    rustix::fs::fcntl_setfl(&fd, OFlags::RDONLY).unwrap();
    fs::File::from(fd)
}

fn finish(shim: Shim, bundle: &Bundle) {
    shim.wait(bundle.id(), "");
    shim.delete(bundle.id(), "").unwrap();
    shim.shut_down();
}

#[test]
fn a_fifo_carries_everything_to_the_end() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "head -c 3000000 /dev/zero; echo done >&2");
    let shim = Shim::start(&case, &bundle, &events);
    let (out, err) = (fifo(&case, "out"), fifo(&case, "err"));
    let (mut out_reader, mut err_reader) = (reader(&out), reader(&err));
    let request = CreateTaskRequest {
        id: bundle.id().to_owned(),
        bundle: bundle.dir().display().to_string(),
        stdout: out.display().to_string(),
        stderr: format!("fifo://{}", err.display()),
        options: Some(options(&bundle)),
        ..CreateTaskRequest::default()
    };
    shim.call::<CreateTaskResponse>("Create", &request).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    let mut bytes = Vec::new();
    out_reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 3_000_000);
    let mut text = String::new();
    err_reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "done\n");
    finish(shim, &bundle);
}

#[test]
fn input_ends_when_it_is_closed() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "cat; exit 6");
    let shim = Shim::start(&case, &bundle, &events);
    let (input, out) = (fifo(&case, "in"), fifo(&case, "out"));
    let mut out_reader = reader(&out);
    // containerd opens both ends, so that it never waits.
    let mut writer = fs::File::options().read(true).write(true).open(&input).unwrap();
    let request = CreateTaskRequest {
        id: bundle.id().to_owned(),
        bundle: bundle.dir().display().to_string(),
        stdin: input.display().to_string(),
        stdout: out.display().to_string(),
        options: Some(options(&bundle)),
        ..CreateTaskRequest::default()
    };
    shim.call::<CreateTaskResponse>("Create", &request).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    writer.write_all(b"one\n").unwrap();
    let mut line = [0; 4];
    out_reader.read_exact(&mut line).unwrap();
    drop(writer);
    // A client has gone, and another one comes: the program's input goes on.
    let mut writer = fs::File::options().write(true).open(&input).unwrap();
    writer.write_all(b"two\n").unwrap();
    out_reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"two\n");
    let id = bundle.id().to_owned();
    let close = CloseIORequest { id, stdin: true, ..CloseIORequest::default() };
    shim.call::<Empty>("CloseIO", &close).unwrap();
    drop(writer);
    assert_eq!(shim.wait(bundle.id(), ""), 6);
    shim.delete(bundle.id(), "").unwrap();
    shim.shut_down();
}

#[test]
fn a_file_is_appended_to() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "echo hello; ls -l /proc/self/fd/1 >&2");
    let shim = Shim::start(&case, &bundle, &events);
    let path = case.path("logs/out.log");
    fs::create_dir(case.path("logs")).unwrap();
    fs::write(&path, "before\n").unwrap();
    shim.create(&bundle, &format!("file://{}", path.display())).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    shim.wait(bundle.id(), "");
    until("the line", || fs::read_to_string(&path).unwrap() == "before\nhello\n");
    finish(shim, &bundle);
}

#[test]
fn a_logging_program_gets_both_streams() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "echo out; echo err >&2");
    let program = case.path("logger");
    let log = case.path("log");
    let script = "#!/bin/sh\nexec 5>&-\n{ cat <&3; cat <&4; echo $CONTAINER_NAMESPACE $1 $2; } \
                  >$2.part\nmv $2.part $2\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let shim = Shim::start(&case, &bundle, &events);
    let uri = format!("binary://{}?--to={}", program.display(), log.display());
    shim.create(&bundle, &uri).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    until("the log", || log.exists());
    let expected = format!("out\nerr\ntest --to {}\n", log.display());
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    finish(shim, &bundle);
    let missing = format!("binary-v2://{}", case.path("none").display());
    let shim = Shim::start(&case, &bundle, &events);
    let failure = shim.create(&bundle, &missing).unwrap_err();
    assert!(failure.message.contains("logging program"), "{}", failure.message);
    shim.shut_down();
}

#[test]
fn a_terminal_is_sized_and_read() {
    let case = Case::new();
    let events = Events::new(&case);
    let mut bundle = bundle(&case, "read x; stty size; echo got $x");
    bundle.set("/process/terminal", true);
    let shim = Shim::start(&case, &bundle, &events);
    let (input, out) = (fifo(&case, "in"), fifo(&case, "out"));
    let mut out_reader = reader(&out);
    let mut writer = fs::File::options().read(true).write(true).open(&input).unwrap();
    let id = bundle.id().to_owned();
    let request = CreateTaskRequest {
        id: id.clone(),
        bundle: bundle.dir().display().to_string(),
        terminal: true,
        stdin: input.display().to_string(),
        stdout: out.display().to_string(),
        options: Some(options(&bundle)),
        ..CreateTaskRequest::default()
    };
    shim.call::<CreateTaskResponse>("Create", &request).unwrap();
    let resize = ResizePtyRequest { id, width: 77, height: 33, ..ResizePtyRequest::default() };
    shim.call::<Empty>("ResizePty", &resize).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    writer.write_all(b"words\n").unwrap();
    let mut text = String::new();
    out_reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("33 77\r\n"), "{text:?}");
    assert!(text.contains("got words\r\n"), "{text:?}");
    finish(shim, &bundle);
}

/// A daemon that an exec leaves behind holds its output open: the client hears of the end.
#[test]
fn what_an_exec_leaves_behind_does_not_hold_its_client() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id();
    shim.create(&bundle, "").unwrap();
    shim.begin(id, "").unwrap();
    let out = fifo(&case, "out");
    let mut out_reader = reader(&out);
    let script = "echo mine; sleep 1000 &";
    let mut request = exec_request(id, "e", &["/bin/sh", "-c", script]);
    request.stdout = out.display().to_string();
    shim.call::<Empty>("Exec", &request).unwrap();
    let before = Instant::now();
    shim.begin(id, "e").unwrap();
    let mut text = String::new();
    out_reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine\n");
    shim.wait(id, "e");
    shim.delete(id, "e").unwrap();
    assert!(before.elapsed() < Duration::from_secs(500));
    shim.kill(id, "", 9).unwrap();
    finish(shim, &bundle);
}

/// A reader that has stopped costs no memory, and nobody else's time.
#[test]
fn a_stopped_reader_holds_its_own_container_alone() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "yes > /dev/stdout");
    let shim = Shim::start(&case, &bundle, &events);
    let out = fifo(&case, "out");
    let mut held = reader(&out);
    shim.create(&bundle, &out.display().to_string()).unwrap();
    shim.begin(bundle.id(), "").unwrap();
    let mut some = [0; 100_000];
    held.read_exact(&mut some).unwrap();
    let dirty = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Private_Dirty")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(shim.state(bundle.id(), "").unwrap().status, Status::Running as i32);
    assert!(dirty(shim.pid) < 1024, "{} kB", dirty(shim.pid));
    shim.kill(bundle.id(), "", 9).unwrap();
    shim.wait(bundle.id(), "");
    // What was written before the end is there, and then comes the end.
    let mut rest = Vec::new();
    held.read_to_end(&mut rest).unwrap();
    shim.delete(bundle.id(), "").unwrap();
    shim.shut_down();
}
