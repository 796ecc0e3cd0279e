//! The histogram of a latency as rows for a terminal: few enough to be seen at once, without holes, with bars.

/// One row: what lies beyond the row before and is at most `bound_us`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Microseconds.
    pub bound_us: f64,
    /// How many lie in it.
    pub count: u64,
    /// Their share of all, 0 to 1.
    pub share: f64,
    /// The share of all that lie in it or before it, 0 to 1.
    pub cumulative: f64,
}

/// The buckets of [`Latency::histogram`](super::Latency::histogram) in at most `ROWS_MAX` rows of equal width on the
/// logarithmic axis. Empty buckets between others are rows too: two humps must not look like one.
pub fn rows(buckets: &[(f64, u64)]) -> Vec<Row> {
    let counts: Vec<(i64, u64)> = buckets
        .iter()
        .filter(|(bound, count)| bound.is_finite() && *count > 0)
        .map(|(bound, count)| (step(*bound), *count))
        .collect();
    let (Some(first), Some(last)) =
        (counts.iter().map(|(step, _)| *step).min(), counts.iter().map(|(step, _)| *step).max())
    else {
        return Vec::new();
    };
    let merged = (last - first) / ROWS_MAX + 1;
    let rows = (last - first) / merged + 1;
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut before = 0;
    let row = |number: i64| {
        let end = last - (rows - 1 - number) * merged;
        let count = counts
            .iter()
            .filter(|(step, _)| *step > end - merged && *step <= end)
            .map(|(_, count)| count)
            .sum();
        before += count;
        let share = |count: u64| count as f64 / total as f64;
        Row {
            bound_us: 10_f64.powf(end as f64 / STEPS_PER_DECADE),
            count,
            share: share(count),
            cumulative: share(before),
        }
    };
    (0..rows).map(row).collect()
}

/// A bar of at most `width` columns, in eighths of a column; whatever is there at all is seen.
pub fn bar(count: u64, most: u64, width: usize) -> String {
    if count == 0 || most == 0 {
        return String::new();
    }
    let eighths = ((count as f64 / most as f64).min(1.0) * width as f64 * 8.0).round().max(1.0) as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(EIGHTHS[eighths % 8]);
    bar
}

/// Which tenth of a decade a bound is; below a microsecond all are one.
fn step(bound_us: f64) -> i64 {
    (bound_us.max(1.0).log10() * STEPS_PER_DECADE).round() as i64
}

const STEPS_PER_DECADE: f64 = 10.0;

/// More rows than this are not seen at once.
const ROWS_MAX: i64 = 20;

const EIGHTHS: [Option<char>; 8] =
    [None, Some('▏'), Some('▎'), Some('▍'), Some('▌'), Some('▋'), Some('▊'), Some('▉')];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_exactly_one_row_however_wide_the_range() {
        for decades in 0..9 {
            let buckets: Vec<(f64, u64)> =
                (0..=decades * 10).map(|tenth| (10_f64.powf(f64::from(tenth) / 10.0), 3)).collect();
            let rows = rows(&buckets);
            assert!(rows.len() as i64 <= ROWS_MAX + 1, "{} rows", rows.len());
            assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 3 * buckets.len() as u64);
            assert_eq!(rows.last().map(|row| row.cumulative), Some(1.0));
        }
    }

    #[test]
    fn a_hole_between_two_humps_is_shown() {
        let rows = rows(&[(1_000.0, 5), (10_000.0, 1)]);
        assert_eq!(rows.len(), 11);
        assert_eq!(rows.iter().filter(|row| row.count == 0).count(), 9);
    }

    #[test]
    fn nothing_makes_no_rows() {
        assert!(rows(&[]).is_empty());
        assert!(rows(&[(1.0, 0), (f64::NAN, 3), (f64::INFINITY, 3)]).is_empty());
    }

    #[test]
    fn whatever_is_there_at_all_has_a_bar_and_none_is_too_long() {
        assert_eq!(bar(0, 10, 20), "");
        assert_eq!(bar(1, 1_000_000, 20), "▏");
        assert_eq!(bar(10, 10, 3), "███");
        assert_eq!(bar(5, 10, 3), "█▌");
    }
}
