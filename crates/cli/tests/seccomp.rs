//! The default seccomp profile, asked by a program inside a container by every interface of
//! an x86_64 kernel, with and without bits above the 32 that an `int` parameter has.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::os::unix::fs::PermissionsExt;

use husk_seccomp::syscall_number;
use husk_spec::SeccompArch;
use support::{Engine, engine};

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

const AF_UNIX: u64 = 1;
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
const SOCK_STREAM: u64 = 1;
/// clone(2) refuses it without CLONE_VM, so that no call here makes a process.
const CLONE_SIGHAND: u64 = 0x800;

/// Where the program is mapped: below 4 GiB, so that a 32-bit call reaches its data.
const BASE: u32 = 0x40_0000;
const HEADERS: u32 = 64 + 56;
/// `socketcall`'s arguments: family, type, protocol.
const DATA: [[u32; 3]; 2] = [[AF_ALG as u32, 5, 0], [AF_VSOCK as u32, 1, 0]];
const DATA_SIZE: u32 = 24;

const UPPER: [u64; 4] = [0, 1 << 32, 1 << 63, 0xffff_ffff_0000_0000];

#[derive(Debug, Clone, Copy)]
struct Call {
    interface: SeccompArch,
    name: &'static str,
    arguments: [u64; 4],
}

/// Machine code that makes the call and pushes what it returned. i386's interface can be
/// called from a 64-bit program, by `int 0x80`; x32's is a bit in the number.
fn machine_code(call: &Call) -> Vec<u8> {
    let number = syscall_number(call.interface, call.name).unwrap();
    let (registers, instruction): ([[u8; 2]; 5], [u8; 2]) = match call.interface {
        // rax, rbx, rcx, rdx, rsi; int 0x80
        SeccompArch::X86 => {
            ([[0x48, 0xb8], [0x48, 0xbb], [0x48, 0xb9], [0x48, 0xba], [0x48, 0xbe]], [0xcd, 0x80])
        }
        // rax, rdi, rsi, rdx, r10; syscall
        _ => ([[0x48, 0xb8], [0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba]], [0x0f, 0x05]),
    };
    let mut code = Vec::new();
    for (register, value) in registers.iter().zip([u64::from(number)].iter().chain(&call.arguments))
    {
        code.extend(register);
        code.extend(value.to_le_bytes());
    }
    code.extend(instruction);
    code.push(0x50);
    code
}

/// An ELF program, elf(5), that makes the calls and writes what they returned to its output,
/// 8 bytes each, the last one first.
fn program(calls: &[Call]) -> Vec<u8> {
    let mut code: Vec<u8> = DATA.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    code.extend(calls.iter().flat_map(machine_code));
    // write(1, rsp, size); exit(0)
    code.extend([0xba]);
    code.extend((8 * calls.len() as u32).to_le_bytes());
    code.extend([0x48, 0x89, 0xe6, 0xbf, 1, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05]);
    code.extend([0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    for word in [u64::from(BASE + HEADERS + DATA_SIZE), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_LOAD, readable and executable
    file.extend([1u32, 5].iter().flat_map(|word| word.to_le_bytes()));
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// What each call returned to a program in a container: below 0 an errno.
fn ask(engine: &Engine, flags: &[&str], calls: &[Call]) -> Vec<i32> {
    let path = engine.path("calls");
    std::fs::write(&path, program(calls)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let volume = format!("{}:/calls:ro", path.display());
    let run = ["run", "--rm", "--network", "none", "-v", &volume];
    let done = engine.command(&[&run, flags, &["bb", "/calls"]].concat()).output().unwrap();
    assert_eq!(done.stdout.len(), 8 * calls.len(), "{done:?}");
    let returned = done.stdout.chunks(8).rev();
    returned.map(|one| i64::from_le_bytes(one.try_into().unwrap()) as i32).collect()
}

const INTERFACES: [SeccompArch; 3] = [SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32];

/// The call by each interface, with each upper half of its first argument.
fn variants(name: &'static str, arguments: [u64; 4]) -> Vec<Call> {
    let [first, second, third, fourth] = arguments;
    INTERFACES
        .iter()
        .flat_map(|interface| {
            UPPER.map(|upper| Call {
                interface: *interface,
                name,
                arguments: [first | upper, second, third, fourth],
            })
        })
        .collect()
}

fn assert_all(engine: &Engine, flags: &[&str], calls: &[Call], errno: i32) {
    for (call, returned) in calls.iter().zip(ask(engine, flags, calls)) {
        assert_eq!(returned, -errno, "{flags:?} {call:x?}");
    }
}

#[test]
fn refused_socket_families() {
    let engine = engine!(new);
    let mut calls = Vec::new();
    for family in [AF_ALG, AF_VSOCK, 64, 1 << 31] {
        calls.extend(variants("socket", [family, SOCK_STREAM, 0, 0]));
        calls.extend(variants("socketpair", [family, SOCK_STREAM, 0, 0]));
    }
    // SYS_SOCKET; the second argument is where the others are.
    for (index, upper) in [0, 1].iter().flat_map(|index| UPPER.map(|upper| (*index, upper))) {
        let data = u64::from(BASE + HEADERS + 12 * index);
        let arguments = [1 | upper, data, 0, 0];
        calls.push(Call { interface: SeccompArch::X86, name: "socketcall", arguments });
    }
    assert_all(&engine, &[], &calls, EPERM);
}

#[test]
fn allowed_socket_families_and_what_widens() {
    let engine = engine!(new);
    let native = |calls: Vec<Call>| {
        let calls = calls.into_iter().filter(|call| call.interface != SeccompArch::X32);
        calls.collect::<Vec<_>>()
    };
    // x32 may be left out of the kernel, which says ENOSYS then.
    for (family, flags) in [
        (AF_UNIX, &[][..]),
        (AF_ALG, &["--security-opt", "seccomp=+af_alg"]),
        (AF_VSOCK, &["--security-opt", "seccomp=+af_vsock"]),
        (AF_VSOCK, &["--privileged"]),
    ] {
        let calls = variants("socket", [family, SOCK_STREAM, 0, 0]);
        for (call, returned) in calls.iter().zip(ask(&engine, flags, &calls)) {
            assert_ne!(returned, -EPERM, "{flags:?} {call:x?}");
        }
    }
    let calls = native(variants("socket", [AF_UNIX, SOCK_STREAM, 0, 0]));
    for (call, returned) in calls.iter().zip(ask(&engine, &[], &calls)) {
        assert!(returned >= 0, "{call:x?}: {returned}");
    }
    let vsock = variants("socket", [AF_VSOCK, SOCK_STREAM, 0, 0]);
    assert_all(&engine, &["--security-opt", "seccomp=+af_alg"], &vsock, EPERM);
}

#[test]
fn namespaces_and_personalities() {
    let engine = engine!(new);
    let mut refused = Vec::new();
    // CLONE_NEWUSER and CLONE_NEWNET; ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC.
    for flag in [0x1000_0000, 0x4000_0000] {
        refused.extend(variants("clone", [flag | CLONE_SIGHAND, 0, 0, 0]));
        refused.extend(variants("unshare", [flag, 0, 0, 0]));
    }
    for personality in [0x4_0000, 0x40_0000] {
        refused.extend(variants("personality", [personality, 0, 0, 0]));
    }
    assert_all(&engine, &[], &refused, EPERM);
    assert_all(&engine, &[], &variants("clone3", [0, 0, 0, 0]), ENOSYS);
    let native = |call: &&Call| call.interface != SeccompArch::X32;
    let clone = variants("clone", [CLONE_SIGHAND, 0, 0, 0]);
    let clone: Vec<Call> = clone.iter().filter(native).copied().collect();
    assert_all(&engine, &[], &clone, EINVAL);
    let ask_current = variants("personality", [0xffff_ffff, 0, 0, 0]);
    let ask_current: Vec<Call> = ask_current.iter().filter(native).copied().collect();
    assert_all(&engine, &[], &ask_current, 0);
}

/// Each of these gives another errno, or succeeds, where no filter refuses it.
#[test]
fn calls_that_need_a_privilege() {
    let engine = engine!(new);
    let mut calls = Vec::new();
    for (name, arguments) in [
        ("setns", [0xffff_ffff, 0, 0, 0]),
        ("io_uring_setup", [0, 0, 0, 0]),
        ("io_uring_register", [0xffff_ffff, 0, 0, 0]),
        ("keyctl", [0, 0xffff_fffd, 0, 0]),
        ("add_key", [0, 0, 0, 0]),
        ("request_key", [0, 0, 0, 0]),
        ("userfaultfd", [1, 0, 0, 0]),
        ("mount", [0, 0, 0, 0]),
        ("fsopen", [0, 0, 0, 0]),
        ("open_tree", [0xffff_ffff, 0, 0, 0]),
        ("bpf", [0xffff, 0, 0, 0]),
    ] {
        // Pointers and descriptors: the upper half is left alone.
        let every = variants(name, arguments);
        calls.extend(every.into_iter().filter(|call| call.arguments == arguments));
    }
    assert_all(&engine, &[], &calls, EPERM);
}
