//! Many `run`s at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::peer::{Peer, succeed};
use super::site::{Kind, Site};
use crate::interrupt;
use crate::process::Words;

/// At how many at a time.
pub(crate) const WIDTHS: [usize; 5] = [1, 4, 8, 16, 64];

/// What one peer did at one width.
pub(crate) struct Burst {
    /// The peer.
    pub(crate) peer: String,
    /// From the first spawn to the last wait, and each run's own time; or the first failure
    /// and how many failed.
    pub(crate) result: Result<(Duration, Vec<Duration>), String>,
}

/// Lets each peer do `count` runs, `width` at a time, in four interleaved parts.
///
/// # Errors
/// Interrupted.
pub(crate) fn measure(
    site: &Site,
    peers: &[Peer],
    kind: Kind,
    width: usize,
    count: usize,
) -> anyhow::Result<Vec<Burst>> {
    const PARTS: usize = 4;
    let mut bursts: Vec<Burst> = peers
        .iter()
        .map(|peer| Burst { peer: peer.name.clone(), result: Ok((Duration::ZERO, Vec::new())) })
        .collect();
    let each = count.div_ceil(PARTS).max(width);
    for part in 0..PARTS {
        for (peer, burst) in peers.iter().zip(&mut bursts) {
            interrupt::check()?;
            let Ok((total, times)) = &mut burst.result else { continue };
            settle()?;
            match part_of(site, peer, kind, width, each, part) {
                Ok((time, part)) => {
                    *total += time;
                    times.extend(part);
                }
                Err(message) => burst.result = Err(message),
            }
        }
    }
    Ok(bursts)
}

/// Waits until the processors have next to nothing to do, two seconds at most. The kernel
/// clears network namespaces away when their processes are long gone: what one peer has left
/// of them must not be done in the next one's time, least of all what the fastest has left.
fn settle() -> anyhow::Result<()> {
    const LONGEST: Duration = Duration::from_secs(2);
    // Ten ticks of each processor's clock.
    const LOOK: Duration = Duration::from_millis(100);
    let start = Instant::now();
    let mut before = Ticks::now()?;
    while start.elapsed() < LONGEST {
        thread::sleep(LOOK);
        let now = Ticks::now()?;
        let (idle, all) = (now.idle - before.idle, now.all - before.all);
        if idle * 10 >= all * 9 {
            break;
        }
        before = now;
    }
    Ok(())
}

/// What the processors have done since boot, proc_stat(5).
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        let idle = ticks.get(3).copied().context("/proc/stat has no idle time")?;
        // What is done for guests counts as user time already.
        Ok(Self { idle, all: ticks.iter().take(8).sum() })
    }
}

fn part_of(
    site: &Site,
    peer: &Peer,
    kind: Kind,
    width: usize,
    count: usize,
    part: usize,
) -> Result<(Duration, Vec<Duration>), String> {
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::with_capacity(count));
    let failures = Mutex::new(Vec::new());
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                let Ok(mut words) = Words::new() else { return };
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || interrupt::seen() {
                        return;
                    }
                    let id = format!("{}w{width}p{part}n{number}", site.prefix);
                    match succeed(&mut peer.run(site, kind, &id), &mut words) {
                        Ok(time) => lock(&times).push(time),
                        Err(error) => {
                            lock(&failures).push(format!("{error:#}"));
                            if !peer.floor {
                                let _ = peer.delete(site, &id);
                            }
                            // A peer that hangs would keep everyone waiting.
                            next.store(count, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let time = start.elapsed();
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(first) = failures.first() {
        return Err(format!("{} of {count} failed: {first}", failures.len()));
    }
    Ok((time, times.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
