//! `cargo xtask bench --order`: which functions a start executes, for the linker to put side
//! by side. What is not needed is then not read: fewer page faults, less memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::footprint::Instruments;
use super::peer::Peer;
use super::site::{Kind, Site};
use crate::{cargo, process};

/// The linker script that crates/runtime/build.rs hands to the linker.
const SCRIPT: &str = "crates/runtime/start-order.ld";

/// husk-oci as it is released, but with its symbols; and the linker's map of it.
pub(super) struct Mapped {
    pub(super) program: PathBuf,
    map: PathBuf,
}

/// Builds it.
///
/// # Errors
/// The build fails.
pub(super) fn build() -> anyhow::Result<Mapped> {
    let directory = cargo::workspace().join("target/order");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let map = directory.join("husk-oci.map");
    let mut build = cargo::command();
    build.args(["rustc", "--release", "--package", "husk-runtime", "--bin", "husk-oci"]);
    build.arg("--target-dir").arg(&directory).env("CARGO_PROFILE_RELEASE_STRIP", "false");
    build.env(cargo::MUSL, cargo::musl());
    build.arg("--").arg(format!("-Clink-arg=-Wl,-Map={}", map.display()));
    if !build.status().context("cargo")?.success() {
        bail!("cargo rustc failed");
    }
    let program = format!("{}-unknown-linux-gnu/release/husk-oci", std::env::consts::ARCH);
    Ok(Mapped { program: directory.join(program), map })
}

/// Runs what is to be fast once each, instruction by instruction, and writes the script.
///
/// # Errors
/// A run fails, or the program has no symbols.
pub(super) fn write(site: &Site, subject: &Peer, mapped: &Mapped) -> anyhow::Result<()> {
    let instruments = Instruments::build(site)?;
    let run = |kind| {
        let id = format!("{}o{kind:?}", site.prefix);
        instruments.executed(site, &subject.run(site, kind, &id))
    };
    let plain = run(Kind::Default)?;
    let mut others = run(Kind::Profile)?;
    let id = format!("{}oexec", site.prefix);
    subject.create_and_start(site, &id)?;
    let mut exec = subject.command(site);
    exec.args(["exec", &id, "/bin/true"]);
    let of_exec = instruments.executed(site, &exec);
    subject.delete(site, &id)?;
    others.extend(of_exec?);

    let map = fs::read_to_string(&mapped.map).context("the linker's map")?;
    // What the barest container needs comes first: it has nothing of the others' between.
    let mut patterns = patterns(&map, &plain);
    if patterns.is_empty() {
        bail!("{}: no section of code is known, as lld writes them", mapped.map.display());
    }
    let more: Vec<String> = self::patterns(&map, &others)
        .into_iter()
        .filter(|pattern| !patterns.contains(pattern))
        .collect();
    patterns.extend(more);
    let path = cargo::workspace().join(SCRIPT);
    fs::write(&path, script(&patterns)).with_context(|| path.display().to_string())?;
    println!("{SCRIPT}: {} sections", patterns.len());
    Ok(())
}

/// The sections of code that any of `executed` is in, as a linker script names them.
///
/// A line of lld's map is an address, another, a size, an alignment (the numbers but the
/// last in hexadecimal) and, for a section, `FILE:(NAME)`.
fn patterns(map: &str, executed: &BTreeSet<u64>) -> Vec<String> {
    let sections = map.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let start = u64::from_str_radix(fields.next()?, 16).ok()?;
        let size = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        let (file, section) = fields.nth(1)?.strip_suffix(')')?.split_once(":(")?;
        executed.range(start..start + size).next()?;
        pattern(file, section)
    });
    sections.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A Rust function has a section of its own, named by its path; where that ends with a hash,
/// it is one that changes with every edit. Of the C library's functions all of one file
/// share a section, so that one is named by the file.
fn pattern(file: &str, section: &str) -> Option<String> {
    let name = section.strip_prefix(".text")?;
    let function = name.strip_prefix(".unlikely").unwrap_or(name);
    if function.starts_with("._R") {
        return Some(format!("*({section})"));
    }
    if let Some((path, _)) = section.rsplit_once("17h")
        && function.starts_with("._ZN")
    {
        return Some(format!("*({path}17h*)"));
    }
    let (archive, member) = file.strip_suffix(')')?.rsplit_once('(')?;
    let (_, archive) = archive.rsplit_once('/')?;
    Some(format!("*{archive}:{member}({section})"))
}

fn script(patterns: &[String]) -> String {
    let mut text = String::from(
        "/* What a start executes, side by side. Made by cargo xtask bench --order; a name that\n   \
         is no more costs nothing. */\nSECTIONS\n{\n  .text.start : {\n",
    );
    for pattern in patterns {
        text += &format!("    {pattern}\n");
    }
    text + "  }\n}\nINSERT BEFORE .text;\n"
}

impl Instruments {
    /// Which instructions of `command`'s own program it executes, as addresses in the file's
    /// own terms.
    fn executed(&self, site: &Site, command: &Command) -> anyhow::Result<BTreeSet<u64>> {
        let out = site.work.join("executed");
        let mut step = Command::new(self.step());
        step.arg("-o").arg(&out).arg(command.get_program()).args(command.get_args());
        step.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        process::output(step.stdin(Stdio::null()))?;
        let text = fs::read_to_string(&out).context("step's list")?;
        text.lines().map(|line| u64::from_str_radix(line, 16).context("step's list")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
             VMA              LMA     Size Align Out     In      Symbol
            1000             1000      a00     1 .text
            1000             1000      100    16         /tmp/a.rcgu.o:(.text._RNvNtCs1_3std2rt4init)
            1000             1000      100     1                 std::rt::init
            1100             1100      100    16         /tmp/a.rcgu.o:(.text._ZN4core4drop17h0123456789abcdefE)
            1200             1200      100    16         /tmp/a.rcgu.o:(.text.unlikely._RNvCs1_3std4cold)
            1300             1300       80    64         /usr/lib/../libc.a(memmove.o):(.text.evex)
            1380             1380       80    16         /usr/lib/crt1.o:(.text)
            2000             2000      100    16         /tmp/a.rcgu.o:(.data._RNvNtCs1_3std4data)
";

    #[test]
    fn sections_are_found_by_any_instruction_and_named_without_their_hash() {
        let executed = [0x1010, 0x11ff, 0x1280, 0x1300, 0x1381, 0x2000];
        let expected = [
            "*(.text._RNvNtCs1_3std2rt4init)",
            "*(.text._ZN4core4drop17h*)",
            "*(.text.unlikely._RNvCs1_3std4cold)",
            "*libc.a:memmove.o(.text.evex)",
        ];
        assert_eq!(patterns(MAP, &BTreeSet::from(executed)), expected);
        assert_eq!(patterns(MAP, &BTreeSet::from([0x1000])), expected[..1]);
    }

    #[test]
    fn the_script_names_each_section() {
        let text = script(&["*(.text._ZN1a17h*)".to_owned()]);
        assert!(text.contains("    *(.text._ZN1a17h*)\n"), "{text}");
    }
}
