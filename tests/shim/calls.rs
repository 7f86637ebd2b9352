//! The calls of the task service, one after the other.

use husk_shim::message::Empty;
use husk_shim::message::metrics::v1::Metrics;
use husk_shim::message::task::*;
use husk_shim::ttrpc::Status as Failure;
use husk_tests::case::Case;
use husk_tests::event::until;
use prost::Message;

use crate::daemon::*;

const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;
const FAILED_PRECONDITION: i32 = 9;
const UNIMPLEMENTED: i32 = 12;

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> i32 {
    result.expect_err("a failure").code
}

#[test]
fn a_whole_life() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id();
    let pid = shim.create(&bundle, "").unwrap();
    assert_eq!(shim.state(id, "").unwrap().status, Status::Created as i32);
    assert_eq!(shim.begin(id, "").unwrap(), pid);
    let state = shim.state(id, "").unwrap();
    assert_eq!((state.status, state.pid), (Status::Running as i32, pid));

    let connect = ConnectRequest { id: id.to_owned() };
    let connected: ConnectResponse = shim.call("Connect", &connect).unwrap();
    assert_eq!((connected.shim_pid as i32, connected.task_pid), (shim.pid, pid));

    shim.exec(id, "e1", &["/bin/sh", "-c", "exit 5"]).unwrap();
    assert_eq!(shim.state(id, "e1").unwrap().status, Status::Created as i32);
    shim.begin(id, "e1").unwrap();
    assert_eq!(shim.wait(id, "e1"), 5);
    assert_eq!(shim.state(id, "e1").unwrap().status, Status::Stopped as i32);
    assert_eq!(shim.delete(id, "e1").unwrap().exit_status, 5);
    assert_eq!(code(shim.state(id, "e1")), NOT_FOUND);

    let pids: PidsResponse = shim.call("Pids", &PidsRequest { id: id.to_owned() }).unwrap();
    assert_eq!(pids.processes.iter().map(|one| one.pid).collect::<Vec<_>>(), [pid]);

    shim.call::<Empty>("Pause", &PauseRequest { id: id.to_owned() }).unwrap();
    assert_eq!(shim.state(id, "").unwrap().status, Status::Paused as i32);
    shim.call::<Empty>("Resume", &ResumeRequest { id: id.to_owned() }).unwrap();
    assert_eq!(shim.state(id, "").unwrap().status, Status::Running as i32);

    shim.kill(id, "", 9).unwrap();
    assert_eq!(shim.wait(id, ""), 137);
    assert_eq!(code(shim.kill(id, "", 9)), NOT_FOUND);
    let deleted = shim.delete(id, "").unwrap();
    assert_eq!((deleted.exit_status, deleted.pid), (137, pid));
    assert!(deleted.exited_at.is_some());
    events.expect(&[
        "create",
        "start",
        "exec-added",
        "exec-started e1",
        "exit e1 5",
        "paused",
        "resumed",
        "exit init 137",
        "delete 137",
    ]);
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}

#[test]
fn calls_out_of_turn_are_refused() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id();
    assert_eq!(code(shim.state("other", "")), NOT_FOUND);
    assert_eq!(code(shim.begin("other", "")), NOT_FOUND);
    shim.create(&bundle, "").unwrap();
    assert_eq!(code(shim.create(&bundle, "")), ALREADY_EXISTS);
    assert_eq!(code(shim.begin(id, "none")), NOT_FOUND);
    shim.begin(id, "").unwrap();
    assert_eq!(code(shim.begin(id, "")), FAILED_PRECONDITION);
    assert_eq!(code(shim.delete(id, "")), FAILED_PRECONDITION);
    shim.exec(id, "e", &["/bin/true"]).unwrap();
    assert_eq!(code(shim.exec(id, "e", &["/bin/true"])), ALREADY_EXISTS);
    assert_eq!(code(shim.kill(id, "e", 9)), FAILED_PRECONDITION);
    let escape = exec_request(id, "../e", &["/bin/true"]);
    assert!(shim.call::<Empty>("Exec", &escape).unwrap_err().message.contains("id \"../e\""));
    assert_eq!(code(shim.call::<Empty>("Nonsense", &Empty {})), UNIMPLEMENTED);
    // A container is left: the shim stays.
    shim.call::<Empty>("Shutdown", &Empty {}).unwrap();
    shim.kill(id, "", 9).unwrap();
    shim.wait(id, "");
    shim.delete(id, "").unwrap();
    shim.shut_down();
}

#[test]
fn a_container_that_never_started_is_deleted() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "true");
    let shim = Shim::start(&case, &bundle, &events);
    shim.create(&bundle, "").unwrap();
    assert_eq!(shim.delete(bundle.id(), "").unwrap().exit_status, 137);
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}

#[test]
fn failures_name_their_cause() {
    let case = Case::new();
    let events = Events::new(&case);
    let mut bundle = bundle(&case, "true");
    let shim = Shim::start(&case, &bundle, &events);
    bundle.set("/process/args", vec!["/no/such/program"]);
    bundle.write();
    let failure = shim.create(&bundle, "").and_then(|_| shim.begin(bundle.id(), "")).unwrap_err();
    assert!(failure.message.contains("/no/such/program"), "{}", failure.message);
    if shim.state(bundle.id(), "").is_ok() {
        shim.delete(bundle.id(), "").unwrap();
    }
    bundle.write_text("{");
    let failure = shim.create(&bundle, "").unwrap_err();
    assert!(failure.message.contains("config.json"), "{}", failure.message);
    bundle.set("/process/args", vec!["/bin/sh", "-c", "read x < /never"]);
    bundle.write();
    let failure = shim.create(&bundle, "relative").unwrap_err();
    assert!(failure.message.contains("stdout \"relative\""), "{}", failure.message);
    assert_nothing_left(&case, &bundle);
    // What failed is no obstacle.
    shim.create(&bundle, "").unwrap();
    shim.begin(bundle.id(), "").unwrap();
    shim.exec(bundle.id(), "e", &["/no/such"]).unwrap();
    let failure = shim.begin(bundle.id(), "e").unwrap_err();
    assert!(failure.message.contains("/no/such"), "{}", failure.message);
    shim.delete(bundle.id(), "e").unwrap();
    shim.kill(bundle.id(), "", 9).unwrap();
    shim.wait(bundle.id(), "");
    shim.delete(bundle.id(), "").unwrap();
    assert_nothing_left(&case, &bundle);
    shim.shut_down();
}

#[test]
fn limits_are_updated_and_statistics_read() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id().to_owned();
    shim.create(&bundle, "").unwrap();
    shim.begin(&id, "").unwrap();
    let resources = husk_shim::message::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
        value: br#"{"memory":{"limit":67108864},"pids":{"limit":50}}"#.to_vec(),
    };
    let update = UpdateTaskRequest {
        id: id.clone(),
        resources: Some(resources),
        ..UpdateTaskRequest::default()
    };
    shim.call::<Empty>("Update", &update).unwrap();
    let stats: StatsResponse = shim.call("Stats", &StatsRequest { id: id.clone() }).unwrap();
    let stats = stats.stats.unwrap();
    if stats.type_url == "io.containerd.cgroups.v1.Metrics" {
        let metrics = Metrics::decode(stats.value.as_slice()).unwrap();
        assert_eq!(metrics.memory.unwrap().usage.unwrap().limit, 67_108_864);
        let pids = metrics.pids.unwrap();
        assert_eq!((pids.current, pids.limit), (1, 50));
        assert!(metrics.cpu.unwrap().usage.unwrap().total > 0);
    }
    shim.kill(&id, "", 9).unwrap();
    shim.wait(&id, "");
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

#[test]
fn calls_do_not_wait_for_each_other() {
    let case = Case::new();
    let events = Events::new(&case);
    let bundle = bundle(&case, "read x < /never");
    let shim = Shim::start(&case, &bundle, &events);
    let id = bundle.id().to_owned();
    shim.create(&bundle, "").unwrap();
    shim.begin(&id, "").unwrap();
    let request = WaitRequest { id: id.clone(), ..WaitRequest::default() };
    let mut waits: Vec<u32> = (0..100).map(|_| shim.send("Wait", &request)).collect();
    let state = StateRequest { id: id.clone(), ..StateRequest::default() };
    let asked = shim.send("State", &state);
    assert_eq!(shim.receive().0, asked);
    let kill = KillRequest { id: id.clone(), signal: 9, ..KillRequest::default() };
    let killed = shim.send("Kill", &kill);
    let mut answered: Vec<u32> = (0..101).map(|_| shim.receive().0).collect();
    answered.retain(|stream| *stream != killed);
    answered.sort_unstable();
    waits.sort_unstable();
    assert_eq!(answered, waits);
    until("the stopped state", || shim.state(&id, "").unwrap().status == Status::Stopped as i32);
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}
