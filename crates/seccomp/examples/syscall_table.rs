//! Prints `src/rows.rs` from the kernel's exported headers.
//!
//! `syscall_table DIR` reads `DIR/<column>.h` for every column of [`COLUMNS`]:
//! the `asm/unistd*.h` that `make headers_install` writes for that ABI. See
//! docs/seccomp.md for the kernel versions the committed table was made of.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Column, and what the header's numbers are counted from.
const COLUMNS: [(&str, u32); 18] = [
    ("x86", 0),
    ("x86_64", 0),
    ("x32", 0),
    ("arm", 0),
    ("aarch64", 0),
    ("loongarch64", 0),
    ("m68k", 0),
    ("mips", 4000),
    ("mips64", 5000),
    ("mips64n32", 6000),
    ("parisc", 0),
    ("parisc64", 0),
    ("ppc", 0),
    ("ppc64", 0),
    ("riscv64", 0),
    ("s390", 0),
    ("s390x", 0),
    ("sh", 0),
];

/// Headers of these are of an older kernel; from this number on every
/// architecture has the same ones.
const OLDER: [&str; 4] = ["parisc", "parisc64", "s390", "sh"];
const COMMON_FROM: u32 = 451;
/// What else they gained since (Linux 6.7).
const SINCE: [(&str, &str, u32); 3] =
    [("parisc", "cacheflush", 356), ("parisc64", "cacheflush", 356), ("s390", "memfd_secret", 447)];

/// Call numbers of socketcall(2), linux/net.h, and of ipc(2), linux/ipc.h, the
/// latter plus 100.
const MULTIPLEXED: [(&str, u8); 32] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
    ("semop", 101),
    ("semget", 102),
    ("semctl", 103),
    ("semtimedop", 104),
    ("msgsnd", 111),
    ("msgrcv", 112),
    ("msgget", 113),
    ("msgctl", 114),
    ("shmat", 121),
    ("shmdt", 122),
    ("shmget", 123),
    ("shmctl", 124),
];

/// `#define __NR_read (__NR_Linux + 0)` gives `("read", 0)`.
fn definition(line: &str) -> Option<(&str, u32)> {
    let mut words = line.strip_prefix("#define __")?.split_whitespace();
    let name = words.next()?;
    let value: String = words.take_while(|word| !word.starts_with("/*")).collect();
    let name = name.strip_prefix("ARM_").unwrap_or(name).strip_prefix("NR_")?;
    if name.contains("SYSCALL") || name.starts_with("Linux") || name.ends_with("BASE") {
        return None;
    }
    let value = value.trim_matches(['(', ')']);
    let (base, offset) = value.rsplit_once('+').unwrap_or(("", value));
    let number = match offset.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => offset.parse().ok()?,
    };
    // The private calls of arm stand at 0x0f0000; a column has 16 bits.
    Some((name, if base.contains("ARM_NR_BASE") { 0xf000 + number } else { number }))
}

fn column(dir: &Path, name: &str, base: u32) -> Result<BTreeMap<String, u32>, String> {
    let path = dir.join(format!("{name}.h"));
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().filter_map(definition).map(|(name, nr)| (name.to_owned(), nr + base)).collect())
}

fn main() -> ExitCode {
    match std::env::args().nth(1).ok_or("usage: syscall_table DIR".to_owned()).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syscall_table: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: String) -> Result<(), String> {
    let dir = Path::new(&dir);
    let mut columns = Vec::new();
    for (name, base) in COLUMNS {
        columns.push(column(dir, name, base)?);
    }
    let common: Vec<(String, u32)> = columns[0]
        .iter()
        .filter(|(_, nr)| **nr >= COMMON_FROM)
        .map(|(name, nr)| (name.clone(), *nr))
        .collect();
    let mut rows: BTreeMap<&str, [u32; COLUMNS.len()]> = BTreeMap::new();
    for (index, (name, _)) in COLUMNS.iter().enumerate() {
        if OLDER.contains(name) {
            columns[index].extend(common.iter().cloned());
            let since = SINCE.iter().filter(|(column, ..)| column == name);
            columns[index].extend(since.map(|(_, name, nr)| ((*name).to_owned(), *nr)));
        }
    }
    for (index, column) in columns.iter().enumerate() {
        for (name, nr) in column {
            rows.entry(name).or_insert([0xffff; COLUMNS.len()])[index] = *nr;
        }
    }
    println!("// Made by `cargo run -p husk-seccomp --example syscall_table`; do not edit.");
    println!("// The columns stand in table.rs; `N` is a call the architecture lacks.");
    println!();
    println!("use super::{{N, Row, row}};");
    println!();
    println!("pub(super) static ROWS: [Row; {}] = [", rows.len());
    for (name, numbers) in &rows {
        let code = MULTIPLEXED.iter().find(|(known, _)| known == name).map_or(0, |(_, code)| *code);
        let numbers: Vec<String> = numbers
            .iter()
            .map(|nr| if *nr == 0xffff { "N".to_owned() } else { nr.to_string() })
            .collect();
        println!("    row({name:?}, {code}, [{}]),", numbers.join(","));
    }
    println!("];");
    Ok(())
}
