//! From the rules of a profile to what each syscall number of one interface
//! gets.
//!
//! Several rules for one syscall, as libseccomp and runc have it:
//! - a rule whose action is the default one is dropped;
//! - the first rule without conditions decides, whatever stands before or after;
//! - else the first of the conditional rules, in the order of [`crate::order`],
//!   whose conditions all hold; else the default action.

use std::collections::BTreeSet;

use husk_spec::Seccomp;

use crate::CompileError;
use crate::abi::{ARM_PRIVATE, Abi};
use crate::condition::Condition;
use crate::multiplex::Multiplexed;
use crate::order::order;
use crate::program::MAX_INSTRUCTIONS;
use crate::ret;
use crate::table::{self, Row};

/// A rule that never decides over a syscall, since another one with another
/// action does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overruled {
    /// Index in `linux.seccomp.syscalls`.
    pub rule: usize,
    /// Index of the rule that decides.
    pub by: usize,
    /// The syscall.
    pub syscall: &'static str,
}

/// One entry of `linux.seccomp.syscalls`.
pub(crate) struct Rule {
    pub(crate) ret: u32,
    /// Each is one set of conditions to hold together.
    pub(crate) conditions: Vec<Vec<Condition>>,
}

/// A profile with names looked up and values checked, for any interface.
pub(crate) struct Profile<'a> {
    pub(crate) source: &'a Seccomp,
    pub(crate) default: u32,
    pub(crate) rules: Vec<Rule>,
    /// Rule and syscall, in the order of the profile.
    pub(crate) calls: Vec<(usize, &'static Row)>,
    pub(crate) unknown: Vec<String>,
}

impl<'a> Profile<'a> {
    pub(crate) fn of(source: &'a Seccomp) -> Result<Self, CompileError> {
        let default = ret::default_ret(source)?;
        let mut rules = Vec::with_capacity(source.syscalls.len());
        let mut calls = Vec::with_capacity(source.syscalls.iter().map(|s| s.names.len()).sum());
        let mut unknown: Vec<String> = Vec::new();
        let mut told = BTreeSet::new();
        for (index, entry) in source.syscalls.iter().enumerate() {
            if entry.names.is_empty() {
                return Err(CompileError::NoNames { rule: index });
            }
            let ret = ret::rule_ret(index, entry)?;
            rules.push(Rule { ret, conditions: conditions(index, &entry.args)? });
            for name in &entry.names {
                match table::find(name) {
                    Some(row) => calls.push((index, row)),
                    None if told.insert(name.as_str()) => unknown.push(name.clone()),
                    None => {}
                }
            }
        }
        Ok(Self { source, default, rules, calls, unknown })
    }
}

/// The sets of conditions of a rule. Conditions on different arguments must all
/// hold. With two on the same argument each becomes a rule of its own: runc and
/// crun do so since libseccomp takes one condition an argument, and profiles
/// are written for that.
fn conditions(
    rule: usize,
    args: &[husk_spec::SeccompArg],
) -> Result<Vec<Vec<Condition>>, CompileError> {
    let mut all = Vec::with_capacity(args.len());
    for (arg, source) in args.iter().enumerate() {
        all.push(Condition::of(source).ok_or(CompileError::ArgumentIndex {
            rule,
            arg,
            index: source.index,
        })?);
    }
    all.sort_by_key(|condition| condition.argument);
    if all.windows(2).any(|pair| pair[0].argument == pair[1].argument) {
        Ok(all.into_iter().map(|condition| vec![condition]).collect())
    } else {
        Ok(vec![all])
    }
}

/// One set of conditions and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Alternative {
    pub(crate) rule: usize,
    pub(crate) ret: u32,
    pub(crate) conditions: Vec<Condition>,
    /// Not the profile's own: what another rule means for a multiplexed call.
    pub(crate) derived: bool,
}

/// The conditional rules of one syscall.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) syscall: &'static str,
    pub(crate) alternatives: Vec<Alternative>,
}

/// What one syscall number gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Default,
    /// Index in `linux.seccomp.syscalls`.
    Rule(u32),
    /// Index in [`RuleSet::lists`].
    List(u32),
}

/// Syscall numbers from the interface's lowest on that have a slot each.
pub(crate) const DENSE: usize = 640;
/// Slots after those, for the private calls of arm.
pub(crate) const PRIVATE: usize = 16;

/// What each syscall number of one interface gets.
pub(crate) struct RuleSet {
    pub(crate) abi: Abi,
    pub(crate) slots: Vec<Slot>,
    pub(crate) lists: Vec<List>,
    /// Highest number the profile names, private calls left out.
    pub(crate) newest: Option<u32>,
    pub(crate) overruled: BTreeSet<Overruled>,
}

impl RuleSet {
    pub(crate) fn of(profile: &Profile<'_>, abi: Abi) -> Result<Self, CompileError> {
        let mut set = Self {
            abi,
            slots: vec![Slot::Default; DENSE + PRIVATE],
            lists: Vec::new(),
            newest: None,
            overruled: BTreeSet::new(),
        };
        let mut multiplexed = Multiplexed::of(abi);
        for &(index, row) in &profile.calls {
            let number = row.number(abi.column);
            if let Some(number) = number.filter(|number| *number < ARM_PRIVATE || abi.base > 0) {
                set.newest = set.newest.max(Some(number));
            }
            let redundant = profile.rules[index].ret == profile.default;
            multiplexed.note(profile, index, row, redundant);
            if !redundant && let Some(slot) = number.and_then(|number| set.slot_of(number)) {
                set.add(profile, index, row, slot);
            }
        }
        multiplexed.add_to(profile, &mut set);
        for list in &mut set.lists {
            // Each takes an instruction at least.
            let instructions = list.alternatives.len();
            if instructions > MAX_INSTRUCTIONS {
                return Err(CompileError::TooLong { instructions, limit: MAX_INSTRUCTIONS });
            }
            order(&mut list.alternatives, abi);
        }
        set.contradictions(profile)?;
        for list in &mut set.lists {
            // Of what the profile says of socketcall itself and of the calls it
            // makes, the strictest.
            let derived = list.alternatives.iter().filter(|one| one.derived).count();
            if derived > 0 && derived < list.alternatives.len() {
                list.alternatives.sort_by_key(|one| ret::rank(one.ret));
            }
        }
        Ok(set)
    }

    /// Where the slot of a number stands.
    pub(crate) fn slot_of(&self, number: u32) -> Option<usize> {
        let (offset, limit, start) = if self.abi.base == 0 && number >= ARM_PRIVATE {
            (number - ARM_PRIVATE, PRIVATE, DENSE)
        } else {
            (number.checked_sub(self.abi.base)?, DENSE, 0)
        };
        let offset = offset as usize;
        (offset < limit).then_some(start + offset)
    }

    /// Whether the profile names a private call of arm.
    pub(crate) fn names_private(&self) -> bool {
        self.slots[DENSE..].iter().any(|slot| *slot != Slot::Default)
    }

    fn add(&mut self, profile: &Profile<'_>, index: usize, row: &'static Row, slot: usize) {
        let rule = &profile.rules[index];
        let mut sets: Vec<Vec<Condition>> = Vec::new();
        for set in &rule.conditions {
            let on_abi = set.iter().map(|condition| condition.on(self.abi));
            let set: Vec<Condition> = on_abi.filter(|condition| !condition.is_empty()).collect();
            if set.is_empty() {
                return self.add_unconditional(profile, index, row, slot);
            }
            sets.push(set);
        }
        let list = match self.slots[slot] {
            Slot::Rule(by) => {
                self.overrule(profile, index, by as usize, row);
                return;
            }
            Slot::List(list) => list as usize,
            Slot::Default => {
                let alternatives = Vec::with_capacity(sets.len());
                self.add_list(slot, List { syscall: row.name(), alternatives })
            }
        };
        self.lists[list].alternatives.extend(sets.into_iter().map(|conditions| Alternative {
            rule: index,
            ret: rule.ret,
            conditions,
            derived: false,
        }));
    }

    pub(crate) fn add_list(&mut self, slot: usize, list: List) -> usize {
        self.slots[slot] = Slot::List(self.lists.len() as u32);
        self.lists.push(list);
        self.lists.len() - 1
    }

    fn add_unconditional(
        &mut self,
        profile: &Profile<'_>,
        index: usize,
        row: &'static Row,
        slot: usize,
    ) {
        match self.slots[slot] {
            Slot::Rule(by) => return self.overrule(profile, index, by as usize, row),
            Slot::List(list) => {
                for alternative in std::mem::take(&mut self.lists[list as usize].alternatives) {
                    self.overrule(profile, alternative.rule, index, row);
                }
            }
            Slot::Default => {}
        }
        self.slots[slot] = Slot::Rule(index as u32);
    }

    fn overrule(&mut self, profile: &Profile<'_>, rule: usize, by: usize, row: &'static Row) {
        if profile.rules[rule].ret != profile.rules[by].ret {
            self.overruled.insert(Overruled { rule, by, syscall: row.name() });
        }
    }

    /// Equal conditions stand side by side after ordering.
    fn contradictions(&self, profile: &Profile<'_>) -> Result<(), CompileError> {
        for list in &self.lists {
            for pair in list.alternatives.windows(2) {
                let [a, b] = pair else { continue };
                if a.conditions != b.conditions || a.ret == b.ret || a.derived || b.derived {
                    continue;
                }
                let (first, rule) = (a.rule.min(b.rule), a.rule.max(b.rule));
                return Err(CompileError::Contradiction {
                    rule,
                    first,
                    syscall: list.syscall,
                    action: profile.source.syscalls[rule].action,
                    other: profile.source.syscalls[first].action,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use husk_spec::SeccompArch;

    use super::*;

    #[test]
    fn every_call_has_a_slot_of_its_own() {
        let source = Seccomp::default();
        let profile = Profile::of(&source).expect("an empty profile");
        for arch in SeccompArch::ALL {
            let abi = Abi::of(*arch);
            let set = RuleSet::of(&profile, abi).expect("no rules");
            let mut seen = BTreeSet::new();
            for row in table::rows() {
                if let Some(number) = row.number(abi.column) {
                    let slot = set.slot_of(number);
                    assert!(slot.is_some(), "{} {}", arch.name(), row.name());
                    seen.insert(slot);
                }
            }
            assert!(seen.len() > 300, "{}: {}", arch.name(), seen.len());
        }
    }
}
