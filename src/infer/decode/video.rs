//! Decodes a camera's video, and converts only the pictures that are wanted.

use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::VideoCapsBuilder;
use tracing::{info, warn};

use super::{
    Error, colour,
    mask_painter::MaskPainter,
    pending_pictures::PendingPictures,
    picture_sink::{PictureSink, SharedPictureSink},
    pipeline::{self, Pipeline},
};
use crate::{
    mask::Polygon,
    time::Moment,
    wire::access_unit::{AccessUnit, Codec},
};

/// A hardware decoder that failed so often is not asked again.
const HARDWARE_FAILURES_MAX: u32 = 3;
/// So many wanted units without a single picture are a failure: two windows of eight frames.
const UNANSWERED_MAX: u32 = 16;
/// A chain is kept for a second run up to this many units and bytes.
const CHAIN_UNITS_MAX: usize = 250;
const CHAIN_BYTES_MAX: usize = 8 << 20;

/// A decoded picture, lent for the time of a call.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    /// When it was shown: its unit's moment.
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
    pub const fn format(&self) -> u32 {
        (self.codec as u32) << 28 ^ self.width << 14 ^ self.height
    }
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The decoder has it.
    Taken,
    /// It cannot be decoded: its key frame is missing.
    Useless,
    /// The decoder does not keep up. What follows is useless until the next key frame.
    Dropped,
}

/// Decodes the video of one camera, and hands on the pictures that are wanted.
///
/// All units of a chain are decoded, but only wanted pictures are converted to RGB. A failing decoder is started
/// anew; a failing hardware decoder gives way to software after three failures, unless it was asked for by name.
pub struct VideoDecoder {
    codec: Codec,
    elements: Vec<String>,
    failures: u32,
    line: Option<Pipeline>,
    on_picture: SharedPictureSink,
    awaited: Arc<PendingPictures>,
    next_seq: Option<u32>,
    /// The units since the last key frame, to decode them again where the decoder was drained too early. Empty
    /// where they are too many.
    chain: Vec<(Moment, gst::Buffer)>,
    /// Whether the unit before was a key frame, too.
    was_key: bool,
    dropped: u64,
}

impl VideoDecoder {
    /// A decoder for `codec`: the element named `choice`, or else hardware where this machine has it and it works,
    /// or else software. `on_picture` is called on the decoder's thread with each wanted picture, soon after its
    /// unit; it should take what it needs and return.
    ///
    /// # Errors
    /// When the codec is no picture's, an element is not there, or `choice` does not decode this codec.
    pub fn open(
        codec: Codec,
        choice: Option<&str>,
        on_picture: impl FnMut(&Picture<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        pipeline::start()?;
        let mut decoder = Self {
            codec,
            elements: candidates(codec, choice)?,
            failures: 0,
            line: None,
            on_picture: Arc::new(Mutex::new(PictureSink::new(on_picture))),
            awaited: Arc::default(),
            next_seq: None,
            chain: Vec::new(),
            was_key: false,
            dropped: 0,
        };
        while let Err(err) = decoder.restart() {
            if decoder.elements.len() < 2 {
                return Err(err);
            }
            warn!(codec = codec.name(), err = %err, "decoder does not start; trying the next");
            decoder.elements.remove(0);
        }
        info!(codec = codec.name(), decoder = decoder.element(), "decoder");
        Ok(decoder)
    }

    /// The same decoder for a camera of which `masks` are not looked at: every picture is handed on with the colour
    /// `zero` (red, green and blue, 0 to 1) in their place. Say so before the first unit.
    #[must_use]
    pub fn masked(self, masks: Vec<Polygon>, zero: [f32; 3]) -> Self {
        self.on_picture.lock().unwrap_or_else(PoisonError::into_inner).paint(MaskPainter::new(masks, zero));
        self
    }

    /// The same decoder for a source that drops no unit, such as a file: it is not drained before [`Self::finish`].
    #[must_use]
    pub fn undropped(self) -> Self {
        self.awaited.expect_all();
        self
    }

    /// As [`Self::decode`], but waits for the decoder where it does not keep up.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_in_turn<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<Fed, Error> {
        match self.line.as_ref().map_or(Ok(()), Pipeline::wait_turn) {
            Ok(()) => self.decode(unit),
            Err(reason) => Err(self.fail(reason)),
        }
    }

    /// No unit follows: waits until every wanted picture was handed on. The next unit must be `fresh`.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit.
    pub fn finish(&mut self) -> Result<(), Error> {
        let finished = self.line.as_ref().map_or(Ok(()), Pipeline::finish);
        self.line = None;
        finished.map_err(|reason| Error::Failed { element: self.element().to_owned(), reason })
    }

    /// The GStreamer element that decodes.
    #[must_use]
    pub fn element(&self) -> &str {
        self.elements.first().map_or("none", String::as_str)
    }

    /// How many pictures were handed on.
    #[must_use]
    pub fn pictures(&self) -> u64 {
        self.awaited.pictures()
    }

    /// How many units were dropped because the decoder did not keep up.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hands a unit to the decoder without waiting for it. Its picture is handed on only where it is `wanted`.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit. It has been started anew by then, and goes on with the next
    /// key frame.
    pub fn decode<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<Fed, Error> {
        let header = unit.header;
        if header.codec != self.codec {
            return Err(Error::WrongKind { codec: header.codec, wanted: self.codec.name() });
        }
        if header.discontinuity {
            self.restart()?;
        }
        if !header.is_key && self.next_seq != Some(header.seq) {
            self.next_seq = None;
            return Ok(Fed::Useless);
        }
        if UNANSWERED_MAX <= self.awaited.unanswered() {
            return Err(self.fail(format!("no picture from {UNANSWERED_MAX} units")));
        }
        if self.line.is_none() {
            self.restart()?;
        }
        match self.feed(unit) {
            Ok(Fed::Taken) => {
                self.next_seq = Some(header.seq.wrapping_add(1));
                Ok(Fed::Taken)
            }
            Ok(fed) => {
                self.next_seq = None;
                self.dropped += u64::from(fed == Fed::Dropped);
                Ok(fed)
            }
            Err(reason) => Err(self.fail(reason)),
        }
    }

    /// Pushes a unit, and drains the decoder where its picture would otherwise wait for units that do not come.
    fn feed<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<Fed, String> {
        let AccessUnit { header, bytes } = unit;
        let Some(line) = &self.line else { return Ok(Fed::Useless) };
        line.check()?;
        if line.is_full() {
            return Ok(Fed::Dropped);
        }
        let follows_key = std::mem::replace(&mut self.was_key, header.is_key) && header.is_key;
        if header.is_key && is_entry(self.codec, bytes.as_ref()) {
            self.chain.clear();
        }
        let mut awaited = self.awaited.gate();
        if awaited.was_drained() && !header.is_key {
            // It was not the end of the chain after all, so the decoder needs all of it again.
            if self.chain.is_empty() {
                return Ok(Fed::Useless);
            }
            for (moment, unit) in &mut self.chain {
                let pts = awaited.pts(*moment, !unit.flags().contains(gst::BufferFlags::DELTA_UNIT));
                unit.make_mut().set_pts(pts);
                line.push(unit.clone())?;
            }
        }
        let pts = awaited.pts(header.moment, header.is_key);
        if header.wanted {
            awaited.expect(pts, header.moment);
        }
        let buffer = pipeline::buffer(bytes, pts, header.is_key);
        line.push(buffer.clone())?;
        let chain_bytes = || self.chain.iter().map(|(_, unit)| unit.size()).sum::<usize>() + buffer.size();
        if header.is_key
            || !self.chain.is_empty() && self.chain.len() < CHAIN_UNITS_MAX && chain_bytes() <= CHAIN_BYTES_MAX
        {
            self.chain.push((header.moment, buffer));
        } else {
            self.chain.clear();
        }
        awaited.pushed(line.source(), follows_key);
        Ok(Fed::Taken)
    }

    /// Forgets all units and starts the decoder anew.
    fn restart(&mut self) -> Result<(), Error> {
        self.line = None;
        self.next_seq = None;
        self.chain.clear();
        self.was_key = false;
        self.awaited.forget();
        self.line = Some(build(self.codec, self.element(), &self.on_picture, &self.awaited)?);
        Ok(())
    }

    /// Counts a failure, and starts this decoder or the next anew.
    fn fail(&mut self, reason: String) -> Error {
        let error = Error::Failed { element: self.element().to_owned(), reason };
        self.failures += 1;
        if HARDWARE_FAILURES_MAX <= self.failures && 1 < self.elements.len() {
            self.failures = 0;
            let gone = self.elements.remove(0);
            warn!(codec = self.codec.name(), gone, now = self.element(), "decoder failed too often; using the next");
        }
        if let Err(err) = self.restart() {
            warn!(codec = self.codec.name(), err = %err, "decoder does not start");
        }
        error
    }
}

/// The decoders to try, best first.
fn candidates(codec: Codec, choice: Option<&str>) -> Result<Vec<String>, Error> {
    let known: &[&str] = match codec {
        Codec::H264 => &["nvv4l2decoder", "nvh264dec", "vah264dec", "v4l2slh264dec", "avdec_h264"],
        Codec::H265 => &["nvv4l2decoder", "nvh265dec", "vah265dec", "v4l2slh265dec", "avdec_h265"],
        Codec::Mjpeg => &["nvjpegdec", "vajpegdec", "jpegdec"],
        _ => return Err(Error::WrongKind { codec, wanted: "video" }),
    };
    let here: Vec<_> = known.iter().filter(|name| pipeline::exists(name)).map(|name| (*name).to_owned()).collect();
    let Some(choice) = choice else {
        // Where even software is missing, say which one should be there.
        let software = || known.last().map(|name| (*name).to_owned());
        return Ok(if here.is_empty() { software().into_iter().collect() } else { here });
    };
    let factory = gst::ElementFactory::find(choice);
    let is_decoder = |factory: &gst::ElementFactory| {
        factory.has_type(gst::ElementFactoryType::DECODER) && factory.can_sink_any_caps(&input_caps(codec))
    };
    match factory {
        Some(factory) if is_decoder(&factory) => Ok(vec![choice.to_owned()]),
        _ => Err(Error::WrongElement { element: choice.to_owned(), codec, others: here.join(", ") }),
    }
}

fn input_caps(codec: Codec) -> gst::Caps {
    let caps = match codec {
        Codec::H264 => gst::Caps::builder("video/x-h264"),
        Codec::H265 => gst::Caps::builder("video/x-h265"),
        _ => return gst::Caps::builder("image/jpeg").field("parsed", true).build(),
    };
    caps.field("stream-format", "byte-stream").field("alignment", "au").build()
}

/// Whether a chain can begin here. GStreamer's parser takes every picture without references for a key frame, also
/// one across which later pictures refer, which encoders make at a change of scene.
fn is_entry(codec: Codec, bytes: &[u8]) -> bool {
    let nal_types = bytes.windows(4).filter(|window| window[..3] == [0, 0, 1]).map(|window| window[3]);
    match codec {
        // A slice of an IDR picture, before any other slice. H.264, table 7-1.
        Codec::H264 => nal_types.map(|byte| byte & 0x1f).find(|nal| (1..=5).contains(nal)) == Some(5),
        // A slice of an intra random access point picture. H.265, table 7-1.
        Codec::H265 => {
            nal_types.map(|byte| byte >> 1 & 0x3f).find(|nal| *nal < 32).is_some_and(|nal| (16..=23).contains(&nal))
        }
        _ => true,
    }
}

fn build(
    codec: Codec,
    element: &str,
    on_picture: &SharedPictureSink,
    awaited: &Arc<PendingPictures>,
) -> Result<Pipeline, Error> {
    let decoder = pipeline::element(element)?;
    // One frame at a time: several in parallel would each come out later.
    pipeline::set(&decoder, "max-threads", "1");
    pipeline::set(&decoder, "thread-type", "slice");
    pipeline::set(&decoder, "std-compliance", "normal");
    pipeline::set(&decoder, "qos", "false");
    drop_unwanted(&decoder, awaited);
    let convert = pipeline::element("videoconvert")?;
    pipeline::set(&convert, "n-threads", "1");
    pipeline::set(&convert, "dither", "none");
    pipeline::set(&convert, "qos", "false");
    let mut elements = Vec::new();
    if element.starts_with("nv") || element.starts_with("va") || element.starts_with("v4l2") {
        // These want to know profile and size before the first frame; libav finds them itself.
        elements.extend(match codec {
            Codec::H264 => Some(pipeline::element("h264parse")?),
            Codec::H265 => Some(pipeline::element("h265parse")?),
            _ => None,
        });
    }
    elements.push(decoder);
    if element == "nvv4l2decoder" {
        // Its pictures are in the memory of Jetson's video engine.
        elements.push(pipeline::element("nvvidconv")?);
    }
    elements.push(convert);
    let output = VideoCapsBuilder::new().format_list(colour::FORMATS).build();
    let on_picture = on_picture.clone();
    let awaited = awaited.clone();
    let mut rgb = Vec::new();
    Pipeline::start(&input_caps(codec), &elements, &output, move |sample| {
        match on_picture.lock().unwrap_or_else(PoisonError::into_inner).hand_on(codec, sample, &mut rgb) {
            Ok(()) => awaited.count_picture(),
            // It is missed as one that never came is: the decoder is started anew after a few.
            Err(reason) => tracing::debug!(codec = codec.name(), reason, "a picture cannot be used"),
        }
    })
}

/// Drops pictures that are not wanted before they are converted, which costs more than decoding them.
fn drop_unwanted(decoder: &gst::Element, awaited: &Arc<PendingPictures>) {
    let awaited = awaited.clone();
    if let Some(pad) = decoder.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(picture) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
            let Some(moment) = picture.pts().and_then(|pts| awaited.take(pts)) else {
                return gst::PadProbeReturn::Drop;
            };
            picture.make_mut().set_pts(pipeline::pts_of(moment));
            gst::PadProbeReturn::Ok
        });
    }
}
