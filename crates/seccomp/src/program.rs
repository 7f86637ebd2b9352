//! The whole filter: architecture, syscall number, arguments.

use std::collections::BTreeSet;

use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompOp};

use crate::CompileError;
use crate::abi::Abi;
use crate::assembler::{Assembler, Jump, Target};
use crate::condition::{Compare, Half, Step, Test};
use crate::flags::flags;
use crate::ret::KILL_THREAD;
use crate::rules::{List, Overruled, Profile, RuleSet};
use crate::search::{Leaf, Segments};

/// BPF_MAXINSNS, linux/bpf_common.h.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Offset of `nr` in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of `arch`.
const ARCH: u32 = 4;

/// A filter for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The filter: `struct sock_filter`s in the host's byte order.
    pub instructions: Vec<[u8; 8]>,
    /// `SECCOMP_FILTER_FLAG_*` that the profile asks for, with NEW_LISTENER
    /// where a rule notifies.
    pub flags: u32,
    /// A rule has the action NOTIFY: loading gives a listener.
    pub notifies: bool,
    /// Names that no architecture knows, each once: their rules hold for
    /// nothing, which is worth a warning.
    pub unknown: Vec<String>,
    /// Rules that another one makes void for a syscall. Profiles that engines
    /// render have some.
    pub overruled: Vec<Overruled>,
}

/// Compiles a profile for a machine whose own calls are those of `native`.
///
/// The filter judges calls of `native` and of the profile's `architectures`;
/// those of any other kill the thread. Big- and little-endian architectures may
/// be mixed.
///
/// # Errors
/// For values the kernel does not take and rules that contradict each other.
pub fn compile(profile: &Seccomp, native: SeccompArch) -> Result<Program, CompileError> {
    let notifies = listener(profile)?;
    let profile = Profile::of(profile)?;
    let sets = rule_sets(&profile, native)?;
    let mut assembler = Assembler::default();
    let mut blocks = Vec::new();
    let mut next = Target::Return(KILL_THREAD);
    for (position, (_, first)) in sets.iter().enumerate().rev() {
        let audit = first.abi.audit;
        if sets[..position].iter().any(|(_, set)| set.abi.audit == audit) {
            continue;
        }
        let same: Vec<(usize, &RuleSet)> =
            sets.iter().filter(|(_, set)| set.abi.audit == audit).map(|(i, s)| (*i, s)).collect();
        let segments = Segments::of(&profile, &same);
        let mut leaf = |assembler: &mut Assembler, leaf: Leaf| match leaf {
            Leaf::Return(ret) => Target::Return(ret),
            Leaf::List(set, list) => {
                let set = &sets[set].1;
                block(assembler, &mut blocks, &set.lists[list], set.abi, profile.default)
            }
        };
        let found = segments.search(&mut assembler, &mut leaf);
        let found = assembler.load(NUMBER, found);
        next = assembler.jump(Jump::Equal, audit, found, next, None);
    }
    let start = assembler.load(ARCH, next);
    if assembler.len() > MAX_INSTRUCTIONS {
        let instructions = assembler.len();
        return Err(CompileError::TooLong { instructions, limit: MAX_INSTRUCTIONS });
    }
    let overruled: BTreeSet<Overruled> =
        sets.into_iter().flat_map(|(_, set)| set.overruled).collect();
    Ok(Program {
        instructions: assembler.finish(start),
        flags: flags(profile.source, notifies),
        notifies,
        unknown: profile.unknown,
        overruled: overruled.into_iter().collect(),
    })
}

/// The rule sets of `native` and the other architectures, each with its place.
pub(crate) fn rule_sets(
    profile: &Profile<'_>,
    native: SeccompArch,
) -> Result<Vec<(usize, RuleSet)>, CompileError> {
    let mut abis = vec![Abi::of(native)];
    for arch in &profile.source.architectures {
        let abi = Abi::of(*arch);
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    let set = |(index, abi)| Ok((index, RuleSet::of(profile, abi)?));
    abis.into_iter().enumerate().map(set).collect()
}

/// Whether the profile notifies; its listener's properties fit together.
fn listener(profile: &Seccomp) -> Result<bool, CompileError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let path = given(&profile.listener_path);
    if let (None, Some(metadata)) = (&path, given(&profile.listener_metadata)) {
        return Err(CompileError::MetadataWithoutListener { metadata });
    }
    let property = if profile.default_action == SeccompAction::Notify {
        "linux.seccomp.defaultAction".to_owned()
    } else {
        let notifies = |rule: &husk_spec::SeccompSyscall| rule.action == SeccompAction::Notify;
        match profile.syscalls.iter().position(notifies) {
            Some(rule) => format!("linux.seccomp.syscalls[{rule}].action"),
            None => return Ok(false),
        }
    };
    match path {
        None => Err(CompileError::NoListener { property }),
        Some(_) => Ok(true),
    }
}

/// One alternative as tests, in order.
#[derive(PartialEq)]
struct Chain {
    steps: Vec<Step>,
    ret: u32,
}

/// What follows the number of a syscall with conditional rules. Interfaces with
/// the same rules and layout of arguments share one.
type Block = (Vec<Chain>, Target);

fn block(
    assembler: &mut Assembler,
    blocks: &mut Vec<Block>,
    list: &List,
    abi: Abi,
    default: u32,
) -> Target {
    let chain = |one: &crate::rules::Alternative| {
        let mut steps = Vec::with_capacity(2 * one.conditions.len());
        one.conditions.iter().for_each(|condition| condition.steps(abi, &mut steps));
        Chain { steps, ret: one.ret }
    };
    let chains: Vec<Chain> = list.alternatives.iter().map(chain).collect();
    if let Some((_, target)) = blocks.iter().find(|(known, _)| *known == chains) {
        return *target;
    }
    let target = alternatives(assembler, &chains, 0, Target::Return(default));
    blocks.push((chains, target));
    target
}

/// Lays chains of which the first that holds decides; all of them agree in the
/// steps before `depth`, which hold.
fn alternatives(
    assembler: &mut Assembler,
    chains: &[Chain],
    depth: usize,
    otherwise: Target,
) -> Target {
    // Nothing after a chain without further steps is ever tried.
    let ended = chains.iter().position(|chain| chain.steps.len() <= depth);
    let (chains, mut next) = match ended {
        Some(index) => (&chains[..index], Target::Return(chains[index].ret)),
        None => (chains, otherwise),
    };
    let mut rest = chains;
    while let Some(last) = rest.last() {
        let step = last.steps[depth];
        let same = |chain: &&Chain| chain.steps[depth] == step;
        let count = match step {
            Step::Need(_) => rest.iter().rev().take_while(same).count(),
            Step::Either { .. } => 1,
        };
        let (before, group) = rest.split_at(rest.len() - count);
        let holds = alternatives(assembler, group, depth + 1, next);
        next = lay(assembler, step, holds, next);
        rest = before;
    }
    next
}

fn lay(assembler: &mut Assembler, step: Step, yes: Target, no: Target) -> Target {
    match step {
        Step::Need(test) => assembler.test(test, yes, no),
        Step::Either { op, high, low } => either(assembler, op, high, low, yes, no),
    }
}

/// A comparison of 64 bits: the high halves decide unless they are equal.
fn either(
    assembler: &mut Assembler,
    op: SeccompOp,
    high: Half,
    low: Half,
    yes: Target,
    no: Target,
) -> Target {
    let equal = Test::plain(high, Compare::Equal, false);
    let (compare, yes, no) = match op {
        SeccompOp::Eq | SeccompOp::MaskedEq | SeccompOp::Ne => {
            // Only NE comes here: either half may differ.
            let lower = assembler.test(Test::plain(low, Compare::Equal, false), no, yes);
            return assembler.test(equal, lower, yes);
        }
        SeccompOp::Gt => (Compare::Greater, yes, no),
        SeccompOp::Le => (Compare::Greater, no, yes),
        SeccompOp::Ge => (Compare::AtLeast, yes, no),
        SeccompOp::Lt => (Compare::AtLeast, no, yes),
    };
    let lower = assembler.test(Test::plain(low, compare, false), yes, no);
    match high.value {
        0 => assembler.test(equal, lower, yes),
        u32::MAX => assembler.test(equal, lower, no),
        _ => {
            let unless = assembler.test(equal, lower, no);
            assembler.test(Test::plain(high, Compare::Greater, false), yes, unless)
        }
    }
}
