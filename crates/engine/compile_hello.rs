//! Compiles the program of the image `hello`, which `husk` carries with it.
//!
//! It needs nothing but the standard library, so the compiler alone makes it: small,
//! static, and for the same machine as `husk` itself.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let source = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../hello/src");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo::rerun-if-env-changed=HUSK_HELLO");
    let program = PathBuf::from(variable("OUT_DIR")?).join("hello");
    // Where the standard library is built along with `husk`, the compiler alone has none for
    // the target: `cargo xtask release` names a program that cargo has made.
    if let Ok(made) = variable("HUSK_HELLO") {
        println!("cargo::rerun-if-changed={made}");
        return std::fs::copy(&made, &program)
            .map(drop)
            .map_err(|error| format!("{made}: {error}"));
    }
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "hello", "--crate-type", "bin"]);
    for option in [
        "opt-level=z",
        "lto=fat",
        "codegen-units=1",
        "panic=abort",
        "strip=symbols",
        "target-feature=+crt-static",
        "relocation-model=static",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = variable("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    rustc.args(["--target", &variable("TARGET")?]).arg("-o").arg(&program);
    let status = rustc.arg(source.join("main.rs")).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: rustc ended with {status}", source.display())),
        Err(error) => Err(format!("execute rustc: {error}")),
    }
}
