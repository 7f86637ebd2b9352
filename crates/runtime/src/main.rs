//! `husk-oci`, an OCI runtime.

fn main() -> std::process::ExitCode {
    husk_runtime::cli::main()
}
