//! A microphone of a private PulseAudio.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    infer::{
        microphone::{self, Error, Microphone, Status},
        ring::{KEPT, SoundRing},
    },
    service::stop::{self, Stopper},
    time::{Clock, Moment, Span, SystemClock},
};

use super::Tone;
use crate::it::harness::pulse::{MICROPHONE, Pulse};

const DEADLINE: Duration = Duration::from_secs(30);

/// A microphone that is kept open, and its sound.
struct Capture {
    blocks: Receiver<(Moment, Vec<f32>)>,
    status: Arc<Status>,
    stopper: Option<Stopper>,
    thread: Option<thread::JoinHandle<Result<(), Error>>>,
}

impl Capture {
    fn of(name: &'static str) -> Self {
        let (sender, blocks) = bounded(10_000);
        let status = Arc::new(Status::default());
        let (stopper, stop) = stop::channel();
        let run = {
            let status = status.clone();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            move || {
                let sink = |first, samples: &[f32]| sender.send((first, samples.to_vec())).unwrap();
                microphone::run(name, 16_000, sink, &clock, &stop, &status)
            }
        };
        let thread = thread::Builder::new().name("microphone".into()).spawn(run).unwrap();
        Self { blocks, status, stopper: Some(stopper), thread: Some(thread) }
    }

    /// Collects sound until `done` says that it is enough.
    #[track_caller]
    fn until(&self, ring: &mut SoundRing, mut done: impl FnMut(&SoundRing) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(ring) {
            let (first, samples) = self.blocks.recv_deadline(deadline).expect("such sound arrives");
            ring.write(first, &samples);
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stopper = None;
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.unwrap().is_ok());
    }
}

fn ring() -> SoundRing {
    SoundRing::new(16_000, KEPT)
}

/// The last seconds of sound, once they are all covered, and their level.
fn last(seconds: usize, ring: &SoundRing) -> Option<(Vec<f32>, f32)> {
    let mut out = vec![0.0; 16_000 * seconds];
    let end = ring.end()?;
    let span = Span::from_ms(i64::try_from(seconds).unwrap() * 1000);
    let coverage = ring.read(end - span, end, &mut out).ok()?;
    (coverage.covered == coverage.total).then_some((out, coverage.level_dbfs))
}

/// The last second of sound, once it is all covered and louder than silence.
fn last_second(ring: &SoundRing) -> Option<Vec<f32>> {
    last(1, ring).filter(|(_, level_dbfs)| -20.0 < *level_dbfs).map(|(sound, _)| sound)
}

/// Five seconds of a tone of half of full scale, which is -9.03 dBFS. On a busy machine PulseAudio itself starves now and
/// then and puts silence into its microphone, so these are waited for.
fn five_seconds(ring: &SoundRing) -> Option<Vec<f32>> {
    last(5, ring).filter(|(_, level_dbfs)| (level_dbfs - -9.03).abs() < 0.2).map(|(sound, _)| sound)
}

#[test]
fn a_tone_arrives_in_pitch_level_and_time() {
    Pulse::in_own_process("it::infer::media::microphone::a_tone_arrives_in_pitch_level_and_time", |pulse| {
        let listening = Capture::of(MICROPHONE);
        let _tone = pulse.play_sine(1000.0, 0.5);
        let mut ring = ring();
        listening.until(&mut ring, |ring| last_second(ring).is_some());
        // From here on the tone sounds, and no sample of it may be missing.
        let (gaps, overlapped) = (ring.gaps(), ring.overlapped());
        // Not after every block: that would take longer than the block.
        let mut next = ring.end().unwrap() + Span::from_ms(5000);
        listening.until(&mut ring, |ring| {
            let is_due = next <= ring.end().unwrap();
            next = if is_due { next + Span::from_ms(1000) } else { next };
            is_due && five_seconds(ring).is_some()
        });
        let late = SystemClock.now() - ring.end().unwrap();
        assert!((Span::ZERO..Span::from_ms(500)).contains(&late), "the sound is {late} late");
        assert_eq!((ring.gaps(), ring.overlapped()), (gaps, overlapped));
        Tone::check(&five_seconds(&ring).unwrap(), 16_000.0, 1000.0, 0.5, -40.0);
        assert_eq!((listening.status.rate_hz(), listening.status.outages()), (48_000, 0));
        assert_eq!(listening.status.overflowed(), 0);
    });
}

#[test]
fn unplugged_and_back_with_another_rate() {
    Pulse::in_own_process("it::infer::media::microphone::unplugged_and_back_with_another_rate", |pulse| {
        // There is another one, to which PulseAudio moves recordings without being asked.
        pulse.plug("other", 48_000);
        let listening = Capture::of(MICROPHONE);
        let tone = pulse.play_sine(1000.0, 0.5);
        let mut ring = ring();
        listening.until(&mut ring, |ring| last_second(ring).is_some());
        drop(tone);
        pulse.unplug();
        let unplugged = SystemClock.now();
        // Until it is noticed blocks may still come, but none that was captured later.
        while listening.status.outages() == 0 {
            assert!(SystemClock.now() - unplugged < Span::from_ms(20_000), "the loss is not noticed");
            if let Ok((first, samples)) = listening.blocks.recv_timeout(Duration::from_millis(100)) {
                ring.write(first, &samples);
            }
        }
        assert!(!listening.status.is_present());
        pulse.replug(44_100);
        let _tone = pulse.play_sine(2000.0, 0.5);
        let plugged = SystemClock.now();
        let is_new = |ring: &SoundRing| plugged + Span::from_ms(1000) < ring.end().unwrap();
        listening.until(&mut ring, |ring| is_new(ring) && last_second(ring).is_some());
        Tone::check(&last_second(&ring).unwrap(), 16_000.0, 2000.0, 0.5, -30.0);
        // PulseAudio may also serve the old rate and resample: what counts is that the tone and its level are right.
        assert!([44_100, 48_000].contains(&listening.status.rate_hz()), "{}", listening.status.rate_hz());
        assert_eq!(listening.status.outages(), 1);
        assert!(listening.status.is_present());
        assert!(1 <= ring.gaps(), "the outage is a gap");
    });
}

#[test]
fn absent_at_the_start_and_there_later() {
    Pulse::in_own_process("it::infer::media::microphone::absent_at_the_start_and_there_later", |pulse| {
        pulse.unplug();
        let listening = Capture::of(MICROPHONE);
        let begun = SystemClock.now();
        while listening.status.outages() == 0 {
            assert!(SystemClock.now() - begun < Span::from_ms(20_000), "the absence is not noticed");
            assert!(listening.blocks.recv_timeout(Duration::from_millis(50)).is_err(), "sound from nowhere");
        }
        pulse.replug(48_000);
        let _tone = pulse.play_sine(1000.0, 0.5);
        listening.until(&mut ring(), |ring| last_second(ring).is_some());
    });
}

#[test]
fn a_wrong_name_lists_the_right_ones() {
    Pulse::in_own_process("it::infer::media::microphone::a_wrong_name_lists_the_right_ones", |_| {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let fault = Microphone::open("pulseaudio:mik", clock.clone()).unwrap_err();
        assert!(matches!(fault, Error::NoDevice { .. }), "{fault}");
        assert!(fault.to_string().contains("pulseaudio:mic.monitor"), "{fault}");
        assert!(Microphone::open("pulseaudio:mic.monitor", clock.clone()).is_ok());
        assert!(Microphone::open("default", clock).is_ok());
    });
}

#[test]
fn a_missing_sound_server_is_said_so() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let fault = Microphone::open("alsa:hw:CARD=NoSuchCard,DEV=0", clock).unwrap_err();
    assert!(matches!(fault, Error::NoDevice { .. }), "{fault}");
}
