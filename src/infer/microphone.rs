//! The microphone: the only part that names cpal, with the file below it.
//!
//! A named microphone is kept open for as long as the process lives, however often it is unplugged; its sound is
//! passed on as mono samples at the network's rate, each block with its moment on our clock. It is never replaced
//! by another microphone.

mod capture;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use capture::{Block, Microphone};
use tracing::{info, warn};

use super::decode::Resampler;
use crate::{
    drift::Slew,
    service::stop::Stop,
    time::{Clock, Moment, Span},
};

/// How often what was captured is collected: a fraction of what the capture's ring holds.
const COLLECT_EVERY: Duration = Duration::from_millis(30);
/// No sample for so long means that the device hangs: every device delivers at least ten times a second.
const SILENT_MAX: Span = Span::from_ms(2000);
/// Sound right after opening only serves to measure how late blocks come at best, so that the moments that are passed
/// on need no large correction; sound cards also click in that time.
const WARM_UP: Span = Span::from_ms(700);
/// The first and the longest wait before the microphone is opened again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The drift where it is not known yet.
const DRIFT_UNKNOWN: i64 = i64::MIN;

/// Why there is no sound from the microphone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The name is not one of the three forms.
    #[error("microphone \"{name}\" is not of the form pulseaudio:NAME, alsa:NAME or default")]
    Name {
        /// As configured.
        name: String,
    },
    /// PulseAudio, PipeWire or ALSA is missing.
    #[error("the sound system of microphone \"{name}\" is not there: {reason}")]
    NoHost {
        /// As configured.
        name: String,
        /// As the sound system says it.
        reason: String,
    },
    /// The sound system knows no such microphone.
    #[error("there is no microphone \"{name}\"; these are there: {others}")]
    NoDevice {
        /// As configured.
        name: String,
        /// The names of those that are there, as they would be configured.
        others: String,
    },
    /// It is there and cannot be opened.
    #[error("microphone \"{name}\" does not open: {reason}")]
    Open {
        /// As configured.
        name: String,
        /// As the sound system says it.
        reason: String,
    },
    /// It worked before.
    #[error("microphone \"{name}\" was lost: {reason}")]
    Lost {
        /// As configured.
        name: String,
        /// What was noticed.
        reason: &'static str,
    },
}

/// The state of the microphone: written by [`run`], read by other threads.
#[derive(Debug)]
pub(crate) struct Status {
    is_present: AtomicBool,
    rate_hz: AtomicU32,
    outages: AtomicU32,
    overflowed: AtomicU64,
    drift_ppb: AtomicI64,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            is_present: AtomicBool::new(false),
            rate_hz: AtomicU32::new(0),
            outages: AtomicU32::new(0),
            overflowed: AtomicU64::new(0),
            drift_ppb: AtomicI64::new(DRIFT_UNKNOWN),
        }
    }
}

impl Status {
    /// Whether sound arrives.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn is_present(&self) -> bool {
        self.is_present.load(Ordering::Relaxed)
    }

    /// The device's own rate, samples per second; 0 before it was opened.
    #[must_use]
    pub(crate) fn rate_hz(&self) -> u32 {
        self.rate_hz.load(Ordering::Relaxed)
    }

    /// How often the microphone was lost, or was missing at the start.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn outages(&self) -> u32 {
        self.outages.load(Ordering::Relaxed)
    }

    /// How many frames were lost because this machine did not keep up.
    #[must_use]
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// How much faster (+) or slower (-) the sound card's clock runs than ours, parts per million; `None` in the
    /// first minute after it was opened.
    #[must_use]
    pub(crate) fn drift_ppm(&self) -> Option<f64> {
        let ppb = self.drift_ppb.load(Ordering::Relaxed);
        (ppb != DRIFT_UNKNOWN).then_some(ppb as f64 / 1000.0)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a drift is at most 5000 ppm")]
    fn set_drift(&self, ppm: Option<f64>) {
        self.drift_ppb.store(ppm.map_or(DRIFT_UNKNOWN, |ppm| (ppm * 1000.0) as i64), Ordering::Relaxed);
    }
}

/// Keeps the named microphone open until stopped, and passes its sound to `sink`: the moment of the first
/// sample, and mono samples, -1 to 1, at `rate_hz` samples per second. Nothing is allocated per block.
///
/// An outage is logged once, and once more when it is over.
///
/// # Errors
/// Only when `name` is not the name of a microphone, or `rate_hz` is not 8 to 192 kHz: it recovers from all else.
pub(crate) fn run(
    name: &str,
    rate_hz: u32,
    mut sink: impl FnMut(Moment, &[f32]),
    clock: &Arc<dyn Clock>,
    stop: &Stop,
    status: &Status,
) -> Result<(), Error> {
    capture::check_name(name)?;
    let mut outage_since: Option<Moment> = None;
    let mut wait = RETRY_MIN;
    loop {
        let result = Microphone::open(name, clock.clone()).and_then(|mut microphone| {
            let mut capture = Capture::new(&microphone, rate_hz)?;
            capture.run(&mut microphone, &mut sink, clock, stop, status, &mut outage_since)
        });
        status.is_present.store(false, Ordering::Relaxed);
        status.set_drift(None);
        let Err(err) = result else { return Ok(()) };
        if outage_since.is_none() {
            outage_since = Some(clock.now());
            status.outages.fetch_add(1, Ordering::Relaxed);
            wait = RETRY_MIN;
            warn!(microphone = name, err = %err, "no sound; retrying");
        }
        if !stop.sleep(wait) {
            return Ok(());
        }
        wait = (wait * 3 / 2).min(RETRY_MAX);
    }
}

/// Passes on the sound of one opened device.
struct Capture {
    slew: Slew,
    resampler: Resampler,
    mono: Vec<f32>,
    /// Frames since the device was opened, also those that were lost on the way.
    frames: u64,
    rate_hz: u32,
}

impl Capture {
    fn new(microphone: &Microphone, rate_hz: u32) -> Result<Self, Error> {
        let reason =
            |err: super::decode::Error| Error::Open { name: microphone.name().into(), reason: err.to_string() };
        Ok(Self {
            slew: Slew::new(),
            resampler: Resampler::new(microphone.rate_hz(), rate_hz).map_err(reason)?,
            mono: Vec::with_capacity(microphone.frames_max()),
            frames: 0,
            rate_hz: microphone.rate_hz(),
        })
    }

    /// Passes sound on until stopped. Returns an error when the device is lost.
    fn run(
        &mut self,
        microphone: &mut Microphone,
        sink: &mut impl FnMut(Moment, &[f32]),
        clock: &Arc<dyn Clock>,
        stop: &Stop,
        status: &Status,
        outage_since: &mut Option<Moment>,
    ) -> Result<(), Error> {
        let lost = |reason| Error::Lost { name: microphone.name().to_owned(), reason };
        let silent = lost("no samples for 2 s");
        let removed = lost("the sound system does not know it any more");
        status.rate_hz.store(self.rate_hz, Ordering::Relaxed);
        let mut newest = clock.now();
        while stop.sleep(COLLECT_EVERY) {
            while let Some(block) = microphone.next_block(&mut self.mono) {
                newest = block.arrival;
                self.take(block, sink);
                status.overflowed.fetch_add(block.lost as u64, Ordering::Relaxed);
                if !status.is_present.swap(true, Ordering::Relaxed) {
                    log_recovery(microphone, *outage_since, newest);
                    *outage_since = None;
                }
            }
            status.set_drift(self.slew.drift_ppm());
            let now = clock.now();
            if microphone.is_lost() {
                return Err(removed);
            }
            if SILENT_MAX < now - newest {
                return Err(silent);
            }
        }
        Ok(())
    }

    fn take(&mut self, block: Block, sink: &mut impl FnMut(Moment, &[f32])) {
        // A frame arrives after it was captured, so the time stamp belongs to the last one of the block.
        let total = self.frames + (block.kept + block.lost) as u64;
        let end = self.slew.map(span_of(total, self.rate_hz), block.arrival);
        self.frames = total;
        if !self.mono.is_empty() && WARM_UP <= span_of(total, self.rate_hz) {
            let first = end - span_of((block.kept + block.lost) as u64, self.rate_hz);
            self.resampler.push(first, &self.mono, sink);
        }
    }
}

fn log_recovery(microphone: &Microphone, outage_since: Option<Moment>, now: Moment) {
    let (microphone, rate_hz, channels) = (microphone.name(), microphone.rate_hz(), microphone.channels());
    match outage_since {
        Some(since) => info!(microphone, rate_hz, channels, outage = %(now - since), "sound is back"),
        None => info!(microphone, rate_hz, channels, "microphone"),
    }
}

fn span_of(frames: u64, rate_hz: u32) -> Span {
    let ns = u128::from(frames) * 1_000_000_000 / u128::from(rate_hz.max(1));
    Span(i64::try_from(ns).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_name_is_an_error_at_once() {
        let (_stopper, stop) = crate::service::stop::channel();
        let clock: Arc<dyn Clock> = Arc::new(crate::time::SystemClock);
        for name in ["", "mic", "hw:0,0", "jack:x", "alsa:"] {
            let err = run(name, 16_000, |_, _| {}, &clock, &stop, &Status::default()).unwrap_err();
            assert_eq!(err, Error::Name { name: name.to_owned() });
        }
    }

    #[test]
    fn frames_become_spans_without_rounding_for_years() {
        assert_eq!(span_of(48_000, 48_000), Span::from_ms(1000));
        assert_eq!(span_of(44_100 * 86_400 * 365, 44_100), Span::from_ms(86_400 * 365 * 1000));
    }
}
