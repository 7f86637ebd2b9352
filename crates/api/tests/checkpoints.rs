//! Docker's checkpoint endpoints. CRIU is the program that the variable CRIU names, or the one in
//! PATH; where `criu check` says that it cannot work here, only what needs none is tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Server, server};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.02; done";

/// Whether the server, whose PATH is this process's, finds a CRIU that works.
fn criu_works() -> bool {
    Command::new("criu").arg("check").output().is_ok_and(|output| output.status.success())
}

fn count(server: &Server) -> u64 {
    let output = server.husk(&["exec", "job", "sh", "-c", "cat /tmp/n || true"]);
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
}

fn until_above(server: &Server, number: u64) {
    let limit = Instant::now() + Duration::from_secs(60);
    while count(server) <= number {
        assert!(Instant::now() < limit, "the counter does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_is_answered_as_by_docker() {
    let server = server!();
    server.create(
        "job",
        &json!({ "Image": "bb", "Cmd": ["sh", "-c", COUNTER],
        "HostConfig": { "NetworkMode": "none" } }),
    );
    let list = server.get("/containers/job/checkpoints");
    assert_eq!((list.status, list.body.trim()), (200, "[]"));
    assert_eq!(server.get("/containers/nobody/checkpoints").status, 404);
    let create = |body| server.post("/containers/job/checkpoints", &body);
    let stopped = create(json!({ "CheckpointID": "one" }));
    assert_eq!(stopped.status, 409, "{}", stopped.body);
    assert!(stopped.message().contains("is not running"), "{}", stopped.body);
    let remove = server.request("DELETE", "/containers/job/checkpoints/one", "");
    assert_eq!(remove.status, 404, "{}", remove.body);
    for path in ["start?checkpoint=one", "start?checkpoint=one&checkpoint-dir=/nonexistent"] {
        let start = server.request("POST", &format!("/containers/job/{path}"), "");
        assert_eq!(start.status, 404, "{path}: {}", start.body);
    }
    for path in [
        "start?checkpoint-dir=/tmp",
        "start?checkpoint=..%2Fx",
        "start?checkpoint=a&checkpoint-dir=b",
    ] {
        let start = server.request("POST", &format!("/containers/job/{path}"), "");
        assert_eq!(start.status, 400, "{path}: {}", start.body);
    }
    let state = server.get("/containers/job/json").json();
    assert_eq!(state["State"]["Status"], "created");
}

#[test]
fn a_container_starts_from_its_checkpoint() {
    let server = server!();
    if !criu_works() {
        return support::skip("no criu that works here");
    }
    server.create(
        "job",
        &json!({ "Image": "bb", "Cmd": ["sh", "-c", COUNTER],
        "HostConfig": { "NetworkMode": "none" } }),
    );
    assert_eq!(server.request("POST", "/containers/job/start", "").status, 204);
    until_above(&server, 3);
    for name in ["../x", "a/b", ""] {
        let refused = server
            .post("/containers/job/checkpoints", &json!({ "CheckpointID": name, "Exit": true }));
        assert_eq!(refused.status, 400, "{name:?}: {}", refused.body);
    }
    let body = json!({ "CheckpointID": "one", "Exit": false });
    let made = server.post("/containers/job/checkpoints", &body);
    assert_eq!((made.status, made.body.as_str()), (201, ""));
    let taken = server.post("/containers/job/checkpoints", &body);
    assert_eq!(taken.status, 409, "{}", taken.body);
    let before = count(&server);
    until_above(&server, before);
    let body = json!({ "CheckpointID": "two", "Exit": true });
    let made = server.post("/containers/job/checkpoints", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let state = server.get("/containers/job/json").json();
    assert_eq!(state["State"]["Status"], "exited");
    let list = server.get("/containers/job/checkpoints").json();
    assert_eq!(list, json!([{ "Name": "one" }, { "Name": "two" }]));
    let start = server.request("POST", "/containers/job/start?checkpoint=two", "");
    assert_eq!((start.status, start.body.as_str()), (204, ""));
    until_above(&server, before);
    assert!(count(&server) < before + 3000, "it has begun anew");
    let remove = server.request("DELETE", "/containers/job/checkpoints/one", "");
    assert_eq!((remove.status, remove.body.as_str()), (204, ""));
    let list = server.get("/containers/job/checkpoints").json();
    assert_eq!(list, json!([{ "Name": "two" }]));
}
