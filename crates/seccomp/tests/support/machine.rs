//! A classic BPF machine as seccomp's: the checks of the kernel and the run.

/// `struct seccomp_data` with what decides over a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) arch: u32,
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
    pub(crate) big_endian: bool,
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => 0,
            _ => {
                let arg = self.args[(offset as usize - 16) / 8];
                let first = offset.is_multiple_of(8);
                if first == self.big_endian { (arg >> 32) as u32 } else { arg as u32 }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

pub(crate) fn decode(program: &[[u8; 8]]) -> Vec<Instruction> {
    program
        .iter()
        .map(|i| Instruction {
            code: u16::from_ne_bytes([i[0], i[1]]),
            jt: i[2],
            jf: i[3],
            k: u32::from_ne_bytes([i[4], i[5], i[6], i[7]]),
        })
        .collect()
}

/// What seccomp_check_filter() and bpf_check_classic() ask for: known
/// instructions, aligned loads inside of the data, jumps inside of the program,
/// a return at the end.
pub(crate) fn check(program: &[Instruction]) -> Result<(), String> {
    if program.is_empty() || program.len() > 4096 {
        return Err(format!("{} instructions", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match i.code {
            0x20 if i.k % 4 == 0 && i.k < 64 => {}
            0x54 | 0x06 => {}
            0x05 if (i.k as usize) < left => {}
            0x15 | 0x25 | 0x35 | 0x45 if (i.jt.max(i.jf) as usize) < left => {}
            _ => return Err(format!("{at}: {i:?}")),
        }
    }
    match program.last() {
        Some(last) if last.code == 0x06 => Ok(()),
        last => Err(format!("ends in {last:?}")),
    }
}

/// Result and the number of instructions executed.
pub(crate) fn run(program: &[Instruction], data: &Data) -> (u32, usize) {
    let (mut at, mut acc, mut count) = (0_usize, 0_u32, 0);
    loop {
        let i = program[at];
        count += 1;
        at += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => acc = data.word(i.k),
            0x54 => acc &= i.k,
            0x05 => at += i.k as usize,
            0x06 => return (i.k, count),
            0x15 => at += jump(acc == i.k),
            0x25 => at += jump(acc > i.k),
            0x35 => at += jump(acc >= i.k),
            0x45 => at += jump(acc & i.k != 0),
            code => panic!("{code:#x} is no instruction seccomp has"),
        }
    }
}
