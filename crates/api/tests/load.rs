//! Many at once, and clients that mean ill: what the server keeps, and that all others are served.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Server, server};

const NONE: Value = Value::Null;

/// A number of /proc/PID/status.
fn status(server: &Server, name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

/// Waits until the server has no more descriptors and threads than before.
fn settles(server: &Server, descriptors: usize, threads: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    while server.descriptors() > descriptors || status(server, "Threads") > threads {
        let now = (server.descriptors(), status(server, "Threads"));
        assert!(Instant::now() < until, "{now:?} of {descriptors}, {threads}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn containers_twenty_at_a_time() {
    const COUNT: usize = 60;
    let server = server!();
    let next = AtomicUsize::new(0);
    let one = |number: usize| {
        let name = format!("load{number}");
        let code = number % 7;
        let body = json!({
            "Image": "bb", "Cmd": ["sh", "-c", format!("exit {code}")],
            "HostConfig": { "NetworkMode": "none" },
        });
        server.create(&name, &body);
        server.start(&name);
        let waited = server.post(&format!("/containers/{name}/wait"), &NONE).json();
        assert_eq!(waited["StatusCode"], code, "{name}");
        assert_eq!(server.request("DELETE", &format!("/containers/{name}"), "").status, 204);
    };
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= COUNT {
                        return;
                    }
                    one(number);
                }
            });
        }
    });
    assert_eq!(server.get("/containers/json?all=1").json(), json!([]));
}

#[test]
fn a_hundred_streams_at_once() {
    let server = server!();
    server.run("web", &["sh", "-c", "while true; do echo line; sleep 0.2; done"]);
    let (descriptors, threads) = (server.descriptors(), status(&server, "Threads"));
    let paths =
        ["/events", "/containers/web/stats", "/containers/web/logs?stdout=1&follow=1&tail=0"];
    let mut streams: Vec<UnixStream> =
        (0..99).map(|number| server.open("GET", paths[number % 3], "", "")).collect();
    for stream in &mut streams {
        let mut head = [0; 15];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    }
    server.run("seen", &["true"]);
    for (number, stream) in streams.iter_mut().enumerate() {
        let wanted = ["\"seen\"", "online_cpus", "line\n"][number % 3];
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(wanted) {
            let mut part = [0; 8192];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "{wanted}");
            text.extend_from_slice(&part[..length]);
        }
    }
    assert_eq!(server.get("/_ping").status, 200);
    drop(streams);
    settles(&server, descriptors + 1, threads + 2);
}

#[test]
fn connections_leave_nothing() {
    let server = server!();
    server.get("/containers/json");
    let (descriptors, threads) = (server.descriptors(), status(&server, "Threads"));
    for round in 0..10_000 {
        let mut stream = server.connect();
        if round % 10 == 0 {
            stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
            let mut head = [0; 15];
            stream.read_exact(&mut head).unwrap();
        }
    }
    settles(&server, descriptors + 1, threads + 1);
    // Also a debug build is far below.
    assert!(status(&server, "VmRSS") < 64 << 10, "{} KiB", status(&server, "VmRSS"));
}

/// Whether the server answers others at once.
fn others_are_served(server: &Server) {
    assert_eq!(server.get("/_ping").status, 200);
    assert_eq!(server.get("/containers/json").status, 200);
}

#[test]
fn bodies_that_lie_about_their_length() {
    let server = server!();
    let (descriptors, threads) = (server.descriptors(), status(&server, "Threads"));
    let document = r#"{"Image":"bb","HostConfig":{"NetworkMode":"none"}}"#;
    for (length, complete) in [(document.len() + 10, false), (document.len() - 5, true)] {
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "POST /containers/create?name=lie HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{document}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        others_are_served(&server);
        if complete {
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400");
        }
    }
    for head in [
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: nonsense",
    ] {
        let mut stream = server.connect();
        let request =
            format!("POST /containers/create?name=lie HTTP/1.1\r\nHost: d\r\n{head}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        drop(stream);
        others_are_served(&server);
    }
    assert_eq!(server.get("/containers/json?all=1").json(), json!([]));
    settles(&server, descriptors + 1, threads + 2);
}

#[test]
fn chunks_that_never_end() {
    let server = server!();
    let head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // As long as it takes them; more than a document may have is refused.
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(chunk.as_bytes()).is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 64 << 20, "it takes all");
    assert!(status(&server, "VmRSS") < 96 << 10, "{} KiB", status(&server, "VmRSS"));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    others_are_served(&server);
}

#[test]
fn documents_of_the_wrong_types() {
    let server = server!();
    let deep = |open: &str, depth: usize| open.repeat(depth);
    for body in [
        "[]".to_owned(),
        "7".to_owned(),
        "\"text\"".to_owned(),
        r#"{"Image":["bb"]}"#.to_owned(),
        r#"{"Image":"bb","Cmd":{"a":1}}"#.to_owned(),
        r#"{"Image":"bb","HostConfig":[]}"#.to_owned(),
        r#"{"Image":"bb","HostConfig":{"Memory":"much"}}"#.to_owned(),
        r#"{"Image":"bb","HostConfig":{"PidsLimit":1e400}}"#.to_owned(),
        format!("{{\"Image\":{}", deep("[", 500_000)),
        format!("{{\"HostConfig\":{}", deep("{\"a\":", 200_000)),
        "\u{0}".to_owned(),
    ] {
        let answer = server.request("POST", "/containers/create?name=wrong", &body);
        let start = body.get(..40).unwrap_or(&body);
        assert_eq!(answer.status, 400, "{start}: {}", answer.body);
        assert!(!answer.message().is_empty());
    }
    for (path, body) in [
        ("/networks/create", "[1]"),
        ("/volumes/create", "{\"Name\":7}"),
        ("/containers/x/exec", "{\"Cmd\":\"x\"}"),
        ("/auth", "[]"),
        ("/volumes/create", "{\"Name\":\"../../etc\"}"),
    ] {
        let answer = server.request("POST", path, body);
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(server.get("/containers/json?all=1").json(), json!([]));
}

#[test]
fn slow_readers_hold_up_nobody() {
    let server = server!();
    server.run("loud", &["sh", "-c", "while true; do echo much of it, again and again; done"]);
    let mut slow: Vec<UnixStream> = (0..10)
        .map(|_| server.open("GET", "/containers/loud/logs?stdout=1&follow=1", "", ""))
        .collect();
    slow.extend(
        (0..10).map(|_| server.hijack("/containers/loud/attach?stream=1&stdout=1&stderr=1", "")),
    );
    for _ in 0..20 {
        others_are_served(&server);
        std::thread::sleep(Duration::from_millis(50));
    }
    let resident = status(&server, "VmRSS");
    assert!(resident < 96 << 10, "{resident} KiB");
    drop(slow);
    assert_eq!(server.request("DELETE", "/containers/loud?force=1", "").status, 204);
}

#[test]
fn a_server_that_is_killed_and_a_second_one() {
    let mut server = server!();
    server.run("web", &["sh", "-c", "sleep 3; echo done; exit 9"]);
    let mut waiting = server.open("POST", "/containers/web/wait", "", "");
    let mut following = server.open("GET", "/containers/web/logs?stdout=1&follow=1", "", "");
    let path = server.socket().with_file_name("second.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut second = server.start_with_socket(&listener, &[]);
    assert!(ask(&path, "GET", "/containers/web/json").contains("200 OK"));
    server.kill_and_start();
    // Its streams end with it; those who come again find everything.
    for stream in [&mut waiting, &mut following] {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    }
    for socket in [&server.socket(), &path] {
        assert!(ask(socket, "POST", "/containers/web/wait").contains("{\"StatusCode\":9}"));
        let logs = ask(socket, "GET", "/containers/web/logs?stdout=1");
        assert!(logs.contains("done\n"), "{logs:?}");
    }
    second.kill().unwrap();
    second.wait().unwrap();
}

fn ask(socket: &std::path::Path, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn others_cannot_connect() {
    use std::os::unix::fs::PermissionsExt;
    let server = server!("--group", "0");
    let mode = std::fs::metadata(server.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    // The directory is open for this: it is the socket's own mode that counts.
    let directory = server.socket().parent().unwrap().to_owned();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut other = std::process::Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-c"]);
    let script = "import socket,sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n\
                  except PermissionError: sys.exit(42)";
    other.arg(script).arg(server.socket());
    match other.output() {
        Ok(output) if output.status.code() == Some(42) => {}
        Ok(output) if !output.stderr.is_empty() => {
            support::skip(&String::from_utf8_lossy(&output.stderr));
        }
        other => panic!("{other:?}"),
    }
}
