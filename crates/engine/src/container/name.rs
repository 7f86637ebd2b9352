//! Ids and names of containers.

use crate::error::{Error, Result, file};

const LEFT: [&str; 32] = [
    "amber", "brisk", "calm", "clever", "copper", "crisp", "dapper", "eager", "early", "fleet",
    "gentle", "golden", "happy", "hardy", "keen", "kind", "lively", "lucid", "mellow", "nimble",
    "patient", "plucky", "polite", "quick", "quiet", "silver", "steady", "sunny", "swift", "tidy",
    "warm", "witty",
];
const RIGHT: [&str; 32] = [
    "acorn", "alder", "almond", "barley", "beech", "birch", "bramble", "cedar", "chestnut",
    "clover", "corn", "elder", "fennel", "fern", "hazel", "heather", "ivy", "juniper", "larch",
    "laurel", "linden", "maple", "millet", "nettle", "oat", "pine", "reed", "rowan", "rye",
    "sorrel", "thyme", "willow",
];

/// 64 random hexadecimal digits, as Docker's ids.
///
/// # Errors
/// The errno of getrandom(2).
pub fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name of two words; with a number from the second attempt on.
///
/// # Errors
/// The errno of getrandom(2).
pub fn generated(attempt: u32) -> Result<String> {
    let mut bytes = [0u8; 4];
    random(&mut bytes)?;
    let [left, right, high, low] = bytes.map(usize::from);
    let name = format!("{}_{}", LEFT[left % LEFT.len()], RIGHT[right % RIGHT.len()]);
    Ok(if attempt == 0 { name } else { format!("{name}{}", high * 256 + low) })
}

fn random(bytes: &mut [u8]) -> Result<()> {
    // Up to 256 bytes come at once (getrandom(2)).
    rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
        .map(drop)
        .map_err(file("read", "getrandom"))
}

/// A name as Docker allows them; it becomes a file's name and a host's. `kind` is what has it:
/// `container` or `volume`.
///
/// # Errors
/// What it must be like.
pub fn validate(kind: &str, name: &str) -> Result<()> {
    let mut chars = name.chars();
    let fits = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && (2..=128).contains(&name.len());
    if fits {
        return Ok(());
    }
    let problem =
        "must begin with a letter or digit, then letters, digits, '_', '.' or '-', 2 to 128 in all";
    Err(Error::other(format_args!("{kind} name {name:?}: {problem}")))
}

/// The first 12 digits of an id.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ab", "web-1", "A_b.c"] {
            validate("container", good).unwrap();
        }
        for bad in ["", "a", "-ab", "a/b", "..", "a b", &"x".repeat(129)] {
            let error = validate("volume", bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("volume name {bad:?}: must begin")), "{error}");
        }
        validate("container", &generated(0).unwrap()).unwrap();
        validate("container", &generated(1).unwrap()).unwrap();
        assert_eq!(new_id().unwrap().len(), 64);
    }
}
