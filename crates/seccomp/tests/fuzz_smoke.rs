//! The fuzz target `seccomp`, bounded and repeatable.

mod support;

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/seccomp.rs"]
mod seccomp;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

use support::machine;

#[test]
fn any_profile_gives_a_sound_program_or_an_error() {
    smoke::smoke("seccomp", 4000, seccomp::check);
}
