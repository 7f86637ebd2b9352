//! One call of a program, with a time limit.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::event::Process;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A program about to be called. Its output goes to files, not pipes: what a
/// detached container keeps open must not keep its reader waiting.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    out: PathBuf,
    err: PathBuf,
    words: Vec<String>,
}

impl Invocation {
    /// A call of `program` in `dir`, where its output is kept in files. In a
    /// directory of the test's own: crun 1.8.1 makes one called `auto` for
    /// `--rootless auto`, wherever it is.
    pub fn new(program: impl AsRef<OsStr>, dir: &std::path::Path) -> Invocation {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).current_dir(dir);
        Invocation {
            command,
            out: dir.join(format!("out.{number}")),
            err: dir.join(format!("err.{number}")),
            words: vec![program.as_ref().to_string_lossy().into_owned()],
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Invocation {
        self.words.push(arg.as_ref().to_string_lossy().into_owned());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Invocation {
        args.into_iter().fold(self, Invocation::arg)
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Invocation {
        self.command.env(key, value);
        self
    }

    /// Removes a variable of the environment.
    pub fn env_remove(mut self, key: &str) -> Invocation {
        self.command.env_remove(key);
        self
    }

    /// Sets the working directory.
    pub fn current_dir(mut self, dir: impl AsRef<std::path::Path>) -> Invocation {
        self.command.current_dir(dir);
        self
    }

    /// Gives the program a standard input.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Invocation {
        self.command.stdin(stdin);
        self
    }

    /// Starts the program and returns at once.
    pub fn spawn(mut self) -> Running {
        let file = |path| File::create(path).expect("a file for output");
        let child = self
            .command
            .stdout(file(&self.out))
            .stderr(file(&self.err))
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.words.join(" ")));
        Running { child, out: self.out, err: self.err, words: self.words, done: false }
    }

    /// Runs the program to its end.
    pub fn output(self) -> Output {
        self.spawn().wait()
    }

    /// Runs the program to its end; it must succeed.
    pub fn ok(self) -> Output {
        self.output().ok()
    }
}

/// A program that was started. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    words: Vec<String>,
    done: bool,
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("kill");
    }

    /// What it printed so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.out).expect("output")
    }

    /// Waits for its end. A program that takes longer than the limit is killed
    /// and the test fails.
    pub fn wait(mut self) -> Output {
        let process = Process::open(self.pid());
        process.wait();
        let status = self.child.wait().expect("wait");
        self.done = true;
        let read = |path| String::from_utf8_lossy(&fs::read(path).expect("output")).into_owned();
        Output {
            status,
            stdout: read(&self.out),
            stderr: read(&self.err),
            words: std::mem::take(&mut self.words),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            // It may be gone already: nothing to report.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Output {
    /// The status of the program.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    words: Vec<String>,
}

impl Output {
    /// The exit code; a program that died of a signal fails the test.
    pub fn code(&self) -> i32 {
        match self.status.code() {
            Some(code) => code,
            None => panic!("{} died of signal {:?}", self.words.join(" "), self.status.signal()),
        }
    }

    /// Fails the test unless the program succeeded.
    pub fn ok(self) -> Output {
        assert!(
            self.status.success(),
            "{}: {}\n{}{}",
            self.words.join(" "),
            self.status,
            clipped(&self.stdout),
            clipped(&self.stderr)
        );
        self
    }

    /// Fails the test unless the program reported an error: a code other than
    /// 0, no death by a signal, and something on standard error.
    pub fn refused(self) -> Output {
        let code = self.code();
        assert!(
            code != 0,
            "{}: no error\n{}{}",
            self.words.join(" "),
            clipped(&self.stdout),
            clipped(&self.stderr)
        );
        assert!(!self.stderr.trim().is_empty(), "{}: nothing on stderr", self.words.join(" "));
        self
    }

    /// Fails the test unless the error is Husk's kind: exit code 1, one line on
    /// standard error, and all of `words` in it.
    pub fn refused_in_one_line(self, words: &[&str]) -> Output {
        let output = self.refused();
        assert_eq!(output.code(), 1, "exit code; stderr: {}", output.stderr);
        let line = output.stderr.trim_end_matches('\n');
        assert!(!line.contains('\n'), "more than one line on stderr:\n{line}");
        for word in words {
            assert!(line.contains(word), "{word:?} is not named in: {line}");
        }
        output
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", self.words.join(" "), self.stdout))
    }

    /// The lines of standard output, trimmed at their ends.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().map(str::trim_end).collect()
    }

    /// Standard output without blanks at its ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// The start of a text that a failure shows.
fn clipped(text: &str) -> String {
    text.chars().take(600).collect()
}
