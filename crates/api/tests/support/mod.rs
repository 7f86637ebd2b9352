//! A server on a socket and with an engine of its own.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SERVE: &str = env!("CARGO_BIN_EXE_husk-serve");
const BUSYBOX: &str = "/bin/busybox";
const LIMIT: Duration = Duration::from_secs(60);

/// Why the tests cannot run here.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    for (program, package) in [("husk", "husk-cli"), ("husk-oci", "husk-runtime")] {
        let beside = Path::new(SERVE).with_file_name(program);
        if !beside.is_file() {
            return Some(format!("{} is not built (cargo build -p {package})", beside.display()));
        }
    }
    (!Path::new(BUSYBOX).is_file()).then(|| format!("no {BUSYBOX} (busybox-static)"))
}

/// Says why a test does nothing, past the test harness.
pub(crate) fn skip(reason: &str) {
    let _ = Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {reason}\n"));
}

/// A server with these flags; where none can be, the test is over and says why.
#[allow(unused_macros, reason = "each file of tests uses a part of it")]
macro_rules! server {
    ($($flag:expr),*) => {
        match crate::support::obstacle() {
            Some(why) => {
                crate::support::skip(&why);
                return;
            }
            None => crate::support::Server::new(&[$($flag),*]),
        }
    };
}
#[allow(unused_imports, reason = "each file of tests uses a part of it")]
pub(crate) use server;

/// The same in a network namespace of its own, for tests that use networks.
#[allow(unused_macros, reason = "each file of tests uses a part of it")]
macro_rules! networked {
    ($($flag:expr),*) => {
        match crate::support::obstacle() {
            Some(why) => {
                crate::support::skip(&why);
                return;
            }
            None => crate::support::Server::networked(&[$($flag),*]),
        }
    };
}
#[allow(unused_imports, reason = "each file of tests uses a part of it")]
pub(crate) use networked;

pub(crate) struct Server {
    directory: tempfile::TempDir,
    flags: Vec<String>,
    networked: bool,
    child: Child,
}

/// An answer, read to the end of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(one, _)| one == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn message(&self) -> String {
        let message = self.json()["message"].as_str().map(str::to_owned);
        message.unwrap_or_else(|| panic!("no message: {}", self.body))
    }
}

impl Server {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self::begin(flags, false)
    }

    pub(crate) fn networked(flags: &[&str]) -> Self {
        Self::begin(flags, true)
    }

    fn begin(flags: &[&str], networked: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let child = start(directory.path(), &flags, networked);
        let server = Self { directory, flags, networked, child };
        server.await_socket();
        let tar = server.tar();
        server.husk(&["import", "-c", "CMD [\"/bin/sh\"]", &tar, "bb"]);
        server
    }

    fn await_socket(&self) {
        let until = Instant::now() + LIMIT;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// A root file system of busybox, as a tar.
    fn tar(&self) -> String {
        let root = self.directory.path().join("image");
        for directory in ["bin", "etc", "tmp", "root"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "echo", "sleep", "true", "ls", "id", "tar", "tail", "mkdir"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        let tar = self.directory.path().join("bb.tar");
        let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
        assert!(made.unwrap().success());
        tar.display().to_string()
    }

    /// Runs `husk` on the same engine.
    pub(crate) fn husk(&self, words: &[&str]) -> Output {
        let output = command("husk", self.directory.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub(crate) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    /// Sends a request, and gives the connection.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &str, body: &str) -> UnixStream {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = match body.is_empty() {
            true => String::new(),
            false => {
                format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
            }
        };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\n{headers}{length}\r\n{body}");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Sends a request for a stream of bytes.
    pub(crate) fn hijack(&self, path: &str, body: &str) -> UnixStream {
        self.open("POST", path, "Connection: Upgrade\r\nUpgrade: tcp\r\n", body)
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = self.open(method, path, "Connection: close\r\n", body);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        answer(&bytes)
    }

    /// Sends bytes of a type.
    pub(crate) fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        answer(&bytes)
    }

    /// Another server on the same engine, to which a socket is passed as systemd does.
    pub(crate) fn start_with_socket(&self, listener: &UnixListener, flags: &[&str]) -> Child {
        let inner = command("husk-serve", self.directory.path());
        // LISTEN_PID is the process that executes it.
        let mut serve = Command::new("sh");
        let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
        serve.args(["-c", script]).arg(inner.get_program()).args(inner.get_args()).args(flags);
        serve.stdin(OwnedFd::from(listener.try_clone().unwrap()));
        serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request("POST", path, &body)
    }

    pub(crate) fn create(&self, name: &str, body: &Value) {
        let answer = self.post(&format!("/containers/create?name={name}"), body);
        assert_eq!(answer.status, 201, "{}", answer.body);
    }

    /// Creates one without a network and starts it.
    pub(crate) fn run(&self, name: &str, command: &[&str]) {
        let body = serde_json::json!({
            "Image": "bb", "Cmd": command, "HostConfig": { "NetworkMode": "none" },
        });
        self.create(name, &body);
        self.start(name);
    }

    pub(crate) fn start(&self, name: &str) {
        let answer = self.post(&format!("/containers/{name}/start"), &Value::Null);
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LIMIT;
        loop {
            let answer = self.get(path).json();
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{path}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors the server has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = start(self.directory.path(), &self.flags, self.networked);
        self.await_socket();
    }

    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let directory = self.directory.path();
        let within = self.networked.then_some(self.child.id());
        let husk = |words: &[&str]| {
            let mut husk = command("husk", directory);
            if let Some(server) = within {
                // Their networks are where the server is.
                let serve = std::mem::replace(&mut husk, Command::new("nsenter"));
                husk.arg(format!("--net=/proc/{server}/ns/net")).arg(serve.get_program());
                husk.args(serve.get_args()).stdin(Stdio::null());
            }
            husk.args(words).output()
        };
        let listed = husk(&["ps", "-aq"]);
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in listed.unwrap_or_default().lines() {
            let _ = husk(&["rm", "-f", "-v", id]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(Path::new(SERVE).with_file_name(program));
    command.arg("--root").arg(directory.join("root")).arg("--runroot").arg(directory.join("run"));
    command.stdin(Stdio::null());
    command
}

/// A server that is not to begin, and what it says.
pub(crate) fn serve(flags: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = command("husk-serve", directory.path());
    serve.arg("--socket").arg(directory.path().join("api.sock")).args(flags).output().unwrap()
}

fn start(directory: &Path, flags: &[String], networked: bool) -> Child {
    let mut serve = command("husk-serve", directory);
    serve.arg("--socket").arg(directory.join("api.sock")).args(flags);
    if networked {
        let inner = std::mem::replace(&mut serve, Command::new("unshare"));
        let script = "ip link set lo up; exec \"$0\" \"$@\"";
        serve.args(["--net", "sh", "-c", script]).arg(inner.get_program());
        serve.args(inner.get_args()).stdin(Stdio::null());
    }
    serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let rest = &bytes[end + 4..];
    let body = if chunked { unchunked(rest) } else { rest.to_vec() };
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|part| part == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
        if size == 0 {
            break;
        }
    }
    body
}
