//! An axis of a chart: from where to where it goes, where its ticks are, and where on it a value lies.

/// What an axis shows.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What and in which unit.
    pub label: String,
    /// How values are spaced.
    pub scale: Scale,
    /// A value as its tick says it.
    pub text: fn(f64) -> String,
}

/// How values are spaced on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, and from zero: a line that seems to halve has halved.
    Linear,
    /// By powers of ten. What is not above zero is not on it.
    Logarithmic,
    /// Shares from 0 to below 1, by the nines they have: 90 %, 99 % and 99.9 % are equally far apart.
    Nines,
}

/// Where an axis ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// At a tick.
    AtTick,
    /// With the data.
    AtData,
}

/// An axis that has found its range.
#[derive(Debug, Clone)]
pub struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values that have a line and a text, in ascending order.
    pub ticks: Vec<f64>,
}

impl Ruler {
    /// A ruler for these values, with at most about `ticks_max` ticks. Values that have no place on the axis are
    /// passed over; without any other it still is a ruler.
    pub fn new(scale: Scale, ends: Ends, ticks_max: usize, values: impl Iterator<Item = f64>) -> Ruler {
        let (low, high) = values
            .filter(|value| stretched(scale, *value).is_some())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let range = if low <= high { (low, high) } else { default_range(scale) };
        match scale {
            Scale::Linear => linear(ends, ticks_max, range.0.min(0.0), range.1),
            Scale::Logarithmic => logarithmic(ends, ticks_max, range.0, range.1),
            Scale::Nines => nines(range.1),
        }
    }

    /// Where a value lies, from 0 to 1; none if it is not on the axis.
    pub fn position(&self, value: f64) -> Option<f64> {
        let [low, high, value] = [self.low, self.high, value].map(|value| stretched(self.scale, value));
        let (low, high, value) = (low?, high?, value?);
        let position = (value - low) / (high - low);
        (-1e-9..=1.0 + 1e-9).contains(&position).then_some(position.clamp(0.0, 1.0))
    }
}

/// A value as a distance; none if it is not on the axis at all.
fn stretched(scale: Scale, value: f64) -> Option<f64> {
    match scale {
        Scale::Linear => (value.abs() < LARGEST).then_some(value),
        Scale::Logarithmic => (1.0 / LARGEST..LARGEST).contains(&value).then(|| value.log10()),
        Scale::Nines => (0.0..1.0).contains(&value).then(|| -(1.0 - value).log10()),
    }
}

fn default_range(scale: Scale) -> (f64, f64) {
    match scale {
        Scale::Linear => (0.0, 1.0),
        Scale::Logarithmic => (1.0, 10.0),
        Scale::Nines => (0.0, 0.9),
    }
}

fn linear(ends: Ends, ticks_max: usize, low: f64, high: f64) -> Ruler {
    let high = if high > low { high } else { low + 1.0 };
    let least = (high - low) / ticks_max.max(1) as f64;
    let step = steps_from(least.log10().floor() as i32).find(|step| *step >= least).unwrap_or(least);
    let end = |value: f64| (value / step - 1e-9).ceil() * step;
    let (low, high) = match ends {
        Ends::AtTick => (-end(-low), end(high)),
        Ends::AtData => (low, high),
    };
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    Ruler {
        scale: Scale::Linear,
        low,
        high,
        ticks: (first..=last).map(|number| number as f64 * step).collect(),
    }
}

fn logarithmic(ends: Ends, ticks_max: usize, low: f64, high: f64) -> Ruler {
    let decade = low.log10().floor() as i32;
    let below = steps_from(decade).take_while(|step| *step <= low * (1.0 + 1e-9)).last().unwrap_or(low);
    let above =
        steps_from(decade).find(|step| *step >= high * (1.0 - 1e-9) && *step > below).unwrap_or(high * 2.0);
    let (low, high) = match ends {
        Ends::AtTick => (below, above),
        Ends::AtData => (low / PADDING, high * PADDING),
    };
    let inside = |step: &f64| *step >= low * (1.0 - 1e-9) && *step <= high * (1.0 + 1e-9);
    let fine: Vec<f64> = steps_from(decade).take_while(|step| *step <= high * 1.001).filter(inside).collect();
    // Half as many again may stand there before decades alone are better.
    let ticks =
        if fine.len() <= ticks_max + ticks_max / 2 { fine } else { decades(decade, ticks_max, low, high) };
    Ruler { scale: Scale::Logarithmic, low, high, ticks }
}

/// Powers of ten within a range, or every second or third of them.
fn decades(first: i32, ticks_max: usize, low: f64, high: f64) -> Vec<f64> {
    let last = high.log10().floor() as i32;
    let every = ((last - first) as usize / ticks_max.max(1)) + 1;
    let powers = (first..=last).step_by(every).map(|power| 10_f64.powi(power));
    powers.filter(|power| *power >= low * (1.0 - 1e-9) && *power <= high * (1.0 + 1e-9)).collect()
}

fn nines(high: f64) -> Ruler {
    let high = high.max(0.9);
    let shares = (1..=NINES_MAX).map(|nines| 1.0 - 0.1_f64.powi(nines));
    let ticks = [0.0, 0.5].into_iter().chain(shares).filter(|share| *share <= high + 1e-12).collect();
    Ruler { scale: Scale::Nines, low: 0.0, high, ticks }
}

/// 1, 2 and 5 times each power of ten, from a power on and for as far as any axis goes.
fn steps_from(power: i32) -> impl Iterator<Item = f64> {
    (power..power + 70).flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)))
}

/// Beyond this a value is taken for a mistake, not for a figure.
const LARGEST: f64 = 1e30;

/// What a logarithmic axis leaves free at both ends, as a factor.
const PADDING: f64 = 1.08;

/// A share with more nines than this would need a run of years.
const NINES_MAX: i32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: Scale, low: f64, high: f64) -> Vec<f64> {
        Ruler::new(scale, Ends::AtTick, 6, [low, high].into_iter()).ticks
    }

    #[test]
    fn linear_ticks_are_round_and_begin_at_zero() {
        assert_eq!(ticks(Scale::Linear, 3.0, 97.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(Scale::Linear, 1_400.0, 1_500.0), [0.0, 500.0, 1_000.0, 1_500.0]);
        assert_eq!(ticks(Scale::Linear, 0.0, 0.0).len(), 6);
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten_or_one_two_five_where_that_is_few() {
        assert_eq!(ticks(Scale::Logarithmic, 300.0, 3_500.0), [200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]);
        assert_eq!(
            ticks(Scale::Logarithmic, 1.0, 99_999.0),
            [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]
        );
        assert!(ticks(Scale::Logarithmic, 1e-9, 1e20).len() <= 6);
        assert_eq!(ticks(Scale::Logarithmic, 10.0, 10.0), [10.0, 20.0]);
    }

    #[test]
    fn nines_are_equally_far_apart() {
        let ruler = Ruler::new(Scale::Nines, Ends::AtData, 8, [0.0, 0.9999].into_iter());
        let at = |share| ruler.position(share).expect("it is on the axis");
        assert!((at(0.99) - 2.0 * at(0.9)).abs() < 1e-9 && (at(0.999) - 3.0 * at(0.9)).abs() < 1e-9);
        assert_eq!(ruler.position(1.0), None);
    }

    #[test]
    fn whatever_the_values_there_is_a_ruler_and_every_position_is_on_it() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 1e300, 0.5, 7.0, 1.0];
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
            for ends in [Ends::AtTick, Ends::AtData] {
                for first in odd {
                    for second in odd {
                        let ruler = Ruler::new(scale, ends, 6, [first, second].into_iter());
                        assert!(ruler.ticks.len() < 100 && ruler.ticks.iter().all(|tick| tick.is_finite()));
                        for value in odd.into_iter().filter_map(|value| ruler.position(value)) {
                            assert!(
                                (0.0..=1.0).contains(&value),
                                "{scale:?} {ends:?} {first} {second}: {value}"
                            );
                        }
                    }
                }
            }
        }
    }
}
