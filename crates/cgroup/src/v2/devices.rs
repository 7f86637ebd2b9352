//! `linux.resources.devices` on v2: an eBPF program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE` that the kernel asks at every mknod(2) and open(2).

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use husk_sys::bpf;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::known_program;
use crate::devices::{ALL, DEFAULTS, Kind, Rule};
use crate::error::Error;

/// By this name an update finds the program that it replaces; others, such as
/// systemd's for `DeviceAllow=`, stay.
pub(super) const NAME: &str = "husk_devices";

/// Instructions of the classic encoding: `code | dst << 8 | src << 12 | off << 16 | imm << 32`.
///
/// What they compute is what the rules come to, without a jump for each: at every jump the
/// kernel's verifier remembers the state of all registers, and for every few it takes as
/// long at the load as it takes to make a mount.
#[derive(Debug, Default, PartialEq, Eq)]
struct Program(Vec<u64>);

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const OR_REGISTER: u8 = 0x4f;
const XOR_REGISTER: u8 = 0xaf;
const AND_REGISTER: u8 = 0x5f;
const AND: u8 = 0x57;
const XOR: u8 = 0xa7;
const SUBTRACT: u8 = 0x17;
const MULTIPLY: u8 = 0x27;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
/// Of 32 bits, the upper half becoming zero: a number above 2^31 is not sign-extended.
const XOR_32: u8 = 0xa4;
/// A comparison of 32 bits (Linux 5.1).
const JUMP_IF_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses asked for.
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both numbers in one, as the kernel's `dev_t` has them.
const DEVICE: u8 = 6;
/// Its highest bit: whether any of some numbers was equal.
const HIT: u8 = 7;
const DIFFERENCE: u8 = 8;

/// Widths of `dev_t` in the kernel, linux/kdev_t.h: no device has other numbers.
const MAJOR_BITS: u32 = 12;
const MINOR_BITS: u32 = 20;

/// Of one kind, in one program: with four instructions for each (and as many for each major
/// and minor number by itself) a jump still leads past all of them.
const MOST_DEVICES: usize = 2048;

/// `BPF_DEVCG_DEV_CHAR`.
const CHAR: u32 = 2;

/// The program for a container's rules, followed by the default ones.
///
/// `struct bpf_cgroup_dev_ctx` gives the access in the upper and the kind in
/// the lower half of its first word, then the numbers.
///
/// The rules are evaluated here rather than there: the program holds what each device
/// that a rule names ends up with, one comparison a device.
///
/// # Errors
///
/// More devices are named than a program has room for.
pub(crate) fn program(rules: &[Rule]) -> Result<Vec<u64>, Error> {
    let all: Vec<&Rule> = rules.iter().chain(&DEFAULTS).collect();
    let section = |kind| match Table::evaluate(&all, kind) {
        Some(table) => Ok(table.program()),
        None => Err(Error::invalid(
            "linux.resources.devices",
            format!("{} rules", rules.len()),
            format!("name more than {MOST_DEVICES} devices"),
        )),
    };
    let (block, char) = (section(Kind::Block)?, section(Kind::Char)?);

    let mut program = Program::default();
    program.push(LOAD_WORD, KIND, CONTEXT, 0, 0);
    program.push(MOVE_REGISTER, ASKED, KIND, 0, 0);
    program.push(SHIFT_RIGHT, ASKED, 0, 0, 16);
    program.push(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
    program.push(LOAD_WORD, MINOR, CONTEXT, 8, 0);
    program.push(MOVE_REGISTER, DEVICE, MAJOR, 0, 0);
    program.push(SHIFT_LEFT, DEVICE, 0, 0, MINOR_BITS);
    program.push(OR_REGISTER, DEVICE, MINOR, 0, 0);
    if block != char {
        program.push(AND, KIND, 0, 0, 0xffff);
        // In range by MOST_DEVICES.
        program.push(JUMP_IF_EQUAL, KIND, 0, block.0.len() as i16, CHAR);
        program.0.extend(block.0);
    }
    program.0.extend(char.0);
    Ok(program.0)
}

/// The accesses allowed to the devices of one kind.
#[derive(Debug)]
struct Table {
    /// By both numbers.
    devices: Vec<(u32, u8)>,
    /// Of any other minor number.
    majors: Vec<(u32, u8)>,
    /// Of any other major number.
    minors: Vec<(u32, u8)>,
    /// To all others.
    rest: u8,
}

impl Table {
    /// None where there are too many devices.
    fn evaluate(rules: &[&Rule], kind: Kind) -> Option<Self> {
        let rules: Vec<&Rule> = rules
            .iter()
            .copied()
            .filter(|rule| rule.kind.is_none_or(|of| of == kind))
            .filter(|rule| rule.major.is_none_or(|number| number >> MAJOR_BITS == 0))
            .filter(|rule| rule.minor.is_none_or(|number| number >> MINOR_BITS == 0))
            .collect();
        // A later rule overrides an earlier one in the accesses that it names.
        // `None` is a number that no rule names.
        let allowed = |major: Option<u32>, minor: Option<u32>| {
            rules
                .iter()
                .filter(|rule| rule.major.is_none() || rule.major == major)
                .filter(|rule| rule.minor.is_none() || rule.minor == minor)
                .fold(0, |mask, rule| match rule.allow {
                    true => mask | rule.access,
                    false => mask & !rule.access,
                })
        };
        let majors: BTreeSet<u32> = rules.iter().filter_map(|rule| rule.major).collect();
        let alone = rules.iter().filter(|rule| rule.major.is_none());
        let minors: BTreeSet<u32> = alone.filter_map(|rule| rule.minor).collect();
        if majors.len() + minors.len() + majors.len() * minors.len() > MOST_DEVICES {
            return None;
        }
        let crossed = majors.iter().flat_map(|major| minors.iter().map(|minor| (*major, *minor)));
        let named = rules.iter().filter_map(|rule| rule.major.zip(rule.minor));
        let devices: BTreeSet<(u32, u32)> = named.chain(crossed).collect();

        if devices.len() > MOST_DEVICES {
            return None;
        }
        Some(Self {
            devices: devices
                .into_iter()
                .map(|(major, minor)| {
                    (major << MINOR_BITS | minor, allowed(Some(major), Some(minor)))
                })
                .collect(),
            majors: majors.iter().map(|major| (*major, allowed(Some(*major), None))).collect(),
            minors: minors.iter().map(|minor| (*minor, allowed(None, Some(*minor)))).collect(),
            rest: allowed(None, None),
        })
    }

    fn program(&self) -> Program {
        let of = |entries: &[(u32, u8)], number: u32| {
            entries.iter().find(|(named, _)| *named == number).map(|(_, mask)| mask ^ self.rest)
        };
        // What an entry changes: of a device, what its major and its minor number leave.
        let by_number = |entries: &[(u32, u8)]| -> Vec<(u32, u8)> {
            entries.iter().map(|(number, mask)| (*number, mask ^ self.rest)).collect()
        };
        let by_device = self.devices.iter().map(|(device, mask)| {
            let (major, minor) = (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1));
            let left = of(&self.majors, major).unwrap_or(0) ^ of(&self.minors, minor).unwrap_or(0);
            (*device, mask ^ self.rest ^ left)
        });
        let mut program = Program::default();
        program.push(MOVE, RESULT, 0, 0, u32::from(self.rest));
        program.change(DEVICE, &by_device.collect::<Vec<_>>());
        program.change(MAJOR, &by_number(&self.majors));
        program.change(MINOR, &by_number(&self.minors));
        // Whether all that is asked for is among the accesses allowed.
        program.push(XOR, RESULT, 0, 0, u32::from(ALL));
        program.push(AND_REGISTER, RESULT, ASKED, 0, 0);
        program.push(SUBTRACT, RESULT, 0, 0, 1);
        program.push(SHIFT_RIGHT, RESULT, 0, 0, 63);
        program.push(EXIT, 0, 0, 0, 0);
        program
    }
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

    /// Flips bits of the result where the number in `register` is one of those in `entries`,
    /// each with the bits that it flips. No two of them are the same number.
    fn change(&mut self, register: u8, entries: &[(u32, u8)]) {
        for bits in 1..=ALL {
            let numbers: Vec<u32> = entries
                .iter()
                .filter(|(_, flipped)| *flipped == bits)
                .map(|(number, _)| *number)
                .collect();
            if numbers.is_empty() {
                continue;
            }
            self.push(MOVE, HIT, 0, 0, 0);
            for number in numbers {
                // Of 64-bit numbers below 2^32, less one, zero alone gets the highest bit.
                self.push(MOVE_REGISTER, DIFFERENCE, register, 0, 0);
                self.push(XOR_32, DIFFERENCE, 0, 0, number);
                self.push(SUBTRACT, DIFFERENCE, 0, 0, 1);
                self.push(OR_REGISTER, HIT, DIFFERENCE, 0, 0);
            }
            self.push(SHIFT_RIGHT, HIT, 0, 0, 63);
            self.push(MULTIPLY, HIT, 0, 0, u32::from(bits));
            self.push(XOR_REGISTER, RESULT, HIT, 0, 0);
        }
    }
}

/// Puts a program in force for a cgroup, in place of the one that is there.
pub(crate) fn replace(path: &Path, program: &[u64]) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::system("open", path, errno))?;
    let old = ours(cgroup.as_fd())
        .map_err(|errno| Error::system("list the device filters of", path, errno))?;
    let new = load(path, program)?;
    attach(cgroup.as_fd(), path, &new, old.as_ref())
}

/// Puts a program in force for a cgroup that has had none of ours. `path` is for
/// messages; in `memory` is what programs are known.
pub(crate) fn enforce(
    cgroup: BorrowedFd,
    path: &Path,
    program: &[u64],
    memory: &Path,
) -> Result<(), Error> {
    if let Some(known) = known_program::find(memory, program) {
        return attach(cgroup, path, &known, None);
    }
    let new = load(path, program)?;
    attach(cgroup, path, &new, None)?;
    known_program::remember(memory, program, &new);
    Ok(())
}

fn load(path: &Path, program: &[u64]) -> Result<OwnedFd, Error> {
    bpf::load_cgroup_device(program, NAME)
        .map_err(|errno| Error::system("load a device filter for", path, errno))
}

fn attach(
    cgroup: BorrowedFd,
    path: &Path,
    program: &OwnedFd,
    old: Option<&OwnedFd>,
) -> Result<(), Error> {
    bpf::attach_device(cgroup, program.as_fd(), old.map(AsFd::as_fd))
        .map_err(|errno| Error::system("attach a device filter to", path, errno))
}

fn ours(cgroup: BorrowedFd) -> Result<Option<OwnedFd>, Errno> {
    for id in bpf::device_programs(cgroup)? {
        match bpf::program_by_id(id) {
            Ok(program) if bpf::program_info(program.as_fd())?.name == NAME => {
                return Ok(Some(program));
            }
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
