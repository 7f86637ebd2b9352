//! `config --format json` of the current directory, for trying things.
#![allow(clippy::print_stdout, clippy::print_stderr)]

fn main() {
    let caller = husk_compose::Caller {
        environment: std::env::vars().collect(),
        current: std::env::current_dir().unwrap_or_default(),
    };
    let files: Vec<String> = std::env::args().skip(1).collect();
    match husk_compose::config_json(&caller, &files, &[], &[]) {
        Ok(json) => println!("{json:#}"),
        Err(problem) => {
            eprintln!("{problem}");
            std::process::exit(1);
        }
    }
}
