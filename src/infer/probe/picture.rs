//! How good a camera's picture is to look at: contrast, sharpness, movement.

use crate::{
    infer::features::picture::Rgb,
    mask::{Cells, Polygon},
    time::{Moment, Span},
    wire::record::ProbeRecord,
};

/// A pixel must change by more than this, levels of 255, to count as moved: what codecs and sensors do alone stays
/// below it.
const MOVED_FROM: f32 = 10.0;

/// What moved from one picture to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Motion {
    /// When the later one was shown.
    pub(super) moment: Moment,
    /// By how much pixels changed beyond what codecs and sensors do alone, levels, mean over the picture: 0 to 245.
    pub(super) energy: f32,
    /// The same with its sign, so that what becomes darker cancels what becomes brighter: `-energy` to `energy`.
    pub(super) rise: f32,
}

/// Looks at one picture after another of a camera. It keeps the last one as luma, small, and gives numbers only. What a
/// mask covers has no part in them.
#[derive(Debug, Default)]
pub(super) struct PictureProbe {
    masks: Vec<Polygon>,
    /// The size of the pictures, pixels.
    size: (u32, u32),
    width: usize,
    /// Of each pixel of the small picture, whether a mask touches it.
    covered: Vec<bool>,
    luma: Vec<f32>,
    before: Vec<f32>,
    contrast: f32,
    sharpness: f32,
    newest: Option<Moment>,
    changed: Option<Moment>,
}

impl PictureProbe {
    /// Of a camera with these masks.
    #[must_use]
    pub(super) fn new(masks: Vec<Polygon>) -> Self {
        Self { masks, ..Self::default() }
    }

    /// Looks at a picture. Returns what moved since the one before, where there was one of the same size.
    pub(super) fn measure(&mut self, moment: Moment, picture: Rgb<'_>) -> Option<Motion> {
        let motion = self.measure_motion(moment, picture);
        let left = self.luma.iter().zip(&self.covered).filter(|(_, covered)| !**covered);
        self.contrast = deviation(left.map(|(luma, _)| *luma));
        self.sharpness = deviation(laplacian(&self.luma, &self.covered, self.width)).powi(2);
        motion
    }

    /// The same without a look at contrast and sharpness, which is quicker.
    pub(super) fn measure_motion(&mut self, moment: Moment, picture: Rgb<'_>) -> Option<Motion> {
        std::mem::swap(&mut self.luma, &mut self.before);
        let size = (picture.width, picture.height);
        let is_same_size = std::mem::replace(&mut self.size, size) == size;
        self.width = shrink(picture, &mut self.luma);
        if !is_same_size {
            self.covered = covered(&self.masks, size, self.width);
        }
        self.newest = self.newest.max(Some(moment));
        is_same_size.then(|| self.motion(moment))
    }

    /// The picture of `moment` differs from the one before it.
    pub(super) fn set_changed(&mut self, moment: Moment) {
        self.changed = self.changed.max(Some(moment));
    }

    /// Standard deviation of luma, levels: 0 to 127.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 127.5 by its definition")]
    pub(super) fn contrast(&self) -> u8 {
        self.contrast.round() as u8
    }

    /// Variance of the Laplacian of luma at [`ProbeRecord::SHARPNESS_WIDTH`], capped.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, as intended")]
    pub(super) fn sharpness(&self) -> u16 {
        self.sharpness.round() as u16
    }

    /// When the newest picture was shown.
    #[must_use]
    pub(super) const fn newest(&self) -> Option<Moment> {
        self.newest
    }

    /// For how long the picture has not changed; zero before the first one.
    #[must_use]
    pub(super) fn unchanged_for(&self, now: Moment) -> Span {
        self.changed.map_or(Span::ZERO, |changed| (now - changed).max(Span::ZERO))
    }

    #[allow(clippy::cast_precision_loss, reason = "a count of pixels")]
    fn motion(&self, moment: Moment) -> Motion {
        let (mut energy, mut rise) = (0.0_f64, 0.0_f64);
        for (now, before) in self.luma.iter().zip(&self.before) {
            let change = now - before;
            let beyond = f64::from((change.abs() - MOVED_FROM).max(0.0));
            energy += beyond;
            rise += if change < 0.0 { -beyond } else { beyond };
        }
        let count = self.luma.len().max(1) as f64;
        #[allow(clippy::cast_possible_truncation, reason = "a mean of at most 255")]
        let mean = |sum: f64| (sum / count) as f32;
        Motion { moment, energy: mean(energy), rise: mean(rise) }
    }
}

/// How many pixels of a picture, in both directions, become one.
fn block(width: u32) -> u32 {
    ((width + ProbeRecord::SHARPNESS_WIDTH / 2) / ProbeRecord::SHARPNESS_WIDTH).max(1)
}

/// Which pixels of the small picture, `columns` wide, the masks touch.
fn covered(masks: &[Polygon], size: (u32, u32), columns: usize) -> Vec<bool> {
    let block = block(size.0);
    let cells = Cells::touched(masks, size, block);
    let row = |spans: &[std::ops::Range<u32>]| {
        let is_covered = |column: usize| spans.iter().any(|it| (it.start as usize..it.end as usize).contains(&column));
        (0..columns).map(is_covered).collect::<Vec<_>>()
    };
    cells.rows().take((size.1 / block) as usize).flat_map(row).collect()
}

/// Averages blocks of pixels to about [`ProbeRecord::SHARPNESS_WIDTH`] columns of BT.601 luma. Returns their number.
#[allow(clippy::cast_precision_loss, reason = "sums of a few blocks of 8 bits")]
fn shrink(picture: Rgb<'_>, luma: &mut Vec<f32>) -> usize {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let block = block(picture.width) as usize;
    let (columns, rows) = (width / block, height / block);
    luma.clear();
    luma.resize(columns * rows, 0.0);
    for (y, line) in picture.bytes.chunks(picture.stride.max(1)).take(rows * block).enumerate() {
        let row = &mut luma[y / block * columns..][..columns];
        for (sum, pixels) in row.iter_mut().zip(line.chunks_exact(3 * block)) {
            // 77, 150 and 29 of 256 are 0.299, 0.587 and 0.114.
            let add = |rgb: &[u8; 3]| 77 * u32::from(rgb[0]) + 150 * u32::from(rgb[1]) + 29 * u32::from(rgb[2]);
            *sum += pixels.as_chunks::<3>().0.iter().map(add).sum::<u32>() as f32;
        }
    }
    let scale = 1.0 / (256.0 * (block * block) as f32);
    luma.iter_mut().for_each(|it| *it *= scale);
    columns
}

/// Four times each inner pixel less its four neighbours, where none of them is covered.
fn laplacian<'a>(luma: &'a [f32], covered: &'a [bool], width: usize) -> impl Iterator<Item = f32> + Clone + 'a {
    let rows = luma.len().checked_div(width).unwrap_or(0);
    let inner = (1..rows.saturating_sub(1)).flat_map(move |y| y * width + 1..(y + 1) * width - 1);
    let cross = move |at: usize| [at, at - 1, at + 1, at - width, at + width];
    let left = inner.map(cross).filter(|it| it.iter().all(|at| !covered[*at]));
    left.map(|[at, left, right, above, below]| 4.0 * luma[at] - luma[left] - luma[right] - luma[above] - luma[below])
}

/// The standard deviation; 0 of nothing.
#[allow(clippy::cast_possible_truncation, reason = "of numbers below 1021")]
fn deviation(numbers: impl Iterator<Item = f32> + Clone) -> f32 {
    let (count, sum, squares) = numbers.fold((0.0_f64, 0.0_f64, 0.0_f64), |(count, sum, squares), it| {
        let it = f64::from(it);
        (count + 1.0, sum + it, squares + it * it)
    });
    if count < 1.0 {
        return 0.0;
    }
    let mean = sum / count;
    (squares / count - mean * mean).max(0.0).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    /// A grey picture of these levels.
    fn grey(width: u32, height: u32, level: impl Fn(u32, u32) -> u8) -> Vec<u8> {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        pixels.flat_map(|(x, y)| [level(x, y); 3]).collect()
    }

    fn measure(probe: &mut PictureProbe, ms: i64, width: u32, height: u32, bytes: &[u8]) -> Option<Motion> {
        probe.measure(at(ms), Rgb { bytes, width, height, stride: width as usize * 3 })
    }

    fn seen(width: u32, height: u32, level: impl Fn(u32, u32) -> u8) -> (u8, u16) {
        let mut probe = PictureProbe::default();
        assert_eq!(measure(&mut probe, 0, width, height, &grey(width, height, level)), None);
        (probe.contrast(), probe.sharpness())
    }

    #[test]
    fn contrast_and_sharpness_of_known_pictures() {
        assert_eq!(seen(64, 36, |_, _| 90), (0, 0), "a wall");
        assert_eq!(seen(64, 36, |x, y| if (x + y) % 2 == 0 { 255 } else { 0 }).0, 128, "half black, half white");
        // A ramp has contrast and no edges.
        let (contrast, sharpness) = seen(256, 36, |x, _| u8::try_from(x).unwrap());
        assert_eq!((contrast, sharpness), (74, 0));
        assert_eq!(seen(64, 36, |x, y| if (x + y) % 2 == 0 { 255 } else { 0 }).1, u16::MAX, "capped");
    }

    /// Bars with edges that are `soft` pixels wide at a width of 640.
    fn bars(width: u32, soft: f64) -> u16 {
        let scale = f64::from(width) / 640.0;
        let level = move |x: u32, _: u32| {
            let phase = ((f64::from(x) + 0.5) / scale).rem_euclid(80.0);
            let rise = ((phase - 20.0) / soft + 0.5).clamp(0.0, 1.0);
            let fall = ((phase - 60.0) / soft + 0.5).clamp(0.0, 1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "60 to 180")]
            let level = (60.0 + 120.0 * (rise - fall)) as u8;
            level
        };
        seen(width, width / 16, level).1
    }

    #[test]
    fn blur_lowers_sharpness_and_size_does_not_change_it() {
        let sharp = bars(1280, 1.0);
        let soft = bars(1280, 8.0);
        assert!(20 * soft < sharp, "{soft} {sharp}");
        for width in [640, 1920, 2560] {
            let same = bars(width, 8.0);
            assert!(same.abs_diff(soft) <= 1 + soft / 4, "{width}: {same} {soft}");
        }
    }

    #[test]
    fn what_a_mask_covers_has_no_part() {
        // The left half is a chess board, and covered.
        let board = |x: u32, y: u32| if x < 32 && (x + y).is_multiple_of(2) { 255 } else { 90 };
        let mask = Polygon::new(vec![[0, 0], [5000, 0], [5000, 10_000], [0, 10_000]]).unwrap();
        let mut probe = PictureProbe::new(vec![mask]);
        measure(&mut probe, 0, 64, 36, &grey(64, 36, board));
        assert_eq!((probe.contrast(), probe.sharpness()), (0, 0));
        assert!(0 < seen(64, 36, board).1);
        // All of it: nothing is left to measure.
        let mask = Polygon::new(vec![[0, 0], [10_000, 0], [10_000, 10_000], [0, 10_000]]).unwrap();
        let mut probe = PictureProbe::new(vec![mask]);
        measure(&mut probe, 0, 1300, 70, &grey(1300, 70, board));
        assert_eq!((probe.contrast(), probe.sharpness()), (0, 0));
    }

    #[test]
    fn motion_is_what_moved_beyond_noise() {
        let mut probe = PictureProbe::default();
        measure(&mut probe, 0, 64, 40, &grey(64, 40, |_, _| 100));
        let noise = measure(&mut probe, 40, 64, 40, &grey(64, 40, |x, y| if (x * 7 + y) % 3 == 0 { 109 } else { 95 }));
        assert_eq!(noise, Some(Motion { moment: at(40), energy: 0.0, rise: 0.0 }));
        measure(&mut probe, 80, 64, 40, &grey(64, 40, |_, _| 100));
        // A tenth of the picture becomes 30 levels brighter.
        let hand = measure(&mut probe, 120, 64, 40, &grey(64, 40, |_, y| if y < 4 { 130 } else { 100 })).unwrap();
        assert!((hand.energy - 2.0).abs() < 0.01 && (hand.rise - 2.0).abs() < 0.01, "{hand:?}");
        let gone = measure(&mut probe, 160, 64, 40, &grey(64, 40, |_, _| 100)).unwrap();
        assert!((gone.rise + 2.0).abs() < 0.01, "{gone:?}");
        // It moved: what it covers and what it lays bare cancel.
        measure(&mut probe, 200, 64, 40, &grey(64, 40, |_, y| if y < 4 { 130 } else { 100 }));
        let moved =
            measure(&mut probe, 240, 64, 40, &grey(64, 40, |_, y| if (8..12).contains(&y) { 130 } else { 100 }))
                .unwrap();
        assert!((moved.energy - 4.0).abs() < 0.01 && moved.rise.abs() < 0.01, "{moved:?}");
        assert_eq!(measure(&mut probe, 280, 32, 40, &grey(32, 40, |_, _| 0)), None, "another size");
    }

    #[test]
    fn a_picture_is_frozen_since_it_last_changed() {
        let mut probe = PictureProbe::default();
        assert_eq!(probe.unchanged_for(at(5000)), Span::ZERO);
        probe.set_changed(at(2000));
        probe.set_changed(at(1000));
        assert_eq!(probe.unchanged_for(at(5000)), Span::from_ms(3000));
        assert_eq!(probe.unchanged_for(at(1900)), Span::ZERO);
    }
}
