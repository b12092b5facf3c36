//! Paints over what a camera's masks cover, before anything else sees the picture.
//!
//! A mask covers whole squares of two by two pixels: a decoder gives one sample of colour to such a square, so no pixel
//! that is left has colour from a pixel that is covered. The paint is the network's own zero (the mean that its
//! contract takes off), which is what its filters see beyond the edges of every picture. Painted pixels are scaled with
//! the others afterwards, so what a filter spreads over the edge of a mask is paint.

use std::ops::Range;

use crate::mask::{Cells, Polygon};

/// Pixels that share a sample of colour, in each direction.
const SQUARE: u32 = 2;

/// The masks of a camera, made ready for the size of its pictures. The default covers nothing.
#[derive(Debug, Default)]
pub struct MaskPainter {
    masks: Vec<Polygon>,
    colour: [u8; 3],
    size: (u32, u32),
    squares: Cells,
    /// The rows of pixels of which something is left.
    bands: Vec<Range<u32>>,
    /// A row of paint, which is copied much faster than its pixels are set one by one.
    row: Vec<u8>,
}

impl MaskPainter {
    /// With these masks, and red, green and blue of the network's zero: 0 to 1.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 8 bits")]
    pub fn new(masks: Vec<Polygon>, zero: [f32; 3]) -> Self {
        let colour = zero.map(|share| (share * 255.0).round().clamp(0.0, 255.0) as u8);
        Self { masks, colour, ..Self::default() }
    }

    /// Prepares for pictures of this size, once for each: width and height, pixels.
    pub fn fit(&mut self, size: (u32, u32)) {
        if self.size == size {
            return;
        }
        self.size = size;
        self.squares = Cells::touched(&self.masks, size, SQUARE);
        self.row = self.colour.repeat(size.0 as usize);
        self.bands.clear();
        for (row, spans) in (0..).zip(self.squares.rows()) {
            let (begin, end) = (row * SQUARE, ((row + 1) * SQUARE).min(size.1));
            match self.bands.last_mut() {
                _ if self.squares.is_whole(spans) => {}
                Some(last) if last.end == begin => last.end = end,
                _ => self.bands.push(begin..end),
            }
        }
    }

    /// The rows of pixels that need be converted at all; each band begins at an even row.
    pub(super) fn bands(&self) -> &[Range<u32>] {
        &self.bands
    }

    /// Paints over a picture of the size that was prepared for: packed red, green and blue, row by row from the top.
    pub fn over(&self, rgb: &mut [u8]) {
        let square = SQUARE as usize;
        // A picture without pixels has no rows.
        let rows = rgb.chunks_exact_mut(self.row.len().max(1));
        for (y, row) in rows.enumerate() {
            for span in self.squares.row(y / square) {
                let bytes = |column: u32| (column as usize * square * 3).min(self.row.len());
                let covered = bytes(span.start)..bytes(span.end);
                row[covered.clone()].copy_from_slice(&self.row[covered]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use gstreamer as gst;
    use gstreamer_video::{VideoFrame, VideoInfo};
    use proptest::prelude::*;

    use super::{super::colour, *};
    use crate::{
        infer::{
            features::picture::{Normalise, Resize, Rgb},
            ring::{FrameRing, KEPT},
        },
        time::{Moment, Span},
    };

    fn paint(corners: &[[u16; 2]]) -> MaskPainter {
        MaskPainter::new(vec![Polygon::new(corners.to_vec()).unwrap()], [0.485, 0.456, 0.406])
    }

    #[test]
    fn covered_pixels_have_the_colour_that_the_network_takes_for_zero() {
        let mut paint = paint(&[[0, 0], [10_000, 0], [10_000, 5000], [6000, 5000], [6000, 10_000], [0, 5000]]);
        paint.fit((5, 7));
        // Half of 7 rows ends inside the second pair; what it touches is covered, and the pixel that shares its colour.
        assert_eq!(paint.bands(), slice::from_ref(&(4..7)));
        let mut rgb = [9; 5 * 7 * 3];
        paint.over(&mut rgb);
        let drawn: Vec<String> = rgb
            .chunks(15)
            .map(|row| row.chunks(3).map(|pixel| if pixel == [124, 116, 104] { '#' } else { '.' }).collect())
            .collect();
        assert_eq!(drawn, ["#####", "#####", "#####", "#####", "####.", "####.", "..##."]);
    }

    #[test]
    fn without_masks_the_whole_picture_is_one_band() {
        let mut paint = MaskPainter::default();
        paint.fit((6, 5));
        assert_eq!(paint.bands(), slice::from_ref(&(0..5)));
        let mut rgb = [9; 6 * 5 * 3];
        paint.over(&mut rgb);
        assert_eq!(rgb, [9; 90]);
    }

    /// Fills the picture's planes with noise, and the samples of what is covered with other noise.
    fn noise(info: &VideoInfo, is_covered: &dyn Fn(u32, u32) -> bool, seed: u64, seed_of_covered: u64) -> Vec<u8> {
        let (mut open, mut covered) = (fastrand::Rng::with_seed(seed), fastrand::Rng::with_seed(seed_of_covered));
        let mut bytes: Vec<u8> = (0..info.size()).map(|_| open.u8(..)).collect();
        let form = info.format_info();
        for (component, plane) in (0..3_u8).zip(form.plane()) {
            let at = usize::from(component);
            let (across, down) = (form.w_sub()[at], form.h_sub()[at]);
            for (y, x) in (0..info.height()).flat_map(|y| (0..info.width()).map(move |x| (y, x))) {
                if is_covered(x, y) {
                    let row = (y >> down) as usize * usize::try_from(info.stride()[*plane as usize]).unwrap();
                    let step = (x >> across) as usize * usize::try_from(info.comp_pstride(component)).unwrap();
                    let begin = info.offset()[*plane as usize] + info.comp_poffset(component) as usize;
                    bytes[begin + row + step] = covered.u8(..);
                }
            }
        }
        bytes
    }

    fn converted(info: &VideoInfo, bytes: Vec<u8>, paint: &MaskPainter, bands: &[Range<u32>]) -> Vec<u8> {
        let frame = VideoFrame::from_buffer_readable(gst::Buffer::from_slice(bytes), info).unwrap();
        // Rows that are not converted must not have an effect either.
        let mut rgb = vec![77; (info.width() * info.height() * 3) as usize];
        colour::convert(&frame.as_video_frame_ref(), bands, &mut rgb).unwrap();
        paint.over(&mut rgb);
        rgb
    }

    /// What the network and the gates get of pictures that follow each other.
    fn inputs(pictures: &[Vec<u8>], (width, height): (u32, u32), masks: &[Polygon]) -> (Vec<f32>, Vec<[f32; 2]>) {
        let (side, mut planes) = (12, Vec::new());
        let (mut resize, normalise) = (Resize::new(side, side), Normalise::new([0.485, 0.456, 0.406], [0.22; 3]));
        let measured = Cells::touched(masks, (side, side), 1).left();
        let mut ring = FrameRing::new(side, side, KEPT, 1 << 20).measured_at(measured);
        for (n, bytes) in (0..).zip(pictures) {
            let rgb = Rgb { bytes, width, height, stride: width as usize * 3 };
            ring.push(Moment(0) + Span::from_ms(n), 0, 0, |out| resize.resize(rgb, out).unwrap());
        }
        for at in 0..ring.len() {
            let begin = planes.len();
            planes.resize(begin + resize.bytes(), 0.0);
            normalise.fill(ring.pixels(at).unwrap(), &mut planes[begin..]);
        }
        (planes, ring.metas().map(|frame| [frame.luma, frame.motion]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

        /// The canary: whatever happens under a mask, the network's numbers and the gates' measures stay the same, to
        /// the bit; and what is not covered is as it would be without masks.
        #[test]
        fn what_is_covered_changes_nothing(
            corners in proptest::collection::vec([0..=10_000_u16, 0..=10_000_u16], 3..7),
            width in 8..70_u32, height in 8..50_u32, seed in any::<u64>(),
        ) {
            gst::init().unwrap();
            let Ok(polygon) = Polygon::new(corners) else { return Ok(()) };
            let mut paint = MaskPainter::new(vec![polygon.clone()], [0.485, 0.456, 0.406]);
            paint.fit((width, height));
            let rows: Vec<_> = paint.squares.rows().map(<[_]>::to_vec).collect();
            let is_covered = |x: u32, y: u32| rows[(y / SQUARE) as usize].iter().any(|span| span.contains(&(x / SQUARE)));
            for format in colour::FORMATS {
                let info = VideoInfo::builder(format, width, height).build().unwrap();
                let picture = |open, covered| noise(&info, &is_covered, open, covered);
                let whole = 0..height;
                let mut pictures = [1, 2].map(|covered| {
                    [3, 4].map(|open| converted(&info, picture(seed ^ open, seed ^ covered << 8), &paint, paint.bands()))
                });
                prop_assert!(pictures[0] == pictures[1], "{format}");
                let unmasked = converted(&info, picture(seed ^ 3, seed), &MaskPainter::default(), slice::from_ref(&whole));
                for (at, (pixel, before)) in pictures[0][0].chunks(3).zip(unmasked.chunks(3)).enumerate() {
                    let (x, y) = (u32::try_from(at).unwrap() % width, u32::try_from(at).unwrap() / width);
                    prop_assert_eq!(pixel, if is_covered(x, y) { &[124, 116, 104][..] } else { before }, "{} {}", x, y);
                }
                let masks = slice::from_ref(&polygon);
                let [one, other] = pictures.each_mut().map(|pictures| inputs(pictures, (width, height), masks));
                prop_assert!(one == other, "{format}");
            }
        }
    }

    #[test]
    fn nothing_is_allocated_from_picture_to_picture() {
        let mut paint = paint(&[[0, 0], [5000, 0], [0, 5000]]);
        let mut rgb = vec![0; 320 * 180 * 3];
        paint.fit((320, 180));
        let counted = allocation_counter::measure(|| {
            paint.fit((320, 180));
            paint.over(&mut rgb);
        });
        assert_eq!(counted.count_total, 0);
    }
}
