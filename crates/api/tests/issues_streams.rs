//! What others' servers of this API got wrong with streams, waiting, archives and builds, each
//! named after the issue that told of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::{Value, json};
use support::{networked, server};

const NONE: Value = Value::Null;

fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn attach_is_answered_before_anything_is_made() {
    let server = server!();
    let body = json!({ "Image": "bb", "Cmd": ["/nope"], "HostConfig": { "NetworkMode": "none" } });
    server.create("web", &body);
    let mut attached = server.hijack("/containers/web/attach?stream=1&stdout=1&stderr=1", "");
    let mut head = [0; 12];
    attached.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let started = server.post("/containers/web/start", &NONE);
    assert!(started.status >= 400, "{}", started.body);
    // Clients make 127 of these words.
    assert!(started.message().contains("executable file not found"), "{}", started.body);
    rest(&mut attached);
}

/// Also podman#9048, #28514, #28976, #25479.
#[test]
fn podman_18889_waiting_for_what_is_removed() {
    let server = server!();
    for round in 0..10 {
        let name = format!("web{round}");
        let body = json!({
            "Image": "bb", "Cmd": ["sh", "-c", "exit 7"],
            "HostConfig": { "NetworkMode": "none", "AutoRemove": true },
        });
        server.create(&name, &body);
        let condition = if round % 2 == 0 { "removed" } else { "next-exit" };
        let path = format!("/containers/{name}/wait?condition={condition}");
        let mut waiting = server.open("POST", &path, "Connection: close\r\n", "");
        let mut head = [0; 15];
        waiting.read_exact(&mut head).unwrap();
        // By another than this server: it must not be missed.
        if round % 3 == 0 {
            server.husk(&["start", &name]);
        } else {
            server.start(&name);
        }
        assert!(rest(&mut waiting).contains("{\"StatusCode\":7}"), "{round}");
        server.until("/containers/json?all=1", |rows| rows == &json!([]));
    }
}

#[test]
fn podman_12652_conditions_of_waiting() {
    let server = server!();
    server.run("web", &["true"]);
    assert_eq!(server.post("/containers/web/wait", &NONE).status, 200);
    assert_eq!(server.post("/containers/web/wait?condition=not-running", &NONE).status, 200);
    for condition in ["next-exit", "removed"] {
        let path = format!("/containers/web/wait?condition={condition}");
        let mut head = [0; 15];
        server.open("POST", &path, "", "").read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    let unknown = server.post("/containers/web/wait?condition=exited", &NONE);
    assert_eq!(unknown.status, 400, "{}", unknown.body);
}

/// Also podman#28353, #5840, #11020, #8751, #5224.
#[test]
fn podman_7826_leaving_while_streams_are_open() {
    let mut server = server!("--idle-exit", "1");
    server.run("web", &["sleep", "1000"]);
    server.run("short", &["sh", "-c", "sleep 4; exit 5"]);
    let logs = "/containers/short/logs?stdout=1&follow=1";
    let mut following = server.open("GET", logs, "Connection: close\r\n", "");
    let made = server.post("/containers/web/exec", &json!({ "Cmd": ["sh", "-c", "exit 4"] }));
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    server.post(&format!("/exec/{id}/start"), &json!({ "Detach": true }));
    // Longer than the server would stay.
    assert!(rest(&mut following).starts_with("HTTP/1.1 200"));
    assert!(server.ends_within(Duration::from_secs(60)));
    server.kill_and_start();
    assert_eq!(server.get(&format!("/exec/{id}/json")).json()["ExitCode"], 4);
    assert_eq!(server.post("/containers/short/wait", &NONE).json()["StatusCode"], 5);
}

/// Also podman#19696, beszel#1755.
#[test]
fn podman_6628_logs_are_framed_where_their_type_says_so() {
    let server = server!();
    for (name, tty) in [("plain", false), ("terminal", true)] {
        let body = json!({
            "Image": "bb", "Cmd": ["echo", "hello"], "Tty": tty,
            "HostConfig": { "NetworkMode": "none" },
        });
        server.create(name, &body);
        server.start(name);
        server.post(&format!("/containers/{name}/wait"), &NONE);
        let logs = server.get(&format!("/containers/{name}/logs?stdout=1"));
        let kind = if tty { "raw" } else { "multiplexed" };
        assert_eq!(
            logs.header("content-type"),
            format!("application/vnd.docker.{kind}-stream"),
            "{name}"
        );
        let framed = logs.body.starts_with("\u{1}\0\0\0\0\0\0\u{6}hello\n");
        assert_eq!(framed, !tty, "{:?}", logs.body);
        let old = server.get(&format!("/v1.41/containers/{name}/logs?stdout=1"));
        assert_eq!(old.header("content-type"), "application/vnd.docker.raw-stream");
    }
}

fn context(dockerfile: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn podman_15928_empty_lists_of_a_build() {
    let server = server!();
    let tar = context("FROM bb\nENV A=b\n");
    let query = "t=built&cachefrom=%5B%5D&ulimits=null&extrahosts=&buildargs=%7B%22X%22%3Anull%7D\
                 &labels=%7B%7D&networkmode=none";
    let answer = server.send("POST", &format!("/build?{query}"), "application/x-tar", &tar);
    assert!(answer.body.contains("Successfully tagged built:latest"), "{}", answer.body);
    assert!(answer.body.contains("\"aux\":{\"ID\":\"sha256:"), "{}", answer.body);
}

/// What buildx asks for is refused in words that it shows: what to do instead.
#[test]
fn podman_17836_a_build_by_buildkit_is_refused_in_words() {
    let server = server!();
    let mut stream = server.open("POST", "/grpc", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "");
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let session = server.post("/session", &NONE);
    assert_eq!(session.status, 501);
    assert!(session.message().contains("DOCKER_BUILDKIT=0"), "{}", session.body);
    let build = server.send("POST", "/build?version=2", "application/x-tar", &context("FROM bb"));
    assert!(build.status >= 400 && build.body.contains("DOCKER_BUILDKIT=0"), "{}", build.body);
}

/// Also podman#8649, podup#1170: an answer always comes.
#[test]
fn podman_21861_files_for_the_volume_of_one_that_has_not_started() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["cat", "/data/Dockerfile"],
        "HostConfig": { "NetworkMode": "none", "Binds": ["named:/data"] },
    });
    server.create("web", &body);
    let path = "/containers/web/archive?path=/data";
    let put = server.send("PUT", path, "application/x-tar", &context("in a volume\n"));
    assert_eq!(put.status, 200, "{}", put.body);
    server.start("web");
    server.post("/containers/web/wait", &NONE);
    let logs = server.get("/containers/web/logs?stdout=1");
    assert!(logs.body.ends_with("in a volume\n"), "{:?}", logs.body);
    let bad = server.send("PUT", path, "application/x-tar", b"no archive at all");
    assert_eq!(bad.status, 400, "{}", bad.body);
}

/// Also socktainer#21: the body of the request is not typed.
#[test]
fn ddev_8660_a_session_closes_at_its_end() {
    let server = server!();
    server.run("web", &["sleep", "100"]);
    let body = json!({
        "Cmd": ["cat"], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
    });
    let id = server.post("/containers/web/exec", &body).json()["Id"].as_str().unwrap().to_owned();
    let start = json!({ "Detach": false, "Tty": false }).to_string();
    let mut stream = server.hijack(&format!("/exec/{id}/start"), &start);
    stream.write_all(b"typed").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let all = rest(&mut stream);
    assert!(all.ends_with("\r\n\r\n\u{1}\0\0\0\0\0\0\u{5}typed"), "{all:?}");
}

#[test]
fn moby_37870_input_that_has_ended_before_the_program_reads() {
    let server = server!();
    server.run("web", &["sleep", "1000"]);
    for round in 0..100 {
        let body = json!({ "Cmd": ["cat"], "AttachStdin": true, "AttachStdout": true });
        let made = server.post("/containers/web/exec", &body).json();
        let id = made["Id"].as_str().unwrap();
        let mut stream = server.hijack(&format!("/exec/{id}/start"), "{}");
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        stream.shutdown(Shutdown::Write).unwrap();
        rest(&mut stream);
        let shown = server.get(&format!("/exec/{id}/json")).json();
        assert_eq!(shown["ExitCode"], 0, "{round}");
    }
}

/// GitLab's runner: a helper that is attached to gets a script, and ends with it.
#[test]
fn podman_6867_a_script_by_attached_input() {
    let server = networked!();
    let network = json!({ "Name": "job" });
    assert_eq!(server.post("/networks/create", &network).status, 201);
    let body = json!({
        "Image": "bb", "Cmd": ["sh"], "OpenStdin": true, "StdinOnce": true,
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "HostConfig": { "NetworkMode": "job" },
    });
    server.create("helper", &body);
    let path = "/containers/helper/attach?stream=1&stdin=1&stdout=1&stderr=1";
    let mut attached = server.hijack(path, "");
    server.start("helper");
    attached.write_all(b"echo from the script; exit 6\n").unwrap();
    attached.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut attached).contains("from the script\n"));
    assert_eq!(server.post("/containers/helper/wait", &NONE).json()["StatusCode"], 6);
}

#[test]
fn testcontainers_7310_a_connection_that_has_been_silent() {
    let server = server!();
    let mut stream = server.open("GET", "/_ping", "", "");
    let mut part = [0; 4096];
    assert!(stream.read(&mut part).unwrap() > 0);
    std::thread::sleep(Duration::from_secs(12));
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&mut stream).contains("200 OK"));
}

/// Also ctop.
#[test]
fn lazydocker_statistics_of_many_at_once() {
    let server = server!();
    for number in 0..10 {
        server.run(&format!("web{number}"), &["sleep", "1000"]);
    }
    let mut streams: Vec<_> = (0..50)
        .map(|number| server.open("GET", &format!("/containers/web{}/stats", number % 10), "", ""))
        .collect();
    let mut events = server.open("GET", "/events", "", "");
    for stream in streams.iter_mut().chain([&mut events]) {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    for stream in &mut streams {
        let mut seen = Vec::new();
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains("\"online_cpus\"") {
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0);
            seen.extend_from_slice(&part[..length]);
        }
    }
}

/// Dev containers' builds mount what another stage has.
#[test]
fn vscode_7915_a_mount_of_a_stage() {
    let server = server!();
    let tar = context(
        "FROM bb AS files\nRUN echo feature > /feature\nFROM bb\n\
         RUN --mount=type=bind,from=files,source=/feature,target=/tmp/f cat /tmp/f > /copied\n",
    );
    let query = "t=built&networkmode=none";
    let answer = server.send("POST", &format!("/build?{query}"), "application/x-tar", &tar);
    assert!(answer.body.contains("Successfully tagged"), "{}", answer.body);
    let body = json!({
        "Image": "built", "Cmd": ["cat", "/copied"], "HostConfig": { "NetworkMode": "none" },
    });
    server.create("web", &body);
    server.start("web");
    server.post("/containers/web/wait", &NONE);
    assert!(server.get("/containers/web/logs?stdout=1").body.ends_with("feature\n"));
}

/// systemd's sockets: the server is started with the listening one, and leaves it to the next.
#[test]
fn podman_5224_a_socket_that_is_passed() {
    let server = server!();
    let path = server.socket().with_file_name("passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = server.start_with_socket(&listener, &["--idle-exit", "1"]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(&mut stream).contains("200 OK"));
    assert!(child.wait().unwrap().success());
    // The next one takes what has come meanwhile.
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
    let mut child = server.start_with_socket(&listener, &["--idle-exit", "1"]);
    assert!(rest(&mut stream).contains("200 OK"));
    assert!(child.wait().unwrap().success());
}
