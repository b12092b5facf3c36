//! GStreamer's errors as the faults of a closed list that an installer can act on.

use gst::glib;
use gstreamer as gst;

use crate::{config::Secret, wire::record::CameraFault};

/// No text in a log is longer: parts of it come from the camera.
const TEXT_CHARS_MAX: usize = 240;

/// Why a stream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct StreamError {
    /// Which of the known faults it is.
    pub fault: CameraFault,
    /// What exactly happened, without line breaks and without the password.
    pub text: String,
}

impl StreamError {
    /// A fault that is none of the others.
    #[must_use]
    pub(crate) fn other(text: &str) -> Self {
        Self { fault: CameraFault::Other, text: printable(text) }
    }

    /// A codec that is not on the list.
    #[must_use]
    pub(crate) fn codec(offered: &str) -> Self {
        let text = format!("it sends {offered}; H.264, H.265 and MJPEG are understood");
        Self { fault: CameraFault::Codec, text: printable(&text) }
    }

    /// The fault behind an error message of a pipeline.
    pub(super) fn of(message: &gst::message::Error) -> Self {
        let error = message.error();
        // The debug text is `file(line): function (): /path/of/element:` and, on a line of its own, what happened.
        let debug = message.debug().unwrap_or_default();
        let reason = debug.lines().skip(1).collect::<Vec<_>>().join(" ");
        let status = message.details().and_then(|details| details.get::<u32>("rtsp-status-code").ok());
        if let Some((status, fault)) = status.and_then(|status| Some((status, fault_of_status(status)?))) {
            let reason = message.details().and_then(|details| details.get::<&str>("rtsp-status-reason").ok());
            return Self { fault, text: printable(&format!("it answers {status} {}", reason.unwrap_or_default())) };
        }
        let text = if reason.is_empty() {
            format!("GStreamer says: {error}")
        } else {
            format!("GStreamer says: {error} {reason}")
        };
        Self { fault: fault_of_error(&error), text: printable(&text) }
    }

    /// The same without the password, which no message should hold in the first place.
    #[must_use]
    pub(super) fn without(mut self, secret: Option<&Secret>) -> Self {
        if let Some(secret) = secret.filter(|secret| !secret.reveal().is_empty()) {
            self.text = self.text.replace(secret.reveal(), "…");
        }
        self
    }
}

/// The fault behind the status of a camera's answer. RFC 2326, 11.3.
fn fault_of_status(status: u32) -> Option<CameraFault> {
    match status {
        401 | 403 => Some(CameraFault::Unauthorised),
        404 | 410 => Some(CameraFault::NotFound),
        453 | 503 => Some(CameraFault::Busy),
        415 => Some(CameraFault::Codec),
        400.. => Some(CameraFault::Other),
        _ => None,
    }
}

fn fault_of_error(error: &glib::Error) -> CameraFault {
    use gst::{ResourceError, StreamError};
    match (error.kind::<ResourceError>(), error.kind::<StreamError>()) {
        (Some(ResourceError::NotAuthorized), _) => CameraFault::Unauthorised,
        (Some(ResourceError::NotFound), _) => CameraFault::NotFound,
        (Some(ResourceError::Busy), _) => CameraFault::Busy,
        (Some(ResourceError::Settings), _) => CameraFault::Other,
        (Some(_), _) => CameraFault::Unreachable,
        (_, Some(StreamError::CodecNotFound | StreamError::TypeNotFound | StreamError::WrongType)) => {
            CameraFault::Codec
        }
        _ => CameraFault::Other,
    }
}

/// Text from outside, shortened and without control characters.
fn printable(text: &str) -> String {
    let mut printable: String = text.chars().take(TEXT_CHARS_MAX).collect();
    printable.retain(|c| !c.is_control());
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_cameras_are_known_faults() {
        let check = |status: u32, fault: Option<CameraFault>| assert_eq!(fault_of_status(status), fault, "{status}");
        check(200, None);
        check(401, Some(CameraFault::Unauthorised));
        check(404, Some(CameraFault::NotFound));
        check(453, Some(CameraFault::Busy));
        check(461, Some(CameraFault::Other));
        check(503, Some(CameraFault::Busy));
    }

    #[test]
    fn a_password_and_control_characters_stay_out_of_the_text() {
        let error = StreamError::other("no \u{1b}[31mentry\nfor hunter2").without(Some(&Secret::new("hunter2".into())));
        assert_eq!(error.text, "no [31mentryfor …");
        assert!(StreamError::other(&"x".repeat(10_000)).text.len() <= TEXT_CHARS_MAX);
    }
}
