//! Every system call of a command fails once, by strace(1): those of the runtime
//! and those of the process that becomes the container. Either the command works
//! all the same, or it says what failed in one line, and the whole host is as it
//! was before. Killed at any call, it leaves what `delete --force` clears.

use std::collections::BTreeMap;
use std::fs;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::invocation::{Invocation, Output};
use husk_tests::runtime;
use husk_tests::sandbox::Sandbox;
use serde_json::json;

use crate::snapshot::Snapshot;
use crate::sweep::{bundle_with_all, works_or_says_why};

/// Calls that cannot fail, or not so that a program could tell: of its start, its
/// allocator and its end, of its own ids; and close(2), which does its work even
/// when it fails.
const CANNOT_FAIL: [&str; 22] = [
    "arch_prctl",
    "brk",
    "close",
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "mmap",
    "mprotect",
    "munmap",
    "rseq",
    "rt_sigaction",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "umask",
];

/// Without `HUSK_EVERY_CALL` so many of each, and then every fifth: a second or
/// third read(2) of a file is like the first.
const FIRST: usize = 3;

/// Where commands are tried, and nobody else is.
struct Place<'a> {
    case: &'a Case,
    sandbox: Sandbox<'a>,
}

/// A command whose calls fail one by one.
struct Subject<'a> {
    place: &'a Place<'a>,
    words: Vec<String>,
    /// With the processes it makes: only for one that waits for them.
    follows: bool,
}

/// What came of it.
struct Failed {
    what: String,
    output: Output,
    /// In how many processes that call has failed, the one with this number of each.
    processes: usize,
}

impl<'a> Place<'a> {
    fn new(case: &'a Case) -> Place<'a> {
        Place { case, sandbox: Sandbox::new(case) }
    }

    /// The runtime, with nothing done to it.
    fn call(&self, words: &[&str]) -> Output {
        let runtime = self.sandbox.program(path_text(runtime::path()));
        runtime.arg("--root").arg(self.case.state_root()).args(words).output()
    }

    /// Removes what a command has said that it left, or that was to stay.
    fn delete(&self, bundle: &Bundle) {
        self.call(&["delete", "--force", bundle.id()]).ok();
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::settled(self.case, &self.sandbox)
    }

    fn assert_unchanged(&self, before: &Snapshot, what: &str) {
        before.assert_unchanged(self.case, &self.sandbox, what);
    }
}

impl Subject<'_> {
    fn traced(&self, flags: &[String]) -> Invocation {
        // -ff writes a file for each process.
        let follow: &[&str] = if self.follows { &["-ff"] } else { &[] };
        let case = self.place.case;
        let strace = self.place.sandbox.program("strace").args(follow).arg("-qq").args(flags);
        let strace = strace.arg("-o").arg(case.path("trace.")).arg(runtime::path());
        strace.arg("--root").arg(case.state_root()).args(&self.words)
    }

    /// The lines of the traces since the last time, a list for each process.
    fn traces(&self) -> Vec<Vec<String>> {
        let entries = fs::read_dir(self.place.case.dir()).unwrap().flatten();
        let traces = entries.filter(|e| e.file_name().to_string_lossy().starts_with("trace."));
        let lines = traces.map(|file| {
            let text = String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
            fs::remove_file(file.path()).unwrap();
            text.lines().map(str::to_owned).collect()
        });
        lines.collect()
    }

    /// Every call by its name and number, as it is when all goes well.
    fn calls(&self) -> Vec<(String, usize)> {
        self.traced(&[]).ok();
        let mut most: BTreeMap<String, usize> = BTreeMap::new();
        for trace in self.traces() {
            for (name, count) in counts(&trace) {
                let so_far = most.entry(name).or_default();
                *so_far = count.max(*so_far);
            }
        }
        let all = std::env::var_os("HUSK_EVERY_CALL").is_some();
        most.into_iter()
            .filter(|(name, _)| !CANNOT_FAIL.contains(&name.as_str()))
            .flat_map(|(name, count)| (1..=count).map(move |number| (name.clone(), number)))
            .filter(|(_, number)| all || *number <= FIRST || number.is_multiple_of(5))
            // The first execve(2) is strace's own; the first poll(2) stands before main.
            .filter(|(name, number)| !matches!(name.as_str(), "execve" | "poll") || *number > 1)
            .collect()
    }

    /// Does something to one call.
    fn inject(&self, name: &str, number: usize, what: &str) -> Failed {
        let inject = format!("inject={name}:{what}:when={number}");
        let flags = ["-e".to_owned(), format!("trace={name}"), "-e".to_owned(), inject];
        let output = self.traced(&flags).output();
        let injected = |trace: &Vec<String>| trace.iter().any(|l| l.ends_with("(INJECTED)"));
        let processes = self.traces().iter().filter(|trace| injected(trace)).count();
        let what = format!("{}: {name} number {number}", self.words[0]);
        Failed { what, output, processes }
    }
}

/// How often a process makes each call, until it is the container's program.
fn counts(trace: &[String]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in trace {
        let name = line.split('(').next().unwrap_or_default();
        if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        if name == "execve" && !line.contains("husk-oci") {
            break;
        }
    }
    counts
}

impl Failed {
    /// Whether it worked. If not it told the cause, in one line unless what takes
    /// it back has failed as well.
    fn worked(&self) -> bool {
        if self.processes > 1 && !self.output.status.success() {
            assert!(!self.output.stderr.contains("panicked"), "{}", self.output.stderr);
            return false;
        }
        let worked = works_or_says_why(&self.output, &self.what);
        // The texts of glibc and of musl.
        let told = ["Cannot allocate memory", "Out of memory"]
            .iter()
            .any(|text| self.output.stderr.contains(text));
        assert!(worked || told, "{}: no cause: {}", self.what, self.output.stderr);
        worked
    }
}

fn bundle(case: &Case) -> Bundle {
    let mut bundle = bundle_with_all(case, false);
    bundle.set("/hostname", "host").set("/linux/sysctl", json!({ "kernel.domainname": "x" }));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]));
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    bundle.set("/linux/resources", json!({ "pids": { "limit": 50 } }));
    bundle.args(["/bin/true"]);
    bundle.write();
    bundle
}

/// What is done to a call (strace(1), `inject`): it fails, or its process is killed.
const FAIL: &str = "error=ENOMEM";
const KILL: &str = "signal=KILL";

/// Stand for the bundle's directory and its id in a command's words.
const DIR: &str = "{bundle}";
const ID: &str = "{id}";

/// A command that is tried at each of its calls, and what stands around it.
struct Trial {
    words: &'static [&'static str],
    /// With the processes it makes.
    follows: bool,
    /// What the container runs.
    program: &'static [&'static str],
    /// A command before all, whose container is there all the while.
    once: &'static [&'static str],
    /// A command before each.
    each: &'static [&'static str],
}

const CREATE: &[&str] = &["create", "--bundle", DIR, ID];
const RUN: Trial = Trial {
    words: &["run", "--bundle", DIR, ID],
    follows: true,
    program: &["/bin/true"],
    once: &[],
    each: &[],
};

impl Trial {
    /// Has each call fail, or kill who makes it, and `after` look at what came of it and take
    /// away what was to stay; then the host is as it was.
    fn at_each_call(&self, what: &str, after: fn(&Place<'_>, &Bundle, &Failed)) {
        if runtime::name() != "husk-oci" {
            return;
        }
        let case = Case::new();
        let place = Place::new(&case);
        let mut bundle = bundle(&case);
        bundle.args(self.program.iter().copied());
        bundle.write();
        let (dir, id) = (path_text(bundle.dir()).to_owned(), bundle.id().to_owned());
        let words = |words: &[&'static str]| -> Vec<String> {
            let word = |word: &&str| match *word {
                DIR => dir.clone(),
                ID => id.clone(),
                word => word.to_owned(),
            };
            words.iter().map(word).collect()
        };
        let call = |list: &[&'static str]| {
            if !list.is_empty() {
                let list = words(list);
                place.call(&list.iter().map(String::as_str).collect::<Vec<_>>()).ok();
            }
        };
        let subject = Subject { place: &place, words: words(self.words), follows: self.follows };
        call(self.once);
        call(self.each);
        let calls = subject.calls();
        if self.once.is_empty() {
            place.delete(&bundle);
        }
        let before = place.snapshot();
        for (name, number) in calls {
            call(self.each);
            let done = subject.inject(&name, number, what);
            after(&place, &bundle, &done);
            place.assert_unchanged(&before, &done.what);
        }
        place.delete(&bundle);
    }
}

/// `run`, both of its processes.
#[test]
fn every_call_of_run_can_fail() {
    RUN.at_each_call(FAIL, |place, bundle, failed| {
        if (failed.worked() || failed.processes > 1) && !place.case.kept_ids().is_empty() {
            // The program has run; what could not be removed then is told.
            assert!(failed.output.stderr.contains("warning: "), "{}", failed.what);
            place.delete(bundle);
        }
    });
}

/// The same for `create`, the runtime's side: else strace would trace the container's process.
#[test]
fn every_call_of_create_can_fail() {
    let create = Trial { words: CREATE, follows: false, ..RUN };
    create.at_each_call(FAIL, |place, bundle, failed| {
        if failed.worked() {
            place.call(&["start", bundle.id()]).ok();
            place.delete(bundle);
        }
    });
}

/// `start`: the program runs, or the container can still be started or has stopped.
#[test]
fn every_call_of_start_can_fail() {
    let program = &["/bin/sleep", "1000"];
    let start = Trial { words: &["start", ID], follows: false, program, each: CREATE, ..RUN };
    start.at_each_call(FAIL, |place, bundle, failed| {
        let status = place.call(&["state", bundle.id()]).ok().json()["status"].clone();
        match failed.worked() {
            true => assert_eq!(status, "running", "{}", failed.what),
            false if status == "created" => drop(place.call(&["start", bundle.id()]).ok()),
            false => assert_eq!(status, "stopped", "{}", failed.what),
        }
        place.delete(bundle);
    });
}

/// `exec`, both of its processes: the container goes on as if nothing had been tried.
#[test]
fn every_call_of_exec_can_fail() {
    let exec = Trial {
        words: &["exec", ID, "/bin/true"],
        program: &["/bin/sleep", "1000"],
        once: &["run", "--detach", "--bundle", DIR, ID],
        ..RUN
    };
    exec.at_each_call(FAIL, |_, _, failed| {
        failed.worked();
    });
}

/// `delete`: where it fails, another finishes the work.
#[test]
fn every_call_of_delete_can_fail() {
    let words = &["delete", "--force", ID];
    let delete = Trial { words, follows: false, each: CREATE, ..RUN };
    delete.at_each_call(FAIL, |place, bundle, failed| {
        if !failed.worked() {
            place.delete(bundle);
        }
    });
}

/// `run` killed at each of its calls, or the container's process at each of its.
#[test]
fn killed_at_every_call_of_run() {
    RUN.at_each_call(KILL, |place, bundle, _| {
        place.call(&["list"]).ok();
        place.delete(bundle);
    });
}
