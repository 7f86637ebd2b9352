//! What makes a profile impossible to honour.

/// A profile that cannot be compiled. Every message names the property by its
/// path in `config.json` and the value found there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum CompileError {
    /// A call has six arguments, seccomp(2).
    #[error("linux.seccomp.syscalls[{rule}].args[{arg}].index: {index}: arguments are 0 to 5")]
    ArgumentIndex { rule: usize, arg: usize, index: u32 },

    /// config-linux.md: "names MUST contain at least one entry".
    #[error("linux.seccomp.syscalls[{rule}].names: empty: a rule needs at least one name")]
    NoNames { rule: usize },

    /// config-linux.md: "When the action doesn't support an errno, the runtime
    /// MUST print an error and fail".
    #[error("{property}: {value}: {action:?} returns no errno, only ERRNO and TRACE do")]
    ErrnoUnused { property: String, value: u32, action: husk_spec::SeccompAction },

    /// The kernel takes 16 bits, and cuts an errno to 4095 (MAX_ERRNO).
    #[error("{property}: {value}: {action:?} returns at most {limit}")]
    ErrnoRange { property: String, value: u32, action: husk_spec::SeccompAction, limit: u32 },

    /// Two rules of one syscall with the same conditions and different actions:
    /// which one was meant cannot be told. libseccomp gives EEXIST.
    #[error(
        "linux.seccomp.syscalls[{rule}].action: {action:?} for {syscall} contradicts {other:?} of \
         linux.seccomp.syscalls[{first}] under the same conditions"
    )]
    Contradiction {
        rule: usize,
        first: usize,
        syscall: &'static str,
        action: husk_spec::SeccompAction,
        other: husk_spec::SeccompAction,
    },

    /// Without an agent every notified call would fail with ENOSYS.
    #[error("linux.seccomp.listenerPath: missing: {property} is SCMP_ACT_NOTIFY")]
    NoListener { property: String },

    /// config-linux.md: "If listenerPath is not set, this field MUST NOT be set".
    #[error("linux.seccomp.listenerMetadata: {metadata:?}: set without listenerPath")]
    MetadataWithoutListener { metadata: String },

    /// BPF_MAXINSNS, linux/bpf_common.h.
    #[error("linux.seccomp: the filter has {instructions} instructions, the kernel takes {limit}")]
    TooLong { instructions: usize, limit: usize },
}
