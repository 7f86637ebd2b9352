//! config-linux.md, "Seccomp".

use serde::{Deserialize, Serialize};

use crate::document::documents;

documents! {
    /// `linux.seccomp`.
    Seccomp {
        @required { default_action: SeccompAction }
        default_errno_ret: Option<u32>,
        architectures: Vec<SeccompArch>,
        flags: Vec<SeccompFlag>,
        listener_path: Option<String>,
        listener_metadata: Option<String>,
        syscalls: Vec<SeccompSyscall>,
    }

    /// One entry of `linux.seccomp.syscalls`.
    SeccompSyscall {
        @required { names: Vec<String>, action: SeccompAction }
        errno_ret: Option<u32>,
        args: Vec<SeccompArg>,
    }

    /// One condition on an argument.
    SeccompArg {
        @required { index: u32, value: u64, op: SeccompOp }
        value_two: u64,
    }
}

/// What the kernel does with a call, seccomp(2).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[allow(missing_docs, reason = "the variants are the specification's names")]
pub enum SeccompAction {
    #[default]
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// Comparison of an argument with `value` (and `valueTwo`), unsigned 64-bit.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[allow(missing_docs, reason = "the variants are the specification's names")]
pub enum SeccompOp {
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[default]
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

/// `linux.seccomp.flags`: flags of seccomp(2) for loading the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are the specification's names")]
pub enum SeccompFlag {
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillableRecv,
}

macro_rules! arches {
    ($($variant:ident $name:literal,)*) => {
        /// `linux.seccomp.architectures`, as libseccomp names them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the variants are the specification's names")]
        pub enum SeccompArch {
            $(#[serde(rename = $name)] $variant,)*
        }
        impl SeccompArch {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in `config.json`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

arches! {
    X86 "SCMP_ARCH_X86",
    X86_64 "SCMP_ARCH_X86_64",
    X32 "SCMP_ARCH_X32",
    Arm "SCMP_ARCH_ARM",
    Aarch64 "SCMP_ARCH_AARCH64",
    Loongarch64 "SCMP_ARCH_LOONGARCH64",
    M68k "SCMP_ARCH_M68K",
    Mips "SCMP_ARCH_MIPS",
    Mips64 "SCMP_ARCH_MIPS64",
    Mips64n32 "SCMP_ARCH_MIPS64N32",
    Mipsel "SCMP_ARCH_MIPSEL",
    Mipsel64 "SCMP_ARCH_MIPSEL64",
    Mipsel64n32 "SCMP_ARCH_MIPSEL64N32",
    Parisc "SCMP_ARCH_PARISC",
    Parisc64 "SCMP_ARCH_PARISC64",
    Ppc "SCMP_ARCH_PPC",
    Ppc64 "SCMP_ARCH_PPC64",
    Ppc64le "SCMP_ARCH_PPC64LE",
    Riscv64 "SCMP_ARCH_RISCV64",
    S390 "SCMP_ARCH_S390",
    S390x "SCMP_ARCH_S390X",
    Sheb "SCMP_ARCH_SHEB",
    Sh "SCMP_ARCH_SH",
}
