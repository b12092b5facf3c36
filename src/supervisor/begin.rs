//! What each room is told at its beginning, made of the configuration: to each only what it needs.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::room::Name;
use crate::{
    config::{Camera, Config, Secret, Sound, Source},
    time::{Grid, Span},
    wire::control::{CameraOrder, InferBegin, IngestBegin, MqttSecrets, Order, PublishBegin},
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

/// A configuration with all that belongs to it, read from the files that it names.
#[derive(Debug)]
pub struct Setting {
    /// What was meant.
    pub config: Config,
    /// The network's facts.
    pub model: ModelFacts,
    /// By the camera's name.
    passwords: BTreeMap<String, Secret>,
    mqtt: MqttSecrets,
}

/// A file that the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{key}: cannot read {path}: {source}")]
    Unreadable {
        /// The key that names it.
        key: String,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{key}: {path} must hold {expected}")]
    Unfit {
        /// The key that names it.
        key: String,
        /// The file.
        path: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// Longer than any password, certificate chain or key.
const FILE_BYTES_MAX: u64 = 256 << 10;

impl Setting {
    /// Reads the passwords and certificates that the configuration names.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn read(config: Config, model: ModelFacts) -> Result<Self, Vec<Error>> {
        let mut faults = Vec::new();
        let mut keep = |found: Result<String, Error>| found.map_err(|err| faults.push(err)).ok();
        let mut passwords = BTreeMap::new();
        for camera in &config.cameras {
            let Source::Rtsp(rtsp) = &camera.source else { continue };
            let Some(path) = &rtsp.password_file else { continue };
            let key = format!("camera {}: password_file", camera.name);
            passwords.extend(keep(password(&key, path)).map(|it| (camera.name.clone(), Secret::new(it))));
        }
        let file = config.mqtt.password_file.as_deref();
        let mut mqtt = MqttSecrets {
            password: file.and_then(|path| keep(password("mqtt.password_file", path))).map(Secret::new),
            ..MqttSecrets::default()
        };
        if let Some(tls) = &config.mqtt.tls {
            mqtt.ca_pem = tls.ca_file.as_deref().and_then(|path| keep(pem("mqtt.tls.ca_file", path)));
            if let Some((certificate, key)) = &tls.client {
                let certificate = keep(pem("mqtt.tls.client_certificate", certificate));
                let key = keep(pem("mqtt.tls.client_key", key)).map(Secret::new);
                mqtt.client = certificate.zip(key);
            }
        }
        if faults.is_empty() { Ok(Self { config, model, passwords, mqtt }) } else { Err(faults) }
    }

    /// The first order of a room. `boot` is this run of the daemon, `last_slot` the newest that `infer` reported.
    #[must_use]
    pub fn order(&self, room: Name, boot: u32, last_slot: Option<u64>) -> Order {
        let config = &self.config;
        let grid = Grid { clip: self.model.clip, hop: config.reading.hop, frames: self.model.frames };
        match room {
            Name::Ingest => {
                let cameras = config.cameras.iter().map(|camera| self.camera(room, camera)).collect();
                Order::Ingest(IngestBegin { cameras, grid })
            }
            Name::Infer => Order::Infer(InferBegin {
                cameras: config.cameras.clone(),
                model: config.model.clone(),
                reading: config.reading,
                grid,
                last_slot,
            }),
            Name::Publish => Order::Publish(Box::new(PublishBegin {
                box_name: config.box_name.clone(),
                cameras: config.cameras.iter().map(|camera| (camera.id, camera.name.clone())).collect(),
                mqtt: config.mqtt.clone(),
                secrets: MqttSecrets {
                    password: self.mqtt.password.clone(),
                    ca_pem: self.mqtt.ca_pem.clone(),
                    client: self.mqtt.client.clone(),
                },
                outbox: config.outbox.clone(),
                boot,
                model_name: self.model.name.clone(),
                min_group: config.reading.min_group,
                hop_ms: u32::try_from(config.reading.hop.as_ms()).unwrap_or(u32::MAX),
            })),
        }
    }

    /// The order about one camera: with its password for `ingest`, without it for everybody else.
    #[must_use]
    pub fn camera(&self, room: Name, camera: &Camera) -> CameraOrder {
        let password = self.passwords.get(&camera.name).filter(|_| room == Name::Ingest).cloned();
        CameraOrder { camera: camera.clone(), password }
    }
}

/// Whether one of these microphones is reached through a unix socket: PulseAudio's and PipeWire's are, and so is the
/// default one wherever one of the two runs. ALSA's own devices are files.
#[must_use]
pub fn needs_unix_sockets(cameras: &[Camera]) -> bool {
    cameras.iter().any(|camera| match &camera.sound {
        Sound::Off | Sound::Camera => false,
        Sound::Microphone(name) => {
            let (host, device) = name.split_once(':').unwrap_or(("", name));
            matches!(host, "pulseaudio" | "pulse" | "pipewire")
                || matches!(device, "default" | "pulse" | "pulseaudio" | "pipewire")
        }
    })
}

fn read(key: &str, path: &Path) -> Result<String, Error> {
    let shown = || path.display().to_string();
    let unreadable = |source| Error::Unreadable { key: key.to_owned(), path: shown(), source };
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() || FILE_BYTES_MAX < about.len() {
        return Err(Error::Unfit { key: key.to_owned(), path: shown(), expected: "text, in a regular file" });
    }
    fs::read_to_string(path).map_err(unreadable)
}

fn password(key: &str, path: &Path) -> Result<String, Error> {
    let text = read(key, path)?;
    // Editors end the last line; a password may begin or end with a space.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains(char::is_control) {
        let expected = "one line, the password";
        return Err(Error::Unfit { key: key.to_owned(), path: path.display().to_string(), expected });
    }
    Ok(password.to_owned())
}

fn pem(key: &str, path: &Path) -> Result<String, Error> {
    let text = read(key, path)?;
    if text.contains("-----BEGIN ") {
        return Ok(text);
    }
    Err(Error::Unfit { key: key.to_owned(), path: path.display().to_string(), expected: "PEM (`-----BEGIN …`)" })
}
