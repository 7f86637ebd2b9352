//! Other ways to the API than a plain connection: a WebSocket, TCP with certificates, archives
//! that are packed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Server, server, skip};

/// A masked frame of a client, RFC 6455 5.2.
fn client_frame(opcode: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(data.len()).unwrap(), 1, 2, 3, 4];
    frame.extend(data.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_websocket_is_attached() {
    let server = server!();
    let body = json!({
        "Image": "bb", "Cmd": ["sh", "-c", "read line; echo got $line; echo err >&2"],
        "OpenStdin": true, "HostConfig": { "NetworkMode": "none" },
    });
    server.create("web", &body);
    let path = "/containers/web/attach/ws?stream=1&stdin=1&stdout=1&stderr=1";
    let mut socket = server.open("GET", path, WEBSOCKET, "");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    // RFC 6455 1.3 has this key and its answer.
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    server.start("web");
    socket.write_all(&client_frame(1, b"ty")).unwrap();
    socket.write_all(&client_frame(9, b"ping")).unwrap();
    socket.write_all(&client_frame(2, b"ped\n")).unwrap();
    let mut all = Vec::new();
    socket.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    // Neither framed nor lost; the ping is answered, and the end is said.
    assert!(text.contains("got typed\n") && text.contains("err\n"), "{text:?}");
    assert!(text.contains("ping") && all.windows(2).any(|part| part[0] == 0x88), "{all:?}");
    assert!(!text.contains("\u{1}\0\0\0"), "{text:?}");
    for headers in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"] {
        let mut refused = server.open("GET", path, headers, "");
        let mut head = [0; 12];
        refused.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 400");
    }
}

#[test]
fn a_websocket_types_and_is_no_reading() {
    let server = server!("--allow", "read");
    server.husk(&["create", "--name", "web", "--network", "none", "-i", "bb", "cat"]);
    let refused = server.request("GET", "/containers/web/attach/ws?stream=1&stdin=1", "");
    assert_eq!(refused.status, 403, "{}", refused.body);
}

#[test]
fn packed_archives_are_taken() {
    let server = server!();
    server.create("web", &json!({ "Image": "bb", "HostConfig": { "NetworkMode": "none" } }));
    let directory = server.socket().with_file_name("packed");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("file"), "packed").unwrap();
    let tar = directory.with_extension("tar");
    let made = Command::new("tar").arg("-C").arg(&directory).arg("-cf").arg(&tar).arg(".").status();
    assert!(made.unwrap().success());
    for packer in ["gzip", "bzip2", "xz", "zstd"] {
        let packed = Command::new(packer).arg("-c").arg(&tar).stderr(Stdio::null()).output();
        let Some(packed) = packed.ok().filter(|packed| packed.status.success()) else {
            skip(&format!("no {packer}"));
            continue;
        };
        let path = format!("/tmp/{packer}");
        std::fs::create_dir_all(directory.join("made").join(packer)).unwrap();
        let nowhere = server.send(
            "PUT",
            &format!("/containers/web/archive?path={path}"),
            "application/x-tar",
            &packed.stdout,
        );
        assert_eq!(nowhere.status, 404, "{}", nowhere.body);
        let put = server.send(
            "PUT",
            "/containers/web/archive?path=/tmp",
            "application/x-tar",
            &packed.stdout,
        );
        assert_eq!(put.status, 200, "{packer}: {}", put.body);
        let head = server.request("HEAD", "/containers/web/archive?path=/tmp/file", "");
        assert_eq!(head.status, 200, "{packer}");
        // The same for an import.
        let import = format!("/images/create?fromSrc=-&repo={packer}");
        let made = server.send("POST", &import, "application/x-tar", &packed.stdout);
        assert!(made.body.contains("sha256:"), "{packer}: {}", made.body);
        // What ends in the middle is an error.
        let half = &packed.stdout[..packed.stdout.len() / 2];
        let cut =
            server.send("PUT", "/containers/web/archive?path=/tmp", "application/x-tar", half);
        assert_eq!(cut.status, 400, "{packer}: {}", cut.body);
    }
}

/// A certificate of its own authority for each of these names, by openssl(1).
fn certificates(directory: &Path) -> bool {
    let script = "set -e; cd \"$0\"
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext
        for ca in ca other; do
            openssl req -x509 $new -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 2
        done
        for pair in server:ca client:ca stranger:other; do
            name=${pair%:*} ca=${pair#*:}
            openssl req $new -keyout $name.key -out $name.csr -subj /CN=$name
            openssl x509 -req -in $name.csr -CA $ca.pem -CAkey $ca.key -CAcreateserial \
                -out $name.pem -days 2 -extfile ext
        done
        chmod 600 *.key";
    let mut made = Command::new("sh");
    made.args(["-c", script]).arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
    made.status().is_ok_and(|status| status.success())
}

/// What openssl's client gets for a request; empty where it is not let in.
fn ask(directory: &Path, port: u16, client: Option<&str>) -> String {
    let mut ask = Command::new("openssl");
    ask.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}"), "-CAfile"]);
    ask.arg(directory.join("ca.pem"));
    if let Some(client) = client {
        ask.arg("-cert").arg(directory.join(format!("{client}.pem")));
        ask.arg("-key").arg(directory.join(format!("{client}.key")));
    }
    ask.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = ask.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tcp_is_for_clients_with_a_certificate() {
    if let Some(why) = support::obstacle() {
        return skip(&why);
    }
    let directory = tempfile::tempdir().unwrap();
    if !certificates(directory.path()) {
        return skip("no openssl");
    }
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (authority, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let address = format!("127.0.0.1:{port}");
    let server = Server::new(&[
        "--tcp",
        &address,
        "--tlscacert",
        &authority,
        "--tlscert",
        &certificate,
        "--tlskey",
        &key,
    ]);
    let asked = ask(directory.path(), port, Some("client"));
    assert!(asked.starts_with("HTTP/1.1 200 OK"), "{asked}");
    assert_eq!(ask(directory.path(), port, Some("stranger")), "", "of another authority");
    assert_eq!(ask(directory.path(), port, None), "", "without a certificate");
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // Those who say nothing keep nobody out.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let begun = Instant::now();
    assert!(ask(directory.path(), port, Some("client")).starts_with("HTTP/1.1 200 OK"));
    assert!(begun.elapsed() < Duration::from_secs(60));
    drop(silent);
    let docker = std::env::var("HUSK_TEST_DOCKER").unwrap_or_else(|_| "docker".to_owned());
    let mut run = Command::new(docker);
    run.args(["-H", &format!("tcp://{address}"), "--tlsverify", "--tlscacert", &authority]);
    run.args(["--tlscert", &file("client.pem"), "--tlskey", &file("client.key")]);
    run.args(["run", "--rm", "-i", "--network=none", "bb", "cat"]).stdin(Stdio::piped());
    match run.stdout(Stdio::piped()).spawn() {
        Ok(mut child) => {
            child.stdin.take().unwrap().write_all(b"over tls\n").unwrap();
            assert_eq!(child.wait_with_output().unwrap().stdout, b"over tls\n");
        }
        Err(_) => skip("no docker"),
    }
    drop(server);
}

#[test]
fn tcp_without_certificates_is_refused() {
    if let Some(why) = support::obstacle() {
        return skip(&why);
    }
    let refused = |words: &[&str]| {
        let output = support::serve(words);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let message = refused(&["--tcp", "127.0.0.1:0"]);
    assert!(message.contains("--tlscacert") && message.lines().count() == 1, "{message}");
    assert!(refused(&["--tlskey", "/x"]).contains("--tcp"));
    let directory = tempfile::tempdir().unwrap();
    if !certificates(directory.path()) {
        return skip("no openssl");
    }
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (ca, pem, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let all = |address: &str, ca: &str, key: &str| {
        let words = ["--tcp", address, "--tlscacert", ca, "--tlscert", &pem, "--tlskey", key];
        refused(&words)
    };
    assert!(all("nowhere", &ca, &key).contains("ADDRESS:PORT"));
    assert!(all("127.0.0.1:0", &key, &key).contains("has no certificate"));
    assert!(all("127.0.0.1:0", &ca, &file("client.key")).contains("--tlskey"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(directory.path().join("server.key"), mode).unwrap();
    assert!(all("127.0.0.1:0", &ca, &key).contains("others may read it"));
}
