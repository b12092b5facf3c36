//! From access units to pictures and samples: the only part of `infer` that names GStreamer, with the files below it.
//!
//! Every element is named here. Nothing is plugged automatically, so the camera does not choose what parses its data.
//! Decoders run on threads of their own; they call a function of the caller's on that thread.

mod colour;
mod container;
pub(crate) mod mask_painter;
mod pending_pictures;
mod picture_sink;
mod pipeline;
mod resample;
mod sound;
mod video;

pub(crate) use container::{ContainerSound, Media, Unreadable};
pub(crate) use pending_pictures::PendingPictures;
pub(crate) use picture_sink::Picture;
pub(crate) use pipeline::HANGS_AFTER;
pub(crate) use resample::{AnyRate, Resampler};
pub(crate) use sound::SoundDecoder;
#[cfg(test)]
pub(crate) use video::Submission;
pub(crate) use video::VideoDecoder;

use gstreamer as gst;

use crate::wire::access_unit::Codec;

/// The version of GStreamer in use: major, minor, micro, nano.
#[must_use]
pub(crate) fn version_numbers() -> [u32; 4] {
    gst::version().into()
}

/// The version of GStreamer in use, as it describes itself.
#[must_use]
pub(crate) fn version() -> String {
    gst::version_string().into()
}

/// Why something cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// GStreamer itself does not start.
    #[error("GStreamer does not start: {0}")]
    Start(String),
    /// An element is missing.
    #[error("the GStreamer element {element} is not there; install the Debian package {package}")]
    NoElement {
        /// The element's name.
        element: String,
        /// Which package of Debian contains it.
        package: &'static str,
    },
    /// The element that the configuration names does not decode this codec.
    #[error("decoder {element} does not decode {codec}; these do here: {others}", codec = .codec.name())]
    WrongElement {
        /// The element's name.
        element: String,
        /// What it should decode.
        codec: Codec,
        /// What would decode it.
        others: String,
    },
    /// A picture codec was given to the sound decoder or the other way round.
    #[error("{} is not {wanted}", .codec.name())]
    WrongKind {
        /// What was given.
        codec: Codec,
        /// What is needed.
        wanted: &'static str,
    },
    /// An unsupported sampling rate.
    #[error("{rate_hz} samples per second are not supported, 8000 to 192000 are")]
    Rate {
        /// Samples per second.
        rate_hz: u32,
    },
    /// The decoder failed; it has been restarted and waits for a key frame.
    #[error("decoder {element} failed: {reason}")]
    Failed {
        /// Which decoder.
        element: String,
        /// As GStreamer says it.
        reason: String,
    },
}
