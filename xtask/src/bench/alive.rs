//! A thousand containers alive at once.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::peer::{Peer, succeed};
use super::site::Site;
use super::statistics::Summary;
use crate::interrupt;
use crate::process::Words;

/// What a peer's many containers came to.
#[derive(Serialize)]
pub(crate) struct Crowd {
    /// How many were alive.
    pub(crate) count: usize,
    /// `create` and `start` of the first tenth.
    pub(crate) first: Summary,
    /// The same of the last tenth.
    pub(crate) last: Summary,
    /// `list` with all of them alive, microseconds.
    pub(crate) list_us: f64,
    /// Memory a container, in bytes: its processes' own share (Pss), and what the kernel's
    /// tables, stacks and tmpfs grew by, whoever else made them grow meanwhile.
    pub(crate) memory: i64,
    /// Processes of the peer's own that stayed, all containers together.
    pub(crate) own_processes: usize,
    /// Their resident memory, in bytes.
    pub(crate) own_memory: u64,
}

/// Makes `count` containers, looks, and deletes them.
///
/// # Errors
/// Interrupted, or a step fails: the peer's own words. The containers are gone by then.
pub(crate) fn measure(site: &Site, peer: &Peer, count: usize) -> anyhow::Result<Crowd> {
    let mut made = 0;
    let crowd = crowd(site, peer, count, &mut made);
    for number in 0..made {
        if let Err(error) = peer.delete(site, &id(site, number)) {
            eprintln!("xtask: {}: delete: {error:#}", peer.name);
        }
    }
    let left = site.cgroups(&id_prefix(site));
    if let Some(first) = left.first() {
        eprintln!("xtask: {} left {} cgroups: {} ...", peer.name, left.len(), first.display());
    }
    crowd
}

fn id(site: &Site, number: usize) -> String {
    format!("{}{number}", id_prefix(site))
}

fn id_prefix(site: &Site) -> String {
    format!("{}a", site.prefix)
}

fn crowd(site: &Site, peer: &Peer, count: usize, made: &mut usize) -> anyhow::Result<Crowd> {
    let before = kernel_memory()?;
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for number in 0..count {
        interrupt::check()?;
        *made = number + 1;
        let time = peer
            .create_and_start(site, &id(site, number))
            .with_context(|| format!("container {} of {count}", number + 1))?;
        times.push(time);
    }
    let of_kernel = kernel_memory()? - before;
    let of_processes = Standing::find(site)?;
    let memory = (of_kernel + of_processes.shared_out) / i64::try_from(count.max(1))?;
    let (own_processes, own_memory) = of_processes.of(&peer.path);
    let list = succeed(peer.command(site).arg("list"), &mut Words::new()?).context("list")?;
    let tenth = count.div_ceil(10);
    Ok(Crowd {
        count,
        first: Summary::of(&times[..tenth]).context("no containers")?,
        last: Summary::of(&times[count - tenth..]).context("no containers")?,
        list_us: list.as_secs_f64() * 1e6,
        memory,
        own_processes,
        own_memory,
    })
}

/// What the kernel holds for processes, namespaces, mounts, cgroups and tmpfs, in bytes
/// (proc_meminfo(5)).
fn kernel_memory() -> anyhow::Result<i64> {
    const FIELDS: [&str; 5] = ["Slab", "KernelStack", "PageTables", "Percpu", "Shmem"];
    let table = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let kilobytes: i64 = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| FIELDS.contains(name))
        .filter_map(|(_, value)| value.split_whitespace().next()?.parse::<i64>().ok())
        .sum();
    Ok(kilobytes * 1024)
}

/// The processes of our containers, by their cgroup or their arguments.
struct Standing {
    /// What is theirs alone and their share of what they share (Pss), in bytes.
    shared_out: i64,
    processes: Vec<(PathBuf, PathBuf, u64)>,
}

impl Standing {
    fn find(site: &Site) -> anyhow::Result<Self> {
        let mut standing = Self { shared_out: 0, processes: Vec::new() };
        for entry in fs::read_dir("/proc").context("/proc")?.flatten() {
            let directory = entry.path();
            let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
            let (cgroup, command) = (read("cgroup"), read("cmdline"));
            let ours = |text: &[u8]| String::from_utf8_lossy(text).contains(site.prefix.as_str());
            if !ours(&cgroup) && !ours(&command) {
                continue;
            }
            let rollup = String::from_utf8_lossy(&read("smaps_rollup")).into_owned();
            let bytes = |key: &str| {
                let value = rollup.lines().find_map(|line| line.strip_prefix(key))?;
                Some(value.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
            };
            standing.shared_out += bytes("Pss:").unwrap_or(0).cast_signed();
            let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
            standing.processes.push((
                fs::read_link(directory.join("exe")).unwrap_or_default(),
                PathBuf::from(OsStr::from_bytes(program)),
                bytes("Rss:").unwrap_or(0),
            ));
        }
        Ok(standing)
    }

    /// How many of them run `program`, and their resident bytes.
    ///
    /// A runtime that runs from a sealed copy of itself still shows its command line.
    fn of(&self, program: &Path) -> (usize, u64) {
        self.processes
            .iter()
            .filter(|(exe, word, _)| exe == program || word == program)
            .fold((0, 0), |(count, sum), (.., resident)| (count + 1, sum + resident))
    }
}
