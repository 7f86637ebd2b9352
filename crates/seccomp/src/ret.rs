//! Return values of a filter, linux/seccomp.h.

use husk_spec::{SeccompAction, SeccompSyscall};

use crate::CompileError;
use crate::table::Column;

pub(crate) const KILL_THREAD: u32 = 0x0000_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const MAX_ERRNO: u32 = 4095;

/// "Function not implemented", asm/errno.h: three architectures count on their own.
pub(crate) fn enosys(column: Column) -> u32 {
    ERRNO
        | match column {
            Column::Mips | Column::Mips64 | Column::Mips64n32 => 89,
            Column::Parisc | Column::Parisc64 => 251,
            _ => 38,
        }
}

fn encode(
    action: SeccompAction,
    errno: Option<u32>,
    property: impl Fn() -> String,
) -> Result<u32, CompileError> {
    let (base, limit) = match action {
        SeccompAction::Kill | SeccompAction::KillThread => (KILL_THREAD, None),
        SeccompAction::KillProcess => (KILL_PROCESS, None),
        SeccompAction::Trap => (TRAP, None),
        SeccompAction::Errno => (ERRNO, Some(MAX_ERRNO)),
        SeccompAction::Trace => (TRACE, Some(0xffff)),
        SeccompAction::Allow => (ALLOW, None),
        SeccompAction::Log => (LOG, None),
        SeccompAction::Notify => (USER_NOTIF, None),
    };
    match (limit, errno) {
        (None, None) => Ok(base),
        (None, Some(value)) => {
            Err(CompileError::ErrnoUnused { property: property(), value, action })
        }
        (Some(limit), Some(value)) if value > limit => {
            Err(CompileError::ErrnoRange { property: property(), value, action, limit })
        }
        (Some(_), value) => Ok(base | value.unwrap_or(EPERM)),
    }
}

/// The value for `defaultAction` with `defaultErrnoRet`.
pub(crate) fn default_ret(profile: &husk_spec::Seccomp) -> Result<u32, CompileError> {
    encode(profile.default_action, profile.default_errno_ret, || {
        "linux.seccomp.defaultErrnoRet".to_owned()
    })
}

/// The value for `syscalls[rule]`.
pub(crate) fn rule_ret(rule: usize, entry: &SeccompSyscall) -> Result<u32, CompileError> {
    encode(entry.action, entry.errno_ret, || format!("linux.seccomp.syscalls[{rule}].errnoRet"))
}

/// Whether the call goes on as if there were no filter. TRACE counts: a tracer
/// that emulates calls is to see the new ones as well.
pub(crate) fn permits(action: SeccompAction) -> bool {
    matches!(action, SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace)
}

/// The one of two values that the kernel would take, were both from filters of
/// one task: it compares the actions as signed numbers, the smallest wins.
pub(crate) fn stricter(a: u32, b: u32) -> u32 {
    if rank(b) < rank(a) { b } else { a }
}

/// The kernel's order of actions, strictest first.
pub(crate) fn rank(ret: u32) -> i32 {
    (ret & 0xffff_0000).cast_signed()
}
