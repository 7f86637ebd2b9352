//! A runtime that is killed with SIGKILL at any moment leaves what
//! `delete --force` clears and `list` survives.

use std::time::{Duration, Instant};

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use husk_tests::event::{Process, readable};
use husk_tests::invocation::Invocation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

/// How many moments of a command's life it is killed at.
const MOMENTS: u32 = 60;

/// How long a command takes: the shortest of five, since on a busy machine any other is chance.
fn duration(mut make: impl FnMut() -> Invocation, mut undo: impl FnMut()) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let invocation = make();
        let begin = Instant::now();
        invocation.ok();
        shortest = shortest.min(begin.elapsed());
        undo();
    }
    shortest
}

/// Starts a command and kills it after `delay`; true when it was still alive.
fn kill_after(invocation: Invocation, delay: Duration) -> bool {
    let running = invocation.spawn();
    let pidfd = pidfd_open(Pid::from_raw(running.pid()).unwrap(), PidfdFlags::empty()).unwrap();
    let alive = !readable(&pidfd, delay);
    if alive {
        running.signal(Signal::KILL);
    }
    running.wait();
    alive
}

fn force_delete(case: &Case, bundle: &Bundle) {
    case.runtime().args(["delete", "--force", bundle.id()]).ok();
}

/// After a kill: `list` works, `delete --force` works, and all is gone.
fn clears(case: &Case, bundle: &Bundle, what: &str) {
    let list = case.runtime().arg("list").output();
    assert!(list.status.success(), "{what}: list: {}", list.stderr);
    let delete = case.runtime().args(["delete", "--force", bundle.id()]).output();
    assert!(delete.status.success(), "{what}: delete --force: {}", delete.stderr);
    let state = case.on("state", bundle.id()).output();
    assert!(!state.status.success(), "{what}: there is still state: {}", state.stdout);
    eprintln!("{what}: cleared");
    case.assert_nothing_left();
}

fn sleeper(case: &Case) -> Bundle {
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    bundle
}

/// `create` killed at moments spread over its life and a little longer.
#[test]
fn create_killed_at_any_moment() {
    let case = Case::new();
    let bundle = sleeper(&case);
    let whole = duration(|| case.creating(&bundle, &[]), || force_delete(&case, &bundle));
    let mut killed = 0;
    for moment in 0..MOMENTS {
        let delay = whole * moment / (MOMENTS - 10);
        killed += u32::from(kill_after(case.creating(&bundle, &[]), delay));
        clears(&case, &bundle, &format!("create killed after {delay:?} of {whole:?}"));
    }
    assert!(killed > MOMENTS / 3, "only {killed} of {MOMENTS} were killed in time");
    // The id is as good as new.
    assert_eq!(case.start(&bundle).status(), "running");
}

/// `start` killed: the container is created or running, or at least deletable.
#[test]
fn start_killed_at_any_moment() {
    let case = Case::new();
    let bundle = sleeper(&case);
    let whole = duration(
        || {
            case.create(&bundle);
            case.on("start", bundle.id())
        },
        || force_delete(&case, &bundle),
    );
    for moment in 0..MOMENTS / 2 {
        let delay = whole * moment / (MOMENTS / 2 - 5);
        let container = case.create(&bundle);
        kill_after(case.on("start", bundle.id()), delay);
        let status = container.status();
        assert!(["created", "running"].contains(&status.as_str()), "{delay:?}: {status}");
        clears(&case, &bundle, &format!("start killed after {delay:?} of {whole:?}"));
        assert!(container.process().exited());
    }
}

/// `delete` killed: another finishes the work.
#[test]
fn delete_killed_at_any_moment() {
    let case = Case::new();
    let bundle = sleeper(&case);
    let stopped = || {
        let container = case.start(&bundle);
        container.stop();
    };
    let whole = duration(
        || {
            stopped();
            case.on("delete", bundle.id())
        },
        || (),
    );
    for moment in 0..MOMENTS / 2 {
        let delay = whole * moment / (MOMENTS / 2 - 5);
        stopped();
        kill_after(case.on("delete", bundle.id()), delay);
        clears(&case, &bundle, &format!("delete killed after {delay:?} of {whole:?}"));
    }
}

/// `run` in the foreground killed: its container goes on or is gone, and can
/// be deleted.
#[test]
fn run_killed_at_any_moment() {
    let case = Case::new();
    let bundle = sleeper(&case);
    let whole = duration(|| case.running(&bundle, &["--detach"]), || force_delete(&case, &bundle));
    for moment in 0..MOMENTS / 2 {
        let delay = whole * moment / (MOMENTS / 2 - 5);
        kill_after(case.running(&bundle, &[]), delay);
        clears(&case, &bundle, &format!("run killed after {delay:?} of {whole:?}"));
    }
}

/// `exec` killed: the container is not touched.
#[test]
fn exec_killed_at_any_moment() {
    let case = Case::new();
    let (bundle, container) = case.sleeper();
    let whole = duration(|| container.exec(&[], &["/bin/true"]), || ());
    for moment in 0..MOMENTS / 2 {
        let delay = whole * moment / (MOMENTS / 2 - 5);
        kill_after(container.exec(&[], &["/bin/true"]), delay);
        assert_eq!(container.status(), "running");
        container.exec(&[], &["/bin/true"]).ok();
    }
    clears(&case, &bundle, "after all execs");
}

/// A container whose first process dies while it is only created.
#[test]
fn a_created_container_whose_process_is_killed() {
    let case = Case::new();
    let bundle = sleeper(&case);
    let container = case.create(&bundle);
    let pid = Pid::from_raw(container.pid()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    Process::open(container.pid()).wait();
    assert_eq!(container.status(), "stopped");
    case.on("start", bundle.id()).output().refused();
    container.delete();
    case.assert_nothing_left();
}
