//! One 512-byte tar header: fields, numbers and checksum (POSIX.1 pax "ustar
//! Interchange Format", and the GNU and star extensions that layers in the wild use).

/// Bytes of a tar block.
pub(crate) const BLOCK: usize = 512;

/// A header block whose checksum was right.
pub(crate) struct Header<'a>(&'a [u8; BLOCK]);

/// A field that is not what tar allows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// The checksum is wrong: not a tar, or a corrupt one.
    #[error("header checksum is wrong (not a tar archive, or a corrupt one)")]
    Checksum,
    /// A number with a character that is no octal digit, or out of range.
    #[error("header field {0} is not a number in range")]
    Number(&'static str),
}

impl<'a> Header<'a> {
    /// Checks `block`; `Ok(None)` for a block of zeros.
    pub(crate) fn parse(block: &'a [u8; BLOCK]) -> Result<Option<Header<'a>>, HeaderError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header(block);
        let stored = header.number("chksum", 148, 8)?;
        // The sum is taken with the field itself as blanks. Some old programs summed
        // signed bytes; POSIX asks readers to take either.
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if stored != unsigned && stored != signed {
            return Err(HeaderError::Checksum);
        }
        Ok(Some(header))
    }

    pub(crate) fn bytes(&self, start: usize, length: usize) -> &'a [u8] {
        self.0.get(start..start + length).unwrap_or_default()
    }

    /// A NUL-terminated or full field.
    fn text(&self, start: usize, length: usize) -> &'a [u8] {
        let field = self.bytes(start, length);
        field.split(|byte| *byte == 0).next().unwrap_or(field)
    }

    pub(crate) fn number(
        &self,
        name: &'static str,
        start: usize,
        length: usize,
    ) -> Result<i64, HeaderError> {
        number(self.bytes(start, length)).ok_or(HeaderError::Number(name))
    }

    pub(crate) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// The name, with ustar's prefix where the format has one.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let posix = self.bytes(257, 6) == b"ustar\0";
        // star keeps times in the last 24 bytes of the prefix and says so at its end.
        let star = posix && self.bytes(508, 4) == b"tar\0";
        let prefix = match (posix, star) {
            (true, false) => self.text(345, 155),
            (true, true) => self.text(345, 131),
            (false, _) => b"",
        };
        match prefix {
            b"" => name.to_vec(),
            prefix => [prefix, name].join(&b'/'),
        }
    }

    pub(crate) fn link_name(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }
}

/// Octal text padded by blanks and NULs, or GNU's base-256 with the top bit set.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            let byte = match (index, negative) {
                (0, false) => byte & 0x7f,
                _ => *byte,
            };
            value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
        }
        return Some(value);
    }
    let digits = field.split(|byte| *byte == 0).next().unwrap_or(field).trim_ascii();
    if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    digits
        .iter()
        .try_fold(0_i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"    644 "), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777777"), Some(0o77_777_777_777));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]), Some(65536));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
        for bad in [&b"12x"[..], b"8", b"-1", b"0x10", &[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!(number(b""), None);
    }

    #[test]
    fn a_wrong_checksum_is_refused_and_zeros_end() {
        assert!(Header::parse(&[0; BLOCK]).unwrap().is_none());
        let mut block = [0; BLOCK];
        block[0] = b'a';
        assert_eq!(Header::parse(&block).err(), Some(HeaderError::Checksum));
        block[148..156].copy_from_slice(b"zzzzzzzz");
        assert_eq!(Header::parse(&block).err(), Some(HeaderError::Number("chksum")));
    }
}
