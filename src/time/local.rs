//! The time that a clock on the wall of the place shows, and moments as people write them: the home of jiff.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit, tz::TimeZone};

/// What a clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// 0 Monday to 6 Sunday.
    pub weekday: u8,
    /// Minutes since midnight by that clock, 0 to 1439: not those that went by on the two days of a year on which it
    /// is put forward or back.
    pub minute: u16,
}

/// Where the clock hangs.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// This machine's, as `TZ` or `/etc/localtime` say. `None` where they say nothing that is understood, as where the
    /// database of zones is not installed.
    #[must_use]
    pub fn system() -> Option<Self> {
        TimeZone::try_system().ok().map(Self)
    }

    /// Universal time, which is everybody's and nobody's.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// This machine's, or universal time where that is not known: good enough to show a moment with its offset.
    #[must_use]
    pub fn of_people() -> Self {
        Self::system().unwrap_or_else(Self::utc)
    }

    /// The one with these rules, in the notation of POSIX, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    #[must_use]
    pub fn posix(rules: &str) -> Option<Self> {
        TimeZone::posix(rules).ok().map(Self)
    }

    /// What the clock shows, so many milliseconds after 1970 UTC.
    #[must_use]
    pub fn at(&self, wall_ms: u64) -> Local {
        let shown = timestamp(wall_ms).to_zoned(self.0.clone());
        let weekday = shown.weekday().to_monday_zero_offset().unsigned_abs();
        let minute = u16::from(shown.hour().unsigned_abs()) * 60 + u16::from(shown.minute().unsigned_abs());
        Local { weekday, minute }
    }

    /// The moment as RFC 3339 writes it, to the second: `2026-11-21T18:30:00+01:00`.
    #[must_use]
    pub fn written(&self, wall_ms: u64) -> String {
        let moment = timestamp(wall_ms);
        let offset = self.0.to_offset(moment);
        let whole = moment.round(Unit::Second).unwrap_or(moment);
        whole.display_with_offset(offset).to_string()
    }
}

/// The first moment of 1970 for what no calendar holds.
fn timestamp(wall_ms: u64) -> Timestamp {
    i64::try_from(wall_ms).ok().and_then(|it| Timestamp::from_millisecond(it).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A moment in RFC 3339, with its offset from UTC, in milliseconds since 1970 UTC. `None` for all that is none.
#[must_use]
pub fn read_moment(written: &str) -> Option<u64> {
    u64::try_from(written.parse::<Timestamp>().ok()?.as_millisecond()).ok()
}

/// A span such as `90m`, `2h` or `1h 30m`. `None` for all that is none, and for what lies in the past.
#[must_use]
pub fn read_span(written: &str) -> Option<Duration> {
    let span: SignedDuration = written.parse().ok()?;
    Duration::try_from(span).ok().filter(|it| !it.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Middle Europe: an hour ahead of UTC, two in summer.
    fn zone() -> Zone {
        Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[track_caller]
    fn shows(utc: &str, weekday: u8, hour: u16, minute: u16) {
        let shown = zone().at(read_moment(utc).unwrap());
        assert_eq!(shown, Local { weekday, minute: hour * 60 + minute }, "{utc}");
    }

    #[test]
    fn the_clock_is_put_forward_and_back() {
        shows("2026-11-20T23:30:00Z", 5, 0, 30);
        shows("2026-03-29T00:59:59Z", 6, 1, 59);
        shows("2026-03-29T01:00:00Z", 6, 3, 0);
        shows("2026-10-25T00:30:00Z", 6, 2, 30);
        shows("2026-10-25T01:30:00Z", 6, 2, 30);
        shows("2026-10-25T02:00:00Z", 6, 3, 0);
    }

    #[test]
    fn moments_are_written_and_read() {
        let at = read_moment("2026-11-21T18:30:00+01:00").unwrap();
        assert_eq!(at, 1_795_282_200_000);
        assert_eq!(zone().written(at + 400), "2026-11-21T18:30:00+01:00");
        assert_eq!(zone().written(read_moment("2026-07-01T10:00:00Z").unwrap()), "2026-07-01T12:00:00+02:00");
        for wrong in ["", "18:30", "2026-11-21", "2026-11-21T18:30:00", "tomorrow", "1969-12-31T23:59:59Z"] {
            assert_eq!(read_moment(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn spans_are_read() {
        let minutes = |it: u64| Some(Duration::from_secs(it * 60));
        assert_eq!(
            (read_span("90m"), read_span("1h 30m"), read_span("1h30m")),
            (minutes(90), minutes(90), minutes(90))
        );
        for wrong in ["", "90", "0m", "-5m", "an hour"] {
            assert_eq!(read_span(wrong), None, "{wrong:?}");
        }
    }
}
