//! The fuzz target `template`, bounded and repeatable.

#[path = "../../../fuzz/src/template.rs"]
mod check;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

use crate::template;

#[test]
fn any_template_is_filled_or_refused() {
    smoke::smoke("template", 3000, check::check);
}
