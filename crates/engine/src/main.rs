//! The program `husk`; everything is in the library.

fn main() -> std::process::ExitCode {
    husk_engine::cli::main()
}
