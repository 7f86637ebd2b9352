//! Text as a template of `--format`.
#![no_main]

#[path = "../src/template.rs"]
mod check;
// The program has no library; its templates are a module without other parts of it.
#[path = "../../crates/cli/src/template/mod.rs"]
#[allow(dead_code, reason = "the program uses more of it")]
mod template;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    check::check(data);
});
