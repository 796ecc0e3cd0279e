//! Moments as people read them, in the time zone of whoever reads; and as programs do, in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The time zone of whoever reads.
pub struct Clock(TimeZone);

impl Clock {
    /// As the system says, or TZ.
    pub fn here() -> Clock {
        Clock(TimeZone::system())
    }

    /// `2026-11-28 07:35`: 16 columns. Nothing for a moment that the calendar does not have.
    pub fn short(&self, unix_seconds: i64) -> Option<String> {
        self.shown(unix_seconds, "%Y-%m-%d %H:%M")
    }

    /// `Sat, 28 Nov 2026 07:35:25 +0100`.
    pub fn long(&self, unix_seconds: i64) -> Option<String> {
        self.shown(unix_seconds, "%a, %d %b %Y %H:%M:%S %z")
    }

    fn shown(&self, unix_seconds: i64, format: &str) -> Option<String> {
        let moment = Timestamp::from_second(unix_seconds).ok()?;
        Some(moment.to_zoned_datetime(self.0.clone()).strftime(format).to_string())
    }
}

/// `2026-11-28T06:35:25Z` (RFC 3339).
pub fn rfc3339(unix_seconds: i64) -> Option<String> {
    Timestamp::from_second(unix_seconds).ok().map(|moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_the_readers_zone_and_told_in_utc() {
        let clock = Clock(TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(clock.short(1_795_473_601).as_deref(), Some("2026-11-23 23:40"));
        assert_eq!(clock.long(1_795_473_601).as_deref(), Some("Mon, 23 Nov 2026 23:40:01 +0100"));
        assert_eq!(rfc3339(1_795_473_601).as_deref(), Some("2026-11-23T22:40:01Z"));
        assert_eq!(clock.short(i64::MAX), None);
    }
}
