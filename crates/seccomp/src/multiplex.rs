//! socketcall(2) and ipc(2): one number for many calls, the call in argument 0.
//!
//! A rule for `socket` holds for `socketcall(SYS_SOCKET, ..)` too, or a 32-bit
//! program would go around it. Conditions cannot be carried over: the arguments
//! stand in memory that a filter cannot read. libseccomp drops the condition on
//! argument 0 and applies the others to arguments of another meaning, so that
//! `socket: ALLOW if arg0 != AF_ALG` allows every socket by socketcall. Here
//! the multiplexed call gets the strictest of the actions the rules may lead to.

use crate::abi::Abi;
use crate::condition::Condition;
use crate::ret::{rank, stricter};
use crate::rules::{Alternative, List, Profile, RuleSet, Slot};
use crate::table::Row;
use husk_spec::SeccompOp;

/// The rules of one multiplexed call.
struct Found {
    code: u8,
    rule: usize,
    ret: u32,
    conditional: bool,
}

/// What the rules of a profile mean for socketcall and ipc of one interface.
pub(crate) struct Multiplexed {
    socketcall: Option<u32>,
    ipc: Option<u32>,
    found: Vec<Found>,
    /// The profile names the number itself, with the default action.
    socketcall_named: bool,
    ipc_named: bool,
}

const IPC: u8 = 100;

impl Multiplexed {
    pub(crate) fn of(abi: Abi) -> Self {
        Self {
            socketcall: abi.number("socketcall"),
            ipc: abi.number("ipc"),
            found: Vec::new(),
            socketcall_named: false,
            ipc_named: false,
        }
    }

    fn number(&self, code: u8) -> Option<u32> {
        if code > IPC { self.ipc } else { self.socketcall }
    }

    /// Takes note of rule `index` for a call; `redundant`: its action is the
    /// default one.
    pub(crate) fn note(
        &mut self,
        profile: &Profile<'_>,
        index: usize,
        row: &'static Row,
        redundant: bool,
    ) {
        let rule = &profile.rules[index];
        if redundant {
            // "Deny socketcall" with the default errno is a rule that runc never
            // hands to libseccomp, and what `socket` allows undoes it there; its
            // author means it all the same.
            if rule.conditions.iter().any(Vec::is_empty) {
                self.socketcall_named |= row.name() == "socketcall";
                self.ipc_named |= row.name() == "ipc";
            }
            return;
        }
        if row.multiplexed == 0 || self.number(row.multiplexed).is_none() {
            return;
        }
        let conditional = !rule.conditions.iter().any(Vec::is_empty);
        match self.found.iter_mut().find(|found| found.code == row.multiplexed) {
            None => {
                let ret = if conditional { stricter(profile.default, rule.ret) } else { rule.ret };
                self.found.push(Found { code: row.multiplexed, rule: index, ret, conditional });
            }
            // The first without conditions stays, whatever follows.
            Some(found) if !found.conditional => {}
            Some(found) if conditional => {
                if rank(rule.ret) < rank(found.ret) {
                    (found.ret, found.rule) = (rule.ret, index);
                }
            }
            Some(found) => {
                (found.ret, found.rule, found.conditional) = (rule.ret, index, false);
            }
        }
    }

    /// Adds what was noted, unless the profile has a rule without conditions
    /// for the number itself.
    pub(crate) fn add_to(self, profile: &Profile<'_>, set: &mut RuleSet) {
        for found in &self.found {
            let named = if found.code > IPC { self.ipc_named } else { self.socketcall_named };
            if named && rank(found.ret) > rank(profile.default) {
                continue;
            }
            let Some(slot) = self.number(found.code).and_then(|number| set.slot_of(number)) else {
                continue;
            };
            let list = match set.slots[slot] {
                Slot::Rule(_) => continue,
                Slot::List(list) => list as usize,
                // Nothing that the default action could be stricter than.
                Slot::Default if found.ret == profile.default => continue,
                Slot::Default => {
                    let syscall = if found.code > IPC { "ipc" } else { "socketcall" };
                    set.add_list(slot, List { syscall, alternatives: Vec::new() })
                }
            };
            let condition = condition(found, profile.default).on(set.abi);
            set.lists[list].alternatives.push(Alternative {
                rule: found.rule,
                ret: found.ret,
                conditions: vec![condition],
                derived: true,
            });
        }
    }
}

/// The call is an `int`, and of ipc's only the low 16 bits say which one. To
/// deny, every value that reaches the call must match; to allow, one is enough.
fn condition(found: &Found, default: u32) -> Condition {
    let (datum, significant) = if found.code > IPC {
        (found.code - IPC, 0xffff)
    } else {
        (found.code, u64::from(u32::MAX))
    };
    let denies = rank(found.ret) <= rank(default);
    let (op, mask) =
        if denies { (SeccompOp::MaskedEq, significant) } else { (SeccompOp::Eq, u64::MAX) };
    Condition { argument: 0, op, mask, datum: u64::from(datum) }
}
