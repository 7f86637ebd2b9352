//! Figures that a clock does not wobble: memory, size, system calls, instructions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::floor;
use super::peer::{Peer, judge};
use super::site::{Kind, Site};
use crate::process::{self, Words};

/// The instruments, built.
pub(crate) struct Instruments {
    peak: PathBuf,
    step: PathBuf,
}

impl Instruments {
    /// Compiles them into the site.
    ///
    /// # Errors
    /// No C compiler.
    pub(crate) fn build(site: &Site) -> anyhow::Result<Self> {
        Ok(Self {
            peak: floor::compile("peak", &site.work)?,
            step: floor::compile("step", &site.work)?,
        })
    }

    /// The greatest resident set of any process of one `run`, in bytes.
    ///
    /// # Errors
    /// The run fails.
    pub(crate) fn peak_memory(&self, site: &Site, peer: &Peer, kind: Kind) -> anyhow::Result<u64> {
        let said = under(&self.peak, &[], site, peer, kind, super::peer::DEADLINE)?;
        Ok(said.trim().parse::<u64>().context("peak")? * 1024)
    }

    /// Instructions in user space of one `run`, its container's included.
    ///
    /// # Errors
    /// The run fails, or has more of them than `patience` lets us count.
    pub(crate) fn instructions(
        &self,
        site: &Site,
        peer: &Peer,
        kind: Kind,
        patience: Duration,
    ) -> anyhow::Result<u64> {
        let said = under(&self.step, &[], site, peer, kind, patience)?;
        said.trim().parse().context("step")
    }
}

/// System calls of one `run`, its container's included.
///
/// # Errors
/// strace is missing, or the run fails under it.
pub(crate) fn system_calls(site: &Site, peer: &Peer, kind: Kind) -> anyhow::Result<u64> {
    let strace = process::find("strace").context("strace is missing (Debian package strace)")?;
    let table = site.work.join("strace");
    let output = table.to_string_lossy().into_owned();
    under(&strace, &["-f", "-c", "-o", &output], site, peer, kind, super::peer::DEADLINE)?;
    let table = fs::read_to_string(&table).context("strace's table")?;
    total_calls(&table).context("strace's table has no total")
}

/// The calls in the last line of `strace -c`'s table.
fn total_calls(table: &str) -> Option<u64> {
    let total = table.lines().rev().find(|line| line.ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

/// The program's size in bytes, and how many shared libraries it loads.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn size(program: &Path) -> anyhow::Result<(u64, u64)> {
    let bytes = fs::metadata(program).with_context(|| program.display().to_string())?.len();
    let libraries = Command::new("ldd").arg(program).stderr(Stdio::null()).output();
    let libraries = libraries
        .map(|out| String::from_utf8_lossy(&out.stdout).matches(" => ").count())
        .unwrap_or(0) as u64;
    Ok((bytes, libraries))
}

/// Runs one `run` of `peer` under `tool` and returns what the tool printed.
fn under(
    tool: &Path,
    options: &[&str],
    site: &Site,
    peer: &Peer,
    kind: Kind,
    patience: Duration,
) -> anyhow::Result<String> {
    let id = format!("{}t", site.prefix);
    let inner = peer.run(site, kind, &id);
    let mut printed = Words::new()?;
    let mut words = Words::new()?;
    let mut command = Command::new(tool);
    command
        .args(options)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(printed.stdio()?)
        .stderr(words.stdio()?);
    let outcome = process::run_within(&mut command, patience)?;
    if let Err(error) = judge(&outcome, &mut words) {
        if !peer.floor {
            let _ = peer.delete(site, &id);
        }
        bail!("{error:#}");
    }
    Ok(printed.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_fourth_column_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.416112         157      2637       141 total\n";
        assert_eq!(total_calls(table), Some(2637));
        assert_eq!(
            total_calls("100.00    0.000000           0        29           total\n"),
            Some(29)
        );
        assert_eq!(total_calls(""), None);
    }
}
