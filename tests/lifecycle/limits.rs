//! Limits while a container lives: `update`, `pause`, `events`, and what is said
//! of one that the kernel killed.

use std::fs;
use std::path::PathBuf;

use husk_tests::case::{Case, Container};
use serde_json::{Value, json};

/// The container's directory in the hierarchy of a controller, v1 or v2.
pub(crate) fn cgroup(container: &Container<'_>, controller: &str) -> PathBuf {
    let table = container.proc("cgroup");
    let line = |wanted: &str| {
        table.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let named = names.split(',').any(|name| name == wanted);
            named.then(|| fields.next().unwrap().trim_start_matches('/').to_owned())
        })
    };
    match line(controller) {
        Some(path) => PathBuf::from("/sys/fs/cgroup").join(controller).join(path),
        None => PathBuf::from("/sys/fs/cgroup").join(line("").unwrap()),
    }
}

pub(crate) fn read(container: &Container<'_>, controller: &str, names: [&str; 2]) -> String {
    let directory = cgroup(container, controller);
    let text = names.iter().find_map(|name| fs::read_to_string(directory.join(name)).ok());
    text.unwrap_or_else(|| panic!("no {names:?} in {}", directory.display())).trim().to_owned()
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
pub(crate) const PIDS: [&str; 2] = ["pids.max", "pids.max"];

#[test]
fn update_changes_what_is_named_and_nothing_else() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    bundle.set(
        "/linux/resources",
        json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 20 } }),
    );
    let container = case.start(&bundle);
    case.runtime().args(["update", "--memory", "32m", container.id()]).ok();
    assert_eq!(read(&container, "memory", MEMORY), (32 << 20).to_string());
    assert_eq!(read(&container, "pids", PIDS), "20");
    let file = case.path("resources.json");
    fs::write(&file, json!({ "pids": { "limit": 7 } }).to_string()).unwrap();
    case.runtime().args(["update", "--resources"]).arg(&file).arg(container.id()).ok();
    assert_eq!(read(&container, "pids", PIDS), "7");
    assert_eq!(read(&container, "memory", MEMORY), (32 << 20).to_string());
}

#[test]
fn update_that_is_refused_changes_nothing() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    bundle.set("/linux/resources", json!({ "memory": { "limit": 64 << 20 } }));
    let container = case.start(&bundle);
    let update = |limit: &str| case.runtime().args(["update", "--memory", limit, container.id()]);
    update("4k").output().refused_in_one_line(&["memory"]);
    update("banana").output().refused_in_one_line(&["--memory", "banana"]);
    case.on("update", container.id()).output().refused_in_one_line(&["nothing to change"]);
    assert_eq!(read(&container, "memory", MEMORY), (64 << 20).to_string());
}

#[test]
fn update_of_what_does_not_run_is_an_error() {
    let case = Case::new();
    case.runtime().args(["update", "--memory", "32m", "nosuch"]).output().refused();
    let (_bundle, container) = case.sleeper();
    container.stop();
    let update = case.runtime().args(["update", "--memory", "32m", container.id()]);
    update.output().refused_in_one_line(&["not running"]);
}

#[test]
fn a_paused_container_does_not_run() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("while :; do :; done");
    let container = case.start(&bundle);
    let time = || -> u64 {
        let stat = container.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    case.on("pause", container.id()).ok();
    assert_eq!(container.status(), "paused");
    let before = time();
    // A process that could run would have used its share of this second.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(time(), before);
    case.runtime().args(["exec", container.id(), "/bin/true"]).output().refused();
    case.on("resume", container.id()).ok();
    assert_eq!(container.status(), "running");
    case.on("resume", container.id()).output().refused_in_one_line(&["not paused"]);
}

#[test]
fn events_tell_what_is_used() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    let events = case.runtime().args(["events", "--stats", container.id()]).ok();
    let event: Value = serde_json::from_str(events.stdout.trim()).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], container.id());
    assert!(event["data"]["pids"]["current"].as_u64().is_some_and(|pids| pids >= 1), "{event}");
    container.stop();
    case.runtime()
        .args(["events", "--stats", container.id()])
        .output()
        .refused_in_one_line(&["not running"]);
}

#[test]
fn an_oom_kill_is_told() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.shell("x=a; while :; do x=$x$x; done");
    let limit = 16 << 20;
    bundle.set("/linux/resources", json!({ "memory": { "limit": limit, "swap": limit } }));
    let run = case.run(&bundle);
    assert_eq!(run.code(), 137);
    assert!(
        run.stderr.contains("killed by the OOM killer (memory limit 16 MiB)"),
        "{}",
        run.stderr
    );
    case.assert_nothing_left();
}
