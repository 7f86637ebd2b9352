//! Finding the program to execute, and saying why it cannot be executed.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{self, Access, AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use crate::plan::Process;
use crate::sync::fault::{Fault, Step};

/// The path to execute: the name itself where it has a slash, else the first
/// match in `PATH`, as execvp(3) looks. Done as the container's user, in its root.
pub fn find(process: &Process) -> Result<CString, Fault> {
    let Some(name) = process.arguments.strings().first() else {
        return Err(Fault::because(Step::Exec, 0, "nothing to execute"));
    };
    if process.search.is_empty() {
        return match check(name) {
            Ok(()) => Ok(name.clone()),
            Err(errno) => Err(diagnose(name, errno)),
        };
    }
    let mut denied = None;
    for directory in &process.search {
        let candidate = [directory.as_bytes(), b"/", name.as_bytes()].concat();
        let Ok(candidate) = CString::new(candidate) else { continue };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) if denied.is_none() => denied = Some(candidate),
            Err(_) => {}
        }
    }
    match denied {
        Some(candidate) => Err(diagnose(&candidate, Errno::ACCESS)),
        None => Err(Fault {
            step: Step::Exec,
            index: 0,
            op: "exec".into(),
            errno: None,
            detail: "executable file not found in $PATH: no such file or directory".to_owned(),
        }),
    }
}

/// Whether it looks executable to this user. ACCESS stands for a directory too,
/// as execve(2) has it.
fn check(path: &CStr) -> Result<(), Errno> {
    let status = fs::stat(path)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Whether a script's interpreter or a program's dynamic linker is there. Told before a filter is
/// loaded under which nothing can be told any more.
pub fn check_interpreter(path: &CStr) -> Result<(), Fault> {
    let Some(head) = head(path) else { return Ok(()) };
    let name = match head.strip_prefix(b"#!") {
        Some(line) => {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
            words.into_iter().find(|word| !word.is_empty()).map(<[u8]>::to_vec)
        }
        None => elf_interpreter(&head).map(String::into_bytes),
    };
    let Some(name) = name.and_then(|name| CString::new(name).ok()) else { return Ok(()) };
    match fs::stat(&name) {
        Err(Errno::NOENT) => Err(diagnose(path, Errno::NOENT)),
        _ => Ok(()),
    }
}

/// Why execve(2) of a path failed, in words.
pub fn diagnose(path: &CStr, errno: Errno) -> Fault {
    let shown = path.to_string_lossy();
    let reason = match errno {
        Errno::NOENT => missing(path),
        Errno::NOEXEC => unknown_format(path),
        Errno::ACCESS | Errno::PERM => denied(path),
        Errno::NOTDIR => Some("a part of its path is not a directory".to_owned()),
        Errno::TOOBIG => Some("arguments and environment are too long".to_owned()),
        Errno::TXTBSY => Some("it is open for writing".to_owned()),
        _ => None,
    };
    Fault {
        step: Step::Exec,
        index: 0,
        op: format!("exec {shown}").into(),
        errno: Some(errno),
        detail: reason.unwrap_or_default(),
    }
}

/// The first bytes of a regular file.
fn head(path: &CStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: OwnedFd = fs::open(path, flags, Mode::empty()).ok()?;
    let status = fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut buffer = vec![0; 4096];
    let length = rustix::io::read(&file, &mut buffer[..]).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

/// ENOENT: the file, or the interpreter that it names.
fn missing(path: &CStr) -> Option<String> {
    let head = head(path)?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.ends_with(b"\r") {
            let name = String::from_utf8_lossy(line).trim().to_owned();
            return Some(format!(
                "the script's interpreter line ends in a carriage return, so that {name:?} followed by one is looked for"
            ));
        }
        let name = String::from_utf8_lossy(line);
        let name = name.split_whitespace().next().unwrap_or_default();
        return Some(format!("the script's interpreter {name} does not exist in the container"));
    }
    let interpreter = elf_interpreter(&head)?;
    Some(format!(
        "the program is there, but its dynamic linker {interpreter} does not exist in the container"
    ))
}

/// `PT_INTERP` of an ELF file of this machine's byte order, elf(5).
fn elf_interpreter(head: &[u8]) -> Option<String> {
    let class = *head.strip_prefix(b"\x7fELF")?.first()?;
    let short = |at: usize| Some(u16::from_ne_bytes(*head.get(at..)?.first_chunk()?));
    let word = |at: usize| {
        Some(match class {
            1 => u64::from(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?)),
            _ => u64::from_ne_bytes(*head.get(at..)?.first_chunk()?),
        })
    };
    let (table, size, count) = match class {
        1 => (word(0x1c)?, short(0x2a)?, short(0x2c)?),
        2 => (word(0x20)?, short(0x36)?, short(0x38)?),
        _ => return None,
    };
    let table = usize::try_from(table).ok()?;
    for index in 0..usize::from(count) {
        let at = table.checked_add(index.checked_mul(usize::from(size))?)?;
        let kind = u32::from_ne_bytes(*head.get(at..)?.first_chunk()?);
        const PT_INTERP: u32 = 3;
        if kind != PT_INTERP {
            continue;
        }
        let offset = usize::try_from(word(at + if class == 1 { 4 } else { 8 })?).ok()?;
        let name = head.get(offset..)?.split(|byte| *byte == 0).next()?;
        return Some(String::from_utf8_lossy(name).into_owned());
    }
    None
}

/// ENOEXEC: another machine's program, or no program.
fn unknown_format(path: &CStr) -> Option<String> {
    let head = head(path)?;
    if head.is_empty() {
        return Some("the file is empty".to_owned());
    }
    let Some(machine) = elf_machine(&head) else {
        return Some(
            "neither an ELF program nor a script with an interpreter line (#!)".to_owned(),
        );
    };
    Some(format!("a program for {machine}, and this machine is {}", std::env::consts::ARCH))
}

fn elf_machine(head: &[u8]) -> Option<String> {
    let ident = head.strip_prefix(b"\x7fELF")?;
    let bytes: [u8; 2] = *head.get(18..)?.first_chunk()?;
    let machine = match ident.get(1)? {
        2 => u16::from_be_bytes(bytes),
        _ => u16::from_le_bytes(bytes),
    };
    let name = match machine {
        3 => "x86",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        other => return Some(format!("ELF machine {other}")),
    };
    Some(name.to_owned())
}

/// EACCES: the file itself, its mount, or a directory on the way.
fn denied(path: &CStr) -> Option<String> {
    let bytes = path.to_bytes();
    for end in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at) {
        let directory = CString::new(&bytes[..end.max(1)]).ok()?;
        if fs::accessat(CWD, &directory, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS) {
            return Some(format!(
                "the directory {} may not be searched by this user",
                directory.to_string_lossy()
            ));
        }
    }
    let status = fs::stat(path).ok()?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Some("it is a directory".to_owned()),
        _ => return Some("it is not a regular file".to_owned()),
    }
    if status.st_mode & 0o111 == 0 {
        return Some(format!("it is not executable (mode {:04o})", status.st_mode & 0o7777));
    }
    if fs::statvfs(path).ok()?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Some("it is on a mount with the option noexec".to_owned());
    }
    if fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        return Some(format!(
            "this user may not execute it (mode {:04o}, owner {}:{})",
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8], mode: u32) -> (std::path::PathBuf, CString) {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("husk-exec-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let c = CString::new(path.to_str().unwrap()).unwrap();
        (path, c)
    }

    fn detail(name: &str, content: &[u8], mode: u32, errno: Errno) -> String {
        let (path, c) = file(name, content, mode);
        let fault = diagnose(&c, errno);
        std::fs::remove_file(path).unwrap();
        fault.detail
    }

    #[test]
    fn every_cause_has_its_words() {
        let said = detail("crlf", b"#!/bin/sh\r\necho\r\n", 0o755, Errno::NOENT);
        assert!(said.contains("carriage return"), "{said}");
        let said = detail("interp", b"#!/no/such/interp -x\n", 0o755, Errno::NOENT);
        assert_eq!(
            said,
            "the script's interpreter /no/such/interp does not exist in the container"
        );
        let said = detail("text", b"hello\n", 0o755, Errno::NOEXEC);
        assert!(said.contains("neither an ELF program"), "{said}");
        let said = detail("empty", b"", 0o755, Errno::NOEXEC);
        assert_eq!(said, "the file is empty");
        let mut arm = vec![0; 64];
        arm[..6].copy_from_slice(b"\x7fELF\x02\x01");
        arm[18] = 183;
        let said = detail("arm", &arm, 0o755, Errno::NOEXEC);
        assert!(said.starts_with("a program for aarch64"), "{said}");
        let said = detail("mode", b"#!/bin/sh\n", 0o644, Errno::ACCESS);
        assert_eq!(said, "it is not executable (mode 0644)");
    }

    #[test]
    fn no_elf_header_is_trusted() {
        for length in 0..120 {
            let mut head = vec![0xff; length];
            let magic = b"\x7fELF\x02";
            for (byte, wanted) in head.iter_mut().zip(magic) {
                *byte = *wanted;
            }
            let _ = elf_interpreter(&head);
            let _ = elf_machine(&head);
        }
    }
}
