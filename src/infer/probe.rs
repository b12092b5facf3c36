//! What a dry run measures of a camera beside its readings, behind a trait that does nothing in the daemon.
//!
//! The frame path knows [`Probe`] alone. [`site::SiteProbe`] is the one of a dry run: it measures every picture that is
//! decoded and every second of sound, and runs the clap test ([`claps`]).

mod claps;
mod picture;
mod site;
mod sound;

use std::sync::Mutex;

use self::site::SiteProbes;
use super::{
    aggregate::Step,
    contract::{Contract, SoundKind},
    features::picture::Rgb,
    ring::{FrameRing, SoundRing},
    runtime::Answer,
    window::Window,
};
use crate::{
    config::Camera,
    time::Moment,
    wire::{access_unit::CameraStatus, control::Sampling, record::ProbeRecord},
};

/// Measures one camera. Every method does nothing unless it is implemented; the decoder's thread and that of the slots
/// call them.
pub(crate) trait Probe: Send + Sync {
    /// Whether the picture of `moment`, which the network will not see, is to be decoded all the same.
    fn wants(&self, _moment: Moment) -> bool {
        false
    }

    /// A picture came out of the decoder. Returns whether the network is to see it.
    fn on_picture(&self, _moment: Moment, _picture: Rgb<'_>) -> bool {
        true
    }

    /// A picture that the network is to see was stored; it differs from the one before by `motion`, levels.
    fn on_frame(&self, _moment: Moment, _motion: f32) {}

    /// The window of a slot is about to be read from these frames.
    fn on_window(&self, _slot: u64, _window: &Window, _frames: &FrameRing) {}

    /// A slot has ended with this step; `answer` is the network's, if it ran.
    fn on_slot(&self, _slot: u64, _answer: Option<Answer>, _step: &Step) {}

    /// Other pictures are decoded from now on. Sent again, it starts again.
    fn on_sampling(&self, _sampling: Sampling) {}

    /// What was measured by now, about once a second; `sound` is the camera's newest sound.
    fn record(&self, _now: Moment, _status: CameraStatus, _sound: &Mutex<SoundRing>) -> Option<ProbeRecord> {
        None
    }
}

/// Measures nothing: the daemon's.
struct NoProbe;

impl Probe for NoProbe {}

/// Makes the probe of each camera.
pub(crate) enum Probes {
    /// The daemon's, which measure nothing.
    None,
    /// Those of a dry run.
    Site(SiteProbes),
}

impl Probes {
    pub(crate) fn new(is_dry_run: bool, contract: &Contract) -> Self {
        if !is_dry_run {
            return Self::None;
        }
        let uses_sound = contract.sound.kind != SoundKind::None;
        Self::Site(SiteProbes::new(uses_sound.then_some(contract.sound.rate_hz)))
    }

    pub(crate) fn probe(&self, camera: &Camera) -> Box<dyn Probe> {
        match self {
            Self::None => Box::new(NoProbe),
            Self::Site(probes) => Box::new(probes.probe(camera)),
        }
    }
}
