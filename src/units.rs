//! Sizes and durations as people write them: `50MiB`, `30s`. The one place that reads them, and their way back.
//!
//! Whole numbers only. What [`size_text`] and [`duration_text`] write, [`size`] and [`duration`] read as the same value.

use std::fmt;
use std::time::Duration;

/// Units of size and their octets. Those that [`size_text`] may write come first, the largest in front.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of duration and their milliseconds, the largest in front.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a size in octets: `50MiB`, `64KiB`, `1GiB`, decimal `10kB`, `10MB`, `1GB`, or a bare number of octets. Upper
/// and lower case are the same. The error is a sentence for people.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let octets = match unit {
        "" => Some(1),
        _ => unit_of(&SIZE_UNITS, |name| name.eq_ignore_ascii_case(unit)),
    };
    let Some(octets) = octets.filter(|_| is_number(number)) else {
        return Err(format!("'{text}' is not a size, like 50MiB, 64KiB or 1000 (octets)"));
    };
    product(number, octets)
        .ok_or_else(|| format!("'{text}' is too large a size, the largest is below 16777216TiB"))
}

/// Reads a duration: `500ms`, `30s`, `5m`, `1h`, `2d`, or a bare number of seconds. The error is a sentence for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "" => Some(1_000),
        _ => unit_of(&DURATION_UNITS, |name| name == unit),
    };
    let Some(milliseconds) = milliseconds.filter(|_| is_number(number)) else {
        return Err(format!("'{text}' is not a duration, like 30s, 500ms, 5m or 1h"));
    };
    let total = product(number, milliseconds).filter(|total| *total <= DURATION_MAX_MS);
    total
        .map(Duration::from_millis)
        .ok_or_else(|| format!("'{text}' is too long a duration, the longest is 36500d"))
}

/// A hundred years: a deadline that far away is none, and adding it to a clock cannot overflow.
const DURATION_MAX_MS: u64 = 36_500 * 86_400_000;

/// A size as [`size`] reads it, in the largest binary unit that says it exactly.
pub fn size_text(octets: u64) -> impl fmt::Display {
    exact(octets, &SIZE_UNITS[..4], "")
}

/// A duration as [`duration`] reads it, in the largest unit that says it exactly; what is less than a millisecond is
/// left out.
pub fn duration_text(duration: Duration) -> impl fmt::Display {
    exact(duration.as_millis().try_into().unwrap_or(u64::MAX), &DURATION_UNITS, "ms")
}

/// A whole number and its unit.
struct Quantity {
    number: u64,
    unit: &'static str,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit)
    }
}

/// `value` in the first of `units` that divides it, else as it is with `smallest`; zero has no unit.
fn exact(value: u64, units: &[(&'static str, u64)], smallest: &'static str) -> Quantity {
    if value == 0 {
        return Quantity { number: 0, unit: "" };
    }
    match units.iter().find(|(_, factor)| value % factor == 0) {
        Some((unit, factor)) => Quantity { number: value / factor, unit },
        None => Quantity { number: value, unit: smallest },
    }
}

/// Digits and what follows them, a space between allowed.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty()
}

fn unit_of(units: &[(&str, u64)], is_it: impl Fn(&str) -> bool) -> Option<u64> {
    units.iter().find(|(name, _)| is_it(name)).map(|(_, factor)| *factor)
}

/// Digits times a factor, unless it overflows.
fn product(digits: &str, factor: u64) -> Option<u64> {
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        let cases = [
            ("0", 0),
            ("1000", 1000),
            ("12B", 12),
            ("64KiB", 65_536),
            ("50MiB", 52_428_800),
            ("50mib", 52_428_800),
            ("1 GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("3MB", 3_000_000),
            ("1GB", 1_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, octets) in cases {
            assert_eq!(size(text), Ok(octets), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_size_and_the_sentence_shows_it() {
        for text in ["", "MiB", "-1", "1.5MiB", "50M", "50 MiB x", "1e6", "+3", "0x10", "৩"] {
            let error = size(text).expect_err(text);
            assert!(error.starts_with(&format!("'{text}' is not a size")), "{error}");
        }
        for text in ["18446744073709551616", "16777216TiB", "99999999999999999999GB"] {
            assert!(size(text).expect_err(text).contains("too large"), "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_every_unit_and_bare_ones_are_seconds() {
        let cases = [
            ("0", 0),
            ("7", 7_000),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("36500d", DURATION_MAX_MS),
        ];
        for (text, ms) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_duration_and_the_sentence_shows_it() {
        for text in ["", "s", "-1s", "1.5s", "5 minutes", "1h30m", "5M"] {
            let error = duration(text).expect_err(text);
            assert!(error.starts_with(&format!("'{text}' is not a duration")), "{error}");
        }
        for text in ["36501d", "18446744073709551615h", "99999999999999999999"] {
            assert!(duration(text).expect_err(text).contains("too long"), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for octets in [0, 1, 1000, 1024, 1025, 50 << 20, 3 << 30, 1 << 40, u64::MAX] {
            assert_eq!(size(&size_text(octets).to_string()), Ok(octets));
        }
        for ms in [0, 1, 500, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, DURATION_MAX_MS] {
            let duration_of = Duration::from_millis(ms);
            assert_eq!(duration(&duration_text(duration_of).to_string()), Ok(duration_of));
        }
    }

    #[test]
    fn the_largest_exact_unit_is_written() {
        assert_eq!(size_text(50 << 20).to_string(), "50MiB");
        assert_eq!(size_text(1000).to_string(), "1000");
        assert_eq!(duration_text(Duration::from_secs(300)).to_string(), "5m");
        assert_eq!(duration_text(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(duration_text(Duration::from_micros(1_500)).to_string(), "1ms");
    }
}
