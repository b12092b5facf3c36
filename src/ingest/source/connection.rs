//! Statistics of a connection: how far it has come, its packets, and the camera's clock.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, AtomicU32, Ordering},
};

use gst::{glib, prelude::*};
use gstreamer as gst;

use super::Medium;
use crate::{
    time::{Clock, Moment},
    wire::record::Step,
};

/// From 1900, where NTP begins, to 1970, ms. RFC 5905, figure 4.
const NTP_TO_UNIX_MS: i64 = 2_208_988_800_000;

/// The statistics of one connection, shared by everything that measures it. A new connection has new ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionStats(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    buffers: Mutex<Vec<JitterBuffer>>,
    step: AtomicU8,
    /// When the newest request was sent, on GStreamer's clock.
    requested: Mutex<Option<gst::ClockTime>>,
    round_trip_us: AtomicU32,
    /// What the camera's clock said, ms since 1970, at a moment of ours.
    camera_clock: Mutex<Option<(i64, Moment)>>,
}

type JitterBuffer = (Medium, glib::WeakRef<gst::Element>);

impl ConnectionStats {
    /// The packets of a medium that the jitter buffer gave up on since the connection was made. The decoder conceals the
    /// damage.
    #[must_use]
    pub(crate) fn lost(&self, medium: Medium) -> u32 {
        self.sum("num-lost", |of| of == medium)
    }

    /// The packets of all media that came since the connection was made.
    #[must_use]
    pub(crate) fn packets(&self) -> u32 {
        self.sum("num-pushed", |_| true)
    }

    /// The interarrival jitter of the picture's packets, microseconds, as RFC 3550, 6.4.1, defines it; 0 without RTP.
    #[must_use]
    pub(crate) fn jitter_us(&self) -> u32 {
        let jitter_ns = self.stats("avg-jitter", |of| of == Medium::Video).max().unwrap_or(0);
        u32::try_from(jitter_ns / 1000).unwrap_or(u32::MAX)
    }

    /// How far the connection has come before anything arrives: [`Step::Described`] at most.
    #[must_use]
    pub(crate) fn step(&self) -> Step {
        Step::from_code(self.0.step.load(Ordering::Relaxed)).unwrap_or(Step::None)
    }

    /// The quickest answer to a request so far, microseconds; 0 before the first.
    #[must_use]
    pub(crate) fn round_trip_us(&self) -> u32 {
        self.0.round_trip_us.load(Ordering::Relaxed)
    }

    /// The camera's wall clock minus ours, ms; [`i32::MIN`] before it is known.
    #[must_use]
    pub(crate) fn camera_clock_ms(&self, clock: &dyn Clock) -> i32 {
        let Some((theirs, moment)) = *lock(&self.0.camera_clock) else { return i32::MIN };
        let ours = i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX) - (clock.now() - moment).as_ms();
        i32::try_from((theirs - ours).clamp(i64::from(i32::MIN) + 1, i64::from(i32::MAX))).unwrap_or(i32::MIN)
    }

    pub(super) fn reach(&self, step: Step) {
        self.0.step.fetch_max(step.code(), Ordering::Relaxed);
    }

    /// A request is sent at `now`, which happens only after the one before was answered.
    pub(super) fn note_request(&self, now: gst::ClockTime) {
        self.reach(Step::Connected);
        let Some(before) = lock(&self.0.requested).replace(now) else { return };
        let took_us = u32::try_from(now.saturating_sub(before).useconds()).unwrap_or(u32::MAX).max(1);
        let best_us = match self.round_trip_us() {
            0 => took_us,
            best_us => best_us.min(took_us),
        };
        self.0.round_trip_us.store(best_us, Ordering::Relaxed);
    }

    /// The camera's clock said `ntp`, since 1900, at `moment`.
    pub(super) fn note_camera_clock(&self, ntp: gst::ClockTime, moment: Moment) {
        let unix_ms = i64::try_from(ntp.mseconds()).unwrap_or(i64::MAX) - NTP_TO_UNIX_MS;
        *lock(&self.0.camera_clock) = Some((unix_ms, moment));
    }

    pub(super) fn add(&self, medium: Medium, buffer: &gst::Element) {
        let mut buffers = lock(&self.0.buffers);
        buffers.retain(|(_, buffer)| buffer.upgrade().is_some());
        buffers.push((medium, buffer.downgrade()));
    }

    fn sum(&self, field: &str, selects: impl Fn(Medium) -> bool) -> u32 {
        u32::try_from(self.stats(field, selects).sum::<u64>()).unwrap_or(u32::MAX)
    }

    /// A number of the jitter buffers' statistics.
    fn stats(&self, field: &str, selects: impl Fn(Medium) -> bool) -> impl Iterator<Item = u64> {
        let buffers = lock(&self.0.buffers);
        let buffers = buffers.iter().filter(|(medium, _)| selects(*medium)).filter_map(|(_, buffer)| buffer.upgrade());
        let number = |buffer: gst::Element| {
            let stats = buffer.find_property("stats").map(|_| buffer.property::<gst::Structure>("stats"))?;
            stats.get::<u64>(field).ok()
        };
        buffers.filter_map(number).collect::<Vec<_>>().into_iter()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{SetClock, Span};

    #[test]
    fn a_round_trip_is_the_quickest_answer() {
        let stats = ConnectionStats::default();
        assert_eq!((stats.step(), stats.round_trip_us()), (Step::None, 0));
        for ms in [100, 130, 142, 190] {
            stats.note_request(gst::ClockTime::from_mseconds(ms));
        }
        assert_eq!((stats.step(), stats.round_trip_us()), (Step::Connected, 12_000));
        stats.reach(Step::Described);
        stats.reach(Step::Authorised);
        assert_eq!(stats.step(), Step::Described);
    }

    #[test]
    fn the_cameras_clock_is_compared_with_ours_at_the_same_moment() {
        let (stats, clock) = (ConnectionStats::default(), SetClock::at(Moment(0)));
        assert_eq!(stats.camera_clock_ms(&clock), i32::MIN);
        // 2026-01-01 and 90 s on the camera's clock, when ours said 2026-01-01 and 30 s.
        let ntp_ms = u64::try_from(1_767_225_600_000 + NTP_TO_UNIX_MS).unwrap() + 90_000;
        stats.note_camera_clock(gst::ClockTime::from_mseconds(ntp_ms), Moment(0) + Span::from_ms(30_000));
        clock.advance(Span::from_ms(31_000));
        assert_eq!(stats.camera_clock_ms(&clock), 60_000);
        // A camera whose date was never set.
        stats.note_camera_clock(gst::ClockTime::from_mseconds(NTP_TO_UNIX_MS.unsigned_abs()), Moment(0));
        assert_eq!(stats.camera_clock_ms(&clock), i32::MIN + 1);
    }
}
