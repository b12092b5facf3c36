//! A branch of a pipeline, behind a pad of its source: a depayloader or queue, a parser, an appsink, and its units.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use crossbeam_channel::Sender;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::{Bytes, ConnectionStats, Event, Sink, error::StreamError, make, moment_of};
use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec, UnitHeader},
        record::Step,
    },
};

/// Builds the branches of one pipeline.
#[derive(Clone)]
pub(super) struct Branches {
    pub(super) camera: CameraId,
    pub(super) sink: Sink,
    pub(super) events: Sender<Event>,
    pub(super) has_answered: Arc<AtomicBool>,
    pub(super) stats: ConnectionStats,
    /// Our clock minus GStreamer's.
    pub(super) clock_offset: Span,
    pub(super) is_live: bool,
    pub(super) wants_sound: bool,
}

impl Branches {
    /// Adds the elements `names`, the parser of `codec` and an appsink, and links them to `pad`. With a `clock_rate_hz`,
    /// the pad brings RTP packets of that clock.
    pub(super) fn add(
        &self,
        bin: &gst::Bin,
        pad: &gst::Pad,
        names: &[&str],
        codec: Codec,
        clock_rate_hz: Option<i32>,
    ) -> Result<(), StreamError> {
        self.has_answered.store(true, Ordering::Release);
        if codec.is_video() {
            self.stats.reach(Step::Described);
        }
        let rtp_time = clock_rate_hz.map(|rate| Arc::new(RtpTime::new(rate)));
        let (parser, caps) = parser(codec);
        let mut elements = names.iter().chain(parser).map(|name| make(name)).collect::<Result<Vec<_>, _>>()?;
        if let Some(parser) = elements.last().filter(|element| element.find_property("config-interval").is_some()) {
            parser.set_property("config-interval", -1_i32);
        }
        elements.push(self.appsink(codec, &caps, rtp_time.clone())?.upcast());
        let failed = |_| StreamError::other("the elements of a pipeline do not fit together");
        bin.add_many(&elements).map_err(failed)?;
        gst::Element::link_many(&elements).map_err(failed)?;
        let sink_pad = elements.first().and_then(|first| first.static_pad("sink"));
        let sink_pad = sink_pad.ok_or_else(|| StreamError::other("an element has no sink"))?;
        if let Some(rtp_time) = rtp_time.filter(|_| codec.is_video()) {
            rtp_time.watch(&sink_pad);
            watch_camera_clock(&sink_pad, &self.stats, self.clock_offset);
        }
        // Starting at the end, so that every element plays before something is pushed into it.
        for element in elements.iter().rev() {
            element.sync_state_with_parent().map_err(failed)?;
        }
        pad.link(&sink_pad).map(drop).map_err(|_| StreamError::codec(&format!("{} in a form of its own", codec.name())))
    }

    fn appsink(
        &self,
        codec: Codec,
        caps: &str,
        rtp_time: Option<Arc<RtpTime>>,
    ) -> Result<gst_app::AppSink, StreamError> {
        let caps: gst::Caps = caps.parse().map_err(|_| StreamError::other("a format is not understood"))?;
        let (camera, clock_offset) = (self.camera, self.clock_offset);
        let mut branch =
            Branch { camera, codec, clock_offset, rtp_time, caps: None, format: None, discontinuity: true };
        let (sink, events, is_live) = (Arc::clone(&self.sink), self.events.clone(), self.is_live);
        // No reference to the pipeline in here: it would keep the pipeline alive for ever.
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |appsink| {
                let sample = appsink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                if let Some((unit, rtp_time)) = branch.access_unit(appsink, &sample) {
                    sink(unit, rtp_time);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| {
                // A recording has ended when all of its streams have, which the bus says.
                if is_live && codec.is_video() {
                    drop(events.try_send(Event::Ended));
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

/// What an appsink knows about its stream.
struct Branch {
    camera: CameraId,
    codec: Codec,
    /// Our clock minus GStreamer's.
    clock_offset: Span,
    rtp_time: Option<Arc<RtpTime>>,
    /// The caps that `format` was read from.
    caps: Option<gst::Caps>,
    format: Option<Format>,
    /// Whether the next unit is the first one, or the first one of another format.
    discontinuity: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    size: (i32, i32),
    rate_hz: u32,
    channels: u8,
}

impl Branch {
    /// The access unit of a sample, and what the source's own clock says of it.
    fn access_unit(&mut self, appsink: &gst_app::AppSink, sample: &gst::Sample) -> Option<(AccessUnit<Bytes>, Span)> {
        let format = self.format(sample)?;
        let buffer = sample.buffer_owned()?;
        let arrival = moment_of(appsink.clock()?.time().nseconds()) + self.clock_offset;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let running_time = buffer.pts().or(buffer.dts()).and_then(|pts| segment.to_running_time(pts));
        let clock_time = running_time.zip(appsink.base_time()).map(|(running_time, base)| base + running_time);
        let pts = clock_time.map_or(arrival, |time| moment_of(time.nseconds()) + self.clock_offset);
        let rtp_time = self.rtp_time.as_ref().filter(|_| self.codec.is_video()).and_then(|time| time.newest());
        let is_key = !self.codec.is_video()
            || self.codec == Codec::Mjpeg
            || !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let header = UnitHeader {
            camera: self.camera,
            codec: self.codec,
            is_key,
            discontinuity: std::mem::take(&mut self.discontinuity),
            wanted: false,
            seq: 0,
            lost: 0,
            rate_hz: format.rate_hz,
            channels: format.channels,
            moment: pts,
            arrival,
        };
        let bytes = Bytes(buffer.into_mapped_buffer_readable().ok()?);
        Some((AccessUnit { header, bytes }, rtp_time.unwrap_or(pts - Moment(0))))
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
        self.discontinuity |= self.format.is_some_and(|known| known != format);
        self.caps = Some(caps.to_owned());
        self.format = Some(format);
        self.format
    }
}

/// Notes what the camera's clock says, where the packets that pass `pad` carry it: after RTCP's first sender report, and
/// only if that was asked for. `clock_offset` is our clock minus GStreamer's.
fn watch_camera_clock(pad: &gst::Pad, stats: &ConnectionStats, clock_offset: Span) {
    let stats = stats.clone();
    let note = move |pad: &gst::Pad, packet: &gst::BufferRef| {
        let is_ntp = |meta: &gst::MetaRef<'_, gst::ReferenceTimestampMeta>| {
            meta.reference().structure(0).is_some_and(|reference| reference.name() == "timestamp/x-ntp")
        };
        let Some(meta) = packet.iter_meta::<gst::ReferenceTimestampMeta>().find(is_ntp) else { return };
        let base = pad.parent_element().and_then(|element| element.base_time());
        if let Some((base, pts)) = base.zip(packet.pts()) {
            stats.note_camera_clock(meta.timestamp(), moment_of((base + pts).nseconds()) + clock_offset);
        }
    };
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |pad, info| {
        match &info.data {
            Some(gst::PadProbeData::Buffer(packet)) => note(pad, packet),
            // The packets of a list belong together.
            Some(gst::PadProbeData::BufferList(packets)) => {
                if let Some(packet) = packets.get(0) {
                    note(pad, packet);
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// The RTP time of the newest packet: the camera's own clock, which the presentation times no longer show, because
/// the jitter buffer maps them to ours.
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
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "only the low 32 bits are needed"
            )]
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
}
