//! Pictures: to the network's size as Pillow does it, and to its numbers.

mod pillow;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};

/// No side of a picture is longer: 8K video has 7680.
pub(crate) const SIDE_MAX: u32 = 8192;

/// Why a picture cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its buffer does not hold the picture that its size promises.
    #[error("a picture of {width}x{height} with {stride} bytes a row does not fit into {bytes} bytes")]
    Size {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes from row to row.
        stride: usize,
        /// Bytes given.
        bytes: usize,
    },
    /// The output does not hold exactly one small picture.
    #[error("the output has {0} bytes, which is not one picture of the network's size")]
    Output(usize),
}

/// A picture as it comes out of a decoder: 8-bit R, G, B, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Rgb<'a> {
    /// The bytes; the last row may end after its last pixel.
    pub bytes: &'a [u8],
    /// Pixels: 1 to [`SIDE_MAX`].
    pub width: u32,
    /// Pixels: 1 to [`SIDE_MAX`].
    pub height: u32,
    /// Bytes from one row to the next: at least three times the width.
    pub stride: usize,
}

impl Rgb<'_> {
    fn row_bytes(&self) -> usize {
        self.width as usize * 3
    }

    fn check(&self) -> Result<(), Error> {
        let sides = 1..=SIDE_MAX;
        let Self { width, height, stride, .. } = *self;
        let needed = (height as usize).saturating_sub(1).saturating_mul(stride).saturating_add(self.row_bytes());
        let fits = sides.contains(&width)
            && sides.contains(&height)
            && self.row_bytes() <= stride
            && needed <= self.bytes.len();
        if fits { Ok(()) } else { Err(Error::Size { width, height, stride, bytes: self.bytes.len() }) }
    }
}

/// Resizes pictures of any size to one size: `squash-bicubic-antialias`, within 1/255 of Pillow's
/// `Image.resize((width, height), BICUBIC)`.
///
/// Pillow works in two passes, horizontal first, with an 8-bit picture between them. One call of
/// `fast_image_resize` does it the other way round and is up to 23 steps off; two calls, one for each direction,
/// do it Pillow's way with SIMD. Its coefficients have 16 bits, which is enough where many samples share the weight:
/// where a side shrinks to less than half. Otherwise two roundings can add up to 2/255 (on noise), so there the
/// picture, which is then small, is made by Pillow's own arithmetic.
#[derive(Debug)]
pub struct Resize {
    resizer: Resizer,
    options: ResizeOptions,
    exact: pillow::Exact,
    width: u32,
    height: u32,
    /// The picture without padding between its rows.
    packed: Vec<u8>,
    /// The picture between the passes: the network's width, the camera's height.
    narrow: Vec<u8>,
}

impl Resize {
    /// Resizes to `width` times `height` pixels.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        // Catmull-Rom is bicubic with a = -0.5, which is Pillow's.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
        let (resizer, exact) = (Resizer::new(), pillow::Exact::default());
        Self { resizer, options, exact, width, height, packed: Vec::new(), narrow: Vec::new() }
    }

    /// The bytes of a small picture.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    /// Writes the small picture: R, G, B, row by row, without padding, [`Resize::bytes`] long.
    ///
    /// # Errors
    /// When the picture is not as large as it says, or `out` is not one small picture.
    pub fn resize(&mut self, picture: Rgb<'_>, out: &mut [u8]) -> Result<(), Error> {
        picture.check()?;
        if out.len() != self.bytes() {
            return Err(Error::Output(out.len()));
        }
        let row = picture.row_bytes();
        let source = if picture.stride == row {
            &picture.bytes[..row * picture.height as usize]
        } else {
            self.packed.clear();
            picture.bytes.chunks(picture.stride).take(picture.height as usize).for_each(|line| {
                self.packed.extend_from_slice(&line[..row]);
            });
            &self.packed
        };
        self.narrow.resize(self.width as usize * 3 * picture.height as usize, 0);
        let (width, height) = (picture.width, picture.height);
        if width < 2 * self.width || height < 2 * self.height {
            let from = (source, width as usize, height as usize);
            self.exact.resize(from, &mut self.narrow, (out, self.width as usize));
            return Ok(());
        }
        let narrow = (&mut self.narrow[..], self.width, height);
        pass(&mut self.resizer, &self.options, (source, width, height), narrow)?;
        let narrow = (&self.narrow[..], self.width, height);
        pass(&mut self.resizer, &self.options, narrow, (out, self.width, self.height))
    }
}

/// One direction: one of the sides stays as it is.
fn pass(
    resizer: &mut Resizer,
    options: &ResizeOptions,
    (from, width, height): (&[u8], u32, u32),
    (to, to_width, to_height): (&mut [u8], u32, u32),
) -> Result<(), Error> {
    let bytes = to.len();
    let (Ok(from), Ok(mut to)) = (
        TypedImageRef::<U8x3>::from_buffer(width, height, from),
        TypedImage::<U8x3>::from_buffer(to_width, to_height, to),
    ) else {
        return Err(Error::Output(bytes));
    };
    // Typed, because the untyped call compiles the kernels of every pixel format there is, which takes minutes.
    resizer.resize_typed(&from, &mut to, options).map_err(|_| Error::Output(bytes))
}

/// From 8-bit R, G, B, row by row, to `(x / 255 - mean) / std` as three planes.
#[derive(Clone, Debug)]
pub(crate) struct Normalise {
    /// What each of the 256 values of each colour becomes.
    values: [[f32; 256]; 3],
}

impl Normalise {
    /// With the contract's mean and standard deviation for R, G, B.
    #[must_use]
    pub(crate) fn new(mean: [f32; 3], std: [f32; 3]) -> Self {
        let values = std::array::from_fn(|colour| {
            std::array::from_fn(|value| (value as f32 / 255.0 - mean[colour]) / std[colour])
        });
        Self { values }
    }

    /// Writes one picture's planes, straight into its place in the batch. Of `rgb` and `planes`, which hold as many
    /// samples, the surplus of the longer one is left alone.
    pub(crate) fn fill(&self, rgb: &[u8], planes: &mut [f32]) {
        let pixels = planes.len() / 3;
        let (red, rest) = planes.split_at_mut(pixels);
        let (green, blue) = rest.split_at_mut(pixels);
        let [of_red, of_green, of_blue] = &self.values;
        for (((pixel, red), green), blue) in rgb.chunks_exact(3).zip(red).zip(green).zip(blue) {
            *red = of_red[usize::from(pixel[0])];
            *green = of_green[usize::from(pixel[1])];
            *blue = of_blue[usize::from(pixel[2])];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden/picture");

    fn packed(bytes: &[u8], width: u32, height: u32) -> Rgb<'_> {
        Rgb { bytes, width, height, stride: width as usize * 3 }
    }

    /// The generators of the golden vectors' README.
    fn generate(kind: &str, width: u32, height: u32) -> Vec<u8> {
        let (w, h) = (i64::from(width), i64::from(height));
        let mut bytes = Vec::new();
        for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
            let pixel: [i64; 3] = if kind == "hash" {
                [0, 1, 2].map(|c| ((x * 7 + y * 13 + c * 29 + (x * y) / 17) * 2_654_435_761 % (1 << 32)) >> 24)
            } else {
                let (dx, dy) = (x - w / 2, y - h / 2);
                let inside = dx * dx + dy * dy < (w.min(h) / 3).pow(2);
                let red = x * 255 / (w - 1).max(1);
                let green = y * 255 / (h - 1).max(1);
                [
                    if inside { 255 - red } else { red },
                    if inside && x % 8 < 4 { 0 } else { green },
                    if (x / 16 + y / 16) % 2 == 0 { 255 } else { 0 },
                ]
            };
            bytes.extend(pixel.map(|sample| u8::try_from(sample).unwrap()));
        }
        bytes
    }

    #[test]
    fn resizing_equals_pillow_within_one_step() {
        let (mut pictures, mut samples, mut different) = (0, 0, 0);
        for entry in fs::read_dir(GOLDEN).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let numbers: Vec<u32> = name.split(['-', 'x']).filter_map(|part| part.parse().ok()).collect();
            let [width, height, to_width, to_height] = numbers[..] else { panic!("{name}") };
            let source = generate(name.split('-').next().unwrap(), width, height);
            let wanted = fs::read(&path).unwrap();
            let mut resize = Resize::new(to_width, to_height);
            let mut small = vec![0; resize.bytes()];
            resize.resize(packed(&source, width, height), &mut small).unwrap();
            let worst = small.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            let differ = small.iter().zip(&wanted).filter(|(a, b)| a != b).count();
            if width < 2 * to_width || height < 2 * to_height {
                assert_eq!(differ, 0, "{name}: the exact way is exact");
            }
            println!("{name}: {differ} of {} samples differ, by at most {worst}", wanted.len());
            assert_eq!(small.len(), wanted.len(), "{name}");
            assert!(worst <= 1, "{name}: off by {worst}");
            (pictures, samples, different) = (pictures + 1, samples + wanted.len(), different + differ);
        }
        assert_eq!(pictures, 9);
        assert!(different * 100 < samples, "{different} of {samples} samples differ from Pillow");
    }

    /// Pillow's own arithmetic, which the golden vectors hold, is the measure for the fast way at other sizes.
    #[test]
    fn the_fast_way_stays_within_one_step_of_the_exact_way() {
        for (width, height) in [(448, 448), (449, 500), (640, 480), (704, 576), (1000, 450)] {
            let source = generate("hash", width, height);
            let mut resize = Resize::new(224, 224);
            let mut fast = vec![0; resize.bytes()];
            resize.resize(packed(&source, width, height), &mut fast).unwrap();
            let mut exact = vec![0; resize.bytes()];
            let mut narrow = vec![0; 224 * 3 * height as usize];
            let from = (&source[..], width as usize, height as usize);
            pillow::Exact::default().resize(from, &mut narrow, (&mut exact, 224));
            let worst = fast.iter().zip(&exact).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert_eq!(worst, 1, "{width}x{height}");
        }
    }

    #[test]
    fn padding_between_rows_is_not_seen() {
        let plain = generate("edges", 97, 61);
        let padded: Vec<u8> = plain.chunks(97 * 3).flat_map(|row| [row, &[0xaa; 5]].concat()).collect();
        let mut resize = Resize::new(32, 32);
        let (mut of_plain, mut of_padded) = (vec![0; resize.bytes()], vec![1; resize.bytes()]);
        resize.resize(packed(&plain, 97, 61), &mut of_plain).unwrap();
        let picture = Rgb { bytes: &padded[..padded.len() - 5], width: 97, height: 61, stride: 97 * 3 + 5 };
        resize.resize(picture, &mut of_padded).unwrap();
        assert_eq!(of_plain, of_padded);
    }

    #[test]
    fn a_picture_smaller_than_it_says_is_refused() {
        let mut resize = Resize::new(32, 32);
        let mut out = vec![0; resize.bytes()];
        let bytes = vec![0; 64 * 64 * 3];
        for (width, height, stride) in [(64, 65, 192), (65, 64, 195), (64, 64, 191), (0, 64, 192), (64, 0, 192)] {
            let picture = Rgb { bytes: &bytes, width, height, stride };
            let error = resize.resize(picture, &mut out).unwrap_err();
            assert_eq!(error, Error::Size { width, height, stride, bytes: bytes.len() });
        }
        assert_eq!(resize.resize(packed(&bytes, 64, 64), &mut out[1..]), Err(Error::Output(3071)));
    }

    #[test]
    fn numbers_are_those_of_training() {
        let normalise = Normalise::new([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let mut planes = [0.0; 6];
        normalise.fill(&[255, 0, 51, 0, 255, 102], &mut planes);
        // ImageNet's constants, by hand: (x / 255 - mean) / std.
        let wanted = [2.248_908_3, -2.117_904, -2.035_714_3, 2.428_571_5, -0.915_555_6, -0.026_666_64];
        for (number, wanted) in planes.iter().zip(wanted) {
            assert!((number - wanted).abs() < 1e-6, "{number} {wanted}");
        }
    }
}
