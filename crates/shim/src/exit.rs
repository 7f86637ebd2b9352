//! How processes end, and in which order containerd is told.
//!
//! 1. An exit is told after the start of its process.
//! 2. A container's first process is told last, after all its execs.
//! 3. Where the container shares its pid namespace, the death of its first process kills the
//!    others before it is told.
//! 4. An OOM kill is told before the exit that it caused.

use rustix::process::{WaitOptions, WaitStatus};

use crate::container::{Exit, Phase};
use crate::job::{Job, Kind};
use crate::message::Timestamp;
use crate::message::event::{TaskExit, TaskOOM};
use crate::message::task::WaitResponse;
use crate::server::Shim;

impl Shim {
    /// Takes all children that have ended.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let Some(code) = exit_code(status) else { continue };
            if let Some(job) = self.jobs.remove(&pid) {
                self.finish_job(job, code);
            } else if let Some((container, exec)) = self.find_process(pid) {
                self.record_exit(&container, &exec, code, Timestamp::now());
            } else if self.jobs.values().any(Job::makes_process) {
                self.unclaimed.insert(pid, (code, Timestamp::now()));
            }
        }
    }

    fn find_process(&mut self, pid: i32) -> Option<(String, String)> {
        self.containers.iter_mut().find_map(|(id, container)| {
            let found = container
                .processes()
                .find(|(_, process)| process.pid == Some(pid) && process.exit.is_none());
            found.map(|(exec, _)| (id.clone(), exec.to_owned()))
        })
    }

    /// Notes how a process ended, and tells what can be told.
    pub(crate) fn record_exit(&mut self, id: &str, exec: &str, status: u32, at: Timestamp) {
        if let Some(process) = self.containers.get_mut(id).and_then(|one| one.process(exec)) {
            process.exit = Some(Exit { status, at });
        }
        self.settle(id);
    }

    /// Tells all exits of a container whose time has come.
    pub(crate) fn settle(&mut self, id: &str) {
        self.publish_oom(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        let due: Vec<String> = container
            .execs
            .iter()
            .filter(|(_, process)| process.has_exit_to_publish())
            .map(|(exec, _)| exec.clone())
            .collect();
        for exec in due {
            self.publish_exit(id, &exec);
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        if !container.init.has_exit_to_publish() {
            return;
        }
        if !container.owns_pid_namespace && !container.killed_all {
            container.killed_all = true;
            let begun = self.run_job(Kind::KillAll, id, "", None, |command| {
                command.args(["kill", "--all", id, "KILL"]);
            });
            match begun {
                Ok(()) => return,
                Err(failure) => self.log.warn(id, &failure.message),
            }
        }
        let Some(container) = self.containers.get(id) else { return };
        let killing =
            self.jobs.values().any(|job| job.kind == Kind::KillAll && job.container == id);
        if killing || container.execs.values().any(|process| process.is_live()) {
            return;
        }
        self.publish_oom(id);
        self.publish_exit(id, "");
    }

    fn publish_exit(&mut self, id: &str, exec: &str) {
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let Some(process) = process else { return };
        let Some(exit) = process.exit else { return };
        process.exit_published = true;
        let pid = process.pid.unwrap_or_default().cast_unsigned();
        let waiters = std::mem::take(&mut process.waiters);
        let event = TaskExit {
            container_id: id.to_owned(),
            // Of a container's first process, the container's id.
            id: if exec.is_empty() { id.to_owned() } else { exec.to_owned() },
            pid,
            exit_status: exit.status,
            exited_at: Some(exit.at),
        };
        self.publisher.publish("/tasks/exit", &event, &mut self.poller);
        for caller in waiters {
            let answer = WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) };
            self.reply(caller, &answer);
        }
        self.close_drained(id, exec);
    }

    /// Closes the streams of a process that has ended as soon as they are empty, whoever else
    /// holds their other ends: what the process wrote is there, and a client that reads to the
    /// end must not wait for a daemon that the process has left behind.
    pub(crate) fn close_drained(&mut self, id: &str, exec: &str) {
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let Some(process) = process else { return };
        if process.exit.is_none() && process.phase != Phase::Failed {
            return;
        }
        let streams = process.streams.clone();
        let full = streams.iter().filter(|number| !self.drain(**number)).count();
        if full == 0 {
            self.close_streams(id, exec);
            self.advance_deletions(id, exec);
        }
    }

    /// Closes the streams of a process, whatever is in them.
    pub(crate) fn close_streams(&mut self, id: &str, exec: &str) {
        let process = self.containers.get_mut(id).and_then(|one| one.process(exec));
        let Some(process) = process else { return };
        process.stdin_holder = None;
        process.readers.clear();
        process.console = None;
        process.coming = None;
        for number in std::mem::take(&mut process.streams) {
            self.remove_stream(number);
        }
    }

    /// OOM events of a container's cgroup have arrived.
    pub(crate) fn handle_oom(&mut self, number: u32) {
        let found = self.containers.iter().find(|(_, container)| container.number == number);
        if let Some(id) = found.map(|(id, _)| id.clone()) {
            self.publish_oom(&id);
        }
    }

    /// Tells of OOM kills since the last look, once the start is told. It is also called before
    /// each exit: the exit may be noticed before the event.
    fn publish_oom(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(watch) = &mut container.oom {
            match watch.kills() {
                Ok(kills) => container.oom_pending |= kills > 0,
                Err(_) => {
                    // The cgroup is gone, and no event will come any more.
                    self.poller.remove(&*watch);
                    container.oom = None;
                }
            }
        }
        let starting = matches!(container.init.phase, Phase::Creating | Phase::Starting);
        if !starting && std::mem::take(&mut container.oom_pending) {
            let event = TaskOOM { container_id: id.to_owned() };
            self.publisher.publish("/tasks/oom", &event, &mut self.poller);
        }
    }
}

/// The status that containerd expects of a process that has ended.
fn exit_code(status: WaitStatus) -> Option<u32> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(code.cast_unsigned()),
        (None, Some(signal)) => Some(128 + signal.cast_unsigned()),
        (None, None) => None,
    }
}
