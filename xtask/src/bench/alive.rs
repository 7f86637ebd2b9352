//! A thousand containers alive at once.

use std::fs;
use std::path::Path;
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
    /// What the machine's available memory (MemAvailable) fell by, a container, in bytes:
    /// the kernel's part included, and whatever else ran here meanwhile.
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
    crowd
}

fn id(site: &Site, number: usize) -> String {
    format!("{}a{number}", site.prefix)
}

fn crowd(site: &Site, peer: &Peer, count: usize, made: &mut usize) -> anyhow::Result<Crowd> {
    let before = available()?;
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for number in 0..count {
        interrupt::check()?;
        *made = number + 1;
        let time = peer
            .create_and_start(site, &id(site, number))
            .with_context(|| format!("container {} of {count}", number + 1))?;
        times.push(time);
    }
    let memory = (before - available()?) / i64::try_from(count.max(1))?;
    let (own_processes, own_memory) = own_processes(&peer.path);
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

fn available() -> anyhow::Result<i64> {
    let table = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let kilobytes = table
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next())
        .context("no MemAvailable in /proc/meminfo")?;
    Ok(kilobytes.parse::<i64>().context("MemAvailable")? * 1024)
}

/// How many processes run `program`, and their resident bytes (proc_pid_statm(5)).
///
/// A runtime that runs from a sealed copy of itself still shows its command line.
fn own_processes(program: &Path) -> (usize, u64) {
    let page = rustix::param::page_size() as u64;
    let mut found = (0, 0);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let directory = entry.path();
        let same_file = fs::read_link(directory.join("exe")).is_ok_and(|exe| exe == program);
        let command = fs::read(directory.join("cmdline")).unwrap_or_default();
        let same_name = command
            .split(|byte| *byte == 0)
            .next()
            .is_some_and(|word| word == program.as_os_str().as_encoded_bytes());
        if same_file || same_name {
            let statm = fs::read_to_string(directory.join("statm")).unwrap_or_default();
            let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            found.0 += 1;
            found.1 += pages * page;
        }
    }
    found
}
