//! config.md, process.capabilities: the five sets.

use husk_tests::case::Case;
use serde_json::{Value, json};

const KILL: u32 = 5;
const NET_BIND_SERVICE: u32 = 10;
const AUDIT_WRITE: u32 = 29;

fn set(numbers: &[u32]) -> String {
    format!("{:016x}", numbers.iter().fold(0u64, |set, n| set | 1 << n))
}

fn sets(report: &Value) -> [&str; 5] {
    ["CapBnd", "CapEff", "CapInh", "CapPrm", "CapAmb"]
        .map(|name| report["status"][name].as_str().unwrap())
}

/// config.md, capabilities.bounding; root gets all of it by execve(2).
#[test]
fn bounding_is_exactly_as_asked() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_AUDIT_WRITE"],
            "permitted": ["CAP_KILL", "CAP_AUDIT_WRITE"],
            "effective": ["CAP_KILL", "CAP_AUDIT_WRITE"],
        }),
    );
    let both = set(&[KILL, AUDIT_WRITE]);
    let none = set(&[]);
    assert_eq!(sets(&case.report(&bundle)), [&both, &both, &none, &both, &none]);
}

/// config.md, capabilities.inheritable.
#[test]
fn inheritable_is_exactly_as_asked() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    let report = case.report(&bundle);
    assert_eq!(report["status"]["CapInh"], set(&[KILL]));
    assert_eq!(report["status"]["CapAmb"], set(&[]));
}

/// config.md, capabilities.ambient: what a user other than root keeps.
#[test]
fn ambient_survives_a_change_of_user() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_KILL"],
        }),
    );
    let kill = set(&[KILL]);
    let inheritable = set(&[KILL, NET_BIND_SERVICE]);
    let bounding = set(&[KILL, AUDIT_WRITE, NET_BIND_SERVICE]);
    assert_eq!(sets(&case.report(&bundle)), [&bounding, &kill, &inheritable, &kill, &kill]);
}

/// capabilities(7): without ambient ones, a user other than root has none.
#[test]
fn a_user_without_ambient_capabilities_has_none() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let report = case.report(&bundle);
    assert_eq!(report["status"]["CapEff"], set(&[]));
    assert_eq!(report["status"]["CapPrm"], set(&[]));
    assert_eq!(report["status"]["CapBnd"], set(&[KILL, AUDIT_WRITE, NET_BIND_SERVICE]));
}

/// config.md, capabilities: empty sets are empty.
#[test]
fn empty_sets_leave_nothing() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/capabilities", json!({}));
    let none = set(&[]);
    assert_eq!(sets(&case.report(&bundle)), [&none, &none, &none, &none, &none]);
}

/// config.md, capabilities: a name nobody knows is a warning, not a failure.
#[test]
fn an_unknown_capability_is_a_warning() {
    let case = Case::new();
    let mut bundle = case.bundle();
    bundle.set("/process/capabilities/bounding/-", "CAP_BANANA");
    let run = case.run(&bundle).ok();
    assert!(run.stderr.contains("CAP_BANANA"), "no warning: {:?}", run.stderr);
    assert_eq!(run.json()["status"]["CapBnd"], set(&[KILL, AUDIT_WRITE, NET_BIND_SERVICE]));
}

/// config.md, capabilities: one that cannot be granted is a warning too. Here
/// the caller itself does not have it.
#[test]
fn an_ungrantable_capability_is_a_warning() {
    let case = Case::without_user_namespace(
        "a new user namespace has all capabilities, whatever the runtime has",
    );
    let mut bundle = case.bundle();
    for kind in ["bounding", "permitted", "effective"] {
        bundle.set(&format!("/process/capabilities/{kind}/-"), "CAP_SYS_PACCT");
    }
    bundle.write();
    let run = case
        .program("setpriv")
        .args(["--bounding-set", "-sys_pacct", "--inh-caps", "-sys_pacct"])
        .arg(husk_tests::runtime::path())
        .arg("--root")
        .arg(case.state_root())
        .args(["run", "--bundle"])
        .arg(bundle.dir())
        .arg(bundle.id())
        .ok();
    assert!(run.stderr.contains("CAP_SYS_PACCT"), "no warning: {:?}", run.stderr);
    assert_eq!(run.json()["status"]["CapBnd"], set(&[KILL, AUDIT_WRITE, NET_BIND_SERVICE]));
}
