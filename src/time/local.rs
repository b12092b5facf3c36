//! Local time, and times and durations as people write them. Hides `jiff`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit, tz::TimeZone};

/// Local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// 0 Monday to 6 Sunday.
    pub weekday: u8,
    /// Minutes since midnight as a clock shows them, 0 to 1439; not elapsed minutes on the days when daylight saving time
    /// starts or ends.
    pub minute: u16,
}

/// A time zone.
#[derive(Clone, Debug)]
pub(crate) struct Zone(TimeZone);

impl Zone {
    /// The zone of this machine, from `TZ` or `/etc/localtime`. `None` if it is unknown, as where the time zone database is
    /// not installed.
    #[must_use]
    pub(crate) fn system() -> Option<Self> {
        TimeZone::try_system().ok().map(Self)
    }

    /// UTC.
    #[must_use]
    pub(crate) const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of this machine, or UTC if that is unknown: for times that are shown with their offset.
    #[must_use]
    pub(crate) fn system_or_utc() -> Self {
        Self::system().unwrap_or_else(Self::utc)
    }

    /// A zone with these rules in the notation of POSIX, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn posix(rules: &str) -> Option<Self> {
        TimeZone::posix(rules).ok().map(Self)
    }

    /// The local time at `wall_ms` milliseconds after 1970 UTC.
    #[must_use]
    pub(crate) fn at(&self, wall_ms: u64) -> Local {
        let shown = timestamp(wall_ms).to_zoned(self.0.clone());
        let weekday = shown.weekday().to_monday_zero_offset().unsigned_abs();
        let minute = u16::from(shown.hour().unsigned_abs()) * 60 + u16::from(shown.minute().unsigned_abs());
        Local { weekday, minute }
    }

    /// The time as RFC 3339 writes it, rounded to the second: `2026-11-21T18:30:00+01:00`.
    #[must_use]
    pub(crate) fn rfc3339(&self, wall_ms: u64) -> String {
        let moment = timestamp(wall_ms);
        let offset = self.0.to_offset(moment);
        let whole = moment.round(Unit::Second).unwrap_or(moment);
        whole.display_with_offset(offset).to_string()
    }
}

/// The start of 1970 for a number that is beyond the calendar.
fn timestamp(wall_ms: u64) -> Timestamp {
    i64::try_from(wall_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reads a time in RFC 3339 with its offset from UTC. Returns milliseconds since 1970 UTC, or `None` if it is not one.
#[must_use]
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

/// Reads a duration such as `90m`, `2h` or `1h 30m`. `None` if it is not one, or not positive.
#[must_use]
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let span: SignedDuration = text.parse().ok()?;
    Duration::try_from(span).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central Europe: an hour ahead of UTC, two in summer.
    fn zone() -> Zone {
        Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[track_caller]
    fn shows(utc: &str, weekday: u8, hour: u16, minute: u16) {
        let shown = zone().at(parse_rfc3339(utc).unwrap());
        assert_eq!(shown, Local { weekday, minute: hour * 60 + minute }, "{utc}");
    }

    #[test]
    fn daylight_saving_time_starts_and_ends() {
        shows("2026-11-20T23:30:00Z", 5, 0, 30);
        shows("2026-03-29T00:59:59Z", 6, 1, 59);
        shows("2026-03-29T01:00:00Z", 6, 3, 0);
        shows("2026-10-25T00:30:00Z", 6, 2, 30);
        shows("2026-10-25T01:30:00Z", 6, 2, 30);
        shows("2026-10-25T02:00:00Z", 6, 3, 0);
    }

    #[test]
    fn times_are_written_and_read() {
        let at = parse_rfc3339("2026-11-21T18:30:00+01:00").unwrap();
        assert_eq!(at, 1_795_282_200_000);
        assert_eq!(zone().rfc3339(at + 400), "2026-11-21T18:30:00+01:00");
        assert_eq!(zone().rfc3339(parse_rfc3339("2026-07-01T10:00:00Z").unwrap()), "2026-07-01T12:00:00+02:00");
        for wrong in ["", "18:30", "2026-11-21", "2026-11-21T18:30:00", "tomorrow", "1969-12-31T23:59:59Z"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn durations_are_read() {
        let minutes = |count: u64| Some(Duration::from_secs(count * 60));
        assert_eq!(
            (parse_duration("90m"), parse_duration("1h 30m"), parse_duration("1h30m")),
            (minutes(90), minutes(90), minutes(90))
        );
        for wrong in ["", "90", "0m", "-5m", "an hour"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }
}
