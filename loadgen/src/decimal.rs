//! Decimal fractions as exact whole numbers: what weights, durations and shares on the command line are read by.

/// Reads `12`, `0.5` or `2.25` in units of 10 to the power of minus `places`: `2.25` is 2250 with three places. None if
/// it is no such number, has more places than that, or is too large. At most 19 places.
pub(crate) fn decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction.as_bytes()),
        None => (text, &b"0"[..]),
    };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let fraction = match fraction.iter().rposition(|digit| *digit != b'0') {
        _ if !digits(whole.as_bytes()) || !digits(fraction) => return None,
        Some(last) => &fraction[..=last],
        None => &[],
    };
    let mut value = whole.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(places)?)?;
    let mut unit = 10_u64.checked_pow(places)?;
    for digit in fraction {
        if unit < 10 {
            return None;
        }
        unit /= 10;
        value = value.checked_add(u64::from(digit - b'0') * unit)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_fractions_are_read_exactly() {
        for (text, places, value) in [
            ("12", 0, 12),
            ("12.0", 0, 12),
            ("0.1", 3, 100),
            ("2.25", 3, 2_250),
            ("2.2500000", 3, 2_250),
            ("007.5", 1, 75),
            ("18446744073709551615", 0, u64::MAX),
        ] {
            assert_eq!(decimal(text, places), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_does_not_fit_is_none() {
        let bad = ["", ".", ".5", "5.", "-1", "+1", "1e3", "1.2.3", " 1", "0x1", "৩", "0.0001", "1.,"];
        for text in bad {
            assert_eq!(decimal(text, 3), None, "{text}");
        }
        assert_eq!(decimal("18446744073709551615", 1), None);
        assert_eq!(decimal("18446744073709551616", 0), None);
        assert_eq!(decimal("18446744073709551615.9", 0), None);
    }
}
