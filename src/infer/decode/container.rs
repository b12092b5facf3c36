//! The beginning of a media file as access units in the forms that the decoders take from a camera.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};

use super::{Error, pipeline};
use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec, UnitHeader},
    },
};

/// Where a file's time begins on our clock. What comes before it, such as an encoder's delay, has a moment, too.
const BEGIN: Moment = Moment(60_000_000_000);
/// Pictures come in the order of decoding, and sound is stored among them with some delay: so much more is read.
const READ_AHEAD: Span = Span::from_ms(2000);
/// No clip is larger: five seconds of 400 Mbit/s.
const BYTES_MAX: usize = 256 << 20;
/// A file that is not read in this time is not read at all.
const READ_MAX: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// Why a file cannot be read as a clip.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// An error of the file system.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins like no known container.
    #[error("it is not a video: neither MP4, Matroska, WebM, AVI nor an MPEG transport stream")]
    UnknownContainer,
    /// GStreamer cannot read its container.
    #[error("its container cannot be read: {0}")]
    Broken(String),
    /// The daemon decodes none of its streams.
    #[error(
        "it holds only {0}, and the daemon decodes H.264, H.265, MJPEG, AAC, Opus, G.711 and uncompressed sound; \
         convert it with ffmpeg"
    )]
    Codecs(String),
    /// It has neither pictures nor sound.
    #[error("it holds neither pictures nor sound")]
    Empty,
    /// It is larger than a clip can be.
    #[error("its first seconds are larger than 256 MiB; convert it to H.264")]
    TooLarge,
    /// GStreamer or one of its elements is missing.
    #[error(transparent)]
    Decoder(#[from] Error),
}

/// The sound of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContainerSound {
    /// Compressed.
    AccessUnit(AccessUnit<Vec<u8>>),
    /// Uncompressed: the moment of the first sample, samples per second, and one channel, -1 to 1.
    Samples(Moment, u32, Vec<f32>),
}

/// The beginning of a file, still compressed. Both lists are in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Media {
    /// The access units of its first picture stream.
    pub video: Vec<AccessUnit<Vec<u8>>>,
    /// Its first sound stream.
    pub sound: Vec<ContainerSound>,
}

/// What the demuxer's thread has read so far.
#[derive(Default)]
struct Progress {
    media: Media,
    /// The time of the first unit of any stream, ns.
    first_ns: Option<i64>,
    bytes: usize,
    takes_video: bool,
    takes_sound: bool,
    unknown: Vec<String>,
    fault: Option<Error>,
}

impl Media {
    /// Reads the first `length` of a file and a little more. Moments count from the file's own beginning, which is
    /// some fixed moment.
    ///
    /// # Errors
    /// When nothing of it can be decoded. What can be had of a damaged file is no error.
    pub(crate) fn open(file: &Path, length: Span) -> Result<Self, Unreadable> {
        pipeline::start()?;
        let demuxer = pipeline::element(demuxer(file)?)?;
        let source = pipeline::element("filesrc")?;
        source.set_property("location", file);
        let pipeline = gst::Pipeline::new();
        let broken = |err: gst::glib::BoolError| Unreadable::Broken(err.to_string());
        pipeline.add_many([&source, &demuxer]).map_err(broken)?;
        source.link(&demuxer).map_err(broken)?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (of_pads, weak) = (Arc::clone(&progress), pipeline.downgrade());
        demuxer.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade()
                && let Err(err) = attach(&pipeline, pad, length, &of_pads)
            {
                lock(&of_pads).fault = Some(err);
            }
        });
        let ended = play(&pipeline);
        let mut progress = lock(&progress);
        if let Some(fault) = progress.fault.take() {
            return Err(fault.into());
        }
        if BYTES_MAX < progress.bytes {
            return Err(Unreadable::TooLarge);
        }
        if progress.media.video.is_empty() && progress.media.sound.is_empty() {
            if !progress.unknown.is_empty() {
                return Err(Unreadable::Codecs(progress.unknown.join(", ")));
            }
            return Err(ended.err().map_or(Unreadable::Empty, Unreadable::Broken));
        }
        Ok(std::mem::take(&mut progress.media))
    }
}

/// The demuxer for a file, by its first bytes: the file does not choose among all that is installed.
fn demuxer(file: &Path) -> Result<&'static str, Unreadable> {
    let mut head = Vec::new();
    File::open(file)?.take(12).read_to_end(&mut head)?;
    let at = |from: usize, word: &[u8]| head.get(from..from + word.len()) == Some(word);
    match () {
        () if [&b"ftyp"[..], b"moov", b"mdat", b"wide", b"free", b"skip"].iter().any(|word| at(4, word)) => {
            Ok("qtdemux")
        }
        () if at(0, b"\x1a\x45\xdf\xa3") => Ok("matroskademux"),
        () if at(0, b"RIFF") && at(8, b"AVI ") => Ok("avidemux"),
        () if at(0, b"\x47") => Ok("tsdemux"),
        () => Err(Unreadable::UnknownContainer),
    }
}

/// Runs the pipeline to its end.
fn play(pipeline: &gst::Pipeline) -> Result<(), String> {
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    let started = pipeline.set_state(gst::State::Playing);
    let ended = bus.timed_pop_filtered(READ_MAX, &[gst::MessageType::Error, gst::MessageType::Eos]);
    let stopped = pipeline.set_state(gst::State::Null);
    match ended.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(error.error().to_string()),
        Some(_) => started.and(stopped).map(drop).map_err(|err| err.to_string()),
        None => Err("it takes longer than a minute".to_owned()),
    }
}

/// A stream of the container, and how its units get the format of a camera's.
struct Branch {
    /// `None` for uncompressed sound.
    codec: Option<Codec>,
    /// Corrections of the demuxer's description of the stream.
    corrected: Option<gst::Caps>,
    elements: &'static [&'static str],
    caps: gst::Caps,
}

impl Branch {
    fn of(stream: &gst::StructureRef) -> Option<Self> {
        let byte_stream = |name: &str| {
            gst::Caps::builder(name).field("stream-format", "byte-stream").field("alignment", "au").build()
        };
        let (codec, elements, caps): (_, &[&str], _) = match stream.name().as_str() {
            "video/x-h264" => (Codec::H264, &["h264parse"], byte_stream("video/x-h264")),
            "video/x-h265" => (Codec::H265, &["h265parse"], byte_stream("video/x-h265")),
            "image/jpeg" => (Codec::Mjpeg, &[], gst::Caps::new_empty_simple("image/jpeg")),
            "audio/mpeg" if matches!(stream.get::<i32>("mpegversion"), Ok(2 | 4)) => {
                let adts = gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", "adts");
                let caps = adts.field("framed", true).build();
                let corrected =
                    announced_hz(stream).map(|hz| gst::Caps::builder("audio/mpeg").field("rate", hz).build());
                return Some(Self { codec: Some(Codec::Aac), corrected, elements: &["aacparse"], caps });
            }
            "audio/x-mulaw" => (Codec::Pcmu, &[], gst::Caps::new_empty_simple("audio/x-mulaw")),
            "audio/x-alaw" => (Codec::Pcma, &[], gst::Caps::new_empty_simple("audio/x-alaw")),
            "audio/x-opus" => (Codec::Opus, &[], gst::Caps::new_empty_simple("audio/x-opus")),
            "audio/x-raw" => {
                let format = if cfg!(target_endian = "little") { "F32LE" } else { "F32BE" };
                let caps = gst::Caps::builder("audio/x-raw").field("format", format).field("channels", 1);
                let caps = caps.field("layout", "interleaved").build();
                return Some(Self { codec: None, corrected: None, elements: &["audioconvert"], caps });
            }
            _ => return None,
        };
        Some(Self { codec: Some(codec), corrected: None, elements, caps })
    }

    fn is_video(&self) -> bool {
        self.codec.is_some_and(Codec::is_video)
    }
}

/// The rate of AAC by its own header, which is right where a demuxer is not: GStreamer 1.22 doubles that of Matroska
/// when the header says that there is no SBR. ISO/IEC 14496-3, table 1.18.
fn announced_hz(stream: &gst::StructureRef) -> Option<i32> {
    const RATES_HZ: [i32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
    let header = stream.get::<gst::Buffer>("codec_data").ok()?;
    let header = header.map_readable().ok()?;
    let [first, second, ..] = header.as_slice() else { return None };
    RATES_HZ.get(usize::from((first & 7) << 1 | second >> 7)).copied()
}

/// Links a pad to a sink of its own, where its stream is the first of its medium.
fn attach(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    length: Span,
    progress: &Arc<Mutex<Progress>>,
) -> Result<(), Error> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let Some(caps) = caps.structure(0) else { return Ok(()) };
    let Some(branch) = Branch::of(caps) else {
        lock(progress).unknown.push(caps.name().to_string());
        return Ok(());
    };
    {
        let mut progress = lock(progress);
        let taken = if branch.is_video() { &mut progress.takes_video } else { &mut progress.takes_sound };
        if std::mem::replace(taken, true) {
            return Ok(());
        }
    }
    let mut elements = branch.elements.iter().map(|name| pipeline::element(name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(caps) = &branch.corrected {
        let corrector = pipeline::element("capssetter")?;
        corrector.set_property("caps", caps);
        elements.insert(0, corrector);
    }
    // A decoder can begin at every key frame only where its parameter sets come with it.
    elements.iter().for_each(|element| pipeline::set(element, "config-interval", "-1"));
    let sink = AppSink::builder().caps(&branch.caps).sync(false).enable_last_sample(false).build();
    // Otherwise the first sink would block the demuxer until the second has data, too.
    sink.set_property("async", false);
    let (progress, codec) = (Arc::clone(progress), branch.codec);
    let take = move |sink: &AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        lock(&progress).take(codec, length, &sample)
    };
    sink.set_callbacks(AppSinkCallbacks::builder().new_sample(take).build());
    elements.push(sink.upcast());
    let failed = |what: &str| Error::Failed { element: "demuxer".to_owned(), reason: what.to_owned() };
    pipeline.add_many(&elements).map_err(|_| failed("its parts cannot be put together"))?;
    gst::Element::link_many(&elements).map_err(|_| failed("its parts do not fit together"))?;
    for element in elements.iter().rev() {
        element.sync_state_with_parent().map_err(|_| failed("it does not start"))?;
    }
    let entry = elements.first().and_then(|element| element.static_pad("sink"));
    let is_linked = entry.is_some_and(|entry| pad.link(&entry).is_ok());
    if is_linked { Ok(()) } else { Err(failed("a stream cannot be linked")) }
}

impl Progress {
    /// Takes a unit, until the clip is over.
    fn take(
        &mut self,
        codec: Option<Codec>,
        length: Span,
        sample: &gst::Sample,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps().and_then(|caps| caps.structure(0))) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        // A unit without a time, as in some AVI files, has at least one of decoding.
        let pts = buffer.pts().or_else(|| buffer.dts());
        let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let (Some(pts), Some(segment)) = (pts, segment) else { return Ok(gst::FlowSuccess::Ok) };
        let Some(at_ns) = segment.to_running_time_full(pts).map(signed) else { return Ok(gst::FlowSuccess::Ok) };
        let first_ns = *self.first_ns.get_or_insert(at_ns);
        if first_ns + (length + READ_AHEAD).as_ns() < at_ns || BYTES_MAX < self.bytes {
            return Err(gst::FlowError::Eos);
        }
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        self.bytes += map.len();
        let number = |name| caps.get::<i32>(name).ok().and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
        let (moment, rate_hz) = (BEGIN + Span(at_ns), number("rate"));
        let Some(codec) = codec else {
            let samples = map.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes));
            self.media.sound.push(ContainerSound::Samples(moment, rate_hz, samples.collect()));
            return Ok(gst::FlowSuccess::Ok);
        };
        let seq = if codec.is_video() { self.media.video.len() } else { self.media.sound.len() };
        let header = UnitHeader {
            camera: CameraId(0),
            codec,
            is_key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            discontinuity: seq == 0,
            wanted: !codec.is_video(),
            seq: u32::try_from(seq).unwrap_or(u32::MAX),
            lost: 0,
            rate_hz,
            channels: u8::try_from(number("channels")).unwrap_or(u8::MAX),
            moment,
            arrival: moment,
        };
        let unit = AccessUnit { header, bytes: map.to_vec() };
        if codec.is_video() {
            self.media.video.push(unit);
        } else {
            self.media.sound.push(ContainerSound::AccessUnit(unit));
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

fn signed(time: gst::Signed<gst::ClockTime>) -> i64 {
    let ns = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
    match time {
        gst::Signed::Positive(time) => ns(time),
        gst::Signed::Negative(time) => -ns(time),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
