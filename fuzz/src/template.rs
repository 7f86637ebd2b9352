//! What must hold of any text given as `--format`.

use serde_json::{Value, json};

use super::template::Template;

/// Most of what a template of some kilobytes can make of the values below.
const MOST_TEXT: usize = 1 << 20;

/// Whether the bytes are a template that can be filled in.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(template) = Template::parse(text) else { return false };
    // Whoever writes nested loops may wait for them: their number is bounded here.
    if text.len() > 1024 || text.matches("range").count() > 4 {
        return false;
    }
    let text_has_escape = text.contains(['\u{1b}', '\\']);
    let filled = [values(), Value::Null].map(|value| match template.fill(&value, true) {
        Ok(text) => {
            assert!(text.len() <= MOST_TEXT, "{} bytes of text", text.len());
            // The values' escape; the template may have one of its own, or write one.
            assert!(text_has_escape || !text.contains('\u{1b}'), "{text:?}");
            true
        }
        Err(_) => false,
    });
    filled.contains(&true)
}

fn values() -> Value {
    json!({
        "Name": "web\u{1b}[2J", "Size": 4096, "Running": true,
        "State": { "Status": "running", "Pid": -1 },
        "Ports": ["80/tcp", "53/udp"],
        "Labels": { "a": "b", "c d": "" },
    })
}
