//! GStreamer pipelines that end in access units. With its folder, this is the only part of `ingest` that names
//! GStreamer.
//!
//! A source becomes a depayloader or demultiplexer, a parser and an appsink per medium, each from a list of named
//! elements: never `decodebin`, which would let the camera's description choose the code that reads it. The appsinks
//! pass every unit on in the thread that received it, so a unit that sampling drops wakes no other thread.
//!
//! GStreamer must not write what it knows: the parent unsets `GST_DEBUG`, `GST_DEBUG_DUMP_DOT_DIR` and the like
//! when it starts this process, and messages other than errors and the end are dropped here unread.

mod branch;
mod connection;
mod error;
mod local;
mod network;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use gst::prelude::*;
use gstreamer as gst;
use tracing::debug;

use self::branch::Branches;
pub(crate) use self::{connection::ConnectionStats, error::StreamError};
use crate::{
    config::{Sound, Source},
    time::{Clock, Moment, Span},
    wire::{
        access_unit::{AccessUnit, Codec},
        control::CameraOrder,
        record::CameraFault,
    },
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
pub(crate) enum Medium {
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

/// The bytes of an access unit, where GStreamer received them.
#[derive(Debug)]
pub(crate) struct Bytes(gst::MappedBuffer<gst::buffer::Readable>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Takes the units, in the thread that received them.
///
/// A unit's moment is its presentation time as GStreamer maps it to our clock; video and sound of a source agree on it.
/// A discontinuity is the first unit, or the first one after the picture's size, the sampling rate or the channels
/// changed. Whether it is wanted, its number and the losses before it are not known yet. The span is what the source's
/// own clock says of the unit, from an arbitrary origin: RTP time where there is one.
pub(crate) type Sink = Arc<dyn Fn(AccessUnit<Bytes>, Span) + Send + Sync>;

/// What ends a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It failed.
    Lost(StreamError),
    /// It is over: a camera hung up, or a recording is at its end.
    Ended,
}

/// Starts GStreamer.
///
/// # Errors
/// When GStreamer, or an element that network cameras need, is not installed.
pub(crate) fn init() -> Result<(), StreamError> {
    let err = |text: String| StreamError { fault: CameraFault::Other, text };
    gst::init().map_err(|cause| err(format!("GStreamer does not start: {cause}")))?;
    ["rtspsrc", "rtph264depay", "h264parse"].iter().try_for_each(|name| make(name).map(drop))
}

/// A pipeline that plays. It is torn down when it is closed or dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    pipeline: Option<gst::Pipeline>,
    events: Receiver<Event>,
    has_answered: Arc<AtomicBool>,
}

impl Stream {
    /// Starts to play a camera's source into `sink`; `stats` measures the connection, with `reads_camera_clock` also the
    /// camera's clock.
    ///
    /// Returns before anything is connected: the caller must notice a camera that does not answer.
    ///
    /// # Errors
    /// When the pipeline cannot be built, or a file or device cannot be opened.
    pub(crate) fn open(
        order: &CameraOrder,
        clock: &dyn Clock,
        reads_camera_clock: bool,
        stats: &ConnectionStats,
        sink: Sink,
    ) -> Result<Self, StreamError> {
        let system_clock = gst::SystemClock::obtain();
        let pipeline = gst::Pipeline::new();
        // Elements come to the pipeline while it starts. Clock and origin are there before them, or those that are
        // early would play without.
        pipeline.use_clock(Some(&system_clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(system_clock.time());
        let has_clock = pipeline.set_clock(Some(&system_clock));
        has_clock.map_err(|_| StreamError::other("the pipeline takes no clock"))?;
        let (sender, events) = bounded(4);
        // From here on the pipeline is stopped whatever happens.
        let has_answered = Arc::new(AtomicBool::new(false));
        let stream = Self { pipeline: Some(pipeline.clone()), events, has_answered: Arc::clone(&has_answered) };
        let clock_offset = clock.now() - moment_of(system_clock.time().nseconds());
        let is_live = !matches!(order.camera.source, Source::File(_));
        let wants_sound = order.camera.sound == Sound::Camera;
        let (events, stats) = (sender.clone(), stats.clone());
        let camera = order.camera.id;
        let branches = Branches { camera, sink, events, has_answered, stats, clock_offset, is_live, wants_sound };
        let mut refine: Refine = Box::new(|error| error);
        match &order.camera.source {
            Source::Rtsp(rtsp) => {
                let rtsp = network::Connect { rtsp, password: order.password.as_ref(), reads_camera_clock };
                refine = network::add(&pipeline, &rtsp, branches)?;
            }
            Source::File(path) => local::add_file(&pipeline, path, branches)?,
            Source::V4l2(path) => local::add_v4l2(&pipeline, path, &branches)?,
        }
        let secret = order.password.clone();
        let bus = pipeline.bus().ok_or_else(|| StreamError::other("the pipeline has no bus"))?;
        bus.set_sync_handler(move |_, message| {
            let event = match message.view() {
                gst::MessageView::Error(error) => {
                    Some(Event::Lost(refine(StreamError::of(error)).without(secret.as_ref())))
                }
                gst::MessageView::Eos(_) => Some(Event::Ended),
                _ => None,
            };
            // The first event ends the stream; those for which there is no room come after it.
            if let Some(event) = event {
                drop(sender.try_send(event));
            }
            gst::BusSyncReply::Drop
        });
        match pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(stream),
            Err(_) => match stream.events.try_recv() {
                Ok(Event::Lost(error)) => Err(error),
                _ => Err(StreamError::other("the pipeline does not start")),
            },
        }
    }

    /// What ends the stream, once it has ended.
    #[must_use]
    pub(crate) const fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Whether the source has said what it sends.
    #[must_use]
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Acquire)
    }

    /// Tears the stream down, waiting `patience` at most. Returns false if it hangs and was left behind.
    pub(crate) fn close(mut self, patience: Duration) -> bool {
        let Some(pipeline) = self.pipeline.take() else { return true };
        let (done, is_done) = bounded::<()>(0);
        let teardown = move || {
            stop(&pipeline);
            drop(pipeline);
            drop(done);
        };
        match thread::Builder::new().name("teardown".into()).spawn(teardown) {
            Ok(_) => is_done.recv_timeout(patience) != Err(crossbeam_channel::RecvTimeoutError::Timeout),
            // The closure was dropped, and the pipeline with it: nothing is left to wait for.
            Err(_) => true,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(pipeline) = &self.pipeline {
            stop(pipeline);
        }
    }
}

/// A pipeline must not be dropped while it plays.
fn stop(pipeline: &gst::Pipeline) {
    if pipeline.set_state(gst::State::Null).is_err() {
        debug!("a pipeline did not stop cleanly");
    }
}

/// Finds a more exact reason than the message that reports a fault.
type Refine = Box<dyn Fn(StreamError) -> StreamError + Send + Sync>;

/// Makes one of the allowed elements.
fn make(name: &str) -> Result<gst::Element, StreamError> {
    let is_allowed = ALLOWED.contains(&name);
    let made = is_allowed.then(|| gst::ElementFactory::make(name).build().ok()).flatten();
    made.ok_or_else(|| {
        let cure = "install gstreamer1.0-plugins-base, -good and -bad";
        StreamError::other(&format!("GStreamer's element {name} is missing: {cure}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_elements_are_made() {
        init().unwrap();
        assert!(make("h264parse").is_ok());
        assert_eq!(make("decodebin").unwrap_err().fault, CameraFault::Other);
    }
}
