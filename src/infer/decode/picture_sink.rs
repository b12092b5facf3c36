//! What is done with a wanted picture that comes out of its decoder: masks are painted over, the rest is converted to
//! RGB, and the pixels are lent to the caller's function.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};

use super::{colour, mask_painter::MaskPainter};
use crate::{time::Moment, wire::access_unit::Codec};

/// A decoded picture, lent for the time of a call.
#[derive(Clone, Copy)]
pub(crate) struct Picture<'a> {
    /// The moment of its unit.
    pub moment: Moment,
    /// How it was compressed.
    pub codec: Codec,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// From one row to the next, bytes: three times the width.
    pub stride: usize,
    /// Red, green, blue, 8 bits each.
    pub rgb: &'a [u8],
}

impl Picture<'_> {
    /// A number that changes with codec and size, and with nothing else.
    #[must_use]
    pub(crate) const fn format(&self) -> u32 {
        (self.codec as u32) << 28 ^ self.width << 14 ^ self.height
    }
}

/// Shared by a decoder and its thread, also after the decoder was restarted.
pub(super) type SharedPictureSink = Arc<Mutex<PictureSink<dyn FnMut(&Picture<'_>) + Send>>>;

/// What is done with a wanted picture.
pub(super) struct PictureSink<F: ?Sized> {
    paint: MaskPainter,
    on_picture: F,
}

impl<F> PictureSink<F> {
    /// Passes pictures on to this function, with nothing painted over.
    pub(super) fn new(on_picture: F) -> Self {
        Self { paint: MaskPainter::default(), on_picture }
    }
}

impl PictureSink<dyn FnMut(&Picture<'_>) + Send> {
    /// From now on, pictures are painted over.
    pub(super) fn paint(&mut self, paint: MaskPainter) {
        self.paint = paint;
    }

    /// Passes on the picture of this moment; the storage of its pixels is reused.
    pub(super) fn pass_on(
        &mut self,
        codec: Codec,
        moment: Moment,
        sample: &gst::Sample,
        rgb: &mut Vec<u8>,
    ) -> Result<(), String> {
        let info =
            sample.caps().and_then(|caps| VideoInfo::from_caps(caps).ok()).ok_or("a picture without a format")?;
        let frame = sample.buffer().and_then(|buffer| VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok());
        let frame = frame.ok_or("a picture that is smaller than its format says")?;
        let (width, height) = (frame.width(), frame.height());
        self.paint.fit((width, height));
        colour::convert(&frame, self.paint.bands(), rgb)?;
        self.paint.over(rgb);
        let picture = Picture { moment, codec, width, height, stride: width as usize * 3, rgb };
        (self.on_picture)(&picture);
        Ok(())
    }
}
