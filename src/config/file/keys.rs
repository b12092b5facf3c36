//! Every section and every key: one field each, whose type says what the key may be and what it is when absent, and
//! whose comment is its documentation. `configs/full.toml`, `docs/configure.md` and the manual page are written from
//! here.
//!
//! `x-synonyms` are other words that people write for a key, `x-absent` says what a key without a value means where
//! that is not "none", and `x-required` that it must be given: its default is empty, and never used.

use std::{env, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{
    Decimal, Device, DiscoveryPrefix, Distribution, Element, FilePath, Fingerprint, Frames, Host, Hours, Integer,
    Levels, Listen, Masks, Mebibytes, Milliseconds, Name, NetworkFile, OnByDefault, Packets, People, Providers, Pure,
    Readings, Seconds, SecretFile, SiteContext, Text, Threads, TopicPrefix, Url, User,
};
use crate::config::{Decode, MqttVersion, Transport, schedule::Schedule};

/// The broker's port without and with TLS.
const PORTS: [u16; 2] = [1883, 8883];

/// The sections of the one camera that a file is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CameraSections {
    pub(crate) camera: CameraKeys,
    pub(crate) sound: SoundKeys,
    pub(crate) sync: SyncKeys,
    pub(crate) gates: Gates,
}

/// The sections of the box: in any one file, or the same in several.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BoxSections {
    #[serde(rename = "box")]
    pub(crate) this_box: BoxKeys,
    pub(crate) site: Site,
    pub(crate) model: Model,
    pub(crate) reading: Reading,
    pub(crate) mqtt: Mqtt,
    pub(crate) outbox: OutboxKeys,
    pub(crate) page: PageKeys,
    pub(crate) privacy: PrivacyKeys,
}

/// The file's camera.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CameraKeys {
    /// The camera's name in the topics, unique in the box.
    #[schemars(example = &"hall", extend("x-synonyms" = ["id", "label"],
        "x-absent" = "the file's name in lower case, with - for other characters"))]
    pub(crate) name: Option<Name>,
    /// Where the pictures come from: rtsp://HOST/…, rtsps://HOST/… (encrypted), file:PATH (a recording, played in a
    /// loop, for trials) or v4l2:/dev/video0 (a camera at this machine).
    #[schemars(example = &"rtsp://192.168.1.64:554/stream1", extend("x-required" = true,
        "x-synonyms" = ["uri", "rtsp", "rtsp_url", "address", "source", "stream"]))]
    pub(crate) url: Option<Url>,
    /// rtsp and rtsps: the user at the camera.
    #[schemars(example = &"viewer", extend("x-synonyms" = ["username", "login"]))]
    pub(crate) user: Option<User>,
    /// rtsp and rtsps: the file that holds the user's password, and nothing else.
    #[schemars(example = &"hall.password")]
    pub(crate) password_file: Option<SecretFile>,
    /// rtsp and rtsps: the transport of the media. TCP loses nothing; use UDP only where TCP stalls.
    #[schemars(extend("x-synonyms" = ["protocol", "rtsp_transport"]))]
    pub(crate) transport: Transport,
    /// rtsp and rtsps: how long the jitter buffer waits for a late packet.
    #[schemars(extend("x-synonyms" = ["buffer_ms", "jitter_ms", "jitterbuffer_ms"]))]
    pub(crate) latency_ms: Integer<Milliseconds, 0, 5000, 200>,
    /// rtsps: the SHA-256 of the camera's certificate. This certificate alone is then accepted, without any other
    /// check: most cameras sign their own.
    #[schemars(example = &"sha256:<64 hexadecimal digits>")]
    pub(crate) tls_fingerprint: Option<Fingerprint>,
    /// rtsps: the authority that signed the camera's certificate, PEM. Not together with tls_fingerprint.
    #[schemars(example = &"camera-ca.pem", extend("x-absent" = "the system's authorities"))]
    pub(crate) tls_ca_file: Option<FilePath>,
    /// Which frames are decoded: "auto" those that the network uses and those they depend on, "keyframes" key frames
    /// only, "all" every frame (slow).
    pub(crate) decode: Decode,
    /// The GStreamer element that decodes.
    #[schemars(example = &"avdec_h264", extend("x-absent" = "hardware where there is one, else software"))]
    pub(crate) decoder: Option<Element>,
    /// Parts of the picture that are never analysed: polygons, each a list of points [x, y] in fractions of the width
    /// and height of the picture as it is sent, from the top left, to four digits. They are painted over before
    /// anything is computed. All masks of a box have at most 2048 points together.
    #[schemars(extend("x-synonyms" = ["mask", "privacy_mask", "privacy_masks", "zones"]))]
    pub(crate) masks: Masks,
    /// When the camera is watched, in this machine's local time: a day or days (none means every day), from and until.
    /// An entry that ends before it begins ends on the next day. At all other times the camera is paused: it is not
    /// connected to, and its microphone is closed.
    #[schemars(example = ["Mon-Fri 08:00-18:00", "Sat 22:00-02:00"],
        extend("x-absent" = "always", "x-synonyms" = ["hours", "times", "opening_hours", "active"]))]
    pub(crate) schedule: Option<Schedule>,
}

/// The sound that belongs to the camera's picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SoundKeys {
    /// Where the sound comes from: the camera, a microphone at this machine, or nowhere.
    #[schemars(extend("x-synonyms" = ["input", "from"]))]
    pub(crate) source: SoundSource,
    /// The microphone, by name. Another one is never used instead.
    #[schemars(example = &"alsa:plughw:CARD=Mic,DEV=0",
        extend("x-absent" = "none; must be given for a microphone", "x-synonyms" = ["microphone", "mic"]))]
    pub(crate) device: Option<Device>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SoundSource {
    Camera,
    Microphone,
    #[default]
    None,
}

/// How sound and picture are aligned in time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SyncKeys {
    /// How much later the sound of an event arrives than its picture; negative where it arrives earlier.
    #[schemars(extend("x-synonyms" = ["delay_ms"]))]
    pub(crate) offset_ms: Integer<Milliseconds, -2000, 2000, 0>,
}

/// When a window is not good enough to be read. Its reading is then "withheld", with the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// A frame farther than this from its wanted moment counts as missing.
    pub frame_offset_max_ms: Integer<Milliseconds, 50, 2000, 600>,
    /// How many frames of a window may be missing (each is replaced by its neighbour); fewer than the network uses.
    pub frames_missing_max: Integer<Frames, 0, 7, 1>,
    /// A window with more lost RTP packets than this counts as damaged.
    pub packets_lost_max: Integer<Packets, 0, 100_000, 20>,
    /// A window whose mean brightness is below this counts as dark. --dry-run can fit it.
    pub luma_min: Decimal<Levels, 0, 255_000, 12_000>,
    /// A window whose frames differ by less than this, per pixel on average, counts as frozen; 0 switches this off.
    /// --dry-run can fit it.
    pub motion_min: Decimal<Levels, 0, 255_000, 50>,
    /// A window with less than this share of its sound, in percent, counts as one without sound.
    pub sound_min_percent: Integer<Pure, 50, 100, 90>,
}

/// This machine. All sections from here on belong to the box.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BoxKeys {
    /// The box's name in the topics.
    #[schemars(example = &"box-1", extend("x-absent" = "the host's name", "x-synonyms" = ["id", "hostname"]))]
    pub(crate) name: Option<Name>,
    /// The folder of the box's outbox and lock. Only one daemon at a time can use it.
    #[schemars(example = &"/var/lib/edge-ger", extend("x-synonyms" = ["state", "data_dir", "state_directory"],
        "x-absent" = "$STATE_DIRECTORY (systemd), else /var/lib/edge-ger for root, else ~/.local/state/edge-ger"))]
    pub(crate) state_dir: Option<FilePath>,
}

/// Where the box is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Site {
    /// What kind of place it is. Workplaces and places of education are not allowed: the EU AI Act, Art. 5(1)(f), bans
    /// inferring emotions there.
    #[schemars(example = &"event", extend("x-required" = true, "x-synonyms" = ["place", "purpose"]))]
    pub context: SiteContext,
    /// Where people are informed that edge-ger is in use.
    #[schemars(example = &"sign at the entrance",
        extend("x-required" = true, "x-synonyms" = ["sign", "information"]))]
    pub notice: Text,
}

/// The network and how it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The network: an .onnx with its contract.
    #[schemars(extend("x-synonyms" = ["path", "model", "onnx"]))]
    pub file: NetworkFile,
    /// ONNX Runtime's library.
    #[schemars(example = &"/usr/lib/libonnxruntime.so", extend("x-synonyms" = ["library", "onnxruntime", "runtime"],
        "x-absent" = "beside the binary, $ORT_DYLIB_PATH, where packages put it"))]
    pub runtime_library: Option<FilePath>,
    /// What runs the network, in order of preference: the next is tried only if the one before fails. "cpu" can only be
    /// the last.
    #[schemars(extend("x-synonyms" = ["provider", "execution_providers", "device"]))]
    pub providers: Providers,
    /// Threads of the "cpu" provider; 0 means one for each core.
    pub threads: Integer<Threads, 0, 256, 0>,
    /// Where TensorRT keeps the engines that it builds.
    #[schemars(example = &"/var/cache/edge-ger",
        extend("x-absent" = "$CACHE_DIRECTORY (systemd), else engines in state_dir"))]
    pub cache_dir: Option<FilePath>,
}

/// When a reading is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reading {
    /// From the end of one window to the end of the next. A window is 5 seconds long; with a shorter hop they overlap.
    #[schemars(extend("x-synonyms" = ["interval_s", "period_s", "every_s"]))]
    pub hop_s: Decimal<Seconds, 1000, 5000, 5000>,
    /// A smaller group gets no reading: the mood of a group of one is a person's. Only where the network estimates the
    /// size.
    #[schemars(extend("x-synonyms" = ["group_min", "min_people"]))]
    pub min_group: Integer<People, 2, 100, 5>,
    /// Below this probability there is no label. --dry-run can fit it.
    #[schemars(extend("x-synonyms" = ["confidence_min", "confidence", "threshold"]))]
    pub min_confidence: Decimal<Pure, 340, 990, 500>,
    /// By how much a new label's probability must exceed the present label's.
    pub hysteresis: Decimal<Pure, 0, 500, 50>,
    /// Whether the network's transition matrix smooths over readings.
    pub smoothing: OnByDefault,
    /// How often the mood here is positive, neutral and negative, in this order, if not as often as in the network's
    /// training: its answers are corrected for the difference. --dry-run can fit it.
    #[schemars(example = [0.2, 0.7, 0.1], extend("x-absent" = "as in the network's training",
        "x-synonyms" = ["priors", "base_rate", "base_rates", "class_prior"]))]
    pub prior: Option<Distribution>,
}

/// The broker that gets the readings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// The broker's host name or address.
    #[schemars(example = &"192.168.1.20", extend("x-required" = true,
        "x-synonyms" = ["url", "uri", "broker", "server", "address", "hostname"]))]
    pub host: Host,
    /// The broker's port.
    #[schemars(example = 8883, extend("x-absent" = "1883, or 8883 with tls"))]
    pub port: Option<Integer<Pure, 1, 65_535, 1883>>,
    /// The user at the broker.
    #[schemars(example = &"edge-ger", extend("x-synonyms" = ["username", "login"]))]
    pub user: Option<Text>,
    /// The file that holds the user's password, and nothing else.
    #[schemars(example = &"mqtt.password")]
    pub password_file: Option<SecretFile>,
    /// The protocol's version.
    #[schemars(extend("x-synonyms" = ["protocol"]))]
    pub version: MqttVersion,
    /// Whether the connection is encrypted. The broker's certificate is then always checked.
    #[schemars(extend("x-synonyms" = ["ssl", "encryption"]))]
    pub tls: bool,
    /// tls: the authority that signed the broker's certificate, PEM.
    #[schemars(example = &"broker-ca.pem",
        extend("x-absent" = "the system's authorities", "x-synonyms" = ["ca_file", "ca", "cafile"]))]
    pub tls_ca_file: Option<FilePath>,
    /// tls: this box's certificate, PEM. Together with tls_key_file.
    #[schemars(example = &"box.pem",
        extend("x-synonyms" = ["certificate_file", "cert_file", "certfile", "tls_cert_file"]))]
    pub tls_certificate_file: Option<FilePath>,
    /// tls: the key to this box's certificate, PEM.
    #[schemars(example = &"box.key", extend("x-synonyms" = ["key_file", "keyfile"]))]
    pub tls_key_file: Option<SecretFile>,
    /// The first level, or levels, of all topics.
    #[schemars(extend("x-synonyms" = ["prefix", "topic", "base_topic"]))]
    pub topic_prefix: TopicPrefix,
    /// The keep-alive interval of the connection.
    #[schemars(extend("x-synonyms" = ["keepalive", "keepalive_s"]))]
    pub keep_alive_s: Integer<Seconds, 5, 600, 30>,
    /// MQTT 5: how long the broker keeps a reading for a subscriber that is away, counted from its arrival at the
    /// broker; 0 means for ever.
    #[schemars(extend("x-synonyms" = ["expiry", "expiry_s", "message_expiry", "message_expiry_interval", "ttl"]))]
    pub expiry_h: Integer<Hours, 0, 8760, 168>,
    /// Whether Home Assistant discovers each camera as a device. Setting it back to false removes the devices.
    #[schemars(extend("x-synonyms" = ["home_assistant", "homeassistant", "hass", "ha_discovery", "auto_discovery"]))]
    pub discovery: bool,
    /// discovery: the first level, or levels, of the topics that Home Assistant listens to.
    #[schemars(extend("x-synonyms" = ["ha_prefix", "home_assistant_prefix", "homeassistant_prefix", "discovery_topic"]))]
    pub discovery_prefix: DiscoveryPrefix,
}

impl Model {
    /// Where TensorRT keeps its engines: where no configuration was read, in the system's folder for temporary files.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.cache_dir.as_ref().map_or_else(env::temp_dir, |folder| folder.0.clone())
    }
}

impl Mqtt {
    /// The broker's port: 1883, or 8883 with TLS, by default.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.map_or(PORTS[usize::from(self.tls)], Integer::get)
    }
}

/// Readings that wait for the broker. Beyond any of these limits the oldest are deleted first, and counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboxKeys {
    /// The database that keeps them.
    #[schemars(example = &"/var/lib/edge-ger/outbox.sqlite",
        extend("x-absent" = "outbox.sqlite in state_dir", "x-synonyms" = ["path", "database"]))]
    pub(crate) file: Option<FilePath>,
    /// At most this many readings. A camera makes 17 280 a day.
    #[schemars(extend("x-synonyms" = ["max_rows", "count_max"]))]
    pub(crate) rows_max: Integer<Readings, 1, 10_000_000, 500_000>,
    /// At most this much disk space.
    #[schemars(extend("x-synonyms" =
        ["bytes_max", "size_max", "max_bytes", "max_mib", "mb_max", "kib_max", "gib_max"]))]
    pub(crate) mib_max: Integer<Mebibytes, 1, 65_536, 256>,
    /// At most this age.
    #[schemars(extend("x-synonyms" = ["age_max_s", "age_max_d", "max_age", "max_age_h"]))]
    pub(crate) age_max_h: Integer<Hours, 1, 8760, 168>,
}

/// The status page for browsers, with /metrics for Prometheus and /healthz for a monitor.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PageKeys {
    /// Where the page listens. "loopback" (127.0.0.1) is for this machine, and for others through ssh -L
    /// 8417:127.0.0.1:8417; any address that is not loopback needs token_file.
    #[schemars(extend("x-synonyms" = ["listen", "host", "bind", "ip", "enabled"]))]
    pub(crate) address: Listen,
    /// The page's port.
    pub(crate) port: Integer<Pure, 1, 65_535, 8417>,
    /// The file that holds the token, at least 16 letters, digits or signs, and nothing else: openssl rand -hex 32. A
    /// browser asks for it as the password, with any user; Prometheus sends it as a bearer token.
    #[schemars(example = &"page.token", extend("x-synonyms" = ["token", "secret", "password_file", "key_file"],
        "x-absent" = "none; must be given for an address that is not loopback"))]
    pub(crate) token_file: Option<SecretFile>,
}

/// When all cameras and microphones are off. See also camera.masks and camera.schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PrivacyKeys {
    /// While this file exists, no camera is connected to and no microphone is open. edge-ger pause creates it, edge-ger
    /// resume removes it. It is empty, or holds the moment at which the pause ends, such as 2026-11-21T18:30:00+01:00.
    /// A file that cannot be read or understood pauses, too.
    #[schemars(example = &"/run/edge-ger/paused", extend("x-absent" = "paused in state_dir",
        "x-synonyms" = ["file", "pause", "paused", "paused_file"]))]
    pub(crate) pause_file: Option<FilePath>,
}
