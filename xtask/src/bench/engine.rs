//! The engine `husk`: from its own exec to the program's first instruction, beside podman;
//! and many detached containers.
//!
//! All of it in a network and mount namespace of its own, with directories of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use super::floor;
use super::statistics::Summary;
use crate::cargo::{self, Profile};
use crate::scratch::Scratch;
use crate::{interrupt, process};

/// Detached containers at once.
const CROWD: usize = 100;

/// An engine under test: how it is called, and with what before the image's name.
pub(super) struct Subject {
    /// What it is called in the table.
    pub(super) name: &'static str,
    program: PathBuf,
    directories: Vec<String>,
}

impl Subject {
    /// With storage of its own below `scratch`.
    pub(super) fn new(name: &'static str, program: PathBuf, scratch: &Path) -> Self {
        let at = |kind: &str| scratch.join(format!("{name}-{kind}")).display().to_string();
        let directories = vec!["--root".to_owned(), at("root"), "--runroot".to_owned(), at("run")];
        Self { name, program, directories }
    }

    /// A command of it.
    pub(super) fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.directories).args(arguments).stdin(Stdio::null());
        command
    }

    /// What a command prints.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn output(&self, arguments: &[&str]) -> anyhow::Result<String> {
        process::output(&mut self.call(arguments))
    }
}

/// Goes on in namespaces of its own.
pub(super) fn enter(arguments: &[std::ffi::OsString]) -> anyhow::Error {
    let own = match process::own_path() {
        Ok(own) => own,
        Err(error) => return error,
    };
    let script = "ip link set lo up && exec \"$@\"";
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"])
        .arg(own)
        .args(arguments)
        .arg("--inside-namespace")
        .exec();
    anyhow::Error::from(error).context("unshare")
}

/// Measures and prints a table.
///
/// # Errors
/// The build fails, or a container cannot be run.
pub(super) fn measure(rounds: usize) -> anyhow::Result<()> {
    interrupt::note()?;
    let scratch = Scratch::new("bench-engine")?;
    let mut built = cargo::build(&["husk-runtime", "husk-engine"], Profile::Release)?;
    let husk = built.remove("husk").context("package husk-engine has no program husk")?;
    floor::compile("now", scratch.path())?;
    let image = scratch.path().join("now.tar");
    process::run(
        Command::new("tar").arg("-C").arg(scratch.path()).arg("-cf").arg(&image).arg("now"),
    )?;
    let image = image.display().to_string();
    let mut subjects = vec![Subject::new("husk", husk, scratch.path())];
    subjects
        .extend(process::find("podman").map(|path| Subject::new("podman", path, scratch.path())));
    println!("| engine | network | first instruction, ms: least | median | 95 % |");
    println!("|---|---|---|---|---|");
    for subject in &subjects {
        subject.output(&["import", "-c", "ENTRYPOINT [\"/now\"]", &image, "now"])?;
        for network in ["none", "bridge"] {
            interrupt::check()?;
            // With another on the bridge: its making is not every container's.
            let keeper = ["run", "-d", "--name", "keeper", "--network", network, "now", "stay"];
            let row = subject
                .output(&keeper)
                .and_then(|_| first_instructions(subject, network, rounds))
                .map(|summary| {
                    let [least, median, late] =
                        [summary.min, summary.median, summary.p95].map(|us| us / 1e3);
                    format!("{least:.1} | {median:.1} | {late:.1}")
                });
            let _ = subject.output(&["rm", "-f", "keeper"]);
            let row = row.unwrap_or_else(|error| format!("{error:#} | |"));
            println!("| {} | {network} | {} |", subject.name, row.replace('\n', " "));
        }
    }
    if let Some(husk) = subjects.first() {
        crowd(husk)?;
    }
    for subject in &subjects[1..] {
        // Its storage may be mounted on itself.
        let _ = subject.output(&["system", "reset", "--force"]);
    }
    Ok(())
}

fn first_instructions(subject: &Subject, network: &str, rounds: usize) -> anyhow::Result<Summary> {
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        interrupt::check()?;
        let mut command = subject.call(&["run", "--rm", "--network", network, "now"]);
        let before = clock_gettime(ClockId::Monotonic);
        let said = process::output(&mut command)?;
        let after: u64 = said.trim().parse().with_context(|| format!("{said:?}"))?;
        let before = before.tv_sec.unsigned_abs() * 1_000_000_000 + before.tv_nsec.unsigned_abs();
        samples.push(Duration::from_nanos(after.saturating_sub(before)));
    }
    Summary::of(&samples).context("no rounds")
}

/// What detached containers cost: their monitors' private memory, and listing them.
fn crowd(husk: &Subject) -> anyhow::Result<()> {
    let names: Vec<String> = (0..CROWD).map(|number| format!("crowd{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut most = 0;
    for name in &names {
        interrupt::check()?;
        husk.output(&["run", "-d", "--name", name, "--network", "none", "now", "stay"])?;
        let monitor = husk.output(&["inspect", "-f", "{{.State.MonitorPid}}", name])?;
        most = most.max(private_kib(monitor.trim())?);
    }
    let mut listings = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        husk.output(&["ps", "-q"])?;
        listings.push(start.elapsed());
    }
    let listed = Summary::of(&listings).context("no listing")?;
    println!("\n{CROWD} detached containers: a monitor has at most {most} KiB of private memory;");
    println!("`ps` takes {:.1} ms (median)", listed.median / 1e3);
    husk.output(&[&["rm", "-f"], names.as_slice()].concat()).map(drop)
}

/// smaps_rollup (proc_pid_smaps(5)), in KiB.
fn private_kib(pid: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let sizes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(sizes.sum())
}
