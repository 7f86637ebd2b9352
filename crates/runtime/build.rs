//! Links `husk-oci`: without unwind tables, with the functions of a start side by side, and
//! with an entry point of its own; and, where `HUSK_MUSL` names a directory with musl's C
//! library for x86_64, with that in place of glibc's.

use std::env::var;

fn main() {
    let directory = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    for script in ["no-unwind-tables.ld", "start-order.ld"] {
        println!("cargo::rerun-if-changed={script}");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/{script}");
    }
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV", "CARGO_CFG_TARGET_ARCH"]
        .map(|name| var(name).unwrap_or_default());
    // The targets that crates/sys/src/entry.rs has instructions for.
    if target == ["linux", "gnu", "x86_64"] {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,husk_entry");
        // Of lld, which Rust brings along for this target alone.
        // Functions of the same code are one: nothing here compares their addresses.
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        // Constants in one segment with the code: one mapping less in each of three processes.
        println!("cargo::rustc-link-arg-bins=-Wl,--no-rosegment");
    }
    println!("cargo::rerun-if-env-changed=HUSK_MUSL");
    let Some(library) = var("HUSK_MUSL").ok().filter(|library| !library.is_empty()) else {
        return;
    };
    if target != ["linux", "gnu", "x86_64"] {
        println!("cargo::error=HUSK_MUSL is for the target x86_64-unknown-linux-gnu alone");
    } else if !std::path::Path::new(&library).join("rcrt1.o").exists() {
        println!(
            "cargo::error=HUSK_MUSL ({library}): no musl there, which has rcrt1.o (Debian package musl-dev: /usr/lib/x86_64-linux-musl)"
        );
    } else {
        link_with_musl(&library);
    }
}

/// glibc asks the processor some seventy times what it is before `main`, each of them a
/// trap in a virtual machine: a tenth of a container's start. musl does not.
///
/// The standard library stays the one for glibc. Of what it and this program call, musl
/// has all with the same binary interface on x86_64 but for these names (docs/building-husk.md).
fn link_with_musl(library: &str) {
    let mut arguments = vec!["-nostartfiles".to_owned(), format!("-L{library}")];
    for object in ["rcrt1.o", "crti.o", "crtn.o"] {
        arguments.push(format!("{library}/{object}"));
    }
    // It protects nothing after its relocations in a static program: one segment less.
    arguments.push("-Wl,-z,norelro".to_owned());
    // musl relocates itself, and knows the packed form from 1.2.4 on only.
    arguments.push("-Wl,-z,nopack-relative-relocs".to_owned());
    arguments.push("-Wl,--defsym=gnu_get_libc_version=husk_glibc_version".to_owned());
    arguments.push("-Wl,--defsym=_dl_find_object=husk_no_object".to_owned());
    // On x86_64 the same as the calls without the suffix, whose names 1.2.4 has dropped.
    for call in ["fstat", "fstatat", "lseek", "lstat", "mmap", "open", "readdir", "stat"] {
        arguments.push(format!("-Wl,--defsym={call}64={call}"));
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
