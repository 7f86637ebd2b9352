//! Clients that people have, on a server of a test's own: the docker command, docker compose and
//! docker-py, where they are installed (or named by HUSK_TEST_DOCKER, HUSK_TEST_COMPOSE and
//! HUSK_TEST_PYTHON).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::{Server, server};

/// A client's program; `None`, said aloud, where it cannot be had.
fn client(variable: &str, usual: &str, works: &[&str]) -> Option<String> {
    let program = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let mut check = Command::new(&program);
    let ran = check.args(works).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if ran.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    support::skip(&format!("no {usual} (or one named by {variable})"));
    None
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(server: &Server, program: &str, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60", program]).args(words);
    command.env("DOCKER_HOST", format!("unix://{}", server.socket().display()));
    command.env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", "/nonexistent");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn the_docker_command() {
    let Some(docker) = client("HUSK_TEST_DOCKER", "docker", &["--version"]) else { return };
    let server = server!();
    let docker = |words: &[&str], input: &[u8]| run(&server, &docker, words, input);
    let ok = |words: &[&str]| {
        let ran = docker(words, b"");
        assert_eq!(ran.code, 0, "{words:?}: {}{}", ran.out, ran.err);
        ran.out
    };
    let none = "--network=none";
    assert_eq!(ok(&["run", "--rm", none, "bb", "echo", "hello"]), "hello\n");
    let piped = docker(&["run", "--rm", "-i", none, "bb", "cat"], b"piped\n");
    assert_eq!((piped.code, piped.out.as_str()), (0, "piped\n"), "{}", piped.err);
    for (program, code) in [("exit 7", 7), ("/nope", 127), ("/etc", 126)] {
        let words = match program.strip_prefix('/') {
            Some(_) => vec!["run", "--rm", none, "bb", program],
            None => vec!["run", "--rm", none, "bb", "sh", "-c", program],
        };
        let ran = docker(&words, b"");
        assert_eq!(ran.code, code, "{program}: {}", ran.err);
    }
    ok(&["run", "-d", "--name", "web", none, "bb", "sleep", "100"]);
    assert!(ok(&["ps"]).contains("web"));
    assert_eq!(ok(&["inspect", "-f", "{{.State.Status}}", "web"]), "running\n");
    assert_eq!(ok(&["exec", "web", "echo", "in"]), "in\n");
    assert_eq!(docker(&["exec", "web", "sh", "-c", "exit 4"], b"").code, 4);
    for _ in 0..10 {
        // moby#37870: input that is at its end before the program reads.
        assert_eq!(docker(&["exec", "-i", "web", "cat"], b"").code, 0);
    }
    assert!(ok(&["stats", "--no-stream", "web"]).contains("web"));
    assert!(ok(&["top", "web"]).contains("sleep 100"));
    let file = server.socket().with_file_name("file");
    std::fs::write(&file, "copied").unwrap();
    ok(&["cp", file.to_str().unwrap(), "web:/tmp/file"]);
    assert_eq!(ok(&["exec", "web", "cat", "/tmp/file"]), "copied");
    ok(&["cp", "web:/tmp/file", server.socket().with_file_name("back").to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(server.socket().with_file_name("back")).unwrap(), "copied");
    ok(&["stop", "-t", "0", "web"]);
    ok(&["rm", "web"]);
    assert_eq!(ok(&["ps", "-aq"]), "", "a container of --rm is left");
    ok(&["tag", "bb", "other:1"]);
    assert!(ok(&["images", "other"]).contains("other"));
    ok(&["rmi", "other:1"]);
    let context = server.socket().with_file_name("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN echo built > /x\n").unwrap();
    let built = ok(&["build", none, "-t", "built", context.to_str().unwrap()]);
    assert!(built.contains("Successfully tagged built:latest"), "{built}");
    assert_eq!(ok(&["run", "--rm", none, "built", "cat", "/x"]), "built\n");
    ok(&["volume", "create", "data"]);
    assert!(ok(&["volume", "ls", "-q"]).contains("data"));
    ok(&["volume", "rm", "data"]);
}

#[test]
fn docker_compose() {
    let compose = client("HUSK_TEST_COMPOSE", "docker-compose", &["version"]);
    let Some(compose) = compose else { return };
    let server = server!();
    let directory = server.socket().with_file_name("project");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("compose.yaml");
    let text = "services:\n  one:\n    image: bb\n    network_mode: none\n    stop_grace_period: 0s\n    \
                volumes: ['data:/data']\n    command: ['sh', '-c', 'echo up; sleep 100']\n  two:\n    \
                image: bb\n    network_mode: none\n    stop_grace_period: 0s\n    depends_on: [one]\n    \
                command: ['sleep', '100']\nvolumes:\n  data: {}\n";
    std::fs::write(&file, text).unwrap();
    let compose = |words: &[&str]| {
        let mut all = vec!["-f", file.to_str().unwrap()];
        all.extend(words);
        let ran = run(&server, &compose, &all, b"");
        assert_eq!(ran.code, 0, "{words:?}: {}{}", ran.out, ran.err);
        ran.out + &ran.err
    };
    compose(&["up", "-d", "--wait"]);
    let ids = compose(&["ps", "-q"]);
    assert_eq!(ids.lines().count(), 2, "{ids}");
    let again = compose(&["up", "-d"]);
    assert!(!again.contains("Recreate"), "{again}");
    assert_eq!(compose(&["ps", "-q"]), ids);
    assert!(compose(&["logs"]).contains("up"));
    assert_eq!(compose(&["exec", "-T", "two", "echo", "in"]), "in\n");
    assert!(compose(&["run", "--rm", "-T", "two", "echo", "once"]).contains("once"));
    compose(&["down", "-v"]);
    let left = server.get("/containers/json?all=1").json();
    assert_eq!(left, serde_json::json!([]));
    assert_eq!(server.get("/volumes").json()["Volumes"], serde_json::json!([]));
}

#[test]
fn docker_py() {
    let Some(python) = client("HUSK_TEST_PYTHON", "python3", &["-c", "import docker"]) else {
        return;
    };
    let server = server!();
    let script = r#"
import docker, io, os, tarfile
c = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="auto", timeout=20)
assert c.containers.run("bb", "echo hi", network_mode="none", remove=True) == b"hi\n"
x = c.containers.run("bb", ["sleep", "100"], network_mode="none", detach=True, name="py", labels={"t": "1"})
code, (out, err) = x.exec_run("sh -c 'echo a; echo b >&2; exit 3'", demux=True)
assert (code, out, err) == (3, b"a\n", b"b\n"), (code, out, err)
s = x.stats(stream=False)
assert s["precpu_stats"]["system_cpu_usage"] < s["cpu_stats"]["system_cpu_usage"]
b = io.BytesIO(); t = tarfile.open(fileobj=b, mode="w"); i = tarfile.TarInfo("f"); i.size = 3
t.addfile(i, io.BytesIO(b"abc")); t.close()
assert x.put_archive("/tmp", b.getvalue())
bits, stat = x.get_archive("/tmp/f")
assert stat["size"] == 3 and stat["name"] == "f", stat
assert [y.name for y in c.containers.list(filters={"label": "t=1"})] == ["py"]
x.stop(timeout=0); assert x.wait()["StatusCode"] == 137; x.remove()
try:
    c.containers.get("py"); raise SystemExit("still there")
except docker.errors.NotFound: pass
"#;
    let ran = run(&server, &python, &["-c", script], b"");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}
