//! Output of containers with their names before it, and `up` in the foreground.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use husk_engine::container::Container;
use husk_engine::stop;

use crate::arguments::{Logs, Up};
use crate::converge::Manner;
use crate::graph::at_once;
use crate::plan::{Action, Plan};
use crate::project::Failure;
use crate::run::note;
use crate::session::{Found, Session, engine};
use crate::source::Severity;

/// Colours of prefixes, as docker compose's: cyan, yellow, green, magenta, blue, and bright.
const COLORS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// What happens while `up` is in the foreground.
enum Event {
    Ended(String, String, i32),
    Signal,
}

/// How lines are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) prefix: bool,
    pub(crate) color: bool,
    pub(crate) width: usize,
}

impl Look {
    fn prefix(self, index: usize, name: &str) -> String {
        match (self.prefix, self.color) {
            (false, _) => String::new(),
            (true, false) => format!("{name:<width$} | ", width = self.width),
            (true, true) => {
                format!(
                    "\x1b[{}m{name:<width$} |\x1b[0m ",
                    COLORS[index % COLORS.len()],
                    width = self.width
                )
            }
        }
    }
}

/// Copies the lines of a stream with a prefix. A reader that has gone ends that.
fn copy_lines(stream: impl std::io::Read, prefix: &str, error: bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        let mut text = prefix.as_bytes().to_vec();
        text.extend_from_slice(&line);
        let written = match error {
            true => std::io::stderr().lock().write_all(&text),
            false => {
                let mut out = std::io::stdout().lock();
                out.write_all(&text).and_then(|()| out.flush())
            }
        };
        if written.is_err() {
            return;
        }
    }
}

impl Session<'_> {
    /// Starts `husk logs` of a container.
    fn log_reader(&self, id: &str, logs: &Logs) -> Result<Child, Failure> {
        let mut words = vec!["logs".to_owned()];
        if logs.follow {
            words.push("--follow".to_owned());
        }
        if logs.timestamps {
            words.push("--timestamps".to_owned());
        }
        for (flag, value) in
            [("--since", &logs.since), ("--until", &logs.until), ("--tail", &logs.tail)]
        {
            words.extend(value.as_ref().map(|value| format!("{flag}={value}")));
        }
        words.push(id.to_owned());
        let mut command = self.husk.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|e| format!("cannot read logs: {}", crate::load::plain(&e)))
    }

    /// `logs`.
    pub(crate) fn logs(&self, logs: &Logs) -> Result<u8, Failure> {
        let mut found = self.containers_of(&logs.services, false)?;
        found.retain(|one| logs.index.is_none_or(|index| one.existing.number == index));
        let width = found.iter().map(|one| one.short_name().len()).max().unwrap_or(0);
        let look = Look { prefix: !logs.no_log_prefix, color: self.color && !logs.no_color, width };
        std::thread::scope(|scope| -> Result<(), Failure> {
            for (index, one) in found.iter().enumerate() {
                let child = self.log_reader(&one.existing.id, logs)?;
                let prefix = look.prefix(index, one.short_name());
                match logs.follow {
                    // Together, as they come.
                    true => drop(scope.spawn(move || show(child, &prefix))),
                    false => show(child, &prefix),
                }
            }
            Ok(())
        })?;
        Ok(0)
    }

    /// `up` without `-d`: shows the output until all have ended or a signal comes, and stops
    /// them then.
    pub(crate) fn attached(
        &self,
        up: &Up,
        plan: &Plan,
        manner: Manner,
        since: &str,
    ) -> Result<u8, Failure> {
        let steps: Vec<_> = plan.services.iter().flat_map(|(_, steps)| steps).collect();
        let names: Vec<(String, String)> = steps
            .iter()
            .filter(|step| step.action != Action::Remove)
            .map(|step| (step.service.clone(), step.name.clone()))
            .collect();
        let shown = |service: &str| {
            let own =
                self.project.section_of("services", service).and_then(|node| node.get("attach"));
            let named = up.making.services.is_empty()
                || up.attach_dependencies
                || up.making.services.iter().any(|one| one == service);
            let attach = if up.attach.is_empty() {
                named
            } else {
                up.attach.iter().any(|one| one == service)
            };
            attach
                && !up.no_attach.iter().any(|one| one == service)
                && own.and_then(crate::node::Node::as_bool) != Some(false)
        };
        let short = |name: &str| {
            let rest =
                name.strip_prefix(&self.project.name).and_then(|rest| rest.strip_prefix('-'));
            rest.unwrap_or(name).to_owned()
        };
        let width = names.iter().map(|(_, name)| short(name).len()).max().unwrap_or(0);
        let look = Look { prefix: !up.no_log_prefix, color: self.color && !up.no_color, width };
        let (sender, receiver) = channel();
        let signals = signal_hook::iterator::Signals::new([2, 15]);
        let mut signals =
            signals.map_err(|e| format!("cannot wait for signals: {}", crate::load::plain(&e)))?;
        let handle = signals.handle();
        let on_signal = sender.clone();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                if on_signal.send(Event::Signal).is_err() {
                    return;
                }
            }
        });
        let readers: Mutex<Vec<std::thread::JoinHandle<()>>> = Mutex::new(Vec::new());
        let started =
            self.start_attached(plan, manner, !up.no_deps, &|index, service, container| {
                if shown(service) {
                    let logs = Logs {
                        follow: true,
                        timestamps: up.timestamps,
                        since: Some(since.to_owned()),
                        ..Logs::default()
                    };
                    let child = self.log_reader(container.id(), &logs)?;
                    let prefix = look.prefix(index, &short(&container.record.name));
                    let reader = std::thread::spawn(move || show(child, &prefix));
                    if let Ok(mut list) = readers.lock() {
                        list.push(reader);
                    }
                }
                watch_end(service, container, &sender);
                Ok(())
            });
        let code = match started {
            Ok(count) => self.attend(up, &receiver, count),
            Err(why) => {
                let _ = self.stop_all(manner.timeout);
                Err(why)
            }
        };
        handle.close();
        // The containers have ended, and so do their logs.
        for reader in readers.into_inner().unwrap_or_default() {
            let _ = reader.join();
        }
        code
    }

    fn start_attached(
        &self,
        plan: &Plan,
        manner: Manner,
        conditions: bool,
        attach: &(dyn Fn(usize, &str, &Container) -> Result<(), Failure> + Sync),
    ) -> Result<usize, Failure> {
        let mut index = 0;
        for (service, steps) in &plan.services {
            let due: Vec<_> = steps.iter().filter(|step| step.action != Action::Remove).collect();
            let runs = due.iter().all(|step| step.action == Action::Keep);
            if conditions && !runs {
                self.await_dependencies(service)?;
            }
            for step in due {
                let container = Container::find(self.home, &step.name).map_err(engine)?;
                match step.action {
                    Action::Keep => {}
                    Action::Restart => {
                        self.stop(&container, manner.timeout)?;
                        self.start(service, &container)?;
                    }
                    _ => self.start(service, &container)?,
                }
                attach(index, service, &container)?;
                index += 1;
            }
        }
        Ok(index)
    }

    /// Waits for ends and signals. Gives the exit code of `up`.
    fn attend(&self, up: &Up, receiver: &Receiver<Event>, count: usize) -> Result<u8, Failure> {
        let timeout = up.timeout.map(Duration::from_secs);
        let abort = up.abort_on_container_exit || up.exit_code_from.is_some();
        let mut code = 0;
        let mut left = count;
        let mut stopping = false;
        while left > 0 {
            match receiver.recv() {
                Ok(Event::Ended(service, name, status)) => {
                    left -= 1;
                    let short = name
                        .strip_prefix(&format!("{}-", self.project.name))
                        .unwrap_or(&name)
                        .to_owned();
                    note(Severity::Remark, &format!("{short} exited with code {status}"));
                    let first = (abort || up.abort_on_container_failure) && !stopping;
                    let counts = match &up.exit_code_from {
                        Some(wanted) => *wanted == service,
                        None => first,
                    };
                    if counts {
                        code = u8::try_from(status & 0xff).unwrap_or(255);
                    }
                    if !stopping && (abort || (up.abort_on_container_failure && status != 0)) {
                        note(Severity::Remark, "Aborting on container exit...");
                        stopping = true;
                        self.stop_all(timeout)?;
                    }
                }
                Ok(Event::Signal) if stopping => {
                    note(Severity::Remark, "Killing the containers...");
                    self.kill_all()?;
                    return Ok(130);
                }
                Ok(Event::Signal) => {
                    note(Severity::Remark, "Gracefully Stopping... press Ctrl+C again to force");
                    stopping = true;
                    code = 130;
                    self.stop_all(timeout)?;
                }
                Err(_) => break,
            }
        }
        Ok(code)
    }

    /// Stops everything that runs, what depends on others first.
    pub(crate) fn stop_all(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        let found = self.containers_of(&[], false)?;
        self.in_reverse(found, &|one| {
            if one.existing.running {
                self.stop(&one.container, timeout)?;
                self.done("Container", &one.existing.name, "Stopped");
            }
            Ok(())
        })
    }

    fn kill_all(&self) -> Result<(), Failure> {
        let found = self.containers_of(&[], false)?;
        at_once(&found, &|one| {
            let _ = stop::kill(self.home, &one.container, "KILL");
            Ok(())
        })
    }

    /// Does something with each container, what depends on others first.
    pub(crate) fn in_reverse(
        &self,
        found: Vec<Found>,
        work: &(dyn Fn(&Found) -> Result<(), Failure> + Sync),
    ) -> Result<(), Failure> {
        let mut by_service: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_service.entry(one.existing.service.clone()).or_default().push(one);
        }
        let graph = crate::graph::reversed(&self.order_of(&by_service));
        crate::graph::in_order(&graph, self.limit, &|name| {
            at_once(by_service.get(name).map(Vec::as_slice).unwrap_or_default(), work)
        })
    }
}

/// Tells the end of a container.
fn watch_end(service: &str, container: &Container, sender: &Sender<Event>) {
    let (service, container, sender) = (service.to_owned(), container.clone(), sender.clone());
    std::thread::spawn(move || {
        let code = stop::wait(&container).unwrap_or(255);
        let _ = sender.send(Event::Ended(service, container.record.name.clone(), code));
    });
}

/// Shows what a reader of logs says, to its end.
fn show(mut child: Child, prefix: &str) {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        if let Some(err) = err {
            scope.spawn(move || copy_lines(err, prefix, true));
        }
        if let Some(out) = out {
            copy_lines(out, prefix, false);
        }
    });
    let _ = child.wait();
}
