//! How fast pictures and bytes come.

use crate::{ingest::timestamper::Activity, time::Moment};

/// Rates are means over so many statuses.
const RATE_TICKS: usize = 5;

/// Frame and bit rate over the last few statuses.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// When, how many pictures, how many bytes; the oldest first.
    ticks: Vec<(Moment, u64, u64)>,
}

impl Rates {
    pub(super) fn tick(&mut self, now: Moment, activity: &Activity) {
        if RATE_TICKS < self.ticks.len() {
            self.ticks.remove(0);
        }
        self.ticks.push((now, activity.pictures, activity.bytes));
    }

    /// How many per second, times `scale`.
    fn per_second(&self, count: impl Fn(&(Moment, u64, u64)) -> u64, scale: u64) -> u64 {
        let (Some(first), Some(last)) = (self.ticks.first(), self.ticks.last()) else { return 0 };
        let passed_ms = u64::try_from((last.0 - first.0).as_ms()).unwrap_or(0);
        let more = count(last).saturating_sub(count(first)).saturating_mul(scale).saturating_mul(1000);
        (more + passed_ms / 2).checked_div(passed_ms).unwrap_or(0)
    }

    pub(super) fn fps_x100(&self) -> u64 {
        self.per_second(|tick| tick.1, 100)
    }

    pub(super) fn kbps(&self) -> u64 {
        self.per_second(|tick| tick.2, 8) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    #[test]
    fn rates_are_means_over_the_last_seconds() {
        let mut rates = Rates::default();
        assert_eq!((rates.fps_x100(), rates.kbps()), (0, 0));
        for second in 0..20 {
            let (pictures, bytes) = if second < 10 { (second, 0) } else { (second * 25, second * 500_000) };
            let activity = Activity { pictures, bytes, ..Activity::default() };
            rates.tick(at(i64::try_from(second).unwrap() * 1000), &activity);
        }
        assert_eq!((rates.fps_x100(), rates.kbps()), (2500, 4000));
    }
}
