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
            OR_REGISTER => registers[to] |= registers[from],
            XOR_REGISTER => registers[to] ^= registers[from],
            AND_REGISTER => registers[to] &= registers[from],
            AND => registers[to] &= value,
            XOR => registers[to] ^= value,
            XOR_32 => registers[to] = u64::from(registers[to] as u32 ^ value as u32),
            SUBTRACT => registers[to] = registers[to].wrapping_sub(value),
            MULTIPLY => registers[to] = registers[to].wrapping_mul(value),
            SHIFT_LEFT => registers[to] <<= value,
            SHIFT_RIGHT => registers[to] >>= value,
            JUMP_IF_EQUAL if registers[to] as u32 == value as u32 => {
                at += usize::try_from(offset).unwrap();
            }
            JUMP_IF_EQUAL => {}
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
        r#"[{"allow":true,"minor":9},{"allow":false,"type":"c","major":7,"minor":9,"access":"w"},
            {"allow":true,"major":5000},{"allow":true,"type":"b","minor":4294967295}]"#,
    ];
    for json in lists {
        let rules = rules(json);
        let program = program(&rules).unwrap();
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

/// The load is a large part of a start, and jumps are most of it.
#[test]
fn the_default_program_has_one_jump() {
    let program = program(&[]).unwrap();
    let jumps = program.iter().filter(|word| **word as u8 == JUMP_IF_EQUAL);
    assert_eq!((program.len(), jumps.count()), (66, 1));
}

#[test]
fn too_many_rules_are_an_error() {
    let many: Vec<Rule> = (0..2049)
        .map(|minor| Rule {
            allow: true,
            kind: Some(Kind::Block),
            major: Some(8),
            minor: Some(minor),
            access: READ,
        })
        .collect();
    assert!(program(&many).unwrap_err().to_string().contains("more than 2048 devices"));
    let most = program(&many[1..]).unwrap();
    assert!(run(&most, 1, 8, 2048, READ) && !run(&most, 1, 8, 2049, READ));
}
