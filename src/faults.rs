//! What each word that is published means, and what to do about it: the one table for the log, the dry run's verdicts and
//! `docs/faults.md`.
//!
//! A cure is what follows "; " in a log line, without a capital and a full stop; the page adds them.

use crate::wire::record::{CameraFault, SoundState, Withheld};
#[cfg(test)]
use crate::wire::record::{CameraState, Provider};

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explanation {
    /// Sentences.
    pub meaning: &'static str,
    /// What to do; empty where nothing is wrong.
    pub cure: &'static str,
}

const fn explain(meaning: &'static str, cure: &'static str) -> Explanation {
    Explanation { meaning, cure }
}

/// What to do where the camera is known to be read over UDP and has stalled.
pub(crate) const STALLED_UDP_CURE: &str =
    "connected, but no UDP packets arrive; a firewall may block the packets: use \"tcp\" for `camera.transport`";

/// Of why a camera is not online.
#[must_use]
pub(crate) const fn camera_fault(fault: CameraFault) -> Explanation {
    match fault {
        CameraFault::None => explain("Nothing is wrong.", ""),
        CameraFault::Connecting => explain(
            "The first connection is being set up, or the process that connects to cameras is being restarted.",
            "wait ten seconds",
        ),
        CameraFault::Unreachable => explain(
            "There is no route to the camera, no answer from it, or its port is closed.",
            "check the camera's power, cable and switch, the address and port in `camera.url`, and the firewall; `ping` \
             the camera from this machine",
        ),
        CameraFault::Unauthorised => explain(
            "The camera does not accept the user or the password. After three refusals in a row edge-ger tries only \
             every five minutes, so that the camera does not lock the account.",
            "check `camera.user` and the file that `camera.password_file` names; after a change `systemctl reload \
             edge-ger` tries at once",
        ),
        CameraFault::NotFound => explain(
            "The camera has no stream at this path, or the recording or the device does not exist.",
            "check the path in `camera.url`; the camera's manual or its ONVIF page names it",
        ),
        CameraFault::Busy => explain(
            "The camera serves as many sessions as it can.",
            "close other viewers of the camera, or raise its limit of sessions",
        ),
        CameraFault::Certificate => explain(
            "`rtsps`: the certificate is not the pinned one, or is not trusted.",
            "compare the certificate with `camera.tls_fingerprint` or `camera.tls_ca_file`, and check the dates of the \
             camera and of this machine; a camera that was reset has a new certificate",
        ),
        CameraFault::Codec => explain(
            "edge-ger cannot decode what the camera or the recording contains.",
            "set the camera to H.264, H.265 or MJPEG; a recording must end in .mp4, .m4v, .mov, .mkv, .webm, .ts, .mts \
             or .m2ts",
        ),
        CameraFault::Stalled => explain(
            "The camera is connected, but nothing arrived for 2.8 s, or no first picture within 10 s.",
            "edge-ger reconnects by itself; if it recurs, check the network, and the camera's load and firmware; with \
             `camera.transport = \"udp\"` a firewall may block the packets: use \"tcp\"",
        ),
        CameraFault::Ended => explain(
            "The camera ended the stream.",
            "edge-ger reconnects by itself; if it recurs, check the network, and the camera's load and firmware",
        ),
        CameraFault::SoundOnly => explain(
            "Sound arrives, pictures do not.",
            "edge-ger reconnects by itself; if it recurs, check the camera's video settings, or restart it",
        ),
        CameraFault::Other => {
            explain("Any other fault.", "edge-ger tries again by itself; the log line `camera lost` has the details")
        }
        CameraFault::Paused => explain(
            "The camera is paused, by `edge-ger pause` or by `camera.schedule`. This is not an outage, is not counted as \
             one, and does not change `/healthz`.",
            "nothing, if it is intended; otherwise run `edge-ger resume`, or change `camera.schedule`",
        ),
    }
}

/// Of the state of a camera.
#[cfg(test)]
#[must_use]
pub(crate) const fn camera_state(state: CameraState) -> Explanation {
    match state {
        CameraState::Online => explain("Pictures arrive.", ""),
        CameraState::Stale => explain(
            "The camera is connected, but no picture has come for a while; or nothing was reported of it for three hops, \
             for example because the process that decodes is being restarted.",
            "",
        ),
        CameraState::Offline => explain("The camera is not connected, or it is paused; `fault` says why.", ""),
    }
}

/// Of why a reading is withheld.
#[must_use]
pub(crate) const fn withheld(reason: Withheld) -> Explanation {
    match reason {
        Withheld::Starting => explain(
            "The window began before the camera's first frame, or ended while the process that decodes was being \
             restarted.",
            "nothing, if it lasts for one or two readings; otherwise see the camera's `fault`, and the log line `ended by \
             itself`",
        ),
        Withheld::CameraOffline => explain("The camera is not online.", "see its `fault`"),
        Withheld::VideoGap => explain(
            "The camera is online, but too many frames are farther than `gates.frame_offset_max_ms` from the moments that \
             the network wants.",
            "set the camera's key-frame distance (also: I-frame interval, GOP) to one or two seconds, or `camera.decode = \
             \"all\"`, which needs more CPU; `key_ms` in `health` is the measured distance",
        ),
        Withheld::Damaged => explain(
            "More RTP packets than `gates.packets_lost_max` were lost in this window, so pictures may be damaged.",
            "use `camera.transport = \"tcp\"`, a wired network, or a lower bit rate; `packets_lost` in `health` counts \
             them",
        ),
        Withheld::Frozen => explain(
            "No frame of the window differs from the one before by `gates.motion_min`: the camera repeats one picture, or \
             nothing moves.",
            "restart the camera; if the scene really does not move, such as an empty room, lower `gates.motion_min` or \
             let the dry run's baseline fit it; 0 switches the gate off",
        ),
        Withheld::Dark => explain(
            "The mean brightness is below `gates.luma_min`.",
            "add light, or change the camera's exposure; lower `gates.luma_min` only if the network was trained on such \
             pictures",
        ),
        Withheld::FormatChange => explain(
            "The camera changed its codec or picture size inside the window.",
            "nothing, if its settings were just changed; if it recurs, switch off the camera's adaptive stream",
        ),
        Withheld::SoundMissing => explain(
            "The network needs sound, and there was none in this window, too little of it, or digital silence.",
            "see `sound`, or use a network that works without it",
        ),
        Withheld::TooFewPeople => explain(
            "The network estimates fewer people than `reading.min_group`.",
            "nothing: this rule protects single persons; `min_group` is 2 at least",
        ),
        Withheld::LowConfidence => explain(
            "No emotion reaches `reading.min_confidence`.",
            "nothing; a lower bound gives more labels, and more of them wrong",
        ),
        Withheld::Overload => explain(
            "This machine had not finished the slot when the next one had ended.",
            "raise `reading.hop_s`, use fewer cameras, a smaller network or a GPU; compare `inference_ms` with the hop",
        ),
        Withheld::ModelInvalid => explain(
            "The network answered with something that is not a number.",
            "run `edge-ger model verify` on the same provider; if it passes, keep the log and report it",
        ),
        Withheld::Paused => explain(
            "The camera is paused, by `edge-ger pause` or by `camera.schedule`. After a pause the first one or two \
             readings are `starting`.",
            "nothing, if it is intended; the log says what paused it",
        ),
    }
}

/// Of the sound of a window.
#[must_use]
pub(crate) const fn sound(state: SoundState) -> Explanation {
    match state {
        SoundState::Off => explain("None is configured: `sound.source = \"none\"`.", ""),
        SoundState::Present => explain("There is sound, and it is used.", ""),
        SoundState::Absent => explain(
            "Sound is configured, but less of the window's sound came than `gates.sound_min_percent`; or the network does \
             not use sound. Right after a start it is normal.",
            "for a microphone, check `sound.device` and its plug; the log line `no sound; retrying` names the microphones \
             that exist; for the camera's sound, check that the camera sends AAC, Opus or G.711",
        ),
        SoundState::Silent => explain(
            "There is a signal, but it is digitally silent, as that of a muted or broken microphone. It is not used.",
            "unmute the microphone, raise its gain, and check its supply; `level_db` in `health` is -100",
        ),
        SoundState::Clipping => explain(
            "The sound is used, but it is too loud for the microphone or its gain.",
            "lower the microphone's gain, or move it away from loudspeakers",
        ),
    }
}

/// Of what runs the network.
#[cfg(test)]
#[must_use]
pub(crate) const fn provider(provider: Provider) -> Explanation {
    match provider {
        Provider::None => explain("No network runs yet.", ""),
        Provider::Cpu => explain("ONNX Runtime on the CPU.", ""),
        Provider::Cuda => explain("CUDA.", ""),
        Provider::TensorRt => explain("TensorRT; what it does not support runs on CUDA.", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_and_reason_has_a_cure_that_fits_into_a_log_line() {
        let faults =
            CameraFault::ALL.iter().filter(|fault| **fault != CameraFault::None).map(|fault| camera_fault(*fault));
        for Explanation { meaning, cure } in faults.chain(Withheld::ALL.iter().map(|reason| withheld(*reason))) {
            assert!(meaning.ends_with('.') && !cure.is_empty() && !cure.ends_with('.'), "{meaning} {cure}");
            assert!(cure.starts_with(|first: char| first.is_lowercase()) && !cure.contains(['\n', '|']), "{cure}");
        }
    }
}
