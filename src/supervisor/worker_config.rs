//! What each room is told at its beginning, made of the configuration: to each only what it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::process::ProcessName;
use crate::{
    config::{
        Camera, Config, Secret, Sound,
        file::secrets::{self, Unusable},
    },
    infer::microphone,
    time::{Grid, Span},
    wire::{
        CameraId,
        control::{CameraOrder, InferConfig, IngestConfig, MqttSecrets, Order, PublishConfig},
    },
};

/// What the parent must know of the network before any room exists.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// Its name, as in its contract.
    pub name: String,
    /// How many frames of a window it looks at.
    pub frames: u32,
    /// How long a window is.
    pub clip: Span,
}

/// What a room is told of this run, beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// With `seq` it makes every reading unique.
    pub boot: u32,
    /// The newest slot that `infer` reported.
    pub last_slot: Option<u64>,
    /// Whether this is a dry run.
    pub survey: bool,
}

/// A configuration with all that belongs to it, read from the files that it names.
#[derive(Debug)]
pub struct ResolvedConfig {
    /// What was meant.
    pub config: Config,
    /// The network's facts.
    pub model: ModelFacts,
    /// Nobody is to look at these, or listen beside them.
    pub paused: BTreeSet<CameraId>,
    /// By the camera's name.
    passwords: BTreeMap<String, Secret>,
    mqtt: MqttSecrets,
    page_token: Option<Secret>,
}

impl ResolvedConfig {
    /// Reads the passwords and certificates that the configuration names.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn read(config: Config, model: ModelFacts) -> Result<Self, Vec<Unusable>> {
        let mut faults = Vec::new();
        let mut passwords = BTreeMap::new();
        for camera in &config.cameras {
            match secrets::camera_password(camera) {
                Ok(password) => passwords.extend(password.map(|it| (camera.name.clone(), it))),
                Err(err) => faults.push(err),
            }
        }
        let mqtt = secrets::mqtt(&config.mqtt).map_err(|err| faults.push(err)).unwrap_or_default();
        let page_token = secrets::page(&config.page).map_err(|err| faults.push(err)).unwrap_or_default();
        match faults.is_empty() {
            true => Ok(Self { config, model, paused: BTreeSet::new(), passwords, mqtt, page_token }),
            false => Err(faults),
        }
    }

    /// The first order of a room.
    #[must_use]
    pub fn order(&self, room: ProcessName, run: Run) -> Order {
        let config = &self.config;
        let grid = Grid { clip: self.model.clip, hop: config.reading.hop, frames: self.model.frames };
        let cameras = || config.cameras.iter().map(|camera| self.camera(room, camera)).collect();
        match room {
            ProcessName::Ingest => Order::Ingest(IngestConfig { cameras: cameras(), grid, survey: run.survey }),
            ProcessName::Infer => Order::Infer(InferConfig {
                cameras: cameras(),
                model: config.model.clone(),
                reading: config.reading,
                grid,
                last_slot: run.last_slot,
                survey: run.survey,
            }),
            ProcessName::Publish => Order::Publish(Box::new(PublishConfig {
                box_name: config.box_name.clone(),
                cameras: config.cameras.iter().map(|camera| (camera.id, camera.name.clone())).collect(),
                mqtt: config.mqtt.clone(),
                secrets: MqttSecrets {
                    password: self.mqtt.password.clone(),
                    ca_pem: self.mqtt.ca_pem.clone(),
                    client: self.mqtt.client.clone(),
                },
                outbox: config.outbox.clone(),
                page: config.page.clone(),
                page_token: self.page_token.clone(),
                boot: run.boot,
                model_name: self.model.name.clone(),
                min_group: config.reading.min_group,
                hop_ms: u32::try_from(config.reading.hop.as_ms()).unwrap_or(u32::MAX),
            })),
        }
    }

    /// The order about one camera: with its password for `ingest`, with its masks for `infer`.
    #[must_use]
    pub fn camera(&self, room: ProcessName, camera: &Camera) -> CameraOrder {
        let password = self.passwords.get(&camera.name).filter(|_| room == ProcessName::Ingest).cloned();
        let mut camera = camera.clone();
        if room != ProcessName::Infer {
            camera.masks.clear();
        }
        let paused = self.paused.contains(&camera.id);
        CameraOrder { camera, password, paused }
    }
}

/// Whether one of these microphones is reached through a unix socket: PulseAudio's and PipeWire's are, and so is the
/// default one wherever one of the two runs. ALSA's own devices are files.
#[must_use]
pub fn needs_unix_sockets<'c>(cameras: impl IntoIterator<Item = &'c Camera>) -> bool {
    cameras.into_iter().any(|camera| match &camera.sound {
        Sound::Off | Sound::Camera => false,
        Sound::Microphone(name) => microphone::needs_unix_socket(name),
    })
}
