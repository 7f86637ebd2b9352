//! Programs as bytes: what a shell cannot call, and what must make no other call than its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where a program is mapped; the code follows the headers, elf(5).
pub const BASE: u32 = 0x40_0000;

/// Writes an executable file.
pub fn write(path: &Path, file: &[u8]) {
    fs::write(path, file).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A program of x86_64: ELF header and one program header that maps the whole file, executable.
pub fn elf64(code: &[u8]) -> Vec<u8> {
    const HEADERS: u32 = 64 + 56;
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    for half in [2u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    for word in [u64::from(BASE + HEADERS), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A program of x86_64 that writes a text to a descriptor and ends with a status, and makes no
/// other system call than write(2) and exit_group(2).
pub fn speaker(path: &Path, descriptor: u8, text: &str, status: u8) {
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, descriptor, 0, 0, 0];
    // lea rsi, [rip + distance]: the text stands behind the code, 24 bytes after this.
    code.extend([0x48, 0x8d, 0x35, 19, 0, 0, 0]);
    code.push(0xba);
    code.extend((text.len() as u32).to_le_bytes());
    code.extend([0x0f, 0x05]);
    code.extend([0xb8, 231, 0, 0, 0, 0xbf, status, 0, 0, 0, 0x0f, 0x05]);
    code.extend(text.as_bytes());
    write(path, &elf64(&code));
}

/// A program of x86_64 that makes no other system call than pause(2).
pub fn sleeper(path: &Path) {
    write(path, &elf64(&[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]));
}
