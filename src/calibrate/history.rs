//! Numbers over time in bounded memory: how often each came, and how they went.

use std::collections::BTreeMap;

use crate::time::Span;

/// Points of a history. Where there would be more, every second one goes, and from then on only every second comes.
const POINTS_MAX: usize = 600;
/// How often each number came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<u16, u32>);

impl Tally {
    /// Counts one.
    pub(crate) fn add(&mut self, number: u16) {
        *self.0.entry(number).or_default() += 1;
    }

    /// How many there were.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.0.values().sum()
    }

    /// The mean, if there was any.
    #[must_use]
    pub(crate) fn mean(&self) -> Option<f64> {
        let sum: f64 = self.0.iter().map(|(number, count)| f64::from(*number) * f64::from(*count)).sum();
        Some(sum / f64::from(self.count())).filter(|it| it.is_finite())
    }

    /// The smallest number that this share of them, 0 to 1, does not exceed.
    #[must_use]
    pub(crate) fn quantile(&self, share: f64) -> Option<u16> {
        let rank = share * f64::from(self.count());
        let mut passed = 0.0;
        let reaches = |count: &u32| {
            passed += f64::from(*count);
            rank <= passed
        };
        let mut reaches = reaches;
        self.0.iter().find(|(_, count)| reaches(count)).map(|(number, _)| *number)
    }

    /// The largest.
    #[must_use]
    pub(crate) fn max(&self) -> Option<u16> {
        self.0.last_key_value().map(|(number, _)| *number)
    }

    /// Each number and how often it came, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.0.iter().map(|(number, count)| (*number, *count))
    }
}

/// How `N` numbers went over time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace<const N: usize> {
    points: Vec<(f64, [f32; N])>,
    /// One of this many points is stored.
    stride: usize,
    /// How many points came since the last stored one.
    skipped: usize,
}

impl<const N: usize> Default for Trace<N> {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, skipped: 0 }
    }
}

impl<const N: usize> Trace<N> {
    /// Adds a point.
    pub(crate) fn add(&mut self, at: Span, values: [f32; N]) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        if self.points.len() == POINTS_MAX {
            let mut nth = 0;
            self.points.retain(|_| {
                nth += 1;
                nth % 2 == 0
            });
            self.stride *= 2;
        }
        self.points.push((at.as_secs_f64(), values));
    }

    /// The points: seconds since the run's beginning, and the numbers.
    #[must_use]
    pub(crate) fn points(&self) -> &[(f64, [f32; N])] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_knows_its_quantiles() {
        let mut tally = Tally::default();
        assert_eq!((tally.quantile(0.5), tally.mean(), tally.max()), (None, None, None));
        for number in [10, 20, 20, 90] {
            tally.add(number);
        }
        assert_eq!((tally.quantile(0.5), tally.quantile(1.0), tally.max()), (Some(20), Some(90), Some(90)));
        assert_eq!(tally.mean(), Some(35.0));
    }

    #[test]
    fn a_day_fits_into_a_trace() {
        let mut trace = Trace::<1>::default();
        for second in 0..86_400 {
            trace.add(Span::from_ms(second * 1000), [1.0]);
        }
        let points = trace.points();
        assert!(POINTS_MAX / 2 <= points.len() && points.len() <= POINTS_MAX, "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(86_000.0 < points.last().unwrap().0);
    }
}
