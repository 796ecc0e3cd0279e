//! Numbers as people read them: three digits and a unit, thousands apart. The terminal and the page share it.
//!
//! What is not a finite number, or is negative where that cannot be, is shown as [`NONE`], never as `NaN`.

/// What stands where there is no figure.
pub const NONE: &str = "-";

/// A time, given in microseconds: three digits and a unit, from `0.00 µs` to `12,345 s`.
pub fn time(microseconds: f64) -> String {
    if !microseconds.is_finite() || microseconds < 0.0 {
        return NONE.into();
    }
    let (value, unit) = match microseconds {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A time, given in seconds: as [`time`].
pub fn seconds(seconds: f64) -> String {
    time(seconds * 1e6)
}

/// A whole number, its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, given a second: `12,345/s`, and `12.3/s` where whole numbers would hide something.
pub fn rate(per_second: f64) -> String {
    match number(per_second).as_str() {
        NONE => NONE.into(),
        text => format!("{text}/s"),
    }
}

/// A number: at least three digits where it has them, thousands apart; `0.00123` is `0.00123`.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    if value > 0.0 && value < 0.1 {
        return format!("{sign}{}", trimmed(&format!("{value:.5}")));
    }
    format!("{sign}{}", trimmed(&three_digits(value)))
}

/// A share from 0 to 1 in percent. Nothing but nothing is `0 %`, and nothing but all of it `100 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        value if !value.is_finite() || value < 0.0 => NONE.into(),
        0.0 => "0 %".into(),
        value if value < 0.005 => "<0.01 %".into(),
        value if value < 9.995 => format!("{value:.2} %"),
        value if value < 99.95 => format!("{value:.1} %"),
        value if value < 99.995 => format!("{value:.2} %"),
        value if value < 100.0 => ">99.99 %".into(),
        value => format!("{value:.0} %"),
    }
}

/// Octets in decimal units: `1.23 MB`.
pub fn octets(octets: f64) -> String {
    if !octets.is_finite() || octets < 0.0 {
        return NONE.into();
    }
    let (value, unit) = match octets {
        o if o < 999.5 => return format!("{o:.0} B"),
        o if o < 999.5e3 => (o / 1e3, "kB"),
        o if o < 999.5e6 => (o / 1e6, "MB"),
        o => (o / 1e9, "GB"),
    };
    format!("{} {unit}", three_digits(value))
}

/// `one` where the number is 1, else `many`.
pub fn plural<'a>(number: u64, one: &'a str, many: &'a str) -> &'a str {
    if number == 1 { one } else { many }
}

/// Three digits, or all that stand before the point.
fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v if v < 1e18 => count(v.round() as u64),
        v => format!("{v:.2e}"),
    }
}

/// Without the zeros that end a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (microseconds, text) in [
            (0.0, "0.00 µs"),
            (1.234, "1.23 µs"),
            (12.345, "12.3 µs"),
            (999.499, "999 µs"),
            (999.999, "1.00 ms"),
            (99_960.0, "100 ms"),
            (1_500_000.0, "1.50 s"),
            (12_345_000_000.0, "12,345 s"),
        ] {
            assert_eq!(time(microseconds), text);
        }
    }

    #[test]
    fn nothing_but_all_is_a_hundred_percent_and_nothing_but_nothing_is_zero() {
        for (share, text) in [
            (0.0, "0 %"),
            (1e-9, "<0.01 %"),
            (0.0123, "1.23 %"),
            (0.5, "50.0 %"),
            (0.999_6, "99.96 %"),
            (0.999_999_9, ">99.99 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn numbers_keep_what_matters_and_lose_what_does_not() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (2.0, "2"),
            (2.5, "2.5"),
            (-12.34, "-12.3"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!((count(1), count(1_000), count(123_456)), ("1".into(), "1,000".into(), "123,456".into()));
        assert_eq!(octets(12_345_678.0), "12.3 MB");
    }

    #[test]
    fn what_is_no_number_is_never_written_as_one() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for text in
                [time(value), seconds(value), rate(value), number(value), percent(value), octets(value)]
            {
                assert_eq!(text, NONE);
            }
        }
    }
}
