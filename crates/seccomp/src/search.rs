//! The part of the program that goes by the syscall number: a search over
//! ranges of numbers with one outcome each.

use crate::abi::{ARM_PRIVATE, X32_BIT};
use crate::assembler::{Assembler, Jump, Target};
use crate::enosys::newer;
use crate::ret::KILL_THREAD;
use crate::rules::{DENSE, PRIVATE, Profile, RuleSet, Slot};
use crate::table::find;

/// Calls that programs make most, with how often relative to each other: they
/// are placed near the root. From strace counts of servers, shells, compilers
/// and databases; only the order of magnitude matters.
const HOT: [(&str, u32); 40] = [
    ("read", 400),
    ("write", 400),
    ("futex", 400),
    ("epoll_wait", 300),
    ("recvfrom", 200),
    ("sendto", 200),
    ("recvmsg", 100),
    ("sendmsg", 100),
    ("close", 150),
    ("openat", 150),
    ("newfstatat", 100),
    ("fstat", 100),
    ("fstatat64", 60),
    ("fstat64", 60),
    ("statx", 60),
    ("stat", 40),
    ("lseek", 100),
    ("_llseek", 60),
    ("pread64", 80),
    ("pwrite64", 80),
    ("writev", 60),
    ("mmap", 80),
    ("mmap2", 80),
    ("munmap", 60),
    ("mprotect", 60),
    ("madvise", 60),
    ("brk", 60),
    ("poll", 100),
    ("epoll_ctl", 60),
    ("epoll_pwait", 100),
    ("ioctl", 60),
    ("fcntl", 40),
    ("rt_sigaction", 60),
    ("rt_sigprocmask", 80),
    ("clock_gettime", 60),
    ("clock_nanosleep", 40),
    ("sched_yield", 60),
    ("getpid", 40),
    ("gettid", 40),
    ("socketcall", 40),
];

/// A range shares the weight of its calls; each has this much at least.
const BASE_WEIGHT: u32 = 8;

/// What a range of numbers leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Return(u32),
    /// List `1` of rule set `0`.
    List(usize, usize),
}

/// From `start` to the next segment's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) start: u32,
    pub(crate) leaf: Leaf,
    weight: u32,
}

/// All numbers of one `seccomp_data.arch`, in ascending segments.
#[derive(Debug, Default)]
pub(crate) struct Segments(Vec<Segment>);

impl Segments {
    /// `sets` with their places in the profile's list; two only for x86_64 and
    /// x32, in this order.
    pub(crate) fn of(profile: &Profile<'_>, sets: &[(usize, &RuleSet)]) -> Self {
        let mut segments = Self(Vec::with_capacity(128));
        let is_x32 = |(_, set): &&(usize, &RuleSet)| set.abi.base == X32_BIT;
        let x32 = sets.iter().find(is_x32);
        match sets.iter().find(|set| !is_x32(set)) {
            Some((index, set)) => segments.add(profile, *index, set),
            None => segments.push(0, Leaf::Return(KILL_THREAD), 0),
        }
        match x32 {
            Some((index, set)) => segments.add(profile, *index, set),
            None if sets.iter().any(|(_, set)| set.abi.audit == X86_64) => {
                segments.push(X32_BIT, Leaf::Return(KILL_THREAD), 0);
                // A tracer skips a call by the number -1, seccomp(2).
                segments.push(u32::MAX, Leaf::Return(profile.default), 0);
            }
            None => {}
        }
        segments
    }

    fn push(&mut self, start: u32, leaf: Leaf, weight: u32) {
        match self.0.last_mut() {
            Some(last) if last.leaf == leaf => last.weight += weight,
            Some(last) if last.start == start => {
                *last = Segment { start, leaf, weight: BASE_WEIGHT + weight };
            }
            _ => self.0.push(Segment { start, leaf, weight: BASE_WEIGHT + weight }),
        }
    }

    fn add(&mut self, profile: &Profile<'_>, index: usize, set: &RuleSet) {
        let base = set.abi.base;
        let mut weights = [0_u32; DENSE];
        for (name, weight) in HOT {
            let number = find(name).and_then(|row| row.number(set.abi.column));
            if let Some(slot) = number.and_then(|number| set.slot_of(number)) {
                weights[slot % DENSE] = weight;
            }
        }
        let leaf = |slot: Slot| match slot {
            Slot::Default => Leaf::Return(profile.default),
            Slot::Rule(rule) => Leaf::Return(profile.rules[rule as usize].ret),
            Slot::List(list) => Leaf::List(index, list as usize),
        };
        if base != X32_BIT {
            self.push(0, Leaf::Return(profile.default), 0);
        }
        for ((number, slot), weight) in (base..).zip(&set.slots[..DENSE]).zip(weights) {
            self.push(number, leaf(*slot), weight);
        }
        let newer = newer(profile, set);
        let above = newer.map_or(profile.default, |(_, ret)| ret);
        if let Some((newest, ret)) = newer {
            let from = newest + 1;
            self.0.retain(|segment| segment.start < from);
            self.push(from, Leaf::Return(ret), 0);
            if set.abi.zero_is_unknown() {
                self.replace_zero(ret);
            }
        }
        if set.names_private() {
            for (number, slot) in (ARM_PRIVATE..).zip(&set.slots[DENSE..]) {
                self.push(number, leaf(*slot), 0);
            }
            self.push(ARM_PRIVATE + PRIVATE as u32, Leaf::Return(above), 0);
        }
    }

    fn replace_zero(&mut self, ret: u32) {
        let Some(first) = self.0.first().copied() else { return };
        let one_is_first = self.0.get(1).is_some_and(|second| second.start == 1);
        if first.leaf == Leaf::Return(ret) {
            return;
        }
        self.0[0] = Segment { start: 0, leaf: Leaf::Return(ret), weight: BASE_WEIGHT };
        if !one_is_first {
            self.0.insert(1, Segment { start: 1, ..first });
        }
    }

    /// Lays the search, the number in the accumulator.
    pub(crate) fn search(
        &self,
        assembler: &mut Assembler,
        leaf: &mut impl FnMut(&mut Assembler, Leaf) -> Target,
    ) -> Target {
        search(&self.0, assembler, leaf)
    }
}

const X86_64: u32 = 0xc000_003e;

fn search(
    segments: &[Segment],
    assembler: &mut Assembler,
    leaf: &mut impl FnMut(&mut Assembler, Leaf) -> Target,
) -> Target {
    match segments {
        // All numbers have a segment.
        [] => Target::Return(KILL_THREAD),
        [only] => leaf(assembler, only.leaf),
        // One number apart from its neighbours on both sides: one test.
        [before, one, after] if before.leaf == after.leaf && one.start + 1 == after.start => {
            let yes = leaf(assembler, one.leaf);
            let no = leaf(assembler, before.leaf);
            assembler.jump(Jump::Equal, one.start, yes, no, None)
        }
        _ => {
            let (left, right) = segments.split_at(split(segments));
            let yes = search(right, assembler, leaf);
            let no = search(left, assembler, leaf);
            assembler.jump(Jump::AtLeast, right[0].start, yes, no, None)
        }
    }
}

/// Where the weights of the two sides differ least.
fn split(segments: &[Segment]) -> usize {
    let total: u32 = segments.iter().map(|segment| segment.weight).sum();
    let mut left = 0_u32;
    let mut best = (u32::MAX, 1);
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            best = best.min((left.abs_diff(total - left), index));
        }
        left += segment.weight;
    }
    best.1
}
