//! The driver against a server that answers from a script.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::thread::sleep;

use super::bus::Socket;
use super::wire::tests::{message, message_from};
use super::wire::{ERROR, PREFIX, RETURN, SIGNAL, Value, length};
use super::*;

/// What the server does at a call, by its place in the connection.
type Answer = Box<dyn Fn(u32) -> Vec<u8> + Send>;

struct Server {
    socket: Socket,
    directory: PathBuf,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

impl Server {
    /// Listens, authenticates, answers as many calls as there are answers and
    /// hangs up. `login` is what it says to the authentication.
    fn new(name: &str, direct: bool, login: &'static [u8], answers: Vec<Answer>) -> Self {
        let directory =
            std::env::temp_dir().join(format!("husk-bus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 29];
            stream.read_exact(&mut hello).unwrap();
            assert_eq!(&hello, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
            stream.write_all(login).unwrap();
            let mut calls = Vec::new();
            for answer in answers {
                let mut call = vec![0; PREFIX];
                if stream.read_exact(&mut call).is_err() {
                    break;
                }
                let whole = length(&call).unwrap();
                call.resize(whole, 0);
                stream.read_exact(&mut call[PREFIX..]).unwrap();
                let serial = u32::from_ne_bytes(call[8..12].try_into().unwrap());
                stream.write_all(&answer(serial)).unwrap();
                calls.push(call);
            }
            calls
        });
        Self { socket: Socket { path, direct }, directory, thread: Some(thread) }
    }

    fn sockets(&self) -> Vec<Socket> {
        vec![self.socket.clone()]
    }

    /// The calls it was sent, as text with what is not text left out.
    fn calls(mut self) -> Vec<String> {
        let calls = self.thread.take().unwrap().join().unwrap();
        calls.iter().map(|call| String::from_utf8_lossy(call).replace('\0', "")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const LOGIN: &[u8] = b"DATA\r\nOK 0123456789abcdef\r\n";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

fn returns(signature: &'static str, texts: &'static [&'static str]) -> Answer {
    Box::new(move |serial| {
        message(RETURN, serial, ("", ""), signature, |body| {
            for text in texts {
                body.text(text);
            }
        })
    })
}

fn removed(job: &str, result: &str) -> Vec<u8> {
    message(SIGNAL, 0, (MANAGER, "JobRemoved"), "uoss", |body| {
        body.number(1);
        body.text(job);
        body.text("husk-c1.scope");
        body.text(result);
    })
}

/// A job that ends: other jobs' signals, and its own before or after the answer.
fn job(result: &'static str, early: bool) -> Answer {
    Box::new(move |serial| {
        let answer = message(RETURN, serial, ("", ""), "o", |body| body.text("/job/7"));
        let end = removed("/job/7", result);
        let mut bytes = removed("/job/6", "failed");
        bytes.extend(if early { [end, answer].concat() } else { [answer, end].concat() });
        bytes
    })
}

/// An answer or a signal of the job, as it comes over a bus.
fn over_a_bus(of: &'static [(&'static str, &'static str)]) -> Answer {
    Box::new(move |serial| {
        let mut bytes = Vec::new();
        for (sender, result) in of {
            let signal = |body: &mut Writer| {
                body.number(1);
                body.text("/job/7");
                body.text("husk-c1.scope");
                body.text(result);
            };
            let names = (MANAGER, "JobRemoved");
            bytes.extend(match result.is_empty() {
                true => message_from(sender, RETURN, serial, ("", ""), "o", |b| b.text("/job/7")),
                false => message_from(sender, SIGNAL, 0, names, "uoss", signal),
            });
        }
        bytes
    })
}

fn refuses(name: &'static str, text: &'static str) -> Answer {
    Box::new(move |serial| message(ERROR, serial, ("", name), "s", |body| body.text(text)))
}

fn control_group(path: &'static str) -> Answer {
    Box::new(move |serial| {
        message(RETURN, serial, ("", ""), "v", |body| {
            body.variant(&Value::Text(path.to_owned()));
        })
    })
}

fn scope() -> ScopePlan {
    plan(None, "c1", &BTreeMap::new(), false, &[], None).unwrap()
}

const GROUP: &str = "/system.slice/husk-c1.scope";

#[test]
fn a_scope_is_started_and_its_cgroup_told() {
    for early in [false, true] {
        let name = if early { "early" } else { "late" };
        let answers = vec![job("done", early), control_group(GROUP)];
        let server = Server::new(name, true, LOGIN, answers);
        assert_eq!(scope().start_at(&server.sockets(), 42).unwrap(), Path::new(GROUP));
        let calls = server.calls();
        for part in [
            "StartTransientUnit",
            "husk-c1.scope",
            "replace",
            "Delegate",
            "PIDs",
            "system.slice",
            "CollectMode",
        ] {
            assert!(calls[0].contains(part), "{part}: {}", calls[0]);
        }
        assert!(calls[1].contains("/org/freedesktop/systemd1/unit/husk_2dc1_2escope"));
    }
}

#[test]
fn a_bus_is_greeted_first() {
    let answers = vec![
        returns("s", &[":1.5"]),
        returns("", &[]),
        returns("", &[]),
        job("done", false),
        control_group(GROUP),
    ];
    let server = Server::new("bus", false, LOGIN, answers);
    scope().start_at(&server.sockets(), 42).unwrap();
    let calls = server.calls();
    for (call, part) in calls.iter().zip(["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]) {
        assert!(call.contains(part), "{part}: {call}");
    }
}

/// On the system bus every user may send a signal to whom he likes.
#[test]
fn the_end_of_a_job_is_told_by_the_manager_alone() {
    let answers = vec![
        returns("s", &[":1.5"]),
        returns("", &[]),
        over_a_bus(&[(":1.1", "")]),
        over_a_bus(&[(":1.9", "failed"), (":1.1", ""), (":1.9", "failed"), (":1.1", "done")]),
        control_group(GROUP),
    ];
    let server = Server::new("forged", false, LOGIN, answers);
    scope().start_at(&server.sockets(), 42).unwrap();
}

#[test]
fn the_next_socket_is_tried_where_the_first_refuses() {
    let refusing = Server::new("refusing", true, b"REJECTED\r\n", vec![]);
    let answers = vec![job("done", false), control_group(GROUP)];
    let willing = Server::new("willing", true, LOGIN, answers);
    let sockets = [refusing.sockets(), willing.sockets()].concat();
    scope().start_at(&sockets, 42).unwrap();
}

#[test]
fn a_unit_that_goes_meanwhile_is_not_in_the_way() {
    let answers = vec![
        refuses("org.freedesktop.systemd1.UnitExists", "Unit husk-c1.scope already exists."),
        refuses("org.freedesktop.systemd1.NoSuchUnit", "Unit husk-c1.scope not loaded."),
        job("done", false),
        control_group(GROUP),
    ];
    let server = Server::new("going", true, LOGIN, answers);
    scope().start_at(&server.sockets(), 42).unwrap();
}

#[test]
fn a_failed_unit_of_the_same_name_is_forgotten() {
    let exists = "org.freedesktop.systemd1.UnitExists";
    let answers = vec![
        refuses(exists, "Unit husk-c1.scope already exists."),
        returns("", &[]),
        job("done", false),
        control_group(GROUP),
    ];
    let server = Server::new("exists", true, LOGIN, answers);
    scope().start_at(&server.sockets(), 42).unwrap();
    assert!(server.calls()[1].contains("ResetFailedUnit"));
    let again = || refuses(exists, "Unit husk-c1.scope already exists.");
    // That of a create that was killed goes when systemd has seen the end of its process.
    let answers = vec![
        again(),
        returns("", &[]),
        again(),
        returns("", &[]),
        job("done", false),
        control_group(GROUP),
    ];
    let server = Server::new("ending", true, LOGIN, answers);
    scope().start_at(&server.sockets(), 42).unwrap();
    let mut answers = vec![again()];
    for _ in 0..ATTEMPTS {
        answers.extend([returns("", &[]), again()]);
    }
    let server = Server::new("living", true, LOGIN, answers);
    assert_eq!(
        scope().start_at(&server.sockets(), 42).unwrap_err().to_string(),
        "systemd: husk-c1.scope: StartTransientUnit: Unit husk-c1.scope already exists. \
         (org.freedesktop.systemd1.UnitExists)"
    );
}

#[test]
fn every_lie_of_a_server_is_one_line() {
    let garbage: Answer = Box::new(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let short: Answer = Box::new(|serial| {
        let mut bytes = message(RETURN, serial, ("", ""), "o", |body| body.text("/job/7"));
        bytes.truncate(bytes.len() - 3);
        bytes
    });
    let huge: Answer = Box::new(|serial| {
        let mut bytes = message(RETURN, serial, ("", ""), "o", |body| body.text("/job/7"));
        bytes[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        bytes
    });
    let cases: Vec<(&str, &'static [u8], Vec<Answer>, &str)> = vec![
        ("garbage", LOGIN, vec![garbage], "not in this machine's byte order"),
        ("short", LOGIN, vec![short], "it hung up"),
        ("huge", LOGIN, vec![huge], "longer than any answer is"),
        ("rejected", b"REJECTED EXTERNAL\r\n", vec![], "it refuses authentication"),
        ("mute", b"", vec![], "it hung up"),
        ("failed", LOGIN, vec![job("failed", false)], "the job ended as \"failed\""),
        (
            "escape",
            LOGIN,
            vec![job("done", false), control_group("/../husk-c1.scope")],
            "ControlGroup",
        ),
        ("other", LOGIN, vec![job("done", false), control_group("/system.slice")], "ControlGroup"),
    ];
    for (name, login, answers, part) in cases {
        let server = Server::new(name, true, login, answers);
        let text = scope().start_at(&server.sockets(), 42).unwrap_err().to_string();
        assert!(text.starts_with("systemd: husk-c1.scope: "), "{name}: {text}");
        assert!(text.contains(part) && !text.contains('\n'), "{name}: {text}");
    }
}

/// systemd has a word for an idle cgroup from 252 on, and refuses it before.
#[test]
fn idle_is_told_to_those_who_know_it() {
    let mut settings = crate::setting::Settings::default();
    settings.of(crate::controller::Controller::Cpu, true).set("p", "cpu.idle", 1);
    let settings = settings.list;
    for (name, version, told) in [
        ("new", "252.38-1~deb12u1", true),
        ("newer", "v257.2", true),
        ("old", "249.11-0ubuntu3", false),
    ] {
        let answers = vec![control_group(version), job("done", false), control_group(GROUP)];
        let server = Server::new(name, true, LOGIN, answers);
        let plan = plan(None, "c1", &BTreeMap::new(), false, &settings, None).unwrap();
        plan.start_at(&server.sockets(), 42).unwrap();
        let calls = server.calls();
        assert!(calls[0].contains("Version"), "{calls:?}");
        assert_eq!(calls[1].contains("CPUWeight"), told, "{version}");
    }
}

#[test]
fn what_holds_two_cgroups() {
    let both = |a: &str, b: &str| common(Path::new(a), Path::new(b)).display().to_string();
    let own = "/user.slice/user-7.slice/session-1.scope";
    let scope = "/user.slice/user-7.slice/user@7.service/user.slice/husk-c1.scope";
    assert_eq!(both(own, scope), "/user.slice/user-7.slice");
    assert_eq!(both("/user.slice/x", "/user.slice/xy"), "/user.slice");
    assert_eq!(both("/", "/a/b"), "/");
}

#[test]
fn a_missing_socket_is_named() {
    let sockets = [Socket { path: "/nonexistent/private".into(), direct: true }];
    let text = scope().start_at(&sockets, 42).unwrap_err().to_string();
    assert!(text.contains("/nonexistent/private: No such file or directory"), "{text}");
}

#[test]
fn stopping_and_setting() {
    let unit = Unit { name: "husk-c1.scope".into(), user: false };
    let server = Server::new("stop", true, LOGIN, vec![job("done", true)]);
    unit.stop_at(&server.sockets()).unwrap();
    assert!(server.calls()[0].contains("StopUnit"));
    let gone = refuses("org.freedesktop.systemd1.NoSuchUnit", "Unit husk-c1.scope not loaded.");
    let server = Server::new("gone", true, LOGIN, vec![gone]);
    unit.stop_at(&server.sockets()).unwrap();

    let mut settings = crate::setting::Settings::default();
    settings.of(crate::controller::Controller::Memory, true).set("p", "memory.max", 5);
    let answers = vec![returns("", &[]), returns("", &[])];
    let server = Server::new("set", true, LOGIN, answers);
    unit.set_at(&server.sockets(), &property::of_settings(&settings.list)).unwrap();
    let calls = server.calls();
    assert!(calls[0].contains("SetUnitProperties") && calls[0].contains("MemoryMax"), "{calls:?}");
    assert!(calls[1].contains("GetUnit"), "{calls:?}");
    // Nothing that systemd knows of: no connection at all.
    unit.set_at(&[], &[]).unwrap();
}

#[test]
fn annotations_take_the_place_of_our_own() {
    let annotations =
        BTreeMap::from([("org.systemd.property.CollectMode".to_owned(), "'inactive'".to_owned())]);
    let plan = plan(None, "c1", &annotations, true, &[], None).unwrap();
    let modes: Vec<_> = plan.properties.iter().filter(|p| p.name == "CollectMode").collect();
    assert_eq!(modes, [&Property::new("CollectMode", Value::Text("inactive".into()))]);
    assert_eq!(plan.path(), Path::new("/user.slice/husk-c1.scope"));
}

#[test]
fn sockets_of_both_managers() {
    let paths = |user: bool| -> Vec<String> {
        let variable = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/7".to_owned()),
            "DBUS_SESSION_BUS_ADDRESS" => Some("tcp:host=x;unix:path=/s/bus,guid=1".to_owned()),
            _ => None,
        };
        let sockets = bus::sockets(user, variable);
        sockets.into_iter().map(|socket| socket.path.display().to_string()).collect()
    };
    assert_eq!(paths(true), ["/run/user/7/systemd/private", "/s/bus", "/run/user/7/bus"]);
    let named = |address: &'static str| {
        let variable = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some(String::new()),
            "DBUS_SESSION_BUS_ADDRESS" => Some(address.to_owned()),
            _ => None,
        };
        let sockets = bus::sockets(true, variable);
        let paths = sockets.into_iter().map(|socket| socket.path.display().to_string());
        paths.collect::<Vec<_>>()
    };
    let own = format!("/run/user/{}", rustix::process::getuid().as_raw());
    let [private, bus] = [format!("{own}/systemd/private"), format!("{own}/bus")];
    let escaped = named("unix:guid=1,path=/s%20b/%c3%bc%25");
    assert_eq!(escaped, [&*private, "/s b/ü%", &*bus]);
    for wrong in ["unix:abstract=/x,guid=1", "unix:path=/a%2", "unix:path=/a%zz", ""] {
        assert_eq!(named(wrong), [&*private, &*bus], "{wrong}");
    }
    assert_eq!(paths(false), ["/run/systemd/private", "/run/dbus/system_bus_socket"]);
}

/// The reference implementation of a bus takes our authentication and our calls.
#[test]
fn a_real_bus_understands_us() {
    let directory = std::env::temp_dir().join(format!("husk-dbus-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("bus");
    let daemon = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile"])
        .arg(format!("--address=unix:path={}", path.display()))
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut daemon) = daemon else {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped: no dbus-daemon");
        std::fs::remove_dir_all(&directory).unwrap();
        return;
    };
    for _ in 0..1000 {
        if path.exists() {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    let error = scope().start_at(&[Socket { path, direct: false }], 42).unwrap_err();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    // Greeted and matched; there is only nobody of systemd's name on this bus.
    let text = error.to_string();
    assert!(text.starts_with("systemd: husk-c1.scope: Subscribe: "), "{text}");
    assert!(text.contains("org.freedesktop.DBus.Error."), "{text}");
}
