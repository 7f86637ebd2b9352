//! `linux.resources.devices` on v2: an eBPF program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE` that the kernel asks at every mknod(2) and open(2).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use husk_sys::bpf;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::devices::{ALL, DEFAULTS, Kind, Rule};
use crate::error::Error;

/// By this name an update finds the program that it replaces; others, such as
/// systemd's for `DeviceAllow=`, stay.
const NAME: &str = "husk_devices";

/// Instructions of the classic encoding: `code | dst << 8 | src << 12 | off << 16 | imm << 32`.
#[derive(Debug, Default)]
struct Program(Vec<u64>);

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses asked for that no rule has decided yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for a container's rules, followed by the default ones.
///
/// `struct bpf_cgroup_dev_ctx` gives the access in the upper and the kind in
/// the lower half of its first word, then the numbers. The rules are asked from
/// the last to the first; each decides the accesses that it names and that no
/// later one has decided. One denied access denies all.
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    let all: Vec<&Rule> = rules.iter().chain(&DEFAULTS).collect();
    // What comes before the last rule for everything is never asked.
    let total = all.iter().rposition(|rule| rule.is_total());
    let allow = total.is_some_and(|at| all[at].allow);
    let asked = &all[total.map_or(0, |at| at + 1)..];

    let mut program = Program::default();
    program.push(LOAD_WORD, KIND, CONTEXT, 0, 0);
    program.push(MOVE_REGISTER, OPEN, KIND, 0, 0);
    program.push(AND, KIND, 0, 0, 0xffff);
    program.push(SHIFT_RIGHT, OPEN, 0, 0, 16);
    program.push(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
    program.push(LOAD_WORD, MINOR, CONTEXT, 8, 0);
    // After a rule for everything, more of the same needs no asking.
    for rule in asked
        .iter()
        .rev()
        .filter(|rule| rule.allow != allow || asked.iter().any(|other| other.allow != allow))
    {
        program.rule(rule);
    }
    program.answer(allow);
    program.0
}

impl Program {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, value: u32) {
        self.0.push(
            u64::from(code)
                | u64::from(to) << 8
                | u64::from(from) << 12
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(value) << 32,
        );
    }

    fn answer(&mut self, allow: bool) {
        self.push(MOVE, RESULT, 0, 0, u32::from(allow));
        self.push(EXIT, 0, 0, 0, 0);
    }

    fn rule(&mut self, rule: &Rule) {
        let mut to_next = Vec::new();
        let mut unless = |program: &mut Self, register: u8, value: Option<u32>| {
            if let Some(value) = value {
                to_next.push(program.0.len());
                program.push(JUMP_IF_NOT_EQUAL, register, 0, 0, value);
            }
        };
        let kind = rule.kind.map(|kind| match kind {
            Kind::Block => 1,
            Kind::Char => 2,
        });
        unless(self, KIND, kind);
        // A number above 2^31 would be sign-extended: the register holds it
        // zero-extended, and no device has such a number.
        unless(self, MAJOR, rule.major);
        unless(self, MINOR, rule.minor);
        if rule.access != ALL {
            if rule.allow {
                self.push(AND, OPEN, 0, 0, u32::from(ALL & !rule.access));
                unless(self, OPEN, Some(0));
            } else {
                self.push(MOVE_REGISTER, SCRATCH, OPEN, 0, 0);
                self.push(AND, SCRATCH, 0, 0, u32::from(rule.access));
                to_next.push(self.0.len());
                self.push(JUMP_IF_EQUAL, SCRATCH, 0, 0, 0);
            }
        }
        self.answer(rule.allow);
        for at in to_next {
            // A rule has at most nine instructions.
            let offset = (self.0.len() - at - 1) as u64;
            self.0[at] |= offset << 16;
        }
    }
}

/// Puts a program in force for a cgroup, in place of the one that is there.
pub(crate) fn enforce(cgroup: &Path, program: &[u64]) -> Result<(), Error> {
    let fail =
        |operation: &'static str| move |errno: Errno| Error::system(operation, cgroup, errno);
    let new = bpf::load_cgroup_device(program, NAME).map_err(fail("load a device filter for"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, cgroup, flags, Mode::empty()).map_err(fail("open"))?;
    let old = ours(directory.as_fd()).map_err(fail("list the device filters of"))?;
    bpf::attach_device(directory.as_fd(), new.as_fd(), old.as_ref().map(AsFd::as_fd))
        .map_err(fail("attach a device filter to"))
}

fn ours(cgroup: std::os::fd::BorrowedFd) -> Result<Option<OwnedFd>, Errno> {
    for id in bpf::device_programs(cgroup)? {
        match bpf::program_by_id(id) {
            Ok(program) if bpf::program_name(program.as_fd())? == NAME => return Ok(Some(program)),
            // Detached and freed in between.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
