//! Sources on this machine: recordings, and cameras that are plugged in.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use gst::prelude::*;
use gstreamer as gst;

use super::{Event, Medium, branch::Branches, error::StreamError, make};
use crate::wire::{access_unit::Codec, record::CameraFault};

/// Adds a recording to a pipeline. The extension of the file says which container it is.
pub(super) fn add_file(pipeline: &gst::Pipeline, path: &Path, branches: Branches) -> Result<(), StreamError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let demuxer = match extension.as_str() {
        "mp4" | "m4v" | "mov" => "qtdemux",
        "mkv" | "webm" => "matroskademux",
        "ts" | "mts" | "m2ts" => "tsdemux",
        _ => {
            let text = format!("{}: a recording ends in .mp4, .mov, .mkv, .webm or .ts", path.display());
            return Err(StreamError { fault: CameraFault::Codec, text });
        }
    };
    let (source, demuxer) = (make("filesrc")?, make(demuxer)?);
    source.set_property("location", path.to_string_lossy().as_ref());
    let failed = |_| StreamError::other("the elements of a recording do not fit together");
    pipeline.add_many([&source, &demuxer]).map_err(failed)?;
    source.link(&demuxer).map_err(failed)?;
    let taken = Arc::new(AtomicU8::new(0));
    let events = branches.events.clone();
    let counted = Arc::clone(&taken);
    demuxer.connect_pad_added(move |demuxer, pad| {
        if let Err(error) = link(demuxer, pad, &branches, &counted) {
            drop(branches.events.try_send(Event::Lost(error)));
        }
    });
    demuxer.connect_no_more_pads(move |_| {
        if taken.load(Ordering::Acquire) & bit(Medium::Video) == 0 {
            drop(events.try_send(Event::Lost(StreamError::codec("no picture in one of these"))));
        }
    });
    Ok(())
}

const fn bit(medium: Medium) -> u8 {
    match medium {
        Medium::Video => 1,
        Medium::Sound => 2,
    }
}

/// Takes the first picture and, where it is wanted, the first sound.
fn link(demuxer: &gst::Element, pad: &gst::Pad, branches: &Branches, taken: &AtomicU8) -> Result<(), StreamError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let Some(codec) = caps.structure(0).and_then(codec_of) else { return Ok(()) };
    let medium = Medium::of(codec);
    let parent = demuxer.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
    let (true, Some(bin)) = (medium == Medium::Video || branches.wants_sound, parent) else { return Ok(()) };
    if taken.fetch_or(bit(medium), Ordering::AcqRel) & bit(medium) != 0 {
        return Ok(());
    }
    // Each medium is played in real time, independently of the other.
    branches.add(&bin, pad, &["queue"], codec, None)
}

fn codec_of(caps: &gst::StructureRef) -> Option<Codec> {
    Some(match caps.name().as_str() {
        "video/x-h264" => Codec::H264,
        "video/x-h265" => Codec::H265,
        "image/jpeg" => Codec::Mjpeg,
        // 1 is MP3; 2 and 4 are AAC.
        "audio/mpeg" if caps.get::<i32>("mpegversion") != Ok(1) => Codec::Aac,
        "audio/x-mulaw" => Codec::Pcmu,
        "audio/x-alaw" => Codec::Pcma,
        "audio/x-opus" => Codec::Opus,
        _ => return None,
    })
}

/// Adds a camera on this machine to a pipeline: as JPEG where it offers that, otherwise compressed here, because units
/// on the wire always are.
pub(super) fn add_v4l2(pipeline: &gst::Pipeline, path: &Path, branches: &Branches) -> Result<(), StreamError> {
    let source = make("v4l2src")?;
    source.set_property("device", path.to_string_lossy().as_ref());
    pipeline.add(&source).map_err(|_| StreamError::other("v4l2src cannot be added"))?;
    // Only an open device says what it can do. If it does not open, playing it will say why.
    let is_open = source.set_state(gst::State::Ready).is_ok();
    let pad = source.static_pad("src").ok_or_else(|| StreamError::other("v4l2src has no pad"))?;
    let offered = pad.query_caps(None);
    let has_jpeg = is_open && offered.iter().any(|caps| caps.name() == "image/jpeg");
    let names: &[&str] = if has_jpeg { &[] } else { &["videoconvert", "jpegenc"] };
    branches.add(pipeline.upcast_ref(), &pad, names, Codec::Mjpeg, None)
}
