//! The health check among what a monitor serves.

use std::time::{Duration, Instant};

use super::{SIGKILL, Server, Token};
use crate::container::health::{HealthStatus, OnUnhealthy};
use crate::container::state::State;
use crate::events;
use crate::monitor::probe::{self, Checker, Probe};
use crate::monitor::session::Session;

/// How long a program has after its stop signal where nothing else was asked for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Begins to check the program that was just started, if it is to be checked.
    pub(in crate::monitor) fn begin_checks(&mut self, state: &State) {
        match Checker::new(&self.container, state) {
            Ok(checker) => self.checker = checker,
            Err(error) => self.notice(&format!("the health check is not run: {error}")),
        }
        self.schedule_probe();
    }

    /// The container's check may be another, or none, by now: begins anew if it is.
    pub(super) fn change_checks(&mut self) {
        let asked = self.container.record.config.health.as_ref();
        if self.checker.as_ref().map(Checker::check) == asked {
            return;
        }
        self.end_checks();
        let Ok(state) = self.container.written_state() else { return };
        self.begin_checks(&state);
    }

    /// The program has ended, or is not to be checked any more.
    pub(super) fn end_checks(&mut self) {
        self.events.set_timer(Token::Probe, None);
        self.events.set_timer(Token::ProbeLimit, None);
        let Some(mut checker) = self.checker.take() else { return };
        if let Some(probe) = checker.probe.take() {
            // Its end is nobody's concern.
            if let Some(session) = self.sessions.get(&probe.session) {
                session.kill();
            }
        }
        checker.end(&self.container);
    }

    fn schedule_probe(&mut self) {
        let at = self.checker.as_ref().map(|checker| Instant::now() + checker.wait());
        self.events.set_timer(Token::Probe, at);
    }

    fn is_paused(&self) -> bool {
        self.container.run.join("paused").exists()
    }

    /// Runs the probe that is due.
    pub(super) fn begin_probe(&mut self) {
        // What is frozen answers no probe.
        if self.is_paused() {
            return self.schedule_probe();
        }
        let number = self.number();
        let Some(checker) = &mut self.checker else { return };
        checker.probe = Some(Probe::new(number));
        let begun = Session::probe(&self.container, &self.runtime, &checker.process);
        match begun {
            Ok(session) => {
                self.sessions.insert(number, session);
                let limit = Instant::now() + probe::JOIN_LIMIT;
                self.events.set_timer(Token::ProbeLimit, Some(limit));
            }
            Err(error) => self.end_probe(Err(error.to_string())),
        }
    }

    /// Whether the session is that of the probe.
    pub(super) fn is_probe(&self, session: u32) -> bool {
        let probe = self.checker.as_ref().and_then(|checker| checker.probe.as_ref());
        probe.is_some_and(|probe| probe.session == session)
    }

    /// The probe's program runs: its time begins.
    pub(super) fn time_probe(&mut self) {
        let limit = self.checker.as_ref().map(|one| Instant::now() + one.check().timeout());
        self.events.set_timer(Token::ProbeLimit, limit);
    }

    /// The probe has had its time: its end, which is reported as any other's, is its result.
    pub(super) fn expire_probe(&mut self) {
        let is_paused = self.is_paused();
        let Some(probe) = self.checker.as_mut().and_then(|checker| checker.probe.as_mut()) else {
            return;
        };
        probe.expire();
        probe.is_void |= is_paused;
        if let Some(session) = self.sessions.get(&probe.session) {
            session.kill();
        }
    }

    /// The probe has ended, with this exit status.
    pub(super) fn end_probe(&mut self, outcome: Result<i32, String>) {
        self.events.set_timer(Token::ProbeLimit, None);
        let Some(checker) = &mut self.checker else { return };
        let changed = checker.end_probe(&self.container, outcome);
        let action = checker.check().on_unhealthy;
        if let Some(status) = changed {
            // A probe alone is no event: the journal would hold little else.
            let change = format!("health_status: {}", status.name());
            events::container::record_current(&self.container, &change, &[]);
            if status == HealthStatus::Unhealthy {
                self.act_on_unhealthy(action);
            }
        }
        self.schedule_probe();
    }

    fn act_on_unhealthy(&mut self, action: OnUnhealthy) {
        match action {
            OnUnhealthy::None => {}
            OnUnhealthy::Restart => {
                self.restarts_unhealthy = true;
                self.stop_program();
            }
            OnUnhealthy::Stop => {
                self.note_by_hand(0);
                self.stop_program();
            }
            OnUnhealthy::Kill => self.signal(SIGKILL),
        }
    }

    fn stop_program(&mut self) {
        let config = &self.container.record.config;
        let signal = husk_sys::signal_name::number(&config.stop_signal).unwrap_or(15);
        let patience = config.stop_timeout.map_or(PATIENCE, Duration::from_secs);
        self.end_program(signal, patience);
    }
}
