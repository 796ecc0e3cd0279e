//! A number that is drawn for each message, such as its size: fixed, from a range, or one of weighted alternatives.
//!
//! ```text
//!   distribution = value-or-range | weight ":" value-or-range *("," weight ":" value-or-range)
//!   value-or-range = value [".." value]          both ends are in the range, each number as likely as the other
//!   weight = number ["%"]                        with % they come to 100
//! ```
//!
//! What a value is (`4KiB`, `3`) and which are allowed is its parser's to say.

use std::fmt;

use fastrand::Rng;

use crate::decimal::decimal;

/// How a number is drawn. Never empty; its weights are all above 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    text: String,
    alternatives: Vec<Alternative>,
}

/// A range, and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alternative {
    /// The weights up to this one, added up: of the last it is the whole.
    until: u64,
    least: u64,
    /// At least `least`.
    most: u64,
}

impl Distribution {
    /// Always `value`, which is written as `text`.
    pub fn fixed(value: u64, text: impl Into<String>) -> Distribution {
        let alternatives = vec![Alternative { until: 1, least: value, most: value }];
        Distribution { text: text.into(), alternatives }
    }

    /// Reads one, its values by `value`. The error is a sentence for people, which names the part that is wrong.
    pub fn parse(text: &str, value: impl Fn(&str) -> Result<u64, String>) -> Result<Distribution, String> {
        let parts: Vec<Part<'_>> = text.split(',').map(Part::of).collect();
        check_weights(text, &parts)?;
        let (mut until, mut alternatives) = (0, Vec::with_capacity(parts.len()));
        for part in parts {
            let (least, most) = range(part.range, &value)?;
            // Cannot overflow: both the weights and their number are bounded.
            until += part.weight()?;
            alternatives.push(Alternative { until, least, most });
        }
        check_shares(text, until)?;
        Ok(Distribution { text: text.to_owned(), alternatives })
    }

    /// A number, by chance. A fixed one takes nothing from `chance`.
    pub fn draw(&self, chance: &mut Rng) -> u64 {
        let Alternative { least, most, .. } = *self.pick(chance);
        if least == most { least } else { chance.u64(least..=most) }
    }

    fn pick(&self, chance: &mut Rng) -> &Alternative {
        let (last, others) = self.alternatives.split_last().expect("there is always one");
        if others.is_empty() {
            return last;
        }
        let at = chance.u64(0..last.until);
        others.iter().find(|alternative| at < alternative.until).unwrap_or(last)
    }

    /// The smallest number it can draw.
    pub fn min(&self) -> u64 {
        self.alternatives.iter().map(|alternative| alternative.least).min().unwrap_or(0)
    }

    /// The largest number it can draw.
    pub fn max(&self) -> u64 {
        self.alternatives.iter().map(|alternative| alternative.most).max().unwrap_or(0)
    }

    /// What it draws on average.
    pub fn mean(&self) -> f64 {
        let (mut sum, mut before) = (0.0, 0);
        for alternative in &self.alternatives {
            let middle = (alternative.least as f64 + alternative.most as f64) / 2.0;
            sum += (alternative.until - before) as f64 * middle;
            before = alternative.until;
        }
        sum / before as f64
    }

    /// The number, if it is always the same.
    pub fn fixed_value(&self) -> Option<u64> {
        let value = self.min();
        (value == self.max()).then_some(value)
    }
}

/// As it was given.
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a whole number, as a parser of values. The error is a sentence for people.
pub fn count(text: &str) -> Result<u64, String> {
    decimal(text, 0).ok_or_else(|| format!("'{text}' is not a whole number, like 3"))
}

/// An alternative as it is written.
struct Part<'a> {
    weight: Option<&'a str>,
    range: &'a str,
}

impl<'a> Part<'a> {
    fn of(text: &'a str) -> Part<'a> {
        match text.split_once(':') {
            Some((weight, range)) => Part { weight: Some(weight.trim()), range: range.trim() },
            None => Part { weight: None, range: text.trim() },
        }
    }

    /// In thousandths.
    fn weight(&self) -> Result<u64, String> {
        let Some(text) = self.weight else { return Ok(THOUSAND) };
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match decimal(number, 3) {
            Some(0) => Err(format!("the weight '{text}' is nothing: leave that alternative out")),
            Some(weight) if weight <= WEIGHT_MAX * THOUSAND => Ok(weight),
            Some(_) => Err(format!("the weight '{text}' is more than {WEIGHT_MAX}")),
            None => Err(format!("'{text}' is not a weight, like 70, 70% or 0.5% (three decimals at most)")),
        }
    }

    fn is_share(&self) -> bool {
        self.weight.is_some_and(|weight| weight.ends_with('%'))
    }
}

/// Several alternatives have a weight each, and these are all numbers or all shares.
fn check_weights(text: &str, parts: &[Part<'_>]) -> Result<(), String> {
    if parts.len() > ALTERNATIVES_MAX {
        return Err(format!("{} alternatives are more than {ALTERNATIVES_MAX}", parts.len()));
    }
    if let Some(part) = parts.iter().find(|part| part.range.is_empty()) {
        let weight = part.weight.map_or(String::new(), |weight| format!(" behind the weight '{weight}'"));
        return Err(format!("'{text}' has nothing{weight} where a value is expected"));
    }
    if parts.len() > 1
        && let Some(part) = parts.iter().find(|part| part.weight.is_none())
    {
        return Err(format!("'{0}' in '{text}' has no weight: write 1:{0}, or 25%:{0}", part.range));
    }
    let shares = parts.iter().filter(|part| part.is_share()).count();
    if shares != 0 && shares != parts.len() {
        return Err(format!("'{text}' has weights with and without %: write all of them alike"));
    }
    Ok(())
}

/// Shares come to the whole.
fn check_shares(text: &str, thousandths: u64) -> Result<(), String> {
    if text.contains('%') && thousandths != 100 * THOUSAND {
        let sum = thousandths as f64 / THOUSAND as f64;
        return Err(format!(
            "the shares in '{text}' come to {sum} %: make it 100 %, or leave the % out of all of them"
        ));
    }
    Ok(())
}

/// `value` or `least..most`.
fn range(text: &str, value: impl Fn(&str) -> Result<u64, String>) -> Result<(u64, u64), String> {
    let Some((from, to)) = text.split_once("..") else {
        let fixed = value(text)?;
        return Ok((fixed, fixed));
    };
    let (from, to) = (from.trim(), to.trim());
    if from.is_empty() || to.is_empty() {
        return Err(format!("the range '{text}' needs both its ends, like 1..10"));
    }
    let (least, most) = (value(from)?, value(to)?);
    if least > most {
        return Err(format!("the range '{text}' ends before it begins: write {to}..{from}"));
    }
    Ok((least, most))
}

/// In a weight's unit.
const THOUSAND: u64 = 1_000;

/// The largest weight: so many that no ratio is lacking, so few that their sum fits whatever their number.
const WEIGHT_MAX: u64 = 1_000_000_000;

/// Alternatives are looked through one by one for each message; a measured histogram has fewer.
const ALTERNATIVES_MAX: usize = 1_000;

const _: () = assert!(WEIGHT_MAX * THOUSAND <= u64::MAX / ALTERNATIVES_MAX as u64, "the weights' sum fits");

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use fastsmtp::units;
    use proptest::prelude::*;

    fn sizes(text: &str) -> Result<Distribution, String> {
        Distribution::parse(text, units::size)
    }

    fn drawn(text: &str, count: usize) -> Vec<u64> {
        let (distribution, mut chance) = (sizes(text).unwrap(), Rng::with_seed(7));
        (0..count).map(|_| distribution.draw(&mut chance)).collect()
    }

    #[test]
    fn a_fixed_value_is_always_drawn() {
        let fixed = sizes("1KiB").unwrap();
        assert!(drawn("1KiB", 100).iter().all(|value| *value == 1024));
        assert_eq!(
            (fixed.min(), fixed.max(), fixed.mean(), fixed.fixed_value()),
            (1024, 1024, 1024.0, Some(1024))
        );
        assert_eq!(drawn("70:3", 1), [3], "one weighted alternative is a fixed value");
    }

    #[test]
    fn both_ends_of_a_range_are_drawn_and_nothing_beyond() {
        let values = drawn("3..5", 1_000);
        for value in 3..=5 {
            let count = values.iter().filter(|drawn| **drawn == value).count();
            assert!((250..420).contains(&count), "{value}: {count}");
        }
        assert_eq!(sizes("1KiB..3KiB").unwrap().mean(), 2048.0);
        assert_eq!(drawn("0..18446744073709551615", 10).len(), 10, "the whole range");
    }

    #[test]
    fn alternatives_are_drawn_by_their_weights() {
        for text in ["70:4KiB,25:16KiB..64KiB,5:1MiB", "70%:4KiB, 25%:16KiB..64KiB, 5%: 1 MiB"] {
            let values = drawn(text, 10_000);
            let small = values.iter().filter(|value| **value == 4096).count();
            let large = values.iter().filter(|value| **value == 1 << 20).count();
            assert!((6_800..7_200).contains(&small), "{text}: {small}");
            assert!((400..600).contains(&large), "{text}: {large}");
            let distribution = sizes(text).unwrap();
            assert_eq!(distribution.max(), 1 << 20);
            assert_eq!(distribution.mean(), 0.7 * 4096.0 + 0.25 * 40_960.0 + 0.05 * 1_048_576.0);
            assert_eq!(distribution.to_string(), text);
        }
    }

    #[test]
    fn rare_alternatives_may_have_decimals() {
        let large = drawn("99.9%:1,0.1%:2", 100_000).iter().filter(|value| **value == 2).count();
        assert!((60..140).contains(&large), "{large}");
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(drawn("1:5..500,2:7", 100), drawn("1:5..500,2:7", 100));
    }

    #[test]
    fn an_error_names_the_part_and_the_mend() {
        for (text, error) in [
            ("", "'' has nothing where a value is expected"),
            ("  ", "'  ' has nothing where a value is expected"),
            ("1:4KiB,", "'1:4KiB,' has nothing where a value is expected"),
            ("70:,5:1", "'70:,5:1' has nothing behind the weight '70' where a value is expected"),
            ("4KiBB", "'4KiBB' is not a size, like 50MiB, 64KiB or 1000 (octets)"),
            ("16777216TiB", "'16777216TiB' is too large a size, the largest is below 16777216TiB"),
            ("5..2", "the range '5..2' ends before it begins: write 2..5"),
            ("5..", "the range '5..' needs both its ends, like 1..10"),
            ("..5", "the range '..5' needs both its ends, like 1..10"),
            ("4KiB,8KiB", "'4KiB' in '4KiB,8KiB' has no weight: write 1:4KiB, or 25%:4KiB"),
            ("0:4KiB,1:8KiB", "the weight '0' is nothing: leave that alternative out"),
            ("x:4KiB", "'x' is not a weight, like 70, 70% or 0.5% (three decimals at most)"),
            (":4KiB", "'' is not a weight, like 70, 70% or 0.5% (three decimals at most)"),
            ("-1:4KiB", "'-1' is not a weight, like 70, 70% or 0.5% (three decimals at most)"),
            ("99999999999:4KiB", "the weight '99999999999' is more than 1000000000"),
            ("70%:1,30:2", "'70%:1,30:2' has weights with and without %: write all of them alike"),
            (
                "70%:1,20.5%:2",
                "the shares in '70%:1,20.5%:2' come to 90.5 %: make it 100 %, or leave the % out of all of them",
            ),
        ] {
            assert_eq!(sizes(text).unwrap_err(), error, "{text}");
        }
        let many = vec!["1:1"; ALTERNATIVES_MAX + 1].join(",");
        assert_eq!(sizes(&many).unwrap_err(), "1001 alternatives are more than 1000");
    }

    #[test]
    fn counts_are_whole_numbers() {
        let counts = |text| Distribution::parse(text, count);
        assert_eq!(counts("90:1,10:2..50").map(|counts| (counts.min(), counts.max())), Ok((1, 50)));
        for text in ["1.5", "-1", "1KiB", "18446744073709551616"] {
            assert_eq!(counts(text).unwrap_err(), format!("'{text}' is not a whole number, like 3"));
        }
    }

    proptest! {
        #[test]
        fn what_is_drawn_lies_in_one_of_the_alternatives(
            parts in prop::collection::vec((1_u64..1_000_000, any::<u64>(), any::<u64>()), 1..8),
            seed: u64,
        ) {
            let ranges: Vec<_> = parts.iter().map(|(w, a, b)| (w, *a.min(b), *a.max(b))).collect();
            let text: Vec<String> = ranges.iter().map(|(w, a, b)| format!("{w}:{a}..{b}")).collect();
            let distribution = sizes(&text.join(",")).unwrap();
            let mut chance = Rng::with_seed(seed);
            for _ in 0..50 {
                let value = distribution.draw(&mut chance);
                prop_assert!(ranges.iter().any(|(_, a, b)| (*a..=*b).contains(&value)));
                prop_assert!((distribution.min()..=distribution.max()).contains(&value));
            }
            let (min, max) = (distribution.min() as f64, distribution.max() as f64);
            prop_assert!((min * 0.999..=max * 1.001).contains(&distribution.mean()));
        }

        #[test]
        fn no_text_is_too_strange_to_be_judged(text in "[0-9a-zA-Z:,.% -]{0,40}") {
            let _ = sizes(&text);
        }
    }
}
