//! The clap test: how much later the sound of an event arrives than its picture, from a few claps.
//!
//! **What is seen of a clap.** Hands come together quickly and stop at the sound. So a burst of motion ends between two
//! frames, and the clap lies between them; where exactly nobody knows. The flash of a torch is the same with a burst of
//! one frame; a light that goes out is never a clap.
//!
//! **What is heard of it.** A broadband onset, known to 5 ms ([`Onsets`]).
//!
//! **The offset.** Each pair of an onset and a burst allows the offsets between "just before the later frame" and "just
//! after the earlier frame": an interval as long as a frame. At the right offset the intervals of all claps meet; as
//! claps fall anywhere between frames, what they have in common is much shorter than a frame. At a wrong offset only
//! chance makes them meet, and what chance can do is known: each onset meets some burst with the probability `q` that is
//! the share of time that bursts take, so `n` of `N` meet with that of a binomial distribution, and there are as many
//! offsets to try as such intervals fit into the range.
//!
//! **Confidence** is 80 % where chance would do as well once in a thousand times, and 20 % less for each factor of ten.
//! It stays low with fewer than five claps, where frames are too far apart for so few claps, where most of what is
//! heard is not seen (music, talk), and where another offset fits nearly as well, as with claps at an even pace.

mod onsets;

use std::collections::VecDeque;

use self::onsets::{Onset, Onsets};
use super::picture::Motion;
use crate::time::{Moment, Span};

/// Older claps are forgotten, so that a person who claps again need not wait.
const KEPT: Span = Span::from_ms(30_000);
/// Offsets beyond this cannot be set, ms.
const OFFSET_MAX_MS: i64 = 2000;
/// Offsets are tried at this distance, ms.
const STEP_MS: i64 = 5;
/// An interval ends softly: claps are heard and frames are stamped to about this, ms.
const EDGE_MS: f64 = 15.0;
/// Frames farther apart than this are not neighbours.
const NEIGHBOURS: Span = Span::from_ms(260);
/// Less motion than this is none, levels of [`Motion::energy`]: a hand of a thousandth of the picture gives 0.02.
const ENERGY_MIN: f32 = 0.005;
/// A burst is as strong as this share of strong ones, and lasts while it is as strong as that share.
const BURST_SHARE: f32 = 0.35;
const LASTS_SHARE: f32 = 0.12;
/// A fall is a large one from this share of the largest on.
const FALL_SHARE: f32 = 0.8;
/// Hands were on their way already if the frame before shows this share of the motion.
const WAY_SHARE: f32 = 0.3;
/// Hands that stay together stop up to a frame later than the largest fall says, as the next frame still shows their
/// last bit of way; hands that part again soon do not. Of a frame, what fits both, and by how much it may be wrong.
const STOPS_LATER: f64 = 0.4;
const STOPS_WITHIN: f64 = 0.25;
/// It may be off by that, and by half of what the claps leave open, and together by no more than this, ms.
const ERROR_MAX_MS: f64 = 40.0;
/// Where so much of what changed became darker, a light went out.
const DARKER_SHARE: f32 = 0.8;
/// Claps are the loud ones: at most so much quieter than the third-loudest, dB.
const QUIETER_MAX_DB: f32 = 12.0;
/// So many claps make it known.
const CLAPS_MIN: u8 = 5;

/// What the claps so far say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SoundOffset {
    /// What to set the offset to, whatever it is set to now: how much later sound arrives than picture, ms.
    pub(super) offset_ms: i16,
    /// How sure that is, percent. From 80 on it is to be relied on.
    pub(super) confidence: u8,
    /// How many claps were both heard and seen at that offset.
    pub(super) claps: u8,
}

/// A test under way.
#[derive(Debug)]
pub(super) struct ClapTest {
    /// By how much the sound's moments were moved already.
    set: Span,
    onsets: Onsets,
    heard: VecDeque<Onset>,
    seen: VecDeque<Motion>,
}

/// A burst of motion ended after `from`, at `until` at the latest.
#[derive(Clone, Copy, Debug)]
struct Stop {
    from: Moment,
    until: Moment,
}

impl ClapTest {
    /// A test that has heard and seen nothing. `set` is the offset that is set now, which was subtracted from the
    /// moments of the sound; `rate_hz` is the sound's rate.
    #[must_use]
    pub(super) fn new(set: Span, rate_hz: u32) -> Self {
        Self { set, onsets: Onsets::new(rate_hz), heard: VecDeque::new(), seen: VecDeque::new() }
    }

    /// Takes what moved in the newest frame. Frames come in the order of their moments; others are left out.
    pub(super) fn add_motion(&mut self, motion: Motion) {
        if self.seen.back().is_some_and(|newest| motion.moment <= newest.moment) {
            return;
        }
        self.seen.push_back(motion);
        while self.seen.front().is_some_and(|oldest| oldest.moment < motion.moment - KEPT) {
            self.seen.pop_front();
        }
    }

    /// Takes samples, the first of which was heard at `first`.
    pub(super) fn add_sound(&mut self, first: Moment, samples: &[f32]) {
        let heard = &mut self.heard;
        self.onsets.push(first, samples, |onset| {
            heard.push_back(onset);
            while heard.front().is_some_and(|oldest| oldest.moment < onset.moment - KEPT) {
                heard.pop_front();
            }
        });
    }

    /// What is known by now.
    #[must_use]
    pub(super) fn estimate(&self) -> SoundOffset {
        let (onsets, stops) = (self.claps_heard(), stops(&self.seen));
        let span =
            self.seen.back().zip(self.seen.front()).map_or(Span::ZERO, |(last, first)| last.moment - first.moment);
        if onsets.is_empty() || stops.is_empty() || span <= Span::ZERO {
            return SoundOffset::default();
        }
        let first_ms = -OFFSET_MAX_MS - self.set.as_ms();
        let scores = scores(&onsets, &stops, first_ms);
        let Some(peak) = Peak::of(&scores, &stops) else { return SoundOffset::default() };
        let offset_ms = (first_ms as f64 + peak.at * STEP_MS as f64) + self.set.as_secs_f64() * 1e3;
        #[allow(clippy::cast_possible_truncation, reason = "-2000 to 2000 by its grid")]
        let offset_ms = offset_ms.round() as i16;
        let length = |stop: &Stop| (stop.until - stop.from).as_secs_f64() + EDGE_MS / 1e3;
        let lengths: f64 = stops.iter().map(length).sum();
        let q = (lengths / span.as_secs_f64()).min(0.95);
        let offsets = 2.0 * OFFSET_MAX_MS as f64 / 1e3 / (lengths / stops.len() as f64);
        let by_chance = offsets * at_least(peak.claps, onsets.len(), q);
        SoundOffset { offset_ms, confidence: peak.confidence(by_chance, onsets.len()), claps: peak.claps }
    }

    /// The loud onsets that fall into the time of the frames.
    fn claps_heard(&self) -> Vec<Moment> {
        let (Some(first), Some(last)) = (self.seen.front(), self.seen.back()) else { return Vec::new() };
        let could_be_seen = |onset: &&Onset| (first.moment..=last.moment).contains(&onset.moment);
        let heard: Vec<_> = self.heard.iter().filter(could_be_seen).collect();
        let mut levels: Vec<_> = heard.iter().map(|it| it.level_db).collect();
        levels.sort_by(|a, b| b.total_cmp(a));
        let loud = levels.get(2).or(levels.last()).map_or(f32::MIN, |it| it - QUIETER_MAX_DB);
        heard.iter().filter(|it| loud <= it.level_db).map(|it| it.moment).collect()
    }
}

/// Where bursts of motion stop.
fn stops(seen: &VecDeque<Motion>) -> Vec<Stop> {
    let is_darker = |it: &Motion| it.rise < -DARKER_SHARE * it.energy;
    let energy: Vec<_> = seen.iter().map(|it| if is_darker(it) { 0.0 } else { it.energy }).collect();
    let moments: Vec<_> = seen.iter().map(|it| it.moment).collect();
    let mut sorted = energy.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (Some(ground), Some(strong)) = (sorted.get(sorted.len() / 2), sorted.get(2).or(sorted.last())) else {
        return Vec::new();
    };
    let beyond: Vec<_> = energy.iter().map(|it| (it - ground).max(0.0)).collect();
    let strong = strong - ground;
    if strong < ENERGY_MIN {
        return Vec::new();
    }
    let mut stops = Vec::new();
    let mut at = 1;
    while at < beyond.len() {
        let lasts = |n: &usize| LASTS_SHARE * strong < beyond[*n] && moments[*n] - moments[*n - 1] <= NEIGHBOURS;
        let end = (at..beyond.len()).find(|n| !lasts(n)).unwrap_or(beyond.len());
        let is_burst = beyond[at..end].iter().any(|it| BURST_SHARE * strong <= *it);
        // The newest one may not have stopped yet.
        if is_burst && end < beyond.len() {
            stops.push(stop(&beyond, &moments, at, end));
        }
        at = end.max(at) + 1;
    }
    stops
}

/// Where the burst of the frames `from..end` stops: at its first large fall. Hands that part again after a clap fall a
/// second time.
fn stop(beyond: &[f32], moments: &[Moment], from: usize, end: usize) -> Stop {
    let fall = |n: usize| beyond[n] - beyond[n + 1];
    let largest_fall = (from..end).map(fall).fold(0.0, f32::max);
    let first = (from..end).find(|n| FALL_SHARE * largest_fall <= fall(*n)).unwrap_or(from);
    let frame = moments[first] - moments[first - 1];
    // A flash has no way to go: it is there between two frames or not.
    let has_way = first != from && WAY_SHARE * beyond[first] <= beyond[first - 1];
    let late = if has_way { Span::from_secs_f64(frame.as_secs_f64() * STOPS_LATER) } else { Span::ZERO };
    Stop { from: moments[first - 1] + late, until: moments[first] + late }
}

/// For each offset from `first_ms` on: how many onsets have a burst that stops there.
fn scores(onsets: &[Moment], stops: &[Stop], first_ms: i64) -> Vec<f64> {
    let count = usize::try_from(2 * OFFSET_MAX_MS / STEP_MS).unwrap_or(0) + 1;
    let mut scores = vec![0.0; count];
    let mut fits = vec![0.0_f64; count];
    for onset in onsets {
        fits.fill(0.0);
        for stop in stops {
            let [least, most] = [stop.until, stop.from].map(|it| (*onset - it).as_secs_f64() * 1e3);
            let at = |ms: f64| (ms - first_ms as f64) / STEP_MS as f64;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the grid")]
            let [from, until] =
                [at(least - EDGE_MS), at(most + EDGE_MS) + 1.0].map(|it| it.clamp(0.0, count as f64) as usize);
            for (n, fit) in fits.iter_mut().enumerate().take(until).skip(from) {
                let offset_ms = (first_ms + STEP_MS * i64::try_from(n).unwrap_or(0)) as f64;
                let outside_ms = (least - offset_ms).max(offset_ms - most).max(0.0);
                *fit = fit.max(1.0 - outside_ms / EDGE_MS);
            }
        }
        scores.iter_mut().zip(&fits).for_each(|(score, fit)| *score += fit);
    }
    scores
}

/// The offset that fits best.
#[derive(Clone, Copy, Debug)]
struct Peak {
    /// Its place in the scores, between two of them.
    at: f64,
    claps: u8,
    /// How many claps fit another offset.
    others: f64,
    /// By how much it may be off, ms.
    error_ms: f64,
}

impl Peak {
    /// `None` where no onset has a burst anywhere near.
    fn of(scores: &[f64], stops: &[Stop]) -> Option<Self> {
        let (top, best) =
            scores.iter().copied().enumerate().reduce(|best, it| if best.1 < it.1 { it } else { best })?;
        if best < 0.75 {
            return None;
        }
        // All offsets on which but half a clap less agrees.
        let agree = |n: &usize| best - 0.5 <= scores[*n];
        let from = (0..=top).rev().take_while(agree).last()?;
        let until = (top..scores.len()).take_while(agree).last()?;
        let weight = |n: usize| scores[n] - (best - 0.5);
        let sum: f64 = (from..=until).map(weight).sum();
        let at = (from..=until).map(|n| n as f64 * weight(n)).sum::<f64>() / sum.max(f64::MIN_POSITIVE);
        let frames = stops.iter().fold(Span::ZERO, |sum, it| sum + (it.until - it.from));
        let frame_ms = frames.as_secs_f64() * 1e3 / stops.len().max(1) as f64;
        let near = (frame_ms + 2.0 * EDGE_MS) / STEP_MS as f64;
        let is_other = |n: usize| near < (n as f64 - at).abs();
        let others = (0..scores.len()).filter(|n| is_other(*n)).map(|n| scores[n]).fold(0.0, f64::max);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 255 by the clamp")]
        let claps = (best + 0.25).floor().clamp(0.0, 255.0) as u8;
        let open_ms = (until - from) as f64 * STEP_MS as f64;
        Some(Self { at, claps, others, error_ms: open_ms / 2.0 + frame_ms * STOPS_WITHIN })
    }

    /// Percent, where chance would do as well `by_chance` times, and so many onsets were `heard`.
    fn confidence(self, by_chance: f64, heard: usize) -> u8 {
        let of_chance = 20.0 - 20.0 * by_chance.max(1e-12).log10();
        let claps = f64::from(self.claps);
        let most = [
            (claps < f64::from(CLAPS_MIN), 15.0 * claps),
            (0.7 * claps <= self.others, 50.0),
            (2.0 * claps < heard as f64, 50.0),
            (ERROR_MAX_MS < self.error_ms, 60.0),
        ];
        let most = most.into_iter().filter(|(applies, _)| *applies).map(|(_, most)| most).fold(100.0, f64::min);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 by the clamp")]
        let percent = of_chance.clamp(0.0, most) as u8;
        percent
    }
}

/// The probability that at least `n` of `of` independent trials succeed, each with probability `q` below 1.
fn at_least(n: u8, of: usize, q: f64) -> f64 {
    // From none on, each from the one before: C(of, k) q^k (1 - q)^(of - k).
    let mut exactly = (1.0 - q).powf(of as f64);
    let mut fewer = 0.0;
    for k in 0..usize::from(n) {
        fewer += exactly;
        exactly *= of.saturating_sub(k) as f64 / (k + 1) as f64 * q / (1.0 - q);
    }
    // Where nearly nothing is left, the first term says it better than the difference does.
    (1.0 - fewer).max(exactly).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE_HZ: u32 = 16_000;

    /// What happens before a camera and a microphone, in seconds.
    #[derive(Clone, Debug)]
    struct Scene {
        seconds: f64,
        fps: f64,
        /// Where in a frame's time the first frame is.
        phase: f64,
        /// Claps that are seen.
        seen: Vec<f64>,
        /// Claps that are heard, and how loud.
        heard: Vec<(f64, f64)>,
        /// How long hands are on their way.
        way: f64,
        /// After a clap hands part again, at this share of their speed.
        parting: f64,
        /// A torch instead of hands, alight for this long.
        torch: Option<f64>,
        /// Motion that has nothing to do with it: its strength, where hands have 1.
        bustle: f64,
        seed: u64,
    }

    impl Scene {
        fn of(claps: &[f64]) -> Self {
            Self {
                seconds: claps.last().copied().unwrap_or(15.0) + 2.5,
                fps: 25.0,
                phase: 0.3,
                seen: claps.to_vec(),
                heard: claps.iter().map(|it| (*it, 0.3)).collect(),
                way: 0.12,
                parting: 0.0,
                torch: None,
                bustle: 0.02,
                seed: 1,
            }
        }

        /// The same, heard later by so many milliseconds.
        fn late(mut self, ms: f64) -> Self {
            self.heard.iter_mut().for_each(|(at, _)| *at += ms / 1e3);
            self
        }

        /// How far hands have moved until `t`; they become faster until they meet, and slower when they
        /// part.
        fn moved(&self, t: f64) -> f64 {
            let way = |clap: &f64| {
                let near = ((t - clap) / self.way + 1.0).clamp(0.0, 1.0);
                let apart = ((t - clap) / (2.0 * self.way)).clamp(0.0, 1.0);
                near.powf(1.5) + self.parting * (1.0 - (1.0 - apart).powf(1.5))
            };
            self.seen.iter().map(way).sum()
        }

        fn is_alight(&self, t: f64) -> bool {
            self.torch.is_some_and(|length| self.seen.iter().any(|clap| (0.0..length).contains(&(t - clap))))
        }

        #[allow(clippy::cast_possible_truncation, reason = "numbers near 1")]
        fn frames(&self) -> Vec<Motion> {
            let mut random = fastrand::Rng::with_seed(self.seed);
            let moment = |n: u32| (f64::from(n) + self.phase) / self.fps;
            let mut frames = Vec::new();
            for n in (1_u32..).take_while(|n| moment(*n) < self.seconds) {
                let (before, now) = (moment(n - 1), moment(n));
                let bustle = self.bustle * random.f64().powi(2);
                let (energy, rise) = match self.torch {
                    Some(_) => {
                        let change =
                            f64::from(u8::from(self.is_alight(now))) - f64::from(u8::from(self.is_alight(before)));
                        (change.abs() + bustle, change)
                    }
                    None => (self.moved(now) - self.moved(before) + bustle, 0.0),
                };
                // A camera stamps its frames to a millisecond or two.
                let stamped = now + 0.002 * (random.f64() - 0.5);
                frames.push(Motion { moment: at(stamped), energy: energy as f32, rise: rise as f32 });
            }
            frames
        }

        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places after the beginning")]
        fn samples(&self) -> Vec<f32> {
            let rate = f64::from(RATE_HZ);
            let mut random = fastrand::Rng::with_seed(self.seed + 1);
            let noise: Vec<_> = (0..(self.seconds * rate) as usize).map(|_| 2.0 * random.f32() - 1.0).collect();
            let mut samples: Vec<_> = noise.iter().map(|it| 0.003 * it).collect();
            for (clap, loud) in &self.heard {
                // It decays within a tenth of a second.
                for n in (clap * rate) as usize..((clap + 0.1) * rate) as usize {
                    let Some((sample, noise)) = samples.get_mut(n).zip(noise.get(n)) else { continue };
                    *sample += noise * (loud * (-(n as f64 / rate - clap) / 0.02).exp()) as f32;
                }
            }
            samples
        }

        /// What a test says of it at the end, where this offset is set.
        fn estimate(&self, set: Span) -> SoundOffset {
            let mut test = ClapTest::new(set, RATE_HZ);
            self.frames().into_iter().for_each(|it| test.add_motion(it));
            test.add_sound(at(0.0) - set, &self.samples());
            test.estimate()
        }
    }

    fn at(seconds: f64) -> Moment {
        Moment(3_600_000_000_000) + Span::from_secs_f64(seconds)
    }

    /// Claps about every two seconds, as people clap.
    fn claps(count: u32, seed: u64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut at = 2.5;
        let next = |_| {
            at += 1.2 + 1.6 * random.f64();
            at
        };
        (0..count).map(next).collect()
    }

    #[track_caller]
    fn check(scene: &Scene, set_ms: i64, wanted_ms: i16) {
        let estimate = scene.estimate(Span::from_ms(set_ms));
        assert!(80 <= estimate.confidence, "{estimate:?} {scene:?}");
        assert!((estimate.offset_ms - wanted_ms).abs() <= 40, "{estimate:?}, not {wanted_ms}: {scene:?}");
    }

    #[test]
    fn six_claps_tell_the_offset() {
        for late_ms in [-1500, -300, 0, 180, 1200] {
            check(&Scene::of(&claps(6, 1)).late(f64::from(late_ms)), 0, late_ms);
        }
    }

    #[test]
    fn it_is_the_offset_to_set_whatever_is_set() {
        for set_ms in [-700, 0, 250] {
            check(&Scene::of(&claps(6, 2)).late(180.0), set_ms, 180);
        }
    }

    #[test]
    fn a_torch_tells_it_too() {
        for alight in [0.05, 0.3, 1.0] {
            let scene = Scene { torch: Some(alight), ..Scene::of(&claps(7, 3)).late(-120.0) };
            check(&scene, 0, -120);
        }
    }

    #[test]
    fn confidence_grows_with_the_claps() {
        let of = |count| Scene::of(&claps(count, 4)).estimate(Span::ZERO);
        let few: Vec<_> = (1..5).map(|count| of(count).confidence).collect();
        assert!(few.is_sorted() && few.iter().all(|it| *it < 80), "{few:?}");
        assert_eq!((1..8).map(|count| u32::from(of(count).claps)).collect::<Vec<_>>(), (1..8).collect::<Vec<_>>());
    }

    #[test]
    fn even_claps_could_be_one_off() {
        let even: Vec<_> = (0..10).map(|n| 3.0 + f64::from(n)).collect();
        let estimate = Scene::of(&even).estimate(Span::ZERO);
        assert!(estimate.confidence < 80 && 8 <= estimate.claps, "{estimate:?}");
    }

    /// What is heard and what is seen have nothing to do with each other.
    fn apart(kind: u64, seed: u64) -> Scene {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut anywhere = |count: u32| {
            let mut moments: Vec<_> = (0..count).map(|_| 1.0 + 25.0 * random.f64()).collect();
            moments.sort_by(f64::total_cmp);
            moments
        };
        let (seen, heard) = match kind {
            0 => (Vec::new(), anywhere(10)),
            1 => (anywhere(10), Vec::new()),
            2 => (anywhere(10), anywhere(10)),
            3 => (anywhere(40), anywhere(15)),
            // Music, two beats a second.
            4 => (anywhere(25), (2..52).map(|n| f64::from(n) / 2.0).collect()),
            // Music and somebody who dances to another.
            _ => ((2..40).map(|n| 0.67 * f64::from(n)).collect(), (2..52).map(|n| f64::from(n) / 2.0).collect()),
        };
        let heard = heard.into_iter().map(|it| (it, 0.3)).collect();
        Scene { seconds: 27.0, seen, heard, bustle: 0.1, seed, ..Scene::of(&[]) }
    }

    #[test]
    fn nothing_in_common_is_never_sure() {
        for kind in 0..6 {
            for seed in 0..12 {
                let estimate = apart(kind, seed).estimate(Span::ZERO);
                assert!(estimate.confidence < 80, "{kind} {seed}: {estimate:?}");
            }
        }
        assert_eq!(ClapTest::new(Span::ZERO, RATE_HZ).estimate(), SoundOffset::default());
    }

    #[test]
    fn what_was_before_half_a_minute_is_forgotten() {
        let (before, now) = (Scene::of(&claps(8, 5)), Scene::of(&claps(8, 6)).late(200.0));
        let mut test = ClapTest::new(Span::ZERO, RATE_HZ);
        before.frames().into_iter().for_each(|it| test.add_motion(it));
        test.add_sound(at(0.0), &before.samples());
        let later = Span::from_ms(60_000);
        now.frames().into_iter().for_each(|it| test.add_motion(Motion { moment: it.moment + later, ..it }));
        test.add_sound(at(0.0) + later, &now.samples());
        let estimate = test.estimate();
        assert!((estimate.offset_ms - 200).abs() <= 40 && 80 <= estimate.confidence, "{estimate:?}");
        assert!(test.heard.len() <= 8 && test.seen.len() <= 760);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        /// Any camera from 10 to 30 frames per second, any offset, quick and slow hands that stay or part again,
        /// people who walk about, and a door that slams.
        #[test]
        fn whatever_is_sure_is_right(
            fps in 10.0_f64..30.0,
            phase in 0.0_f64..1.0,
            late_ms in -1500_i16..1500,
            count in 6_u32..12,
            way in 0.08_f64..0.18,
            parting in 0.0_f64..0.8,
            bustle in 0.0_f64..0.1,
            door in 0.0_f64..15.0,
            seed in 0_u64..1000,
        ) {
            let scene = Scene { fps, phase, way, parting, bustle, seed, ..Scene::of(&claps(count, seed)) };
            let mut scene = scene.late(f64::from(late_ms));
            scene.heard.push((door, 0.8));
            let estimate = scene.estimate(Span::ZERO);
            let is_sure = 80 <= estimate.confidence;
            let error_ms = estimate.offset_ms - late_ms;
            prop_assert!(!is_sure || error_ms.abs() <= 40, "{:?}, not {}", estimate, late_ms);
            prop_assert!(is_sure || fps < 15.0 || count < 8, "{:?}", estimate);
        }
    }
}
