//! Faults at random, and what is left after them.
//!
//! Several clients create, start, stop, change and remove containers while processes of the
//! engine are killed at any moment, the disk is full and has room again, descriptors are few,
//! records are cut and their times moved. Then a checker compares what the engine says with
//! what is there: processes, mounts, cgroups, links, rules and files.
//!
//! HUSK_FAULT_SECONDS is how long that goes on (20 without it), HUSK_FAULT_SEED makes a run
//! again with the same choices; the moments differ.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Done, Engine, wait_for};

/// A small generator of numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What all threads share.
struct Run<'a> {
    engine: &'a Engine,
    stop: AtomicBool,
    /// Ids that have ever been seen.
    ids: Mutex<BTreeSet<String>>,
    commands: AtomicUsize,
    kills: AtomicUsize,
}

/// The processes of the engine: their command lines name its directory, and so do those of
/// husk-oci. The programs in containers are not among them.
fn processes(directory: &str) -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (pid != own && line.contains(directory)).then_some((pid, line))
    };
    pids.filter_map(of).collect()
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

impl Run<'_> {
    fn going(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Runs a command, which may fail or be killed; it must end.
    fn command(&self, arguments: &[&str], descriptors: Option<u32>) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let done = match descriptors {
            Some(limit) => {
                let script = format!("ulimit -Sn {limit}; exec timeout -s KILL 60 \"$@\"");
                self.engine.shell(arguments, &script)
            }
            None => self.engine.shell(arguments, "exec timeout -s KILL 60 \"$@\""),
        };
        assert!(!done.err.contains("panicked"), "{arguments:?}: {done:?}");
    }

    /// One client's life.
    fn client(&self, seed: u64) {
        let mut random = Random(seed | 1);
        let names = ["aa", "bb", "cc", "dd", "ee", "ff"];
        let file = self.engine.path("file").display().to_string();
        while self.going() {
            let name = *random.one_of(&names);
            let few = (random.below(12) == 0).then(|| 20 + random.below(40) as u32);
            let network = *random.one_of(&["none", "none", "bridge", "app"]);
            let run = ["run", "-d", "--network", network, "--name", name];
            let port = format!("127.0.0.1:{}:80", 20000 + random.below(50));
            let mut arguments: Vec<&str> = match random.below(14) {
                0 | 1 => [&run[..], &["bb", "sleep", "600"]].concat(),
                2 => [&run[..], &["--rm", "-v", "vol:/v", "bb", "sleep", "0.2"]].concat(),
                3 if network != "none" => {
                    [&run[..], &["-p", &port, "--rm", "bb", "sleep", "1"]].concat()
                }
                3 => vec!["run", "--rm", "--network", "none", "bb", "true"],
                4 => vec!["exec", name, "sh", "-c", "echo x > /y"],
                5 => vec!["stop", "-t", "0", name],
                6 => vec!["start", name],
                7 => vec!["restart", "-t", "0", name],
                8 => vec!["rm", "-f", "-v", name],
                9 => vec!["cp", &file, "X:/tmp-copy"],
                10 => vec!["pause", name],
                11 => vec!["unpause", name],
                12 => vec!["container", "prune", "-f"],
                _ => vec!["kill", name],
            };
            let target = format!("{name}:/copied");
            if arguments.first() == Some(&"cp") {
                arguments[2] = &target;
            }
            self.command(&arguments, few);
        }
    }

    /// Kills processes of the engine at random times.
    fn killer(&self, seed: u64) {
        let mut random = Random(seed | 1);
        let directory = self.engine.path("").display().to_string();
        while self.going() {
            std::thread::sleep(Duration::from_millis(30 + random.below(150) as u64));
            self.note_ids();
            // Not the shell and timeout(1) around a command.
            let mut all = processes(&directory);
            all.retain(|(_, line)| !line.starts_with("sh ") && !line.starts_with("timeout "));
            if !all.is_empty() {
                kill(random.one_of(&all).0);
                self.kills.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn note_ids(&self) {
        let mut ids = self.ids.lock().unwrap();
        for below in ["root/containers", "run/containers", "run/oci"] {
            let entries =
                std::fs::read_dir(self.engine.path(below)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            ids.extend(names.filter(|name| name.len() == 64));
        }
    }

    /// The disk is full for a while; records are cut, or tell of another time.
    fn trouble(&self, seed: u64) {
        let mut random = Random(seed | 1);
        let full = self.engine.path("root/full");
        while self.going() {
            std::thread::sleep(Duration::from_millis(700 + random.below(1500) as u64));
            match random.below(3) {
                0 => {
                    let fill = "dd if=/dev/zero bs=64k of=";
                    self.engine.beside(&format!("{fill}{} 2>/dev/null", full.display()));
                    std::thread::sleep(Duration::from_millis(300 + random.below(700) as u64));
                    let _ = std::fs::remove_file(&full);
                }
                1 => self.change_a_state(&mut random, |text, random| {
                    text.truncate(random.below(text.len().max(1)));
                }),
                _ => self.change_a_state(&mut random, |text, _| {
                    *text = text.replace("\"started\":\"20", "\"started\":\"21");
                }),
            }
        }
        let _ = std::fs::remove_file(&full);
    }

    fn change_a_state(&self, random: &mut Random, change: impl Fn(&mut String, &mut Random)) {
        let containers = std::fs::read_dir(self.engine.path("root/containers"));
        let all: Vec<_> = containers.into_iter().flatten().flatten().collect();
        if all.is_empty() {
            return;
        }
        let path = random.one_of(&all).path().join("state.json");
        if let Ok(mut text) = std::fs::read_to_string(&path) {
            change(&mut text, random);
            let _ = std::fs::write(&path, text);
        }
    }
}

/// Names of cgroups of all hierarchies that contain one of the ids.
fn cgroups(ids: &BTreeSet<String>) -> Vec<String> {
    fn walk(path: &Path, depth: u32, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < 6 {
                found.push(entry.path().display().to_string());
                walk(&entry.path(), depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 0, &mut found);
    found.retain(|path| ids.iter().any(|id| path.contains(id)));
    found
}

/// The programs of a container that still live, by their cgroups.
fn programs(id: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_in = |pid: &i32| {
        let ended = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
        });
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        !ended && cgroup.is_ok_and(|text| text.contains(id))
    };
    pids.filter(is_in).collect()
}

/// Asserts that what the engine says of its containers is so.
fn words_are_true(engine: &Engine) {
    let listed = engine.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
    for line in listed.lines() {
        let (id, state) = line.split_once(' ').unwrap();
        let there = || programs(id);
        match state {
            "running" | "paused" => {
                let pid: i32 = engine.inspect(id, "{{.State.Pid}}").parse().unwrap();
                assert!(there().contains(&pid), "{line}: {pid} is not among {:?}", there());
            }
            _ => wait_for(&format!("the end of the programs of {line}"), || there().is_empty()),
        }
    }
}

/// Asserts that nothing is left after everything was removed.
fn nothing_is_left(engine: &Engine, ids: &BTreeSet<String>) {
    let directory = engine.path("").display().to_string();
    wait_for("an end of the engine's processes", || processes(&directory).is_empty());
    engine.assert_nothing_left();
    let left = cgroups(ids);
    assert!(left.is_empty(), "cgroups left: {left:?}");
    // A monitor that waited to remove an unused bridge may have been killed.
    engine.ok(&["network", "prune", "-f"]);
    engine.assert_no_network_left();
}

#[test]
fn random_faults_lose_nothing_and_leave_nothing() {
    if let Some(why) = support::obstacle() {
        eprintln!("skipped: {why}");
        return;
    }
    let engine = Engine::with_network();
    let root = engine.path("root").display().to_string();
    // A disk of its own, which can be full.
    engine.beside(&format!("rm -rf {root} && mkdir -m 700 {root}"));
    let mounted = engine.beside(&format!("mount -t tmpfs -o size=64m,mode=700 husk-faults {root}"));
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let _mounted = Mounted(root);
    engine.import();
    engine.ok(&["network", "create", "app"]);
    std::fs::write(engine.path("file"), "copied").unwrap();
    let seed = number("HUSK_FAULT_SEED", u64::from(std::process::id()) * 0x9e37_79b9);
    let seconds = number("HUSK_FAULT_SECONDS", 20);
    eprintln!("HUSK_FAULT_SEED={seed} HUSK_FAULT_SECONDS={seconds}");
    let run = Run {
        engine: &engine,
        stop: AtomicBool::new(false),
        ids: Mutex::default(),
        commands: AtomicUsize::new(0),
        kills: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for client in 0..3 {
            let run = &run;
            scope.spawn(move || run.client(seed.wrapping_add(client)));
        }
        scope.spawn(|| run.killer(seed ^ 0xffff));
        scope.spawn(|| run.trouble(seed ^ 0xf0f0));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        run.stop.store(true, Ordering::Relaxed);
    });
    run.note_ids();
    let (commands, kills) = (run.commands.into_inner(), run.kills.into_inner());
    let ids = run.ids.into_inner().unwrap();
    eprintln!("{commands} commands, {kills} kills, {} containers", ids.len());
    words_are_true(&engine);
    let repaired = engine.run(&["system", "check", "--repair"]);
    eprintln!("{}", repaired.out.trim());
    assert_eq!(engine.ok(&["system", "check"]), "no damage found", "{repaired:?}");
    words_are_true(&engine);
    let all = engine.ok(&["ps", "-aq"]);
    let mut arguments = vec!["rm", "-f", "-v"];
    arguments.extend(all.split_whitespace());
    if arguments.len() > 3 {
        engine.ok(&arguments);
    }
    engine.ok(&["run", "--rm", "--network", "app", "bb", "true"]);
    engine.ok(&["system", "prune", "-f", "--volumes"]);
    nothing_is_left(&engine, &ids);
}

/// What limits a command of a client.
enum Limit {
    /// Of a shell's ulimit.
    Shell(&'static str),
    /// Processes and threads, by a pids cgroup.
    Processes(u32),
    /// Bytes, by a memory cgroup; who needs more is killed.
    Memory(u32),
}

/// A cgroup of this test's own, with a limit. What a command leaves in it moves to its parent.
struct Limited {
    directory: PathBuf,
}

impl Limited {
    /// None, with a word, where there is no such hierarchy of cgroup v1.
    fn make(controller: &str) -> Option<Self> {
        let parent = Path::new("/sys/fs/cgroup").join(controller);
        if !parent.join("cgroup.procs").exists() {
            eprintln!("skipped: no hierarchy of the controller {controller}");
            return None;
        }
        let directory = parent.join(format!("husk-limits-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        Some(Self { directory })
    }

    fn set(&self, file: &str, value: u32) {
        std::fs::write(self.directory.join(file), value.to_string()).unwrap();
    }

    fn empty(&self) {
        let left = std::fs::read_to_string(self.directory.join("cgroup.procs"));
        let parent = self.directory.parent().unwrap().join("cgroup.procs");
        for pid in left.unwrap_or_default().lines() {
            // It may have ended meanwhile.
            let _ = std::fs::write(&parent, pid);
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        wait_for("an empty cgroup", || {
            self.empty();
            std::fs::remove_dir(&self.directory).is_ok()
        });
    }
}

/// Where processes, memory or descriptors are few, each command does what it was asked for or
/// fails with one line, and leaves nothing.
#[test]
fn commands_at_a_limit_leave_nothing() {
    if let Some(why) = support::obstacle() {
        eprintln!("skipped: {why}");
        return;
    }
    let engine = Engine::with_network();
    let context = engine.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN true\n").unwrap();
    let context = context.display().to_string();
    let processes = Limited::make("pids");
    let memory = Limited::make("memory");
    let shell =
        ["-v 40000", "-v 60000", "-Sn 5", "-Sn 9", "-Sn 14", "-Sn 20", "-Hn 9", "-Hn 14", "-Hn 20"];
    let mut limits: Vec<Limit> = shell.map(Limit::Shell).into();
    limits.extend((1..7).filter(|_| processes.is_some()).map(Limit::Processes));
    let sizes = [1 << 20, 3 << 20, 6 << 20, 12 << 20];
    limits.extend(sizes.into_iter().filter(|_| memory.is_some()).map(Limit::Memory));
    engine.ok(&["run", "-d", "--name", "up", "--network", "none", "bb", "sleep", "10000"]);
    let commands: [&[&str]; 11] = [
        &["run", "--rm", "--network", "none", "--name", "few", "bb", "true"],
        &["run", "-d", "--network", "none", "--name", "few", "bb", "sleep", "10000"],
        &["stop", "-t", "0", "few"],
        &["exec", "up", "true"],
        &["cp", "up:/etc/passwd", "-"],
        &["ps", "-q"],
        &["logs", "up"],
        &["top", "up"],
        &["stats", "--no-stream", "up"],
        &["enter", "up", "true"],
        &["build", "-q", &context],
    ];
    for limit in &limits {
        let (script, what, may_be_killed) = match limit {
            Limit::Shell(limit) => (format!("ulimit {limit}"), (*limit).to_owned(), false),
            Limit::Processes(number) => {
                let cgroup = processes.as_ref().unwrap();
                cgroup.set("pids.max", *number);
                let enter = format!("echo 0 > {}/cgroup.procs", cgroup.directory.display());
                (enter, format!("{number} processes"), false)
            }
            Limit::Memory(bytes) => {
                let cgroup = memory.as_ref().unwrap();
                cgroup.set("memory.limit_in_bytes", *bytes);
                let enter = format!("echo 0 > {}/cgroup.procs", cgroup.directory.display());
                (enter, format!("{bytes} bytes"), true)
            }
        };
        for command in commands {
            let started = Instant::now();
            // Who watches over the time is outside of the limit.
            let script = format!(
                "exec timeout -s KILL 60 sh -c 'RUST_BACKTRACE=0; {script}; exec \"$@\"' sh \"$@\""
            );
            let done: Done = engine.shell(command, &script);
            let what = format!("{what}: {command:?}: {done:?}");
            assert!(started.elapsed() < Duration::from_secs(60), "it hangs: {what}");
            assert!(!done.err.contains("panicked"), "{what}");
            for cgroup in [&processes, &memory].into_iter().flatten() {
                cgroup.empty();
            }
            let is_killed = may_be_killed && (done.code < 0 || done.code == 137);
            if done.code != 0 && !is_killed {
                // A Dockerfile's error shows its line.
                let about = done.err.lines().filter(|line| !line.starts_with("    "));
                assert_eq!(about.count(), 1, "{what}");
                let says = done.err.starts_with("Error: ") || command[0] == "logs";
                let gives_cause = may_be_killed || !done.err.contains("ended before it ran");
                assert!(says && gives_cause, "{what}");
                // What could not be looked at is not said to be missing.
                let wrong = ["container up is not running", "install procps"];
                assert!(!wrong.iter().any(|wrong| done.err.contains(wrong)), "{what}");
            }
        }
        engine.run(&["rm", "-f", "few"]);
        let alive = engine.inspect("up", "{{.State.Status}}");
        assert_eq!(alive, "running", "{what:?}", what = engine.ok(&["ps", "-a"]));
    }
    engine.run(&["rm", "-f", "up", "few"]);
    engine.ok(&["system", "prune", "-f"]);
    let directory = engine.path("").display().to_string();
    wait_for("an end of the engine's processes", || self::processes(&directory).is_empty());
    engine.assert_nothing_left();
}

/// Unmounts at the end, whatever happens.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}
