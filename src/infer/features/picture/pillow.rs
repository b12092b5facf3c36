//! Pillow's bicubic resampling, bit for bit: two passes, horizontal first, an 8-bit picture between them,
//! coefficients with 22 fractional bits, the filter widened when shrinking.

/// Fractional bits of a coefficient: 32 less 8 of a sample and 2 for overshoot.
const FRACTION_BITS: u32 = 22;
/// Half the width of the bicubic filter.
const SUPPORT: f64 = 2.0;

/// One pass: how each output sample along one side is made of input samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Taps {
    from: usize,
    to: usize,
    /// The first input of each output, and where its coefficients begin.
    starts: Vec<(usize, usize)>,
    coefficients: Vec<i32>,
}

impl Taps {
    /// Computes them again only when a side has changed.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions inside a picture")]
    fn prepare(&mut self, from: usize, to: usize) {
        if (self.from, self.to) == (from, to) {
            return;
        }
        *self = Self { from, to, ..Self::default() };
        let scale = from as f64 / to as f64;
        let widened = scale.max(1.0);
        let support = SUPPORT * widened;
        for out in 0..to {
            let centre = (out as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let weight = |at: usize| bicubic((at as f64 - centre + 0.5) / widened);
            let sum: f64 = (first..last).map(weight).sum();
            self.starts.push((first, self.coefficients.len()));
            let fixed = |at| (weight(at) / sum * f64::from(1 << FRACTION_BITS)).round() as i32;
            self.coefficients.extend((first..last).map(fixed));
        }
    }

    /// Each output's first input and its coefficients.
    fn outputs(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let ends = self.starts.iter().skip(1).map(|(_, at)| *at).chain([self.coefficients.len()]);
        self.starts.iter().zip(ends).map(|((first, at), end)| (*first, &self.coefficients[*at..end]))
    }
}

/// Keys' cubic convolution with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 8 bits")]
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Both passes, with what they keep from picture to picture of the same size.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    columns: Taps,
    rows: Taps,
    sums: Vec<i32>,
}

impl Exact {
    /// From packed R, G, B of `width` and `height` over `narrow` to `out`, which is `to_width` wide and whose length
    /// tells its height.
    pub(super) fn resize(
        &mut self,
        (from, width, height): (&[u8], usize, usize),
        narrow: &mut [u8],
        (out, to_width): (&mut [u8], usize),
    ) {
        let to_row = to_width * 3;
        self.columns.prepare(width, to_width);
        for (row, narrow) in from.chunks_exact(width * 3).zip(narrow.chunks_exact_mut(to_row)) {
            for ((first, coefficients), out) in self.columns.outputs().zip(narrow.chunks_exact_mut(3)) {
                let mut sums = [0_i32; 3];
                for (pixel, coefficient) in row[first * 3..].chunks_exact(3).zip(coefficients) {
                    for (sum, sample) in sums.iter_mut().zip(pixel) {
                        *sum += i32::from(*sample) * coefficient;
                    }
                }
                out.copy_from_slice(&sums.map(rounded));
            }
        }
        self.rows.prepare(height, out.len() / to_row);
        self.sums.resize(to_row, 0);
        for ((first, coefficients), out) in self.rows.outputs().zip(out.chunks_exact_mut(to_row)) {
            self.sums.fill(0);
            for (row, coefficient) in narrow[first * to_row..].chunks_exact(to_row).zip(coefficients) {
                for (sum, sample) in self.sums.iter_mut().zip(row) {
                    *sum += i32::from(*sample) * coefficient;
                }
            }
            out.iter_mut().zip(&self.sums).for_each(|(out, sum)| *out = rounded(*sum));
        }
    }
}
