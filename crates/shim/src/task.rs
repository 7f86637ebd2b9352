//! The calls of containerd's task service. Versions 2 and 3 have the same messages.

use prost::Message;

use crate::container::Process;
use crate::job::{Job, Kind, missing};
use crate::message::event::{TaskPaused, TaskResumed};
use crate::message::options::ProcessDetails;
use crate::message::task::*;
use crate::message::{Any, Empty};
use crate::server::{Caller, Shim};
use crate::ttrpc::{Code, Failure, Request};
use crate::{start, stats};

/// Where the limits of an update are handed to the runtime, in the bundle.
pub(crate) const RESOURCES: &str = "resources.json";

/// An answer that is here, or one that comes later.
type Answer = Result<Option<Vec<u8>>, Failure>;

fn decode<M: Message + Default>(request: &Request) -> Result<M, Failure> {
    M::decode(request.payload.as_slice()).map_err(|error| {
        Failure::new(Code::InvalidArgument, format!("{}: {error}", request.method))
    })
}

fn now(message: &impl Message) -> Answer {
    Ok(Some(message.encode_to_vec()))
}

fn later(begun: Result<(), Failure>) -> Answer {
    begun.map(|()| None)
}

impl Shim {
    /// Serves a call.
    pub(crate) fn dispatch(&mut self, request: &Request, caller: Caller) -> Answer {
        let unimplemented = || {
            let text = format!("{}/{} is not implemented", request.service, request.method);
            Err(Failure::new(Code::Unimplemented, text))
        };
        if !matches!(
            request.service.as_str(),
            "containerd.task.v2.Task" | "containerd.task.v3.Task"
        ) {
            return unimplemented();
        }
        match request.method.as_str() {
            "State" => now(&self.state(&decode(request)?)?),
            "Create" => later(self.create(decode(request)?, caller)),
            "Start" => later(self.start(decode(request)?, caller)),
            "Delete" => later(self.delete(decode(request)?, caller)),
            "Pids" => now(&self.pids(&decode(request)?)?),
            "Pause" => later(self.pause(&decode::<PauseRequest>(request)?.id, caller, true)),
            "Resume" => later(self.pause(&decode::<ResumeRequest>(request)?.id, caller, false)),
            "Checkpoint" => later(self.checkpoint(decode(request)?, caller)),
            "Kill" => self.kill(&decode(request)?, caller),
            "Exec" => now(&self.add_exec(decode(request)?)?),
            "ResizePty" => now(&self.resize(&decode(request)?)?),
            "CloseIO" => now(&self.close_io(&decode(request)?)?),
            "Update" => later(self.update(&decode(request)?, caller)),
            "Wait" => self.wait(&decode(request)?, caller),
            "Stats" => now(&self.stats(&decode(request)?)?),
            "Connect" => now(&self.connect(&decode(request)?)?),
            "Shutdown" => now(&self.shutdown()),
            _ => unimplemented(),
        }
    }

    fn find(&mut self, id: &str, exec: &str) -> Result<&mut Process, Failure> {
        let container = self.containers.get_mut(id).ok_or_else(|| missing(id))?;
        container.process(exec).ok_or_else(|| {
            Failure::new(Code::NotFound, format!("process {exec} does not exist: not found"))
        })
    }

    fn state(&mut self, request: &StateRequest) -> Result<StateResponse, Failure> {
        let container = self.containers.get_mut(&request.id).ok_or_else(|| missing(&request.id))?;
        let paused = container.paused;
        let bundle = container.bundle.display().to_string();
        let process = self.find(&request.id, &request.exec_id)?;
        let exit = process.exit.filter(|_| process.exit_published);
        Ok(StateResponse {
            id: request.id.clone(),
            bundle,
            pid: process.pid.unwrap_or_default().cast_unsigned(),
            status: process.status(paused) as i32,
            stdin: process.uris.stdin.clone(),
            stdout: process.uris.stdout.clone(),
            stderr: process.uris.stderr.clone(),
            terminal: process.uris.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        })
    }

    fn pids(&mut self, request: &PidsRequest) -> Result<PidsResponse, Failure> {
        let container = self.containers.get_mut(&request.id).ok_or_else(|| missing(&request.id))?;
        let listed = container.cgroup.as_ref().map(husk_cgroup::Cgroup::processes);
        // Without a cgroup of its own the container's first process is what is known.
        let pids = match listed {
            Some(pids) => pids?,
            None => container.init.pid.into_iter().collect(),
        };
        let mut processes = Vec::new();
        for pid in pids {
            let exec = container.execs.iter().find(|(_, process)| process.pid == Some(pid));
            let info = exec.map(|(exec, _)| Any::pack(&ProcessDetails { exec_id: exec.clone() }));
            processes.push(ProcessInfo { pid: pid.cast_unsigned(), info });
        }
        Ok(PidsResponse { processes })
    }

    fn pause(&mut self, id: &str, caller: Caller, pauses: bool) -> Result<(), Failure> {
        let (kind, word) = if pauses { (Kind::Pause, "pause") } else { (Kind::Resume, "resume") };
        self.run_job(kind, id, "", Some(caller), |command| {
            command.arg(word).arg(id);
        })
    }

    /// The runtime has paused or resumed a container, or not.
    pub(crate) fn finish_pause(&mut self, job: &Job, result: Result<(), Failure>, pauses: bool) {
        if result.is_ok()
            && let Some(container) = self.containers.get_mut(&job.container)
        {
            container.paused = pauses;
            let container_id = job.container.clone();
            if pauses {
                let event = TaskPaused { container_id };
                self.publisher.publish("/tasks/paused", &event, &mut self.poller);
            } else {
                let event = TaskResumed { container_id };
                self.publisher.publish("/tasks/resumed", &event, &mut self.poller);
            }
        }
        self.answer_job(job, result);
    }

    fn kill(&mut self, request: &KillRequest, caller: Caller) -> Answer {
        let finished = || Failure::new(Code::NotFound, "process already finished: not found");
        let process = self.find(&request.id, &request.exec_id)?;
        if process.exit.is_some() {
            return Err(finished());
        }
        let Some(pid) = process.pid else {
            let text = "the process has not started";
            return Err(Failure::new(Code::FailedPrecondition, text));
        };
        if request.exec_id.is_empty() {
            let signal = request.signal.to_string();
            return later(self.run_job(Kind::Kill, &request.id, "", Some(caller), |command| {
                command.arg("kill");
                if request.all {
                    command.arg("--all");
                }
                command.args([request.id.as_str(), signal.as_str()]);
            }));
        }
        // A child of ours keeps its pid until it is reaped, which only this thread does.
        let pid = rustix::process::Pid::from_raw(pid).ok_or_else(finished)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(|_| finished())?;
        use std::os::fd::AsFd as _;
        match husk_sys::signal::send(pidfd.as_fd(), request.signal.cast_signed()) {
            Ok(()) => now(&Empty {}),
            Err(rustix::io::Errno::SRCH) => Err(finished()),
            Err(errno) => Err(format!("signal {}: {errno}", request.signal).into()),
        }
    }

    fn resize(&mut self, request: &ResizePtyRequest) -> Result<Empty, Failure> {
        let process = self.find(&request.id, &request.exec_id)?;
        let narrow = |value: u32| {
            u16::try_from(value).map_err(|_| {
                let text = format!("a terminal of {value} columns or rows: at most 65535");
                Failure::new(Code::InvalidArgument, text)
            })
        };
        let (columns, rows) = (narrow(request.width)?, narrow(request.height)?);
        process.size = Some((columns, rows));
        if let Some(console) = &process.console {
            start::set_size(console, columns, rows)?;
        }
        Ok(Empty {})
    }

    fn close_io(&mut self, request: &CloseIORequest) -> Result<Empty, Failure> {
        let process = self.find(&request.id, &request.exec_id)?;
        if request.stdin {
            // The stream ends when containerd's own descriptor is closed too.
            process.stdin_holder = None;
        }
        Ok(Empty {})
    }

    fn update(&mut self, request: &UpdateTaskRequest, caller: Caller) -> Result<(), Failure> {
        let container = self.containers.get(&request.id).ok_or_else(|| missing(&request.id))?;
        let Some(resources) = &request.resources else {
            let text = "Update without resources";
            return Err(Failure::new(Code::InvalidArgument, text));
        };
        let path = container.bundle.join(RESOURCES);
        std::fs::write(&path, &resources.value)
            .map_err(|error| format!("write {}: {error}", path.display()))?;
        self.run_job(Kind::Update, &request.id, "", Some(caller), |command| {
            command.arg("update").arg("--resources").arg(&path).arg(&request.id);
        })
    }

    fn wait(&mut self, request: &WaitRequest, caller: Caller) -> Answer {
        let process = self.find(&request.id, &request.exec_id)?;
        if let Some(exit) = process.exit.filter(|_| process.exit_published) {
            let answer = WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) };
            return now(&answer);
        }
        process.waiters.push(caller);
        Ok(None)
    }

    fn stats(&mut self, request: &StatsRequest) -> Result<StatsResponse, Failure> {
        let container = self.containers.get(&request.id).ok_or_else(|| missing(&request.id))?;
        let Some(cgroup) = &container.cgroup else {
            let text = "the container has no cgroup of its own";
            return Err(Failure::new(Code::FailedPrecondition, text));
        };
        Ok(StatsResponse { stats: Some(stats::read(cgroup)?) })
    }

    fn connect(&mut self, request: &ConnectRequest) -> Result<ConnectResponse, Failure> {
        let process = self.find(&request.id, "")?;
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: process.pid.unwrap_or_default().cast_unsigned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Ends this shim, unless a container is left.
    fn shutdown(&mut self) -> Empty {
        self.stopping = self.containers.is_empty();
        Empty {}
    }
}
