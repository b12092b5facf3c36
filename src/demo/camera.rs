//! A loopback RTSP camera that sends a recorded clip over and over, as it is: nothing is encoded.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use gstreamer::{self as gst, glib, prelude::*};
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::prelude::*;

/// Only this machine can reach the camera.
const ADDRESS: &str = "127.0.0.1";
const MOUNT: &str = "/group";
/// Without the tees, a viewer that takes only one track would end both.
const LAUNCH: &str = "( \
    appsrc name=video is-live=true format=time block=false ! h264parse ! tee allow-not-linked=true \
        ! rtph264pay name=pay0 pt=96 config-interval=-1 \
    appsrc name=sound is-live=true format=time block=false ! aacparse ! tee allow-not-linked=true \
        ! rtpmp4gpay name=pay1 pt=97 )";

/// Why there is no camera.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GStreamer, or one of its plugins, is missing.
    #[error("GStreamer cannot show the clip (are gstreamer1.0-plugins-base, -good and -bad installed?)")]
    Glib(#[from] glib::Error),
    /// Likewise.
    #[error("GStreamer cannot show the clip")]
    Bool(#[from] glib::BoolError),
    /// Likewise.
    #[error("GStreamer cannot show the clip")]
    State(#[from] gst::StateChangeError),
    /// The clip is not what the generator makes.
    #[error("the clip must be an MP4 with one H.264 and one AAC track: {0}")]
    Clip(&'static str),
    /// No thread.
    #[error("cannot start the camera's thread")]
    Thread(#[from] std::io::Error),
}

/// One medium of the clip, still compressed.
struct Track {
    caps: gst::Caps,
    units: Vec<gst::Buffer>,
}

/// A running camera; it ends when dropped.
#[derive(Debug)]
pub struct Camera {
    url: String,
    shown_ms: Arc<AtomicU64>,
    main_loop: glib::MainLoop,
}

impl Camera {
    /// Starts a camera on a free port that shows `clip`, the bytes of an MP4.
    ///
    /// # Errors
    /// When the clip has not one H.264 and one AAC track, or GStreamer lacks a plugin.
    pub fn open(clip: Vec<u8>) -> Result<Self, Error> {
        gst::init()?;
        let (video, sound) = demux(clip)?;
        let length = length(&video).max(length(&sound));
        let shown_ms = Arc::new(AtomicU64::new(0));
        let factory = factory(Arc::new(video), Arc::new(sound), length, &shown_ms);
        let context = glib::MainContext::new();
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address(ADDRESS);
        server.set_service("0");
        if let Some(mounts) = server.mount_points() {
            mounts.add_factory(MOUNT, factory);
        }
        server.attach(Some(&context))?;
        let url = format!("rtsp://{ADDRESS}:{}{MOUNT}", server.bound_port());
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let running = main_loop.clone();
        let work = move || {
            running.run();
            drop(server);
        };
        std::thread::Builder::new().name("demo-camera".into()).spawn(work)?;
        Ok(Self { url, shown_ms, main_loop })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The place in the clip that was sent last, ms from its start.
    #[must_use]
    pub fn shown_ms(&self) -> u64 {
        self.shown_ms.load(Ordering::Relaxed)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.main_loop.quit();
    }
}

/// Every viewer has its own pipeline: a shared one stalls when one viewer takes only the picture and another the sound.
/// `shown_ms` follows the first viewer, and after it has gone the next that comes.
fn factory(
    video: Arc<Track>,
    sound: Arc<Track>,
    length: gst::ClockTime,
    shown_ms: &Arc<AtomicU64>,
) -> gst_rtsp_server::RTSPMediaFactory {
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(LAUNCH);
    let (shown_ms, is_followed) = (Arc::clone(shown_ms), Arc::new(AtomicBool::new(false)));
    factory.connect_media_configure(move |_, media| {
        let Ok(bin) = media.element().downcast::<gst::Bin>() else { return };
        let follows = !is_followed.swap(true, Ordering::AcqRel);
        if follows {
            let is_followed = Arc::clone(&is_followed);
            media.connect_unprepared(move |_| is_followed.store(false, Ordering::Release));
        }
        feed(&bin, "video", &video, length, follows.then(|| Arc::clone(&shown_ms)));
        feed(&bin, "sound", &sound, length, None);
    });
    factory
}

/// Hands out the units of a track one by one, and starts over at the end, so that time goes on.
fn feed(bin: &gst::Bin, name: &str, track: &Arc<Track>, length: gst::ClockTime, shown_ms: Option<Arc<AtomicU64>>) {
    let Some(source) = bin.by_name(name).and_then(|element| element.downcast::<gst_app::AppSrc>().ok()) else { return };
    source.set_caps(Some(&track.caps));
    let track = Arc::clone(track);
    let next = AtomicUsize::new(0);
    let send_one = move |source: &gst_app::AppSrc, _: u32| {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let (round, at) = (index / track.units.len(), index % track.units.len());
        let start = length * u64::try_from(round).unwrap_or(0);
        let mut unit = track.units[at].copy();
        if let Some(unit) = unit.get_mut() {
            if let (Some(shown_ms), Some(pts)) = (&shown_ms, unit.pts()) {
                shown_ms.store(pts.mseconds(), Ordering::Relaxed);
            }
            unit.set_pts(unit.pts().map(|pts| pts + start));
            unit.set_dts(unit.dts().map(|dts| dts + start));
        }
        // The only error is that the viewer is gone, and then this source is soon gone too.
        source.push_buffer(unit).ok();
    };
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(send_one).build());
}

/// From the start of a track to the end of its last unit.
fn length(track: &Track) -> gst::ClockTime {
    track
        .units
        .last()
        .and_then(|unit| Some(unit.pts()? + unit.duration().unwrap_or(gst::ClockTime::ZERO)))
        .unwrap_or_default()
}

/// Takes an MP4 apart into its picture and its sound, without decoding either.
fn demux(clip: Vec<u8>) -> Result<(Track, Track), Error> {
    let pipeline = gst::parse::launch(
        "appsrc name=clip ! video/quicktime ! qtdemux name=demux \
         demux.video_0 ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! appsink name=video sync=false \
         demux.audio_0 ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! appsink name=sound sync=false",
    )?;
    let bin = pipeline.downcast_ref::<gst::Bin>().ok_or(Error::Clip("no pipeline"))?;
    let sink = |name| bin.by_name(name).and_then(|element| element.downcast::<gst_app::AppSink>().ok());
    let source = bin.by_name("clip").and_then(|element| element.downcast::<gst_app::AppSrc>().ok());
    let (Some(source), Some(video), Some(sound)) = (source, sink("video"), sink("sound")) else {
        return Err(Error::Clip("no pipeline"));
    };
    pipeline.set_state(gst::State::Playing)?;
    let fed = source.push_buffer(gst::Buffer::from_slice(clip)).and_then(|_| source.end_of_stream());
    let tracks = fed.map_err(|_| Error::Clip("it cannot be read")).and_then(|_| {
        Ok((
            collect(&video, "video/x-h264").ok_or(Error::Clip("no H.264 track"))?,
            collect(&sound, "audio/mpeg").ok_or(Error::Clip("no AAC track"))?,
        ))
    });
    pipeline.set_state(gst::State::Null)?;
    tracks
}

fn collect(sink: &gst_app::AppSink, media_type: &str) -> Option<Track> {
    let mut units = Vec::new();
    let mut caps = None;
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(10)) {
        caps = caps.or_else(|| sample.caps_owned());
        units.extend(sample.buffer_owned());
    }
    let caps = caps.filter(|caps| caps.structure(0).is_some_and(|media| media.name() == media_type))?;
    if units.is_empty() { None } else { Some(Track { caps, units }) }
}
