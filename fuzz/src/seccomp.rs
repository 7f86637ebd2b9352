//! What must hold of any bytes taken for `linux.seccomp`.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use husk_seccomp::{Call, audit_arch, compile, explain};
use husk_spec::{Seccomp, SeccompArch};

use crate::machine::{Data, check as check_program, decode, run};

/// Whether the bytes gave a program. It passes the kernel's checks, ends for
/// every call, and does what `explain` says.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(profile) = husk_spec::parse::<Seccomp>(bytes) else { return false };
    let mut compiled = false;
    for native in [SeccompArch::X86_64, SeccompArch::S390x, SeccompArch::Arm] {
        let Ok(program) = compile(&profile, native) else { continue };
        compiled = true;
        let instructions = decode(&program.instructions);
        if let Err(error) = check_program(&instructions) {
            panic!("not a program the kernel takes: {error}");
        }
        for (number, value) in [(0, 0), (41, 38), (102, 1), (135, 8), (0xf0005, 1), (u32::MAX, 0)] {
            let (arch, arguments) = (audit_arch(native), [value, 1, value, 0, u64::MAX >> 32, 9]);
            let big_endian = arch & 0x4000_0000 == 0;
            let data = Data { arch, nr: number, args: arguments, big_endian };
            let (ret, steps) = run(&instructions, &data);
            assert!(steps <= instructions.len(), "an instruction ran twice");
            match explain(&profile, native, &Call { arch, number, arguments }) {
                Ok(said) => assert_eq!(said.ret, ret, "{number:#x} {value:#x}"),
                Err(error) => panic!("compiles, but is not explained: {error}"),
            }
        }
    }
    compiled
}
