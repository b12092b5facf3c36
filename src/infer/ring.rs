//! Bounded rings of frames and samples, ordered by the moment they were taken.
//!
//! Both hold what the network will see, in its own size and rate, for somewhat more than a window. What is taken
//! from them is decided in `window`.

mod sound;

use std::{collections::VecDeque, ops::Range};

pub(crate) use sound::{Coverage, Missing, SoundRing};

use super::window::{FrameMeta, MOTION_UNKNOWN};
use crate::time::{Moment, Span};

/// Both rings keep two windows of the usual 5 s and what a decoder may be late.
pub(crate) const KEPT: Span = Span::from_ms(12_000);

/// Frames in the network's size, RGB, 8 bits, rows without padding, in the order of their moments.
///
/// It grows to what its source needs and then allocates no more: the storage of old frames is used for new ones.
#[derive(Debug)]
pub(crate) struct FrameRing {
    frame_bytes: usize,
    frames_max: usize,
    kept: Span,
    /// The pixels that luma and motion are measured at.
    measured: Vec<Range<usize>>,
    frames: VecDeque<Frame>,
    spare: Vec<Box<[u8]>>,
    evicted: u64,
}

#[derive(Debug)]
struct Frame {
    meta: FrameMeta,
    pixels: Box<[u8]>,
}

impl FrameRing {
    /// A ring of frames of `width` × `height` pixels that are at most `kept` older than the newest of them, and
    /// together at most `bytes_max` bytes; it holds one frame at least.
    #[must_use]
    pub(crate) fn new(width: u32, height: u32, kept: Span, bytes_max: usize) -> Self {
        let frame_bytes = width as usize * height as usize * 3;
        let frames_max = (bytes_max / frame_bytes.max(1)).max(1);
        let measured = std::iter::once(0..frame_bytes / 3).collect();
        Self { frame_bytes, frames_max, kept, measured, frames: VecDeque::new(), spare: Vec::new(), evicted: 0 }
    }

    /// The same ring, where luma and motion are measured at these pixels only, counted row by row from the top left:
    /// what a mask covers is neither dark nor still. Without any pixel both are 0.
    #[must_use]
    pub(crate) fn measured_at(self, measured: Vec<Range<usize>>) -> Self {
        Self { measured, ..self }
    }

    /// Adds a frame, which `fill` writes into the pixels it is given; it must write all of them, since they hold
    /// an old frame. Luma and motion are measured here. A frame of the same moment is replaced.
    pub(crate) fn push(
        &mut self,
        moment: Moment,
        format: u32,
        lost_total: u64,
        fill: impl FnOnce(&mut [u8]),
    ) -> &FrameMeta {
        let mut pixels = self.room_for(moment);
        fill(&mut pixels);
        let at = self.frames.partition_point(|frame| frame.meta.moment < moment);
        let before = at.checked_sub(1).and_then(|before| self.frames.get(before));
        let luma = mean_luma(&pixels, &self.measured);
        let motion = before.map_or(MOTION_UNKNOWN, |before| mean_motion(&before.pixels, &pixels, &self.measured));
        let meta = FrameMeta { moment, luma, motion, format, lost_total };
        self.frames.insert(at, Frame { meta, pixels });
        &self.frames[at].meta
    }

    /// What is known about the frames, oldest first.
    pub(crate) fn metas(&self) -> impl ExactSizeIterator<Item = &FrameMeta> + DoubleEndedIterator {
        self.frames.iter().map(|frame| &frame.meta)
    }

    /// The pixels of the frame with this index in [`Self::metas`].
    #[must_use]
    pub(crate) fn pixels(&self, index: usize) -> Option<&[u8]> {
        self.frames.get(index).map(|frame| &*frame.pixels)
    }

    /// How many frames there are.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames were dropped because of `bytes_max`, although they were not too old yet.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets the frames before `moment`: no window will ask for them.
    pub(crate) fn forget_before(&mut self, moment: Moment) {
        while self.frames.front().is_some_and(|frame| frame.meta.moment < moment) {
            self.drop_oldest();
        }
    }

    /// Forgets all frames.
    pub(crate) fn clear(&mut self) {
        while !self.frames.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.spare.push(frame.pixels);
        }
    }

    /// Drops what is too old or too much, and returns storage for the pixels of a frame.
    fn room_for(&mut self, moment: Moment) -> Box<[u8]> {
        let newest = self.frames.back().map_or(moment, |frame| frame.meta.moment.max(moment));
        self.forget_before(newest - self.kept);
        if let Ok(same) = self.frames.binary_search_by_key(&moment, |frame| frame.meta.moment) {
            self.spare.extend(self.frames.remove(same).map(|frame| frame.pixels));
        }
        while self.frames_max <= self.frames.len() {
            self.evicted += 1;
            self.drop_oldest();
        }
        self.spare.pop().unwrap_or_else(|| vec![0; self.frame_bytes].into())
    }
}

/// Luma of BT.601 in 1/256: 0.299, 0.587, 0.114. What the network sees matters here, not the camera's colour space.
fn luma(rgb: &[u8]) -> u32 {
    77 * u32::from(rgb[0]) + 150 * u32::from(rgb[1]) + 29 * u32::from(rgb[2])
}

fn mean_luma(pixels: &[u8], measured: &[Range<usize>]) -> f32 {
    let sum = |part: &[[u8; 3]]| part.iter().map(|rgb| u64::from(luma(rgb))).sum::<u64>();
    mean(parts(pixels, measured).map(sum).sum(), measured)
}

fn mean_motion(before: &[u8], now: &[u8], measured: &[Range<usize>]) -> f32 {
    let sum = |(before, now): (&[[u8; 3]], &[[u8; 3]])| {
        before.iter().zip(now).map(|(before, now)| u64::from(luma(before).abs_diff(luma(now)))).sum::<u64>()
    };
    mean(parts(before, measured).zip(parts(now, measured)).map(sum).sum(), measured)
}

/// The pixels that are measured.
fn parts<'p>(pixels: &'p [u8], measured: &'p [Range<usize>]) -> impl Iterator<Item = &'p [[u8; 3]]> {
    let pixels = pixels.as_chunks::<3>().0;
    measured.iter().filter_map(|part| pixels.get(part.clone()))
}

#[allow(clippy::cast_possible_truncation, reason = "a mean of at most 255 needs no more than an f32")]
fn mean(sum: u64, measured: &[Range<usize>]) -> f32 {
    (sum as f64 / 256.0 / measured.iter().map(Range::len).sum::<usize>().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    fn grey(level: u8) -> impl FnOnce(&mut [u8]) {
        move |pixels| pixels.fill(level)
    }

    fn moments(ring: &FrameRing) -> Vec<i64> {
        ring.metas().map(|meta| meta.moment.0 / 1_000_000).collect()
    }

    #[test]
    fn frames_are_in_the_order_of_their_moments() {
        let mut ring = FrameRing::new(4, 2, KEPT, 1 << 20);
        for at in [80, 0, 40] {
            ring.push(ms(at), 1, 0, grey(u8::try_from(at).unwrap()));
        }
        assert_eq!(moments(&ring), [0, 40, 80]);
        assert_eq!((0..3).map(|at| ring.pixels(at).unwrap()[0]).collect::<Vec<_>>(), [0, 40, 80]);
        assert_eq!(ring.pixels(3), None);
        ring.push(ms(40), 1, 0, grey(200));
        assert_eq!(moments(&ring), [0, 40, 80]);
        assert_eq!(ring.pixels(1).unwrap(), [200; 24]);
        ring.forget_before(ms(80));
        assert_eq!(moments(&ring), [80]);
        ring.clear();
        assert!(ring.is_empty());
    }

    #[test]
    fn luma_and_motion_are_measured() {
        let mut ring = FrameRing::new(4, 2, KEPT, 1 << 20);
        let first = *ring.push(ms(0), 1, 0, grey(100));
        assert_eq!((first.luma, first.motion), (100.0, MOTION_UNKNOWN));
        let still = *ring.push(ms(1), 1, 0, grey(100));
        assert_eq!((still.luma, still.motion), (100.0, 0.0));
        let half = *ring.push(ms(2), 2, 9, |pixels| pixels[..12].fill(90));
        assert_eq!(half, FrameMeta { moment: ms(2), luma: 45.0, motion: 55.0, format: 2, lost_total: 9 });
        let green = *ring.push(ms(3), 1, 0, |pixels| pixels.copy_from_slice(&[0, 255, 0].repeat(8)));
        assert!((green.luma - 0.587 * 255.0).abs() < 0.3, "{}", green.luma);
    }

    #[test]
    fn what_a_mask_covers_is_neither_dark_nor_still() {
        let mut ring = FrameRing::new(4, 2, KEPT, 1 << 20).measured_at(vec![1..2, 6..8]);
        let level = |at: usize, level: u8| move |pixels: &mut [u8]| pixels[at * 3..][..3].fill(level);
        let push = |ring: &mut FrameRing, n, fill: &dyn Fn(&mut [u8])| *ring.push(ms(n), 1, 0, |pixels| fill(pixels));
        let dark = push(&mut ring, 0, &|pixels| pixels.fill(0));
        let covered = push(&mut ring, 1, &level(0, 250));
        assert_eq!((covered.luma, covered.motion), (dark.luma, 0.0), "what is covered has no effect");
        let open = push(&mut ring, 2, &level(7, 90));
        assert_eq!((open.luma, open.motion), (30.0, 30.0), "of three pixels one changed");
        let mut nothing = FrameRing::new(4, 2, KEPT, 1 << 20).measured_at(Vec::new());
        assert_eq!(nothing.push(ms(0), 1, 0, grey(100)).luma, 0.0);
    }

    #[test]
    fn it_is_bounded_in_time_and_bytes_and_allocates_no_more() {
        let mut ring = FrameRing::new(4, 4, KEPT, 10 * 48);
        for n in 0..100 {
            ring.push(ms(n * 40), 1, 0, grey(0));
        }
        assert_eq!((ring.len(), ring.evicted()), (10, 90));
        for n in 0..100 {
            ring.push(ms(100_000 + n * 5000), 1, 0, grey(0));
        }
        assert_eq!((ring.len(), ring.evicted()), (3, 90), "age is no loss");
        let room = (ring.frames.capacity(), ring.spare.capacity(), ring.frames.len() + ring.spare.len());
        for n in 100..1000 {
            ring.push(ms(100_000 + n * 5000), 1, 0, grey(0));
        }
        assert_eq!(room, (ring.frames.capacity(), ring.spare.capacity(), ring.frames.len() + ring.spare.len()));
    }

    #[test]
    fn a_frame_that_comes_too_late_leaves_first() {
        let mut ring = FrameRing::new(4, 4, KEPT, 2 * 48);
        for at in [1000, 2000, 0, 3000] {
            ring.push(ms(at), 1, 0, grey(0));
        }
        assert_eq!(moments(&ring), [2000, 3000]);
    }
}
