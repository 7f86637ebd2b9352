//! Operations on one id that meet: each ends, and one at most succeeds where
//! only one can.

use std::sync::Barrier;
use std::thread;

use husk_tests::case::Case;
use husk_tests::invocation::{Invocation, Output};

const AT_ONCE: usize = 8;

/// The same command, several times at once.
fn at_once(make: impl Fn() -> Invocation + Sync) -> Vec<Output> {
    let together = Barrier::new(AT_ONCE);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (make, together) = (&make, &together);
                scope.spawn(move || {
                    let invocation = make();
                    together.wait();
                    invocation.output()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

fn succeeded(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| output.status.success()).count()
}

#[test]
fn one_of_several_creates_succeeds() {
    let case = Case::new();
    for _ in 0..5 {
        let mut bundle = case.bundle();
        bundle.args(["/bin/sleep", "1000"]);
        bundle.write();
        let outputs = at_once(|| {
            case.runtime().arg("create").arg("--bundle").arg(bundle.dir()).arg(bundle.id())
        });
        assert_eq!(succeeded(&outputs), 1, "{outputs:#?}");
        case.on("start", bundle.id()).ok();
        let state = case.on("state", bundle.id()).ok().json();
        assert_eq!(state["status"], "running");
        case.runtime().args(["delete", "--force", bundle.id()]).ok();
        case.assert_nothing_left();
    }
}

#[test]
fn one_of_several_starts_succeeds() {
    let case = Case::new();
    for _ in 0..5 {
        let mut bundle = case.bundle();
        bundle.shell("echo started >>/tmp/log; exec sleep 1000");
        let said = case.fifo(&bundle, "said");
        bundle.shell("echo started >>/tmp/log; echo ready >/said; exec sleep 1000");
        let container = case.create(&bundle);
        let outputs = at_once(|| case.on("start", bundle.id()));
        assert_eq!(succeeded(&outputs), 1, "{outputs:#?}");
        assert_eq!(said.line(), "ready");
        let log = std::fs::read_to_string(bundle.rootfs("tmp/log")).unwrap();
        assert_eq!(log, "started\n");
        container.stop();
        container.delete();
    }
}

#[test]
fn one_of_several_deletes_succeeds() {
    let case = Case::new();
    for _ in 0..5 {
        let (bundle, container) = case.sleeper();
        container.stop();
        let outputs = at_once(|| case.on("delete", bundle.id()));
        assert_eq!(succeeded(&outputs), 1, "{outputs:#?}");
        // Not that it was never whole, with a --force that could meet another container.
        let hint = |output: &&Output| output.stderr.contains("--force");
        assert_eq!(outputs.iter().filter(hint).count(), 0, "{outputs:#?}");
        case.assert_nothing_left();
    }
}

#[test]
fn several_forced_deletes_all_succeed() {
    let case = Case::new();
    for _ in 0..5 {
        let (bundle, container) = case.sleeper();
        let outputs = at_once(|| case.runtime().args(["delete", "--force", bundle.id()]));
        assert_eq!(succeeded(&outputs), AT_ONCE, "{outputs:#?}");
        assert!(container.process().exited());
        case.assert_nothing_left();
    }
}

/// Readers and writers of one id, while others list.
#[test]
fn different_operations_on_one_id() {
    let case = Case::new();
    let bundle = {
        let mut bundle = case.bundle();
        bundle.args(["/bin/sleep", "1000"]);
        bundle.write();
        bundle
    };
    let id = bundle.id();
    thread::scope(|scope| {
        let case = &case;
        let dir = bundle.dir();
        scope.spawn(move || {
            for _ in 0..20 {
                case.runtime().args(["run", "--detach", "--bundle"]).arg(dir).arg(id).output();
            }
        });
        for command in [&["state"][..], &["kill"], &["exec"], &["ps"], &["delete", "--force"]] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let call = case.runtime().args(command).arg(id);
                    let call = match command {
                        ["kill"] => call.arg("KILL"),
                        ["exec"] => call.arg("/bin/true"),
                        _ => call,
                    };
                    // Any result is right; not to end would be wrong.
                    call.output();
                }
            });
        }
        scope.spawn(move || {
            for _ in 0..20 {
                case.runtime().arg("list").ok();
            }
        });
    });
    case.runtime().args(["delete", "--force", id]).ok();
    case.assert_nothing_left();
}
