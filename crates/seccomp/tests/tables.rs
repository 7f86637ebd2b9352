//! Our syscall numbers beside libseccomp's.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use husk_seccomp::{syscall_name, syscall_number};
use husk_spec::SeccompArch;
use support::libseccomp::Libseccomp;

/// Architectures libseccomp 2.5 knows.
const KNOWN: [SeccompArch; 15] = [
    SeccompArch::X86,
    SeccompArch::X86_64,
    SeccompArch::X32,
    SeccompArch::Arm,
    SeccompArch::Aarch64,
    SeccompArch::Mips,
    SeccompArch::Mips64,
    SeccompArch::Mips64n32,
    SeccompArch::Parisc,
    SeccompArch::Parisc64,
    SeccompArch::Ppc,
    SeccompArch::Ppc64le,
    SeccompArch::Riscv64,
    SeccompArch::S390,
    SeccompArch::S390x,
];

/// Wired up after Linux 6.7, whose tables Debian's libseccomp has.
const NEWER: [(SeccompArch, &str); 1] = [(SeccompArch::X32, "map_shadow_stack")];

#[test]
fn numbers_are_libseccomps() {
    let Some(mut lib) = Libseccomp::start() else { return };
    let mut names: Vec<&str> = SeccompArch::ALL
        .iter()
        .flat_map(|arch| (0..0x1a00).filter_map(|nr| syscall_name(*arch, nr)))
        .collect();
    names.sort_unstable();
    names.dedup();
    let (mut same, mut newer, mut others) = (0, 0, Vec::new());
    for name in names {
        for arch in KNOWN {
            let ours = syscall_number(arch, name);
            match lib.number(arch, name) {
                None => newer += 1,
                // A number of its own for what is multiplexed or lacking.
                Some(theirs) if theirs < 0 => {
                    let multiplexed = theirs > -300;
                    if ours.is_some() && !multiplexed {
                        others.push((arch, name));
                    }
                }
                Some(theirs) => {
                    assert_eq!(ours, Some(theirs.cast_unsigned()), "{name} on {}", arch.name());
                    same += 1;
                }
            }
        }
    }
    println!("{same} numbers agree; {newer} are of calls that libseccomp does not know");
    assert_eq!(others, NEWER);
    assert!(same > 5000);
}
