//! `cargo xtask release`: the programs as they are released, static and with musl.
//!
//! Rust's own musl target is used, by the first of three ways that is there: the toolchain
//! has its standard library (`rustup target add`); the toolchain has the library's sources,
//! which are then built along; a root of Debian unstable, made by debootstrap, has both.
//! docs/building-husk.md describes each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use lexopt::Arg;

use crate::cargo::{self, Profile};
use crate::debian::{self, Need};
use crate::{interrupt, process};

const HELP: &str = "\
cargo xtask release [OPTIONS]

Builds husk, husk-serve, husk-oci and containerd-shim-husk-v2 for Rust's musl target of this
machine and copies them to target/dist/TARGET. Uses the toolchain's standard library for that
target where it is installed (rustup target add x86_64-unknown-linux-musl), else builds it from the toolchain's
sources (rustup component add rust-src), else, as root, does that in a root of Debian
unstable, which it makes once in target/musl-root (some minutes and 1.5 GB).

  --no-root    do not make such a root
";

/// The programs that are released, and their packages.
const PROGRAMS: [(&str, &str); 4] = [
    ("husk-cli", "husk"),
    ("husk-api", "husk-serve"),
    ("husk-runtime", "husk-oci"),
    ("husk-shim", "containerd-shim-husk-v2"),
];

/// What the C code of two dependencies of husk is compiled with.
const NEEDS: &[Need] =
    &[Need { package: "musl-tools", purpose: "musl-gcc, for zstd and ring in husk" }];

/// What the root has: compiler, the library's sources, and musl.
const ROOT_PACKAGES: &str = "rustc,cargo,rust-src,musl-tools,lld,gcc,libc6-dev,ca-certificates";

/// Where the workspace is in the root.
const INSIDE: &str = "/src";

/// Mounts for the build, in a mount namespace of its own, and the build.
const ENTER: &str = r#"
mount --make-rprivate /
mount --bind "$SOURCE" "$ROOT/src"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
exec chroot "$ROOT" /usr/bin/env --chdir=/src "$@"
"#;

/// A way to build for the musl target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// The toolchain has the standard library.
    Installed,
    /// The toolchain has its sources.
    Sources,
    /// This root has compiler and sources.
    Root(PathBuf),
}

/// The musl target of this machine.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Runs the command.
///
/// # Errors
/// There is no way to build, or the build fails.
pub(crate) fn command(mut arguments: lexopt::Parser) -> anyhow::Result<ExitCode> {
    let mut make_root = true;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("no-root") => make_root = false,
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    interrupt::note()?;
    let way = match at_hand() {
        Some(way) => way,
        None => Way::Root(root(make_root)?),
    };
    let packages: Vec<&str> = PROGRAMS.iter().map(|(package, _)| *package).collect();
    let mut built = build(&way, &packages)?;
    let directory = cargo::workspace().join("target/dist").join(target());
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for (package, program) in PROGRAMS {
        let from = built
            .remove(program)
            .with_context(|| format!("package {package} has no program {program}"))?;
        let to = directory.join(program);
        // A copy that is being executed is replaced, not written to.
        let partial = directory.join(format!(".{program}.{}", std::process::id()));
        fs::copy(&from, &partial).with_context(|| from.display().to_string())?;
        fs::rename(&partial, &to).with_context(|| to.display().to_string())?;
        println!("{} ({} bytes)", to.display(), fs::metadata(&to)?.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// How a release can be built without installing anything.
pub(crate) fn at_hand() -> Option<Way> {
    if has_standard_library() {
        return Some(Way::Installed);
    }
    if has_sources() && process::find("musl-gcc").is_some() {
        return Some(Way::Sources);
    }
    let root = root_path();
    (process::is_root() && root.is_dir()).then_some(Way::Root(root))
}

/// The programs of `packages` as they are released; where no musl target is at hand, those of
/// the plain release build, which is said. Whether it is a release comes with them.
///
/// # Errors
/// The build fails.
pub(crate) fn programs(packages: &[&str]) -> anyhow::Result<(BTreeMap<String, PathBuf>, bool)> {
    if let Some(way) = at_hand() {
        return Ok((build(&way, packages)?, true));
    }
    eprintln!(
        "xtask: no target {} here (cargo xtask release makes one): the plain release build is used",
        target()
    );
    Ok((cargo::build(packages, Profile::Release)?, false))
}

/// As [`programs`], of one package.
///
/// # Errors
/// The build fails, or there is no such program.
pub(crate) fn program(package: &str, program: &str) -> anyhow::Result<(PathBuf, bool)> {
    let (mut built, musl) = programs(&[package])?;
    let path = built.remove(program);
    Ok((path.with_context(|| format!("package {package} has no program {program}"))?, musl))
}

/// Builds the programs of `packages`; where each is, by name.
///
/// # Errors
/// The build fails.
pub(crate) fn build(way: &Way, packages: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let target = target();
    let output = "target/musl";
    let mut arguments = words(&["build", "--release", "--bins", "--target", &target]);
    arguments.extend(words(&["--target-dir", output]));
    for package in packages {
        arguments.extend(words(&["--package", package]));
    }
    eprintln!("==> building {} for {target} ({})", packages.join(", "), way.describe());
    let linker = linker_flags(way);
    if *way == Way::Installed {
        let mut command = cargo::command();
        command.args(arguments).env(variable(&target, "RUSTFLAGS"), linker.join(" "));
        return cargo::executables(&mut command, "bin", None);
    }
    // The standard library for panics that abort, without the printing of backtraces, which a
    // stripped program has no names for.
    arguments.extend(words(&["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]));
    let unwinder = empty_unwinder()?;
    let workspace = cargo::workspace();
    let inside = match way {
        Way::Root(_) => Path::new(INSIDE),
        _ => workspace.as_path(),
    };
    let unwinder = inside.join(unwinder.strip_prefix(&workspace).unwrap_or(&unwinder));
    let mut variables = vec![
        // A stable compiler takes -Z with it.
        ("RUSTC_BOOTSTRAP".to_owned(), OsString::from("1")),
        (variable(&target, "LINKER"), "musl-gcc".into()),
        (
            variable(&target, "RUSTFLAGS"),
            format!(
                "-C link-self-contained=no -L native={} {}",
                unwinder.display(),
                linker.join(" ")
            )
            .into(),
        ),
        (format!("CC_{}", target.replace('-', "_")), "musl-gcc".into()),
    ];
    // The compiler alone cannot make it for a target whose standard library is built along.
    if packages.contains(&"husk-cli") {
        let hello = build(way, &["husk-hello"])?.remove("hello").context("no program hello")?;
        let hello = inside.join(hello.strip_prefix(&workspace).unwrap_or(&hello));
        variables.push(("HUSK_HELLO".to_owned(), hello.into()));
    }
    let mut command = match way {
        Way::Root(root) => enter(root)?,
        _ => cargo::command(),
    };
    if let Way::Root(_) = way {
        command.args(variables.iter().map(|(name, value)| {
            let mut pair = OsString::from(format!("{name}="));
            pair.push(value);
            pair
        }));
        command.arg("cargo");
    } else {
        command.envs(variables);
    }
    command.args(arguments);
    let built = cargo::executables(&mut command, "bin", None)?;
    let outside = |path: PathBuf| match path.strip_prefix(inside) {
        Ok(below) => workspace.join(below),
        Err(_) => path.clone(),
    };
    Ok(built.into_iter().map(|(name, path)| (name, outside(path))).collect())
}

impl Way {
    fn describe(&self) -> String {
        match self {
            Way::Installed => "the toolchain's standard library".to_owned(),
            Way::Sources => "the standard library from its sources".to_owned(),
            Way::Root(root) => format!("in {}", root.display()),
        }
    }
}

fn words(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

fn variable(target: &str, name: &str) -> String {
    format!("CARGO_TARGET_{}_{name}", target.to_uppercase().replace('-', "_"))
}

fn sysroot_file(relative: &str) -> Option<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "sysroot"]).current_dir(cargo::workspace());
    let sysroot = process::output(&mut command).ok()?;
    let path = Path::new(sysroot.trim_end()).join("lib/rustlib").join(relative);
    path.exists().then_some(path)
}

/// Flags for lld, which lays a program out in fewer pages than GNU ld: the one that Rust
/// brings along, or one that is installed. Empty where there is none.
fn linker_flags(way: &Way) -> Vec<String> {
    let use_lld = "-Clink-arg=-fuse-ld=lld".to_owned();
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    if matches!(way, Way::Root(_)) {
        return vec![use_lld];
    }
    match sysroot_file(&format!("{host}/bin/gcc-ld/ld.lld")) {
        Some(lld) => {
            let directory = lld.parent().map(|path| path.display().to_string());
            vec![format!("-Clink-arg=-B{}", directory.unwrap_or_default()), use_lld]
        }
        None => process::find("ld.lld").map(|_| use_lld).into_iter().collect(),
    }
}

fn has_standard_library() -> bool {
    let Some(directory) = sysroot_file(&format!("{}/lib", target())) else { return false };
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn has_sources() -> bool {
    sysroot_file("src/rust/library/Cargo.lock").is_some()
}

/// A directory with a `libunwind.a` that has nothing in it.
///
/// The standard library names it to the linker; with panics that abort and no backtraces it
/// uses nothing of it.
fn empty_unwinder() -> anyhow::Result<PathBuf> {
    let directory = cargo::workspace().join("target/musl/unwind");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let file = directory.join("libunwind.a");
    // An archive without members, ar(5).
    fs::write(&file, "!<arch>\n").with_context(|| file.display().to_string())?;
    Ok(directory)
}

fn root_path() -> PathBuf {
    cargo::workspace().join("target/musl-root")
}

/// The root, made where it is not there and may be.
fn root(make: bool) -> anyhow::Result<PathBuf> {
    let target = target();
    let ways = format!("rustup target add {target}, or rustup component add rust-src");
    if !make {
        bail!("no target {target} here: {ways}; or leave out --no-root");
    }
    if !process::is_root() {
        bail!("no target {target} here: {ways}; or run this as root, with debootstrap installed");
    }
    debian::provide(NEEDS);
    debian::provide(&[Need { package: "debootstrap", purpose: "a root to build in" }]);
    let root = root_path();
    if root.is_dir() {
        return Ok(root);
    }
    let partial = root.with_extension(format!("partial-{}", std::process::id()));
    eprintln!("==> debootstrap sid {} (once; some minutes)", root.display());
    let made = make_root(&partial)
        .and_then(|()| fs::rename(&partial, &root).with_context(|| root.display().to_string()));
    if made.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    made.map(|()| root)
}

fn make_root(root: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("debootstrap");
    command.arg("--variant=minbase").arg(format!("--include={ROOT_PACKAGES}"));
    command.arg("sid").arg(root).args(debian::mirror());
    process::output(&mut command)
        .with_context(|| format!("see {}/debootstrap/debootstrap.log", root.display()))?;
    fs::create_dir_all(root.join("src")).context("src")?;
    // A machine's own certificates and registries, for cargo.
    for file in ["etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"] {
        let from = Path::new("/").join(file);
        if from.exists() {
            fs::copy(&from, root.join(file)).with_context(|| from.display().to_string())?;
        }
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let into = root.join("root/.cargo");
    fs::create_dir_all(&into).context("root/.cargo")?;
    for name in ["config.toml", "config"] {
        if let Some(from) = home.as_ref().map(|home| home.join(name)).filter(|from| from.exists()) {
            fs::copy(&from, into.join(name)).with_context(|| from.display().to_string())?;
        }
    }
    Ok(())
}

/// A command in the root, to which `NAME=VALUE` and the program's words are still to be added.
fn enter(root: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", ENTER, "sh"]);
    command.env("SOURCE", cargo::workspace()).env("ROOT", root);
    command.args(["--ignore-environment", "PATH=/usr/bin:/bin", "HOME=/root", "LANG=C.UTF-8"]);
    // How this machine reaches registries.
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let wanted = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
        if wanted.iter().any(|start| text.starts_with(start))
            || text.to_ascii_lowercase().ends_with("_proxy")
        {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            command.arg(pair);
        }
    }
    command.arg("CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_target() {
        let name = variable("aarch64-unknown-linux-musl", "LINKER");
        assert_eq!(name, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER");
        assert!(target().ends_with("-unknown-linux-musl"));
    }
}
