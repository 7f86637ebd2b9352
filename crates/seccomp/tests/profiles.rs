//! What single rules come to.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use husk_seccomp::{
    Call, CompileError, Decision, FILTER_FLAG_LOG, FILTER_FLAG_NEW_LISTENER,
    FILTER_FLAG_SPEC_ALLOW, FILTER_FLAG_TSYNC, FILTER_FLAG_TSYNC_ESRCH,
    FILTER_FLAG_WAIT_KILLABLE_RECV, MAX_INSTRUCTIONS, Program, Reason, audit_arch, compile,
    explain, syscall_name, syscall_number,
};
use husk_spec::{Seccomp, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};
use support::{Data, check, decode, run};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const X86_64: SeccompArch = SeccompArch::X86_64;
const X86: SeccompArch = SeccompArch::X86;
const X32: SeccompArch = SeccompArch::X32;

fn parse(json: &str) -> Seccomp {
    serde_json::from_str(json).expect("a profile")
}

/// A profile that denies but for `rules`, on x86_64, x86 and x32.
fn denying(rules: &str) -> Seccomp {
    parse(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO",
            "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{rules}]}}"#
    ))
}

fn program(profile: &Seccomp) -> Program {
    let program = compile(profile, X86_64).expect("a profile that compiles");
    check(&decode(&program.instructions)).expect("a program the kernel takes");
    program
}

fn ask(profile: &Seccomp, arch: SeccompArch, nr: u32, args: [u64; 6]) -> u32 {
    let data = Data { arch: audit_arch(arch), nr, args, big_endian: false };
    let ret = run(&decode(&program(profile).instructions), &data).0;
    let call = Call { arch: data.arch, number: nr, arguments: args };
    assert_eq!(explain(profile, X86_64, &call).expect("compiles").ret, ret, "{call:x?}");
    ret
}

fn call(profile: &Seccomp, arch: SeccompArch, name: &str, args: [u64; 6]) -> u32 {
    ask(profile, arch, syscall_number(arch, name).expect(name), args)
}

fn error(profile: &Seccomp) -> String {
    compile(profile, X86_64).expect_err("a profile that does not compile").to_string()
}

const LAST: &str = r#"{"names":["mseal"],"action":"SCMP_ACT_ALLOW"}"#;

// CVE-2017-18367: libseccomp-golang took any of several conditions for all.
#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let profile = denying(&format!(
        r#"{{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
            {{"index":0,"value":2,"op":"SCMP_CMP_EQ"}},
            {{"index":1,"value":1,"op":"SCMP_CMP_EQ"}}]}},{LAST}"#
    ));
    for (family, kind, expected) in [(2, 1, ALLOW), (2, 3, EPERM), (1, 1, EPERM), (1, 3, EPERM)] {
        assert_eq!(call(&profile, X86_64, "socket", [family, kind, 0, 0, 0, 0]), expected);
    }
}

#[test]
fn conditions_on_one_argument_are_rules_of_their_own() {
    let profile = denying(&format!(
        r#"{{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
            {{"index":0,"value":0,"op":"SCMP_CMP_EQ"}},
            {{"index":0,"value":8,"op":"SCMP_CMP_EQ"}}]}},{LAST}"#
    ));
    for (value, expected) in [(0, ALLOW), (8, ALLOW), (1, EPERM), (1 << 32, EPERM)] {
        assert_eq!(call(&profile, X86_64, "personality", [value, 0, 0, 0, 0, 0]), expected);
    }
}

#[test]
fn first_rule_without_conditions_decides() {
    let profile = denying(&format!(
        r#"{{"names":["setns"],"action":"SCMP_ACT_LOG","args":[{{"index":0,"value":1,"op":"SCMP_CMP_EQ"}}]}},
           {{"names":["setns"],"action":"SCMP_ACT_ALLOW"}},
           {{"names":["setns"],"action":"SCMP_ACT_KILL"}},{LAST}"#
    ));
    assert_eq!(call(&profile, X86_64, "setns", [1, 0, 0, 0, 0, 0]), ALLOW);
    let overruled: Vec<(usize, usize)> =
        program(&profile).overruled.iter().map(|one| (one.rule, one.by)).collect();
    assert_eq!(overruled, [(0, 1), (2, 1)]);
}

#[test]
fn every_operator_at_its_edges() {
    let two_32 = 1_u64 << 32;
    for (op, below, at, above) in [
        ("EQ", false, true, false),
        ("NE", true, false, true),
        ("LT", true, false, false),
        ("LE", true, true, false),
        ("GT", false, false, true),
        ("GE", false, true, true),
    ] {
        for value in [1, 0xffff_ffff, two_32, two_32 + 7, u64::MAX - 1] {
            let profile = denying(&format!(
                r#"{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                    "args":[{{"index":2,"value":{value},"op":"SCMP_CMP_{op}"}}]}},{LAST}"#
            ));
            for (argument, holds) in [(value - 1, below), (value, at), (value + 1, above)] {
                let expected = if holds { ALLOW } else { EPERM };
                let got = call(&profile, X86_64, "read", [0, 0, argument, 0, 0, 0]);
                assert_eq!(got, expected, "{argument:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn masked_equal_takes_the_mask_from_value_and_the_datum_from_value_two() {
    let profile = denying(&format!(
        r#"{{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
            {{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}}]}},{LAST}"#
    ));
    for (flags, expected) in [(0x11, ALLOW), (0x2000_0000, EPERM), (1 << 40, ALLOW)] {
        assert_eq!(call(&profile, X86_64, "clone", [flags, 0, 0, 0, 0, 0]), expected);
    }
}

#[test]
fn call_newer_than_the_profile_is_not_implemented() {
    let profile = denying(r#"{"names":["statx"],"action":"SCMP_ACT_ALLOW"}"#);
    let statx = syscall_number(X86_64, "statx").expect("statx");
    assert_eq!(ask(&profile, X86_64, statx, [0; 6]), ALLOW);
    assert_eq!(ask(&profile, X86_64, statx - 1, [0; 6]), EPERM);
    assert_eq!(ask(&profile, X86_64, statx + 1, [0; 6]), ENOSYS);
    assert_eq!(ask(&profile, X32, 0x4000_0000 + statx + 1, [0; 6]), ENOSYS);
    let logging = Seccomp { default_action: husk_spec::SeccompAction::Log, ..profile };
    assert_eq!(ask(&logging, X86_64, statx + 1, [0; 6]), 0x7ffc_0000);
}

#[test]
fn architecture_not_listed_kills() {
    let mut profile = denying(LAST);
    profile.architectures.clear();
    assert_eq!(call(&profile, X86_64, "mseal", [0; 6]), ALLOW);
    assert_eq!(call(&profile, X86, "mseal", [0; 6]), 0);
    assert_eq!(call(&profile, X32, "mseal", [0; 6]), 0);
    // The number by which a tracer skips a call.
    assert_eq!(ask(&profile, X86_64, u32::MAX, [0; 6]), EPERM);
}

// CVE-2026-123876: what `socket` is denied, socketcall(2) did.
#[test]
fn multiplexed_call_is_never_freer_than_the_call() {
    let socketcall = |profile: &Seccomp, number: u64| {
        call(profile, X86, "socketcall", [number, 0x1000, 0, 0, 0, 0])
    };
    // Allowed but for AF_ALG: which family it is cannot be seen.
    let condition = r#""args":[{"index":0,"value":38,"op":"SCMP_CMP_NE"}]"#;
    let profile = denying(&format!(
        r#"{{"names":["socket"],"action":"SCMP_ACT_ALLOW",{condition}}},
           {{"names":["bind"],"action":"SCMP_ACT_ALLOW"}},{LAST}"#
    ));
    assert_eq!(socketcall(&profile, 1), EPERM);
    assert_eq!(socketcall(&profile, 2), ALLOW);
    assert_eq!(socketcall(&profile, 3), EPERM);
    // All is allowed but AF_ALG.
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["socket"],"action":"SCMP_ACT_ERRNO",
             "args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]},
            {"names":["shmget"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(socketcall(&profile, 1), EPERM);
    assert_eq!(socketcall(&profile, 2), ALLOW);
    // The version of the interface stands above the number of the ipc call.
    for number in [23, 0x1_0017] {
        assert_eq!(call(&profile, X86, "ipc", [number, 0, 0, 0, 0, 0]), EPERM);
    }
    // A profile that denies socketcall with the default action means it.
    let profile = denying(&format!(
        r#"{{"names":["socketcall"],"action":"SCMP_ACT_ERRNO"}},
           {{"names":["socket"],"action":"SCMP_ACT_ALLOW"}},{LAST}"#
    ));
    assert_eq!(socketcall(&profile, 1), EPERM);
    // One that allows it means that too: engines do, for old 32-bit programs.
    let profile = denying(&format!(
        r#"{{"names":["socketcall"],"action":"SCMP_ACT_ALLOW"}},
           {{"names":["socket"],"action":"SCMP_ACT_ALLOW",{condition}}},{LAST}"#
    ));
    assert_eq!(socketcall(&profile, 1), ALLOW);
}

#[test]
fn unknown_names_are_told_once() {
    let profile = denying(&format!(
        r#"{{"names":["nosuch","read","nosuch"],"action":"SCMP_ACT_ALLOW"}},
           {{"names":["nosuch","other"],"action":"SCMP_ACT_ALLOW"}},{LAST}"#
    ));
    assert_eq!(program(&profile).unknown, ["nosuch", "other"]);
    // Known to another architecture only.
    assert!(
        program(&denying(r#"{"names":["s390_runtime_instr"],"action":"SCMP_ACT_ALLOW"}"#))
            .unknown
            .is_empty()
    );
}

#[test]
fn flags_are_those_asked_for() {
    let with = |flags: &str, action: &str| {
        let mut profile = denying(&format!(r#"{{"names":["read"],"action":"{action}"}}"#));
        profile.flags = serde_json::from_str(flags).expect("flags");
        profile.listener_path = Some("/run/agent".to_owned());
        let program = program(&profile);
        (program.flags, program.notifies)
    };
    let all = r#"["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
    let plain = FILTER_FLAG_TSYNC | FILTER_FLAG_LOG | FILTER_FLAG_SPEC_ALLOW;
    let listener =
        FILTER_FLAG_NEW_LISTENER | FILTER_FLAG_TSYNC_ESRCH | FILTER_FLAG_WAIT_KILLABLE_RECV;
    assert_eq!(with("[]", "SCMP_ACT_ALLOW"), (0, false));
    assert_eq!(with("[]", "SCMP_ACT_NOTIFY"), (FILTER_FLAG_NEW_LISTENER, true));
    assert_eq!(with(all, "SCMP_ACT_ALLOW"), (plain, false));
    assert_eq!(with(all, "SCMP_ACT_NOTIFY"), (plain | listener, true));
}

#[test]
fn errors_name_the_property_and_the_value() {
    let profile = denying(&format!(
        r#"{LAST},{{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[
            {{"index":0,"value":1,"op":"SCMP_CMP_EQ"}},{{"index":6,"value":1,"op":"SCMP_CMP_EQ"}}]}}"#
    ));
    assert_eq!(error(&profile), "linux.seccomp.syscalls[1].args[1].index: 6: arguments are 0 to 5");
    let profile = denying(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":13}"#);
    assert_eq!(
        error(&profile),
        "linux.seccomp.syscalls[0].errnoRet: 13: Allow returns no errno, only ERRNO and TRACE do"
    );
    let profile = denying(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#);
    assert_eq!(
        error(&profile),
        "linux.seccomp.syscalls[0].errnoRet: 4096: Errno returns at most 4095"
    );
    let profile = Seccomp { default_errno_ret: Some(70000), ..denying(LAST) };
    assert_eq!(error(&profile), "linux.seccomp.defaultErrnoRet: 70000: Errno returns at most 4095");
    let profile = denying(r#"{"names":[],"action":"SCMP_ACT_ALLOW"}"#);
    assert!(error(&profile).starts_with("linux.seccomp.syscalls[0].names: empty"));
    let profile = denying(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#);
    assert!(error(&profile).starts_with("linux.seccomp.listenerPath: missing"));
    let profile = Seccomp { listener_metadata: Some("x".to_owned()), ..denying(LAST) };
    assert!(error(&profile).starts_with("linux.seccomp.listenerMetadata: \"x\""));
    // An empty text counts as none, for the path as for what depends on it.
    let profile = Seccomp { listener_path: Some(String::new()), ..profile };
    assert!(error(&profile).starts_with("linux.seccomp.listenerMetadata: \"x\""));
    let profile = Seccomp { listener_metadata: Some(String::new()), ..denying(LAST) };
    assert!(compile(&profile, SeccompArch::X86_64).is_ok());
}

#[test]
fn contradiction_names_both_rules() {
    let condition = r#""args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]"#;
    let profile = denying(&format!(
        r#"{{"names":["read","write"],"action":"SCMP_ACT_KILL",{condition}}},{LAST},
           {{"names":["write"],"action":"SCMP_ACT_ALLOW",{condition}}}"#
    ));
    assert!(matches!(
        compile(&profile, X86_64),
        Err(CompileError::Contradiction { rule: 2, first: 0, syscall: "write", .. })
    ));
}

/// A profile too long to jump over, and one too long to load.
#[test]
fn long_programs() {
    let argument = |value| SeccompArg { index: 1, value, op: SeccompOp::Eq, value_two: 0 };
    let rule = |value| SeccompSyscall {
        names: vec!["ioctl".to_owned(), "fcntl".to_owned()],
        action: husk_spec::SeccompAction::Allow,
        errno_ret: None,
        args: vec![argument(value), SeccompArg { index: 0, ..argument(value ^ 0x5555) }],
    };
    let mut profile = denying(LAST);
    profile.syscalls.extend((0..300).map(rule));
    for value in [0, 150, 299] {
        let args = [value ^ 0x5555, value, 0, 0, 0, 0];
        assert_eq!(call(&profile, X86_64, "ioctl", args), ALLOW);
        assert_eq!(call(&profile, X86_64, "fcntl", [value, value, 0, 0, 0, 0]), EPERM);
    }
    assert_eq!(call(&profile, X86, "mseal", [0; 6]), ALLOW);
    profile.syscalls.extend((300..3000).map(rule));
    match compile(&profile, X86_64) {
        Err(CompileError::TooLong { instructions, limit: MAX_INSTRUCTIONS }) => {
            assert!(instructions > MAX_INSTRUCTIONS);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn explanation_names_the_rule() {
    let profile = denying(&format!(
        r#"{LAST},{{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
            {{"index":0,"value":2,"op":"SCMP_CMP_EQ"}}]}}"#
    ));
    let ask = |number, family| {
        let call = Call { arch: audit_arch(X86_64), number, arguments: [family, 0, 0, 0, 0, 0] };
        explain(&profile, X86_64, &call).expect("compiles")
    };
    let decision = |ret, reason, name| Decision { ret, reason, syscall: Some(name) };
    assert_eq!(ask(41, 2), decision(ALLOW, Reason::Rule(1), "socket"));
    assert_eq!(ask(41, 3), decision(EPERM, Reason::Default, "socket"));
    assert_eq!(ask(0, 3), decision(EPERM, Reason::Default, "read"));
    assert_eq!(ask(463, 3), decision(ENOSYS, Reason::NewerThanProfile, "setxattrat"));
    let foreign = Call { arch: audit_arch(SeccompArch::Arm), number: 1, arguments: [0; 6] };
    let decision = explain(&profile, X86_64, &foreign).expect("compiles");
    assert_eq!((decision.ret, decision.reason), (0, Reason::Architecture));
}

/// The whole of a small program.
#[test]
fn golden_program() {
    let profile = parse(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["ptrace"],"action":"SCMP_ACT_ERRNO"},
            {"names":["personality"],"action":"SCMP_ACT_KILL_PROCESS",
             "args":[{"index":0,"value":8,"op":"SCMP_CMP_NE"}]}]}"#,
    );
    let text: Vec<String> = decode(&program(&profile).instructions)
        .iter()
        .map(|i| format!("{:02x} {} {} {:x}", i.code, i.jt, i.jf, i.k))
        .collect();
    let expected = include_str!("golden.txt");
    assert_eq!(text.join("\n"), expected.trim_end(), "{text:#?}");
}

#[test]
fn names_and_numbers_lead_to_each_other() {
    for arch in SeccompArch::ALL {
        let named = (0..8192)
            .chain(0x4000_0000..0x4000_0400)
            .chain(0xf_0000..0xf_0010)
            .filter_map(|nr| Some((nr, syscall_name(*arch, nr)?)));
        let mut count = 0;
        for (nr, name) in named {
            let of = if nr >= 0x4000_0000 { X32 } else { *arch };
            assert_eq!(syscall_number(of, name), Some(nr), "{}: {name}", arch.name());
            count += 1;
        }
        assert!(count > 300, "{}: {count} calls", arch.name());
    }
}
