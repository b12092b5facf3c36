//! GStreamer pipelines that end in access units. With its folder, this is the only part of the room that names
//! GStreamer.
//!
//! A source becomes a depayloader or demultiplexer, a parser and an appsink per medium, each from a list of named
//! elements: never `decodebin`, which would let the camera's description choose the code that reads it. The appsinks
//! hand every unit on in the thread that received it, so a unit that sampling drops wakes nobody.
//!
//! GStreamer must not write what it knows: the parent unsets `GST_DEBUG`, `GST_DEBUG_DUMP_DOT_DIR` and their kin
//! when it starts this room, and messages other than errors and the end are dropped here unread.

mod local;
mod network;
mod trouble;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tracing::debug;

pub use self::{network::Losses, trouble::Trouble};
use crate::{
    config::{Sound, Source},
    time::{Clock, Moment, Span},
    wire::{control::CameraOrder, record::CameraFault, unit::Codec},
};

/// Every element that may ever be in a pipeline for a network camera or a file; `make` makes no other.
const ALLOWED: [&str; 19] = [
    "aacparse",
    "filesrc",
    "h264parse",
    "h265parse",
    "jpegenc",
    "matroskademux",
    "qtdemux",
    "queue",
    "rtph264depay",
    "rtph265depay",
    "rtpjpegdepay",
    "rtpmp4gdepay",
    "rtpopusdepay",
    "rtppcmadepay",
    "rtppcmudepay",
    "rtspsrc",
    "tsdemux",
    "v4l2src",
    "videoconvert",
];

/// Pictures or sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Pictures.
    Video,
    /// Sound.
    Sound,
}

impl Medium {
    fn of(codec: Codec) -> Self {
        if codec.is_video() { Self::Video } else { Self::Sound }
    }
}

/// An access unit as it comes out of a pipeline.
#[derive(Clone, Debug)]
pub struct Piece<B> {
    /// How it is compressed.
    pub codec: Codec,
    /// Decodable by itself.
    pub is_key: bool,
    /// The first one, or the first one after the picture's size, the sampling rate or the channels changed.
    pub is_new_format: bool,
    /// Sound only: samples per second. 0 for video.
    pub rate_hz: u32,
    /// Sound only: channels. 0 for video.
    pub channels: u8,
    /// What the source's own clock says of it, from an arbitrary origin: RTP time where there is one.
    pub foreign: Span,
    /// Its presentation time as GStreamer maps it to our clock; video and sound of a source agree on it.
    pub shown: Moment,
    /// When it came out of the pipeline.
    pub arrival: Moment,
    /// Its bytes.
    pub body: B,
}

/// The bytes of an access unit, where GStreamer received them.
#[derive(Debug)]
pub struct Bytes(gst::MappedBuffer<gst::buffer::Readable>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// What takes the units, in the thread that received them.
pub type Sink = Arc<dyn Fn(Piece<Bytes>) + Send + Sync>;

/// What ends a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It failed.
    Lost(Trouble),
    /// It is over: a camera hung up, or a recording is at its end.
    Ended,
}

/// Starts GStreamer.
///
/// # Errors
/// When GStreamer, or an element that network cameras need, is not installed.
pub fn init() -> Result<(), Trouble> {
    let err = |text: String| Trouble { fault: CameraFault::Other, text };
    gst::init().map_err(|cause| err(format!("GStreamer does not start: {cause}")))?;
    ["rtspsrc", "rtph264depay", "h264parse"].iter().try_for_each(|name| make(name).map(drop))
}

/// A pipeline that plays. It is torn down when it is closed or dropped.
#[derive(Debug)]
pub struct Stream {
    pipeline: Option<gst::Pipeline>,
    events: Receiver<Event>,
    has_answered: Arc<AtomicBool>,
}

impl Stream {
    /// Starts to play a camera's source into `sink`; `losses` counts its lost packets.
    ///
    /// Returns before anything is connected: a camera that does not answer is the caller's to notice.
    ///
    /// # Errors
    /// When the pipeline cannot be built, or a file or device cannot be opened.
    pub fn open(order: &CameraOrder, clock: &dyn Clock, losses: &Losses, sink: Sink) -> Result<Self, Trouble> {
        let system_clock = gst::SystemClock::obtain();
        let pipeline = gst::Pipeline::new();
        // Elements come to the pipeline while it starts. Clock and origin are there before them, or those that are
        // early would play without.
        pipeline.use_clock(Some(&system_clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(system_clock.time());
        let has_clock = pipeline.set_clock(Some(&system_clock));
        has_clock.map_err(|_| Trouble::other("the pipeline takes no clock"))?;
        let (sender, events) = bounded(4);
        let ahead = clock.now() - moment_of(system_clock.time().nseconds());
        let is_live = !matches!(order.camera.source, Source::File(_));
        let wants_sound = order.camera.sound == Sound::Camera;
        let has_answered = Arc::new(AtomicBool::new(false));
        let answered = Arc::clone(&has_answered);
        let tails = Tails { sink, events: sender.clone(), answered, ahead, is_live, wants_sound };
        let mut refine: Refine = Box::new(|trouble| trouble);
        match &order.camera.source {
            Source::Rtsp(rtsp) => refine = network::add(&pipeline, rtsp, order.password.as_ref(), losses, tails)?,
            Source::File(path) => local::add_file(&pipeline, path, tails)?,
            Source::V4l2(path) => local::add_v4l2(&pipeline, path, &tails)?,
        }
        let secret = order.password.clone();
        let bus = pipeline.bus().ok_or_else(|| Trouble::other("the pipeline has no bus"))?;
        bus.set_sync_handler(move |_, message| {
            let event = match message.view() {
                gst::MessageView::Error(error) => {
                    Some(Event::Lost(refine(Trouble::of(error)).without(secret.as_ref())))
                }
                gst::MessageView::Eos(_) => Some(Event::Ended),
                _ => None,
            };
            // The first event ends the stream; whatever does not fit comes after that.
            event.into_iter().for_each(|event| drop(sender.try_send(event)));
            gst::BusSyncReply::Drop
        });
        let stream = Self { pipeline: Some(pipeline), events, has_answered };
        match stream.pipeline.as_ref().map(|pipeline| pipeline.set_state(gst::State::Playing)) {
            Some(Ok(_)) => Ok(stream),
            _ => match stream.events.try_recv() {
                Ok(Event::Lost(trouble)) => Err(trouble),
                _ => Err(Trouble::other("the pipeline does not start")),
            },
        }
    }

    /// What ends the stream, once it has ended.
    #[must_use]
    pub const fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Whether the source has said what it sends.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Tears the stream down, waiting `patience` at most. Returns false if it hangs and was left behind.
    pub fn close(mut self, patience: Duration) -> bool {
        let Some(pipeline) = self.pipeline.take() else { return true };
        let (done, is_done) = bounded::<()>(0);
        let teardown = move || {
            stop(&pipeline);
            drop(pipeline);
            drop(done);
        };
        match thread::Builder::new().name("teardown".into()).spawn(teardown) {
            Ok(_) => is_done.recv_timeout(patience) != Err(crossbeam_channel::RecvTimeoutError::Timeout),
            // The closure, and the pipeline in it, is gone: nothing is left to wait for.
            Err(_) => true,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pipeline.as_ref().into_iter().for_each(stop);
    }
}

/// A pipeline must not be dropped while it plays.
fn stop(pipeline: &gst::Pipeline) {
    if pipeline.set_state(gst::State::Null).is_err() {
        debug!("a pipeline did not stop cleanly");
    }
}

/// Says more about a fault than the message that reports it.
type Refine = Box<dyn Fn(Trouble) -> Trouble + Send + Sync>;

/// Builds what comes after a source's pad.
#[derive(Clone)]
struct Tails {
    sink: Sink,
    events: Sender<Event>,
    answered: Arc<AtomicBool>,
    /// Our clock minus GStreamer's.
    ahead: Span,
    is_live: bool,
    wants_sound: bool,
}

impl Tails {
    /// Adds the elements `names`, the parser of `codec` and an appsink, and links them to `pad`. With a `clock_rate_hz`,
    /// the pad brings RTP packets of that clock.
    fn add(
        &self,
        bin: &gst::Bin,
        pad: &gst::Pad,
        names: &[&str],
        codec: Codec,
        clock_rate_hz: Option<i32>,
    ) -> Result<(), Trouble> {
        self.answered.store(true, Ordering::Release);
        let rtp_time = clock_rate_hz.map(|rate| Arc::new(RtpTime::new(rate)));
        let (parser, caps) = parser(codec);
        let mut elements = names.iter().chain(parser).map(|name| make(name)).collect::<Result<Vec<_>, _>>()?;
        let parser = elements.last().filter(|it| it.find_property("config-interval").is_some());
        parser.into_iter().for_each(|parser| parser.set_property("config-interval", -1_i32));
        elements.push(self.appsink(codec, &caps, rtp_time.clone())?.upcast());
        let failed = |_| Trouble::other("the elements of a pipeline do not fit together");
        bin.add_many(&elements).map_err(failed)?;
        gst::Element::link_many(&elements).map_err(failed)?;
        let sink_pad = elements.first().and_then(|first| first.static_pad("sink"));
        let sink_pad = sink_pad.ok_or_else(|| Trouble::other("an element has no sink"))?;
        if let Some(rtp_time) = rtp_time.filter(|_| codec.is_video()) {
            rtp_time.watch(&sink_pad);
        }
        // From the end on, so that every element plays before something is pushed into it.
        for element in elements.iter().rev() {
            element.sync_state_with_parent().map_err(failed)?;
        }
        pad.link(&sink_pad).map(drop).map_err(|_| Trouble::codec(&format!("{} in a form of its own", codec.name())))
    }

    fn appsink(&self, codec: Codec, caps: &str, rtp_time: Option<Arc<RtpTime>>) -> Result<gst_app::AppSink, Trouble> {
        let caps: gst::Caps = caps.parse().map_err(|_| Trouble::other("a format is not understood"))?;
        let tail = Tail { codec, ahead: self.ahead, rtp_time, caps: None, format: None, is_new_format: true };
        let (sink, ended, is_live) = (Arc::clone(&self.sink), self.events.clone(), self.is_live);
        let mut tail = tail;
        // No reference to the pipeline in here: it would keep the pipeline alive for ever.
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |appsink| {
                let sample = appsink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                tail.piece(appsink, &sample).into_iter().for_each(|piece| sink(piece));
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                // A recording has ended when all of its streams have, which the bus says.
                if is_live && codec.is_video() {
                    drop(ended.try_send(Event::Ended));
                }
            });
        // A recording is played in real time; a live source is not held back. Neither waits for a first picture
        // before it plays.
        let appsink = gst_app::AppSink::builder()
            .caps(&caps)
            .sync(!is_live)
            .async_(false)
            .max_buffers(4)
            .enable_last_sample(false)
            .qos(false)
            .wait_on_eos(false)
            .callbacks(callbacks.build());
        Ok(appsink.build())
    }
}

/// The parser of a codec, and what it must make of it.
fn parser(codec: Codec) -> (&'static [&'static str], String) {
    let (parser, caps): (&[&str], &str) = match codec {
        Codec::H264 => (&["h264parse"], "video/x-h264,stream-format=byte-stream,alignment=au"),
        Codec::H265 => (&["h265parse"], "video/x-h265,stream-format=byte-stream,alignment=au"),
        Codec::Mjpeg => (&[], "image/jpeg"),
        Codec::Aac => (&["aacparse"], "audio/mpeg,stream-format=adts"),
        Codec::Pcmu => (&[], "audio/x-mulaw"),
        Codec::Pcma => (&[], "audio/x-alaw"),
        Codec::Opus => (&[], "audio/x-opus"),
    };
    (parser, caps.to_owned())
}

/// Makes one of the allowed elements.
fn make(name: &str) -> Result<gst::Element, Trouble> {
    let is_allowed = ALLOWED.contains(&name);
    let made = is_allowed.then(|| gst::ElementFactory::make(name).build().ok()).flatten();
    made.ok_or_else(|| {
        let cure = "install gstreamer1.0-plugins-base, -good and -bad, and gstreamer1.0-libav";
        Trouble::other(&format!("GStreamer's element {name} is missing: {cure}"))
    })
}

/// Sets a property if this version of GStreamer has it: GStreamer 1.20 lacks some, and setting those panics.
fn set_if_there(element: &gst::Element, name: &str, value: impl Into<gst::glib::Value>) {
    if element.find_property(name).is_some() {
        element.set_property(name, value);
    }
}

fn moment_of(ns: u64) -> Moment {
    Moment(i64::try_from(ns).unwrap_or(i64::MAX))
}

/// What an appsink knows about its stream.
struct Tail {
    codec: Codec,
    ahead: Span,
    rtp_time: Option<Arc<RtpTime>>,
    /// The caps that `format` was read from.
    caps: Option<gst::Caps>,
    format: Option<Format>,
    is_new_format: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    size: (i32, i32),
    rate_hz: u32,
    channels: u8,
}

impl Tail {
    fn piece(&mut self, appsink: &gst_app::AppSink, sample: &gst::Sample) -> Option<Piece<Bytes>> {
        let format = self.format(sample)?;
        let buffer = sample.buffer_owned()?;
        let ahead = self.ahead;
        let arrival = moment_of(appsink.clock()?.time().nseconds()) + ahead;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let running = buffer.pts().or(buffer.dts()).and_then(|pts| segment.to_running_time(pts));
        let shown = running.zip(appsink.base_time());
        let shown = shown.map_or(arrival, |(running, base)| moment_of((base + running).nseconds()) + ahead);
        let rtp_time = self.rtp_time.as_ref().filter(|_| self.codec.is_video()).and_then(|it| it.newest());
        let is_key = !self.codec.is_video()
            || self.codec == Codec::Mjpeg
            || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        Some(Piece {
            codec: self.codec,
            is_key,
            is_new_format: std::mem::take(&mut self.is_new_format),
            rate_hz: format.rate_hz,
            channels: format.channels,
            foreign: rtp_time.unwrap_or(shown - Moment(0)),
            shown,
            arrival,
            body: Bytes(buffer.into_mapped_buffer_readable().ok()?),
        })
    }

    /// The format of a sample. Caps are one object for as long as nothing changes.
    fn format(&mut self, sample: &gst::Sample) -> Option<Format> {
        let caps = sample.caps()?;
        let is_same = self.caps.as_ref().is_some_and(|known| std::ptr::eq(known.as_ptr(), caps.as_ptr()));
        if is_same {
            return self.format;
        }
        let fields = caps.structure(0)?;
        let number = |name| fields.get::<i32>(name).unwrap_or(0);
        // Opus is always decoded at 48 kHz, whatever its caps say or do not say; the packets know their channels.
        let (default_rate, default_channels) = if self.codec == Codec::Opus { (48_000, 1) } else { (0, 0) };
        let or = |value: i32, default: i32| if 0 < value { value } else { default };
        let format = Format {
            size: (number("width"), number("height")),
            rate_hz: u32::try_from(or(number("rate"), default_rate)).unwrap_or(0),
            channels: u8::try_from(or(number("channels"), default_channels)).unwrap_or(0),
        };
        self.is_new_format |= self.format.is_some_and(|known| known != format);
        self.caps = Some(caps.to_owned());
        self.format = Some(format);
        self.format
    }
}

/// The RTP time of the newest packet: the camera's own clock, which the presentation times no longer show, because
/// the jitter buffer bends them to ours.
#[derive(Debug)]
struct RtpTime {
    clock_rate_hz: i32,
    /// RTP time without its wrap every 2^32, from an arbitrary origin; [`Self::NONE`] before the first packet.
    extended: AtomicI64,
}

impl RtpTime {
    const NONE: i64 = i64::MIN;

    const fn new(clock_rate_hz: i32) -> Self {
        Self { clock_rate_hz, extended: AtomicI64::new(Self::NONE) }
    }

    /// Reads the time stamp of every packet that passes `pad`.
    fn watch(self: &Arc<Self>, pad: &gst::Pad) {
        let this = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(packet)) => this.packet(packet),
                Some(gst::PadProbeData::BufferList(packets)) => packets.iter().for_each(|packet| this.packet(packet)),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn packet(&self, packet: &gst::BufferRef) {
        // RFC 3550, 5.1: the time stamp is bytes 4 to 7 of the header.
        let mut stamp = [0; 4];
        if packet.copy_to_slice(4, &mut stamp).is_ok() {
            self.stamp(u32::from_be_bytes(stamp));
        }
    }

    fn stamp(&self, stamp: u32) {
        let last = self.extended.load(Ordering::Relaxed);
        let next = match last {
            Self::NONE => i64::from(stamp),
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are meant")]
            last => last + i64::from(stamp.wrapping_sub(last as u32).cast_signed()),
        };
        self.extended.store(next, Ordering::Relaxed);
    }

    fn newest(&self) -> Option<Span> {
        let extended = self.extended.load(Ordering::Relaxed);
        let ns = i128::from(extended) * 1_000_000_000 / i128::from(self.clock_rate_hz.max(1));
        (extended != Self::NONE).then(|| Span(i64::try_from(ns).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_time_goes_on_over_its_wrap_and_back_for_late_frames() {
        let time = RtpTime::new(90_000);
        assert_eq!(time.newest(), None);
        time.stamp(u32::MAX - 89_999);
        let origin = time.newest().unwrap();
        let check = |stamp: u32, want_ms: i64| {
            time.stamp(stamp);
            assert_eq!((time.newest().unwrap() + Span(-origin.0)).as_ms(), want_ms, "{stamp}");
        };
        check(0, 1000);
        check(9000, 1100);
        check(4500, 1050);
        check(u32::MAX - 44_999, 500);
        check(90_000, 2000);
    }

    #[test]
    fn only_listed_elements_are_made() {
        init().unwrap();
        assert!(make("h264parse").is_ok());
        assert_eq!(make("decodebin").unwrap_err().fault, CameraFault::Other);
    }
}
