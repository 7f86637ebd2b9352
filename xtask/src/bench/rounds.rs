//! Interleaved rounds: every peer once a round, so that whatever else the machine does in
//! these minutes falls on all alike.

use std::time::Duration;

use super::measure::Measure;
use super::peer::Peer;
use super::site::Site;
use crate::interrupt;
use crate::process::Words;

/// What one peer's rounds came to.
pub(crate) struct Samples {
    /// The peer.
    pub(crate) peer: String,
    /// The times, or why there are none.
    pub(crate) result: Result<Vec<Duration>, String>,
}

struct Runner<'a> {
    peer: &'a Peer,
    words: Words,
    prepared: bool,
    result: Result<Vec<Duration>, String>,
}

/// Measures `count` rounds, after one that is not counted.
///
/// A peer that fails once is out of this measure: its message is the result.
///
/// # Errors
/// Interrupted; what was prepared is gone by then.
pub(crate) fn measure(
    site: &Site,
    peers: &[Peer],
    measure: Measure,
    count: usize,
) -> anyhow::Result<Vec<Samples>> {
    let mut runners = Vec::new();
    for peer in peers.iter().filter(|peer| !peer.floor || measure.has_floor()) {
        let prepared = measure.prepare(site, peer);
        runners.push(Runner {
            peer,
            words: Words::new()?,
            prepared: prepared.is_ok(),
            result: prepared.map(|()| Vec::new()).map_err(|error| format!("{error:#}")),
        });
    }
    let mut interrupted = Ok(());
    for round in 0..=count {
        interrupted = interrupt::check();
        if interrupted.is_err() {
            break;
        }
        // Whoever comes first in a round finds colder caches: that place goes round too.
        let offset = round % runners.len().max(1);
        let (front, back) = runners.split_at_mut(offset);
        for runner in back.iter_mut().chain(front) {
            runner.once(site, measure, round);
        }
    }
    for runner in runners.iter().filter(|runner| runner.prepared) {
        if let Err(error) = measure.finish(site, runner.peer) {
            eprintln!("xtask: {}: {error:#}", runner.peer.name);
        }
    }
    interrupted?;
    Ok(runners
        .into_iter()
        .map(|runner| Samples { peer: runner.peer.name.clone(), result: runner.result })
        .collect())
}

impl Runner<'_> {
    fn once(&mut self, site: &Site, measure: Measure, round: usize) {
        let Ok(samples) = &mut self.result else { return };
        match measure.once(site, self.peer, round, &mut self.words) {
            Ok(time) if round > 0 => samples.push(time),
            Ok(_) => {}
            Err(error) => {
                self.result = Err(format!("{error:#}"));
                // It may have left a container behind.
                let id = format!("{}r{round}", site.prefix);
                if !self.peer.floor {
                    let _ = self.peer.delete(site, &id);
                }
            }
        }
    }
}
