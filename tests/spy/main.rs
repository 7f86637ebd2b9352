//! A static program for the inside of a test container that attacks every process that
//! appears in its pid namespace: `husk-spy MODE`, with what to look for in the environment.
//!
//! It writes a line to `/findings` for each thing that it got and should not have, `ready` to
//! the FIFO `/said` when it begins and `over N` to it when `/stop` is there, N being the number of
//! processes that it has seen; `SPY_PLACE` names another directory for the three. Process ids are given out in turn, so the next one is looked for by
//! its number: that takes a microsecond, where reading /proc takes a millisecond.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// How often one process is attacked at most.
const ATTEMPTS: usize = 400;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let Some(mut spy) = Spy::new(&mode) else {
        eprintln!("husk-spy: unknown mode {mode:?}");
        return ExitCode::FAILURE;
    };
    say("ready");
    while !place("stop").exists() {
        // Between two looks at the file for a while, which costs as much as an attack.
        for _ in 0..200 {
            spy.look();
        }
    }
    say(&format!("over {}", spy.seen));
    ExitCode::SUCCESS
}

fn place(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("SPY_PLACE").unwrap_or_else(|| "/".into())).join(name)
}

fn say(line: &str) {
    if let Ok(mut fifo) = OpenOptions::new().write(true).open(place("said")) {
        let _ = writeln!(fifo, "{line}");
    }
}

/// What is searched for.
struct Spy {
    attack: fn(&Self, i32) -> Vec<String>,
    own: i32,
    last: i32,
    seen: usize,
    found: BTreeSet<String>,
    findings: Option<File>,
    /// Texts that only the host has: in its mounts, its sockets, its command lines. They come
    /// reversed, so that they are not found in what the spy itself was given.
    marks: Vec<String>,
    /// The host's directory with a file `secret`.
    directory: String,
    /// Capabilities that processes of the container may have, as in /proc/PID/status.
    allowed: u64,
    /// Whether every process has to be under a seccomp filter.
    filtered: bool,
}

impl Spy {
    fn new(mode: &str) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let attack = match mode {
            "read" => Self::read,
            "write" => Self::write,
            "memory" => Self::memory,
            "trace" => Self::trace,
            "stop" => Self::stop,
            "kill" => Self::kill,
            "status" => Self::status,
            _ => return None,
        };
        let own = std::process::id() as i32;
        Some(Self {
            attack,
            own,
            last: own,
            seen: 0,
            found: BTreeSet::new(),
            findings: OpenOptions::new().append(true).create(true).open(place("findings")).ok(),
            marks: variable("SPY_MARKS").split_whitespace().map(reversed).collect(),
            directory: variable("SPY_DIRECTORY"),
            allowed: u64::from_str_radix(&variable("SPY_ALLOWED"), 16).unwrap_or(u64::MAX),
            filtered: variable("SPY_FILTERED") == "1",
        })
    }

    /// Attacks the processes that have come since the last time.
    fn look(&mut self) {
        for _ in 0..16 {
            let next = self.last + 1;
            if exists(next) {
                self.last = next;
                self.attack(next);
            }
        }
        // One that was too fast for us must not be waited for.
        if let Some(last) = last_number() {
            for pid in self.last + 1..=last {
                self.attack(pid);
            }
            self.last = last;
        }
    }

    fn attack(&mut self, pid: i32) {
        if !exists(pid) || pid == self.own {
            return;
        }
        self.seen += 1;
        for _ in 0..ATTEMPTS {
            for finding in (self.attack)(self, pid) {
                self.report(finding);
            }
            if !exists(pid) || exists(pid + 1) {
                break;
            }
        }
    }

    fn report(&mut self, finding: String) {
        if self.found.insert(finding.clone())
            && let Some(file) = &mut self.findings
        {
            let _ = writeln!(file, "{finding}");
        }
    }

    fn marked(&self, what: &str, text: &[u8]) -> Vec<String> {
        let holds = |mark: &&String| text.windows(mark.len()).any(|part| part == mark.as_bytes());
        self.marks.iter().filter(holds).map(|mark| format!("{what} shows {mark}")).collect()
    }

    /// Whatever can be read of a process, in the order of how soon it is gone.
    fn read(&self, pid: i32) -> Vec<String> {
        let mut findings = Vec::new();
        for link in ["root", "cwd"] {
            let secret = match link {
                "root" => format!("/proc/{pid}/root{}/secret", self.directory),
                _ => format!("/proc/{pid}/cwd/secret"),
            };
            if fs::read(secret).is_ok() {
                findings.push(format!("a file of the host was read through {link}"));
            }
        }
        for file in ["cmdline", "environ", "mountinfo", "net/tcp"] {
            if let Some(text) = contents(&format!("/proc/{pid}/{file}")) {
                findings.extend(self.marked(file, &text));
            }
        }
        for link in ["exe", "cwd", "root"] {
            if let Ok(target) = fs::read_link(format!("/proc/{pid}/{link}")) {
                findings.extend(self.marked(link, target.as_os_str().as_encoded_bytes()));
            }
        }
        findings.extend(self.descriptors(pid));
        findings
    }

    /// Descriptors that lead to the host; the first three are the caller's own gift.
    fn descriptors(&self, pid: i32) -> Vec<String> {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
        let numbers =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut findings = Vec::new();
        for number in numbers.filter(|number: &u32| *number > 2) {
            let path = format!("/proc/{pid}/fd/{number}");
            let Ok(target) = fs::read_link(&path) else { continue };
            findings.extend(self.marked("fd", target.as_os_str().as_encoded_bytes()));
            if target.starts_with("/sys/fs/cgroup") || target.starts_with("/proc") {
                findings.push(format!("a descriptor of {}", target.display()));
            }
            if fs::metadata(format!("{path}{}/secret", self.directory)).is_ok() {
                findings.push("a descriptor of the host's root".to_owned());
            }
        }
        findings
    }

    /// Makes files on the host, and changes the runtime's executable.
    fn write(&self, pid: i32) -> Vec<String> {
        let mut findings = Vec::new();
        let directory = &self.directory;
        for (link, base) in
            [("root", format!("/proc/{pid}/root{directory}")), ("cwd", format!("/proc/{pid}/cwd"))]
        {
            // Where there is no secret it is a directory of the container's own.
            let made = format!("{base}/made-by-{pid}");
            if fs::metadata(format!("{base}/secret")).is_ok() && File::create_new(&made).is_ok() {
                findings.push(format!("a file was made on the host through {link}"));
            }
        }
        findings.extend(self.change_executable(pid));
        findings
    }

    /// Opens the executable for reading, and that for writing when it does not run any more: the
    /// order of CVE-2019-5736.
    fn change_executable(&self, pid: i32) -> Option<String> {
        let exe = File::open(format!("/proc/{pid}/exe")).ok()?;
        let status = exe.metadata().ok()?;
        let is_own = |path: &str| {
            fs::metadata(path)
                .is_ok_and(|own| (own.dev(), own.ino()) == (status.dev(), status.ino()))
        };
        if is_own("/bin/busybox") || is_own("/bin/spy") {
            return None;
        }
        let again = format!("/proc/self/fd/{}", exe.as_raw_fd());
        for _ in 0..1000 {
            if OpenOptions::new().write(true).open(&again).is_ok() {
                // What a container of the same image runs is another file, and open to all
                // writes from the end of its program on, until its process is reaped.
                let why = "the runtime's executable was opened for writing";
                return (!is_of_the_image(&exe)).then(|| why.to_owned());
            }
            if !exists(pid) {
                break;
            }
        }
        None
    }

    /// The memory, where there may be what the caller was called with.
    fn memory(&self, pid: i32) -> Vec<String> {
        let Some(maps) = contents(&format!("/proc/{pid}/maps")) else { return Vec::new() };
        let Ok(memory) = File::open(format!("/proc/{pid}/mem")) else { return Vec::new() };
        let maps = String::from_utf8_lossy(&maps).into_owned();
        // Of the stack the end alone counts, where the words are.
        let stack = maps.lines().find(|line| line.ends_with("[stack]"));
        let Some((start, end)) = stack.and_then(range) else { return Vec::new() };
        let start = start.max(end.saturating_sub(64 << 10));
        let mut bytes = vec![0; (end - start) as usize];
        let read = std::os::unix::fs::FileExt::read_at(&memory, &mut bytes, start).unwrap_or(0);
        self.marked("memory", &bytes[..read])
    }

    fn trace(&self, pid: i32) -> Vec<String> {
        let Some(process) = Pid::from_raw(pid) else { return Vec::new() };
        if husk_sys::trace::attach(process).is_err() {
            return Vec::new();
        }
        let _ = waitpid(Some(process), WaitOptions::UNTRACED);
        let mut findings = self.read(pid);
        findings.extend(self.status(pid));
        let _ = husk_sys::trace::detach(process);
        // A stop that was on its way is not to stay.
        let _ = kill_process(process, Signal::CONT);
        findings
    }

    fn stop(&self, pid: i32) -> Vec<String> {
        if let Some(process) = Pid::from_raw(pid) {
            let _ = kill_process(process, Signal::STOP);
        }
        Vec::new()
    }

    fn kill(&self, pid: i32) -> Vec<String> {
        if let Some(process) = Pid::from_raw(pid) {
            let _ = kill_process(process, Signal::KILL);
        }
        Vec::new()
    }

    /// Whether a process has more than those of the container.
    fn status(&self, pid: i32) -> Vec<String> {
        let Some(text) = contents(&format!("/proc/{pid}/status")) else { return Vec::new() };
        let text = String::from_utf8_lossy(&text);
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let mut findings = Vec::new();
        for name in ["CapPrm", "CapEff", "CapBnd"] {
            let bits = field(name).and_then(|bits| u64::from_str_radix(bits, 16).ok());
            let more = bits.unwrap_or(0) & !self.allowed;
            if more != 0 {
                findings.push(format!("{name} has {more:x} beyond the container's"));
            }
        }
        if self.filtered && field("Seccomp").is_some_and(|mode| mode != "2") {
            findings.push("a process without the filter".to_owned());
        }
        findings
    }
}

/// Whether the bytes of a program are those of one in this image.
fn is_of_the_image(program: &File) -> bool {
    let bytes = |mut file: &File| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    let own = ["/bin/busybox", "/bin/spy"].into_iter().filter_map(|path| File::open(path).ok());
    let program = bytes(program);
    program.is_some() && own.into_iter().any(|file| bytes(&file) == program)
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The number given out last in this pid namespace, proc_loadavg(5).
fn last_number() -> Option<i32> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().last()?.parse().ok()
}

fn exists(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).join("comm").exists()
}

fn contents(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(1 << 20).read_to_end(&mut text).ok()?;
    Some(text)
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let end = rest.split(' ').next()?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}
