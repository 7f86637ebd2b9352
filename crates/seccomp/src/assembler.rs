//! Classic BPF, laid down from its end.
//!
//! Jumps only go forward, so whoever lays a jump knows its targets already. A
//! place is counted from the end of the program. A target out of reach of the 8
//! bits of a jump gets a second copy if it is a return, else a long jump in
//! between.

use crate::condition::{Compare, Half, Test};

const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const RET_K: u16 = 0x06;

/// Conditional jumps on the accumulator and a constant.
#[derive(Debug, Clone, Copy)]
#[repr(u16)]
pub(crate) enum Jump {
    Equal = 0x15,
    Greater = 0x25,
    AtLeast = 0x35,
    AnyBit = 0x45,
}

/// Where a jump may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Return(u32),
    Place(Place),
}

/// An instruction laid already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    at: usize,
    /// The offset it loads first, and where to go with that in the accumulator.
    loads: Option<(u32, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<Instruction>,
    /// The latest copy of each return.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    pub(crate) fn len(&self) -> usize {
        self.reversed.len()
    }

    fn push(&mut self, code: u16, k: u32) -> usize {
        self.reversed.push(Instruction { code, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }

    /// Instructions between a jump laid next and `at`.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - at - 1
    }

    /// Whether a jump reaches `at`, with room for what is laid for its other
    /// branch.
    fn near(&self, at: usize) -> bool {
        self.distance(at) < usize::from(u8::MAX)
    }

    /// The place to jump to with what stands at offset `held` in the
    /// accumulator.
    fn reach(&mut self, target: Target, held: Option<u32>) -> usize {
        match target {
            Target::Return(k) => {
                let known = self.returns.iter().position(|(value, _)| *value == k);
                match known.map(|index| (index, self.returns[index].1)) {
                    Some((_, at)) if self.near(at) => at,
                    known => {
                        let at = self.push(RET_K, k);
                        match known {
                            Some((index, _)) => self.returns[index].1 = at,
                            None => self.returns.push((k, at)),
                        }
                        at
                    }
                }
            }
            Target::Place(place) => {
                let at = match place.loads {
                    Some((offset, after)) if held == Some(offset) => after,
                    _ => place.at,
                };
                if self.near(at) {
                    at
                } else {
                    let skip = self.distance(at);
                    self.push(JMP_JA, skip as u32)
                }
            }
        }
    }

    /// A jump on the accumulator, in which stands what is at offset `held`.
    pub(crate) fn jump(
        &mut self,
        jump: Jump,
        k: u32,
        yes: Target,
        no: Target,
        held: Option<u32>,
    ) -> Target {
        if yes == no {
            return yes;
        }
        let no = self.reach(no, held);
        let yes = self.reach(yes, held);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.reversed.push(Instruction { code: jump as u16, jt, jf, k });
        Target::Place(Place { at: self.reversed.len() - 1, loads: None })
    }

    /// A load in front of `target`.
    pub(crate) fn load(&mut self, offset: u32, target: Target) -> Target {
        let Target::Place(place) = target else { return target };
        // What was laid last is what the load runs into.
        if place.at + 1 != self.reversed.len() {
            let skip = self.distance(place.at);
            self.push(JMP_JA, skip as u32);
        }
        let after = self.reversed.len() - 1;
        let at = self.push(LD_W_ABS, offset);
        Target::Place(Place { at, loads: Some((offset, after)) })
    }

    /// A load and a comparison.
    pub(crate) fn test(&mut self, test: Test, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = if test.negate { (no, yes) } else { (yes, no) };
        let Half { offset, value } = test.half;
        let compared = match test.compare {
            Compare::Equal if test.mask == u32::MAX => {
                self.jump(Jump::Equal, value, yes, no, Some(offset))
            }
            Compare::Equal if value == 0 => {
                self.jump(Jump::AnyBit, test.mask, no, yes, Some(offset))
            }
            Compare::Equal if value == test.mask && value.is_power_of_two() => {
                self.jump(Jump::AnyBit, value, yes, no, Some(offset))
            }
            Compare::Equal => match self.jump(Jump::Equal, value, yes, no, None) {
                Target::Place(_) => {
                    let at = self.push(ALU_AND_K, test.mask);
                    Target::Place(Place { at, loads: None })
                }
                constant @ Target::Return(_) => constant,
            },
            Compare::Greater => self.jump(Jump::Greater, value, yes, no, Some(offset)),
            Compare::AtLeast if value == 0 => return yes,
            Compare::AtLeast => self.jump(Jump::AtLeast, value, yes, no, Some(offset)),
        };
        self.load(offset, compared)
    }

    /// The program, in the host's byte order (`struct sock_filter`).
    pub(crate) fn finish(mut self, start: Target) -> Vec<[u8; 8]> {
        if let Target::Return(k) = start {
            self.push(RET_K, k);
        }
        let bytes = |instruction: &Instruction| {
            let [c0, c1] = instruction.code.to_ne_bytes();
            let [k0, k1, k2, k3] = instruction.k.to_ne_bytes();
            [c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3]
        };
        self.reversed.iter().rev().map(bytes).collect()
    }
}
