//! From the units of a pipeline to those that go on: moments on our clock, sampling, numbers.
//!
//! A [`StreamTimestamper`] belongs to one connection of one camera. It is called in the threads that receive video and
//! sound, and asked by the camera's own thread.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::{
    downstream::{Counters, Downstream},
    sampling::{Fate, Sampler, Verdict},
    source::Medium,
};
use crate::{
    drift::Slew,
    time::{Moment, Span},
    wire::{
        access_unit::{AccessUnit, Codec, UnitHeader},
        control::Sampling,
    },
};

/// Sound units are collected for at most this long, where no window is about to end.
const SOUND_WAIT_MAX: Span = Span::from_ms(200);
/// Sound within this of a window's end goes at once: the slot waits for it, and decoders and resamplers delay it a
/// little.
const WINDOW_END_MARGIN: Span = Span::from_ms(150);

/// How many packets of a medium were lost since the connection was made.
pub(crate) type LossCount = Box<dyn Fn(Medium) -> u32 + Send + Sync>;

/// Gives the units of one connection their final moments and numbers, and passes on those that are needed.
pub(crate) struct StreamTimestamper<B> {
    downstream: Arc<Downstream<B>>,
    counters: Arc<Counters>,
    losses: LossCount,
    state: Mutex<State<B>>,
}

struct State<B> {
    /// Units that a pipeline still yields after the connection was given up are dropped.
    is_closed: bool,
    epoch: u32,
    sampler: Sampler,
    slew: Slew,
    /// From the presentation time of the last picture to its moment: sound is moved by the same.
    correction: Span,
    held: Option<AccessUnit<B>>,
    /// Sound that waits for more of it: every unit that goes alone wakes three threads on its way.
    waiting: Vec<AccessUnit<B>>,
    video: MediumState,
    sound: MediumState,
    activity: Activity,
}

/// What is kept per medium.
#[derive(Debug)]
struct MediumState {
    discontinuity: bool,
    lost_before: u32,
}

/// What came of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Activity {
    /// The video's codec, once there was a picture.
    pub(crate) codec: Option<Codec>,
    /// When the first picture came.
    pub(crate) first_picture: Option<Moment>,
    /// When the last picture came.
    pub(crate) last_picture: Option<Moment>,
    /// When the last sound came.
    pub(crate) last_sound: Option<Moment>,
    /// How many pictures came.
    pub(crate) pictures: u64,
    /// Whether a key frame was among them.
    pub(crate) has_key: bool,
    /// How many bytes of all media came.
    pub(crate) bytes: u64,
    /// The median distance of key frames, once known.
    pub(crate) key_distance: Option<Span>,
    /// The camera's clock against ours, parts per million, once known.
    pub(crate) drift_ppm: Option<f64>,
    /// How many pictures went on.
    pub(crate) passed: u64,
    /// How many pictures were not needed.
    pub(crate) sampled_out: u64,
}

impl<B: AsRef<[u8]> + Send + 'static> StreamTimestamper<B> {
    /// For a new connection.
    #[must_use]
    pub(crate) fn new(
        sampler: Sampler,
        downstream: Arc<Downstream<B>>,
        counters: Arc<Counters>,
        losses: LossCount,
    ) -> Self {
        let medium = || MediumState { discontinuity: true, lost_before: 0 };
        let state = State {
            is_closed: false,
            epoch: downstream.epoch(),
            sampler,
            slew: Slew::new(),
            correction: Span::ZERO,
            held: None,
            waiting: Vec::new(),
            video: medium(),
            sound: medium(),
            activity: Activity::default(),
        };
        Self { downstream, counters, losses, state: Mutex::new(state) }
    }

    /// Takes a unit of the pipeline. Its moment is its presentation time as GStreamer maps it to our clock, on which
    /// video and sound of a source agree; `rtp_time` is what the source's own clock says of it, from an arbitrary
    /// origin.
    pub(crate) fn take(&self, unit: AccessUnit<B>, rtp_time: Span) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        let epoch = self.downstream.epoch();
        if state.epoch != epoch {
            state.epoch = epoch;
            state.interrupt();
            state.sound.discontinuity = true;
        }
        state.activity.bytes += u64::try_from(unit.bytes.as_ref().len()).unwrap_or(0);
        if unit.header.codec.is_video() {
            self.video(&mut state, unit, rtp_time);
        } else {
            self.sound(&mut state, unit);
        }
    }

    /// What came so far. Sends on units that are held or wait where it is time to.
    #[must_use]
    pub(crate) fn poll(&self, now: Moment) -> Activity {
        let mut state = self.lock();
        if state.sampler.due(now) {
            self.release(&mut state);
        }
        if state.has_waited(now) {
            self.send_waiting(&mut state);
        }
        Activity {
            key_distance: state.sampler.key_distance(),
            drift_ppm: state.slew.drift_ppm(),
            passed: state.sampler.passed(),
            sampled_out: state.sampler.sampled_out(),
            ..state.activity
        }
    }

    /// Packets of all media lost since the connection was made.
    #[must_use]
    pub(crate) fn packets_lost(&self) -> u32 {
        (self.losses)(Medium::Video).saturating_add((self.losses)(Medium::Sound))
    }

    /// Nothing goes on any more, whatever an abandoned pipeline still yields.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.held = None;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn video(&self, state: &mut State<B>, mut unit: AccessUnit<B>, rtp_time: Span) {
        let header = &mut unit.header;
        let pts = header.moment;
        header.moment = state.slew.map(rtp_time, header.arrival);
        state.correction = header.moment - pts;
        let activity = &mut state.activity;
        activity.first_picture.get_or_insert(header.arrival);
        activity.last_picture = Some(header.arrival);
        activity.pictures += 1;
        activity.has_key |= header.is_key;
        if header.discontinuity {
            activity.codec = Some(header.codec);
            state.interrupt();
        }
        let sampling = if self.counters.samples_all.load(Ordering::Relaxed) { Sampling::All } else { Sampling::Grid };
        if state.sampler.set_sampling(sampling) {
            state.held = None;
        }
        let step = state.sampler.unit(header.moment, header.is_key);
        match step.held {
            Some(Fate::Pass) => self.release(state),
            Some(Fate::Drop) => state.held = None,
            None => {}
        }
        match step.unit {
            Verdict::Pass { wanted } => self.send_picture(state, unit, wanted),
            Verdict::Hold => state.held = Some(unit),
            Verdict::Drop => {}
        }
    }

    fn sound(&self, state: &mut State<B>, mut unit: AccessUnit<B>) {
        let header = &mut unit.header;
        state.activity.last_sound = Some(header.arrival);
        state.sound.discontinuity |= header.discontinuity;
        header.wanted = true;
        header.moment += state.correction;
        let UnitHeader { moment, arrival, .. } = *header;
        state.waiting.push(unit);
        if state.has_waited(arrival) || state.sampler.is_near_window_end(moment, WINDOW_END_MARGIN) {
            self.send_waiting(state);
        }
    }

    fn release(&self, state: &mut State<B>) {
        if let Some(unit) = state.held.take() {
            self.send_picture(state, unit, true);
        }
    }

    fn send_picture(&self, state: &mut State<B>, mut unit: AccessUnit<B>, wanted: bool) {
        unit.header.wanted = wanted;
        self.send_waiting(state);
        self.send(state, unit);
    }

    fn send_waiting(&self, state: &mut State<B>) {
        let mut waiting = std::mem::take(&mut state.waiting);
        waiting.drain(..).for_each(|unit| self.send(state, unit));
        // Its storage is used again.
        state.waiting = waiting;
    }

    /// Numbers a unit and queues it.
    fn send(&self, state: &mut State<B>, mut unit: AccessUnit<B>) {
        let (of_medium, seq, medium): (_, &AtomicU32, _) = if unit.header.codec.is_video() {
            (&mut state.video, &self.counters.video_seq, Medium::Video)
        } else {
            (&mut state.sound, &self.counters.sound_seq, Medium::Sound)
        };
        let lost = (self.losses)(medium);
        unit.header.discontinuity = std::mem::take(&mut of_medium.discontinuity);
        unit.header.seq = seq.fetch_add(1, Ordering::Relaxed);
        unit.header.lost = lost.saturating_sub(std::mem::replace(&mut of_medium.lost_before, lost));
        self.downstream.put(state.epoch, unit, &self.counters);
    }
}

impl<B> State<B> {
    fn has_waited(&self, now: Moment) -> bool {
        self.waiting.first().is_some_and(|unit| SOUND_WAIT_MAX <= now - unit.header.arrival)
    }

    /// What comes next is for a decoder that knows nothing of the units before: it needs a key frame first.
    fn interrupt(&mut self) {
        self.sampler.restart();
        self.held = None;
        self.video.discontinuity = true;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{
        config::Decode,
        time::Grid,
        wire::{
            CameraId,
            access_unit::{self, Message},
            control::unit_pair,
        },
    };

    const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    struct Rig {
        timestamper: StreamTimestamper<Vec<u8>>,
        from: UnixStream,
        downstream: Arc<Downstream<Vec<u8>>>,
        counters: Arc<Counters>,
        lost: Arc<AtomicU32>,
    }

    impl Rig {
        fn new(decode: Decode) -> Self {
            let (ours, theirs) = unit_pair().unwrap();
            let downstream = Arc::new(Downstream::start(ours).unwrap());
            let (counters, lost) = (Arc::new(Counters::default()), Arc::new(AtomicU32::new(0)));
            let count = Arc::clone(&lost);
            let losses: LossCount = Box::new(move |medium| match medium {
                Medium::Video => count.load(Ordering::Relaxed),
                Medium::Sound => 0,
            });
            let sampler = Sampler::new(GRID, decode, Span::from_ms(600));
            let timestamper = StreamTimestamper::new(sampler, Arc::clone(&downstream), Arc::clone(&counters), losses);
            Self { timestamper, from: theirs.into(), downstream, counters, lost }
        }

        fn picture(&self, ms: i64, is_key: bool) {
            self.unit(ms, Codec::H264, is_key, false);
        }

        fn unit(&self, ms: i64, codec: Codec, is_key: bool, discontinuity: bool) {
            let header = UnitHeader {
                camera: CameraId(1),
                codec,
                is_key,
                discontinuity,
                wanted: false,
                seq: 0,
                lost: 0,
                rate_hz: 0,
                channels: 0,
                // The presentation time is 30 ms off the moment, for both media alike.
                moment: at(ms - 30),
                arrival: at(ms),
            };
            self.timestamper.take(AccessUnit { header, bytes: vec![0; 100] }, Span::from_ms(ms + 77_000));
        }

        fn next(&mut self) -> UnitHeader {
            match access_unit::read(&mut self.from, |len| vec![0; len]).unwrap().unwrap() {
                Message::AccessUnit(unit) => unit.header,
                Message::Status(_) => panic!("no status was sent"),
            }
        }
    }

    #[test]
    fn units_are_numbered_and_say_what_was_lost_before_them() {
        let mut rig = Rig::new(Decode::Keyframes);
        rig.picture(1000, true);
        rig.lost.store(3, Ordering::Relaxed);
        (1..25).for_each(|n| rig.picture(1000 + 40 * n, false));
        rig.picture(2000, true);
        rig.lost.store(5, Ordering::Relaxed);
        rig.picture(3000, true);
        let first = rig.next();
        assert_eq!((first.seq, first.discontinuity, first.lost, first.moment), (0, true, 0, at(1000)));
        let second = rig.next();
        assert_eq!((second.seq, second.discontinuity, second.lost, second.moment), (1, false, 5, at(2000)));
        assert_eq!(rig.timestamper.packets_lost(), 5);
        let activity = rig.timestamper.poll(at(3000));
        assert_eq!((activity.pictures, activity.passed, activity.sampled_out, activity.bytes), (27, 2, 24, 2700));
    }

    #[test]
    fn the_header_says_which_pictures_the_network_will_see() {
        let mut rig = Rig::new(Decode::All);
        (0..30).for_each(|n| rig.picture(1000 + 40 * n, n == 0));
        let wanted: Vec<_> = (0..30).map(|_| rig.next()).filter(|unit| unit.wanted).map(|unit| unit.moment).collect();
        assert_eq!(wanted, [at(1000), at(1520)], "the first one, and the first one from 1500 on");
        let mut rig = Rig::new(Decode::Keyframes);
        rig.picture(3100, true);
        rig.picture(4200, true);
        assert!(rig.next().wanted);
        assert_eq!(rig.timestamper.poll(at(4800)).passed, 2);
        assert!(rig.next().wanted, "one that was held is wanted, too");
    }

    #[test]
    fn sound_keeps_its_distance_to_the_picture() {
        let mut rig = Rig::new(Decode::All);
        rig.picture(1000, true);
        rig.unit(1010, Codec::Pcmu, true, true);
        assert_eq!(rig.timestamper.poll(at(1210)).last_sound, Some(at(1010)));
        assert_eq!(rig.next().moment, at(1000));
        let sound = rig.next();
        assert_eq!((sound.codec, sound.seq, sound.discontinuity, sound.moment), (Codec::Pcmu, 0, true, at(1010)));
    }

    /// Whether nothing comes for a while.
    fn is_quiet(rig: &Rig) -> bool {
        rig.from.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        let read = access_unit::read(&mut &rig.from, |len| vec![0; len]);
        rig.from.set_read_timeout(None).unwrap();
        read.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[test]
    fn sound_waits_for_more_of_it_but_not_past_the_end_of_a_window() {
        let mut rig = Rig::new(Decode::All);
        rig.picture(1000, true);
        assert_eq!(rig.next().codec, Codec::H264);
        (0..10).for_each(|n| rig.unit(1010 + 20 * n, Codec::Pcmu, true, false));
        assert!(is_quiet(&rig));
        rig.unit(1210, Codec::Pcmu, true, false);
        (0..11).for_each(|n| assert_eq!(rig.next().seq, n));
        rig.unit(1230, Codec::Pcmu, true, false);
        assert_eq!(rig.timestamper.poll(at(1429)).last_sound, Some(at(1230)));
        assert!(is_quiet(&rig));
        assert_eq!(rig.timestamper.poll(at(1430)).last_sound, Some(at(1230)));
        assert_eq!(rig.next().moment, at(1230), "the last sound before an outage goes on, too");
        rig.unit(4840, Codec::Pcmu, true, false);
        assert!(is_quiet(&rig));
        rig.unit(4860, Codec::Pcmu, true, false);
        assert_eq!([rig.next().moment, rig.next().moment], [at(4840), at(4860)]);
        rig.unit(5149, Codec::Pcmu, true, false);
        assert_eq!(rig.next().moment, at(5149));
    }

    #[test]
    fn a_held_unit_goes_on_when_nothing_arrives_any_more() {
        let mut rig = Rig::new(Decode::Keyframes);
        rig.picture(3100, true);
        rig.picture(4200, true);
        assert_eq!(rig.next().moment, at(3100));
        let activity = rig.timestamper.poll(at(4799));
        assert_eq!((activity.pictures, activity.passed), (2, 1));
        assert_eq!(rig.counters.video_seq.load(Ordering::Relaxed), 1);
        let activity = rig.timestamper.poll(at(4800));
        assert_eq!((activity.pictures, activity.passed), (2, 2));
        assert_eq!(rig.next().moment, at(4200));
    }

    #[test]
    fn a_new_reader_begins_at_a_key_frame() {
        let mut rig = Rig::new(Decode::Auto);
        rig.picture(1000, true);
        rig.picture(1040, false);
        assert_eq!((rig.next().seq, rig.next().seq), (0, 1));
        let (ours, theirs) = unit_pair().unwrap();
        rig.downstream.replace(ours);
        rig.from = theirs.into();
        rig.picture(1080, false);
        rig.unit(1090, Codec::Opus, true, false);
        rig.picture(2000, true);
        let sound = rig.next();
        assert_eq!((sound.codec, sound.discontinuity), (Codec::Opus, true));
        let picture = rig.next();
        assert_eq!((picture.seq, picture.discontinuity, picture.is_key, picture.moment), (2, true, true, at(2000)));
    }

    #[test]
    fn all_pictures_are_passed_on_from_a_key_frame_on_until_that_ends() {
        let mut rig = Rig::new(Decode::Keyframes);
        // The second key frame is held, as a nearer one may come for its moment; the new sampling drops it.
        (0..30).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        rig.counters.samples_all.store(true, Ordering::Relaxed);
        (30..53).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        rig.counters.samples_all.store(false, Ordering::Relaxed);
        (53..101).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        let passed = rig.timestamper.poll(at(3100)).passed;
        let units: Vec<_> =
            (0..passed).map(|_| rig.next()).map(|unit| ((unit.moment - at(3100)).as_ms() / 40, unit.is_key)).collect();
        assert_eq!(units, [(0, true), (50, true), (51, false), (52, false), (75, true)]);
    }

    #[test]
    fn a_new_format_is_a_discontinuity_and_after_the_close_nothing_goes_on() {
        let mut rig = Rig::new(Decode::Auto);
        rig.picture(1000, true);
        rig.unit(2000, Codec::H264, true, true);
        rig.picture(2040, false);
        assert_eq!([rig.next().discontinuity, rig.next().discontinuity, rig.next().discontinuity], [true, true, false]);
        rig.timestamper.close();
        rig.picture(3000, true);
        assert_eq!(rig.counters.video_seq.load(Ordering::Relaxed), 3);
    }
}
