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

/// A file's time, RFC 3339 in UTC.
pub fn timestamp_of(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
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

/// Local time as Docker's listings have it, `2006-01-02 15:04:05 -0700 MST`, of RFC 3339; as it
/// is where it is no time.
pub fn local(text: &str) -> String {
    let zoned = parse(text).and_then(|utc| {
        let (offset, name) = husk_sys::local_time::zone(i64::try_from(utc).ok()?)?;
        Some((utc.checked_add_signed(offset)?, offset, name))
    });
    let Some((seconds, offset, name)) = zoned else { return text.to_owned() };
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
    let clock = rfc3339(seconds, 0).replace('T', " ");
    let clock = clock.get(..19).unwrap_or_default();
    format!("{clock} {sign}{:02}{:02} {name}", minutes / 60, minutes % 60)
}

/// Local time in RFC 3339 with nine digits of a fraction.
pub fn local_rfc3339((seconds, nanoseconds): Instant) -> String {
    let zone = i64::try_from(seconds).ok().and_then(husk_sys::local_time::zone);
    let offset = zone.map_or(0, |(offset, _)| offset);
    let local = rfc3339(seconds.saturating_add_signed(offset), 0);
    let clock = local.get(..19).unwrap_or_default();
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
    let zone = match minutes {
        0 => "Z".to_owned(),
        _ => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    };
    format!("{clock}.{nanoseconds:09}{zone}")
}

/// Seconds and nanoseconds since 1970.
pub type Instant = (u64, u32);

/// How long it is until then; nothing where that is over.
pub fn until(instant: Instant) -> std::time::Duration {
    let since_1970 = |(seconds, nanoseconds)| std::time::Duration::new(seconds, nanoseconds);
    since_1970(instant).saturating_sub(since_1970(now()))
}

/// RFC 3339, with its fraction.
pub fn instant(text: &str) -> Option<Instant> {
    let seconds = parse(text)?;
    let rest = text.get(19..).unwrap_or_default();
    Some((seconds, fraction(rest.strip_prefix('.').unwrap_or_default())))
}

/// Nanoseconds of the digits after a point.
fn fraction(digits: &str) -> u32 {
    let digits: String = digits.chars().take_while(char::is_ascii_digit).take(9).collect();
    format!("{digits:0<9}").parse().unwrap_or(0)
}

/// Seconds since 1970 in digits, with or without a fraction.
pub fn seconds(text: &str) -> Option<Instant> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = !whole.is_empty() && digits(whole) && digits(part);
    fits.then(|| whole.parse().ok()).flatten().map(|whole| (whole, fraction(part)))
}

/// A length of time as Go writes it, `1h30m`, `90s` or `500ms`, before now.
pub fn ago(text: &str) -> Option<Instant> {
    let mut milliseconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, more) = rest.split_at(end);
        let end = more.find(|c: char| c.is_ascii_digit()).unwrap_or(more.len());
        let (unit, more) = more.split_at(end);
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return None,
        };
        milliseconds += number.parse::<f64>().ok()? * factor;
        rest = more;
    }
    if text.is_empty() {
        return None;
    }
    let (whole, nanoseconds) = now();
    let now = whole as f64 * 1000.0 + f64::from(nanoseconds / 1_000_000);
    let then = (now - milliseconds).max(0.0);
    Some(((then / 1000.0) as u64, (then % 1000.0) as u32 * 1_000_000))
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
    fn times_of_logs() {
        assert_eq!(instant("1970-01-01T00:00:10.05Z"), Some((10, 50_000_000)));
        assert_eq!(instant("1970-01-01T00:00:10Z"), Some((10, 0)));
        assert_eq!(seconds("12.25"), Some((12, 250_000_000)));
        assert_eq!(seconds("-1"), None);
        let then = ago("1h0.5m").unwrap();
        assert!((3629..=3631).contains(&(now().0 - then.0)), "{then:?}");
        for bad in ["", "5", "m", "1d", "1h30", "x1h", "1..2s"] {
            assert_eq!(ago(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(human(1), "1 second");
        assert_eq!(human(75), "About a minute");
        assert_eq!(human(3700), "About an hour");
        assert_eq!(human(172_800), "2 days");
    }
}
