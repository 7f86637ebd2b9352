//! Links `husk-oci`: without unwind tables, with the functions of a start side by side, and
//! with an entry point of its own.

use std::env::var;

fn main() {
    let directory = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    // Functions of the same code are one: nothing here compares their addresses.
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    for script in ["no-unwind-tables.ld", "start-order.ld"] {
        println!("cargo::rerun-if-changed={script}");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/{script}");
    }
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV", "CARGO_CFG_TARGET_ARCH"]
        .map(|name| var(name).unwrap_or_default());
    // The targets that crates/sys/src/entry.rs has instructions for.
    if target == ["linux", "gnu", "x86_64"] {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,husk_entry");
    }
}
