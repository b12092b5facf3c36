//! Moments on the monotonic clock, spans between them, the slot grid, and a clock that tests set.
//!
//! All processes run on one machine, so `CLOCK_MONOTONIC` is the same clock in each of them: a moment that `ingest` took
//! means the same in `infer`.

pub(crate) mod local;

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

#[cfg(test)]
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds of this machine's monotonic clock. Never a date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub i64);

/// A signed length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub i64);

impl Moment {
    /// Nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn as_ns(self) -> i64 {
        self.0
    }

    /// The time from `now` until this moment; zero when it has passed.
    #[must_use]
    pub fn after(self, now: Self) -> Duration {
        (self - now).to_duration()
    }
}

impl Span {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms * 1_000_000)
    }

    /// A span of seconds, rounded to the nanosecond.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "292 years fit")]
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as i64)
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_ns(self) -> i64 {
        self.0
    }

    /// Whole milliseconds, rounded towards zero.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0 / 1_000_000
    }

    /// Seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The absolute value.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// As a [`Duration`]; a negative span becomes zero.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Sub for Moment {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        Span(self.0 - earlier.0)
    }
}

impl Add<Span> for Moment {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0 + span.0)
    }
}

impl Sub<Span> for Moment {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0 - span.0)
    }
}

impl AddAssign<Span> for Moment {
    fn add_assign(&mut self, span: Span) {
        self.0 += span.0;
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_secs_f64())
    }
}

/// A source of the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Moment;
    /// The date and time in milliseconds since 1970-01-01 UTC. It may jump; only for people to read.
    fn wall_ms(&self) -> u64;
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Moment(now.tv_sec * 1_000_000_000 + now.tv_nsec)
    }

    fn wall_ms(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or(0)
    }
}

/// A clock that only moves when it is told to: for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct SetClock {
    now_ns: AtomicI64,
    wall_offset_ms: AtomicI64,
}

#[cfg(test)]
impl SetClock {
    /// A clock at `now`, with the date 2026-01-01 at moment zero.
    #[must_use]
    pub(crate) fn at(now: Moment) -> Self {
        Self { now_ns: AtomicI64::new(now.0), wall_offset_ms: AtomicI64::new(1_767_225_600_000) }
    }

    /// Moves the clock forward by `span`.
    pub(crate) fn advance(&self, span: Span) {
        self.now_ns.fetch_add(span.0, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Clock for SetClock {
    fn now(&self) -> Moment {
        Moment(self.now_ns.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> u64 {
        let ms = self.wall_offset_ms.load(Ordering::SeqCst) + self.now_ns.load(Ordering::SeqCst) / 1_000_000;
        u64::try_from(ms).unwrap_or(0)
    }
}

/// The slot grid: the windows, and the frames of them that the network gets.
///
/// Slot `k` ends at `k · hop` on the monotonic clock and covers the `clip` before that. All cameras share one
/// grid, so that slots of several cameras come due together. Frame `i` of `frames` is wanted at
/// `(i + ½) · clip / frames` into the window, the "midpoint" sampling of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// The length of a window: 5 s for all published systems.
    pub clip: Span,
    /// From the end of one window to the end of the next: 1 s to 5 s.
    pub hop: Span,
    /// The frames of a window that the network gets: 5 or 8.
    pub frames: u32,
}

impl Grid {
    /// The end of slot `slot`.
    #[must_use]
    pub fn end(&self, slot: u64) -> Moment {
        Moment(i64::try_from(slot).unwrap_or(i64::MAX).saturating_mul(self.hop.0))
    }

    /// The start of slot `slot`.
    #[must_use]
    pub fn start(&self, slot: u64) -> Moment {
        self.end(slot) - self.clip
    }

    /// The first slot that ends after `now`.
    #[must_use]
    pub fn next_slot(&self, now: Moment) -> u64 {
        u64::try_from(now.0.div_euclid(self.hop.0) + 1).unwrap_or(0)
    }

    /// The moment of frame `frame` of slot `slot`.
    #[must_use]
    pub fn wanted(&self, slot: u64, frame: u32) -> Moment {
        let twice = i64::from(2 * frame + 1);
        self.start(slot) + Span(self.clip.0 * twice / (2 * i64::from(self.frames.max(1))))
    }

    /// The first moment of a wanted frame, of any slot, at or after `moment`.
    #[must_use]
    pub fn wanted_from(&self, moment: Moment) -> Moment {
        // Slots overlap where the hop is shorter than the clip, so every slot that covers the moment is considered.
        let first = self.next_slot(moment).saturating_sub(1);
        let last = self.next_slot(moment + self.clip);
        (first..=last)
            .flat_map(|slot| (0..self.frames.max(1)).map(move |frame| self.wanted(slot, frame)))
            .filter(|wanted| moment <= *wanted)
            .min()
            .unwrap_or(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };

    #[test]
    fn frames_are_wanted_in_the_middle_of_each_second() {
        let wanted: Vec<_> = (0..5).map(|frame| (GRID.wanted(2, frame) - Moment(0)).as_ms()).collect();
        assert_eq!(wanted, [5500, 6500, 7500, 8500, 9500]);
        assert_eq!(GRID.wanted_from(Moment(0) + Span::from_ms(6501)), Moment(0) + Span::from_ms(7500));
        assert_eq!(GRID.wanted_from(Moment(0) + Span::from_ms(9501)), Moment(0) + Span::from_ms(10_500));
    }

    #[test]
    fn overlapping_windows_share_or_interleave_their_frames() {
        let hop_2500 = Grid { hop: Span::from_ms(2500), ..GRID };
        let mut at = Moment(0) + Span::from_ms(10_000);
        let mut wanted = Vec::new();
        for _ in 0..5 {
            at = hop_2500.wanted_from(at);
            wanted.push((at - Moment(0)).as_ms());
            at += Span(1);
        }
        assert_eq!(wanted, [10_000, 10_500, 11_000, 11_500, 12_000]);
    }

    #[test]
    fn a_day_of_slots_has_neither_gap_nor_drift() {
        let first = GRID.next_slot(Moment(1));
        for (n, slot) in (1..).zip(first..first + 17_280) {
            assert_eq!(GRID.next_slot(GRID.end(slot) - Span(1)), slot);
            assert_eq!(GRID.end(slot), Moment(0) + Span::from_ms(5000 * n));
        }
    }
}
