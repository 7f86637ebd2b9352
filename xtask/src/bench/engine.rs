//! The engine `husk`: from its own exec to the program's first instruction, beside podman and
//! ctr; and many detached containers.
//!
//! All of it in a network and mount namespace of its own, with directories of its own: what
//! ends with a reboot on a tmpfs, as /run is one. Between two runs there is a pause, since the
//! kernel takes a network namespace apart after its last process, under the lock that the next
//! one's making needs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use super::containerd::Containerd;
use super::floor;
use super::statistics::Summary;
use crate::release;
use crate::scratch::{Scratch, Tmpfs};
use crate::test::debian_root;
use crate::{interrupt, process};

/// Detached containers at once.
const CROWD: usize = 100;

/// Between two runs.
const PAUSE: Duration = Duration::from_millis(100);

/// Longer than a monitor that has nothing to do keeps what it does not need.
const REST: Duration = Duration::from_secs(2);

/// For podman, which else asks for more descriptors than a machine may allow, and for systemd.
const PODMAN_SETTINGS: &str = "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

/// An engine under test: how it is called, and with what before the image's name.
pub(super) struct Subject {
    /// What it is called in the table.
    pub(super) name: &'static str,
    program: PathBuf,
    directories: Vec<String>,
    settings: PathBuf,
}

impl Subject {
    /// With storage of its own below `scratch`.
    pub(super) fn new(name: &'static str, program: PathBuf, scratch: &Path) -> Self {
        let at = |kind: &str| scratch.join(format!("{name}-{kind}")).display().to_string();
        let run = scratch.join("run").join(name).display().to_string();
        let directories = vec!["--root".to_owned(), at("root"), "--runroot".to_owned(), run];
        Self { name, program, directories, settings: scratch.join("containers.conf") }
    }

    /// With another runtime than its own choice.
    fn with_runtime(mut self, runtime: &str) -> Self {
        self.directories.extend(["--runtime".to_owned(), runtime.to_owned()]);
        self
    }

    /// A command of it.
    pub(super) fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.directories).args(arguments).stdin(Stdio::null());
        if self.settings.exists() {
            command.env("CONTAINERS_CONF", &self.settings);
        }
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
/// The build fails, or a container of husk's cannot be run.
pub(super) fn measure(rounds: usize) -> anyhow::Result<()> {
    interrupt::note()?;
    let scratch = Scratch::new("bench-engine")?;
    let _run = Tmpfs::mount(&scratch.path().join("run"))?;
    let mut built = release::programs(&["husk-runtime", "husk-cli"])?.0;
    let husk = built.remove("husk").context("package husk-cli has no program husk")?;
    let image = image(scratch.path())?;
    fs::write(scratch.path().join("containers.conf"), PODMAN_SETTINGS)?;
    let mut subjects = vec![Subject::new("husk", husk, scratch.path())];
    if let Some(podman) = process::find("podman") {
        subjects.push(Subject::new("podman", podman.clone(), scratch.path()));
        // podman takes a --runroot of at most 50 bytes.
        let runc = Subject::new("runc", podman, scratch.path()).with_runtime("runc");
        let runc = Subject { name: "podman with runc", ..runc };
        subjects.extend(process::find("runc").map(|_| runc));
    }
    println!("| engine | network | first instruction, ms: least | median | 95 % |");
    println!("|---|---|---|---|---|");
    for subject in &subjects {
        subject.output(&["import", "-c", "ENTRYPOINT [\"/now\"]", &image, "now"])?;
        for network in ["none", "bridge"] {
            interrupt::check()?;
            // With another on the bridge: its making is not every container's.
            let keeper = ["run", "-d", "--name", "keeper", "--network", network, "now", "stay"];
            let row = subject.output(&keeper).and_then(|_| {
                let run = ["run", "--rm", "--network", network, "now"];
                first_instructions(rounds, |_| subject.call(&run))
            });
            let _ = subject.output(&["rm", "-f", "keeper"]);
            print_row(subject.name, network, row);
        }
    }
    if let Some(husk) = subjects.first() {
        let saved = scratch.path().join("saved.tar").display().to_string();
        husk.output(&["save", "-o", &saved, "now"])?;
        print_row("ctr", "none", Containerd::measure(scratch.path(), &saved, rounds));
        crowd(husk)?;
    }
    for subject in &subjects[1..] {
        // Its storage may be mounted on itself.
        let _ = subject.output(&["system", "reset", "--force"]);
    }
    Ok(())
}

fn print_row(name: &str, network: &str, row: anyhow::Result<Summary>) {
    let row = match row {
        Ok(summary) => {
            let [least, median, late] =
                [summary.min, summary.median, summary.p95].map(|us| us / 1e3);
            format!("{least:.1} | {median:.1} | {late:.1}")
        }
        Err(error) => format!("{} | |", format!("{error:#}").replace('\n', " ")),
    };
    println!("| {name} | {network} | {row} |");
}

/// The tar of a Debian root with the program, or of the program alone where there is none.
fn image(scratch: &Path) -> anyhow::Result<String> {
    floor::compile("now", scratch)?;
    let image = scratch.join("now.tar");
    match debian_root::any() {
        Ok(debian) => drop(fs::copy(debian, &image)?),
        Err(error) => println!("The image is the program alone, without Debian's root: {error:#}"),
    }
    let tar = ["--append", "--file"];
    process::run(Command::new("tar").arg("-C").arg(scratch).args(tar).arg(&image).arg("now"))?;
    Ok(image.display().to_string())
}

/// Of what `command` makes, once a round.
pub(super) fn first_instructions(
    rounds: usize,
    command: impl Fn(usize) -> Command,
) -> anyhow::Result<Summary> {
    let mut samples = Vec::with_capacity(rounds);
    for round in 0..rounds {
        interrupt::check()?;
        std::thread::sleep(PAUSE);
        let mut command = command(round);
        let before = clock_gettime(ClockId::Monotonic);
        let said = process::output(&mut command)?;
        let after: u64 = said.trim().parse().with_context(|| format!("{said:?}"))?;
        let before = before.tv_sec.unsigned_abs() * 1_000_000_000 + before.tv_nsec.unsigned_abs();
        samples.push(Duration::from_nanos(after.saturating_sub(before)));
    }
    Summary::of(&samples).context("no rounds")
}

/// What detached containers cost: their monitors' private memory, listing them, and how long
/// their exit statuses, of which each is checked, take when they are killed.
fn crowd(husk: &Subject) -> anyhow::Result<()> {
    let names: Vec<String> = (0..CROWD).map(|number| format!("crowd{number}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut monitors = Vec::new();
    for name in &names {
        interrupt::check()?;
        husk.output(&["run", "-d", "--name", name, "--network", "none", "now", "stay"])?;
        monitors.push(husk.output(&["inspect", "-f", "{{.State.MonitorPid}} {{.Id}}", name])?);
    }
    std::thread::sleep(REST);
    let private: Vec<u64> = monitors
        .iter()
        .map(|line| private_kib(line.split(' ').next().unwrap_or_default()))
        .collect::<anyhow::Result<_>>()?;
    let (most, sum) = (private.iter().max().copied().unwrap_or(0), private.iter().sum::<u64>());
    let mut listings = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        husk.output(&["ps", "-q"])?;
        listings.push(start.elapsed());
    }
    let listed = Summary::of(&listings).context("no listing")?;
    println!("\n{CROWD} detached containers: a monitor has at most {most} KiB of private memory,");
    println!("all together {sum} KiB; `ps` takes {:.1} ms (median)", listed.median / 1e3);
    // In an order that no two runs share: by their ids, which are random.
    let id_of = |line: &String| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut order: Vec<(String, &str)> = monitors.iter().map(id_of).zip(names.drain(..)).collect();
    order.sort();
    let names: Vec<&str> = order.iter().map(|(_, name)| *name).collect();
    husk.output(&[&["kill"], names.as_slice()].concat())?;
    let start = Instant::now();
    let statuses = husk.output(&[&["wait"], names.as_slice()].concat())?;
    let right = statuses.lines().filter(|status| *status == "137").count();
    println!(
        "killed in random order: {right} of {CROWD} exit statuses right, all of them {:.0} ms later",
        start.elapsed().as_secs_f64() * 1e3
    );
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
