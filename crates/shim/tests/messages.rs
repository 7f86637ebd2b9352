//! The hand-written messages beside those that are generated from containerd's .proto files.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

use containerd_shim_protos::api;
use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::{bootstrap_api, events};
use husk_shim::message::{Any, Mount, Timestamp, bootstrap, event, metrics, task};
use prost::Message as _;

/// Encodes ours, reads it as theirs without a field that they do not know, and reads what they
/// write as ours again.
macro_rules! same {
    ($ours:expr, $theirs:ty) => {{
        let ours = $ours;
        let theirs = <$theirs>::parse_from_bytes(&ours.encode_to_vec()).unwrap();
        assert!(theirs.special_fields.unknown_fields().iter().next().is_none(), "{theirs:?}");
        let mut back = ours.clone();
        back.clear();
        back.merge(theirs.write_to_bytes().unwrap().as_slice()).unwrap();
        assert_eq!(back, ours);
        theirs
    }};
}

fn text(word: &str) -> String {
    word.to_owned()
}

fn any() -> Option<Any> {
    Some(Any { type_url: text("type"), value: vec![1, 2] })
}

fn time() -> Option<Timestamp> {
    Some(Timestamp { seconds: 7, nanos: 9 })
}

#[test]
fn requests() {
    let mount = Mount {
        kind: text("overlay"),
        source: text("source"),
        target: text("target"),
        options: vec![text("ro")],
    };
    let create = same!(
        task::CreateTaskRequest {
            id: text("id"),
            bundle: text("bundle"),
            rootfs: vec![mount],
            terminal: true,
            stdin: text("in"),
            stdout: text("out"),
            stderr: text("err"),
            checkpoint: text("checkpoint"),
            parent_checkpoint: text("parent"),
            options: any(),
        },
        api::CreateTaskRequest
    );
    assert_eq!((create.stdout.as_str(), create.stderr.as_str()), ("out", "err"));
    assert_eq!(
        (create.rootfs[0].type_.as_str(), create.rootfs[0].target.as_str()),
        ("overlay", "target")
    );
    let kill = same!(
        task::KillRequest { id: text("id"), exec_id: text("exec"), signal: 9, all: true },
        api::KillRequest
    );
    assert_eq!((kill.exec_id.as_str(), kill.signal, kill.all), ("exec", 9, true));
    let exec = same!(
        task::ExecProcessRequest {
            id: text("id"),
            exec_id: text("exec"),
            terminal: true,
            stdin: text("in"),
            stdout: text("out"),
            stderr: text("err"),
            spec: any(),
        },
        api::ExecProcessRequest
    );
    assert_eq!((exec.stdin.as_str(), exec.spec.value.len()), ("in", 2));
    let resize = same!(
        task::ResizePtyRequest { id: text("id"), exec_id: text("e"), width: 80, height: 25 },
        api::ResizePtyRequest
    );
    assert_eq!((resize.width, resize.height), (80, 25));
    same!(
        task::CloseIORequest { id: text("id"), exec_id: text("e"), stdin: true },
        api::CloseIORequest
    );
    let update = task::UpdateTaskRequest {
        id: text("id"),
        resources: any(),
        annotations: [(text("a"), text("b"))].into(),
    };
    assert_eq!(same!(update, api::UpdateTaskRequest).annotations["a"], "b");
}

#[test]
fn answers() {
    let state = same!(
        task::StateResponse {
            id: text("id"),
            bundle: text("bundle"),
            pid: 7,
            status: task::Status::Paused as i32,
            stdin: text("in"),
            stdout: text("out"),
            stderr: text("err"),
            terminal: true,
            exit_status: 3,
            exited_at: time(),
            exec_id: text("exec"),
        },
        api::StateResponse
    );
    assert_eq!(state.status.enum_value(), Ok(api::Status::PAUSED));
    assert_eq!((state.exit_status, state.exited_at.nanos), (3, 9));
    let deleted = same!(
        task::DeleteResponse { pid: 7, exit_status: 3, exited_at: time() },
        api::DeleteResponse
    );
    assert_eq!((deleted.pid, deleted.exit_status), (7, 3));
    same!(task::WaitResponse { exit_status: 3, exited_at: time() }, api::WaitResponse);
    same!(
        task::PidsResponse { processes: vec![task::ProcessInfo { pid: 7, info: any() }] },
        api::PidsResponse
    );
    let connect = task::ConnectResponse { shim_pid: 1, task_pid: 2, version: text("3") };
    assert_eq!(same!(connect, api::ConnectResponse).task_pid, 2);
}

#[test]
fn events() {
    let exit = same!(
        event::TaskExit {
            container_id: text("container"),
            id: text("exec"),
            pid: 7,
            exit_status: 3,
            exited_at: time(),
        },
        events::task::TaskExit
    );
    assert_eq!((exit.container_id.as_str(), exit.id.as_str()), ("container", "exec"));
    let create = event::TaskCreate {
        container_id: text("container"),
        bundle: text("bundle"),
        rootfs: Vec::new(),
        io: Some(event::TaskIO {
            stdin: text("in"),
            stdout: text("out"),
            stderr: text("err"),
            terminal: true,
        }),
        checkpoint: String::new(),
        pid: 7,
    };
    assert_eq!(same!(create, events::task::TaskCreate).io.stderr, "err");
    same!(
        event::TaskDelete {
            container_id: text("container"),
            pid: 7,
            exit_status: 3,
            exited_at: time(),
            id: text("exec"),
        },
        events::task::TaskDelete
    );
    same!(event::TaskOOM { container_id: text("container") }, events::task::TaskOOM);
    let envelope = event::Envelope {
        timestamp: time(),
        namespace: text("namespace"),
        topic: text("/tasks/exit"),
        event: any(),
    };
    let forward = event::ForwardRequest { envelope: Some(envelope) };
    assert_eq!(same!(forward, api::ForwardRequest).envelope.topic, "/tasks/exit");
}

#[test]
fn bootstrap() {
    let params = same!(
        bootstrap::BootstrapParams {
            instance_id: text("id"),
            namespace: text("namespace"),
            log_level: -4,
            containerd_version: text("2.3"),
            containerd_ttrpc_address: text("ttrpc"),
            containerd_grpc_address: text("grpc"),
            containerd_binary: text("binary"),
            extensions: vec![bootstrap::Extension { value: any() }],
            socket_dir: Some(text("sockets")),
        },
        bootstrap_api::BootstrapParams
    );
    assert_eq!(params.containerd_ttrpc_address, "ttrpc");
    assert_eq!(params.socket_dir.as_deref(), Some("sockets"));
}

#[test]
fn statistics() {
    let entry = metrics::v1::MemoryEntry { limit: 1, usage: 2, max: 3, failcnt: 4 };
    let metrics = same!(
        metrics::v1::Metrics {
            pids: Some(metrics::v1::PidsStat { current: 5, limit: 6 }),
            memory: Some(metrics::v1::MemoryStat {
                rss: 7,
                total_inactive_file: 8,
                usage: Some(entry),
                kernel_tcp: Some(entry),
                ..metrics::v1::MemoryStat::default()
            }),
            memory_oom_control: Some(metrics::v1::MemoryOomControl {
                oom_kill: 9,
                ..metrics::v1::MemoryOomControl::default()
            }),
            ..metrics::v1::Metrics::default()
        },
        v1::Metrics
    );
    assert_eq!((metrics.memory.rss, metrics.memory.total_inactive_file), (7, 8));
    assert_eq!((metrics.memory.usage.limit, metrics.memory.kernel_tcp.failcnt), (1, 4));
    assert_eq!(metrics.memory_oom_control.oom_kill, 9);
}
