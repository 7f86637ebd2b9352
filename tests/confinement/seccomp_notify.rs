//! A filter that notifies: an agent gets the listener and the container's state
//! over `listenerPath`, and its answer counts (config-linux.md, "The Container
//! Process State").

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread;

use husk_sys::seccomp;
use husk_tests::case::Case;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

const EXDEV: i32 = 18;

/// Receives one container process state, and the descriptor that comes with it.
fn accept(listener: &UnixListener) -> (Value, OwnedFd) {
    let (stream, _) = listener.accept().unwrap();
    let mut text = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .unwrap();
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (serde_json::from_slice(&text[..received.bytes]).unwrap(), descriptor.unwrap())
}

/// With and without no_new_privs the filter is loaded at different steps.
fn an_agent_answers(no_new_privileges: bool) {
    let case = Case::new();
    let mut bundle = case.bundle();
    let socket = case.path("agent");
    bundle.set("/process/noNewPrivileges", no_new_privileges);
    bundle.set("/annotations", json!({ "who": "test" }));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": socket,
            "listenerMetadata": "for the agent",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    bundle.shell("mkdir /tmp/refused; mkdir /tmp/passed && echo made");
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = thread::spawn(move || {
        let (state, descriptor) = accept(&listener);
        let first = seccomp::receive(descriptor.as_fd()).unwrap();
        seccomp::refuse(descriptor.as_fd(), first.id, EXDEV).unwrap();
        let second = seccomp::receive(descriptor.as_fd()).unwrap();
        seccomp::let_pass(descriptor.as_fd(), second.id).unwrap();
        state
    });
    let run = case.run(&bundle);
    assert_eq!(run.stdout, "made\n", "{}", run.stderr);
    assert!(run.stderr.to_lowercase().contains("cross-device"), "{}", run.stderr);
    let state = agent.join().unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "for the agent");
    assert_eq!(state["state"]["id"], bundle.id());
    assert_eq!(state["state"]["annotations"]["who"], "test");
    assert_eq!(state["pid"], state["state"]["pid"]);
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert!(!bundle.rootfs("tmp/refused").exists() && bundle.rootfs("tmp/passed").is_dir());
    case.assert_nothing_left();
}

#[test]
fn an_agent_answers_with_no_new_privs() {
    an_agent_answers(true);
}

#[test]
fn an_agent_answers_without_no_new_privs() {
    an_agent_answers(false);
}

/// The process of `exec` is cloned last: the agent is told of that one, and is not asked for the
/// clone, though the filter of a process without no_new_privs is in force by then.
fn an_agent_answers_for_exec(no_new_privileges: bool) {
    let case = Case::new();
    let mut bundle = case.bundle();
    let socket = case.path("agent");
    bundle.set("/process/noNewPrivileges", no_new_privileges);
    let names = ["clone", "clone3", "setsid", "mkdir", "mkdirat"];
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": socket,
            "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }],
        }),
    );
    bundle.args(["/bin/sleep", "1000"]);
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = thread::spawn(move || {
        let first = accept(&listener);
        let (state, descriptor) = accept(&listener);
        let mut asked = 0;
        loop {
            let call = seccomp::receive(descriptor.as_fd()).unwrap();
            asked += 1;
            if call.number == number_of_setsid() {
                seccomp::let_pass(descriptor.as_fd(), call.id).unwrap();
                continue;
            }
            seccomp::refuse(descriptor.as_fd(), call.id, EXDEV).unwrap();
            return (first, state, asked);
        }
    });
    let container = case.start(&bundle);
    let pid_file = case.path("exec.pid");
    let flags = ["--pid-file", pid_file.to_str().unwrap()];
    let exec = container.exec(&flags, &["/bin/mkdir", "/tmp/refused"]).output();
    assert_eq!(exec.code(), 1, "{}", exec.stderr);
    assert!(exec.stderr.to_lowercase().contains("cross-device"), "{}", exec.stderr);
    let (_first, state, asked) = agent.join().unwrap();
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(state["pid"].to_string(), pid.trim());
    assert_eq!(state["state"]["pid"], state["pid"]);
    assert!(asked <= 2, "the agent was asked {asked} times");
}

/// The number of setsid(2).
fn number_of_setsid() -> i32 {
    match std::env::consts::ARCH {
        "x86_64" => 112,
        _ => 157,
    }
}

#[test]
fn an_agent_answers_for_exec_with_no_new_privs() {
    an_agent_answers_for_exec(true);
}

#[test]
fn an_agent_answers_for_exec_without_no_new_privs() {
    an_agent_answers_for_exec(false);
}

#[test]
fn an_agent_that_is_not_there_is_an_error() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let seccomp = |path: &str| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        })
    };
    let file = case.path("file");
    std::fs::write(&file, "no socket").unwrap();
    for path in ["/no/such/agent", file.to_str().unwrap()] {
        bundle.set("/linux/seccomp", seccomp(path));
        case.run(&bundle).refused_in_one_line(&["linux.seccomp.listenerPath", path]);
    }
    bundle.set("/linux/seccomp", seccomp(""));
    case.run(&bundle).refused_in_one_line(&["linux.seccomp.listenerPath"]);
    case.assert_nothing_left();
}
