//! The date of a moment, in UTC: for header fields and log lines.

use std::fmt;

/// A moment as people write it: the Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// 1970 and later.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 for Monday to 6 for Sunday.
    pub weekday: u64,
}

impl Date {
    /// The date of so many seconds since 1970 began.
    pub fn of(unix_seconds: u64) -> Date {
        let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
        // Years that begin in March, so that the leap day is the last; 719,468 days from 0000-03-01 to 1970-01-01.
        let days_of_era = days + 719_468;
        let (era, day_of_era) = (days_of_era / DAYS_PER_ERA, days_of_era % DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Date {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            weekday: (days + 3) % 7,
        }
    }

    /// `Mon, 23 Nov 2026 22:40:01 +0000` (RFC 5322 3.3).
    pub fn rfc5322(self) -> impl fmt::Display {
        Rfc5322(self)
    }
}

struct Rfc5322(Date);

impl fmt::Display for Rfc5322 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day, hour, minute, second, weekday } = self.0;
        let (weekday, month) = (WEEKDAYS[weekday as usize], MONTHS[month as usize - 1]);
        write!(f, "{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
    }
}

const DAYS_PER_ERA: u64 = 146_097;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
            (1_795_473_601, "Mon, 23 Nov 2026 22:40:01 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(Date::of(seconds).rfc5322().to_string(), text);
        }
    }
}
