//! What the kernel shows a filter of each architecture.

use husk_spec::SeccompArch;

use crate::table::{Column, number_of};

/// Bit 30 of the syscall number says that an x86_64 process calls by x32.
pub(crate) const X32_BIT: u32 = 0x4000_0000;
/// Number from which arm counts its private calls.
pub(crate) const ARM_PRIVATE: u32 = 0x000f_0000;

const WIDE: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

/// One system call interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abi {
    /// AUDIT_ARCH_*, linux/audit.h: `seccomp_data.arch`.
    pub(crate) audit: u32,
    pub(crate) column: Column,
    /// Lowest syscall number.
    pub(crate) base: u32,
    /// Conditions look at 64 bits of an argument. With 32, at the low half, as
    /// libseccomp does: o32 of mips sign-extends, the others zero-extend.
    pub(crate) wide: bool,
    pub(crate) big_endian: bool,
}

impl Abi {
    pub(crate) fn of(arch: SeccompArch) -> Self {
        use SeccompArch as A;
        let (audit, column) = match arch {
            A::X86 => (3 | LITTLE, Column::X86),
            A::X86_64 => (62 | LITTLE | WIDE, Column::X86_64),
            A::X32 => (62 | LITTLE | WIDE, Column::X32),
            A::Arm => (40 | LITTLE, Column::Arm),
            A::Aarch64 => (183 | LITTLE | WIDE, Column::Aarch64),
            A::Loongarch64 => (258 | LITTLE | WIDE, Column::Loongarch64),
            A::M68k => (4, Column::M68k),
            A::Mips => (8, Column::Mips),
            A::Mipsel => (8 | LITTLE, Column::Mips),
            A::Mips64 => (8 | WIDE, Column::Mips64),
            A::Mipsel64 => (8 | LITTLE | WIDE, Column::Mips64),
            A::Mips64n32 => (8 | WIDE | N32, Column::Mips64n32),
            A::Mipsel64n32 => (8 | LITTLE | WIDE | N32, Column::Mips64n32),
            A::Parisc => (15, Column::Parisc),
            A::Parisc64 => (15 | WIDE, Column::Parisc64),
            A::Ppc => (20, Column::Ppc),
            A::Ppc64 => (21 | WIDE, Column::Ppc64),
            A::Ppc64le => (21 | LITTLE | WIDE, Column::Ppc64),
            A::Riscv64 => (243 | LITTLE | WIDE, Column::Riscv64),
            A::S390 => (22, Column::S390),
            A::S390x => (22 | WIDE, Column::S390x),
            A::Sheb => (42, Column::Sh),
            A::Sh => (42 | LITTLE, Column::Sh),
        };
        let base = match column {
            Column::Mips => 4000,
            Column::Mips64 => 5000,
            Column::Mips64n32 => 6000,
            Column::X32 => X32_BIT,
            _ => 0,
        };
        let wide = audit & WIDE != 0 && !matches!(column, Column::X32 | Column::Mips64n32);
        Self { audit, column, base, wide, big_endian: audit & LITTLE == 0 }
    }

    /// Offset in `struct seccomp_data` of the low half of an argument.
    pub(crate) fn low(self, argument: u8) -> u32 {
        16 + 8 * u32::from(argument) + if self.big_endian { 4 } else { 0 }
    }

    /// Offset of the high half.
    pub(crate) fn high(self, argument: u8) -> u32 {
        16 + 8 * u32::from(argument) + if self.big_endian { 0 } else { 4 }
    }

    /// Number of a call, if this interface has it.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        number_of(name, self.column)
    }

    /// setup(2) on s390: where the number of a call is 0 or above 255 it stands
    /// in a register, and the kernel shows 0 for one it does not know.
    pub(crate) fn zero_is_unknown(self) -> bool {
        matches!(self.column, Column::S390 | Column::S390x)
    }
}

/// `seccomp_data.arch` of an architecture (AUDIT_ARCH_*, linux/audit.h). x32
/// shares that of x86_64; bit 30 of the number tells them apart.
pub fn audit_arch(arch: SeccompArch) -> u32 {
    Abi::of(arch).audit
}
