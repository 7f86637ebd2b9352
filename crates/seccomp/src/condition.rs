//! Conditions on arguments, and the 32-bit tests they are made of.

use husk_spec::{SeccompArg, SeccompOp};

use crate::abi::Abi;

/// `argument & mask OP datum`, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) argument: u8,
    pub(crate) op: SeccompOp,
    pub(crate) mask: u64,
    pub(crate) datum: u64,
}

impl Condition {
    /// `None` for an argument no call has.
    pub(crate) fn of(source: &SeccompArg) -> Option<Self> {
        let argument = u8::try_from(source.index).ok().filter(|index| *index < 6)?;
        let (mask, datum) = match source.op {
            // Bits of valueTwo outside of the mask count for nothing: libseccomp
            // cuts them off, and a profile with them works there.
            SeccompOp::MaskedEq => (source.value, source.value_two & source.value),
            _ => (u64::MAX, source.value),
        };
        Some(Self { argument, op: source.op, mask, datum })
    }

    /// The condition as an interface of 32-bit arguments knows it.
    pub(crate) fn on(self, abi: Abi) -> Self {
        let width = if abi.wide { u64::MAX } else { u64::from(u32::MAX) };
        Self { mask: self.mask & width, datum: self.datum & width, ..self }
    }

    /// A mask without bits asks nothing.
    pub(crate) fn is_empty(self) -> bool {
        self.op == SeccompOp::MaskedEq && self.mask == 0
    }

    pub(crate) fn holds(self, arguments: &[u64; 6]) -> bool {
        let value = arguments[usize::from(self.argument)] & self.mask;
        match self.op {
            SeccompOp::Ne => value != self.datum,
            SeccompOp::Lt => value < self.datum,
            SeccompOp::Le => value <= self.datum,
            SeccompOp::Eq | SeccompOp::MaskedEq => value == self.datum,
            SeccompOp::Ge => value >= self.datum,
            SeccompOp::Gt => value > self.datum,
        }
    }

    /// Appends the steps that decide it.
    pub(crate) fn steps(self, abi: Abi, steps: &mut Vec<Step>) {
        let low = Half { offset: abi.low(self.argument), value: self.datum as u32 };
        if !abi.wide {
            let (compare, negate) = comparison(self.op);
            let mask = self.mask as u32;
            steps.push(Step::Need(Test { half: low, mask, compare, negate }));
            return;
        }
        let high = Half { offset: abi.high(self.argument), value: (self.datum >> 32) as u32 };
        match self.op {
            SeccompOp::Eq | SeccompOp::MaskedEq => {
                for (half, mask) in [(high, (self.mask >> 32) as u32), (low, self.mask as u32)] {
                    if mask != 0 {
                        let compare = Compare::Equal;
                        steps.push(Step::Need(Test { half, mask, compare, negate: false }));
                    }
                }
            }
            // Below 2^32 these ask for a zero high half, as EQ does: the test is
            // shared with neighbours.
            SeccompOp::Lt | SeccompOp::Le if high.value == 0 => {
                let (compare, negate) = comparison(self.op);
                steps.push(Step::Need(Test::plain(high, Compare::Equal, false)));
                steps.push(Step::Need(Test::plain(low, compare, negate)));
            }
            op => steps.push(Step::Either { op, high, low }),
        }
    }
}

/// BPF compares by ==, > and >= only; the others are their negations.
fn comparison(op: SeccompOp) -> (Compare, bool) {
    match op {
        SeccompOp::Eq | SeccompOp::MaskedEq => (Compare::Equal, false),
        SeccompOp::Ne => (Compare::Equal, true),
        SeccompOp::Gt => (Compare::Greater, false),
        SeccompOp::Le => (Compare::Greater, true),
        SeccompOp::Ge => (Compare::AtLeast, false),
        SeccompOp::Lt => (Compare::AtLeast, true),
    }
}

/// Half an argument in `struct seccomp_data`, and what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) offset: u32,
    pub(crate) value: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Greater,
    AtLeast,
}

/// One comparison of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) half: Half,
    pub(crate) mask: u32,
    pub(crate) compare: Compare,
    pub(crate) negate: bool,
}

impl Test {
    pub(crate) fn plain(half: Half, compare: Compare, negate: bool) -> Self {
        Self { half, mask: u32::MAX, compare, negate }
    }
}

/// Part of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The rule fails with this test.
    Need(Test),
    /// A 64-bit comparison that either half may decide.
    Either { op: SeccompOp, high: Half, low: Half },
}
