//! The monitor's connections and what they ask for, while the container's program runs.

mod health;
mod sessions;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use husk_net::Service;

use super::client::{Client, Target};
use super::event_loop::EventLoop;
use super::failed;
use super::log::Log;
use super::probe::Checker;
use super::protocol::{Event, NOBODY, Request};
use super::session::Session;
use super::streams::{Stream, Streams};
use crate::container::Container;
use crate::error::{Result, file};
use crate::events;
use crate::runtime::Runtime;

const SIGKILL: i32 = 9;

/// How long after a signal the end that it stands for may be its doing.
const SIGNAL_DELAY: Duration = Duration::from_secs(10);

/// How long no connection is accepted after the process has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the event loop reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    /// SIGCHLD: first, so that an exit is seen before what it makes readable.
    Children,
    Program(Target, Stream),
    Client(u32),
    Listener,
    Service,
    AcceptAgain,
    /// The program is to run again.
    Again,
    /// The program was asked to end, and has had its time.
    Impatience,
    /// The next probe of the health check is due.
    Probe,
    /// The one that runs has had its time.
    ProbeLimit,
}

/// The container's program, once it runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) streams: Streams,
}

/// Connections, sessions and the program.
#[derive(Debug)]
pub(super) struct Server {
    container: Container,
    runtime: Runtime,
    events: EventLoop<Token>,
    listener: Rc<OwnedFd>,
    children: Rc<OwnedFd>,
    clients: BTreeMap<u32, Client>,
    sessions: BTreeMap<u32, Session>,
    /// Exits of processes that nobody knew when they were reaped.
    strays: Vec<(Pid, i32)>,
    next: u32,
    log: Option<Log>,
    program: Option<Program>,
    /// Of the container's network; it may outlive the program.
    service: Option<Service>,
    /// What came before the program ran.
    early: Early,
    /// The terminal's size, as it was last asked for.
    size: Option<(u16, u16)>,
    exit: Option<i32>,
    has_run: bool,
    /// The signal that somebody was about to send (0: any), and when.
    by_hand: Option<(i32, Instant)>,
    /// The record was changed.
    changed: bool,
    checker: Option<Checker>,
    /// The program was asked to end because it is unhealthy, and is to run again.
    restarts_unhealthy: bool,
}

/// Why a monitor that waits to run the program again waits no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The time has come, or the policy may be another.
    Due,
    /// Somebody wants it now.
    Asked,
    /// Somebody wants it not at all.
    Stopped,
}

#[derive(Debug, Default)]
struct Early {
    input: Vec<u8>,
    input_ended: bool,
    signals: Vec<i32>,
}

impl Server {
    pub(super) fn new(container: &Container, runtime: Runtime, listener: OwnedFd) -> Result<Self> {
        let children = husk_sys::signal::children_into_fd().map_err(file("make", "a signalfd"))?;
        let mut server = Self {
            container: container.clone(),
            runtime,
            events: EventLoop::new(),
            listener: Rc::new(listener),
            children: Rc::new(children),
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            strays: Vec::new(),
            next: 0,
            log: Log::open(&container.directory, &container.record.config.log)?,
            program: None,
            service: None,
            early: Early::default(),
            size: None,
            exit: None,
            has_run: false,
            by_hand: None,
            changed: false,
            checker: None,
            restarts_unhealthy: false,
        };
        server.events.watch(Token::Children, &server.children, PollFlags::IN);
        server.events.watch(Token::Listener, &server.listener, PollFlags::IN);
        Ok(server)
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Takes a connection over, with what it has asked for by now; it is told of the start.
    pub(super) fn add(&mut self, mut client: Client) {
        client.awaits_start = true;
        let number = self.number();
        self.clients.insert(number, client);
        self.hear(number);
    }

    /// The size that the terminal is to have from the program's first instruction on.
    pub(super) fn initial_size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// Whether the program has run at all.
    pub(super) fn has_run(&self) -> bool {
        self.has_run
    }

    /// Whether somebody waits for the program to be started again. Who has left meanwhile does
    /// not count: a stop that failed has no restart after it.
    pub(super) fn is_restart_awaited(&mut self) -> bool {
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.hear(number));
        self.clients.values().any(|client| client.awaits_start && !client.closed)
    }

    /// Takes what was asked for by now.
    pub(super) fn listen(&mut self) {
        self.accept();
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.hear(number));
    }

    /// Whether the program has ended because somebody asked for that. A signal that a program
    /// survives (HUP: read the configuration again) says nothing of a later end.
    pub(super) fn is_stopped_by_hand(&self, exit_code: i32) -> bool {
        match self.by_hand {
            None => false,
            Some((0, _)) => true,
            Some((signal, at)) => exit_code == 128 + signal && at.elapsed() < SIGNAL_DELAY,
        }
    }

    /// Whether the program was ended to be run again, being unhealthy.
    pub(super) fn take_unhealthy_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarts_unhealthy)
    }

    /// What is to be served from the next start on.
    pub(super) fn set_container(&mut self, container: &Container) {
        self.container = container.clone();
    }

    fn take_changes(&mut self) {
        self.changed = true;
        if let Some(now) = self.container.reopened() {
            self.container = now;
            if self.program.is_some() {
                self.change_checks();
            }
        }
    }

    /// What was asked for is done: it is to run again.
    pub(super) fn forget_stop(&mut self) {
        self.by_hand = None;
    }

    fn note_by_hand(&mut self, signal: i32) {
        if self.by_hand.is_none_or(|(known, _)| known != 0) {
            self.by_hand = Some((signal, Instant::now()));
        }
    }

    /// Asks the program to end, and kills it if it has not after `patience`.
    pub(super) fn end_program(&mut self, signal: i32, patience: Duration) {
        self.signal(signal);
        self.events.set_timer(Token::Impatience, Some(Instant::now() + patience));
    }

    /// Serves while there is no program, until it is to run again.
    pub(super) fn rest_until(&mut self, due: Instant) -> Rest {
        loop {
            if self.is_restart_awaited() {
                return Rest::Asked;
            }
            let is_orphaned = self.clients.values().any(|client| client.owner && client.closed);
            if is_orphaned || self.by_hand.is_some_and(|(signal, _)| signal == 0) {
                return Rest::Stopped;
            }
            if Instant::now() >= due || std::mem::take(&mut self.changed) {
                return Rest::Due;
            }
            self.keep_clients(|client| !client.closed && (!client.leaving || client.is_behind()));
            self.events.set_timer(Token::Again, Some(due));
            self.register();
            match self.events.wait() {
                Ok(ready) => ready.into_iter().for_each(|token| self.dispatch(token)),
                // poll(2) wants memory that is not there.
                Err(_) => std::thread::sleep(due.saturating_duration_since(Instant::now())),
            }
        }
    }

    /// Tells those who wait for the start.
    pub(super) fn tell_starters(&mut self, event: &Event) {
        for client in self.clients.values_mut().filter(|client| client.awaits_start) {
            client.send(event);
        }
    }

    /// Tells everyone.
    pub(super) fn notice(&mut self, text: &str) {
        let notice = Event::Notice(text.to_owned());
        self.clients.values_mut().for_each(|client| client.send(&notice));
    }

    /// The program runs: tells so, and hands it what came before.
    pub(super) fn started(&mut self, program: Program, service: Option<Service>) {
        self.tell_starters(&Event::Started);
        self.clients.values_mut().for_each(|client| client.awaits_start = false);
        self.has_run = true;
        let early = std::mem::take(&mut self.early);
        let program = self.program.insert(program);
        program.streams.push_input(&early.input);
        if early.input_ended {
            program.streams.end_input();
        }
        for signal in early.signals {
            let _ = husk_sys::signal::send(program.pidfd.as_fd(), signal);
        }
        let Some(service) = service else { return };
        // Shared with the event loop by a duplicate: it is the same epoll instance.
        if let Ok(epoll) = service.as_fd().try_clone_to_owned() {
            self.events.watch(Token::Service, &Rc::new(epoll), PollFlags::IN);
        }
        self.service = Some(service);
    }

    /// Closes the published ports, their connections and the name server: before the network is
    /// torn down.
    pub(super) fn end_service(&mut self) {
        self.service = None;
        self.events.forget(Token::Service);
        self.register();
    }

    /// Serves until the container's program has ended and its output is drained. Gives its exit
    /// status; its connections are closed then.
    pub(super) fn serve(&mut self) -> i32 {
        // A program that has ended by now sent its signal before there was a descriptor for it.
        self.reap();
        while self.exit.is_none() {
            self.register();
            match self.events.wait() {
                Ok(ready) => ready.into_iter().for_each(|token| self.dispatch(token)),
                // poll(2) wants memory that is not there; the exit status must not be lost.
                Err(_) => self.wait_for_program(),
            }
            if self.clients.values().any(|client| client.owner && client.closed) {
                self.signal(SIGKILL);
            }
            self.keep_clients(|client| !client.closed && (!client.leaving || client.is_behind()));
        }
        self.end_checks();
        self.drain();
        self.events.set_timer(Token::Impatience, None);
        self.program = None;
        self.register();
        self.exit.take().unwrap_or(255)
    }

    fn keep_clients(&mut self, keeps: impl Fn(&Client) -> bool) {
        let events = &mut self.events;
        self.clients.retain(|number, client| {
            let kept = keeps(client);
            if !kept {
                events.forget(Token::Client(*number));
            }
            kept
        });
    }

    /// Asks to be woken for what can be done now.
    fn register(&mut self) {
        let events = &mut self.events;
        let behind = |clients: &BTreeMap<u32, Client>, target| {
            clients.values().any(|one| one.target == target && one.output && one.is_behind())
        };
        let nothing = Streams::default();
        let streams = self.program.as_ref().map_or(&nothing, |program| &program.streams);
        let target = Target::Container;
        let token = |stream| Token::Program(target, stream);
        streams.register(events, token, behind(&self.clients, target));
        for (number, session) in &self.sessions {
            let target = Target::Session(*number);
            let token = |stream| Token::Program(target, stream);
            let streams = if session.is_running() { &session.streams } else { &nothing };
            streams.register(events, token, behind(&self.clients, target));
        }
        for (number, client) in &self.clients {
            let is_full = match client.target {
                Target::Container => streams.is_full(),
                Target::Session(number) => {
                    self.sessions.get(&number).is_some_and(|session| session.streams.is_full())
                }
            };
            let mut interest = PollFlags::empty();
            if !is_full && !client.leaving {
                interest |= PollFlags::IN;
            }
            if client.is_behind() {
                interest |= PollFlags::OUT;
            }
            events.watch_if(Token::Client(*number), Some(&client.socket), interest);
        }
        let limit = self.service.as_ref().and_then(Service::timeout);
        events.set_timer(Token::Service, limit.map(|limit| Instant::now() + limit));
    }

    fn dispatch(&mut self, token: Token) {
        match token {
            Token::Children => {
                let _ = husk_sys::signal::pending(self.children.as_fd()).count();
                self.reap();
            }
            Token::Program(Target::Container, stream) => {
                let Some(program) = &mut self.program else { return };
                let (log, clients) = (&mut self.log, &mut self.clients);
                program.streams.serve(stream, &mut |stderr, data| {
                    deliver(log.as_mut(), clients, Target::Container, stderr, data);
                });
            }
            Token::Program(target @ Target::Session(number), stream) => {
                let is_probe = self.is_probe(number);
                let Some(session) = self.sessions.get_mut(&number) else { return };
                let (clients, checker) = (&mut self.clients, &mut self.checker);
                session.streams.serve(stream, &mut |stderr, data| match is_probe {
                    true => checker.iter_mut().for_each(|checker| checker.hear(data)),
                    false => deliver(None, clients, target, stderr, data),
                });
            }
            Token::Client(number) => self.hear(number),
            Token::Listener => self.accept(),
            Token::AcceptAgain => {
                self.events.watch(Token::Listener, &self.listener, PollFlags::IN);
            }
            Token::Again => {}
            Token::Probe => self.begin_probe(),
            Token::ProbeLimit => self.expire_probe(),
            Token::Impatience => {
                if self.program.is_some() {
                    self.signal(SIGKILL);
                }
            }
            Token::Service => {
                if let Some(service) = &mut self.service {
                    // It tries again by itself.
                    let _ = service.dispatch();
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let number = self.number();
                    self.clients.insert(number, Client::new(socket));
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(Errno::CONNABORTED) => {}
                // Out of descriptors or memory: the listener stays readable, and asking at once
                // would only spin.
                Err(_) => {
                    self.events.forget(Token::Listener);
                    let again = Instant::now() + ACCEPT_PAUSE;
                    self.events.set_timer(Token::AcceptAgain, Some(again));
                    return;
                }
            }
        }
    }

    /// Takes what a connection has asked for.
    fn hear(&mut self, number: u32) {
        // Taken out, so that what it asks can change everything else.
        let Some(mut client) = self.clients.remove(&number) else { return };
        client.flush();
        while !self.is_full(client.target)
            && !client.leaving
            && let Some(request) = client.receive()
        {
            self.handle(&mut client, request);
        }
        if client.closed {
            self.events.forget(Token::Client(number));
            if client.stdin {
                // As with `docker run -i`: the input ends with who gave it.
                self.end_input(client.target);
            }
        }
        self.clients.insert(number, client);
    }

    fn is_full(&self, target: Target) -> bool {
        match target {
            Target::Container => {
                self.program.as_ref().is_some_and(|program| program.streams.is_full())
            }
            Target::Session(number) => {
                self.sessions.get(&number).is_some_and(|session| session.streams.is_full())
            }
        }
    }

    fn handle(&mut self, client: &mut Client, request: Request) {
        if !matches!(request, Request::ByHand(_) | Request::Changed | Request::Session(_)) {
            client.awaits_end = true;
        }
        match request {
            Request::Attach { stdin } => {
                if client.target == Target::Container {
                    events::container::record_current(&self.container, "attach", &[]);
                }
                client.output = true;
                client.stdin = stdin;
                self.tell_known_end(client);
            }
            Request::Wait => {
                client.output = false;
                self.tell_known_end(client);
            }
            Request::Input(data) if client.stdin => self.push_input(client.target, &data),
            Request::EndOfInput if client.stdin => self.end_input(client.target),
            Request::Input(_) | Request::EndOfInput => {}
            Request::Size(rows, columns) => self.resize(client.target, rows, columns),
            Request::Signal(signal) => match client.target {
                Target::Container => self.signal(signal),
                Target::Session(number) => {
                    if let Some(session) = self.sessions.get_mut(&number) {
                        session.signal(signal);
                    }
                }
            },
            Request::Detach => {
                self.record_detach(client.target);
                client.stdin = false;
                client.closed = true;
            }
            Request::Own => client.owner = true,
            Request::Session(id) => match self.session(&id) {
                Ok(number) => client.target = Target::Session(number),
                Err(error) => client.send_last(&failed(&error)),
            },
            Request::Start => {
                if let Target::Session(number) = client.target {
                    self.start_session(client, number);
                }
            }
            Request::Restart => client.awaits_start = true,
            Request::ByHand(NOBODY) => self.forget_stop(),
            Request::ByHand(signal) => self.note_by_hand(signal),
            Request::Stop(signal, patience) => {
                self.note_by_hand(0);
                if self.program.is_some() {
                    self.end_program(signal, Duration::from_millis(patience.into()));
                }
            }
            Request::Changed => self.take_changes(),
        }
    }

    /// Somebody has left what goes on.
    fn record_detach(&self, target: Target) {
        match target {
            Target::Container => events::container::record_current(&self.container, "detach", &[]),
            Target::Session(number) => {
                if let Some(session) = self.sessions.get(&number) {
                    let attributes = [("execID", session.id())];
                    events::container::record_current(&self.container, "exec_detach", &attributes);
                }
            }
        }
    }

    fn push_input(&mut self, target: Target, data: &[u8]) {
        match (target, &mut self.program) {
            (Target::Session(number), _) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.streams.push_input(data);
                }
            }
            (Target::Container, Some(program)) => program.streams.push_input(data),
            (Target::Container, None) => self.early.input.extend_from_slice(data),
        }
    }

    fn end_input(&mut self, target: Target) {
        match (target, &mut self.program) {
            (Target::Session(number), _) => {
                if let Some(session) = self.sessions.get_mut(&number) {
                    session.streams.end_input();
                }
            }
            (Target::Container, Some(program)) => program.streams.end_input(),
            (Target::Container, None) => self.early.input_ended = true,
        }
    }

    fn resize(&mut self, target: Target, rows: u16, columns: u16) {
        if let Target::Session(number) = target {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.resize(rows, columns);
            }
            return;
        }
        self.size = Some((rows, columns));
        if let Some(program) = &self.program {
            program.streams.resize(rows, columns);
            let (height, width) = (rows.to_string(), columns.to_string());
            let attributes = [("height", height.as_str()), ("width", width.as_str())];
            events::container::record_current(&self.container, "resize", &attributes);
        }
    }

    fn signal(&mut self, signal: i32) {
        match &self.program {
            Some(program) => {
                let _ = husk_sys::signal::send(program.pidfd.as_fd(), signal);
            }
            None => self.early.signals.push(signal),
        }
    }

    /// Reaps what has ended: the program, sessions, and what was left to us as the subreaper.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            ended.push((pid, exit_code(status)));
        }
        self.take_ends(ended);
    }

    /// Waits for the program and nothing else.
    fn wait_for_program(&mut self) {
        while self.exit.is_none() {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => self.take_ends(vec![(pid, exit_code(status))]),
                Ok(None) | Err(Errno::INTR) => {}
                // ECHILD: someone else reaped it; nobody knows its status.
                Err(_) => self.exit = Some(255),
            }
        }
    }

    /// The rest of the output. Those attached who do not read (a stopped shell job) are not
    /// waited for here: the container could not be removed before. It is no more than a pipe
    /// holds, and kept for them until [`Server::farewell`].
    fn drain(&mut self) {
        let Some(program) = &mut self.program else { return };
        let (log, clients) = (&mut self.log, &mut self.clients);
        program.streams.drain(&mut |stderr, data| {
            deliver(log.as_mut(), clients, Target::Container, stderr, data);
        });
        if let Some(log) = &mut self.log {
            log.finish();
        }
    }

    /// What of the output could not be logged, in words.
    pub(super) fn log_gap(&self) -> Option<String> {
        self.log.as_ref().and_then(Log::gap)
    }

    /// Tells everyone the exit status; nothing more is said to them.
    pub(super) fn tell_exit(&mut self, code: i32) {
        self.accept();
        self.clients.values_mut().for_each(|client| client.send_last(&Event::Exited(code)));
    }

    /// Tells the exit status of a run that another may follow, to those who have asked for
    /// something by now; nothing more is said to them, except to those who wait for the start.
    pub(super) fn tell_exit_of_run(&mut self, code: i32) {
        for client in self.clients.values_mut().filter(|client| client.awaits_end) {
            match client.awaits_start {
                true => client.send(&Event::Exited(code)),
                false => client.send_last(&Event::Exited(code)),
            }
        }
    }

    /// Waits until everyone has taken what was said, or is gone.
    pub(super) fn farewell(&mut self) {
        loop {
            self.keep_clients(Client::is_behind);
            if self.clients.is_empty() {
                return;
            }
            let watched = |client| PollFd::from_borrowed_fd(client, PollFlags::OUT);
            let mut fds: Vec<PollFd<'_>> =
                self.clients.values().map(|client| watched(client.socket.as_fd())).collect();
            let _ = poll(&mut fds, None);
            drop(fds);
            self.clients.values_mut().for_each(Client::flush);
        }
    }
}

/// Writes output to the log and to those who want it.
fn deliver(
    log: Option<&mut Log>,
    clients: &mut BTreeMap<u32, Client>,
    target: Target,
    stderr: bool,
    data: &[u8],
) {
    if let Some(notice) = log.and_then(|log| log.write(stderr, data)) {
        // A full disk must not stop the program; those attached see why the log has a gap.
        let notice = Event::Notice(notice);
        clients.values_mut().for_each(|client| client.send(&notice));
    }
    let event = match stderr {
        true => Event::Stderr(data.to_vec()),
        false => Event::Stdout(data.to_vec()),
    };
    let wanting = |client: &&mut Client| client.output && client.target == target;
    clients.values_mut().filter(wanting).for_each(|client| client.send(&event));
}

fn exit_code(status: WaitStatus) -> i32 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).unwrap_or(255)
}
