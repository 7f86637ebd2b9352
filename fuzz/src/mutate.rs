//! A bounded, repeatable stand-in for the fuzzer.

/// `seed` with a few changes, most of which leave it JSON. `random` gives
/// numbers; equal numbers give equal bytes.
pub(crate) fn mutate(seed: &[u8], words: &[Vec<u8>], mut random: impl FnMut() -> u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random() % 4 {
        if bytes.is_empty() {
            break;
        }
        let at = (random() % bytes.len() as u64) as usize;
        let word = words[(random() % words.len() as u64) as usize].as_slice();
        match random() % 24 {
            0 => bytes[at] = random() as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..bytes.len().min(at + 8))),
            3 => drop(bytes.splice(at..at, word.iter().copied())),
            // A whole token becomes another, most often of its kind.
            _ => {
                let token = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let start = bytes[..at].iter().rposition(|byte| !token(byte)).map_or(0, |n| n + 1);
                let length = bytes[start..].iter().take_while(|byte| token(byte)).count();
                let old = kind(&bytes[start..start + length]);
                let alike = |word: &&Vec<u8>| old.is_some() && kind(word) == old;
                let alike: Vec<&Vec<u8>> = words.iter().filter(alike).collect();
                let word = match alike.len() as u64 {
                    0 if !random().is_multiple_of(4) => continue,
                    0 => word,
                    count => alike[(random() % count) as usize],
                };
                drop(bytes.splice(start..start + length, word.iter().copied()));
            }
        }
    }
    bytes
}

/// Numbers are alike, and names that begin alike.
fn kind(token: &[u8]) -> Option<&[u8]> {
    match token {
        [b'0'..=b'9', ..] => Some(b"0"),
        [b'S', ..] => token.get(..8),
        _ => None,
    }
}
