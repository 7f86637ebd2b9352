//! What is timed, one variant a row of the table.

use std::fs;
use std::time::Duration;

use anyhow::Context;

use super::peer::{Peer, succeed};
use super::site::{Kind, Site};
use crate::process::Words;

/// One thing that is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// `run` of /bin/true in a bundle.
    Run(Kind),
    /// The same with a `--root` that no run has used: nothing is cached.
    ColdRun(Kind),
    /// `create`, `start` and `delete --force` of a process that stays.
    Lifecycle,
    /// `exec` of /bin/true in a container that runs.
    Exec,
    /// `state` of a container that runs.
    State,
}

/// Every measure with the word that selects it and what it is called.
pub(crate) const MEASURES: [(&str, Measure, &str); 8] = [
    ("run", Measure::Run(Kind::Default), "run of /bin/true, the default bundle"),
    ("plain", Measure::Run(Kind::Plain), "the same without device rules"),
    ("profile", Measure::Run(Kind::Profile), "run with seccomp profile and device rules"),
    ("plain-profile", Measure::Run(Kind::PlainProfile), "run with seccomp profile only"),
    (
        "cold-profile",
        Measure::ColdRun(Kind::PlainProfile),
        "run with seccomp profile only, nothing cached",
    ),
    ("lifecycle", Measure::Lifecycle, "create + start + delete --force"),
    ("exec", Measure::Exec, "exec of /bin/true"),
    ("state", Measure::State, "state"),
];

impl Measure {
    /// Whether the floor has something to compare with.
    pub(crate) fn has_floor(self) -> bool {
        matches!(self, Self::Run(_) | Self::ColdRun(_))
    }

    /// Makes what every round needs.
    ///
    /// # Errors
    /// The container that stays cannot be started.
    pub(crate) fn prepare(self, site: &Site, peer: &Peer) -> anyhow::Result<()> {
        if matches!(self, Self::Exec | Self::State) {
            peer.create_and_start(site, &self.standing(site))?;
        }
        Ok(())
    }

    /// Removes what [`Self::prepare`] made.
    ///
    /// # Errors
    /// The container cannot be deleted.
    pub(crate) fn finish(self, site: &Site, peer: &Peer) -> anyhow::Result<()> {
        if matches!(self, Self::Exec | Self::State) {
            peer.delete(site, &self.standing(site))?;
        }
        Ok(())
    }

    /// Does it once; `number` makes the id unique.
    ///
    /// # Errors
    /// The peer failed or hung, in its own words.
    pub(crate) fn once(
        self,
        site: &Site,
        peer: &Peer,
        number: usize,
        words: &mut Words,
    ) -> anyhow::Result<Duration> {
        let id = format!("{}r{number}", site.prefix);
        match self {
            Self::Run(kind) => succeed(&mut peer.run(site, kind, &id), words),
            Self::ColdRun(kind) => {
                let state = site.work.join("cold").join(format!("{}-{number}", peer.name));
                fs::create_dir_all(&state).context("mkdir")?;
                let time = succeed(&mut peer.run_with_state(site, kind, &id, &state), words);
                let _ = fs::remove_dir_all(&state);
                time
            }
            Self::Lifecycle => {
                let made = peer.create_and_start(site, &id)?;
                Ok(made + peer.delete(site, &id)?)
            }
            Self::Exec => {
                succeed(peer.command(site).args(["exec", &self.standing(site), "/bin/true"]), words)
            }
            Self::State => succeed(peer.command(site).args(["state", &self.standing(site)]), words),
        }
    }

    fn standing(self, site: &Site) -> String {
        format!("{}s{self:?}", site.prefix)
    }
}
