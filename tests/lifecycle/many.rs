//! Many containers at once.

use std::sync::Barrier;
use std::thread;

use husk_tests::case::Case;

/// 200 `run`s, 8 at a time: each prints its own line and gives its own code.
#[test]
fn two_hundred_runs_eight_at_a_time() {
    let case = Case::new();
    thread::scope(|scope| {
        for worker in 0..8 {
            let case = &case;
            scope.spawn(move || {
                let mut bundle = case.bundle();
                for number in 0..25 {
                    let code = (worker * 25 + number) % 100;
                    bundle.shell(&format!("echo run {worker} {number}; exit {code}"));
                    let run = case.run(&bundle);
                    assert_eq!(run.stdout, format!("run {worker} {number}\n"), "{}", run.stderr);
                    assert_eq!(run.code(), code, "{}", run.stderr);
                }
            });
        }
    });
    assert_eq!(case.runtime().args(["list", "-q"]).ok().text(), "");
    case.assert_nothing_left();
}

/// 50 containers, each created, started, killed and deleted, all at once.
#[test]
fn fifty_containers_at_once() {
    let case = Case::new();
    let together = Barrier::new(50);
    thread::scope(|scope| {
        for _ in 0..50 {
            let (case, together) = (&case, &together);
            scope.spawn(move || {
                let mut bundle = case.bundle();
                bundle.args(["/bin/sleep", "1000"]);
                together.wait();
                let container = case.create(&bundle);
                assert_eq!(container.status(), "created");
                container.start();
                together.wait();
                assert_eq!(container.status(), "running");
                let list = case.runtime().args(["list", "-q"]).ok();
                assert_eq!(list.lines().len(), 50);
                together.wait();
                container.stop();
                assert_eq!(container.status(), "stopped");
                container.delete();
            });
        }
    });
    assert_eq!(case.runtime().args(["list", "-q"]).ok().text(), "");
    case.assert_nothing_left();
}

/// 100 `exec`s in one container, 8 at a time.
#[test]
fn a_hundred_execs_eight_at_a_time() {
    let case = Case::new();
    let (_bundle, container) = case.sleeper();
    thread::scope(|scope| {
        for worker in 0..8 {
            let container = &container;
            scope.spawn(move || {
                for number in 0..13 {
                    let script = format!("echo exec {worker} {number}; exit {number}");
                    let exec = container.exec(&[], &["/bin/sh", "-c", &script]).output();
                    assert_eq!(exec.stdout, format!("exec {worker} {number}\n"), "{}", exec.stderr);
                    assert_eq!(exec.code(), number, "{}", exec.stderr);
                }
            });
        }
    });
    let processes = case.runtime().args(["ps", "--format", "json", container.id()]).ok().json();
    assert_eq!(processes.as_array().unwrap().len(), 1);
}

/// One id, made and removed again and again.
#[test]
fn an_id_can_be_used_again_at_once() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.args(["/bin/sleep", "1000"]);
    for _ in 0..30 {
        let container = case.start(&bundle);
        case.runtime().args(["delete", "--force", container.id()]).ok();
        assert!(container.process().exited());
        case.assert_nothing_left();
    }
}

/// 500 containers with limits, made and deleted 8 at a time: no cgroup stays.
#[test]
fn five_hundred_with_limits_leave_no_cgroup() {
    let case = Case::new();
    thread::scope(|scope| {
        for worker in 0..8 {
            let case = &case;
            scope.spawn(move || {
                let mut bundle = case.bundle();
                bundle.args(["/bin/true"]);
                bundle.set(
                    "/linux/resources",
                    serde_json::json!({
                        "memory": { "limit": 64 << 20 },
                        "pids": { "limit": 32 },
                        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 },
                    }),
                );
                let share = 500 / 8 + usize::from(worker < 500 % 8);
                for _ in 0..share {
                    case.run(&bundle).ok();
                }
            });
        }
    });
    case.assert_nothing_left();
}
