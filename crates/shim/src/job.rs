//! Commands of the runtime: each is a child process, and its end goes on with the call that
//! asked for it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use husk_oci_client::Outcome;

use crate::server::{Caller, Shim};
use crate::ttrpc::{Code, Failure};

/// Which command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Checkpoint,
    Restore,
    Start,
    Exec,
    Kill,
    /// `kill --all` after the death of a container's first process.
    KillAll,
    Pause,
    Resume,
    Update,
    Delete,
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) container: String,
    pub(crate) exec: String,
    pub(crate) caller: Option<Caller>,
    log: PathBuf,
}

impl Job {
    /// Whether a process comes of it, which may end before this does.
    pub(crate) fn makes_process(&self) -> bool {
        matches!(self.kind, Kind::Create | Kind::Restore | Kind::Exec)
    }
}

impl Shim {
    /// Starts a command of a container's runtime. Its end arrives at [`Shim::finish_job`].
    pub(crate) fn run_job(
        &mut self,
        kind: Kind,
        container: &str,
        exec: &str,
        caller: Option<Caller>,
        set_up: impl FnOnce(&mut Command),
    ) -> Result<(), Failure> {
        let number = self.number();
        let known = self.containers.get(container).ok_or_else(|| missing(container))?;
        let log = known.bundle.join(format!("runtime-{number}.json"));
        let mut command = known.runtime.command(&log);
        command.current_dir(&known.bundle).process_group(0);
        set_up(&mut command);
        let child = command
            .spawn()
            .map_err(|error| format!("execute {}: {error}", known.runtime.program().display()))?;
        let (container, exec) = (container.to_owned(), exec.to_owned());
        self.jobs.insert(child.id().cast_signed(), Job { kind, container, exec, caller, log });
        Ok(())
    }

    /// Goes on after a command has ended.
    pub(crate) fn finish_job(&mut self, job: Job, status: u32) {
        let outcome = Outcome::read(&job.log);
        let _ = std::fs::remove_file(&job.log);
        for warning in &outcome.warnings {
            self.log.warn(&job.container, warning);
        }
        let result = match (status, outcome.failure) {
            (0, _) => Ok(()),
            (_, Some(failure)) => {
                let code = match failure.code.as_deref() {
                    Some("not-found") => Code::NotFound,
                    Some("in-use") => Code::AlreadyExists,
                    Some("wrong-state") => Code::FailedPrecondition,
                    Some("usage" | "invalid-config") => Code::InvalidArgument,
                    _ => Code::Unknown,
                };
                Err(Failure::new(code, failure.message))
            }
            (status, None) => Err(Failure::new(
                Code::Unknown,
                format!("the runtime ended with status {status} and no message"),
            )),
        };
        match job.kind {
            Kind::Create => self.finish_create(&job, result),
            Kind::Checkpoint => self.finish_checkpoint(&job, result),
            Kind::Restore => self.finish_restore(&job, result),
            Kind::Start => self.finish_start(&job, result),
            Kind::Exec => self.finish_exec(&job, result),
            Kind::Kill => {
                // Callers look for these words to tell a process that has ended from a failure.
                let result = result.map_err(|failure| match failure.code {
                    Code::FailedPrecondition | Code::NotFound => {
                        Failure::new(Code::NotFound, "process already finished: not found")
                    }
                    _ => failure,
                });
                self.answer_job(&job, result);
            }
            Kind::KillAll => self.settle(&job.container),
            Kind::Pause => self.finish_pause(&job, result, true),
            Kind::Resume => self.finish_pause(&job, result, false),
            Kind::Update => {
                if let Some(container) = self.containers.get(&job.container) {
                    let _ = std::fs::remove_file(container.bundle.join(crate::task::RESOURCES));
                }
                self.answer_job(&job, result);
            }
            Kind::Delete => self.finish_runtime_delete(&job, result),
        }
        if !self.jobs.values().any(Job::makes_process) {
            self.unclaimed.clear();
        }
    }

    /// Answers the call behind a command: nothing, or its failure.
    pub(crate) fn answer_job(&mut self, job: &Job, result: Result<(), Failure>) {
        if let Some(caller) = job.caller {
            self.answer(caller, result.map(|()| Vec::new()));
        }
    }
}

/// The failure for an id that no container has.
pub(crate) fn missing(container: &str) -> Failure {
    Failure::new(Code::NotFound, format!("container {container} does not exist: not found"))
}
