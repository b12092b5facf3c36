//! What is known before anything is measured: the configuration's and the network's part of a dry run.
//!
//! Addresses, users and the words of the notice are left out here, so that no report can hold them.

use serde::{Deserialize, Serialize};

use super::system::System;
use crate::{
    config::{self, Config, Decode, Gates, ProviderChoice, Source, Transport},
    wire::{CameraId, estimate::Estimates},
};

/// Of the whole box.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// The box's name.
    pub box_name: String,
    /// What the place is.
    pub context: String,
    /// When the run began, milliseconds since 1970 UTC.
    pub began_ms: u64,
    /// The machine.
    pub system: System,
    /// The network.
    pub network: Network,
    /// From the end of one window to that of the next, s.
    pub hop_s: f64,
    /// Below this probability there is no label.
    pub min_confidence: f64,
    /// A smaller group is not read.
    pub min_group: u8,
    /// The ladder of execution providers.
    pub providers: Vec<ProviderChoice>,
    /// Threads of the CPU provider; 0 is as many as there are cores.
    pub threads: u32,
    /// Cores of this machine: 1 at least.
    pub cores: u32,
    /// The cameras, by their numbers.
    pub cameras: Vec<CameraFacts>,
}

/// Of the network, from its contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its file, hexadecimal.
    pub sha256: String,
    /// How long a window is, s.
    pub clip_s: f64,
    /// How many frames of a window it looks at.
    pub frames: u32,
    /// The size of the picture that it sees, pixels.
    pub size: (u32, u32),
    /// Whether it hears.
    pub hears: bool,
    /// Whether it answers nothing without sound.
    pub needs_sound: bool,
    /// Whether it estimates the group's size.
    pub estimates_group: bool,
    /// What it estimates beside the emotion: from which value to which it was trained.
    pub estimates: Estimates<Option<[f32; 2]>>,
    /// How often each emotion was in training, in the order of `Emotion::ALL`.
    pub prior: [f32; 3],
    /// The expected calibration error that its card states, 0 to 1.
    pub calibration_error: Option<f64>,
}

/// Of one camera.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CameraFacts {
    /// Its number.
    pub id: CameraId,
    /// Its name.
    pub name: String,
    /// The transport and the jitter buffer, ms, of a network camera.
    pub rtp: Option<(Transport, u32)>,
    /// Whether sound is configured.
    pub sound: bool,
    /// Whether that is the camera's own, which comes and goes with it.
    pub sound_is_its_own: bool,
    /// `sync.offset_ms`.
    pub offset_ms: i64,
    /// Which frames are decoded.
    pub decode: Decode,
    /// When the picture is not good enough.
    pub gates: Gates,
}

impl Facts {
    /// Of a configuration, at this date on a machine of so many cores.
    #[must_use]
    pub(crate) fn new(config: &Config, network: Network, system: System, began_ms: u64, cores: u32) -> Self {
        Self {
            box_name: config.box_name.clone(),
            context: config.site.context.0.clone(),
            began_ms,
            system,
            network,
            hop_s: config.reading.hop_s.get(),
            min_confidence: config.reading.min_confidence.get(),
            min_group: config.reading.min_group.get(),
            providers: config.model.providers.0.clone(),
            threads: config.model.threads.get(),
            cores: cores.max(1),
            cameras: config.cameras.iter().map(CameraFacts::new).collect(),
        }
    }
}

impl Facts {
    /// How many windows that have not ended yet have begun at any moment: 1 where they do not overlap.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 5, by the ranges of the two")]
    pub(crate) fn windows_at_once(&self) -> u32 {
        (self.network.clip_s / self.hop_s).ceil().max(1.0) as u32
    }
}

impl CameraFacts {
    fn new(camera: &config::Camera) -> Self {
        let rtp = match &camera.source {
            Source::Rtsp(rtsp) => Some((rtsp.transport, rtsp.latency_ms)),
            Source::File(_) | Source::V4l2(_) => None,
        };
        Self {
            id: camera.id,
            name: camera.name.clone(),
            rtp,
            sound: camera.sound != config::Sound::Off,
            sound_is_its_own: camera.sound == config::Sound::Camera,
            offset_ms: camera.sync_offset.as_ms(),
            decode: camera.decode,
            gates: camera.gates,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::estimate::Estimate;

    /// A box of two cores with one network camera named `hall`, and the shipped network.
    pub(in super::super) fn facts() -> Facts {
        Facts {
            box_name: "box-1".into(),
            context: "event".into(),
            began_ms: 1_767_225_600_000,
            system: System {
                os: "Debian GNU/Linux 12 (bookworm)".into(),
                kernel: "Linux 6.1.0-18-amd64".into(),
                architecture: "x86_64",
                machine: "Some CPU @ 2 GHz".into(),
            },
            network: Network {
                name: "edge-ger-3".into(),
                sha256: "0".repeat(64),
                clip_s: 5.0,
                frames: 5,
                size: (192, 192),
                hears: true,
                needs_sound: false,
                estimates_group: true,
                estimates: [Some([0.0522, 0.2321]); Estimate::COUNT],
                prior: [1.0 / 3.0; 3],
                calibration_error: Some(0.0291),
            },
            hop_s: 5.0,
            min_confidence: 0.5,
            min_group: 5,
            providers: vec![ProviderChoice::Cpu],
            threads: 0,
            cores: 2,
            cameras: vec![CameraFacts {
                id: CameraId(0),
                name: "hall".into(),
                rtp: Some((Transport::Tcp, 200)),
                sound: true,
                sound_is_its_own: true,
                offset_ms: 0,
                decode: Decode::Auto,
                gates: Gates::default(),
            }],
        }
    }
}
