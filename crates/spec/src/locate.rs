//! Where in a document a parser stopped: the path of the property, found by
//! reading the text again. Only documents that are wrong pay for it.

/// A step from the root of the document to here.
enum Place {
    /// In an object, before a key.
    Object,
    /// In an object, at the value of a key.
    Key(String),
    /// In an array, at an element.
    Index(usize),
}

/// Path of the value at a line and a column, both from 1, such as
/// `mounts[3].options`; empty for the document itself.
pub(crate) fn property_at(bytes: &[u8], line: usize, column: usize) -> String {
    let start = line_start(bytes, line);
    let end = start.saturating_add(column).min(bytes.len());
    let mut places: Vec<Place> = Vec::new();
    let mut at = 0;
    while at < end {
        match bytes[at] {
            b'{' => places.push(Place::Object),
            b'[' => places.push(Place::Index(0)),
            b'}' | b']' => drop(places.pop()),
            b',' => match places.last_mut() {
                Some(Place::Index(index)) => *index += 1,
                Some(place) => *place = Place::Object,
                None => {}
            },
            b'"' => {
                let close = string_end(bytes, at + 1);
                if let Some(place @ Place::Object) = places.last_mut() {
                    let key = bytes.get(at + 1..close).unwrap_or_default();
                    *place = Place::Key(String::from_utf8_lossy(key).into_owned());
                }
                at = close;
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for place in &places {
        match place {
            Place::Object => {}
            Place::Index(index) => path += &format!("[{index}]"),
            Place::Key(key) if path.is_empty() => path += key,
            Place::Key(key) => path += &format!(".{key}"),
        }
    }
    path
}

fn line_start(bytes: &[u8], line: usize) -> usize {
    let breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    match line.checked_sub(2) {
        None => 0,
        Some(skipped) => breaks.map(|(at, _)| at + 1).nth(skipped).unwrap_or(bytes.len()),
    }
}

/// Index of the quote that ends a string.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let text = b"{\"a\": [1, {\"b\\\"c\": 2}],\n \"d\": {\"e\": true}}";
        assert_eq!(property_at(text, 1, 8), "a[0]");
        assert_eq!(property_at(text, 1, 20), "a[1].b\\\"c");
        assert_eq!(property_at(text, 2, 14), "d.e");
        assert_eq!(property_at(text, 2, 17), "d");
        assert_eq!(property_at(text, 2, 18), "");
    }

    #[test]
    fn no_position_is_trusted() {
        for (line, column) in [(0, 0), (1, 0), (0, 9), (9, 9), (usize::MAX, usize::MAX)] {
            let _ = property_at(b"{\"a\": \"\\", line, column);
        }
    }
}
