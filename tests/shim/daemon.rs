//! What containerd is to a shim: it starts it, calls it, and takes its events.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use husk_shim::message::event::{Envelope, ForwardRequest, TaskDelete, TaskExecStarted, TaskExit};
use husk_shim::message::event::{TaskOOM, TaskStart};
use husk_shim::message::task::*;
use husk_shim::message::{Any, Empty};
use husk_shim::ttrpc::{Decoder, REQUEST, RESPONSE, Request, Response, Status, frame};
use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::{Process, until};
use husk_tests::runtime;
use prost::Message;

/// How long a call or an event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The service's name before containerd 2.3.
const TASK: &str = "containerd.task.v2.Task";

/// The shim's program, beside the runtime's.
pub(crate) fn program() -> PathBuf {
    let path = match std::env::var_os("CONTAINERD_SHIM_HUSK_V2") {
        Some(path) => PathBuf::from(path),
        None => runtime::built("containerd-shim-husk-v2"),
    };
    assert!(path.exists(), "{}: cargo build --package husk-shim", path.display());
    path
}

/// An event, in words that a test can compare: `exit ID CODE`.
pub(crate) type Event = String;

/// Takes events as containerd does.
pub(crate) struct Events {
    path: PathBuf,
    taken: Arc<(Mutex<VecDeque<Event>>, Condvar)>,
}

impl Events {
    /// Listens on a socket in the test's directory.
    pub(crate) fn new(case: &Case) -> Self {
        let path = case.path("events.sock");
        let taken: Arc<(Mutex<VecDeque<Event>>, Condvar)> = Arc::default();
        let listener = UnixListener::bind(&path).unwrap();
        let queue = Arc::clone(&taken);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || take_events(socket, &queue));
            }
        });
        Self { path, taken }
    }

    /// The next event.
    pub(crate) fn next(&self) -> Event {
        let (queue, arrived) = &*self.taken;
        let queue = queue.lock().unwrap();
        let (mut queue, _) =
            arrived.wait_timeout_while(queue, PATIENCE, |queue| queue.is_empty()).unwrap();
        queue.pop_front().expect("an event")
    }

    /// The next events, as many as are named, must be these.
    pub(crate) fn expect(&self, events: &[&str]) {
        let got: Vec<Event> = events.iter().map(|_| self.next()).collect();
        assert_eq!(got, events);
    }
}

fn take_events(mut socket: UnixStream, queue: &(Mutex<VecDeque<Event>>, Condvar)) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        decoder.push(&buffer[..length]);
        while let Some(one) = decoder.next_frame() {
            let request = Request::decode(one.payload.unwrap().as_slice()).unwrap();
            assert_eq!(request.service, "containerd.services.events.ttrpc.v1.Events");
            assert_eq!(request.method, "Forward");
            let forward = ForwardRequest::decode(request.payload.as_slice()).unwrap();
            queue.0.lock().unwrap().push_back(describe(&forward.envelope.unwrap()));
            queue.1.notify_all();
            let done = Response { status: None, payload: Empty {}.encode_to_vec() };
            if socket.write_all(&frame(one.stream, RESPONSE, &done)).is_err() {
                return;
            }
        }
    }
}

fn describe(envelope: &Envelope) -> Event {
    let event = envelope.event.clone().unwrap();
    let bytes = event.value.as_slice();
    match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = TaskExit::decode(bytes).unwrap();
            assert!(exit.pid > 0 && exit.exited_at.is_some());
            let name = if exit.id == exit.container_id { "init" } else { exit.id.as_str() };
            format!("exit {name} {}", exit.exit_status)
        }
        "/tasks/delete" => format!("delete {}", TaskDelete::decode(bytes).unwrap().exit_status),
        "/tasks/start" => {
            assert!(TaskStart::decode(bytes).unwrap().pid > 0);
            "start".to_owned()
        }
        "/tasks/exec-started" => {
            format!("exec-started {}", TaskExecStarted::decode(bytes).unwrap().exec_id)
        }
        "/tasks/oom" => {
            assert!(!TaskOOM::decode(bytes).unwrap().container_id.is_empty());
            "oom".to_owned()
        }
        topic => topic.trim_start_matches("/tasks/").to_owned(),
    }
}

/// A serving shim and a connection to it.
pub(crate) struct Shim {
    socket: Mutex<UnixStream>,
    decoder: Mutex<Decoder>,
    next_stream: Mutex<u32>,
    pub(crate) address: PathBuf,
    pub(crate) pid: i32,
}

impl Shim {
    /// Starts the shim of a bundle, as containerd 1.7 does.
    pub(crate) fn start(case: &Case, bundle: &Bundle, events: &Events) -> Self {
        let answer =
            call_start(case, bundle, events).env("MAX_SHIM_VERSION", "2").arg("start").ok();
        let answer: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(answer["version"], 2);
        assert_eq!(answer["protocol"], "ttrpc");
        let address = answer["address"].as_str().unwrap().strip_prefix("unix://").unwrap();
        Self::connect(Path::new(address))
    }

    /// Connects to a shim that serves.
    pub(crate) fn connect(address: &Path) -> Self {
        // An answer shows that the serving process listens, whose pid the next connection gives.
        Self::open(address).state("none", "").unwrap_err();
        Self::open(address)
    }

    fn open(address: &Path) -> Self {
        let socket = UnixStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let pid = rustix::net::sockopt::socket_peercred(&socket).unwrap().pid;
        Self {
            socket: Mutex::new(socket),
            decoder: Mutex::default(),
            next_stream: Mutex::new(1),
            address: address.to_owned(),
            pid: pid.as_raw_nonzero().get(),
        }
    }

    /// Sends a call whose answer is received later.
    pub(crate) fn send(&self, method: &str, message: &impl Message) -> u32 {
        let mut next = self.next_stream.lock().unwrap();
        let stream = *next;
        *next += 2;
        let request = Request {
            service: TASK.to_owned(),
            method: method.to_owned(),
            payload: message.encode_to_vec(),
            timeout: 0,
        };
        self.socket.lock().unwrap().write_all(&frame(stream, REQUEST, &request)).unwrap();
        stream
    }

    /// The next answer, of whichever call.
    pub(crate) fn receive(&self) -> (u32, Result<Vec<u8>, Status>) {
        let mut decoder = self.decoder.lock().unwrap();
        let mut buffer = [0; 65536];
        loop {
            if let Some(one) = decoder.next_frame() {
                assert_eq!(one.kind, RESPONSE);
                let response = Response::decode(one.payload.unwrap().as_slice()).unwrap();
                let result = match response.status {
                    Some(status) if status.code != 0 => Err(status),
                    _ => Ok(response.payload),
                };
                return (one.stream, result);
            }
            let length = self.socket.lock().unwrap().read(&mut buffer).expect("an answer");
            assert_ne!(length, 0, "the shim closed the connection");
            decoder.push(&buffer[..length]);
        }
    }

    /// A call, with nothing else on the connection.
    pub(crate) fn call<M: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> Result<M, Status> {
        let stream = self.send(method, message);
        let (answered, result) = self.receive();
        assert_eq!(answered, stream);
        result.map(|bytes| M::decode(bytes.as_slice()).unwrap())
    }

    pub(crate) fn create(&self, bundle: &Bundle, stdout: &str) -> Result<u32, Status> {
        let request = CreateTaskRequest {
            id: bundle.id().to_owned(),
            bundle: bundle.dir().display().to_string(),
            stdout: stdout.to_owned(),
            options: Some(options(bundle)),
            ..CreateTaskRequest::default()
        };
        self.call::<CreateTaskResponse>("Create", &request).map(|answer| answer.pid)
    }

    pub(crate) fn begin(&self, id: &str, exec: &str) -> Result<u32, Status> {
        let request = StartRequest { id: id.to_owned(), exec_id: exec.to_owned() };
        self.call::<StartResponse>("Start", &request).map(|answer| answer.pid)
    }

    pub(crate) fn exec(&self, id: &str, exec: &str, args: &[&str]) -> Result<(), Status> {
        self.call::<Empty>("Exec", &exec_request(id, exec, args)).map(drop)
    }

    pub(crate) fn kill(&self, id: &str, exec: &str, signal: u32) -> Result<(), Status> {
        let (id, exec_id) = (id.to_owned(), exec.to_owned());
        self.call::<Empty>("Kill", &KillRequest { id, exec_id, signal, all: false }).map(drop)
    }

    pub(crate) fn wait(&self, id: &str, exec: &str) -> u32 {
        let request = WaitRequest { id: id.to_owned(), exec_id: exec.to_owned() };
        let answer = self.call::<WaitResponse>("Wait", &request).unwrap();
        assert!(answer.exited_at.is_some());
        answer.exit_status
    }

    pub(crate) fn delete(&self, id: &str, exec: &str) -> Result<DeleteResponse, Status> {
        let request = DeleteRequest { id: id.to_owned(), exec_id: exec.to_owned() };
        self.call("Delete", &request)
    }

    pub(crate) fn state(&self, id: &str, exec: &str) -> Result<StateResponse, Status> {
        let request = StateRequest { id: id.to_owned(), exec_id: exec.to_owned() };
        self.call("State", &request)
    }

    /// Asks for the end and waits for it.
    pub(crate) fn shut_down(self) {
        let process = Process::open(self.pid);
        self.call::<Empty>("Shutdown", &Empty {}).unwrap();
        process.wait();
        until("the removal of the socket", || !self.address.exists());
    }
}

/// The options of a bundle: a state directory of the test's own.
pub(crate) fn options(bundle: &Bundle) -> Any {
    let root = bundle.dir().with_file_name("state");
    let criu = std::env::var("CRIU").unwrap_or_default();
    let body =
        format!("Root = {root:?}\nBinaryName = {:?}\nCriuPath = {criu:?}\n", runtime::path());
    let options = husk_shim::message::options::GenericOptions {
        config_body: body.into_bytes(),
        ..Default::default()
    };
    Any { type_url: "runtimeoptions.v1.Options".to_owned(), value: options.encode_to_vec() }
}

/// Where a bundle's container has its state.
pub(crate) fn state_directory(bundle: &Bundle) -> PathBuf {
    bundle.dir().with_file_name("state").join("test").join(bundle.id())
}

pub(crate) fn exec_request(id: &str, exec: &str, args: &[&str]) -> ExecProcessRequest {
    let spec = serde_json::json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
    });
    ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec.to_owned(),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: spec.to_string().into_bytes(),
        }),
        ..ExecProcessRequest::default()
    }
}

/// The shim's program as containerd calls it, in the bundle, without its command.
pub(crate) fn call_start(
    case: &Case,
    bundle: &Bundle,
    events: &Events,
) -> husk_tests::invocation::Invocation {
    bundle.write();
    case.program(&program().display().to_string())
        .current_dir(bundle.dir())
        .env("TTRPC_ADDRESS", &events.path)
        .env_remove("MAX_SHIM_VERSION")
        .args(["-namespace", "test", "-address"])
        .arg(case.path("containerd.sock"))
        .args(["-publish-binary", "/bin/false", "-id", bundle.id()])
}

/// A bundle whose program is a shell script.
pub(crate) fn bundle(case: &Case, script: &str) -> Bundle {
    let mut bundle = case.bundle();
    bundle.set("/process/args", vec!["/bin/sh", "-c", script]);
    bundle.set("/process/terminal", false);
    bundle
}

/// Whether nothing of a container is left: no state, no mount, no cgroup.
pub(crate) fn assert_nothing_left(case: &Case, bundle: &Bundle) {
    assert!(!state_directory(bundle).exists());
    assert!(husk_tests::host::mounts_below(case.dir()).is_empty());
    let left: Vec<_> = fs::read_dir(bundle.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            !["config.json", "rootfs", "address", "options.json", "init.pid"]
                .contains(&name.as_str())
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(husk_tests::host::cgroups_named(bundle.id()).is_empty());
}
