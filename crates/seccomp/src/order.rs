//! The order in which the conditional rules of one syscall are tried.
//!
//! Where two of them hold for a call and differ in their actions the order
//! decides; it is the one in which libseccomp 2.5 lays its tree: by the 32-bit
//! words a rule looks at, later arguments first; of one word EQ, NE and
//! MASKED_EQ before LT and LE before GT and GE; then the larger value first, with
//! LT and LE the smaller; then the order of the profile. Of two rules one of
//! which extends the other the longer is tried first (libseccomp refuses them).
//! It also brings rules together that begin with the same test.

use husk_spec::SeccompOp;

use crate::abi::Abi;
use crate::condition::Condition;
use crate::rules::Alternative;

/// Sorts last: a rule with no word left.
const END: (u8, u8, u32) = (u8::MAX, 0, 0);

pub(crate) fn order(list: &mut [Alternative], abi: Abi) {
    by_word(list, abi, 0);
}

fn by_word(list: &mut [Alternative], abi: Abi, depth: usize) {
    if list.len() < 2 {
        return;
    }
    if list.iter().all(|one| word(one, abi, depth).is_none()) {
        // EQ and NE share their words; two such rules never hold together.
        let ops = |one: &Alternative| one.conditions.iter().map(|one| one.op).collect::<Vec<_>>();
        list.sort_by_cached_key(ops);
        return;
    }
    let key = |one: &Alternative| word(one, abi, depth).map_or(END, Word::key);
    list.sort_by_key(key);
    let mut rest = list;
    while let Some(first) = rest.first() {
        let first = key(first);
        let len = rest.iter().take_while(|one| key(one) == first).count();
        let (run, tail) = rest.split_at_mut(len);
        by_node(run, abi, depth);
        rest = tail;
    }
}

/// Rules of one key, brought together by what the word is tested for, the test
/// met first in front.
fn by_node(list: &mut [Alternative], abi: Abi, depth: usize) {
    let mut rest = list;
    while let Some(first) = rest.first() {
        let node = word(first, abi, depth).map(Word::node);
        rest.sort_by_key(|one| word(one, abi, depth).map(Word::node) != node);
        let same = |one: &&Alternative| word(one, abi, depth).map(Word::node) == node;
        let len = rest.iter().take_while(same).count();
        let (run, tail) = rest.split_at_mut(len);
        by_word(run, abi, depth + 1);
        rest = tail;
    }
}

/// One 32-bit word a condition looks at.
#[derive(Clone, Copy)]
struct Word {
    condition: Condition,
    high: bool,
}

fn word(one: &Alternative, abi: Abi, depth: usize) -> Option<Word> {
    let (index, high) =
        if abi.wide { (depth / 2, depth.is_multiple_of(2)) } else { (depth, false) };
    one.conditions.get(index).map(|condition| Word { condition: *condition, high })
}

impl Word {
    fn half(self, value: u64) -> u32 {
        (if self.high { value >> 32 } else { value }) as u32
    }

    fn key(self) -> (u8, u8, u32) {
        let datum = self.half(self.condition.datum);
        let (class, datum) = match self.condition.op {
            SeccompOp::Eq | SeccompOp::Ne | SeccompOp::MaskedEq => (0, !datum),
            SeccompOp::Lt | SeccompOp::Le => (1, datum),
            SeccompOp::Ge | SeccompOp::Gt => (2, !datum),
        };
        (2 * (6 - self.condition.argument) + u8::from(!self.high), class, datum)
    }

    fn node(self) -> (u8, u32) {
        let test = match self.condition.op {
            SeccompOp::Eq | SeccompOp::Ne => 0,
            SeccompOp::MaskedEq => 1,
            SeccompOp::Gt | SeccompOp::Le => 2,
            SeccompOp::Ge | SeccompOp::Lt => 2 + u8::from(!self.high),
        };
        (test, self.half(self.condition.mask))
    }
}
