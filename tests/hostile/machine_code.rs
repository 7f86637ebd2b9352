//! Programs of one system call, as bytes: what a shell cannot call, and a
//! compiler for 32-bit programs need not be there. Their exit code is the errno.

use std::path::Path;

use husk_tests::machine_code::{BASE, elf64, write};

fn elf32(code: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    const HEADERS: u32 = 52 + 32;
    let code = code(BASE + HEADERS);
    let size = HEADERS + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2u16, 3] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, BASE + HEADERS, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// neg eax; mov edi, eax; mov eax, __NR_exit; syscall
const EXIT_64: [u8; 11] = [0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

/// ioctl(0, TIOCSTI, &byte)
pub(crate) fn tiocsti(path: &Path) {
    let mut code = vec![0xb8, 16, 0, 0, 0, 0x31, 0xff, 0xbe, 0x12, 0x54, 0, 0];
    // lea rdx, [rip + distance]: any byte of the code will do; then syscall.
    code.extend([0x48, 0x8d, 0x15, 0, 0, 0, 0, 0x0f, 0x05]);
    code.extend(EXIT_64);
    write(path, &elf64(&code));
}

/// umask(first, second): the kernel looks at the first alone, a filter at both.
pub(crate) fn umask(path: &Path, first: u32, second: u32) {
    let mut code = vec![0xb8, 95, 0, 0, 0, 0xbf];
    code.extend(first.to_le_bytes());
    code.push(0xbe);
    code.extend(second.to_le_bytes());
    code.extend([0x0f, 0x05]);
    code.extend(EXIT_64);
    write(path, &elf64(&code));
}

/// A 32-bit program: socketcall(SYS_SOCKET, [family, type, 0])
pub(crate) fn socketcall(path: &Path, family: u32, kind: u32) {
    write(
        path,
        &elf32(|at| {
            let mut code = vec![0xb8, 102, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9];
            // The arguments stand behind the code, which is 30 bytes long.
            code.extend((at + 30).to_le_bytes());
            code.extend([0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
            code.resize(30, 0x90);
            for argument in [family, kind, 0] {
                code.extend(argument.to_le_bytes());
            }
            code
        }),
    );
}

/// A 32-bit program: socket(family, type, 0), whose number is 359 there.
pub(crate) fn socket_32(path: &Path, family: u32, kind: u32) {
    write(
        path,
        &elf32(|_| {
            let mut code = vec![0xb8, 0x67, 1, 0, 0, 0xbb];
            code.extend(family.to_le_bytes());
            code.push(0xb9);
            code.extend(kind.to_le_bytes());
            code.extend([0x31, 0xd2, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3]);
            code.extend([0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
            code
        }),
    );
}
