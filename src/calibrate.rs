//! `--dry-run`: the same ingest and infer, in front of an installer instead of a broker.
//!
//! Only records arrive here, so nothing that is shown or written can hold more than numbers and words from closed lists.
//!
//! [`Site`] is all that is known: what was configured ([`facts`]) and what was observed ([`observations`]). Verdicts ([`verdict`],
//! [`bounds`], [`headroom`]) and settings ([`settings`]) are pure functions of it, and so is all that shows it: lines
//! ([`text`]), JSON ([`json`]), a terminal ([`view`]) and a report ([`html`]). [`session`] is what has a clock and a
//! terminal; [`guide`] and [`script`] are what it does for people and for scripts.

pub(crate) mod baseline;
pub(crate) mod bounds;
pub(crate) mod facts;
pub(crate) mod files;
mod fit;
pub(crate) mod grade;
pub(crate) mod guide;
pub(crate) mod headroom;
pub(crate) mod history;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod mask;
pub(crate) mod observations;
pub(crate) mod patch;
pub(crate) mod prior;
pub(crate) mod script;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod system;
pub(crate) mod text;
pub(crate) mod value;
pub(crate) mod verdict;
pub(crate) mod view;

use std::collections::BTreeMap;

use self::{
    facts::{CameraFacts, Facts},
    observations::Observations,
    verdict::Item,
};
use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        control::Libraries,
        record::{Record, SoundState},
    },
};

/// All that is known of a box and its cameras.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// What was known before.
    pub facts: Facts,
    /// What was seen, by the cameras' numbers.
    cameras: BTreeMap<CameraId, Observations>,
    began: Moment,
    /// What the process that sees and hears works with, once it has said so.
    pub libraries: Option<Libraries>,
    /// How long it has been watched.
    pub watched: Span,
}

impl Site {
    /// Nothing was seen yet.
    #[must_use]
    pub(crate) fn new(facts: Facts, began: Moment) -> Self {
        let cameras = facts.cameras.iter().map(|it| (it.id, Observations::default())).collect();
        Self { facts, cameras, began, libraries: None, watched: Span::ZERO }
    }

    /// Takes a record that arrived now. What it says of a camera that nobody configured is nothing.
    pub(crate) fn take(&mut self, record: &Record, now: Moment) {
        let at = now - self.began;
        let id = match record {
            Record::Reading(it) => it.camera,
            Record::Vital(it) => it.camera,
            Record::ProbeRecord(it) => it.camera,
        };
        let Some(seen) = self.cameras.get_mut(&id) else { return };
        match record {
            Record::Reading(reading) => seen.reading(reading, at),
            Record::Vital(vital) => seen.vital(vital, at),
            Record::ProbeRecord(probe) => seen.probe(probe),
        }
    }

    /// Tells what time it is.
    pub(crate) fn tick(&mut self, now: Moment) {
        self.watched = now - self.began;
    }

    /// Each camera's facts and what was seen of it, by their numbers.
    pub(crate) fn cameras(&self) -> impl Iterator<Item = (&CameraFacts, &Observations)> {
        self.facts.cameras.iter().filter_map(|it| Some((it, self.cameras.get(&it.id)?)))
    }

    /// What was seen of one camera.
    #[must_use]
    pub(crate) fn of(&self, camera: CameraId) -> Option<&Observations> {
        self.cameras.get(&camera)
    }

    /// The same, to add to it.
    pub(crate) fn seen(&mut self, camera: CameraId) -> Option<&mut Observations> {
        self.cameras.get_mut(&camera)
    }

    /// A camera's name.
    #[must_use]
    pub(crate) fn name(&self, camera: CameraId) -> &str {
        self.facts.cameras.iter().find(|it| it.id == camera).map_or("", |it| it.name.as_str())
    }

    /// Whether a camera has the sound and the picture that a clap test needs.
    #[must_use]
    pub(crate) fn hears(&self, camera: CameraId) -> bool {
        let is_configured = self.facts.cameras.iter().any(|it| it.id == camera && it.sound);
        let seen = self.of(camera).filter(|it| it.is_seen());
        let sound = seen.and_then(|it| it.vital).map(|it| it.sound);
        is_configured && matches!(sound, Some(SoundState::Present | SoundState::Clipping))
    }

    /// The verdicts on every camera.
    #[must_use]
    pub(crate) fn verdicts(&self) -> Vec<(&CameraFacts, Vec<Item>)> {
        self.cameras().map(|(camera, seen)| (camera, verdict::all(seen, &self.facts, camera))).collect()
    }
}
