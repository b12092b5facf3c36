//! The configuration of each worker, derived from that of the daemon: each gets only what it needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    config::{
        Camera, Config, Secret, Sound,
        file::secrets::{self, Unusable},
    },
    time::{Grid, Span},
    wire::{
        CameraId,
        control::{CameraOrder, InferConfig, IngestConfig, MqttSecrets, Order, PublishConfig},
        process::ProcessName,
    },
};

/// What the parent must know of the network before it starts a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelFacts {
    /// The network's name, as in its contract.
    pub name: String,
    /// Frames per window.
    pub frames: u32,
    /// The length of a window.
    pub clip: Span,
}

/// What a worker is told of the present run, beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunFacts {
    /// Random number of this run of the daemon; with `seq` it makes every reading unique.
    pub boot: u32,
    /// The newest slot that `infer` reported.
    pub last_slot: Option<u64>,
    /// Whether this is a dry run.
    pub is_dry_run: bool,
}

/// A configuration with the contents of the files that it names.
#[derive(Debug)]
pub(crate) struct ResolvedConfig {
    /// The configuration.
    pub config: Config,
    /// From the contract of the network.
    pub model: ModelFacts,
    /// Cameras that are paused, and so not connected to.
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
    pub(crate) fn read(config: Config, model: ModelFacts) -> Result<Self, Vec<Unusable>> {
        let mut faults = Vec::new();
        let mut passwords = BTreeMap::new();
        for camera in &config.cameras {
            match secrets::camera_password(camera) {
                Ok(Some(password)) => drop(passwords.insert(camera.name.clone(), password)),
                Ok(None) => {}
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

    /// The first order to a worker: its configuration.
    #[must_use]
    pub(crate) fn order(&self, name: ProcessName, run: RunFacts) -> Order {
        let config = &self.config;
        let grid = Grid { clip: self.model.clip, hop: config.reading.hop_s.span(), frames: self.model.frames };
        let cameras = || config.cameras.iter().map(|camera| self.camera(name, camera)).collect();
        match name {
            ProcessName::Ingest => Order::Ingest(IngestConfig { cameras: cameras(), grid, is_dry_run: run.is_dry_run }),
            ProcessName::Infer => Order::Infer(InferConfig {
                cameras: cameras(),
                model: config.model.clone(),
                reading: config.reading,
                grid,
                unix_sockets: config.cameras.iter().any(|camera| match &camera.sound {
                    Sound::Off | Sound::Camera => false,
                    Sound::Microphone(name) => needs_unix_socket(name),
                }),
                last_slot: run.last_slot,
                is_dry_run: run.is_dry_run,
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
                min_group: config.reading.min_group.get(),
                hop_ms: u32::try_from(config.reading.hop_s.span().as_ms()).unwrap_or(u32::MAX),
            })),
        }
    }

    /// The order about one camera: only `ingest` gets its password, and only `infer` its masks.
    #[must_use]
    pub(crate) fn camera(&self, name: ProcessName, camera: &Camera) -> CameraOrder {
        let password = self.passwords.get(&camera.name).filter(|_| name == ProcessName::Ingest).cloned();
        let mut camera = camera.clone();
        if name != ProcessName::Infer {
            camera.masks.clear();
        }
        let paused = self.paused.contains(&camera.id);
        CameraOrder { camera, password, paused }
    }
}

/// Whether a microphone of this name may be reached through a unix socket, which the sandbox of `infer` must then allow:
/// PulseAudio and PipeWire are, and so may be ALSA's plugins and the default device. Plain ALSA devices are files.
fn needs_unix_socket(microphone: &str) -> bool {
    !["alsa:hw:", "alsa:plughw:"].iter().any(|plain| microphone.starts_with(plain))
}

#[cfg(test)]
mod tests {
    use super::needs_unix_socket;

    #[test]
    fn only_plain_alsa_devices_need_no_unix_socket() {
        for (name, needs) in [
            ("alsa:hw:CARD=Mic,DEV=0", false),
            ("alsa:plughw:CARD=Mic,DEV=0", false),
            ("alsa:default", true),
            ("alsa:dsnoop:CARD=Mic", true),
            ("pulseaudio:mic.monitor", true),
            ("default", true),
        ] {
            assert_eq!(needs_unix_socket(name), needs, "{name}");
        }
    }
}
