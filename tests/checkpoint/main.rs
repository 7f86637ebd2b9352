//! `checkpoint` and `restore`, which need CRIU: the program that the variable CRIU names, or the
//! one in PATH. Where there is none, or `criu check` says that it cannot work on this kernel, each
//! test says so and passes.
//!
//! `HUSK_CHECKPOINT_ROUNDS=200` has one container go back and forth that often.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod life;
mod programs;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, Container, path_text};
use husk_tests::event::until;
use husk_tests::invocation::{Invocation, Output};

/// A case with a CRIU that works.
struct Kit {
    case: Case,
    criu: PathBuf,
}

fn criu() -> Option<PathBuf> {
    static CRIU: OnceLock<Option<PathBuf>> = OnceLock::new();
    CRIU.get_or_init(|| {
        let path = std::env::var_os("CRIU").map_or_else(|| PathBuf::from("criu"), PathBuf::from);
        let checked = Command::new(&path)
            .arg("check")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        checked.is_ok_and(|status| status.success()).then_some(path)
    })
    .clone()
    .map(|path| match path.components().count() {
        1 => find(&path),
        _ => path,
    })
}

fn find(name: &std::path::Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.to_owned())
}

impl Kit {
    /// None where CRIU does not work here.
    fn new() -> Option<Self> {
        let Some(criu) = criu() else {
            // Past the test harness, which keeps what it captures of tests that pass.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no criu here that `criu check` is content with"
            );
            return None;
        };
        Some(Self { case: Case::new(), criu })
    }

    fn runtime(&self) -> Invocation {
        self.case.runtime().arg("--criu").arg(&self.criu)
    }

    fn images(&self) -> PathBuf {
        self.case.path("images")
    }

    fn checkpointing(&self, id: &str, flags: &[&str]) -> Invocation {
        self.runtime().args(["checkpoint", "--image-path"]).arg(self.images()).args(flags).arg(id)
    }

    fn checkpoint(&self, id: &str) {
        self.checkpointing(id, &[]).ok();
    }

    fn restoring(&self, bundle: &Bundle, flags: &[&str]) -> Invocation {
        self.runtime()
            .args(["restore", "--detach", "--bundle", path_text(bundle.dir()), "--pid-file"])
            .arg(self.case.path("restored"))
            .arg("--image-path")
            .arg(self.images())
            .args(flags)
            .arg(bundle.id())
    }

    fn restore(&self, bundle: &Bundle, flags: &[&str]) -> Container<'_> {
        self.restoring(bundle, flags).ok();
        self.case.container(bundle.id(), &self.case.path("restored"))
    }

    /// Restore fails in one line with all of `words`, and nothing is left of it.
    fn restore_refused(&self, bundle: &Bundle, words: &[&str]) -> Output {
        let output = self.restoring(bundle, &[]).output().refused_in_one_line(words);
        assert!(!self.case.path("restored").exists(), "a pid file is left");
        self.case.assert_nothing_left();
        output
    }
}

/// A program that writes how often it has been round to /tmp/n.
const COUNTER: &str = "exec >/dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >/tmp/next; \
    mv /tmp/next /tmp/n; sleep 0.02; done";

fn counter(case: &Case) -> Bundle {
    let mut bundle = case.bundle();
    bundle.shell(COUNTER);
    bundle
}

fn count(bundle: &Bundle) -> u64 {
    let text = std::fs::read_to_string(bundle.rootfs("tmp/n")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn until_above(bundle: &Bundle, number: u64) {
    until("the counter goes on", || count(bundle) > number);
}
