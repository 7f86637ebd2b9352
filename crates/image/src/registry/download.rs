//! Plain files over HTTP, for `ADD` of a URL and a Dockerfile at one.

use std::io::{Read, Write};

use ureq::http::Method;

use super::http::{Content, Http, TimeLimits};
use crate::document::MAX_BLOB;

/// Writes what a URL gives to `out`; gives its Last-Modified in seconds since the epoch. A
/// redirect from TLS to plain HTTP is refused.
///
/// # Errors
/// One line, without the URL.
pub(crate) fn download(
    url: &str,
    out: &mut dyn Write,
    limits: TimeLimits,
) -> Result<Option<i64>, String> {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    let url = url.split('#').next().unwrap_or(url);
    let in_words = |error: super::RegistryError| {
        let text = error.to_string();
        text.strip_prefix("registry ").unwrap_or(&text).to_owned()
    };
    let answer = Http::new(host, false, limits)
        .send(&Method::GET, url, &[], Content::None)
        .map_err(in_words)?;
    if !answer.status.is_success() {
        return Err(format!("{host}: status {}", answer.status));
    }
    let modified = answer.header("last-modified").and_then(http_date);
    let body = answer.body.into_with_config().limit(u64::MAX).reader();
    let copied = std::io::copy(&mut body.take(MAX_BLOB + 1), out);
    match copied.map_err(|error| format!("{host}: {error}"))? > MAX_BLOB {
        true => Err(format!("over the limit of {MAX_BLOB} bytes")),
        false => Ok(modified),
    }
}

/// A date of HTTP's (RFC 9110, IMF-fixdate): `Mon, 03 Feb 2020 04:05:06 GMT`.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|known| *known == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next() != Some("GMT") {
        return None;
    }
    // Days are counted from 0000-03-01, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        assert_eq!(http_date("Mon, 03 Feb 2020 04:05:06 GMT"), Some(1_580_702_706));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:34:56 GMT"), Some(1_709_210_096));
        for bad in ["", "now", "Mon, 03 Feb 2020", "Mon, 03 Foo 2020 04:05:06 GMT"] {
            assert_eq!(http_date(bad), None, "{bad}");
        }
    }
}
