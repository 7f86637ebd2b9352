//! The runtime's half of the conversation in [`crate::sync::wire`], for `create` and `exec`.

pub mod fault;
pub mod wire;

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open};

use crate::explain::Explainer;
use crate::mech::proc::Proc;
use crate::report::{Code, Error, Result};
use crate::state::record;
use crate::sync::fault::Fault;
use crate::sync::wire::{Message, Wire};
use crate::timing::{self, Phase};

/// How often a process is looked at that others can stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long a process that was killed may take to be gone.
const DEATH: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A process of ours that has not run the program yet.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: Pid,
    /// The same.
    pub pidfd: OwnedFd,
}

impl Child {
    /// Kills and reaps it.
    pub fn kill(&self) {
        let _ = husk_sys::signal::send(self.pidfd.as_fd(), libc::SIGKILL);
        self.reap();
    }

    /// Waits for its end, and tells how it ended. Who traces it hears of that first and may
    /// keep it to himself; it is then left to whoever reaps what we leave.
    fn reap(&self) -> Option<WaitStatus> {
        let mut fds = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        let _ = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&DEATH)));
        let ended = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
        ended.ok().flatten().map(|(_, status)| status)
    }
}

/// What `create` and `exec` do at each message.
pub trait Reactions {
    /// Writes the id maps of the user namespace that the process has made.
    fn map_ids(&mut self, child: &Child) -> Result<()>;
    /// Runs the hooks of the runtime namespace.
    fn run_hooks(&mut self, child: &Child) -> Result<()>;
    /// The process that is to run the program is there.
    fn know(&mut self, child: &Child) -> Result<()>;
    /// Hands the listener of its filter to the agent.
    fn hand_over(&mut self, child: &Child, listener: &OwnedFd) -> Result<()>;
    /// All that can fail has not: does what comes before the program.
    fn make_ready(&mut self, child: &Child) -> Result<()>;
    /// Puts a fault into words.
    fn describe(&self, fault: &Fault) -> Error;
    /// Puts an end without a word into words.
    fn describe_death(&self, status: Option<WaitStatus>) -> Error;
}

/// The conversation with one process.
pub struct Conversation<'a> {
    /// Our end.
    pub wire: &'a Wire,
    /// A procfs with the process in it.
    pub proc: &'a Proc,
    /// Who speaks.
    pub child: Child,
    /// Who answers for the filter, `--seccomp-explain`.
    pub explainer: Option<Explainer>,
    /// Whether the process has set itself up outside of the pid namespace of the program's.
    pub enters_last: bool,
}

impl Conversation<'_> {
    /// Holds it until the program runs or the process waits for `start`.
    pub fn hold(&mut self, reactions: &mut impl Reactions) -> Result<()> {
        let mut speaker = Speaker { is_exposed: false, listener: None };
        let mut ready = false;
        loop {
            let Some((message, fd)) = self.receive(&speaker)? else {
                if ready {
                    timing::done(Phase::Exec);
                    return Ok(());
                }
                return Err(reactions.describe_death(self.child.reap()));
            };
            match (message, fd) {
                (Message::Unmapped, _) => {
                    reactions.map_ids(&self.child)?;
                    self.go()?;
                }
                (Message::Hooks, _) => {
                    reactions.run_hooks(&self.child)?;
                    self.go()?;
                }
                (Message::ListenerAt(number), _) => {
                    if let Some(explainer) = &mut self.explainer {
                        explainer.fetch(self.child.pid, self.child.pidfd.as_fd(), number)?;
                    }
                }
                (Message::Listener, Some(listener)) if self.enters_last && !speaker.is_exposed => {
                    // The agent is told of the program's process, which is not there yet.
                    speaker.listener = Some(listener);
                    self.go()?;
                }
                (Message::Listener, Some(listener)) => {
                    reactions.hand_over(&self.child, &listener)?;
                    self.go()?;
                }
                (Message::Born(number), _) if self.enters_last && !speaker.is_exposed => {
                    self.replace_child(number)?;
                    speaker.is_exposed = true;
                    reactions.know(&self.child)?;
                    if let Some(listener) = speaker.listener.take() {
                        reactions.hand_over(&self.child, &listener)?;
                    }
                    self.go()?;
                }
                (Message::Ready, _) if !ready => {
                    timing::done(Phase::Setup);
                    reactions.make_ready(&self.child)?;
                    ready = true;
                    self.go()?;
                }
                (Message::Fault(fault), _) => return Err(reactions.describe(&fault)),
                (other, _) => {
                    return Err(Error::new(
                        Code::Kernel,
                        "container process",
                        format_args!("sent {other:?} out of turn"),
                    ));
                }
            }
        }
    }

    /// Tells the process to go on.
    pub fn go(&self) -> Result<()> {
        match self.wire.send(&Message::Go) {
            // What it died of is said by what it sent before, or by its exit status.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::kernel("container process", "sendmsg", errno)),
        }
    }

    /// From here on the process that was cloned last is spoken with. It is a child of ours, so
    /// that its number is its own until it is reaped; the one that cloned it has done its part.
    fn replace_child(&mut self, number: i32) -> Result<()> {
        let failed = |errno| Error::kernel("container process", "pidfd_open", errno);
        let pid = Pid::from_raw(number).ok_or_else(|| failed(Errno::INVAL))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
        let before = std::mem::replace(&mut self.child, Child { pid, pidfd });
        before.reap();
        if let Some(explainer) = &mut self.explainer {
            explainer.follow(pid);
        }
        Ok(())
    }

    /// The next message; None where the process has ended or runs the program.
    fn receive(&mut self, speaker: &Speaker) -> Result<Option<(Message, Option<OwnedFd>)>> {
        if self.enters_last || self.explainer.is_some() {
            match self.wait(speaker)? {
                Event::Message => {}
                Event::End => return Ok(None),
            }
        }
        self.wire.receive().map_err(|e| Error::kernel("container process", "recvmsg", e))
    }

    /// Waits for a message. Whoever has reach of the process may end or stop it, or hold its
    /// end of the wire: none of that may keep us waiting.
    fn wait(&mut self, speaker: &Speaker) -> Result<Event> {
        let timeout = speaker.is_exposed.then_some(&LOOK);
        loop {
            let judged = self.explainer.as_ref().and_then(Explainer::listener);
            let listener = judged.or(speaker.listener.as_ref().map(AsFd::as_fd));
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.wire.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.child.pidfd.as_fd(), PollFlags::IN),
            ];
            fds.extend(listener.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let count = match poll(&mut fds, timeout) {
                Err(Errno::INTR) => continue,
                done => done.map_err(|e| Error::kernel("container process", "poll", e))?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready.first() == Some(&true) {
                return Ok(Event::Message);
            }
            if ready.get(1) == Some(&true) {
                // What it sent may have come after the look at the wire.
                return Ok(if self.has_message() { Event::Message } else { Event::End });
            }
            if ready.get(2) == Some(&true) {
                self.answer(speaker)?;
            }
            if count == 0 && self.runs_program()? && !self.has_message() {
                return Ok(Event::End);
            }
        }
    }

    fn has_message(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.wire.as_fd(), PollFlags::IN)];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&none)).is_ok_and(|count| count > 0)
    }

    /// Answers one call that the filter asks about.
    fn answer(&mut self, speaker: &Speaker) -> Result<()> {
        if let Some(explainer) = &mut self.explainer {
            return explainer.answer(Some(self.wire));
        }
        let Some(listener) = &speaker.listener else { return Ok(()) };
        let done = husk_sys::seccomp::receive(listener.as_fd())
            .and_then(|call| husk_sys::seccomp::let_pass(listener.as_fd(), call.id));
        match done {
            // Interrupted or killed meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::SRCH | Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::kernel("linux.seccomp", "answer", errno)),
        }
    }

    /// Whether the process runs the program already, though its end of the wire is open: then
    /// another has it. An error where a process of the container has stopped it.
    fn runs_program(&self) -> Result<bool> {
        let Some((state, flags)) = record::process_flags(self.child.pid, self.proc) else {
            return Ok(false);
        };
        if flags & record::FORKNOEXEC == 0 {
            return Ok(true);
        }
        let stopped = match state {
            b'T' => "stopped",
            // By somebody who traces us too, it is of the host and knows what it does.
            b't' if !self.is_traced_with_us() => "traced",
            _ => return Ok(false),
        };
        Err(Error::new(
            Code::Kernel,
            "container process",
            format_args!("was {stopped} by another process before it ran the program"),
        ))
    }

    fn is_traced_with_us(&self) -> bool {
        let own = record::tracer(rustix::process::getpid(), self.proc);
        own.is_some() && own == record::tracer(self.child.pid, self.proc)
    }
}

/// The state of the process that speaks.
struct Speaker {
    /// Whether processes of the container can see it.
    is_exposed: bool,
    /// A listener that nobody was told of yet: until then all its calls pass.
    listener: Option<OwnedFd>,
}

enum Event {
    Message,
    End,
}
