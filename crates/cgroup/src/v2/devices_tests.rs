//! The generated program, run by a small interpreter beside the rules' meaning.

use super::*;
use crate::devices::{MKNOD, READ, WRITE, parse};

fn rules(json: &str) -> Vec<Rule> {
    parse(&serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap()
}

/// Runs the instructions that the generator uses.
fn run(program: &[u64], kind: u32, major: u32, minor: u32, access: u8) -> bool {
    let context = [u32::from(access) << 16 | kind, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0;
    loop {
        let word = program[at];
        let (code, to, from) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
        let (offset, value) = ((word >> 16) as i16, u64::from((word >> 32) as u32));
        at += 1;
        match code {
            LOAD_WORD => registers[to] = context[usize::try_from(offset).unwrap() / 4].into(),
            MOVE_REGISTER => registers[to] = registers[from],
            MOVE => registers[to] = value,
            AND => registers[to] &= value,
            SHIFT_RIGHT => registers[to] >>= value,
            JUMP_IF_EQUAL if registers[to] == value => at += usize::try_from(offset).unwrap(),
            JUMP_IF_NOT_EQUAL if registers[to] != value => at += usize::try_from(offset).unwrap(),
            JUMP_IF_EQUAL | JUMP_IF_NOT_EQUAL => {}
            EXIT => return registers[0] == 1,
            _ => panic!("unknown instruction {word:#x}"),
        }
    }
}

/// The meaning of the rules, access by access.
fn meant(rules: &[Rule], kind: u32, major: u32, minor: u32, access: u8) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
        let mut allow = false;
        for rule in rules.iter().chain(&DEFAULTS) {
            let same_kind = rule.kind.is_none_or(|k| (k == Kind::Block) == (kind == 1));
            let same_major = rule.major.is_none_or(|number| number == major);
            let same_minor = rule.minor.is_none_or(|number| number == minor);
            if same_kind && same_major && same_minor && rule.access & bit != 0 {
                allow = rule.allow;
            }
        }
        allow
    })
}

#[test]
fn the_program_means_what_the_rules_mean() {
    let lists = [
        "[]",
        r#"[{"allow":false,"access":"rwm"}]"#,
        r#"[{"allow":true}]"#,
        r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"w"}]"#,
        r#"[{"allow":true},{"allow":false,"type":"c","major":1,"minor":3}]"#,
        r#"[{"allow":true,"type":"b","major":8,"access":"rw"},
            {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        r#"[{"allow":true,"type":"c","major":10,"minor":229,"access":"r"},
            {"allow":true,"type":"c","major":10,"minor":229,"access":"w"},{"allow":true,"major":7},
            {"allow":false,"minor":229,"access":"m"}]"#,
        r#"[{"allow":true,"access":"r"},{"allow":false,"type":"c","access":"rw"}]"#,
    ];
    for json in lists {
        let rules = rules(json);
        let program = program(&rules);
        for kind in [1, 2] {
            for major in [0, 1, 5, 7, 8, 10, 136] {
                for minor in [0, 1, 2, 3, 9, 200, 229] {
                    for access in 1..=ALL {
                        assert_eq!(
                            run(&program, kind, major, minor, access),
                            meant(&rules, kind, major, minor, access),
                            "{json}: kind {kind} {major}:{minor} access {access}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn unknown_types_and_accesses_are_refused() {
    let error =
        |json: &str| parse(&serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap_err().to_string();
    assert_eq!(
        error(r#"[{"allow":true,"type":"p"}]"#),
        "linux.resources.devices[0].type: \"p\": must be a, b or c"
    );
    assert_eq!(
        error(r#"[{"allow":true},{"allow":true,"access":"rx"}]"#),
        "linux.resources.devices[1].access: \"rx\": must be made of r, w and m"
    );
    assert!(error(r#"[{"allow":true,"major":-2}]"#).contains("devices[0].major: -2"));
}

#[test]
fn allowing_everything_is_two_instructions_after_the_loads() {
    assert_eq!(program(&rules(r#"[{"allow":true}]"#)).len(), 8);
}
