//! Raw requests on a socket of a server's own, with the answers that dockerd 28.5 gave to the
//! same ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use support::server;

#[test]
fn ping_and_version() {
    let server = server!();
    let answer = server.request("GET", "/_ping", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    for (name, value) in [
        ("api-version", "1.51"),
        ("ostype", "linux"),
        ("swarm", "inactive"),
        ("docker-experimental", "true"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("content-type", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let head = server.request("HEAD", "/_ping", "");
    assert_eq!((head.status, head.header("content-length")), (200, "0"));
    let version = server.get("/v1.51/version").json();
    // Tools compare it with Docker's versions.
    assert!(version["Version"].as_str().unwrap().starts_with("28."), "{version}");
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&json!("1.51"), &json!("1.24"))
    );
    let info = server.get("/info").json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["OSType"], "linux");
}

#[test]
fn versions_of_the_api() {
    let server = server!();
    assert_eq!(server.get("/v1.24/_ping").status, 200);
    // Newer ones are taken as the newest.
    assert_eq!(server.get("/v1.99/_ping").status, 200);
    let old = server.get("/v1.23/info");
    assert_eq!(old.status, 400);
    assert!(
        old.message()
            .contains("client version 1.23 is too old. Minimum supported API version is 1.24")
    );
    let nowhere = server.get("/nope");
    assert_eq!(
        (nowhere.status, nowhere.body.as_str()),
        (404, "{\"message\":\"page not found\"}\n")
    );
}

#[test]
fn answers_of_dockerd() {
    let server = server!();
    let created = server.post(
        "/v1.51/containers/create?name=raw1",
        &json!({
            "Image": "bb", "Cmd": ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"],
            "HostConfig": { "NetworkMode": "none" },
        }),
    );
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["Warnings"], json!([]));
    let taken = server.post("/v1.51/containers/create?name=raw1", &json!({ "Image": "bb" }));
    let message = format!(
        "Conflict. The container name \"/raw1\" is already in use by container \"{id}\". You have \
         to remove (or rename) that container to be able to reuse that name."
    );
    assert_eq!((taken.status, taken.message()), (409, message));
    assert_eq!(server.post("/v1.51/containers/raw1/start", &json!(null)).status, 204);
    let waited = server.post("/v1.51/containers/raw1/wait", &json!(null));
    assert_eq!(waited.body, "{\"StatusCode\":3}\n");
    assert_eq!(server.post("/v1.51/containers/raw1/stop", &json!(null)).status, 304);
    for (method, path, status, message) in [
        ("GET", "/containers/nope/json", 404, "No such container: nope".to_owned()),
        (
            "POST",
            "/containers/raw1/kill",
            409,
            format!("cannot kill container: raw1: container {id} is not running"),
        ),
        (
            "GET",
            "/containers/raw1/logs",
            400,
            "Bad parameters: you must choose at least one stream".to_owned(),
        ),
        (
            "GET",
            "/containers/raw1/archive?path=/nope",
            404,
            "Could not find the file /nope in container raw1".to_owned(),
        ),
        (
            "PUT",
            "/containers/raw1/archive?path=/nope",
            404,
            "Could not find the file /nope in container raw1".to_owned(),
        ),
        ("GET", "/networks/nope", 404, "network nope not found".to_owned()),
        (
            "DELETE",
            "/networks/bridge",
            403,
            "bridge is a pre-defined network and cannot be removed".to_owned(),
        ),
        ("DELETE", "/volumes/nope", 404, "get nope: no such volume".to_owned()),
        ("GET", "/volumes/nope", 404, "get nope: no such volume".to_owned()),
        ("DELETE", "/images/nope", 404, "No such image: nope:latest".to_owned()),
        (
            "GET",
            "/images/json?filters=%7B%22x%22%3A%5B%22y%22%5D%7D",
            400,
            "invalid filter 'x'".to_owned(),
        ),
        ("POST", "/containers/raw1/wait?condition=x", 400, "invalid condition: \"x\"".to_owned()),
    ] {
        let answer = server.request(method, &format!("/v1.51{path}"), "");
        assert_eq!((answer.status, answer.message()), (status, message), "{method} {path}");
    }
    let exec = server.post("/v1.51/containers/raw1/exec", &json!({ "Cmd": ["/bin/true"] }));
    assert_eq!((exec.status, exec.message()), (409, format!("container {id} is not running")));
    let missing = server.post("/v1.51/containers/create", &json!({ "Image": "nope" }));
    assert_eq!((missing.status, missing.message()), (404, "No such image: nope:latest".to_owned()));
    assert_eq!(server.request("POST", "/containers/create", "{bad").status, 400);
    let logs = server.get("/v1.51/containers/raw1/logs?stdout=1&stderr=1");
    assert_eq!(logs.header("content-type"), "application/vnd.docker.multiplexed-stream");
    assert!(logs.body.contains("\u{1}\0\0\0\0\0\0\u{4}out\n"), "{:?}", logs.body);
    assert!(logs.body.contains("\u{2}\0\0\0\0\0\0\u{4}err\n"), "{:?}", logs.body);
    let head = server.request("HEAD", "/v1.51/containers/raw1/archive?path=/bin", "");
    assert!(!head.header("x-docker-container-path-stat").is_empty());
    assert_eq!(server.request("DELETE", "/v1.51/containers/raw1", "").status, 204);
    assert_eq!(server.request("DELETE", "/v1.51/containers/raw1", "").status, 404);
}

#[test]
fn an_attached_client_gets_every_byte() {
    let server = server!();
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["sh", "-c", "echo out; echo err >&2"],
            "HostConfig": { "NetworkMode": "none", "AutoRemove": true },
        }),
    );
    let mut attached = server.hijack("/containers/web/attach?stream=1&stdout=1&stderr=1", "");
    let mut waiting =
        server.open("POST", "/containers/web/wait?condition=removed", "Connection: close\r\n", "");
    // The head comes at once: clients start when they have it.
    let mut head = [0; 15];
    waiting.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(server.post("/containers/web/start", &json!(null)).status, 204);
    let mut all = Vec::new();
    attached.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{text}");
    assert!(text.contains("\u{1}\0\0\0\0\0\0\u{4}out\n"), "{text:?}");
    assert!(text.contains("\u{2}\0\0\0\0\0\0\u{4}err\n"), "{text:?}");
    let mut rest = String::new();
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = waiting.read_to_string(&mut rest);
    assert!(rest.contains("{\"StatusCode\":0}"), "{rest}");
    assert_eq!(server.get("/containers/web/json").status, 404);
}

#[test]
fn input_ends_with_the_clients() {
    let server = server!();
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["cat"], "OpenStdin": true, "StdinOnce": true,
            "HostConfig": { "NetworkMode": "none" },
        }),
    );
    let mut attached = server.hijack("/containers/web/attach?stream=1&stdin=1&stdout=1", "");
    assert_eq!(server.post("/containers/web/start", &json!(null)).status, 204);
    attached.write_all(b"typed\n").unwrap();
    attached.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    attached.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.ends_with("\u{1}\0\0\0\0\0\0\u{6}typed\n"), "{text:?}");
}

#[test]
fn exec_outlives_the_server() {
    let mut server = server!();
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": "none" },
        }),
    );
    assert_eq!(server.post("/containers/web/start", &json!(null)).status, 204);
    let made = server.post(
        "/containers/web/exec",
        &json!({ "Cmd": ["sh", "-c", "echo eo; exit 4"], "AttachStdout": true }),
    );
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    let mut stream = server.hijack(
        &format!("/exec/{id}/start"),
        &json!({ "Detach": false, "Tty": false }).to_string(),
    );
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.ends_with(b"\x01\0\0\0\0\0\0\x03eo\n"), "{:?}", String::from_utf8_lossy(&all));
    server.kill_and_start();
    let known = server.get(&format!("/exec/{id}/json")).json();
    assert_eq!((&known["Running"], &known["ExitCode"]), (&json!(false), &json!(4)), "{known}");
    let again = server.post(&format!("/exec/{id}/start"), &json!({ "Detach": true }));
    assert_eq!(
        (again.status, again.message()),
        (409, format!("exec command {id} has already run"))
    );
    assert_eq!(server.request("DELETE", "/containers/web?force=1", "").status, 204);
}

#[test]
fn what_is_asked_for_comes_back() {
    let server = server!();
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["true"], "Labels": { "a": "b" },
            "HostConfig": {
                "NetworkMode": "none", "Binds": ["/tmp:/x:ro"], "Memory": 64 << 20,
                "Mounts": [{ "Type": "tmpfs", "Target": "/t" }],
            },
        }),
    );
    let shown = server.get("/containers/web/json").json();
    assert_eq!(shown["HostConfig"]["Binds"], json!(["/tmp:/x:ro"]));
    assert_eq!(shown["HostConfig"]["Mounts"][0]["Target"], "/t");
    assert_eq!(shown["State"]["Status"], "created");
    assert_eq!(shown["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    for filters in ["{\"label\":[\"a=b\"]}", "{\"label\":{\"a=b\":true}}"] {
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let rows = server.get(&format!("/containers/json?all=1&filters={filters}")).json();
        assert_eq!(rows[0]["Names"], json!(["/web"]), "{rows}");
        let none = server.get(&format!("/containers/json?filters={filters}")).json();
        assert_eq!(none, json!([]));
    }
    let refused = server.post(
        "/containers/create",
        &json!({
            "Image": "bb", "HostConfig": { "DeviceRequests": [{ "Count": -1 }] },
        }),
    );
    assert_eq!(refused.status, 400);
    assert!(refused.message().starts_with("HostConfig.DeviceRequests"), "{}", refused.body);
}

#[test]
fn a_policy_is_kept() {
    let server = server!("--allow", "read");
    assert_eq!(server.get("/containers/json").status, 200);
    let refused = server.post("/containers/create", &json!({ "Image": "bb" }));
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("--allow read"), "{}", refused.body);
    drop(server);
    let server = server!("--only-label", "mine=1", "--deny", "exec,build");
    server.create("web", &json!({ "Image": "bb", "HostConfig": { "NetworkMode": "none" } }));
    server.husk(&["create", "--name", "other", "--network", "none", "bb"]);
    let rows = server.get("/containers/json?all=1").json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["Labels"]["mine"], "1");
    assert_eq!(server.request("DELETE", "/containers/other", "").status, 404);
    assert_eq!(server.post("/containers/web/exec", &json!({ "Cmd": ["x"] })).status, 403);
    assert_eq!(server.request("POST", "/build", "").status, 403);
}

#[test]
fn requests_cut_at_every_byte() {
    let server = server!();
    let body = r#"{"Image":"bb","Cmd":["true"]}"#;
    let request = format!(
        "POST /containers/create?name=cut HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for length in 0..request.len() - 1 {
        let mut stream = server.connect();
        stream.write_all(&request.as_bytes()[..length]).unwrap();
    }
    // None of them has made anything, and the server still answers.
    assert_eq!(server.get("/containers/cut/json").status, 404);
    assert_eq!(server.get("/_ping").status, 200);
}

#[test]
fn bad_requests_are_bounded() {
    let server = server!();
    let answer = |request: &[u8]| {
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(request);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    };
    let huge = format!("GET /_ping HTTP/1.1\r\nHost: d\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
    let refused = answer(huge.as_bytes());
    assert!(refused.is_empty() || refused.contains(" 4"), "{refused}");
    let nonsense = answer(b"\x16\x03\x01\0\xff\r\n\r\n");
    assert!(nonsense.is_empty() || nonsense.contains(" 400 "), "{nonsense}");
    let deep = format!("{{\"Image\":{}", "[".repeat(100_000));
    assert_eq!(server.request("POST", "/containers/create", &deep).status, 400);
    let wrong = server.post("/containers/create", &json!({ "Image": 7 }));
    assert_eq!(wrong.status, 400);
    for path in ["/containers/..%2f..%2fetc/json", "/containers/%00/json", "/images/..%2f/json"] {
        assert!((400..500).contains(&server.get(path).status), "{path}");
    }
    let begun = Instant::now();
    let mut silent: Vec<_> = (0..50).map(|_| server.connect()).collect();
    assert_eq!(server.get("/_ping").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(3));
    silent.clear();
}

#[test]
fn clients_that_go_away_leave_nothing() {
    let server = server!();
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": { "NetworkMode": "none" },
        }),
    );
    assert_eq!(server.post("/containers/web/start", &json!(null)).status, 204);
    let before = server.descriptors();
    for _ in 0..20 {
        drop(server.hijack("/containers/web/attach?stream=1&stdout=1", ""));
        drop(server.open("GET", "/containers/web/logs?stdout=1&follow=1", "", ""));
        drop(server.open("GET", "/containers/web/stats", "", ""));
        drop(server.open("POST", "/containers/web/wait", "", ""));
    }
    let until = Instant::now() + Duration::from_secs(8);
    while server.descriptors() > before + 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.descriptors() <= before + 2, "{} of {before}", server.descriptors());
    assert_eq!(server.request("DELETE", "/containers/web?force=1", "").status, 204);
}

#[test]
fn a_server_leaves_when_nobody_asks() {
    let mut server = server!("--idle-exit", "1");
    server.create(
        "web",
        &json!({
            "Image": "bb", "Cmd": ["sleep", "3"], "HostConfig": { "NetworkMode": "none" },
        }),
    );
    assert_eq!(server.post("/containers/web/start", &json!(null)).status, 204);
    // Never while a stream is open.
    let waited = server.post("/containers/web/wait", &json!(null));
    assert_eq!(waited.body, "{\"StatusCode\":0}\n");
    assert!(server.ends_within(Duration::from_secs(5)));
}
