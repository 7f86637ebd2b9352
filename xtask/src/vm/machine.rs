//! One boot: qemu, its two serial lines, and the time limit.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::image::Image;
use crate::process::{find, wait_within};

/// What the script's last line begins with; the exit code follows.
pub(super) const END: &str = "husk-vm: exit ";

/// Which cgroup hierarchies systemd mounts, systemd(1) "KERNEL COMMAND LINE".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// cgroup v2 alone.
    Unified,
    /// v1 controllers; systemd's own processes in a v2 hierarchy without controllers.
    Hybrid,
    /// cgroup v1 alone.
    Legacy,
}

impl Hierarchy {
    /// The one that an option names.
    ///
    /// # Errors
    /// No such one.
    pub(super) fn named(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "unified" => Self::Unified,
            "hybrid" => Self::Hybrid,
            "legacy" => Self::Legacy,
            _ => bail!("--hierarchy {name}: there are unified, hybrid and legacy"),
        })
    }

    fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Unified => "systemd.unified_cgroup_hierarchy=1",
            Self::Hybrid => {
                "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0"
            }
            Self::Legacy => {
                "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
            }
        }
    }
}

/// How big the machine is and how long it may live.
pub(super) struct Size {
    /// Processors.
    pub(super) processors: usize,
    /// Memory, in MiB.
    pub(super) memory: usize,
    /// From power on to power off.
    pub(super) limit: Duration,
}

/// How a run in the machine ended.
pub(super) struct Ending {
    /// What came over the second serial line, without the last word.
    pub(super) output: String,
    /// The exit code, when the script came to its end.
    pub(super) code: Option<i32>,
    /// How long the machine lived.
    pub(super) time: Duration,
}

/// Boots with `payload` as the second disk; passes the output on as it comes.
///
/// `console` gets what the kernel and systemd say.
///
/// # Errors
/// qemu is missing or refuses to start.
pub(super) fn boot(
    image: &Image,
    payload: &Path,
    console: &Path,
    size: &Size,
    hierarchy: Hierarchy,
) -> anyhow::Result<Ending> {
    let start = Instant::now();
    let mut child = qemu(image, payload, console, size, hierarchy)?
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64")?;
    let output = child.stdout.take().context("no standard output")?;
    let reader = thread::spawn(move || copy(output));
    let mut complaints = child.stderr.take().context("no standard error")?;
    let complaints = thread::spawn(move || std::io::read_to_string(&mut complaints));
    let ended = wait_within(&mut child, size.limit, false)?;
    let (output, code) = reader.join().unwrap_or_default();
    let complaints = complaints.join().ok().and_then(Result::ok).unwrap_or_default();
    match ended {
        None => {
            crate::interrupt::check()?;
            eprintln!("xtask: the machine was stopped after {} s", size.limit.as_secs());
        }
        Some(status) if !status.success() => {
            bail!("qemu-system-x86_64: {status}: {}", crate::process::last_lines(&complaints))
        }
        Some(_) => {}
    }
    Ok(Ending { output, code, time: start.elapsed() })
}

fn qemu(
    image: &Image,
    payload: &Path,
    console: &Path,
    size: &Size,
    hierarchy: Hierarchy,
) -> anyhow::Result<Command> {
    let program: PathBuf = find("qemu-system-x86_64")
        .context("qemu-system-x86_64 is missing (Debian package qemu-system-x86)")?;
    let mut command = Command::new(program);
    let mut options = |words: &[&str]| {
        command.args(words);
    };
    options(&["-accel", "tcg,thread=multi", "-cpu", "max", "-display", "none"]);
    options(&["-nodefaults", "-no-user-config", "-no-reboot"]);
    options(&["-smp", &size.processors.to_string(), "-m", &size.memory.to_string()]);
    options(&["-kernel", &image.kernel.to_string_lossy()]);
    // The processor's own random numbers do: nobody trusts this machine with a secret.
    let arguments = format!(
        "root=/dev/nvme0n1 rw console=ttyS0 quiet loglevel=4 systemd.show_status=0 \
         apparmor=1 security=apparmor random.trust_cpu=on mitigations=off panic=-1 {}",
        hierarchy.kernel_arguments()
    );
    options(&["-append", &arguments]);
    // Two namespaces of one controller have fixed names; two controllers race for theirs.
    let root = format!("file={},if=none,id=root,format=raw,snapshot=on", image.root.display());
    let data = format!("file={},if=none,id=data,format=raw,cache=unsafe", payload.display());
    options(&["-drive", &root, "-drive", &data, "-device", "nvme,id=disks,serial=husk"]);
    options(&["-device", "nvme-ns,drive=root,bus=disks,nsid=1"]);
    options(&["-device", "nvme-ns,drive=data,bus=disks,nsid=2"]);
    options(&["-chardev", &format!("file,id=console,path={}", console.display())]);
    options(&["-serial", "chardev:console"]);
    options(&["-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"]);
    Ok(command)
}

fn copy(stream: impl std::io::Read) -> (String, Option<i32>) {
    let (mut text, mut code) = (String::new(), None);
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let words = String::from_utf8_lossy(&line).replace('\r', "");
        if let Some(end) = words.strip_prefix(END) {
            code = end.trim().parse().ok();
        } else {
            let _ = std::io::stdout().write_all(words.as_bytes());
            let _ = std::io::stdout().flush();
            text.push_str(&words);
        }
        line.clear();
    }
    (text, code)
}

/// The last lines of the console: why a machine did not come up.
pub(super) fn last_words(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
