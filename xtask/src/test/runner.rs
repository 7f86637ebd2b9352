//! The test runner: nextest where it is installed, else cargo test.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Context;

use super::tally::Tally;
use crate::cargo::{self, Metadata, Profile};

/// Which runner there is, and which tests it is to run.
pub(super) struct Runner<'a> {
    /// For the tests of husk-seccomp, where it is not installed.
    pub(super) docker_profile: Option<PathBuf>,
    /// For the tests of husk-image and husk-cli.
    pub(super) debian_tar: Option<PathBuf>,
    nextest: bool,
    filters: &'a [String],
}

impl<'a> Runner<'a> {
    /// Looks for nextest.
    pub(super) fn find(filters: &'a [String]) -> Self {
        let mut command = cargo::command();
        command.args(["nextest", "--version"]).stderr(Stdio::null()).stdin(Stdio::null());
        let nextest = command.output().is_ok_and(|out| out.status.success());
        Self { docker_profile: None, debian_tar: None, nextest, filters }
    }

    fn command(&self) -> Command {
        let mut command = cargo::command();
        if self.nextest {
            command.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]);
            command.args(["--status-level=fail", "--final-status-level=fail"]);
        } else {
            command.args(["test", "--no-fail-fast"]);
        }
        command
    }

    fn filtered(&self, command: &mut Command) {
        command.arg("--").args(self.filters);
    }

    /// Unit and golden tests: all but the black-box suites.
    pub(super) fn unit(&self) -> anyhow::Result<Tally> {
        let mut command = self.command();
        command.arg("--workspace");
        if let Some(path) = &self.docker_profile {
            command.env(super::profile::VARIABLE, path);
        }
        if let Some(path) = &self.debian_tar {
            command.env(super::debian_root::VARIABLE, path);
        }
        if self.nextest {
            // A test that skips itself passes; its reason is in what it printed.
            command.arg("--success-output=immediate");
            // Built with the suites, so that their turn needs no build of other features.
            command.args(["-E", &format!("not (package({}) & kind(test))", cargo::SUITES)]);
        } else {
            command.args(["--exclude", cargo::SUITES, "--tests"]);
        }
        self.filtered(&mut command);
        tee(&mut command)
    }

    /// Documentation tests, which nextest does not run.
    pub(super) fn documentation(&self) -> anyhow::Result<Tally> {
        let mut command = cargo::command();
        command.args(["test", "--doc", "--workspace", "--no-fail-fast", "--quiet"]);
        self.filtered(&mut command);
        tee(&mut command)
    }

    /// The suites, told where the programs under test are.
    pub(super) fn black_box(
        &self,
        suites: &[&str],
        metadata: &Metadata,
        profile: Profile,
    ) -> anyhow::Result<Tally> {
        let programs = cargo::build(&metadata.programs(), profile)?;
        let mut command = self.command();
        if self.nextest {
            // A test that skips itself passes; its reason is in what it printed.
            command.args(["--success-output=immediate", "--workspace"]);
            command.args(["-E", &format!("package({})", cargo::SUITES)]);
        } else {
            command.args(["--package", cargo::SUITES]);
        }
        for suite in suites {
            command.args(["--test", suite]);
        }
        for (name, path) in &programs {
            command.env(name.to_uppercase().replace('-', "_"), path);
        }
        if let Some(runtime) = programs.get("husk-oci") {
            command.env("RUNTIME", runtime);
        }
        self.filtered(&mut command);
        tee(&mut command)
    }
}

/// Runs `command`, passes its words on as they come and counts the tests in them.
fn tee(command: &mut Command) -> anyhow::Result<Tally> {
    eprintln!("==> {}", crate::process::describe(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo")?;
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    let copies: Vec<_> =
        streams.into_iter().flatten().map(|stream| thread::spawn(move || copy(stream))).collect();
    let mut text = String::new();
    for copied in copies {
        text.push_str(&copied.join().unwrap_or_default());
    }
    let status = child.wait().context("wait")?;
    Ok(Tally::from_output(&text, status.success()))
}

fn copy(stream: Box<dyn Read + Send>) -> String {
    let mut text = String::new();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let words = String::from_utf8_lossy(&line);
        if !is_noise(&words) {
            let _ = std::io::stderr().write_all(&line);
        }
        text.push_str(&words);
        line.clear();
    }
    text
}

/// What a harness says of one test that passed, repeated by nextest for its output's sake:
/// indented, unlike what nextest and cargo test say for themselves.
fn is_noise(line: &str) -> bool {
    let words = line.trim();
    line.starts_with("    ")
        && (words == "running 1 test"
            || words.starts_with("test result: ok.")
            || words.ends_with(" ... ok"))
        || words.starts_with("stdout \u{2500}")
        || words.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_passing_test_of_nextest_is_noise() {
        assert!(is_noise("    test result: ok. 1 passed; 0 failed\n"));
        assert!(is_noise("    test a::b ... ok\n"));
        assert!(!is_noise("test result: ok. 3 passed; 0 failed\n"));
        assert!(!is_noise("    skipped: no podman\n"));
        assert!(!is_noise("    test a::b ... FAILED\n"));
        assert!(!is_noise("        FAIL [   0.5s] (3/9) husk-tests::conformance a::b\n"));
    }
}
