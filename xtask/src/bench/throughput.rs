//! Many `run`s at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
