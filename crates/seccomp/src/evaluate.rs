//! What a compiled filter returns for one call, without the kernel.

use crate::explain::Call;
use crate::program::Program;

// Opcodes of classic BPF that the assembler emits, linux/bpf_common.h.
const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_BITS: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

impl Program {
    /// `SECCOMP_RET_*` with its data for a call; None where the program has an instruction that
    /// is not one of ours.
    pub fn evaluate(&self, call: &Call) -> Option<u32> {
        let data = words(call);
        let mut accumulator = 0u32;
        let mut at = 0usize;
        // Jumps lead forward only, so this ends.
        loop {
            let [a, b, if_true, if_false, rest @ ..] = *self.instructions.get(at)?;
            let value = u32::from_ne_bytes(rest);
            at += 1;
            let holds = match u16::from_ne_bytes([a, b]) {
                LOAD_WORD => {
                    accumulator = *data.get(usize::try_from(value).ok()? / 4)?;
                    continue;
                }
                AND => {
                    accumulator &= value;
                    continue;
                }
                JUMP => {
                    at = at.checked_add(usize::try_from(value).ok()?)?;
                    continue;
                }
                RETURN => return Some(value),
                JUMP_EQUAL => accumulator == value,
                JUMP_GREATER => accumulator > value,
                JUMP_GREATER_OR_EQUAL => accumulator >= value,
                JUMP_BITS => accumulator & value != 0,
                _ => return None,
            };
            at += usize::from(if holds { if_true } else { if_false });
        }
    }
}

/// `struct seccomp_data` in words: number, architecture, instruction pointer, arguments.
fn words(call: &Call) -> [u32; 16] {
    let mut words = [0; 16];
    words[0] = call.number;
    words[1] = call.arch;
    for (pair, argument) in words[4..].chunks_exact_mut(2).zip(call.arguments) {
        let (low, high) = (argument as u32, (argument >> 32) as u32);
        let order = if cfg!(target_endian = "little") { [low, high] } else { [high, low] };
        pair.copy_from_slice(&order);
    }
    words
}

#[cfg(test)]
mod tests {
    use husk_spec::SeccompArch;

    use super::*;
    use crate::{compile, explain};

    /// It agrees with what the profile says, for calls that are named, refused by an argument,
    /// unknown, and of other architectures.
    #[test]
    fn it_agrees_with_the_profile() {
        let profile = husk_spec::parse(
            br#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
                "syscalls":[
                {"names":["read","write","setsid"],"action":"SCMP_ACT_ALLOW"},
                {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
                    {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
                {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
                    {"index":0,"value":40,"op":"SCMP_CMP_GT"}]},
                {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
        )
        .unwrap();
        let program = compile(&profile, SeccompArch::X86_64).unwrap();
        let arguments = [0, 40, 41, 0x11, 0x2000_0011, 1 << 40, u64::MAX];
        for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7] {
            for number in (0..500).chain([u32::MAX, 0x4000_0000]) {
                for argument in arguments {
                    let call = Call { arch, number, arguments: [argument, 0, 0, 0, 0, 0] };
                    let said = explain(&profile, SeccompArch::X86_64, &call).unwrap().ret;
                    assert_eq!(program.evaluate(&call), Some(said), "{call:?}");
                }
            }
        }
    }
}
