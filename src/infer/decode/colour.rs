//! From a decoder's luma and chroma to red, green and blue.

use std::ops::Range;

use gstreamer_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameExt, VideoFrameRef, VideoInfo};
use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPlanarImage, YuvRange, YuvStandardMatrix};

use gstreamer as gst;

/// What software and hardware decoders give, and [`convert`] takes. GStreamer converts anything else to one of these
/// before.
pub(super) const FORMATS: [VideoFormat; 4] =
    [VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Y42b, VideoFormat::Y444];

/// Writes red, green and blue of the picture's rows in `bands`, 8 bits each, row by row without padding; the other rows
/// of `rgb` keep what they had. Its storage is reused. Each band begins at an even row.
///
/// GStreamer's own fast conversion is two to three levels too dark in mid-grey, which training never saw; this one is
/// within one level of exact arithmetic. Pixels that share a chroma sample get it as it is: so do `FFmpeg` and `OpenCV`,
/// with which training pictures are decoded. Luma below black counts as black.
///
/// # Errors
/// When the picture's format is none of [`FORMATS`], or its planes are smaller than its size promises.
pub(super) fn convert(
    picture: &VideoFrameRef<&gst::BufferRef>,
    bands: &[Range<u32>],
    rgb: &mut Vec<u8>,
) -> Result<(), String> {
    let row_bytes = picture.width() as usize * 3;
    rgb.resize(row_bytes * picture.height() as usize, 0);
    for band in bands {
        let rows = row_bytes * band.start as usize..row_bytes * band.end as usize;
        let rgb = rgb.get_mut(rows).ok_or("rows that the picture does not have")?;
        convert_band(picture, band, rgb)?;
    }
    Ok(())
}

fn convert_band(picture: &VideoFrameRef<&gst::BufferRef>, band: &Range<u32>, rgb: &mut [u8]) -> Result<(), String> {
    let (width, height) = (picture.width(), band.end - band.start);
    let (range, matrix) = coding(picture.info());
    let plane = |n: u32| {
        let data = picture.plane_data(n).map_err(|err| err.to_string())?;
        let halved = n != 0 && matches!(picture.format(), VideoFormat::I420 | VideoFormat::Nv12);
        let above = if halved { band.start / 2 } else { band.start };
        let stride = picture.plane_stride().get(n as usize).and_then(|stride| usize::try_from(*stride).ok());
        let begin = stride.unwrap_or(0).saturating_mul(above as usize);
        data.get(begin..).ok_or_else(|| "a plane that is smaller than its picture".to_owned())
    };
    let stride = |n: usize| picture.plane_stride().get(n).and_then(|stride| u32::try_from(*stride).ok()).unwrap_or(0);
    let converted = if picture.format() == VideoFormat::Nv12 {
        let image = YuvBiPlanarImage {
            y_plane: plane(0)?,
            y_stride: stride(0),
            uv_plane: plane(1)?,
            uv_stride: stride(1),
            width,
            height,
        };
        yuv::yuv_nv12_to_rgb(&image, rgb, width * 3, range, matrix, YuvConversionMode::Balanced)
    } else {
        let image = YuvPlanarImage {
            y_plane: plane(0)?,
            y_stride: stride(0),
            u_plane: plane(1)?,
            u_stride: stride(1),
            v_plane: plane(2)?,
            v_stride: stride(2),
            width,
            height,
        };
        let from = match picture.format() {
            VideoFormat::I420 => yuv::yuv420_to_rgb,
            VideoFormat::Y42b => yuv::yuv422_to_rgb,
            VideoFormat::Y444 => yuv::yuv444_to_rgb,
            other => return Err(format!("a picture in the format {other}")),
        };
        from(&image, rgb, width * 3, range, matrix)
    };
    converted.map_err(|err| err.to_string())
}

/// How luma and chroma are coded. GStreamer fills in what the stream does not say: BT.601 for small pictures and
/// BT.709 for others, both of limited range.
fn coding(info: &VideoInfo) -> (YuvRange, YuvStandardMatrix) {
    let colorimetry = info.colorimetry();
    let range = match colorimetry.range() {
        VideoColorRange::Range0_255 => YuvRange::Full,
        _ => YuvRange::Limited,
    };
    let matrix = match colorimetry.matrix() {
        VideoColorMatrix::Fcc => YuvStandardMatrix::Fcc,
        VideoColorMatrix::Bt601 => YuvStandardMatrix::Bt601,
        VideoColorMatrix::Smpte240m => YuvStandardMatrix::Smpte240,
        VideoColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
        _ => YuvStandardMatrix::Bt709,
    };
    (range, matrix)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use gstreamer_video::VideoFrame;

    use super::*;

    /// A picture of 4x4 pixels of one colour.
    fn picture(
        format: VideoFormat,
        colorimetry: &str,
        yuv: [u8; 3],
    ) -> VideoFrame<gstreamer_video::video_frame::Readable> {
        gst::init().unwrap();
        let info = VideoInfo::builder(format, 4, 4).colorimetry(&colorimetry.parse().unwrap()).build().unwrap();
        let mut bytes = vec![0; info.size()];
        for (n, value) in yuv.into_iter().enumerate() {
            let component = info.format_info().plane()[n] as usize;
            let begin = info.offset()[component] + info.comp_poffset(u8::try_from(n).unwrap()) as usize;
            let end = info.offset().get(component + 1).copied().unwrap_or(bytes.len());
            let end = if end <= begin { bytes.len() } else { end };
            let step = usize::try_from(info.comp_pstride(u8::try_from(n).unwrap())).unwrap();
            bytes[begin..end].iter_mut().step_by(step).for_each(|sample| *sample = value);
        }
        VideoFrame::from_buffer_readable(gst::Buffer::from_slice(bytes), &info).unwrap()
    }

    #[track_caller]
    fn check(colorimetry: &str, yuv: [u8; 3], expected: [u8; 3]) {
        for format in FORMATS {
            let frame = picture(format, colorimetry, yuv);
            let mut rgb = vec![9; 1];
            convert(&frame.as_video_frame_ref(), slice::from_ref(&(0..4)), &mut rgb).unwrap();
            assert_eq!(rgb.len(), 48);
            for pixel in rgb.chunks(3) {
                let near = pixel.iter().zip(expected).all(|(got, want)| got.abs_diff(want) <= 1);
                assert!(near, "{format}, {colorimetry}: {pixel:?} is not {expected:?}");
            }
        }
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
    fn greys_are_within_one_level() {
        for luma in 16..=235u8 {
            let level = u8::try_from((u32::from(luma - 16) * 255 + 109) / 219).unwrap();
            check("bt709", [luma, 128, 128], [level; 3]);
        }
    }

    #[test]
    fn what_is_not_declared_goes_by_size() {
        gst::init().unwrap();
        let unsaid = |height| coding(&VideoInfo::builder(VideoFormat::I420, 640, height).build().unwrap());
        assert_eq!(unsaid(576), (YuvRange::Limited, YuvStandardMatrix::Bt601));
        assert_eq!(unsaid(720), (YuvRange::Limited, YuvStandardMatrix::Bt709));
    }

    #[test]
    fn another_format_is_refused() {
        gst::init().unwrap();
        let info = VideoInfo::builder(VideoFormat::Gray8, 4, 4).build().unwrap();
        let frame = VideoFrame::from_buffer_readable(gst::Buffer::from_slice(vec![0; info.size()]), &info).unwrap();
        assert!(convert(&frame.as_video_frame_ref(), slice::from_ref(&(0..4)), &mut Vec::new()).is_err());
    }
}
