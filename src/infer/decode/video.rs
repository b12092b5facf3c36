//! Decodes a camera's video, and converts only the pictures that are wanted.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::VideoCapsBuilder;
use tracing::{info, warn};

use super::{
    Error, colour,
    mask_painter::MaskPainter,
    pending_pictures::PendingPictures,
    picture_sink::{Picture, PictureSink, SharedPictureSink},
    pipeline::{self, Pipeline},
};
use crate::{
    mask::Polygon,
    time::Moment,
    wire::access_unit::{AccessUnit, Codec},
};

/// A hardware decoder that failed so often is not used again.
const HARDWARE_FAILURES_MAX: u32 = 3;
/// So many wanted units without a single picture are a failure: two windows of eight frames.
const UNANSWERED_MAX: u32 = 16;
/// A chain is kept for a second run up to this many units and bytes.
const CHAIN_UNITS_MAX: usize = 250;
const CHAIN_BYTES_MAX: usize = 8 << 20;

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// The decoder has it.
    Accepted,
    /// It cannot be decoded: a unit that it depends on is missing.
    Undecodable,
}

/// Decodes the video of one camera, and passes on the pictures that are wanted.
///
/// All units of a chain are decoded, but only wanted pictures are converted to RGB. A decoder that fails is restarted;
/// a hardware decoder is replaced by software after three failures, unless it was asked for by name.
pub(crate) struct VideoDecoder {
    codec: Codec,
    elements: Vec<String>,
    failures: u32,
    pipeline: Option<Pipeline>,
    on_picture: SharedPictureSink,
    pending: Arc<PendingPictures>,
    next_seq: Option<u32>,
    /// The units since the last key frame, to decode them again where the decoder was drained too early. Empty
    /// where they are too many.
    chain: Vec<(Moment, gst::Buffer)>,
    /// Whether the unit before was a key frame, too.
    was_key: bool,
}

impl VideoDecoder {
    /// A decoder for `codec`: the element named `choice`, or else hardware where this machine has it and it works,
    /// or else software. `on_picture` is called on the decoder's thread with each wanted picture, soon after its
    /// unit; it should copy what it needs and return. Until then the picture is in `pending`.
    ///
    /// # Errors
    /// When the codec is not one of video, an element is missing, or `choice` does not decode this codec.
    pub(crate) fn open(
        codec: Codec,
        choice: Option<&str>,
        pending: Arc<PendingPictures>,
        on_picture: impl FnMut(&Picture<'_>) + Send + 'static,
    ) -> Result<Self, Error> {
        pipeline::start()?;
        let mut decoder = Self {
            codec,
            elements: candidates(codec, choice)?,
            failures: 0,
            pipeline: None,
            on_picture: Arc::new(Mutex::new(PictureSink::new(on_picture))),
            pending,
            next_seq: None,
            chain: Vec::new(),
            was_key: false,
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

    /// The same decoder for a camera with `masks`: every picture is passed on with the colour `zero` (red, green and
    /// blue, 0 to 1) in their place. To be called before the first unit.
    #[must_use]
    pub(crate) fn masked(self, masks: Vec<Polygon>, zero: [f32; 3]) -> Self {
        self.on_picture.lock().unwrap_or_else(PoisonError::into_inner).paint(MaskPainter::new(masks, zero));
        self
    }

    /// The same decoder for a source that drops no unit, such as a file: it is not drained before [`Self::finish`].
    #[must_use]
    pub(crate) fn lossless(self) -> Self {
        self.pending.set_lossless();
        self
    }

    /// As [`Self::decode`], after waiting until the decoder has room.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn decode_in_turn<B: AsRef<[u8]> + Send + 'static>(
        &mut self,
        unit: AccessUnit<B>,
    ) -> Result<Submission, Error> {
        match self.pipeline.as_ref().map_or(Ok(()), Pipeline::wait_for_room) {
            Ok(()) => self.decode(unit),
            Err(reason) => Err(self.fail(reason)),
        }
    }

    /// No unit follows: waits until every wanted picture was passed on. The next unit must be a discontinuity.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let finished = self.pipeline.as_ref().map_or(Ok(()), Pipeline::finish);
        self.pipeline = None;
        finished.map_err(|reason| Error::Failed { element: self.element().to_owned(), reason })
    }

    /// The GStreamer element that decodes.
    #[must_use]
    pub(crate) fn element(&self) -> &str {
        self.elements.first().map_or("none", String::as_str)
    }

    /// Whether the decoder can be given a unit now.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.pipeline.as_ref().is_none_or(Pipeline::has_room)
    }

    /// Gets a token when the decoder may have room again.
    #[must_use]
    pub(crate) fn room(&self) -> Option<&Receiver<()>> {
        self.pipeline.as_ref().map(Pipeline::room)
    }

    /// The decoder has had no room for [`HANGS_AFTER`](super::HANGS_AFTER): restarts it. Returns what is to be logged.
    pub(crate) fn restart_hanging(&mut self) -> Error {
        self.fail("it hangs".to_owned())
    }

    /// Gives a unit, with the storage of its bytes, to the decoder, which should have room for it. Its picture is
    /// passed on only where it is wanted.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit. It has been restarted by then, and goes on with the next key frame.
    pub(crate) fn decode<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<Submission, Error> {
        let header = unit.header;
        if header.codec != self.codec {
            return Err(Error::WrongKind { codec: header.codec, wanted: self.codec.name() });
        }
        if header.discontinuity {
            self.restart()?;
        }
        if !header.is_key && self.next_seq != Some(header.seq) {
            self.next_seq = None;
            return Ok(Submission::Undecodable);
        }
        if UNANSWERED_MAX <= self.pending.unanswered() {
            return Err(self.fail(format!("no picture from {UNANSWERED_MAX} units")));
        }
        if self.pipeline.is_none() {
            self.restart()?;
        }
        match self.feed(unit) {
            Ok(submission) => {
                let is_accepted = submission == Submission::Accepted;
                self.next_seq = is_accepted.then_some(header.seq.wrapping_add(1));
                Ok(submission)
            }
            Err(reason) => Err(self.fail(reason)),
        }
    }

    /// Pushes a unit, and drains the decoder where its picture would otherwise wait for units that do not come.
    fn feed<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<Submission, String> {
        let AccessUnit { header, bytes } = unit;
        let Some(pipeline) = &self.pipeline else { return Ok(Submission::Undecodable) };
        pipeline.check()?;
        let follows_key = std::mem::replace(&mut self.was_key, header.is_key) && header.is_key;
        if header.is_key && is_entry(self.codec, bytes.as_ref()) {
            self.chain.clear();
        }
        let mut guard = self.pending.push_guard();
        if guard.was_drained() && !header.is_key {
            // It was not the end of the chain after all, so the decoder needs all of it again.
            if self.chain.is_empty() {
                return Ok(Submission::Undecodable);
            }
            for (moment, unit) in &mut self.chain {
                let pts = guard.pts(*moment, !unit.flags().contains(gst::BufferFlags::DELTA_UNIT));
                unit.make_mut().set_pts(pts);
                pipeline.push(unit.clone())?;
            }
        }
        let pts = guard.pts(header.moment, header.is_key);
        if header.wanted {
            guard.expect(pts, header.moment);
        }
        let buffer = pipeline::buffer(bytes, pts, header.is_key);
        pipeline.push(buffer.clone())?;
        let chain_bytes = || self.chain.iter().map(|(_, unit)| unit.size()).sum::<usize>() + buffer.size();
        if header.is_key
            || !self.chain.is_empty() && self.chain.len() < CHAIN_UNITS_MAX && chain_bytes() <= CHAIN_BYTES_MAX
        {
            self.chain.push((header.moment, buffer));
        } else {
            self.chain.clear();
        }
        guard.pushed(pipeline.source(), follows_key);
        Ok(Submission::Accepted)
    }

    /// Forgets all units and starts a new decoder.
    fn restart(&mut self) -> Result<(), Error> {
        self.pipeline = None;
        self.next_seq = None;
        self.chain.clear();
        self.was_key = false;
        self.pending.clear();
        self.pipeline = Some(build(self.codec, self.element(), &self.on_picture, &self.pending)?);
        Ok(())
    }

    /// Counts a failure, and restarts this decoder or starts the next.
    fn fail(&mut self, reason: String) -> Error {
        let error = Error::Failed { element: self.element().to_owned(), reason };
        self.failures += 1;
        if HARDWARE_FAILURES_MAX <= self.failures && 1 < self.elements.len() {
            self.failures = 0;
            let failed = self.elements.remove(0);
            warn!(codec = self.codec.name(), failed, now = self.element(), "decoder failed too often; using the next");
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

/// Whether a chain can begin here. For GStreamer's parser every picture without references is a key frame, even one
/// across which later pictures refer to earlier ones, which encoders make at a change of scene.
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
    pending: &Arc<PendingPictures>,
) -> Result<Pipeline, Error> {
    let decoder = pipeline::element(element)?;
    // One frame at a time: several in parallel would each come out later.
    pipeline::set(&decoder, "max-threads", "1");
    pipeline::set(&decoder, "thread-type", "slice");
    pipeline::set(&decoder, "std-compliance", "normal");
    pipeline::set(&decoder, "qos", "false");
    drop_unwanted(&decoder, pending);
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
    let pending = pending.clone();
    let mut rgb = Vec::new();
    Pipeline::start(&input_caps(codec), &elements, &output, move |sample| {
        let Some(pts) = sample.buffer().and_then(|picture| picture.pts()) else { return };
        let moment = pipeline::moment_of(pts);
        let mut on_picture = on_picture.lock().unwrap_or_else(PoisonError::into_inner);
        let passed_on = on_picture.pass_on(codec, moment, sample, &mut rgb);
        pending.finish(moment, passed_on.is_ok());
        if let Err(reason) = passed_on {
            // It counts as one that never came: after a few the decoder is restarted.
            tracing::debug!(codec = codec.name(), reason, "a picture cannot be used");
        }
    })
}

/// Drops pictures that are not wanted before they are converted, which costs more than decoding them.
fn drop_unwanted(decoder: &gst::Element, pending: &Arc<PendingPictures>) {
    let pending = pending.clone();
    if let Some(pad) = decoder.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(picture) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
            let Some(moment) = picture.pts().and_then(|pts| pending.came_out(pts)) else {
                return gst::PadProbeReturn::Drop;
            };
            picture.make_mut().set_pts(pipeline::pts_of(moment));
            gst::PadProbeReturn::Ok
        });
    }
}
