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

/// husk-oci as it is released, but with its symbols.
///
/// # Errors
/// The build fails.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let directory = cargo::workspace().join("target/order");
    let mut build = cargo::command();
    build.args(["build", "--release", "--package", "husk-runtime", "--target-dir"]);
    build.arg(&directory).env("CARGO_PROFILE_RELEASE_STRIP", "false");
    if !build.status().context("cargo")?.success() {
        bail!("cargo build failed");
    }
    let program = format!("{}-unknown-linux-gnu/release/husk-oci", std::env::consts::ARCH);
    Ok(directory.join(program))
}

/// Runs what is to be fast once each, instruction by instruction, and writes the script.
///
/// # Errors
/// A run fails, or the program has no symbols.
pub(super) fn write(site: &Site, subject: &Peer) -> anyhow::Result<()> {
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

    let symbols = process::output(Command::new("nm").arg("-n").arg(&subject.path))
        .context("nm (Debian package binutils)")?;
    // What the barest container needs comes first: it has nothing of the others' between.
    let mut patterns = patterns(&symbols, &plain);
    if patterns.is_empty() {
        bail!("{}: no function's name is known", subject.path.display());
    }
    let more: Vec<String> = self::patterns(&symbols, &others)
        .into_iter()
        .filter(|pattern| !patterns.contains(pattern))
        .collect();
    patterns.extend(more);
    let path = cargo::workspace().join(SCRIPT);
    fs::write(&path, script(&patterns)).with_context(|| path.display().to_string())?;
    println!("{SCRIPT}: {} functions", patterns.len());
    Ok(())
}

/// The names of the functions that any of `executed` is in, as patterns for sections.
fn patterns(symbols: &str, executed: &BTreeSet<u64>) -> Vec<String> {
    let functions: Vec<(u64, &str)> = symbols
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let address = u64::from_str_radix(fields.next()?, 16).ok()?;
            let kind = fields.next()?;
            matches!(kind, "t" | "T" | "i" | "W").then_some((address, fields.next()?))
        })
        .collect();
    let ends = functions.iter().skip(1).map(|next| next.0).chain([u64::MAX]);
    functions
        .iter()
        .zip(ends)
        .filter(|((start, _), end)| executed.range(start..end).next().is_some())
        .filter_map(|((_, name), _)| pattern(name))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// A Rust function by its path: the hash at the end changes with every edit. C functions
/// are not compiled into sections of their own.
fn pattern(name: &str) -> Option<String> {
    match name.rsplit_once("17h") {
        Some((path, hash)) if name.starts_with("_ZN") && hash.len() == 17 => {
            Some(format!("{path}17h*"))
        }
        _ => name.starts_with("_R").then(|| name.to_owned()),
    }
}

fn script(patterns: &[String]) -> String {
    let mut text = String::from(
        "/* What a start executes, side by side. Made by cargo xtask bench --order; a name that\n   \
         is no more costs nothing. */\nSECTIONS\n{\n  .text.start : {\n",
    );
    for pattern in patterns {
        text += &format!("    *(.text.{pattern} .text.unlikely.{pattern})\n");
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

    const SYMBOLS: &str = "\
0000000000001000 T main
0000000000001100 t _ZN12husk_runtime6launch6launch17h0123456789abcdefE
0000000000001200 t _ZN4core3ptr4drop17hfedcba9876543210E
0000000000001300 d _ZN4data17hfedcba9876543210E
0000000000001400 t _RNvNtCs1_3std2rt4init
                 U undefined
";

    #[test]
    fn functions_are_found_by_any_instruction_and_named_without_their_hash() {
        let found = patterns(SYMBOLS, &BTreeSet::from([0x1010, 0x11ff, 0x1400]));
        let expected = ["_RNvNtCs1_3std2rt4init", "_ZN12husk_runtime6launch6launch17h*"];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_script_names_each_section() {
        let text = script(&["_ZN1a17h*".to_owned()]);
        assert!(text.contains("    *(.text._ZN1a17h* .text.unlikely._ZN1a17h*)\n"), "{text}");
    }
}
