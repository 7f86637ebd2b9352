//! Checkpoint, and a start that restores one.
//!
//! ```text
//! Checkpoint           `checkpoint`             -> TaskCheckpointed, and TaskExit if it is to end
//! Create (checkpoint)  mounts                   -> TaskCreate, without a process
//! Start                streams, `restore`       -> TaskStart
//! ```

use prost::Message as _;

use crate::container::Phase;
use crate::job::{Job, Kind, missing};
use crate::message::event::{TaskCheckpointed, TaskStart};
use crate::message::options::CheckpointOptions;
use crate::message::task::{CheckpointTaskRequest, CreateTaskResponse, StartResponse};
use crate::server::{Caller, Shim};
use crate::start::{INIT_PID, read_pid};
use crate::ttrpc::{Code, Failure};

fn read_options(request: &CheckpointTaskRequest) -> Result<CheckpointOptions, Failure> {
    let Some(any) = request.options.as_ref().filter(|any| !any.type_url.is_empty()) else {
        return Ok(CheckpointOptions::default());
    };
    let refuse = |text: String| Err(Failure::new(Code::InvalidArgument, text));
    match any.type_name() {
        "containerd.runc.v1.CheckpointOptions" => CheckpointOptions::decode(any.value.as_slice())
            .or_else(|error| refuse(format!("options: {error}"))),
        other => refuse(format!("options of type {other:?} are not supported")),
    }
}

impl Shim {
    /// Begins to checkpoint a container.
    pub(crate) fn checkpoint(
        &mut self,
        request: CheckpointTaskRequest,
        caller: Caller,
    ) -> Result<(), Failure> {
        let options = read_options(&request)?;
        let CheckpointTaskRequest { id, path, .. } = request;
        let container = self.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
        let given = [&path, &options.image_path, &container.options.criu_image_path];
        let Some(path) = given.into_iter().find(|path| !path.is_empty()).cloned() else {
            let text = "path: missing: where the checkpoint goes";
            return Err(Failure::new(Code::InvalidArgument, text));
        };
        let given = [&options.work_path, &container.options.criu_work_path];
        let work_path = given.into_iter().find(|path| !path.is_empty()).cloned();
        container.image_path.clone_from(&path);
        self.run_job(Kind::Checkpoint, &id, "", Some(caller), |command| {
            command.args(["checkpoint", "--image-path", &path]);
            if let Some(path) = &work_path {
                command.args(["--work-path", path]);
            }
            for (flag, given) in [
                ("--leave-running", !options.exit),
                ("--tcp-established", options.open_tcp),
                ("--ext-unix-sk", options.external_unix_sockets),
                ("--shell-job", options.terminal),
                ("--file-locks", options.file_locks),
            ] {
                if given {
                    command.arg(flag);
                }
            }
            for namespace in &options.empty_namespaces {
                command.args(["--empty-ns", namespace]);
            }
            if !options.cgroups_mode.is_empty() {
                command.args(["--manage-cgroups-mode", &options.cgroups_mode]);
            }
            command.arg(&id);
        })
    }

    /// The runtime has written a checkpoint, or not.
    pub(crate) fn finish_checkpoint(&mut self, job: &Job, result: Result<(), Failure>) {
        if result.is_ok()
            && let Some(container) = self.containers.get(&job.container)
        {
            let event = TaskCheckpointed {
                container_id: job.container.clone(),
                checkpoint: container.image_path.clone(),
            };
            self.publisher.publish("/tasks/checkpointed", &event, &mut self.poller);
        }
        self.answer_job(job, result);
    }

    /// A container that its start restores: there is no process before.
    pub(crate) fn await_restore(&mut self, id: &str, caller: Caller) {
        if let Some(container) = self.containers.get_mut(id) {
            container.init.phase = Phase::Created;
        }
        self.publish_create(id);
        self.reply(caller, &CreateTaskResponse { pid: 0 });
    }

    /// The runtime has restored a container, or not.
    pub(crate) fn finish_restore(&mut self, job: &Job, result: Result<(), Failure>) {
        let restored = result.and_then(|()| {
            let container =
                self.containers.get(&job.container).ok_or_else(|| missing(&job.container))?;
            let pid = read_pid(&container.bundle.join(INIT_PID))?;
            self.take_console(&job.container, "")?;
            Ok(pid)
        });
        match restored {
            Ok(pid) => {
                self.know_init(&job.container, pid, Phase::Started);
                let pid_number = pid.cast_unsigned();
                let event = TaskStart { container_id: job.container.clone(), pid: pid_number };
                self.publisher.publish("/tasks/start", &event, &mut self.poller);
                if let Some(caller) = job.caller {
                    self.reply(caller, &StartResponse { pid: pid_number });
                }
                self.claim(&job.container, "", pid);
            }
            Err(failure) => {
                self.give_up_start(&job.container, "");
                if let Some(caller) = job.caller {
                    self.answer(caller, Err(failure));
                }
            }
        }
        self.settle(&job.container);
    }
}
