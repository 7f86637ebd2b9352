//! The exec sessions among what a monitor serves.

use rustix::process::Pid;

use super::{SIGKILL, Server, Token, deliver};
use crate::error::Result;
use crate::events;
use crate::monitor::client::{Client, Target};
use crate::monitor::failed;
use crate::monitor::protocol::Event;
use crate::monitor::session::{Progress, Session};
use crate::monitor::streams::Stream;

impl Server {
    /// Who asks about a session that is over is told how it ended.
    pub(super) fn tell_known_end(&mut self, client: &mut Client) {
        if let Target::Session(number) = client.target
            && let Some(session) = self.sessions.get(&number).filter(|one| one.is_ended())
        {
            client.send_last(&Event::Exited(session.exit_code().unwrap_or(255)));
            self.forget_session(number);
        }
    }

    /// The monitor's number for a session.
    pub(super) fn session(&mut self, id: &str) -> Result<u32> {
        if let Some((number, _)) = self.sessions.iter().find(|(_, one)| one.id() == id) {
            return Ok(*number);
        }
        let session = Session::open(&self.container, id)?;
        // Those that were only asked about are in the files.
        let clients = &self.clients;
        self.sessions.retain(|number, session| {
            let target = Target::Session(*number);
            !(session.is_created() || session.is_ended())
                || clients.values().any(|client| client.target == target)
        });
        let number = self.number();
        self.sessions.insert(number, session);
        Ok(number)
    }

    pub(super) fn start_session(&mut self, client: &mut Client, number: u32) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let was_created = session.is_created();
        match session.start(&self.runtime, &self.container) {
            Ok(()) => client.awaits_start = true,
            Err(error) => {
                client.send_last(&failed(&error));
                if was_created {
                    self.forget_session(number);
                }
            }
        }
    }

    /// Stops keeping a session that is over; its record stays.
    pub(super) fn forget_session(&mut self, number: u32) {
        self.sessions.remove(&number);
        let target = Target::Session(number);
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr] {
            self.events.forget(Token::Program(target, stream));
        }
    }

    pub(super) fn take_ends(&mut self, ended: Vec<(Pid, i32)>) {
        self.strays.extend(ended);
        // The runtime's end tells of a program that may be among them: until nothing is found.
        while let Some(at) = self.find_known_end() {
            self.strays.remove(at);
        }
        let starting = |session: &Session| {
            !session.is_running() && !session.is_created() && !session.is_ended()
        };
        if !self.sessions.values().any(starting) {
            self.strays = Vec::new();
        }
    }

    fn find_known_end(&mut self) -> Option<usize> {
        for at in 0..self.strays.len() {
            let (pid, status) = *self.strays.get(at)?;
            if self.program.as_ref().is_some_and(|program| program.pid == pid) {
                self.exit = Some(status);
                return Some(at);
            }
            let mut found = None;
            for (number, session) in &mut self.sessions {
                match session.ended(pid, status, &self.strays) {
                    Progress::Unconcerned => {}
                    progress => found = Some((*number, progress)),
                }
            }
            if let Some((number, progress)) = found {
                self.advance(number, progress);
                return Some(at);
            }
        }
        None
    }

    /// Tells those attached to a session what has become of it.
    fn advance(&mut self, number: u32, progress: Progress) {
        if self.is_probe(number) {
            return self.advance_probe(number, progress);
        }
        let target = Target::Session(number);
        let last = match progress {
            Progress::Unconcerned => return,
            Progress::Started(warnings) => {
                for client in self.clients.values_mut().filter(|one| one.target == target) {
                    for warning in &warnings {
                        client.send(&Event::Notice(warning.clone()));
                    }
                    if std::mem::take(&mut client.awaits_start) {
                        client.send(&Event::Started);
                    }
                }
                return;
            }
            Progress::Failed(error) => failed(&error),
            Progress::Exited(code) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    let clients = &mut self.clients;
                    session.streams.drain(&mut |stderr, data| {
                        deliver(None, clients, target, stderr, data);
                    });
                    session.end(Some(code), "");
                    if session.is_recorded() {
                        let (id, code) = (session.id().to_owned(), code.to_string());
                        let attributes = [("execID", id.as_str()), ("exitCode", code.as_str())];
                        events::container::record_current(&self.container, "exec_die", &attributes);
                    }
                }
                Event::Exited(code)
            }
        };
        for client in self.clients.values_mut().filter(|one| one.target == target) {
            client.send_last(&last);
        }
        self.forget_session(number);
    }

    /// The same of the health check's probe, to which nobody is attached.
    fn advance_probe(&mut self, number: u32, progress: Progress) {
        let outcome = match progress {
            Progress::Unconcerned => return,
            Progress::Started(_) => return self.time_probe(),
            Progress::Failed(error) => Err(error.to_string()),
            Progress::Exited(code) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    let checker = &mut self.checker;
                    session.streams.drain(&mut |_, data| {
                        checker.iter_mut().for_each(|checker| checker.hear(data));
                    });
                    session.end(Some(code), "");
                }
                Ok(code)
            }
        };
        self.forget_session(number);
        self.end_probe(outcome);
    }

    /// Ends the sessions that outlived the container's program, whose processes are killed by
    /// now: those of a container that has no pid namespace of its own, or that never got so far.
    pub(in crate::monitor) fn end_sessions(&mut self) {
        self.reap();
        let numbers: Vec<u32> = self.sessions.keys().copied().collect();
        for number in numbers {
            self.advance(number, Progress::Exited(128 + SIGKILL));
        }
    }
}
