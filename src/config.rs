//! The configuration, checked: everything in it can be acted on without a further check.
//!
//! [`mod@file`] reads it from files and environment, and finds all faults at once.

pub(crate) mod file;
pub(crate) mod schedule;

use std::{fmt, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use self::file::value::{
    Decimal, DiscoveryPrefix, Distribution, OnByDefault, SiteContext, Text, TopicPrefix,
};
pub use self::file::{
    keys::Mqtt,
    value::{Host, Integer},
};
pub(crate) use self::file::{
    keys::{Gates, Model, Reading, Site},
    value::{FilePath, NetworkFile, Providers, SecretFile},
};
use self::schedule::Schedule;
use crate::{mask::Polygon, time::Span};

/// The least of the three shares of [`Reading::prior`]: what is thought impossible could never be seen.
pub(crate) const SHARE_MIN: f64 = 0.02;

/// Which camera: its index in the configuration that the parent read. The same number in every process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CameraId(pub u16);

/// A box: its cameras, its network, its broker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The box's name in the topics: `[a-z0-9_-]`, 1 to 32 characters; the host's name by default.
    pub box_name: String,
    /// Where one instance keeps its outbox and its lock.
    pub state_dir: PathBuf,
    /// Where it is used.
    pub site: Site,
    /// At least one.
    pub cameras: Vec<Camera>,
    /// The network.
    pub model: Model,
    /// When a reading is given.
    pub reading: Reading,
    /// The broker.
    pub mqtt: Mqtt,
    /// Readings that wait for the broker.
    pub outbox: Outbox,
    /// The status page.
    pub page: Page,
    /// While this file exists, all cameras are paused.
    pub pause_file: PathBuf,
}

/// One camera and the sound that belongs to its picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Its number in every process.
    pub id: CameraId,
    /// Its name in the topics: `[a-z0-9_-]`, 1 to 32 characters, unique in the box.
    pub name: String,
    /// Where pictures come from.
    pub source: Source,
    /// Which access units are decoded.
    pub decode: Decode,
    /// The GStreamer element that decodes; `None` chooses hardware where present.
    pub decoder: Option<String>,
    /// Where sound comes from.
    pub sound: Sound,
    /// How much later the sound of an event arrives than its picture, -2 s to 2 s; subtracted from the sound.
    pub sync_offset: Span,
    /// When the picture is not good enough.
    pub gates: Gates,
    /// Parts of the picture that are never analysed; at most 16.
    pub masks: Vec<Polygon>,
    /// When it is watched. Only the parent needs to know: it pauses the camera at all other times.
    #[serde(skip)]
    pub schedule: Schedule,
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// A network camera.
    Rtsp(Rtsp),
    /// A recording, played in real time in a loop, for trials.
    File(PathBuf),
    /// A camera at this machine, such as `/dev/video0`.
    V4l2(PathBuf),
}

/// A network camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtsp {
    /// `rtsp://` or `rtsps://`, without user or password.
    pub url: String,
    /// The user, if the camera wants one.
    pub user: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// How RTP travels.
    pub transport: Transport,
    /// How long the jitter buffer waits for a late packet: 0 to 5000 ms.
    pub latency_ms: u32,
    /// `rtsps` only: the SHA-256 of the camera's certificate. Pinned: no other check applies.
    pub fingerprint: Option<[u8; 32]>,
    /// `rtsps` only: the authority that signed the camera's certificate; the system's by default.
    pub ca_file: Option<PathBuf>,
}

/// How RTP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// In datagrams of its own.
    Udp,
}

/// Which access units are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// Key frames where they are near enough to the wanted moments, otherwise the chain up to them.
    #[default]
    Auto,
    /// Key frames only.
    Keyframes,
    /// Everything.
    All,
}

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sound {
    /// There is none.
    Off,
    /// The camera's own.
    Camera,
    /// A microphone at this machine, by name: `pulseaudio:NAME`, `alsa:NAME`, or `default`.
    Microphone(String),
}

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderChoice {
    /// TensorRT.
    TensorRt,
    /// CUDA.
    Cuda,
    /// The CPU.
    Cpu,
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MqttVersion {
    /// 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// 5.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// Readings that wait for the broker. Beyond any of these limits the oldest are deleted first, and counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The database.
    pub file: PathBuf,
    /// At most this many readings: 1 to 10 million.
    pub rows_max: u32,
    /// At most this many bytes on disk.
    pub bytes_max: u64,
    /// At most this age, s.
    pub age_max_s: u32,
}

/// Who may read the status page, its metrics and its health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// Nobody: nothing listens.
    #[default]
    Off,
    /// Everybody at this machine, without a token.
    Loopback(SocketAddr),
    /// Any client with the token, from anywhere that the address can be reached from.
    Guarded {
        /// Where it listens.
        address: SocketAddr,
        /// The file that holds the token.
        token_file: PathBuf,
    },
}

impl Page {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Loopback(address) | Self::Guarded { address, .. } => Some(*address),
        }
    }
}

/// A password or a key. It is never shown: not by `Debug`, not in an error.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Shows it, to the one library that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The contents of the files that [`Mqtt`] names, read by the parent.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct MqttSecrets {
    /// The user's password.
    pub password: Option<Secret>,
    /// The authority that signed the broker's certificate, PEM; the system's where absent.
    pub ca_pem: Option<String>,
    /// Our certificate and its key, PEM.
    pub client: Option<(String, Secret)>,
}
