//! A target's bounded and repeatable run, as an ordinary test: the inputs in the
//! tree, and changed ones.
#![allow(clippy::panic, clippy::expect_used, reason = "a panic is what the fuzzer looks for")]

use std::fs;
use std::path::PathBuf;

use super::mutate::mutate;

/// Most processor time that one input may take, in nanoseconds. A thousand
/// times what the slowest takes.
const MOST_TIME: u64 = 2_000_000_000;

/// Most memory that the whole process may ever have had, in KiB.
const MOST_MEMORY: u64 = 512 << 10;

/// Runs `check` on every input below `fuzz/seeds/TARGET`, which it accepts unless
/// its name begins with `refused`, and on `count` changed ones.
pub(crate) fn smoke(target: &str, count: usize, check: impl Fn(&[u8]) -> bool) {
    let fuzz = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz"));
    let words = dictionary(&fuzz.join("dictionaries").join(target));
    let directory = fuzz.join("seeds").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let bounded = |name: &str, bytes: &[u8]| {
        let before = processor_time();
        let accepted = check(bytes);
        let took = processor_time().saturating_sub(before);
        assert!(took < MOST_TIME, "{name}: {took} ns for {:?}", String::from_utf8_lossy(bytes));
        accepted
    };
    let mut seeds = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(bounded(&name, &bytes), !name.starts_with("refused"), "{name}");
        seeds.push(bytes);
    }
    let mut state = 7_u64;
    let mut random = || {
        // Xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut accepted = 0;
    for seed in seeds.iter().cycle().take(count) {
        let bytes = mutate(seed, &words, &mut random);
        accepted += usize::from(bounded("a mutation", &bytes));
    }
    println!("{accepted} of {count} mutations are accepted");
    assert!(accepted > count / 100 && accepted < count, "{accepted} of {count}");
    assert!(peak() < MOST_MEMORY, "{} KiB of memory", peak());
}

/// The words of a dictionary in libFuzzer's format: a quoted string a line, with
/// `\\`, `\"` and `\xNN`.
fn dictionary(path: &std::path::Path) -> Vec<Vec<u8>> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| line.starts_with('"')).map(word).collect()
}

fn word(line: &str) -> Vec<u8> {
    let inner = line.strip_prefix('"').and_then(|line| line.strip_suffix('"'));
    let mut rest = inner.unwrap_or_else(|| panic!("{line}: not a quoted word")).as_bytes();
    let mut word = Vec::new();
    while let [first, after @ ..] = rest {
        (word, rest) = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("hexadecimal digits");
                let byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
                ([word, vec![byte]].concat(), after)
            }
            (b'\\', [escaped, after @ ..]) => ([word, vec![*escaped]].concat(), after),
            _ => ([word, vec![*first]].concat(), after),
        };
    }
    word
}

/// Processor time of this thread in nanoseconds, proc_pid_schedstat(5).
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The most memory this process ever had, in KiB, proc_pid_status(5).
fn peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
