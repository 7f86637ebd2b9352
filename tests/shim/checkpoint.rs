//! Checkpoint, and a task that is made of one.

use std::fs;
use std::io::Write as _;

use husk_shim::message::task::{CheckpointTaskRequest, CreateTaskRequest, CreateTaskResponse};
use husk_shim::message::{Any, Empty, options::CheckpointOptions};
use husk_tests::case::Case;
use husk_tests::event::until;
use prost::Message as _;

use crate::daemon::{Events, Shim, assert_nothing_left, bundle, options};

/// Whether CRIU works here; says so where it does not.
fn has_criu() -> bool {
    let program = std::env::var_os("CRIU").unwrap_or_else(|| "criu".into());
    let checked = std::process::Command::new(program).arg("check").output();
    let works = checked.is_ok_and(|output| output.status.success());
    if !works {
        let _ =
            writeln!(std::io::stderr(), "skipped: no criu here that `criu check` is content with");
    }
    works
}

#[test]
fn a_task_is_checkpointed_and_restored() {
    if !has_criu() {
        return;
    }
    let case = Case::new();
    let events = Events::new(&case);
    let script =
        "i=0; while :; do i=$((i+1)); echo $i >/tmp/next; mv /tmp/next /tmp/n; sleep 0.02; done";
    let bundle = bundle(&case, script);
    let count = || -> u64 {
        let text = fs::read_to_string(bundle.rootfs("tmp/n")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let id = bundle.id().to_owned();
    let shim = Shim::start(&case, &bundle, &events);
    shim.create(&bundle, "").unwrap();
    shim.begin(&id, "").unwrap();
    until("the program runs", || count() > 3);
    let images = case.path("images").display().to_string();
    let checkpoint = |exit: bool| {
        let asked = CheckpointOptions { exit, ..CheckpointOptions::default() };
        let options = Any {
            type_url: "containerd.runc.v1.CheckpointOptions".to_owned(),
            value: asked.encode_to_vec(),
        };
        let path = images.clone();
        CheckpointTaskRequest { id: id.clone(), path, options: Some(options) }
    };
    let nowhere = CheckpointTaskRequest { id: id.clone(), ..CheckpointTaskRequest::default() };
    assert!(shim.call::<Empty>("Checkpoint", &nowhere).unwrap_err().message.contains("path"));
    shim.call::<Empty>("Checkpoint", &checkpoint(false)).unwrap();
    let before = count();
    until("the program goes on", || count() > before);
    fs::remove_dir_all(&images).unwrap();
    shim.call::<Empty>("Checkpoint", &checkpoint(true)).unwrap();
    assert_eq!(shim.wait(&id, ""), 137);
    shim.delete(&id, "").unwrap();
    assert_nothing_left(&case, &bundle);
    let stopped = count();
    let request = |checkpoint: &str| CreateTaskRequest {
        id: id.clone(),
        bundle: bundle.dir().display().to_string(),
        checkpoint: checkpoint.to_owned(),
        options: Some(options(&bundle)),
        ..CreateTaskRequest::default()
    };
    // What is no checkpoint fails at the start, and is deleted as any other.
    let none = case.directory("none").display().to_string();
    shim.call::<CreateTaskResponse>("Create", &request(&none)).unwrap();
    let failure = shim.begin(&id, "").unwrap_err();
    assert!(failure.message.contains("not a checkpoint"), "{}", failure.message);
    shim.delete(&id, "").unwrap();
    assert_nothing_left(&case, &bundle);
    assert_eq!(shim.call::<CreateTaskResponse>("Create", &request(&images)).unwrap().pid, 0);
    assert!(shim.begin(&id, "").unwrap() > 0);
    until("the program goes on", || count() > stopped);
    assert!(count() < stopped + 1000, "it has begun anew");
    shim.exec(&id, "e", &["/bin/true"]).unwrap();
    shim.begin(&id, "e").unwrap();
    assert_eq!(shim.wait(&id, "e"), 0);
    shim.delete(&id, "e").unwrap();
    shim.kill(&id, "", 9).unwrap();
    assert_eq!(shim.wait(&id, ""), 137);
    shim.delete(&id, "").unwrap();
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}
