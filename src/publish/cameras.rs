//! What is known of each camera, and what of it the broker should hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    discovery::Discovery,
    history::Seen,
    outbox::Message,
    payload::{self, Figures, HealthText, Info, ReadingText, Topics},
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

/// From one health of a camera to the next.
const HEALTH_EVERY: Span = Span::from_ms(30_000);
/// A camera of which nothing was heard for so many hops is no longer online.
const SILENT_HOPS: i64 = 3;
/// A camera's retained topics.
const RETAINED: [(Priority, &str); 3] =
    [(Priority::Status, "status"), (Priority::Health, "health"), (Priority::Last, "last")];

/// All cameras of the box.
#[derive(Debug)]
pub struct Cameras {
    topics: Topics,
    discovery: Option<Discovery>,
    boot: u32,
    silence_max: Span,
    info: Info,
    known: BTreeMap<CameraId, Camera>,
}

#[derive(Debug)]
struct Camera {
    name: String,
    heard: Moment,
    silent: bool,
    /// A reading has said how many people there are.
    counts_people: bool,
    vital: Option<Vital>,
    health_at: Option<Moment>,
}

impl Camera {
    /// What is published: not better than the camera's own word, nor than what its silence says.
    fn state(&self) -> CameraState {
        let said = self.vital.map_or(CameraState::Offline, |it| it.state);
        if self.silent { said.max(CameraState::Stale) } else { said }
    }
}

impl Cameras {
    /// The cameras of `begin`, all offline until something is heard of them; the box is online.
    #[must_use]
    pub fn new(begin: &PublishConfig, now: Moment, board: &mut RetainedTopics) -> Self {
        let mut cameras = Self {
            topics: Topics::new(&begin.mqtt.topic_prefix, &begin.box_name),
            discovery: Discovery::new(begin),
            boot: begin.boot,
            silence_max: Span(i64::from(begin.hop_ms) * 1_000_000 * SILENT_HOPS),
            info: Info::new(begin.boot, &begin.model_name, begin.min_group, begin.hop_ms),
            known: BTreeMap::new(),
        };
        board.set(Priority::Box, cameras.topics.status(), payload::ONLINE.into());
        board.set(Priority::Info, cameras.topics.info(), payload::json(&cameras.info));
        for (camera, name) in &begin.cameras {
            cameras.set(*camera, name, now, board);
        }
        cameras
    }

    /// Adds a camera, or gives it another name.
    pub fn set(&mut self, id: CameraId, name: &str, now: Moment, board: &mut RetainedTopics) {
        if self.known.get(&id).is_some_and(|it| it.name != name) {
            self.drop(id, board);
        }
        let name = name.to_owned();
        let new = || Camera { name, heard: now, silent: false, counts_people: false, vital: None, health_at: None };
        let camera = self.known.entry(id).or_insert_with(new);
        put_discovery(self.discovery.as_ref(), camera, board);
        self.put_status(id, board);
    }

    /// The retained topics that are the box's or one of its cameras', whether there is something under them or not.
    #[must_use]
    pub fn retained(&self) -> BTreeSet<String> {
        let mut retained = BTreeSet::from([self.topics.status(), self.topics.info()]);
        for camera in self.known.values() {
            retained.extend(RETAINED.map(|(_, leaf)| self.topics.camera(&camera.name, leaf)));
            retained.extend(self.discovery.as_ref().map(|it| it.topic(&camera.name)));
        }
        retained
    }

    /// Forgets a camera and takes its retained topics off the broker.
    pub fn drop(&mut self, id: CameraId, board: &mut RetainedTopics) {
        let Some(camera) = self.known.remove(&id) else { return };
        for (rank, leaf) in RETAINED {
            board.clear(rank, self.topics.camera(&camera.name, leaf));
        }
        if let Some(discovery) = &self.discovery {
            board.clear(Priority::Discovery, discovery.topic(&camera.name));
        }
    }

    /// Takes a record in. A reading comes back as the message for the outbox.
    pub fn take(&mut self, record: &Record, now: Moment, board: &mut RetainedTopics) -> Option<Message> {
        let (Record::Reading(Reading { camera: id, .. })
        | Record::Vital(Vital { camera: id, .. })
        | Record::ProbeRecord(ProbeRecord { camera: id, .. })) = *record;
        let camera = self.known.get_mut(&id)?;
        (camera.heard, camera.silent) = (now, false);
        let message = match record {
            Record::Vital(vital) => {
                camera.vital = Some(*vital);
                if self.info.set_provider(vital.provider) {
                    board.set(Priority::Info, self.topics.info(), payload::json(&self.info));
                }
                None
            }
            Record::Reading(reading) => {
                if reading.group_at_least.is_some() && !camera.counts_people {
                    camera.counts_people = true;
                    put_discovery(self.discovery.as_ref(), camera, board);
                }
                let payload = payload::json(&ReadingText::new(reading, self.boot));
                board.set(Priority::Last, self.topics.camera(&camera.name, "last"), payload.clone());
                Some(Message { topic: self.topics.camera(&camera.name, "reading"), payload })
            }
            // The gate lets none in.
            Record::ProbeRecord(_) => None,
        };
        self.put_status(id, board);
        message
    }

    /// Finds cameras that have fallen silent and healths that are due. Returns true if there is something to send.
    pub fn look(&mut self, now: Moment, wall_ms: u64, figures: &Figures, board: &mut RetainedTopics) -> bool {
        let mut news = false;
        for camera in self.known.values_mut() {
            if !camera.silent && self.silence_max < now - camera.heard {
                camera.silent = true;
                let state = camera.state().as_str();
                news |= board.set(Priority::Status, self.topics.camera(&camera.name, "status"), state.into());
            }
            let is_due = camera.health_at.is_none_or(|at| HEALTH_EVERY <= now - at);
            if let (Some(vital), true) = (&camera.vital, is_due) {
                let text = HealthText::new(vital, camera.state(), figures, wall_ms, self.boot);
                news |= board.set(Priority::Health, self.topics.camera(&camera.name, "health"), payload::json(&text));
                camera.health_at = Some(now);
            }
        }
        news
    }

    /// All cameras as they are now, for the page.
    pub fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.known.iter().map(|(id, it)| Seen { id: *id, name: &it.name, state: it.state(), vital: it.vital })
    }

    /// Nothing can be heard until a new `infer` is there.
    pub fn all_silent(&mut self, board: &mut RetainedTopics) {
        for camera in self.known.values_mut() {
            camera.silent = true;
            let state = camera.state().as_str();
            board.set(Priority::Status, self.topics.camera(&camera.name, "status"), state.into());
        }
    }

    fn put_status(&self, id: CameraId, board: &mut RetainedTopics) {
        if let Some(camera) = self.known.get(&id) {
            let state = camera.state().as_str();
            board.set(Priority::Status, self.topics.camera(&camera.name, "status"), state.into());
        }
    }
}

/// Tells Home Assistant what there is to show of a camera, where it is to be told.
fn put_discovery(discovery: Option<&Discovery>, camera: &Camera, board: &mut RetainedTopics) {
    if let Some(discovery) = discovery {
        let message = discovery.message(&camera.name, camera.counts_people);
        board.set(Priority::Discovery, discovery.topic(&camera.name), message);
    }
}
