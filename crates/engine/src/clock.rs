//! Times as Docker prints them.

use std::time::{SystemTime, UNIX_EPOCH};

use husk_image::compose::rfc3339;

/// Now, in seconds and nanoseconds since 1970.
pub fn now() -> (u64, u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs(), now.subsec_nanos())
}

/// Now, RFC 3339 in UTC.
pub fn timestamp() -> String {
    let (seconds, nanoseconds) = now();
    rfc3339(seconds, nanoseconds)
}

/// Reads RFC 3339 in UTC or with an offset, as images and our own records have it;
/// seconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    // Days are counted from March, so that the leap day is a year's last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(seconds).ok()
}

/// A length of time in the words of Docker's listings.
pub fn human(seconds: u64) -> String {
    let some = |count: u64, unit: &str| match count {
        1 => format!("{} {unit}", if unit == "hour" { "About an" } else { "About a" }),
        _ => format!("{count} {unit}s"),
    };
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..=59 => format!("{seconds} seconds"),
        60..=3599 => some(seconds / 60, "minute"),
        3600..=172_799 => some(seconds / 3600, "hour"),
        172_800..=1_209_599 => format!("{} days", seconds / 86_400),
        1_209_600..=5_183_999 => format!("{} weeks", seconds / 604_800),
        5_184_000..=63_071_999 => format!("{} months", seconds / 2_592_000),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for seconds in [0, 951_782_400, 1_700_000_000, 4_102_444_800] {
            assert_eq!(parse(&rfc3339(seconds, 5)), Some(seconds));
        }
        assert_eq!(parse("2024-02-29T12:00:00+02:00"), parse("2024-02-29T10:00:00Z"));
        assert_eq!(parse("2024-02-29"), None);
        assert_eq!(parse("2024-13-01T00:00:00Z"), None);
    }

    #[test]
    fn words() {
        assert_eq!(human(1), "1 second");
        assert_eq!(human(75), "About a minute");
        assert_eq!(human(3700), "About an hour");
        assert_eq!(human(172_800), "2 days");
    }
}
