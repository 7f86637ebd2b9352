//! Where `husk-oci` begins, before the C library does: a command that a container's
//! process could reach is executed once more from a read-only copy of its mount.
//!
//! That has to be done before all else (CVE-2019-5736), and what the C library and
//! the standard library do at a start costs a hundred times of what it takes: glibc
//! alone executes CPUID some seventy times, and each of them is a trap in a virtual
//! machine. So it is done from here, in the six system calls that it takes, and the
//! libraries start once.
//!
//! Nothing is reported from here: whatever fails, the program begins as it is, finds
//! that it is not sealed, and does the same again with all its means and words. On a
//! machine that this file has no instructions for it begins so in any case.
//!
//! The executable has this as its entry point by the linker's `-e`; nothing here may
//! lean on relocations, which are the C library's to apply: what is addressed is
//! addressed from where the instruction is.

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether [`husk_entry`] has found that the program is executed from a read-only mount.
static SEALED: AtomicBool = AtomicBool::new(false);

/// Whether the program is known to be executed from a read-only mount.
pub fn is_sealed() -> bool {
    SEALED.load(Ordering::Relaxed)
}

/// The entry point: the stack is as execve(2) leaves it, with argc on top.
///
/// Of `struct statfs` only `f_flags` is read, at byte 80, and of that `ST_RDONLY`, 1.
/// The commands that are sealed are `run`, `create` and `exec`; an argument of one of
/// these names to another command costs that one an execution, no more.
///
/// # Safety
///
/// To be entered by the kernel alone.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn husk_entry() -> ! {
    naked_asm!(
        // r12: the stack as it was; r13: rdx as it was, which the C library reads.
        "mov r12, rsp",
        "mov r13, rdx",
        "lea rsi, [rsp + 8]",
        // Is there an argument "run", "create" or "exec"? Four bytes can be read of
        // each: after the last one come the environment and the program's own path.
        "2:",
        "mov rdi, [rsi]",
        "test rdi, rdi",
        "jz 9f",
        "add rsi, 8",
        "mov eax, [rdi]",
        "cmp eax, {run}",
        "je 4f",
        "cmp eax, {exec}",
        "je 3f",
        "cmp eax, {crea}",
        "jne 2b",
        "cmp dword ptr [rdi + 3], {ate}",
        "jne 2b",
        "jmp 4f",
        "3:",
        "cmp byte ptr [rdi + 4], 0",
        "jne 2b",
        // statfs("/proc/self/exe", &buffer): sealed already?
        "4:",
        "sub rsp, 160",
        "mov eax, {statfs}",
        "lea rdi, [rip + 7f]",
        "mov rsi, rsp",
        "syscall",
        "test eax, eax",
        "jnz 9f",
        "test byte ptr [rsp + 80], 1",
        "jnz 5f",
        // r14 = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
        "mov eax, {open_tree}",
        "mov edi, -100",
        "lea rsi, [rip + 7f]",
        "mov edx, 0x80001",
        "syscall",
        "test eax, eax",
        "js 9f",
        "mov r14d, eax",
        // mount_setattr(r14, "", AT_EMPTY_PATH, { .attr_set = MOUNT_ATTR_RDONLY }, 32)
        "xor eax, eax",
        "mov qword ptr [rsp], 1",
        "mov [rsp + 8], rax",
        "mov [rsp + 16], rax",
        "mov [rsp + 24], rax",
        "mov eax, {mount_setattr}",
        "mov edi, r14d",
        "lea rsi, [rip + 8f]",
        "mov edx, 0x1000",
        "mov r10, rsp",
        "mov r8d, 32",
        "syscall",
        "test eax, eax",
        "jnz 6f",
        // execveat(r14, "", argv, envp, AT_EMPTY_PATH): does not return where it succeeds.
        "mov eax, {execveat}",
        "mov edi, r14d",
        "lea rsi, [rip + 8f]",
        "lea rdx, [r12 + 8]",
        "mov r10, [r12]",
        "lea r10, [r12 + 8 * r10 + 16]",
        "mov r8d, 0x1000",
        "syscall",
        "jmp 6f",
        "5:",
        "mov byte ptr [rip + {sealed}], 1",
        "jmp 9f",
        "6:",
        "mov eax, {close}",
        "mov edi, r14d",
        "syscall",
        "jmp 9f",
        "7:",
        ".asciz \"/proc/self/exe\"",
        "8:",
        ".byte 0",
        "9:",
        "mov rsp, r12",
        "mov rdx, r13",
        "jmp _start",
        run = const u32::from_le_bytes(*b"run\0"),
        exec = const u32::from_le_bytes(*b"exec"),
        crea = const u32::from_le_bytes(*b"crea"),
        ate = const u32::from_le_bytes(*b"ate\0"),
        statfs = const libc::SYS_statfs,
        open_tree = const libc::SYS_open_tree,
        mount_setattr = const libc::SYS_mount_setattr,
        execveat = const libc::SYS_execveat,
        close = const libc::SYS_close,
        sealed = sym SEALED,
    )
}
