//! Which access units the wanted frames need.
//!
//! The slot grid says in advance which moments the network will look at; everything that is not needed to decode
//! the frames at these moments is dropped while it is still compressed. Units arrive in decode order, each with the
//! presentation time, so the moments of B-frames are not in order. Nothing here reads a clock.

use crate::{
    config::Decode,
    time::{Grid, Moment, Span},
    wire::control::Sampling,
};

/// How often a caller must look at [`Sampler::due`]: what is due is due this much early, so that it is in time.
pub(crate) const LOOK_EVERY: Span = Span::from_ms(100);
/// So many key-frame distances are remembered.
const DISTANCES: usize = 5;
/// So many make the distance known: many cameras send an extra key frame right after the connection.
const DISTANCES_KNOWN: usize = 2;
/// Key frames alone are relied on where half their distance is below this share of what is allowed.
const MARGIN_IN: f64 = 0.9;

/// What becomes of the unit that just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Pass {
        /// Whether the network will see its picture, or it is needed only to decode others.
        wanted: bool,
    },
    /// The caller keeps it until a later step or [`Sampler::due`] decides. If it goes on then, its picture is wanted.
    Hold,
    /// It is not needed.
    Drop,
}

/// What becomes of a unit that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Pass,
    /// It is not needed.
    Drop,
}

/// What an arriving unit decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// About the unit that was held, which comes before the one that arrived; `None` leaves it held.
    pub(crate) held: Option<Fate>,
    /// About the unit that arrived.
    pub(crate) unit: Verdict,
}

/// Chooses among the video units of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    grid: Grid,
    decode: Decode,
    offset_max: Span,
    /// The newest key frame.
    newest: Option<Key>,
    /// The latest moment that passed since the stream began or was interrupted.
    latest: Option<Moment>,
    chain: Option<Chain>,
    distances: Distances,
    /// `Auto` only: whether key frames alone are near enough.
    is_by_keys: bool,
    sampling: Sampling,
    passed: u64,
    sampled_out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    moment: Moment,
    /// While it is held: the first wanted moment to which no earlier key frame is nearer.
    held_for: Option<Moment>,
}

/// Units that may be decoded, from a key frame on, without a gap.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// The last moment that is wanted of it.
    until: Moment,
    /// The latest moment that passed.
    latest: Moment,
}

impl Sampler {
    /// A sampler of one connection. `offset_max` is how far a frame may be from its wanted moment.
    #[must_use]
    pub(crate) fn new(grid: Grid, decode: Decode, offset_max: Span) -> Self {
        Self {
            grid,
            decode,
            offset_max,
            newest: None,
            latest: None,
            chain: None,
            distances: Distances::default(),
            is_by_keys: decode == Decode::Keyframes,
            sampling: Sampling::default(),
            passed: 0,
            sampled_out: 0,
        }
    }

    /// Decides about a unit, which arrives in decode order and is presented at `moment`.
    pub(crate) fn unit(&mut self, moment: Moment, is_key: bool) -> Step {
        let held = if is_key { self.supersede(moment) } else { self.outrun(moment) };
        let wanted = self.is_first_at_wanted_moment(moment);
        let unit = match (self.passes_all(), is_key) {
            (_, true) => self.key(moment, wanted),
            // After an interruption nothing is decodable before a key frame, even where everything is asked for.
            (true, false) if self.newest.is_some() => Verdict::Pass { wanted },
            (_, false) => self.delta(moment, wanted),
        };
        match unit {
            Verdict::Pass { .. } => {
                self.passed += 1;
                self.latest = self.latest.max(Some(moment));
            }
            Verdict::Drop => self.sampled_out += 1,
            Verdict::Hold => {}
        }
        Step { held, unit }
    }

    /// Whether a window ends within `margin` of this moment.
    #[must_use]
    pub(crate) fn is_near_window_end(&self, moment: Moment, margin: Span) -> bool {
        self.grid.next_slot(moment - margin) != self.grid.next_slot(moment + margin)
    }

    /// When [`Self::due`] should be asked at the latest, if nothing arrives.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let key = self.newest?;
        let wanted = key.held_for?;
        let window_end = self.grid.end(self.grid.next_slot(wanted));
        Some(nothing_nearer_after(key.moment, wanted).min(window_end - LOOK_EVERY))
    }

    /// Whether the held unit goes on now: nothing nearer can come, or the window is about to end and it is the
    /// nearest there is.
    pub(crate) fn due(&mut self, now: Moment) -> bool {
        self.next_deadline().is_some_and(|deadline| deadline <= now) && self.release()
    }

    /// The stream is interrupted here: nothing is decodable before the next key frame, and a held unit is dropped.
    pub(crate) fn restart(&mut self) {
        if self.newest.take().is_some_and(|key| key.held_for.is_some()) {
            self.sampled_out += 1;
        }
        self.chain = None;
        self.latest = None;
    }

    /// The median of the last key-frame distances, once it is known.
    #[must_use]
    pub(crate) fn key_distance(&self) -> Option<Span> {
        self.distances.median()
    }

    /// Selects every picture, or again only those that the network will see; from the next key frame on, because units
    /// before it need those that were dropped. Returns true if that is new: a held unit is dropped then.
    pub(crate) fn set_sampling(&mut self, sampling: Sampling) -> bool {
        let is_new = self.sampling != sampling;
        self.sampling = sampling;
        if is_new {
            self.restart();
        }
        is_new
    }

    fn passes_all(&self) -> bool {
        self.sampling == Sampling::All || self.decode == Decode::All
    }

    /// How many units went on.
    #[must_use]
    pub(crate) const fn passed(&self) -> u64 {
        self.passed
    }

    /// How many units were not needed.
    #[must_use]
    pub(crate) const fn sampled_out(&self) -> u64 {
        self.sampled_out
    }

    /// Decides about the held key frame, now that a newer one is there.
    fn supersede(&mut self, moment: Moment) -> Option<Fate> {
        let older = self.newest?;
        if moment <= older.moment {
            // Moments went back: another origin. No nearer one can follow the held one.
            self.newest = None;
            self.latest = None;
            return older.held_for.map(|_| self.decided(Fate::Pass));
        }
        self.distances.push(moment - older.moment);
        let wanted = older.held_for?;
        let is_nearest = 2 * i128::from(wanted.0) <= i128::from(older.moment.0) + i128::from(moment.0);
        Some(self.decided(if is_nearest { Fate::Pass } else { Fate::Drop }))
    }

    /// Every key frame after a unit is presented later than that unit, so a unit also rules out key frames before it.
    fn outrun(&mut self, moment: Moment) -> Option<Fate> {
        let key = self.newest?;
        let wanted = key.held_for?;
        (nothing_nearer_after(key.moment, wanted) <= moment && self.release()).then_some(Fate::Pass)
    }

    fn release(&mut self) -> bool {
        let was_held = self.newest.as_mut().and_then(|key| key.held_for.take()).is_some();
        if was_held {
            self.decided(Fate::Pass);
        }
        was_held
    }

    fn decided(&mut self, fate: Fate) -> Fate {
        match fate {
            Fate::Pass => self.passed += 1,
            Fate::Drop => self.sampled_out += 1,
        }
        fate
    }

    /// Whether this unit, if it passes, is the first one of its stream, or the first one at or after a wanted moment.
    fn is_first_at_wanted_moment(&self, moment: Moment) -> bool {
        self.latest.is_none_or(|latest| self.grid.wanted_from(latest + Span(1)) <= moment)
    }

    fn key(&mut self, moment: Moment, wanted: bool) -> Verdict {
        let older = self.newest.map(|key| key.moment);
        self.choose_mode();
        if !self.is_by_keys || self.passes_all() {
            self.newest = Some(Key { moment, held_for: None });
            self.chain = Some(Chain { until: self.chain_until(moment), latest: moment });
            return Verdict::Pass { wanted };
        }
        self.chain = None;
        // Of all wanted moments up to the middle between two key frames the older one is the nearest.
        let served = older.map(|older| {
            let middle = (i128::from(older.0) + i128::from(moment.0)).div_euclid(2);
            self.grid.wanted_from(Moment(i64::try_from(middle).unwrap_or(moment.0)) + Span(1))
        });
        let held_for = served.filter(|served| moment < *served);
        self.newest = Some(Key { moment, held_for });
        if held_for.is_some() { Verdict::Hold } else { Verdict::Pass { wanted: true } }
    }

    fn choose_mode(&mut self) {
        let Some(median) = self.distances.median().filter(|_| self.decode == Decode::Auto) else { return };
        let half = median.as_secs_f64() / 2.0;
        let allowed = self.offset_max.as_secs_f64();
        // Between the two bounds nothing changes, so that a distance near them does not flap.
        if half <= allowed * MARGIN_IN {
            self.is_by_keys = true;
        } else if allowed < half {
            self.is_by_keys = false;
        }
    }

    /// The last wanted moment before the next key frame, as far as that can be predicted. The longest of the last
    /// distances predicts it: too many frames cost a little, too few break the chain before a wanted moment.
    fn chain_until(&self, key: Moment) -> Moment {
        let Some(longest) = self.distances.longest() else { return Moment(i64::MAX) };
        let next_key = key + longest;
        // Wanted moments are never farther apart than a clip is long.
        let mut last = self.grid.wanted_from(key.max(next_key - self.grid.clip));
        if next_key <= last {
            return key;
        }
        loop {
            let next = self.grid.wanted_from(last + Span(1));
            if next_key <= next {
                return last;
            }
            last = next;
        }
    }

    fn delta(&mut self, moment: Moment, wanted: bool) -> Verdict {
        let Some(chain) = &mut self.chain else { return Verdict::Drop };
        if chain.until <= chain.latest && chain.latest < moment {
            // All frames around the last wanted moment went on, also those that are presented before others that were decoded earlier.
            self.chain = None;
            return Verdict::Drop;
        }
        chain.latest = chain.latest.max(moment);
        Verdict::Pass { wanted }
    }
}

/// From this moment on no key frame can be nearer to `wanted` than `key`, which is before it.
fn nothing_nearer_after(key: Moment, wanted: Moment) -> Moment {
    wanted + (wanted - key)
}

/// The last few distances between key frames.
#[derive(Clone, Copy, Debug, Default)]
struct Distances {
    last: [Span; DISTANCES],
    count: usize,
}

impl Distances {
    fn push(&mut self, distance: Span) {
        self.last[self.count % DISTANCES] = distance;
        self.count += 1;
    }

    fn known(&self) -> Option<&[Span]> {
        (DISTANCES_KNOWN <= self.count).then(|| &self.last[..self.count.min(DISTANCES)])
    }

    fn median(&self) -> Option<Span> {
        let mut sorted = [Span::ZERO; DISTANCES];
        let known = self.known()?;
        let sorted = &mut sorted[..known.len()];
        sorted.copy_from_slice(known);
        sorted.sort_unstable();
        Some(sorted[sorted.len() / 2])
    }

    fn longest(&self) -> Option<Span> {
        self.known()?.iter().copied().max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };
    const OFFSET_MAX: Span = Span::from_ms(600);

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    /// Plays units to a sampler and keeps what is held, as the caller does.
    struct Player {
        sampler: Sampler,
        held_ms: Option<i64>,
        passed_ms: Vec<i64>,
        wanted_ms: Vec<i64>,
    }

    impl Player {
        fn new(decode: Decode) -> Self {
            Self {
                sampler: Sampler::new(GRID, decode, OFFSET_MAX),
                held_ms: None,
                passed_ms: Vec::new(),
                wanted_ms: Vec::new(),
            }
        }

        fn unit(&mut self, ms: i64, is_key: bool) {
            let step = self.sampler.unit(at(ms), is_key);
            match step.held {
                Some(Fate::Pass) => self.release(),
                Some(Fate::Drop) => self.held_ms = None,
                None => {}
            }
            match step.unit {
                Verdict::Pass { wanted } => {
                    self.passed_ms.push(ms);
                    self.wanted_ms.extend(wanted.then_some(ms));
                }
                Verdict::Hold => assert!(self.held_ms.replace(ms).is_none(), "two units held at {ms}"),
                Verdict::Drop => {}
            }
            assert_eq!(self.held_ms.is_some(), self.sampler.next_deadline().is_some(), "at {ms}");
        }

        fn release(&mut self) {
            let held_ms = self.held_ms.take().expect("something is held");
            self.passed_ms.push(held_ms);
            self.wanted_ms.push(held_ms);
        }

        fn look(&mut self, now_ms: i64) {
            if self.sampler.due(at(now_ms)) {
                self.release();
            }
        }
    }

    #[test]
    fn of_the_key_frames_the_nearest_to_each_wanted_moment_passes() {
        // Wanted: 500, 1500, 2500, … ms.
        let check = |keys_ms: &[i64], want_ms: &[i64]| {
            let mut player = Player::new(Decode::Keyframes);
            keys_ms.iter().for_each(|ms| player.unit(*ms, true));
            assert_eq!(player.passed_ms, want_ms, "{keys_ms:?}");
            assert_eq!(player.wanted_ms, want_ms, "{keys_ms:?}");
        };
        check(&[5000, 6000, 7000, 8000], &[5000, 6000, 7000]);
        check(&[5000, 5250, 5500, 5750, 6000, 6250, 6500], &[5000, 5500, 6500]);
        check(&[5000, 5300, 5600, 5900, 6200, 6490, 6560], &[5000, 5600, 6490]);
        // One key frame serves several wanted moments, and passes once.
        check(&[5000, 9000, 13_000], &[5000, 9000, 13_000]);
        // After a jump back the origin is another one.
        check(&[5000, 5900, 1000, 2000], &[5000, 5900, 1000]);
    }

    #[test]
    fn a_held_key_frame_is_released_as_soon_as_nothing_can_be_nearer() {
        let mut player = Player::new(Decode::Keyframes);
        player.unit(5000, true);
        player.unit(6000, true);
        player.unit(6400, true);
        // 6400 is 100 before 6500: nothing after 6600 is nearer.
        player.unit(6599, false);
        assert_eq!(player.held_ms, Some(6400));
        player.unit(6600, false);
        assert_eq!(player.passed_ms, [5000, 6400]);
    }

    #[test]
    fn a_held_key_frame_is_released_by_the_clock_alone_before_its_window_ends() {
        let mut player = Player::new(Decode::Keyframes);
        player.unit(8000, true);
        player.unit(9100, true);
        assert_eq!(player.sampler.next_deadline(), Some(at(9900)));
        player.look(9899);
        assert_eq!(player.held_ms, Some(9100));
        player.look(9900);
        assert_eq!(player.passed_ms, [8000, 9100]);
        // A nearer one that comes after all passes too.
        player.unit(9700, true);
        player.look(9900);
        assert_eq!(player.passed_ms, [8000, 9100, 9700]);
        player.look(20_000);
        assert_eq!(player.passed_ms.len(), 3, "nothing is released twice");
    }

    #[test]
    fn a_chain_reaches_the_last_wanted_moment_before_the_next_key_frame() {
        // A key frame every 2 s and 5 frames per second: half of 2 s is beyond 600 ms.
        let mut player = Player::new(Decode::Auto);
        (0..30).for_each(|n| player.unit(5100 + 200 * n, n % 10 == 0));
        assert_eq!(player.sampler.key_distance(), Some(Span::from_ms(2000)));
        // Unknown at first: everything passes. From 9100 on: until the first frame at or after 10500.
        let late: Vec<i64> = player.passed_ms.iter().copied().filter(|ms| 9100 <= *ms).collect();
        assert_eq!(late, [9100, 9300, 9500, 9700, 9900, 10_100, 10_300, 10_500]);
        assert_eq!(player.passed_ms.iter().filter(|ms| **ms < 9100).count(), 20);
        assert_eq!((player.sampler.passed(), player.sampler.sampled_out()), (28, 2));
        // The first one, and the first one at or after each of 5500, 6500, … ms.
        assert_eq!(player.wanted_ms, [5100, 5500, 6500, 7500, 8500, 9500, 10_500]);
    }

    #[test]
    fn a_chain_keeps_the_frames_that_are_decoded_late() {
        // I P B B P B B in decode order; the last wanted moment before the next key frame, 10000, is 9500.
        let mut player = Player::new(Decode::Auto);
        for group in 0..3 {
            let start = 4000 + 2000 * group;
            player.unit(start, true);
            for n in 0..6 {
                let p = start + 300 + 300 * n;
                [p, p - 200, p - 100].iter().for_each(|ms| player.unit(*ms, false));
            }
        }
        let late: Vec<i64> = player.passed_ms.iter().copied().filter(|ms| 8000 <= *ms).collect();
        let whole = [8000, 8300, 8100, 8200, 8600, 8400, 8500, 8900, 8700, 8800, 9200, 9000, 9100, 9500, 9300, 9400];
        assert_eq!(late, whole);
        assert_eq!(player.wanted_ms, [4000, 4600, 5500, 6600, 7500, 8600, 9500], "each once, whatever the order");
    }

    #[test]
    fn a_broken_chain_waits_for_a_key_frame() {
        let mut player = Player::new(Decode::Auto);
        player.unit(4900, false);
        player.unit(5000, true);
        player.unit(5100, false);
        player.sampler.restart();
        player.unit(5200, false);
        player.unit(6000, true);
        player.unit(6100, false);
        assert_eq!(player.passed_ms, [5000, 5100, 6000, 6100]);
        assert_eq!(player.wanted_ms, [5000, 6000], "the first of each stream, and no wanted moment is reached");
        assert_eq!(player.sampler.key_distance(), None, "no distance is measured across a gap");
    }

    #[test]
    fn auto_follows_the_distance_it_measures() {
        let mut player = Player::new(Decode::Auto);
        let mut run = |from_ms: i64, distance_ms: i64, groups: i64| {
            for group in 0..groups {
                let start = from_ms + group * distance_ms;
                player.unit(start, true);
                (1..distance_ms / 40).for_each(|n| player.unit(start + 40 * n, false));
            }
            let passed = player.passed_ms.len();
            player.passed_ms.clear();
            passed
        };
        // 1 s: two whole groups until it is known, then one unit per group; the last one is still held.
        assert_eq!(run(0, 1000, 10), 2 * 25 + 7);
        // A key frame that goes missing now and then changes nothing.
        assert_eq!(run(10_000, 2000, 1), 2);
        assert_eq!(run(12_000, 1000, 8), 7);
        // 4 s: chains after a majority of such distances.
        let long = run(20_000, 4000, 6);
        assert!((2 * 70..=4 * 100).contains(&long), "{long}");
        assert_eq!(player.sampler.key_distance(), Some(Span::from_ms(4000)));
    }

    #[test]
    fn every_unit_passes_where_all_are_asked_for() {
        let mut player = Player::new(Decode::All);
        (0..100).for_each(|n| player.unit(40 * n, n % 25 == 3));
        assert_eq!(player.passed_ms.len(), 97, "all from the first key frame on");
        assert_eq!(player.wanted_ms, [120, 520, 1520, 2520, 3520], "the first, and one for each wanted moment");
        assert_eq!(player.sampler.key_distance(), Some(Span::from_ms(1000)));
        player.sampler.restart();
        (100..110).for_each(|n| player.unit(40 * n, n == 105));
        assert_eq!(player.passed_ms[97..], [4200, 4240, 4280, 4320, 4360]);
    }

    #[test]
    fn of_a_camera_of_stills_one_frame_passes_per_wanted_moment() {
        let mut player = Player::new(Decode::Auto);
        (0..1500).for_each(|n| player.unit(40 * n, true));
        // 60 s hold 60 wanted moments; until the distance is known, the first three pass as well.
        assert_eq!(player.passed_ms.len(), 60 + 2, "{:?}", player.passed_ms);
        assert!(player.passed_ms[2..].iter().all(|ms| (ms % 1000 - 500).abs() <= 20), "{:?}", player.passed_ms);
    }

    #[test]
    fn a_day_of_frames_passes_one_key_frame_per_wanted_moment() {
        let mut sampler = Sampler::new(GRID, Decode::Auto, OFFSET_MAX);
        for second in 0..86_400 {
            (0..25).for_each(|n| {
                sampler.unit(at(1000 * second + 40 * n + 7), n == 0);
            });
        }
        let until_known = 2 * 25;
        let held = 1;
        assert_eq!(sampler.passed(), until_known + 86_398 - held);
        assert_eq!(sampler.sampled_out(), 86_400 * 25 - sampler.passed() - held);
    }

    fn nearest_distance(wanted: Moment, keys: impl Iterator<Item = i64>) -> i64 {
        keys.map(|ms| (at(ms) - wanted).abs().as_ns()).min().expect("there are key frames")
    }

    proptest! {
        #[test]
        fn every_wanted_moment_gets_the_nearest_key_frame(
            gaps_ms in proptest::collection::vec(1_i64..4000, 2..60),
            hop_ms in prop_oneof![Just(1000_i64), Just(2500), Just(5000)],
            frames in prop_oneof![Just(5_u32), Just(8)],
            looks in any::<bool>(),
        ) {
            let grid = Grid { hop: Span::from_ms(hop_ms), frames, ..GRID };
            let mut player = Player::new(Decode::Keyframes);
            player.sampler = Sampler::new(grid, Decode::Keyframes, OFFSET_MAX);
            let mut keys_ms = vec![20_000];
            player.unit(20_000, true);
            for gap in &gaps_ms {
                let from = *keys_ms.last().unwrap();
                for ms in (from + 40..from + gap).step_by(40) {
                    player.unit(ms, false);
                    if looks {
                        player.look(ms + 15);
                    }
                }
                keys_ms.push(from + gap);
                player.unit(from + gap, true);
            }
            let last = at(*keys_ms.last().unwrap());
            player.look(i64::MAX / 2_000_000);
            let mut wanted = grid.wanted_from(at(20_000));
            while wanted <= last {
                let best = nearest_distance(wanted, keys_ms.iter().copied());
                prop_assert_eq!(nearest_distance(wanted, player.passed_ms.iter().copied()), best, "wanted {:?}", wanted);
                wanted = grid.wanted_from(wanted + Span(1));
            }
            // Without a look at the clock nothing else passes: each is the nearest to some wanted moment.
            if !looks {
                for passed in &player.passed_ms[1..player.passed_ms.len() - 1] {
                    let mut wanted = grid.wanted_from(at(*passed - 4000));
                    let mut is_needed = false;
                    while wanted <= at(*passed + 4000) {
                        let best = nearest_distance(wanted, keys_ms.iter().copied());
                        is_needed |= (at(*passed) - wanted).abs().as_ns() == best;
                        wanted = grid.wanted_from(wanted + Span(1));
                    }
                    prop_assert!(is_needed, "{} is not needed: {:?}", passed, keys_ms);
                }
            }
        }
    }
}
