//! Delete: a process is forgotten when its streams are empty, and a container when the runtime
//! has removed it.

use std::time::Duration;

use crate::container::{Exit, Phase};
use crate::job::{Job, Kind, missing};
use crate::message::Timestamp;
use crate::message::event::TaskDelete;
use crate::message::task::{DeleteRequest, DeleteResponse};
use crate::poller::Token;
use crate::server::{Caller, Shim};
use crate::ttrpc::{Code, Failure};

/// The longest time that a deletion waits for a client to read what is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// A deletion that waits for streams to drain.
#[derive(Debug)]
pub(crate) struct Deletion {
    container: String,
    exec: String,
    caller: Caller,
}

impl Shim {
    /// Begins to delete a container or an exec.
    pub(crate) fn delete(&mut self, request: DeleteRequest, caller: Caller) -> Result<(), Failure> {
        let DeleteRequest { id, exec_id: exec } = request;
        let container = self.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
        let process = container.process(&exec).ok_or_else(|| missing(&exec))?;
        let never_ran = match process.phase {
            Phase::Created => process.pid.is_none() || exec.is_empty(),
            Phase::Failed => true,
            _ => false,
        };
        if process.deleting || !(process.exit_published || never_ran) {
            let text = format!("cannot delete a process that is {:?}", process.status(false));
            return Err(Failure::new(Code::FailedPrecondition, text.to_lowercase()));
        }
        process.deleting = true;
        let number = self.number();
        let (container, process) = (id.clone(), exec.clone());
        self.deletions.insert(number, Deletion { container, exec: process, caller });
        self.poller.set_timer(Token::Drain(number), PATIENCE);
        if never_ran {
            self.close_streams(&id, &exec);
        }
        let process = self.containers.get_mut(&id).and_then(|one| one.process(&exec));
        match process.is_some_and(|process| process.streams.is_empty()) {
            true => self.advance_deletions(&id, &exec),
            false => self.close_drained(&id, &exec),
        }
        Ok(())
    }

    /// Goes on with the deletion of a process whose streams are closed.
    pub(crate) fn advance_deletions(&mut self, id: &str, exec: &str) {
        let found = self
            .deletions
            .iter()
            .find(|(_, deletion)| deletion.container == id && deletion.exec == exec);
        if let Some(number) = found.map(|(number, _)| *number) {
            self.finish_deletion(number);
        }
    }

    /// The streams are empty, or patience is at its end.
    pub(crate) fn finish_deletion(&mut self, number: u32) {
        let Some(deletion) = self.deletions.remove(&number) else { return };
        self.poller.clear_timer(Token::Drain(number));
        let Deletion { container: id, exec, caller } = deletion;
        self.close_streams(&id, &exec);
        if !exec.is_empty() {
            let process = self.containers.get_mut(&id).and_then(|one| one.execs.remove(&exec));
            let answer = process.map_or_else(DeleteResponse::default, |process| {
                response(process.pid, process.exit)
            });
            self.reply(caller, &answer);
            return;
        }
        let force = self.containers.get(&id).is_some_and(|one| !one.init.exit_published);
        let begun = self.run_job(Kind::Delete, &id, "", Some(caller), |command| {
            command.arg("delete");
            if force {
                command.arg("--force");
            }
            command.arg(&id);
        });
        if let Err(failure) = begun {
            self.undo_deletion(&id);
            self.answer(caller, Err(failure));
        }
    }

    /// The runtime has removed a container, or not.
    pub(crate) fn finish_runtime_delete(&mut self, job: &Job, result: Result<(), Failure>) {
        let id = &job.container;
        let result = match result {
            // Somebody has removed it by hand: the aim is reached.
            Err(failure) if failure.code == Code::NotFound => Ok(()),
            other => other,
        };
        if let Err(failure) = result {
            self.undo_deletion(id);
            return self.answer_job(job, Err(failure));
        }
        let Some(container) = self.containers.get(id) else { return };
        let answer = response(container.init.pid, container.init.exit);
        self.forget_container(id);
        let event = TaskDelete {
            container_id: id.clone(),
            pid: answer.pid,
            exit_status: answer.exit_status,
            exited_at: answer.exited_at,
            id: String::new(),
        };
        self.publisher.publish("/tasks/delete", &event, &mut self.poller);
        if let Some(caller) = job.caller {
            self.reply(caller, &answer);
        }
    }

    fn undo_deletion(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.init.deleting = false;
        }
    }
}

fn response(pid: Option<i32>, exit: Option<Exit>) -> DeleteResponse {
    // What never ran counts as killed.
    let exit = exit.unwrap_or_else(|| Exit { status: 137, at: Timestamp::now() });
    DeleteResponse {
        pid: pid.unwrap_or_default().cast_unsigned(),
        exit_status: exit.status,
        exited_at: Some(exit.at),
    }
}
