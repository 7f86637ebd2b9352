//! `husk-oci`, an OCI runtime.

/// A start is short: what it takes is not worth to be sorted.
#[global_allocator]
static ARENA: husk_sys::arena::Arena = husk_sys::arena::Arena::new();

fn main() -> std::process::ExitCode {
    husk_runtime::cli::main()
}
