//! Containers of an ordinary user, by the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use support::{Done, Engine, UID, obstacle, wait_for};

const FIRST: u32 = 5_000_000;
const RANGES: &str = "husktester:5000000:65536\n";

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// `None`, and said why, where something is missing.
fn engine(ranges: &str) -> Option<Engine> {
    let missing = ["newuidmap", "newgidmap", "setpriv", "bash"];
    let missing = missing.iter().find(|name| !on_path(name)).map(|name| format!("no {name}"));
    if let Some(why) = obstacle().or(missing) {
        support::skip(&why);
        return None;
    }
    let engine = Engine::of_user(ranges);
    engine.import();
    Some(engine)
}

fn has_pasta() -> bool {
    let has = on_path("pasta") && Path::new("/dev/net/tun").exists();
    if !has {
        support::skip("needs pasta (Debian package: passt) and /dev/net/tun");
    }
    has
}

fn script(engine: &Engine, flags: &[&str], script: &str) -> Done {
    engine.run(&[&["run", "--rm"], flags, &["bb", "sh", "-c", script]].concat())
}

/// Pids of processes with `text` in their command line.
fn processes(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let line = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let has = |pid: &String| String::from_utf8_lossy(&line(pid)).replace('\0', " ").contains(text);
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())).filter(has).collect()
}

/// Everything that was of the engine's containers is gone, its namespaces too.
fn assert_gone(engine: &Engine) {
    engine.assert_nothing_left();
    let run = engine.path("run").display().to_string();
    wait_for("the end of the namespaces", || processes(&run).is_empty());
    assert!(!engine.path("run/husk/namespace/holder").exists());
}

#[test]
fn ids_are_subordinate_ones() {
    let Some(engine) = engine(RANGES) else { return };
    let done = script(
        &engine,
        &["--network", "none"],
        "id -u; cat /proc/self/uid_map; mount | head -n 1; stat -c %u:%g /bin/busybox; \
         touch /new; chmod 4711 /new; stat -c %a /new; cat /data/file",
    );
    assert_eq!(done.code, 0, "{done:?}");
    let lines: Vec<&str> = done.out.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines[0], "0");
    assert_eq!(words(lines[1]), ["0", &UID.to_string(), "1"]);
    assert_eq!(words(lines[2]), ["1", &FIRST.to_string(), "65536"]);
    assert!(lines[3].contains("overlay") && lines[3].contains("userxattr"), "{done:?}");
    assert_eq!(lines[4..], ["0:0", "4711", "image"], "{done:?}");
    let user = script(&engine, &["--network", "none", "-u", "app", "-v", "vol:/data"], "id -u");
    assert_eq!(user.out, "1000\n", "{user:?}");
    let file = engine.path("home/.local/share/husk/volumes/vol/data/file");
    assert_eq!(std::fs::metadata(file).unwrap().uid(), UID, "the volume has what the image has");
    engine.ok(&["volume", "rm", "vol"]);
    assert_gone(&engine);
}

#[test]
fn a_life() {
    let Some(engine) = engine(RANGES) else { return };
    std::fs::write(engine.path("home/note"), "mine\n").unwrap();
    let loop_ = "cat /note; id -u; trap 'exit 9' TERM; while :; do sleep 0.1; done";
    let flags = ["run", "-d", "--name", "life", "--network", "none", "-u", "app"];
    engine.ok(&[&flags[..], &["-v", "./note:/note:ro", "bb", "sh", "-c", loop_]].concat());
    assert_eq!(engine.ok(&["ps", "--format", "{{.Names}} {{.State}}"]), "life running");
    wait_for("output", || engine.run(&["logs", "life"]).out == "mine\n1000\n");
    assert_eq!(engine.ok(&["exec", "-u", "root", "life", "id", "-u"]), "0");
    assert!(engine.ok(&["top", "life"]).contains("trap"));
    // Another id's process: only root of that very user namespace may signal it.
    engine.ok(&["stop", "life"]);
    assert_eq!(engine.inspect("life", "{{.State.Status}} {{.State.ExitCode}}"), "exited 9");
    engine.ok(&["start", "life"]);
    engine.ok(&["restart", "-t", "1", "life"]);
    engine.ok(&["kill", "life"]);
    assert_eq!(engine.ok(&["wait", "life"]), "137");
    engine.ok(&["rm", "life"]);
    let archive = engine.path("home/bb.tar").display().to_string();
    engine.ok(&["save", "-o", &archive, "bb"]);
    engine.ok(&["rmi", "bb"]);
    engine.ok(&["load", "-i", &archive]);
    assert_eq!(script(&engine, &["--network", "none"], "echo again").out, "again\n");
    assert_gone(&engine);
}

#[test]
fn pasta_connects() {
    let Some(engine) = engine(RANGES) else { return };
    if !has_pasta() {
        return;
    }
    let serve = "while :; do echo served | nc -l -p 80; done";
    engine.ok(&["run", "-d", "--name", "web", "-p", "8080:80", "bb", "sh", "-c", serve]);
    let ask = || engine.beside("busybox nc -w 2 127.0.0.1 8080 </dev/null").out;
    wait_for("an answer", || ask() == "served\n");
    assert_eq!(engine.ok(&["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080");
    let taken = engine.run(&["run", "--rm", "-p", "8080:80", "bb", "true"]);
    assert_eq!(taken.code, 125);
    assert!(taken.err.contains("already in use by container web"), "{taken:?}");
    let own = script(&engine, &[], "ip -o addr show dev eth0");
    assert!(own.out.contains("198.51.100.2/24"), "{own:?}");
    let shared = script(&engine, &["--network", "container:web"], "ip -o addr show dev eth0");
    assert!(shared.out.contains("198.51.100.2/24"), "{shared:?}");
    let host = script(&engine, &["--network", "host"], "ip -o link show dev out");
    assert_eq!(host.code, 0, "{host:?}");
    let refused = script(&engine, &["--network", "app"], "true");
    assert!(refused.err.contains("custom networks require root"), "{refused:?}");
    engine.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(ask(), "", "nobody listens any more");
    engine.ok(&["start", "web"]);
    wait_for("an answer", || ask() == "served\n");
    engine.ok(&["rm", "-f", "web"]);
    assert_gone(&engine);
}

#[test]
fn what_is_killed_is_taken_up_again() {
    let Some(engine) = engine(RANGES) else { return };
    let network = if has_pasta() { "pasta" } else { "none" };
    let start = |name: &str| {
        engine.ok(&["run", "-d", "--name", name, "--network", network, "bb", "sleep", "600"]);
    };
    start("one");
    let holder = std::fs::read_to_string(engine.path("run/husk/namespace/holder")).unwrap();
    let (holder, _) = holder.split_once(' ').unwrap();
    engine.beside(&format!("kill -9 {holder}"));
    assert_eq!(engine.ok(&["exec", "one", "id", "-u"]), "0", "in the namespaces of its monitor");
    let monitor = engine.inspect("one", "{{.State.MonitorPid}}");
    engine.beside(&format!("kill -9 {monitor}"));
    assert_eq!(engine.inspect("one", "{{.State.Status}}"), "running");
    engine.ok(&["rm", "-f", "one"]);
    start("two");
    engine.ok(&["rm", "-f", "two"]);
    assert_gone(&engine);
}

/// A directory with everything of the host's but `hidden`.
fn without(engine: &Engine, hidden: &[&str]) -> String {
    let directory = engine.path("search");
    std::fs::create_dir_all(&directory).unwrap();
    for from in ["/sbin", "/bin", "/usr/sbin", "/usr/bin"] {
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let name = entry.file_name();
            if hidden.iter().all(|hidden| name != *hidden) {
                let _ = std::os::unix::fs::symlink(entry.path(), directory.join(name));
            }
        }
    }
    directory.display().to_string()
}

fn with_path(engine: &Engine, path: &str, arguments: &[&str]) -> Done {
    engine.command(arguments).env("SEARCH", path).output().unwrap().into()
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let Some(engine) = engine(RANGES) else { return };
    let path = without(&engine, &["pasta", "newuidmap"]);
    let run = ["run", "--rm", "bb", "id", "-u"];
    let pasta = with_path(&engine, &path, &run);
    assert_eq!(pasta.code, 125, "{pasta:?}");
    assert!(pasta.err.contains("install the package \"passt\""), "{pasta:?}");
    let run = ["run", "--rm", "--network", "none", "bb", "id", "-u"];
    let alone = with_path(&engine, &path, &run);
    assert_eq!((alone.code, alone.out.as_str()), (0, "0\n"), "{alone:?}");
    assert!(alone.err.contains("only your own user ID"), "{alone:?}");
    assert!(alone.err.contains("install the package uidmap"), "{alone:?}");
    let session = engine.command(&run).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    let session = Done::from(session);
    assert_eq!(session.code, 125, "{session:?}");
    assert!(session.err.contains("XDG_RUNTIME_DIR is not set"), "{session:?}");
    assert_gone(&engine);
}

#[test]
fn without_ranges_there_is_one_id() {
    let Some(engine) = engine("") else { return };
    let one = script(&engine, &["--network", "none"], "id -u; stat -c %u /data/file; tty");
    assert!(one.err.contains("usermod --add-subuids"), "{one:?}");
    assert!(one.out.starts_with("0\n0\n"), "{one:?}");
    let other = script(&engine, &["--network", "none", "-u", "app"], "true");
    assert_eq!(other.code, 125, "{other:?}");
    let limited = script(&engine, &["--network", "none", "--memory", "64m"], "true");
    if Path::new("/sys/fs/cgroup/memory").exists() {
        assert_eq!(limited.code, 125, "{limited:?}");
        assert!(limited.err.contains("cgroup v2"), "{limited:?}");
    }
    assert_gone(&engine);
}

#[test]
fn anothers_run_directory_is_refused() {
    let Some(engine) = engine(RANGES) else { return };
    let foreign = engine.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&foreign, mode).unwrap();
    let run = foreign.display().to_string();
    let done = engine.run(&["--runroot", &run, "run", "--rm", "bb", "true"]);
    assert_eq!(done.code, 125, "{done:?}");
    assert!(done.err.contains("belongs to user"), "{done:?}");
}

#[test]
fn the_image_host_is_refused_with_its_reason() {
    let Some(engine) = engine(RANGES) else { return };
    let refused = engine.run(&["run", "--rm", "--network", "none", "host", "true"]);
    assert_eq!((refused.code, refused.err.lines().count()), (125, 1), "{refused:?}");
    assert!(refused.err.contains("the image host takes root"), "{refused:?}");
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
    assert_gone(&engine);
}

#[test]
fn what_takes_root_is_refused_before_it_is_made_and_privileged_is_quiet() {
    let Some(engine) = engine(RANGES) else { return };
    let network = engine.run(&["network", "create", "app"]);
    assert_eq!(network.code, 1, "{network:?}");
    assert!(network.err.contains("custom networks require root"), "{network:?}");
    assert!(!engine.ok(&["network", "ls"]).contains("app"));
    let privileged = script(&engine, &["--network", "none", "--privileged"], "echo it runs");
    assert_eq!(privileged.out, "it runs\n", "{privileged:?}");
    assert!(!privileged.err.contains("has no effect"), "{privileged:?}");
    assert_gone(&engine);
}

#[test]
fn images_are_built_and_files_copied() {
    let Some(engine) = engine(RANGES) else { return };
    let home = engine.path("home").display().to_string();
    let context = engine.path("home/context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = "FROM bb\nRUN id -u > /id; busybox chown 7:8 /id\nCOPY Dockerfile /in/\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    engine.ok(&["build", "-q", "--network", "none", "-t", "own", &format!("{home}/context")]);
    let show = "busybox stat -c %u:%g /id; cat /id";
    assert_eq!(engine.ok(&["run", "--rm", "--network", "none", "own", "sh", "-c", show]), "7:8\n0");
    engine.ok(&["create", "--network", "none", "--name", "one", "own"]);
    engine.ok(&["cp", "one:/id", &format!("{home}/got")]);
    assert_eq!(std::fs::read_to_string(engine.path("home/got")).unwrap(), "0\n");
    assert_eq!(std::fs::metadata(engine.path("home/got")).unwrap().uid(), UID);
    engine.ok(&["rm", "one"]);
    assert_gone(&engine);
}
