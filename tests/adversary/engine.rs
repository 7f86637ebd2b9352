//! The same from the engine's side: containers of `husk`, and its commands on them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use husk_tests::case::{Case, path_text};
use husk_tests::event::Fifo;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;

use crate::scenario::{ARGUMENT, ENVIRONMENT, Host, duration};

/// An engine with a store of its own, and a container that attacks.
struct Engine<'a> {
    case: &'a Case,
    program: PathBuf,
    host: Host,
}

impl<'a> Engine<'a> {
    /// None where there is no `husk` to try.
    fn find(case: &'a Case) -> Option<Engine<'a>> {
        let program = match std::env::var_os("HUSK") {
            Some(path) => PathBuf::from(path),
            None => runtime::built("husk"),
        };
        let why = match (program.exists(), runtime::name().as_str()) {
            (false, _) => "husk is not built (cargo build --package husk-cli)",
            (true, "husk-oci") => return Some(Engine { case, program, host: Host::new(case) }),
            _ => "husk runs husk-oci",
        };
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
        None
    }

    fn call(&self, words: &[&str]) -> Invocation {
        self.case
            .program(path_text(&self.program))
            .arg("--root")
            .arg(self.case.state_root())
            .arg("--runroot")
            .arg(self.case.path("runroot"))
            .args(words)
            .env("HUSK_ADVERSARY", ENVIRONMENT)
            .current_dir(&self.host.directory)
    }

    /// Runs the spy with `flags`, calls `outside` until the time is over, and fails the test for
    /// what the spy has found.
    fn attack(&self, mode: &str, flags: &[&str], mut outside: impl FnMut()) {
        let bundle = self.case.bundle();
        fs::copy(runtime::built("husk-spy"), bundle.rootfs("bin/spy")).expect("husk-spy");
        fs::remove_file(bundle.rootfs("never")).unwrap();
        // Bundles of other tests have links to the same files: a link more is a change to tar(1).
        for name in ["bin/busybox", "bin/probe"] {
            let (own, copy) = (bundle.rootfs(name), bundle.rootfs("bin/copy"));
            fs::copy(&own, &copy).unwrap();
            fs::rename(&copy, &own).unwrap();
        }
        let tar = self.case.path("image.tar");
        let root = bundle.rootfs("");
        self.case.program("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").ok();
        self.call(&["import", path_text(&tar), "spy"]).ok();
        let place = self.case.directory("place");
        let said = Fifo::make(&place.join("said"));
        fs::write(place.join("findings"), "").unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(place.join("findings"), everyone).unwrap();
        let variables = [
            format!("SPY_MARKS={}", self.host.marks("--root")),
            format!("SPY_DIRECTORY={}", self.host.directory.display()),
            "SPY_PLACE=/place".to_owned(),
        ];
        let mut run = self.call(&["run", "--detach", "--name", "spy", "--network", "none"]);
        for variable in &variables {
            run = run.args(["--env", variable]);
        }
        let volume = format!("{}:/place", place.display());
        run.args(["--volume", &volume]).args(flags).args(["spy", "/bin/spy", mode]).ok();
        let _ended = Ended(self);
        assert_eq!(said.line(), "ready");
        let begin = Instant::now();
        while begin.elapsed() < duration() {
            outside();
        }
        fs::write(place.join("stop"), "").unwrap();
        let over = said.line();
        assert_ne!(over, "over 0", "the spy has seen nobody");
        let findings = fs::read_to_string(place.join("findings")).unwrap();
        assert!(findings.is_empty(), "{over}:\n{findings}");
        self.host.assert_untouched();
    }

    fn ok(&self, words: &[&str]) {
        self.call(words).ok();
    }

    fn exec_and_join(&self) {
        self.ok(&["exec", "spy", "/bin/true"]);
        let join = ["run", "--rm", "--network", "none", "--pid", "container:spy"];
        self.ok(&[&join[..], &["spy", "/bin/true"]].concat());
    }
}

/// Takes the container and the store away.
struct Ended<'a, 'b>(&'a Engine<'b>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.call(&["rm", "--force", "spy"]).output();
        self.0.call(&["system", "prune", "--all", "--force"]).output();
        let _ = fs::remove_dir_all(self.0.case.state_root());
    }
}

#[test]
fn containers_with_a_debugger() {
    for mode in ["read", "write"] {
        let case = Case::without_user_namespace("the engine has its own");
        let Some(engine) = Engine::find(&case) else { return };
        engine.attack(mode, &["--cap-add", "SYS_PTRACE"], || {
            engine.exec_and_join();
            engine.ok(&["top", "spy"]);
            engine.ok(&["stats", "--no-stream", "spy"]);
            engine.ok(&["cp", "spy:/etc", path_text(&case.path("copy"))]);
        });
    }
}

/// A secret that is given to one process is no other user's.
#[test]
fn a_user_without_capabilities() {
    let case = Case::without_user_namespace("the engine has its own");
    let Some(engine) = Engine::find(&case) else { return };
    let flags = ["--user", "1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
    let secret = format!("SECRET={ARGUMENT}");
    engine.attack("read", &flags, || {
        engine.ok(&["exec", "--user", "0", "--env", &secret, "spy", "/bin/true"]);
        engine.exec_and_join();
    });
}

/// Programs of this machine and of other images in the container's namespaces, with another root
/// than the container's.
#[test]
fn beside_programs_of_the_machine() {
    for mode in ["read", "write"] {
        let case = Case::without_user_namespace("the engine has its own");
        let Some(engine) = Engine::find(&case) else { return };
        engine.attack(mode, &["--cap-add", "SYS_PTRACE"], || {
            engine.ok(&["debug", "spy", "true"]);
            engine.ok(&["debug", "--image", "spy", "spy", "/bin/true"]);
            engine.ok(&["enter", "spy", "/bin/true"]);
        });
    }
}

/// What else runs a program in a container, or looks at it: sessions of each kind, probes, and the
/// commands beside them.
#[test]
fn beside_sessions_and_probes() {
    for mode in ["read", "write"] {
        let case = Case::without_user_namespace("the engine has its own");
        let Some(engine) = Engine::find(&case) else { return };
        let probe = ["--health-cmd", "/bin/true", "--health-interval", "100ms"];
        engine.attack(mode, &[&["--cap-add", "SYS_PTRACE"][..], &probe].concat(), || {
            engine.ok(&["exec", "--detach", "spy", "/bin/true"]);
            engine.ok(&["exec", "--detach", "--tty", "spy", "/bin/true"]);
            engine.ok(&["diff", "spy"]);
            engine.ok(&["logs", "spy"]);
            // Refused where there is no pids controller.
            engine.call(&["update", "--pids-limit", "200", "spy"]).output();
            engine.ok(&["pause", "spy"]);
            engine.ok(&["unpause", "spy"]);
            // With CRIU, or without: the spy stays.
            let place = path_text(&case.path("checkpoints")).to_owned();
            let words = ["checkpoint", "create", "--leave-running", "--checkpoint-dir", &place];
            engine.call(&[&words[..], &["spy", "point"]].concat()).output();
            engine.call(&["checkpoint", "rm", "--checkpoint-dir", &place, "spy", "point"]).output();
        });
    }
}

/// The same by the API: an exec session that is made and started by two requests.
#[test]
fn beside_sessions_of_the_api() {
    let case = Case::without_user_namespace("the engine has its own");
    let Some(engine) = Engine::find(&case) else { return };
    let server = std::env::var_os("HUSK_SERVE").map(PathBuf::from);
    if !server.unwrap_or_else(|| runtime::built("husk-serve")).exists() {
        let _ = writeln!(std::io::stderr(), "skipped: husk-serve is not built");
        return;
    }
    let socket = case.path("api.sock");
    let words = ["serve", "--socket", path_text(&socket)];
    let _serving = engine.call(&words).env("RUST_BACKTRACE", "0").spawn();
    husk_tests::event::until("the socket", || UnixStream::connect(&socket).is_ok());
    let post = |path: &str, body: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /v1.45{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let secret = format!("SECRET={ARGUMENT}");
    let made = serde_json::json!({ "Cmd": ["/bin/true"], "User": "0", "Env": [secret] });
    let flags = ["--user", "1000", "--cap-drop", "ALL"];
    engine.attack("read", &flags, || {
        let answer = post("/containers/spy/exec", &made.to_string());
        let id = answer.split("\"Id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let id = id.unwrap_or_else(|| panic!("no session: {answer}"));
        let answer = post(&format!("/exec/{id}/start"), r#"{"Detach":false}"#);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}
