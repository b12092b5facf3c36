//! A GStreamer pipeline from `appsrc` to `appsink`: bytes in, buffers out, errors noticed.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::Receiver;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc, AppSrcCallbacks};

use super::{super::wake, Error};
use crate::time::Moment;

/// So many units wait in `appsrc` at most: enough to keep the decoder at work. All others wait in our own queue.
const ROOM_UNITS: u64 = 4;
/// A decoder that takes no unit, or does not end, for so long hangs.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(30);

/// A chain of elements that begins with an appsrc and ends with an appsink.
#[derive(Debug)]
pub(super) struct Pipeline {
    pipeline: gst::Pipeline,
    source: AppSrc,
    bus: gst::Bus,
    /// Gets a token when the decoder has taken what waited for it, and when it has failed.
    room: Receiver<()>,
    has_ended: Arc<AtomicBool>,
}

/// Starts GStreamer once per process.
pub(super) fn start() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    STARTED.get_or_init(|| gst::init().map_err(|err| Error::Start(err.to_string()))).clone()
}

/// Makes an element of this factory.
pub(super) fn element(name: &str) -> Result<gst::Element, Error> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| Error::NoElement { element: name.to_owned(), package: package(name) })
}

/// Whether this machine has a factory of this name.
pub(super) fn exists(name: &str) -> bool {
    gst::ElementFactory::find(name).is_some()
}

/// Sets a property where this version of the element has it. An unknown name would panic otherwise.
pub(super) fn set(element: &gst::Element, property: &str, value: &str) {
    if element.find_property(property).is_some() {
        element.set_property_from_str(property, value);
    }
}

fn package(element: &str) -> &'static str {
    match element {
        "appsrc" | "appsink" | "audioconvert" | "videoconvert" | "opusdec" => "gstreamer1.0-plugins-base",
        "aacparse" | "alawdec" | "capsfilter" | "jpegdec" | "mulawdec" => "gstreamer1.0-plugins-good",
        _ if element.starts_with("avdec_") => "gstreamer1.0-libav",
        _ => "gstreamer1.0-plugins-bad",
    }
}

impl Pipeline {
    /// Builds and starts `appsrc (input) ! elements ! appsink (output)`; `on_sample` runs on the decoder's thread.
    pub(super) fn start(
        input: &gst::Caps,
        elements: &[gst::Element],
        output: &gst::Caps,
        mut on_sample: impl FnMut(&gst::Sample) + Send + 'static,
    ) -> Result<Self, Error> {
        let (has_room, room) = wake::channel();
        let at_end = has_room.clone();
        let source = AppSrc::builder()
            .caps(input)
            .format(gst::Format::Time)
            // Live, so that libav neither threads by frame, which delays, nor waits for the deepest reordering that
            // the level allows.
            .is_live(true)
            .block(false)
            .max_bytes(0)
            .callbacks(AppSrcCallbacks::builder().need_data(move |_, _| has_room.notify()).build())
            .build();
        let sink = AppSink::builder().caps(output).sync(false).max_buffers(4).enable_last_sample(false).build();
        sink.set_callbacks(
            gstreamer_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    on_sample(&sample);
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        accept_any_layout(&sink);
        let pipeline = gst::Pipeline::new();
        let bus = pipeline.bus().ok_or_else(|| Error::Start("a pipeline without a bus".to_owned()))?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        bus.set_sync_handler(move |_, message| {
            if ENDS.contains(&message.type_()) {
                ended.store(true, Ordering::Release);
                at_end.notify();
            }
            gst::BusSyncReply::Pass
        });
        let started = Self { pipeline, source: source.clone(), bus, room, has_ended };
        let all = || [source.upcast_ref()].into_iter().chain(elements).chain([sink.upcast_ref::<gst::Element>()]);
        let failed = |what: &str| Error::Failed { element: names(elements), reason: what.to_owned() };
        started.pipeline.add_many(all()).map_err(|_| failed("its parts cannot be put together"))?;
        gst::Element::link_many(all()).map_err(|_| failed("its parts do not fit together"))?;
        started.pipeline.set_state(gst::State::Playing).map_err(|_| failed("it does not start"))?;
        Ok(started)
    }

    /// Whether a unit can be pushed now. One that has failed takes any, and returns its error.
    pub(super) fn has_room(&self) -> bool {
        self.has_ended.load(Ordering::Acquire) || self.source.current_level_buffers() < ROOM_UNITS
    }

    /// Gets a token when it may have room again.
    pub(super) const fn room(&self) -> &Receiver<()> {
        &self.room
    }

    /// Pushes a unit, without waiting.
    pub(super) fn push(&self, unit: gst::Buffer) -> Result<(), String> {
        match self.source.push_buffer(unit) {
            Ok(_) => Ok(()),
            Err(err) => Err(self.check().err().unwrap_or_else(|| err.to_string())),
        }
    }

    /// Where units and events go in, for a timer that must not keep the pipeline alive.
    pub(super) fn source(&self) -> gst::glib::WeakRef<AppSrc> {
        self.source.downgrade()
    }

    /// Waits until there is room.
    pub(super) fn wait_for_room(&self) -> Result<(), String> {
        while !self.has_room() {
            self.room.recv_timeout(HANGS_AFTER).map_err(|_| "it hangs".to_owned())?;
        }
        Ok(())
    }

    /// Says that no unit follows, and waits until everything has come out. Nothing can be pushed afterwards.
    pub(super) fn finish(&self) -> Result<(), String> {
        self.source.end_of_stream().map_err(|err| err.to_string())?;
        let patience = gst::ClockTime::from_seconds(HANGS_AFTER.as_secs());
        match self.bus.timed_pop_filtered(patience, ENDS) {
            Some(message) if message.type_() == gst::MessageType::Eos => Ok(()),
            Some(message) => Err(reason(&message)),
            None => Err("it does not end".to_owned()),
        }
    }

    /// What went wrong since the last call, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut fault = Ok(());
        while let Some(message) = self.bus.pop_filtered(ENDS) {
            fault = Err(reason(&message));
        }
        fault
    }
}

/// What a decoder ends with.
const ENDS: &[gst::MessageType] = &[gst::MessageType::Error, gst::MessageType::Eos];

fn reason(message: &gst::Message) -> String {
    match message.view() {
        gst::MessageView::Error(error) => error.error().to_string(),
        _ => "it ended by itself".to_owned(),
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Software decoders end at once. For a hardware decoder that does not, the parent ends the process, because no
        // progress is reported meanwhile.
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("a decoder did not end cleanly");
        }
    }
}

/// Tells decoders that we take pictures in any memory layout, or else libav copies each into a plain one.
fn accept_any_layout(sink: &AppSink) {
    let Some(pad) = sink.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let Some(gst::QueryViewMut::Allocation(query)) = info.query_mut().map(gst::QueryRef::view_mut) else {
            return gst::PadProbeReturn::Ok;
        };
        query.add_allocation_meta::<gstreamer_video::VideoMeta>(None);
        gst::PadProbeReturn::Handled
    });
}

fn names(elements: &[gst::Element]) -> String {
    let names = elements.iter().filter_map(|element| element.factory()).map(|factory| factory.name().to_string());
    names.collect::<Vec<_>>().join(" ! ")
}

/// A unit as a buffer, which takes over the storage of its bytes.
pub(super) fn buffer(bytes: impl AsRef<[u8]> + Send + 'static, pts: gst::ClockTime, key: bool) -> gst::Buffer {
    let mut unit = gst::Buffer::from_slice(bytes);
    if let Some(unit) = unit.get_mut() {
        unit.set_pts(pts);
        if !key {
            unit.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
    }
    unit
}

/// The moment as a presentation time, which cannot be negative.
pub(super) fn pts_of(moment: Moment) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(moment.as_ns()).unwrap_or(0))
}

/// The moment that a presentation time was made of.
pub(super) fn moment_of(pts: gst::ClockTime) -> Moment {
    Moment(i64::try_from(pts.nseconds()).unwrap_or(i64::MAX))
}
