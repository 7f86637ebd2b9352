//! Profiles from a generator of our own, so that a seed names a profile for good.

use husk_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompSyscall};

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const ACTIONS: [SeccompAction; 9] = [
    SeccompAction::Kill,
    SeccompAction::KillProcess,
    SeccompAction::KillThread,
    SeccompAction::Trap,
    SeccompAction::Errno,
    SeccompAction::Trace,
    SeccompAction::Allow,
    SeccompAction::Log,
    SeccompAction::Notify,
];

const OPERATORS: [SeccompOp; 7] = [
    SeccompOp::Ne,
    SeccompOp::Lt,
    SeccompOp::Le,
    SeccompOp::Eq,
    SeccompOp::Ge,
    SeccompOp::Gt,
    SeccompOp::MaskedEq,
];

/// Values with something to get wrong on either side of them.
pub(crate) const VALUES: [u64; 18] = [
    0,
    1,
    2,
    3,
    8,
    0x10,
    0xff,
    0x7e02_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_ffff,
];

fn action(random: &mut Random, few: bool) -> (SeccompAction, Option<u32>) {
    let action = match few {
        true => *random.pick(&[SeccompAction::Allow, SeccompAction::Errno]),
        false => *random.pick(&ACTIONS),
    };
    let errno = match action {
        SeccompAction::Errno | SeccompAction::Trace if random.below(3) == 0 => {
            Some(random.below(4096) as u32)
        }
        _ => None,
    };
    (action, errno)
}

/// A profile over `names`; small ones have many rules for the same syscalls.
pub(crate) fn profile(
    random: &mut Random,
    architectures: &[SeccompArch],
    names: &[&str],
) -> Seccomp {
    let few = random.below(2) == 0;
    let (default_action, default_errno_ret) = loop {
        let (action, errno) = action(random, few);
        if action != SeccompAction::Notify {
            break (action, errno);
        }
    };
    let pool = *random.pick(&[2, 6, 40, names.len()]);
    let pool: Vec<&str> = (0..pool).map(|_| *random.pick(names)).collect();
    let syscalls = (0..1 + random.below(24))
        .map(|_| {
            let (action, errno_ret) = action(random, few);
            let count = *random.pick(&[1, 1, 2, 4, 30]);
            let names = (0..count).map(|_| (*random.pick(&pool)).to_owned()).collect();
            let conditions = *random.pick(&[0, 0, 1, 1, 1, 2, 2, 3]);
            let args = (0..conditions).map(|_| argument(random)).collect();
            SeccompSyscall { names, action, errno_ret, args }
        })
        .collect();
    Seccomp {
        default_action,
        default_errno_ret,
        architectures: architectures.to_vec(),
        listener_path: Some("/run/agent".to_owned()),
        syscalls,
        ..Seccomp::default()
    }
}

fn argument(random: &mut Random) -> SeccompArg {
    let value = match random.below(8) {
        0 => random.next(),
        _ => *random.pick(&VALUES),
    };
    SeccompArg {
        index: random.below(6).min(random.below(6)) as u32,
        value,
        op: *random.pick(&OPERATORS),
        value_two: if random.below(3) == 0 { random.next() } else { *random.pick(&VALUES) & value },
    }
}
