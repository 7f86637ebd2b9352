//! containerd or the shim dies: nothing is lost, and nothing is left.

use husk_shim::message::task::{DeleteResponse, Status};
use husk_tests::case::Case;
use husk_tests::event::Process;
use prost::Message;

use crate::daemon::*;

#[test]
fn a_shim_outlives_its_connections() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let pid = shim.create(&bundle, "").unwrap();
    shim.begin(bundle.id(), "").unwrap();
    let address = shim.address.clone();
    drop(shim);
    let shim = Shim::connect(&address);
    let state = shim.state(bundle.id(), "").unwrap();
    assert_eq!((state.pid, state.status), (pid, Status::Running as i32));
    shim.kill(bundle.id(), "", 9).unwrap();
    shim.wait(bundle.id(), "");
    shim.delete(bundle.id(), "").unwrap();
    shim.shut_down();
}

#[test]
fn events_wait_for_containerd() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "exit 9");
    // Nobody listens yet.
    std::fs::rename(case.path("events.sock"), case.path("away.sock")).unwrap();
    let shim = Shim::start(&case, &bundle, &events);
    shim.create(&bundle, "").unwrap();
    shim.begin(bundle.id(), "").unwrap();
    assert_eq!(shim.wait(bundle.id(), ""), 9);
    shim.delete(bundle.id(), "").unwrap();
    std::fs::rename(case.path("away.sock"), case.path("events.sock")).unwrap();
    events.expect(&["create", "start", "exit init 9", "delete 9"]);
    shim.shut_down();
}

#[test]
fn delete_removes_what_a_killed_shim_leaves() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    for started in [false, true] {
        let shim = Shim::start(&case, &bundle, &events);
        let pid = shim.create(&bundle, "").unwrap();
        if started {
            shim.begin(bundle.id(), "").unwrap();
        }
        let container = Process::open(pid as i32);
        let process = Process::open(shim.pid);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(shim.pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        process.wait();
        let mut delete = std::process::Command::new(program());
        delete.args(["-namespace", "test", "-id", bundle.id(), "-bundle"]).arg(bundle.dir());
        let output = delete.arg("delete").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer = DeleteResponse::decode(output.stdout.as_slice()).unwrap();
        assert_eq!((answer.pid, answer.exit_status), (pid, 137));
        container.wait();
        assert!(!shim.address.exists(), "the dead shim's socket is removed");
        assert_nothing_left(&case, &bundle);
    }
}
