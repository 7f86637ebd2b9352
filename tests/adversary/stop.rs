//! What a container can do to a process that joins it: nothing that keeps the caller waiting.

use husk_tests::case::Case;

use crate::scenario::{Caller, Scenario};

/// Stopped before it runs its program: an error. Later it is the container's own matter, which
/// is why the caller does not wait for the program here.
#[test]
fn exec_is_stopped() {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, "stop");
    scenario.capabilities(&["CAP_KILL"]);
    let seen = scenario.run(|scenario| {
        scenario.exec(&["--detach"]).output();
    });
    assert!(seen > 0, "the spy has seen nobody");
}

#[test]
fn exec_is_killed() {
    let case = Case::without_user_namespace("the scenarios have their own");
    let mut scenario = Scenario::new(&case, Caller::Root, "kill");
    scenario.capabilities(&["CAP_KILL"]);
    let seen = scenario.run(|scenario| {
        scenario.exec(&[]).output();
    });
    assert!(seen > 0, "the spy has seen nobody");
}
