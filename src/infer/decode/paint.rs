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
pub(super) struct Paint {
    masks: Vec<Polygon>,
    colour: [u8; 3],
    size: (u32, u32),
    squares: Cells,
    /// The rows of pixels of which something is left.
    bands: Vec<Range<u32>>,
}

impl Paint {
    /// With these masks, and red, green and blue of the network's zero: 0 to 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 8 bits")]
    pub(super) fn new(masks: Vec<Polygon>, zero: [f32; 3]) -> Self {
        let colour = zero.map(|it| (it * 255.0).round().clamp(0.0, 255.0) as u8);
        Self { masks, colour, ..Self::default() }
    }

    /// Prepares for pictures of this size, once for each.
    pub(super) fn fit(&mut self, size: (u32, u32)) {
        if self.size == size {
            return;
        }
        self.size = size;
        self.squares = Cells::touched(&self.masks, size, SQUARE);
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

    /// Paints over a picture of the size that was prepared for: packed red, green and blue.
    pub(super) fn over(&self, rgb: &mut [u8]) {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let (pixels, _) = rgb.as_chunks_mut::<3>();
        for (row, spans) in self.squares.rows().enumerate() {
            for y in (row * SQUARE as usize..(row + 1) * SQUARE as usize).take_while(|y| *y < height) {
                for span in spans {
                    let end = ((span.end * SQUARE) as usize).min(width);
                    if let Some(covered) = pixels.get_mut(y * width + (span.start * SQUARE) as usize..y * width + end) {
                        covered.fill(self.colour);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paint(corners: &[[u16; 2]]) -> Paint {
        Paint::new(vec![Polygon::new(corners.to_vec()).unwrap()], [0.485, 0.456, 0.406])
    }

    #[test]
    fn covered_pixels_have_the_colour_that_the_network_takes_for_zero() {
        let mut paint = paint(&[[0, 0], [10_000, 0], [10_000, 5000], [6000, 5000], [6000, 10_000], [0, 5000]]);
        paint.fit((5, 7));
        // Half of 7 rows ends inside the second pair; what it touches is covered, and the pixel that shares its colour.
        assert_eq!(paint.bands(), [0..0; 0].into_iter().chain([2..7]).collect::<Vec<_>>());
        let mut rgb = [9; 5 * 7 * 3];
        paint.over(&mut rgb);
        let drawn: Vec<String> = rgb
            .chunks(15)
            .map(|row| row.chunks(3).map(|it| if it == [124, 116, 104] { '#' } else { '.' }).collect())
            .collect();
        assert_eq!(drawn, ["#####", "#####", "#####", "#####", "####.", "####.", "..##."]);
    }

    #[test]
    fn without_masks_the_whole_picture_is_one_band() {
        let mut paint = Paint::default();
        paint.fit((6, 5));
        assert_eq!(paint.bands(), [0..5]);
        let mut rgb = [9; 6 * 5 * 3];
        paint.over(&mut rgb);
        assert_eq!(rgb, [9; 90]);
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
