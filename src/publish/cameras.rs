//! The state of each camera, and what of it the broker should hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    discovery::Discovery,
    history::CameraUpdate,
    outbox::Message,
    payload::{self, BoxFigures, HealthText, Info, ReadingText, Topics},
    retained::{Priority, RetainedTopics},
};
use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        control::PublishConfig,
        record::{CameraState, ProbeRecord, Reading, Record, Vital},
    },
};

/// From one health message of a camera to the next.
const HEALTH_EVERY: Span = Span::from_ms(30_000);
/// A camera without a record for this many hops is no longer online.
const SILENT_HOPS: i64 = 3;
/// A camera's retained topics.
const RETAINED: [(Priority, &str); 3] =
    [(Priority::Status, "status"), (Priority::Health, "health"), (Priority::Last, "last")];

/// All cameras of the box.
#[derive(Debug)]
pub(crate) struct Cameras {
    topics: Topics,
    discovery: Option<Discovery>,
    boot: u32,
    silence_max: Span,
    info: Info,
    cameras: BTreeMap<CameraId, Camera>,
}

#[derive(Debug)]
struct Camera {
    name: String,
    last_record: Moment,
    silent: bool,
    /// At least one reading had a group size.
    counts_people: bool,
    vital: Option<Vital>,
    last_health: Option<Moment>,
}

impl Camera {
    /// The published state: the camera's own, or `stale` at best while it is silent.
    fn state(&self) -> CameraState {
        let reported = self.vital.map_or(CameraState::Offline, |vital| vital.state);
        if self.silent { reported.max(CameraState::Stale) } else { reported }
    }
}

impl Cameras {
    /// The configured cameras, all offline until their first record; the box is online.
    pub(crate) fn new(config: &PublishConfig, now: Moment, retained: &mut RetainedTopics) -> Self {
        let mut cameras = Self {
            topics: Topics::new(&config.mqtt.topic_prefix, &config.box_name),
            discovery: Discovery::new(config),
            boot: config.boot,
            silence_max: Span(i64::from(config.hop_ms) * 1_000_000 * SILENT_HOPS),
            info: Info::new(config.boot, &config.model_name, config.min_group, config.hop_ms),
            cameras: BTreeMap::new(),
        };
        retained.set(Priority::Box, cameras.topics.status(), payload::ONLINE.into());
        retained.set(Priority::Info, cameras.topics.info(), payload::json(&cameras.info));
        for (camera, name) in &config.cameras {
            cameras.set(*camera, name, now, retained);
        }
        cameras
    }

    /// Adds a camera or renames it.
    pub(crate) fn set(&mut self, id: CameraId, name: &str, now: Moment, retained: &mut RetainedTopics) {
        if self.cameras.get(&id).is_some_and(|camera| camera.name != name) {
            self.remove(id, retained);
        }
        let camera = self.cameras.entry(id).or_insert_with(|| Camera {
            name: name.to_owned(),
            last_record: now,
            silent: false,
            counts_people: false,
            vital: None,
            last_health: None,
        });
        set_discovery(self.discovery.as_ref(), camera, retained);
        set_status(&self.topics, camera, retained);
    }

    /// The retained topics of the box and its cameras, with or without a payload.
    pub(crate) fn retained_topics(&self) -> BTreeSet<String> {
        let mut topics = BTreeSet::from([self.topics.status(), self.topics.info()]);
        for camera in self.cameras.values() {
            topics.extend(RETAINED.map(|(_, leaf)| self.topics.camera(&camera.name, leaf)));
            topics.extend(self.discovery.as_ref().map(|discovery| discovery.topic(&camera.name)));
        }
        topics
    }

    /// Removes a camera, and its retained topics from the broker.
    pub(crate) fn remove(&mut self, id: CameraId, retained: &mut RetainedTopics) {
        let Some(camera) = self.cameras.remove(&id) else { return };
        for (priority, leaf) in RETAINED {
            retained.clear(priority, self.topics.camera(&camera.name, leaf));
        }
        if let Some(discovery) = &self.discovery {
            retained.clear(Priority::Discovery, discovery.topic(&camera.name));
        }
    }

    /// Applies a record. A reading is returned as the message for the outbox.
    pub(crate) fn apply(&mut self, record: &Record, now: Moment, retained: &mut RetainedTopics) -> Option<Message> {
        let (Record::Reading(Reading { camera: id, .. })
        | Record::Vital(Vital { camera: id, .. })
        | Record::ProbeRecord(ProbeRecord { camera: id, .. })) = *record;
        let camera = self.cameras.get_mut(&id)?;
        (camera.last_record, camera.silent) = (now, false);
        let message = match record {
            Record::Vital(vital) => {
                camera.vital = Some(*vital);
                if self.info.set_provider(vital.provider) {
                    retained.set(Priority::Info, self.topics.info(), payload::json(&self.info));
                }
                None
            }
            Record::Reading(reading) => {
                if reading.group_at_least.is_some() && !camera.counts_people {
                    camera.counts_people = true;
                    set_discovery(self.discovery.as_ref(), camera, retained);
                }
                let payload = payload::json(&ReadingText::new(reading, self.boot));
                retained.set(Priority::Last, self.topics.camera(&camera.name, "last"), payload.clone());
                Some(Message { topic: self.topics.camera(&camera.name, "reading"), payload })
            }
            // The record filter refuses these.
            Record::ProbeRecord(_) => None,
        };
        set_status(&self.topics, camera, retained);
        message
    }

    /// Finds silent cameras and health messages that are due. Returns true if there is something to send.
    pub(crate) fn check(
        &mut self,
        now: Moment,
        wall_ms: u64,
        figures: &BoxFigures,
        retained: &mut RetainedTopics,
    ) -> bool {
        let mut changed = false;
        for camera in self.cameras.values_mut() {
            if !camera.silent && self.silence_max < now - camera.last_record {
                camera.silent = true;
                changed |= set_status(&self.topics, camera, retained);
            }
            let is_due = camera.last_health.is_none_or(|at| HEALTH_EVERY <= now - at);
            if let (Some(vital), true) = (&camera.vital, is_due) {
                let text = HealthText::new(vital, camera.state(), figures, wall_ms, self.boot);
                let topic = self.topics.camera(&camera.name, "health");
                changed |= retained.set(Priority::Health, topic, payload::json(&text));
                camera.last_health = Some(now);
            }
        }
        changed
    }

    /// The current state of all cameras, for the status page.
    pub(crate) fn updates(&self) -> impl Iterator<Item = CameraUpdate<'_>> {
        self.cameras.iter().map(|(id, camera)| CameraUpdate {
            id: *id,
            name: &camera.name,
            state: camera.state(),
            vital: camera.vital,
        })
    }

    /// `infer` has ended: no camera can report until a new one runs.
    pub(crate) fn all_silent(&mut self, retained: &mut RetainedTopics) {
        for camera in self.cameras.values_mut() {
            camera.silent = true;
            set_status(&self.topics, camera, retained);
        }
    }
}

fn set_status(topics: &Topics, camera: &Camera, retained: &mut RetainedTopics) -> bool {
    retained.set(Priority::Status, topics.camera(&camera.name, "status"), camera.state().as_str().into())
}

/// Describes the camera to Home Assistant, where discovery is on.
fn set_discovery(discovery: Option<&Discovery>, camera: &Camera, retained: &mut RetainedTopics) {
    if let Some(discovery) = discovery {
        let message = discovery.message(&camera.name, camera.counts_people);
        retained.set(Priority::Discovery, discovery.topic(&camera.name), message);
    }
}
