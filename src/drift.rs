//! Maps a foreign clock (a camera's, a sound card's) onto ours, slewed, and measures how fast it runs.
//!
//! A sample carries a the source's time stamp and arrives a little later than it was taken. Delays only ever add, so
//! the smallest differences between arrival and the source's time stamp tell the truth, and all others are noise. They
//! are kept one per few seconds over ten minutes; a line through them is the foreign clock's drift, and the line
//! that touches them from below is the mapping. What comes out follows that line with a limited slew, so that no
//! sample is skipped or heard twice.

use crate::time::{Moment, Span};

/// One minimum is kept per so much of our time, ns.
const BUCKET_NS: i64 = 4_000_000_000;
/// Ten minutes of minima: long enough for 1 ppm, short enough to follow a sound card that warms up.
const BUCKETS: usize = 150;
/// So many minima before the drift is followed.
const BUCKETS_FOLLOWED: usize = 5;
/// So many minima, a minute of them, before the drift is reported.
const BUCKETS_KNOWN: usize = 15;
/// So many minima in a row that are all late mean that the delay itself changed.
const BUCKETS_SHIFTED: usize = 15;
/// Late by more than this for [`BUCKETS_SHIFTED`] minima is no jitter, ns.
const SHIFT_NS: f64 = 20e6;
/// The mapping's corrections, as a share of the time that passed: 500 ppm, which no ear and no network notices.
const SLEW: f64 = 500e-6;
/// A drift beyond this is a fault of the time stamps: no quartz is off by 0.5 %.
const DRIFT_MAX: f64 = 5000e-6;
/// A jump beyond this is a new origin, ns.
const STEP_NS: f64 = 1e9;
/// A delay beyond [`STEP_NS`] that lasts this long, ns, is no stall whose samples come late, but a new origin.
const STEP_LASTS_NS: i64 = 2_000_000_000;

/// Maps time stamps of a foreign clock onto moments of ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slew {
    origin: Option<Origin>,
    minima: Minima,
    /// The drift in use: how much our clock gains per foreign time; zero before it is known.
    gain: Option<f64>,
    is_known: bool,
}

/// Where the mapping began, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Origin {
    foreign: Span,
    arrival: Moment,
    /// The newest the source's time stamp since the origin, ns, and what it was mapped to.
    newest_ns: i64,
    mapped: Moment,
    /// What is added to foreign time at the newest time stamp, ns.
    offset_ns: f64,
    /// The minimum of the bucket that is open: the source's time and delay since the origin, ns.
    lowest: (f64, f64),
    bucket_ends: Moment,
    /// Since when every sample was late by more than a step.
    late_since: Option<Moment>,
}

impl Slew {
    /// A mapping that knows nothing yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How much faster (+) or slower (-) the foreign clock runs than ours, parts per million. `None` in the first
    /// minute.
    #[must_use]
    pub(crate) fn drift_ppm(&self) -> Option<f64> {
        // Where the foreign clock is fast, our clock gains less than nothing on it.
        self.gain.filter(|_| self.is_known).map(|gain| -gain * 1e6)
    }

    /// When the sample with the time stamp `foreign` that arrived at `arrival` was taken, on our clock, give or
    /// take a constant delay.
    ///
    /// Never later than `arrival`, and never earlier than a sample with an earlier time stamp, unless the foreign
    /// clock jumps by more than a second: that is a new origin. Time stamps may come a little out of order, as
    /// those of B-frames do.
    #[allow(clippy::cast_possible_truncation, reason = "offsets stay far below 292 years")]
    pub(crate) fn map(&mut self, foreign: Span, arrival: Moment) -> Moment {
        let Some(mut origin) = self.origin else { return self.begin(foreign, arrival) };
        let since_ns = (foreign - origin.foreign).as_ns();
        let passed_ns = (since_ns - origin.newest_ns) as f64;
        let delay_ns = ((arrival - origin.arrival).as_ns() - since_ns) as f64;
        let mut offset_ns = self.follow(origin.offset_ns, since_ns as f64, passed_ns.max(0.0));
        let late_ns = delay_ns - offset_ns;
        if self.is_step(&mut origin, late_ns, passed_ns, arrival) {
            return self.begin(foreign, arrival);
        }
        if late_ns < 0.0 {
            // Nothing arrives before it was taken, so the offset was wrong by at least this much.
            offset_ns = delay_ns;
        }
        let mapped = origin.arrival + Span(since_ns + offset_ns.floor() as i64);
        let mapped = if passed_ns < 0.0 { mapped.min(origin.mapped) } else { mapped.max(origin.mapped).min(arrival) };
        if 0.0 <= passed_ns {
            origin = Origin { newest_ns: since_ns, mapped, offset_ns, ..origin };
        }
        if delay_ns < origin.lowest.1 {
            origin.lowest = (since_ns as f64, delay_ns);
        }
        if origin.bucket_ends <= arrival {
            self.minima.push(origin.lowest);
            self.gain = self.minima.refit().or(self.gain);
            self.is_known |= self.gain.is_some() && BUCKETS_KNOWN <= self.minima.len;
            origin.lowest = (since_ns as f64, delay_ns);
            origin.bucket_ends = arrival + Span(BUCKET_NS);
        }
        self.origin = Some(origin);
        mapped
    }

    fn begin(&mut self, foreign: Span, arrival: Moment) -> Moment {
        self.minima = Minima::default();
        self.origin = Some(Origin {
            foreign,
            arrival,
            newest_ns: 0,
            mapped: arrival,
            offset_ns: 0.0,
            lowest: (0.0, 0.0),
            bucket_ends: arrival + Span(BUCKET_NS),
            late_since: None,
        });
        arrival
    }

    /// Moves the offset along the drift, and towards the line below the minima no faster than the slew allows.
    fn follow(&self, offset_ns: f64, since_ns: f64, passed_ns: f64) -> f64 {
        let gain = self.gain.unwrap_or(0.0);
        let along = offset_ns + gain * passed_ns;
        let Some(below) = self.minima.below(gain, since_ns) else { return along };
        along + (below - along).clamp(-SLEW * passed_ns, SLEW * passed_ns)
    }

    /// Whether the foreign clock jumped. A connection that stalls and then delivers everything at once did not:
    /// its samples are late, but their time stamps go on, and soon they are late no more.
    fn is_step(&self, origin: &mut Origin, late_ns: f64, passed_ns: f64, arrival: Moment) -> bool {
        if late_ns.abs() <= STEP_NS {
            origin.late_since = None;
            return false;
        }
        let since = *origin.late_since.get_or_insert(arrival);
        late_ns < 0.0 || passed_ns < -STEP_NS || STEP_LASTS_NS < (arrival - since).as_ns()
    }
}

/// The smallest delays, one per bucket, oldest first: the source's time and delay since the origin, ns.
#[derive(Clone, Debug)]
struct Minima {
    points: [(f64, f64); BUCKETS],
    len: usize,
}

impl Default for Minima {
    fn default() -> Self {
        Self { points: [(0.0, 0.0); BUCKETS], len: 0 }
    }
}

impl Minima {
    fn push(&mut self, point: (f64, f64)) {
        if self.all().last().is_some_and(|last| point.0 <= last.0) {
            return;
        }
        if self.len == BUCKETS {
            self.forget(1);
        }
        self.points[self.len] = point;
        self.len += 1;
    }

    fn all(&self) -> &[(f64, f64)] {
        &self.points[..self.len]
    }

    fn forget(&mut self, oldest: usize) {
        self.points.copy_within(oldest..self.len, 0);
        self.len -= oldest;
    }

    /// The height at `at` of the line of slope `gain` that touches the points from below.
    fn below(&self, gain: f64, at: f64) -> Option<f64> {
        self.all().iter().map(|(x, y)| y + gain * (at - x)).reduce(f64::min)
    }

    /// The slope of the points, once there are enough of them.
    fn refit(&mut self) -> Option<f64> {
        if self.len < BUCKETS_FOLLOWED {
            return None;
        }
        let mut slope = self.slope();
        if self.is_shifted(slope) {
            self.forget(self.len - BUCKETS_SHIFTED);
            slope = self.slope();
        }
        (slope.abs() <= DRIFT_MAX).then_some(slope)
    }

    /// Whether the delay grew for good: the newest minima are all well above the line below the older ones.
    fn is_shifted(&self, slope: f64) -> bool {
        let Some(older) = self.len.checked_sub(BUCKETS_SHIFTED).filter(|older| BUCKETS_SHIFTED <= *older) else {
            return false;
        };
        let lowest = |points: &[(f64, f64)]| points.iter().map(|(x, y)| y - slope * x).fold(f64::MAX, f64::min);
        let (before, now) = self.all().split_at(older);
        lowest(before) + SHIFT_NS < lowest(now)
    }

    /// Least squares through the points that are near the line below all of them: bursts must not tilt it.
    fn slope(&self) -> f64 {
        let edge = self.edge();
        let touching = self.all().iter().map(|(x, y)| y - edge * x).fold(f64::MAX, f64::min);
        let above = |point: &(f64, f64)| point.1 - edge * point.0 - touching;
        let mut heights = [f64::MAX; BUCKETS];
        for (height, point) in heights.iter_mut().zip(self.all()) {
            *height = above(point);
        }
        let (_, median, _) = heights[..self.len].select_nth_unstable_by(self.len / 2, f64::total_cmp);
        let near = 3.0 * *median + 1.0;
        let chosen = || self.all().iter().filter(|point| above(point) <= near);
        let n = chosen().count() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| chosen().map(of).sum::<f64>() / n;
        let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
        let (mut xy, mut xx) = (0.0, 0.0);
        for (x, y) in chosen() {
            xy += (x - mean_x) * (y - mean_y);
            xx += (x - mean_x) * (x - mean_x);
        }
        if 0.0 < xx { xy / xx } else { edge }
    }

    /// The slope of the edge of the lower convex hull at the middle of the points. Of all lines below the points
    /// that one is nearest to them (Moon, Skelly, Towsley: Estimation and Removal of Clock Skew from Network
    /// Delay Measurements, 1999).
    fn edge(&self) -> f64 {
        let points = self.all();
        let middle = points.iter().map(|point| point.0).sum::<f64>() / points.len() as f64;
        let mut hull = [(0.0, 0.0); BUCKETS];
        let mut len = 0;
        for point in points {
            while 2 <= len && turns_down(hull[len - 2], hull[len - 1], *point) {
                len -= 1;
            }
            hull[len] = *point;
            len += 1;
        }
        let edge = hull[..len].windows(2).find(|edge| middle <= edge[1].0);
        edge.map_or(0.0, |edge| (edge[1].1 - edge[0].1) / (edge[1].0 - edge[0].0))
    }
}

/// Whether `b` is on or above the line from `a` to `c`.
fn turns_down(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> bool {
    (b.0 - a.0) * (c.1 - a.1) <= (b.1 - a.1) * (c.0 - a.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A foreign clock that began at zero at our moment 1000 s, and a way to it with a constant delay of 20 ms.
    struct Source {
        slew: Slew,
        ppm: f64,
        foreign_ahead: Span,
        random: fastrand::Rng,
        last: Moment,
    }

    impl Source {
        fn new(ppm: f64) -> Self {
            let random = fastrand::Rng::with_seed(7);
            Self { slew: Slew::new(), ppm, foreign_ahead: Span::ZERO, random, last: Moment(0) }
        }

        /// Takes a sample at `at` since the start; returns how far from the truth it was mapped, ms.
        #[allow(clippy::cast_possible_truncation, reason = "a day of nanoseconds fits")]
        fn sample(&mut self, at: Span, late: Span) -> f64 {
            let truth = Moment(1000 * SECOND) + at + Span::from_ms(20);
            let foreign = Span((at.0 as f64 * (1.0 + self.ppm * 1e-6)) as i64) + self.foreign_ahead;
            let mapped = self.slew.map(foreign, truth + late);
            assert!(mapped <= truth + late, "later than its arrival");
            self.last = mapped;
            (mapped - truth).0 as f64 / 1e6
        }

        fn jitter(&mut self, max_ms: i64) -> Span {
            Span(self.random.i64(0..max_ms * 1_000_000))
        }
    }

    #[test]
    fn a_day_of_jitter_and_drift_stays_within_milliseconds() {
        for (ppm, hours) in [(80.0, 24), (-80.0, 4), (0.0, 1), (400.0, 1), (-400.0, 1)] {
            let mut source = Source::new(ppm);
            let mut before = Moment(0);
            for n in 0..hours * 3600 * 25 / 2 {
                let late = source.jitter(30);
                let at = Span(n * 2 * SECOND / 25);
                let off = source.sample(at, late);
                assert!(before < source.last, "ran backwards at {at}");
                before = source.last;
                if 90 * SECOND < at.0 {
                    assert!((-3.0..2.0).contains(&off), "{off} ms at {at}, {ppm} ppm");
                    let found = source.slew.drift_ppm().filter(|_| 180 * SECOND < at.0).unwrap_or(ppm);
                    assert!((found - ppm).abs() < 5.0, "{found} ppm for {ppm} at {at}");
                }
            }
            assert!((source.slew.drift_ppm().unwrap() - ppm).abs() < 1.0);
        }
    }

    #[test]
    fn it_owns_no_heap() {
        assert!(!std::mem::needs_drop::<Slew>());
    }

    #[test]
    fn drift_is_unknown_for_a_minute() {
        let mut source = Source::new(80.0);
        for n in 0..50 * 25 {
            source.sample(Span(n * SECOND / 25), Span::ZERO);
        }
        assert_eq!(source.slew.drift_ppm(), None);
        for n in 50 * 25..70 * 25 {
            source.sample(Span(n * SECOND / 25), Span::ZERO);
        }
        assert!((source.slew.drift_ppm().unwrap() - 80.0).abs() < 0.5);
    }

    #[test]
    fn a_late_first_sample_is_forgiven_at_once() {
        let mut source = Source::new(0.0);
        assert!((source.sample(Span(0), Span::from_ms(300)) - 300.0).abs() < 0.001);
        assert!(source.sample(Span::from_ms(40), Span::ZERO).abs() < 0.001);
        assert!(source.sample(Span::from_ms(400), Span::from_ms(30)).abs() < 0.001);
    }

    #[test]
    fn bursts_do_not_move_it() {
        let mut source = Source::new(80.0);
        for n in 0..1200 * 25 {
            let at = Span(n * SECOND / 25);
            // In every minute the way is blocked for 8 s, and everything arrives together at the end of it, the
            // first of it 8 s late.
            let in_minute = at.0 % (60 * SECOND);
            let late = if (50..58).contains(&(in_minute / SECOND)) { 58 * SECOND - in_minute } else { 0 };
            let late = Span(late) + source.jitter(5);
            let off = source.sample(at, late);
            assert!(at.0 < 60 * SECOND || off.abs() < 3.0, "{off} ms at {at}");
        }
        assert!((source.slew.drift_ppm().unwrap() - 80.0).abs() < 1.0);
    }

    #[test]
    fn a_step_is_a_new_origin() {
        for ahead_s in [3600, -3600, 2, -2] {
            let mut source = Source::new(80.0);
            for n in 0..300 * 25 {
                source.sample(Span(n * SECOND / 25), Span::ZERO);
            }
            source.foreign_ahead = Span(ahead_s * SECOND);
            for n in 300 * 25..400 * 25 {
                let off = source.sample(Span(n * SECOND / 25), Span::ZERO);
                assert!(off.abs() < 1.0, "{off} ms after a step of {ahead_s} s");
            }
            assert!((source.slew.drift_ppm().unwrap() - 80.0).abs() < 1.0);
        }
    }

    #[test]
    fn time_that_stood_still_is_found_again() {
        // The foreign clock stops for 5 s, as that of a suspended sound card does, and its time stamps go on.
        let mut source = Source::new(0.0);
        for n in 0..100 * 25 {
            source.sample(Span(n * SECOND / 25), Span::ZERO);
        }
        source.foreign_ahead = Span(-5 * SECOND);
        let mut off = 0.0;
        for n in 105 * 25..108 * 25 {
            off = source.sample(Span(n * SECOND / 25), Span::ZERO);
        }
        assert!(off.abs() < 0.1, "{off} ms");
    }

    #[test]
    fn a_longer_way_is_slewed_to() {
        let mut source = Source::new(0.0);
        let mut before = -1.0;
        for n in 0..600 * 25 {
            let at = Span(n * SECOND / 25);
            let late = if at.0 < 200 * SECOND { 0 } else { 60 };
            let off = source.sample(at, Span::from_ms(late));
            assert!((off - before) <= 1.0, "jumped by {} ms at {at}", off - before);
            before = off;
        }
        assert!((before - 60.0).abs() < 1.0, "{before} ms");
        assert!(source.slew.drift_ppm().unwrap().abs() < 1.0);
    }

    #[test]
    fn pictures_out_of_order_keep_their_distance() {
        let mut source = Source::new(0.0);
        for n in 0..1000 {
            // I P B B: the time stamps of a stream with two B-frames, in decoding order.
            let shown = n / 3 * 3 + [2, 0, 1][usize::try_from(n % 3).unwrap()];
            let arrival = Moment(1000 * SECOND + n * SECOND / 25);
            let mapped = source.slew.map(Span(shown * SECOND / 25), arrival);
            let expected = arrival + Span((shown - n - 2) * SECOND / 25);
            assert!(n < 3 || (mapped - expected).abs().0 < 1_000_000, "{n}: {} off", mapped - expected);
        }
    }
}
