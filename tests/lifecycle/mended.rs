//! What a command left that was killed on its way, or a machine that lost its power: the next
//! command finds it and brings it to its end.

use std::fs;
use std::path::PathBuf;

use husk_tests::case::Case;
use husk_tests::event::until;
use husk_tests::host::cgroups_named;
use rustix::process::{Pid, Signal, kill_process};

/// The container's directory in the v1 freezer's hierarchy, where there is one.
fn freezer(case: &Case) -> Option<PathBuf> {
    cgroups_named(case.marker()).into_iter().find(|path| path.join("freezer.state").exists())
}

/// Holds the container, and kills its process all the same: what a command leaves that dies
/// between freezing and thawing.
fn freeze_and_kill(case: &Case, pid: i32) -> bool {
    let Some(cgroup) = freezer(case) else { return false };
    let state = cgroup.join("freezer.state");
    fs::write(&state, "FROZEN").unwrap();
    until("a frozen cgroup", || fs::read_to_string(&state).unwrap().trim() == "FROZEN");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    true
}

/// No SIGKILL ends what a v1 freezer holds.
#[test]
fn a_kill_that_was_cut_short_is_finished() {
    let case = Case::new();
    for command in [&["state"][..], &["delete"], &["delete", "--force"], &["kill", "--all"]] {
        let (_, container) = case.sleeper();
        if !freeze_and_kill(&case, container.pid()) {
            return;
        }
        let words = case.runtime().args(command).arg(container.id());
        if command[0] == "kill" {
            words.arg("KILL").ok()
        } else {
            words.ok()
        };
        container.process().wait();
        case.runtime().args(["delete", "--force", container.id()]).ok();
        case.assert_nothing_left();
    }
}

/// What somebody has paused stays so.
#[test]
fn a_pause_is_not_taken_for_a_kill() {
    let case = Case::new();
    let (_, container) = case.sleeper();
    case.on("pause", container.id()).ok();
    assert_eq!(container.status(), "paused");
    case.on("kill", container.id()).arg("TERM").ok();
    assert_eq!(container.status(), "paused");
    case.on("resume", container.id()).ok();
    assert_eq!(container.status(), "running");
}

/// A record that was cut to any length is told, and removed with all that the container has.
#[test]
fn a_damaged_record_hides_nothing() {
    let case = Case::new();
    for damage in ["empty", "half", "pid"] {
        let (_, container) = case.sleeper();
        let (_, other) = case.sleeper();
        let path = case.state_root().join(container.id()).join("state.json");
        let text = fs::read_to_string(&path).unwrap();
        let pid = format!("\"pid\":{}", container.pid());
        assert!(text.contains(&pid), "{text}");
        let damaged = match damage {
            "empty" => String::new(),
            "half" => text[..text.len() / 2].to_owned(),
            _ => text.replace(&pid, "\"pid\":-23"),
        };
        fs::write(&path, damaged).unwrap();
        let list = case.runtime().arg("list").ok();
        assert!(list.stdout.contains(other.id()), "{damage}: {}", list.stdout);
        assert!(list.stderr.contains(container.id()), "{damage}: {}", list.stderr);
        assert!(!list.stderr.contains("never completely created"), "{damage}: {}", list.stderr);
        for command in ["state", "delete", "kill"] {
            let refused = case.on(command, container.id()).output();
            refused.refused_in_one_line(&["state.json", "delete --force"]);
        }
        assert!(!container.process().exited());
        case.runtime().args(["delete", "--force", container.id()]).ok();
        container.process().wait();
        other.stop();
        other.delete();
        case.assert_nothing_left();
    }
}
