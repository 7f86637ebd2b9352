//! Filters, asked by programs that mean to get around them.

use husk_tests::bundle::Bundle;
use husk_tests::case::Case;
use serde_json::{Value, json};

use crate::machine_code;

const AF_UNIX: u32 = 1;
const AF_ALG: u32 = 38;
const SOCK_STREAM: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;
/// An errno that no call here gives by itself.
const MARK: i32 = 42;

fn filtered(bundle: &mut Bundle, rules: Value) {
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": rules,
        }),
    );
}

/// CVE-2017-18367 (libseccomp-golang): the conditions of a rule hold together,
/// not each by itself.
#[test]
fn all_conditions_of_a_rule_must_hold() {
    let case = Case::new();
    let mut bundle = case.bundle();
    let equal =
        |index: u32, value: u32| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    filtered(
        &mut bundle,
        json!([{
            "names": ["umask"], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK,
            "args": [equal(0, 1), equal(1, 2)],
        }]),
    );
    for (first, second) in [(1, 2), (1, 3), (3, 2), (3, 3)] {
        machine_code::umask(&bundle.rootfs("bin/call"), first, second);
        bundle.args(["/bin/call"]);
        let code = case.run(&bundle).code();
        assert_eq!(code == MARK, (first, second) == (1, 2), "umask({first}, {second}): {code}");
    }
}

/// CVE-2026-123876 (podman), moby/profiles 20 to 23, CVE-2026-112917: a socket
/// family is denied, and a 32-bit program asks by socketcall(2), whose
/// arguments a filter cannot read.
#[test]
fn a_denied_socket_family_cannot_be_had_by_socketcall() {
    let case = Case::new();
    let mut bundle = case.bundle();
    filtered(
        &mut bundle,
        json!([{
            "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK,
            "args": [{ "index": 0, "value": AF_ALG, "op": "SCMP_CMP_EQ" }],
        }]),
    );
    let mut ask = |write: fn(&std::path::Path, u32, u32), family, kind| {
        write(&bundle.rootfs("bin/call"), family, kind);
        bundle.args(["/bin/call"]);
        case.run(&bundle).code()
    };
    assert_ne!(ask(machine_code::socket_32, AF_UNIX, SOCK_STREAM), MARK, "another family");
    assert_eq!(ask(machine_code::socket_32, AF_ALG, SOCK_SEQPACKET), MARK, "socket");
    assert_eq!(ask(machine_code::socketcall, AF_ALG, SOCK_SEQPACKET), MARK, "socketcall");
}

/// The same with a list of what is allowed, as the engines' profiles have it:
/// `socket` for every family but one, and no word of socketcall.
#[test]
fn an_allowed_socket_does_not_allow_socketcall() {
    let case = Case::new();
    let mut bundle = case.bundle();
    filtered(
        &mut bundle,
        json!([{
            "names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{ "index": 0, "value": AF_ALG, "op": "SCMP_CMP_NE" }],
        }]),
    );
    // All else stays allowed: this denies by the two numbers alone.
    bundle.set(
        "/linux/seccomp/syscalls/-",
        json!({
            "names": ["socket", "socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": MARK,
            "args": [{ "index": 0, "value": AF_ALG, "op": "SCMP_CMP_EQ" }],
        }),
    );
    machine_code::socketcall(&bundle.rootfs("bin/call"), AF_ALG, SOCK_SEQPACKET);
    bundle.args(["/bin/call"]);
    assert_eq!(case.run(&bundle).code(), MARK);
}
