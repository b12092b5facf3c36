//! From what a pipeline yields to what goes on: moments on our clock, sampling, numbers.
//!
//! A tap belongs to one connection of one camera. It is called in the threads that receive video and sound, and
//! looked at by the camera's own thread.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::{
    downstream::{Counters, Downstream},
    sampling::{Fate, Sampler, Verdict},
    source::{Medium, Piece},
};
use crate::{
    drift::Slew,
    time::{Moment, Span},
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec},
    },
};

/// So long may sound wait for more of it, where no window is about to end.
const SOUND_WAITS: Span = Span::from_ms(200);
/// Sound within this of a window's end goes at once: the slot waits for it, and decoders and resamplers hold a little.
const SOUND_HURRIES: Span = Span::from_ms(150);

/// How many packets of a medium were lost since the connection was made.
pub type LossCount = Box<dyn Fn(Medium) -> u32 + Send + Sync>;

/// What one connection yields.
pub struct StreamTimestamper<B> {
    camera: CameraId,
    downstream: Arc<Downstream<B>>,
    ledger: Arc<Counters>,
    losses: LossCount,
    state: Mutex<State<B>>,
}

struct State<B> {
    /// Units that come after the connection was given up are none of ours.
    is_closed: bool,
    epoch: u32,
    sampler: Sampler,
    slew: Slew,
    /// From the presentation time of the last picture to its moment: sound is moved by the same.
    correction: Span,
    held: Option<(AccessUnit, B)>,
    /// Sound that waits for more of it: every unit that goes alone wakes three threads on its way.
    waiting: Vec<(AccessUnit, B)>,
    video: Lane,
    sound: Lane,
    seen: Seen,
}

/// What is kept per medium.
#[derive(Debug)]
struct Lane {
    is_fresh: bool,
    lost_before: u32,
}

/// What was seen of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// The video's codec, once there was a picture.
    pub codec: Option<Codec>,
    /// When the first picture came.
    pub first_picture: Option<Moment>,
    /// When the last picture came.
    pub last_picture: Option<Moment>,
    /// When the last sound came.
    pub last_sound: Option<Moment>,
    /// How many pictures came.
    pub pictures: u64,
    /// Whether a key frame was among them.
    pub has_key: bool,
    /// How many bytes of all media came.
    pub bytes: u64,
    /// The median distance of key frames, once known.
    pub key_distance: Option<Span>,
    /// The camera's clock against ours, parts per million, once known.
    pub drift_ppm: Option<f64>,
    /// How many pictures went on.
    pub passed: u64,
    /// How many pictures were not needed.
    pub sampled_out: u64,
}

impl<B: AsRef<[u8]> + Send + 'static> StreamTimestamper<B> {
    /// A tap of a new connection.
    #[must_use]
    pub fn new(
        camera: CameraId,
        sampler: Sampler,
        downstream: Arc<Downstream<B>>,
        ledger: Arc<Counters>,
        losses: LossCount,
    ) -> Self {
        let lane = || Lane { is_fresh: true, lost_before: 0 };
        let state = State {
            is_closed: false,
            epoch: downstream.epoch(),
            sampler,
            slew: Slew::new(),
            correction: Span::ZERO,
            held: None,
            waiting: Vec::new(),
            video: lane(),
            sound: lane(),
            seen: Seen::default(),
        };
        Self { camera, downstream, ledger, losses, state: Mutex::new(state) }
    }

    /// Takes what the pipeline yields.
    pub fn take(&self, piece: Piece<B>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        let epoch = self.downstream.epoch();
        if state.epoch != epoch {
            state.epoch = epoch;
            state.begin_anew();
            state.sound.is_fresh = true;
        }
        state.seen.bytes += u64::try_from(piece.body.as_ref().len()).unwrap_or(0);
        if piece.codec.is_video() {
            self.video(&mut state, piece);
        } else {
            self.sound(&mut state, piece);
        }
    }

    /// What was seen so far. Sends on what is held or waits if it is time to.
    #[must_use]
    pub fn look(&self, now: Moment) -> Seen {
        let mut state = self.lock();
        if state.sampler.due(now) {
            self.release(&mut state);
        }
        if state.has_waited(now) {
            self.send_waiting(&mut state);
        }
        Seen {
            key_distance: state.sampler.key_distance(),
            drift_ppm: state.slew.drift_ppm(),
            passed: state.sampler.passed(),
            sampled_out: state.sampler.sampled_out(),
            ..state.seen
        }
    }

    /// Packets of all media lost since the connection was made.
    #[must_use]
    pub fn packets_lost(&self) -> u32 {
        (self.losses)(Medium::Video).saturating_add((self.losses)(Medium::Sound))
    }

    /// Nothing goes on any more, whatever an abandoned pipeline still yields.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.held = None;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn video(&self, state: &mut State<B>, piece: Piece<B>) {
        let moment = state.slew.map(piece.foreign, piece.arrival);
        state.correction = moment - piece.shown;
        let seen = &mut state.seen;
        seen.first_picture.get_or_insert(piece.arrival);
        seen.last_picture = Some(piece.arrival);
        seen.pictures += 1;
        if piece.is_new_format {
            seen.codec = Some(piece.codec);
            state.begin_anew();
        }
        if state.sampler.want_all(self.ledger.wants_all.load(Ordering::Relaxed)) {
            state.held = None;
        }
        state.seen.has_key |= piece.is_key;
        let step = state.sampler.unit(moment, piece.is_key);
        match step.held {
            Some(Fate::Pass) => self.release(state),
            Some(Fate::Drop) => state.held = None,
            None => {}
        }
        let unit = self.unit(&piece, moment);
        match step.unit {
            Verdict::Pass => self.send_picture(state, unit, piece.body),
            Verdict::Hold => state.held = Some((unit, piece.body)),
            Verdict::Drop => {}
        }
    }

    fn sound(&self, state: &mut State<B>, piece: Piece<B>) {
        state.seen.last_sound = Some(piece.arrival);
        state.sound.is_fresh |= piece.is_new_format;
        let moment = piece.shown + state.correction;
        let unit = self.unit(&piece, moment);
        state.waiting.push((unit, piece.body));
        if state.has_waited(piece.arrival) || state.sampler.is_near_window_end(moment, SOUND_HURRIES) {
            self.send_waiting(state);
        }
    }

    /// The unit as far as it is known before it is its turn.
    fn unit(&self, piece: &Piece<B>, moment: Moment) -> AccessUnit {
        AccessUnit {
            camera: self.camera,
            codec: piece.codec,
            key: piece.is_key,
            fresh: false,
            seq: 0,
            lost: 0,
            rate_hz: piece.rate_hz,
            channels: piece.channels,
            moment,
            arrival: piece.arrival,
        }
    }

    fn release(&self, state: &mut State<B>) {
        if let Some((unit, body)) = state.held.take() {
            self.send_picture(state, unit, body);
        }
    }

    fn send_picture(&self, state: &mut State<B>, unit: AccessUnit, body: B) {
        self.send_waiting(state);
        self.send(state, unit, body);
    }

    fn send_waiting(&self, state: &mut State<B>) {
        let mut waiting = std::mem::take(&mut state.waiting);
        waiting.drain(..).for_each(|(unit, body)| self.send(state, unit, body));
        // Its storage is used again.
        state.waiting = waiting;
    }

    fn send(&self, state: &mut State<B>, unit: AccessUnit, body: B) {
        let (lane, seq, medium): (_, &AtomicU32, _) = if unit.codec.is_video() {
            (&mut state.video, &self.ledger.video_seq, Medium::Video)
        } else {
            (&mut state.sound, &self.ledger.sound_seq, Medium::Sound)
        };
        let lost = (self.losses)(medium);
        let unit = AccessUnit {
            fresh: std::mem::take(&mut lane.is_fresh),
            seq: seq.fetch_add(1, Ordering::Relaxed),
            lost: lost.saturating_sub(std::mem::replace(&mut lane.lost_before, lost)),
            ..unit
        };
        self.downstream.put(state.epoch, unit, body, &self.ledger);
    }
}

impl<B> State<B> {
    fn has_waited(&self, now: Moment) -> bool {
        self.waiting.first().is_some_and(|(unit, _)| SOUND_WAITS <= now - unit.arrival)
    }

    /// The decoder behind is a new one, or the format is: it needs a key frame first.
    fn begin_anew(&mut self) {
        self.sampler.restart();
        self.held = None;
        self.video.is_fresh = true;
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
            access_unit::{self, Message},
            control::unit_pair,
        },
    };

    const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    struct Rig {
        tap: StreamTimestamper<Vec<u8>>,
        from: UnixStream,
        downstream: Arc<Downstream<Vec<u8>>>,
        ledger: Arc<Counters>,
        lost: Arc<AtomicU32>,
    }

    impl Rig {
        fn new(decode: Decode) -> Self {
            let (ours, theirs) = unit_pair().unwrap();
            let downstream = Arc::new(Downstream::start(ours).unwrap());
            let (ledger, lost) = (Arc::new(Counters::default()), Arc::new(AtomicU32::new(0)));
            let count = Arc::clone(&lost);
            let losses: LossCount = Box::new(move |medium| match medium {
                Medium::Video => count.load(Ordering::Relaxed),
                Medium::Sound => 0,
            });
            let sampler = Sampler::new(GRID, decode, Span::from_ms(600));
            let tap =
                StreamTimestamper::new(CameraId(1), sampler, Arc::clone(&downstream), Arc::clone(&ledger), losses);
            Self { tap, from: theirs.into(), downstream, ledger, lost }
        }

        fn picture(&self, ms: i64, is_key: bool) {
            self.piece(ms, Codec::H264, is_key, false);
        }

        fn piece(&self, ms: i64, codec: Codec, is_key: bool, is_new_format: bool) {
            // The presentation time is 30 ms off the moment, for both media alike.
            let piece = Piece {
                codec,
                is_key,
                is_new_format,
                rate_hz: 0,
                channels: 0,
                foreign: Span::from_ms(ms + 77_000),
                shown: at(ms - 30),
                arrival: at(ms),
                body: vec![0; 100],
            };
            self.tap.take(piece);
        }

        fn next(&mut self) -> AccessUnit {
            match access_unit::read(&mut self.from, &mut Vec::new()).unwrap().unwrap() {
                Message::AccessUnit(unit) => unit,
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
        assert_eq!((first.seq, first.fresh, first.lost, first.moment), (0, true, 0, at(1000)));
        let second = rig.next();
        assert_eq!((second.seq, second.fresh, second.lost, second.moment), (1, false, 5, at(2000)));
        assert_eq!(rig.tap.packets_lost(), 5);
        let seen = rig.tap.look(at(3000));
        assert_eq!((seen.pictures, seen.passed, seen.sampled_out, seen.bytes), (27, 2, 24, 2700));
    }

    #[test]
    fn sound_keeps_its_distance_to_the_picture() {
        let mut rig = Rig::new(Decode::All);
        rig.picture(1000, true);
        rig.piece(1010, Codec::Pcmu, true, true);
        assert_eq!(rig.tap.look(at(1210)).last_sound, Some(at(1010)));
        assert_eq!(rig.next().moment, at(1000));
        let sound = rig.next();
        assert_eq!((sound.codec, sound.seq, sound.fresh, sound.moment), (Codec::Pcmu, 0, true, at(1010)));
    }

    /// Whether nothing comes for a while.
    fn is_quiet(rig: &Rig) -> bool {
        rig.from.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
        let read = access_unit::read(&mut &rig.from, &mut Vec::new());
        rig.from.set_read_timeout(None).unwrap();
        read.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[test]
    fn sound_waits_for_more_of_it_but_not_past_the_end_of_a_window() {
        let mut rig = Rig::new(Decode::All);
        rig.picture(1000, true);
        assert_eq!(rig.next().codec, Codec::H264);
        (0..10).for_each(|n| rig.piece(1010 + 20 * n, Codec::Pcmu, true, false));
        assert!(is_quiet(&rig));
        rig.piece(1210, Codec::Pcmu, true, false);
        (0..11).for_each(|n| assert_eq!(rig.next().seq, n));
        rig.piece(1230, Codec::Pcmu, true, false);
        assert_eq!(rig.tap.look(at(1429)).last_sound, Some(at(1230)));
        assert!(is_quiet(&rig));
        assert_eq!(rig.tap.look(at(1430)).last_sound, Some(at(1230)));
        assert_eq!(rig.next().moment, at(1230), "the last sound before an outage goes on, too");
        rig.piece(4840, Codec::Pcmu, true, false);
        assert!(is_quiet(&rig));
        rig.piece(4860, Codec::Pcmu, true, false);
        assert_eq!([rig.next().moment, rig.next().moment], [at(4840), at(4860)]);
        rig.piece(5149, Codec::Pcmu, true, false);
        assert_eq!(rig.next().moment, at(5149));
    }

    #[test]
    fn a_held_unit_goes_on_when_nothing_arrives_any_more() {
        let mut rig = Rig::new(Decode::Keyframes);
        rig.picture(3100, true);
        rig.picture(4200, true);
        assert_eq!(rig.next().moment, at(3100));
        let seen = rig.tap.look(at(4799));
        assert_eq!((seen.pictures, seen.passed), (2, 1));
        assert_eq!(rig.ledger.video_seq.load(Ordering::Relaxed), 1);
        let seen = rig.tap.look(at(4800));
        assert_eq!((seen.pictures, seen.passed), (2, 2));
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
        rig.piece(1090, Codec::Opus, true, false);
        rig.picture(2000, true);
        let sound = rig.next();
        assert_eq!((sound.codec, sound.fresh), (Codec::Opus, true));
        let picture = rig.next();
        assert_eq!((picture.seq, picture.fresh, picture.key, picture.moment), (2, true, true, at(2000)));
    }

    #[test]
    fn a_clap_test_gets_everything_from_a_key_frame_on_until_it_ends() {
        let mut rig = Rig::new(Decode::Keyframes);
        // The second key frame is held, as a nearer one may come for its moment; the test voids that.
        (0..30).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        rig.ledger.wants_all.store(true, Ordering::Relaxed);
        (30..53).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        rig.ledger.wants_all.store(false, Ordering::Relaxed);
        (53..101).for_each(|n| rig.picture(3100 + 40 * n, n % 25 == 0));
        let passed = rig.tap.look(at(3100)).passed;
        let units: Vec<_> =
            (0..passed).map(|_| rig.next()).map(|it| ((it.moment - at(3100)).as_ms() / 40, it.key)).collect();
        assert_eq!(units, [(0, true), (50, true), (51, false), (52, false), (75, true)]);
    }

    #[test]
    fn a_new_format_is_fresh_and_a_closed_tap_is_dry() {
        let mut rig = Rig::new(Decode::Auto);
        rig.picture(1000, true);
        rig.piece(2000, Codec::H264, true, true);
        rig.picture(2040, false);
        assert_eq!([rig.next().fresh, rig.next().fresh, rig.next().fresh], [true, true, false]);
        rig.tap.close();
        rig.picture(3000, true);
        assert_eq!(rig.ledger.video_seq.load(Ordering::Relaxed), 3);
    }
}
