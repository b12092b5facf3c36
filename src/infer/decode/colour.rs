//! From luma and chroma to red, green and blue, exactly.

/// How luma and chroma become red, green and blue, in 1/65536.
///
/// GStreamer's own fast conversion is two to three levels too dark in mid-grey, which training never saw, so its
/// share ends with luma and chroma for each pixel, and this is exact to half a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Matrix {
    /// The matrix for a colorimetry as in GStreamer's caps: a name, or `range:matrix:transfer:primaries` in numbers.
    /// Where there is none, small pictures are taken for BT.601 and others for BT.709, as GStreamer does.
    pub(super) fn of(colorimetry: Option<&str>, height: u32) -> Self {
        let unknown = if height <= 576 { Coding::BT601 } else { Coding::BT709 };
        let Some(colorimetry) = colorimetry else { return Self::new(false, unknown) };
        let mut numbers = colorimetry.split(':');
        let (range, matrix) = (numbers.next(), numbers.next());
        let coding = match matrix.unwrap_or(colorimetry) {
            "2" => Coding::FCC,
            "3" | "bt709" => Coding::BT709,
            "4" | "bt601" => Coding::BT601,
            "5" | "smpte240m" => Coding::SMPTE240M,
            "6" | "bt2020" | "bt2020-10" | "bt2100-pq" | "bt2100-hlg" => Coding::BT2020,
            _ => unknown,
        };
        Self::new(matrix.is_some() && range == Some("1"), coding)
    }

    #[allow(clippy::cast_possible_truncation, reason = "no coefficient is above 3")]
    fn new(is_full_range: bool, coding: Coding) -> Self {
        let Coding { kr, kb } = coding;
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if is_full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        let fixed = |factor: f64| (factor * 65_536.0).round() as i32;
        Self {
            black: if is_full_range { 0 } else { 16 },
            luma: fixed(luma),
            red_v: fixed(2.0 * (1.0 - kr) * chroma),
            green_u: fixed(-2.0 * (1.0 - kb) * kb / kg * chroma),
            green_v: fixed(-2.0 * (1.0 - kr) * kr / kg * chroma),
            blue_u: fixed(2.0 * (1.0 - kb) * chroma),
        }
    }

    /// Turns pixels of alpha, luma, U and V into red, green and blue.
    pub(super) fn convert(&self, ayuv: &[u8], rgb: &mut [u8]) {
        for (from, to) in ayuv.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<3>().0) {
            let grey = (i32::from(from[1]) - self.black) * self.luma + 32_768;
            let (u, v) = (i32::from(from[2]) - 128, i32::from(from[3]) - 128);
            *to = [
                level(grey + self.red_v * v),
                level(grey + self.green_u * u + self.green_v * v),
                level(grey + self.blue_u * u),
            ];
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped right before")]
fn level(sum: i32) -> u8 {
    (sum >> 16).clamp(0, 255) as u8
}

/// The weights of red and blue in luma.
#[derive(Clone, Copy)]
struct Coding {
    kr: f64,
    kb: f64,
}

impl Coding {
    /// ITU-R BT.601.
    const BT601: Self = Self { kr: 0.299, kb: 0.114 };
    /// ITU-R BT.709.
    const BT709: Self = Self { kr: 0.2126, kb: 0.0722 };
    /// ITU-R BT.2020.
    const BT2020: Self = Self { kr: 0.2627, kb: 0.0593 };
    /// SMPTE 240M.
    const SMPTE240M: Self = Self { kr: 0.212, kb: 0.087 };
    /// FCC, 1953.
    const FCC: Self = Self { kr: 0.30, kb: 0.11 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(colorimetry: &str, yuv: [u8; 3], expected: [u8; 3]) {
        let mut rgb = [9; 3];
        Matrix::of(Some(colorimetry), 1080).convert(&[255, yuv[0], yuv[1], yuv[2]], &mut rgb);
        assert!(rgb.iter().zip(expected).all(|(got, want)| got.abs_diff(want) <= 1), "{rgb:?} is not {expected:?}");
    }

    #[test]
    fn pure_colours_are_pure() {
        check("bt601", [81, 90, 240], [255, 0, 0]);
        check("bt601", [145, 54, 34], [0, 255, 0]);
        check("bt601", [41, 240, 110], [0, 0, 255]);
        check("bt709", [63, 102, 240], [255, 0, 0]);
        check("bt709", [173, 42, 26], [0, 255, 0]);
        check("2:3:5:1", [32, 240, 118], [0, 0, 255]);
        check("1:4:0:0", [76, 85, 255], [254, 0, 0]);
        check("bt2020", [235, 128, 128], [255, 255, 255]);
        check("bt601", [255, 255, 255], [255, 125, 255]);
    }

    #[test]
    fn greys_are_exact() {
        for luma in 16..=235u8 {
            let expected = (f64::from(luma - 16) * 255.0 / 219.0).round();
            let mut rgb = [0; 3];
            Matrix::of(None, 1080).convert(&[255, luma, 128, 128], &mut rgb);
            assert_eq!(rgb.map(f64::from), [expected; 3]);
        }
    }

    #[test]
    fn what_is_not_said_goes_by_size() {
        assert_eq!(Matrix::of(None, 576), Matrix::of(Some("bt601"), 1080));
        assert_eq!(Matrix::of(None, 720), Matrix::of(Some("bt709"), 480));
        assert_eq!(Matrix::of(Some("2:0:0:0"), 720), Matrix::of(Some("bt709"), 720));
    }
}
