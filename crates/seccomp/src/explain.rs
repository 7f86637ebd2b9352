//! What a profile does with one call, and why.

use husk_spec::{Seccomp, SeccompArch};

use crate::CompileError;
use crate::abi::{Abi, X32_BIT};
use crate::enosys::newer;
use crate::program::rule_sets;
use crate::ret::KILL_THREAD;
use crate::rules::{Profile, RuleSet, Slot};
use crate::table::name_of;

/// A system call as a filter sees it (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// AUDIT_ARCH_*, linux/audit.h.
    pub arch: u32,
    /// Syscall number; -1 is `u32::MAX`.
    pub number: u32,
    /// Arguments. Those of 32-bit interfaces are zero-extended.
    pub arguments: [u64; 6],
}

/// Why a call gets its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `linux.seccomp.syscalls` at this index.
    Rule(usize),
    /// No rule holds: `linux.seccomp.defaultAction`.
    Default,
    /// The number is above all that the profile names: "not implemented".
    NewerThanProfile,
    /// The call is of an architecture the profile does not list.
    Architecture,
}

/// The outcome of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// `SECCOMP_RET_*` with its data: what the filter returns.
    pub ret: u32,
    /// What gave it.
    pub reason: Reason,
    /// The name of the call, where the number has one.
    pub syscall: Option<&'static str>,
}

/// Says what [`crate::compile`]'s program for the same profile does with a call.
///
/// # Errors
/// As for `compile`, but for the length.
pub fn explain(
    profile: &Seccomp,
    native: SeccompArch,
    call: &Call,
) -> Result<Decision, CompileError> {
    let profile = Profile::of(profile)?;
    let sets = rule_sets(&profile, native)?;
    let x32 = Abi::of(SeccompArch::X32);
    let by_x32 = |set: &RuleSet| set.abi == x32;
    let wants_x32 = call.arch == x32.audit && call.number & !(X32_BIT - 1) != 0;
    let set = sets
        .iter()
        .map(|(_, set)| set)
        .find(|set| set.abi.audit == call.arch && by_x32(set) == wants_x32);
    let syscall = sets
        .iter()
        .find(|(_, set)| set.abi.audit == call.arch)
        .map(|(_, set)| if wants_x32 { x32.column } else { set.abi.column })
        .and_then(|column| name_of(call.number, column));
    let (ret, reason) = match set {
        Some(set) => decide(&profile, set, call),
        // A tracer skips a call by the number -1, seccomp(2).
        None if wants_x32 && call.number == u32::MAX && knows_x86_64(&sets) => {
            (profile.default, Reason::Default)
        }
        None => (KILL_THREAD, Reason::Architecture),
    };
    Ok(Decision { ret, reason, syscall })
}

fn knows_x86_64(sets: &[(usize, RuleSet)]) -> bool {
    let x86_64 = Abi::of(SeccompArch::X86_64);
    sets.iter().any(|(_, set)| set.abi == x86_64)
}

fn decide(profile: &Profile<'_>, set: &RuleSet, call: &Call) -> (u32, Reason) {
    let slot = set.slot_of(call.number).map_or(Slot::Default, |slot| set.slots[slot]);
    let private = set.slot_of(call.number).is_some_and(|slot| slot >= crate::rules::DENSE);
    if let Some((newest, ret)) = newer(profile, set) {
        let zero = call.number == 0 && set.abi.zero_is_unknown();
        let private = private && set.names_private();
        if zero || (call.number > newest && !private) {
            return (ret, Reason::NewerThanProfile);
        }
    }
    let arguments = match set.abi.wide {
        true => call.arguments,
        false => call.arguments.map(|argument| argument & u64::from(u32::MAX)),
    };
    match slot {
        Slot::Default => (profile.default, Reason::Default),
        Slot::Rule(rule) => (profile.rules[rule as usize].ret, Reason::Rule(rule as usize)),
        Slot::List(list) => {
            let holds = |one: &&crate::rules::Alternative| {
                one.conditions.iter().all(|condition| condition.holds(&arguments))
            };
            match set.lists[list as usize].alternatives.iter().find(holds) {
                Some(one) => (one.ret, Reason::Rule(one.rule)),
                None => (profile.default, Reason::Default),
            }
        }
    }
}
