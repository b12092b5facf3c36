//! Every section and every key: one field each, whose type says what the key may be and what it is when absent, and whose
//! comment is its documentation. `configs/full.toml`, `docs/configure.md` and the manual page are written from here.
//!
//! `x-synonyms` are other words that people write for a key, `x-absent` says what a key without a value means where that
//! is not "none", and `x-required` that it must be given.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{
    Context, Decimal, Device, DiscoveryPrefix, Distribution, Element, FilePath, Fingerprint, Frames, Host, Hours,
    Integer, Levels, Listen, Masks, Mebibytes, Milliseconds, ModelFile, Name, Packets, People, Providers, Pure,
    Readings, Seconds, SecretFile, Switch, Text, Threads, TopicPrefix, Url, User,
};
use crate::config::{Decode, MqttVersion, Transport, schedule::Schedule};

/// The sections of the one camera that a file is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CameraKeys {
    pub(super) camera: Camera,
    pub(super) sound: Sound,
    pub(super) sync: Sync,
    pub(super) gates: Gates,
}

/// The sections of the box: in any one file, or the same in several.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BoxKeys {
    #[serde(rename = "box")]
    pub(super) this_box: ThisBox,
    pub(super) site: Site,
    pub(super) model: Model,
    pub(super) reading: Reading,
    pub(super) mqtt: Mqtt,
    pub(super) outbox: Outbox,
    pub(super) page: Page,
    pub(super) privacy: Privacy,
}

/// The file's camera.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Camera {
    /// The camera's name in the topics, unique in the box.
    #[schemars(example = &"hall", extend("x-synonyms" = ["id", "label"],
        "x-absent" = "the file's, in small letters, with - for what does not fit"))]
    pub(super) name: Option<Name>,
    /// Where pictures come from: rtsp://HOST/…, rtsps://HOST/… (encrypted), file:PATH (a recording, over and over, to try
    /// things) or v4l2:/dev/video0 (a camera at this machine).
    #[schemars(example = &"rtsp://192.168.1.64:554/stream1", extend("x-required" = true,
        "x-synonyms" = ["uri", "rtsp", "rtsp_url", "address", "source", "stream"]))]
    pub(super) url: Option<Url>,
    /// rtsp and rtsps: the user at the camera.
    #[schemars(example = &"viewer", extend("x-synonyms" = ["username", "login"]))]
    pub(super) user: Option<User>,
    /// rtsp and rtsps: the file that holds the user's password, and nothing else.
    #[schemars(example = &"hall.password")]
    pub(super) password_file: Option<SecretFile>,
    /// rtsp and rtsps: how the media travels. TCP arrives whole; UDP only where TCP stalls.
    #[schemars(extend("x-synonyms" = ["protocol", "rtsp_transport"]))]
    pub(super) transport: Transport,
    /// rtsp and rtsps: how long the jitter buffer waits for a late packet.
    #[schemars(extend("x-synonyms" = ["buffer_ms", "jitter_ms", "jitterbuffer_ms"]))]
    pub(super) latency_ms: Integer<Milliseconds, 0, 5000, 200>,
    /// rtsps: the SHA-256 of the camera's certificate, which is then the only one accepted and is not checked otherwise.
    /// Cameras sign their own.
    #[schemars(example = &"sha256:<64 hexadecimal digits>")]
    pub(super) tls_fingerprint: Option<Fingerprint>,
    /// rtsps: the authority that signed the camera's certificate, PEM. Not together with tls_fingerprint.
    #[schemars(example = &"camera-ca.pem", extend("x-absent" = "the system's authorities"))]
    pub(super) tls_ca_file: Option<FilePath>,
    /// Which frames are decoded: "auto" those that the network will see and what they need, "keyframes" key frames only,
    /// "all" everything (slow).
    pub(super) decode: Decode,
    /// The GStreamer element that decodes.
    #[schemars(example = &"avdec_h264", extend("x-absent" = "hardware where there is one, else software"))]
    pub(super) decoder: Option<Element>,
    /// What of the picture is not looked at: polygons, each a list of points [x, y], in fractions of the width and height
    /// of the picture as it is sent, from the top left, to four digits. They are painted over before anything is computed.
    /// The box's masks have at most 2048 points together.
    #[schemars(extend("x-synonyms" = ["mask", "privacy_mask", "privacy_masks", "zones"]))]
    pub(super) masks: Masks,
    /// When it is watched, in this machine's time: a day or days (none means every day), from and until. What ends before
    /// it begins ends on the next day. At all other times the camera is paused: it is not connected to, and its
    /// microphone is closed.
    #[schemars(example = ["Mon-Fri 08:00-18:00", "Sat 22:00-02:00"],
        extend("x-absent" = "always", "x-synonyms" = ["hours", "times", "opening_hours", "active"]))]
    pub(super) schedule: Option<Schedule>,
}

/// The sound that belongs to the camera's picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sound {
    /// Whose sound: the camera's own, a microphone's at this machine, or nobody's.
    #[schemars(extend("x-synonyms" = ["input", "from"]))]
    pub(super) source: SoundSource,
    /// The microphone, by name. Another one is never taken in its place.
    #[schemars(example = &"alsa:plughw:CARD=Mic,DEV=0",
        extend("x-absent" = "none; must be given for a microphone", "x-synonyms" = ["microphone", "mic"]))]
    pub(super) device: Option<Device>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SoundSource {
    Camera,
    Microphone,
    #[default]
    None,
}

/// Sound against picture.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sync {
    /// How much later the sound of an event arrives than its picture. Negative where it arrives earlier.
    #[schemars(extend("x-synonyms" = ["delay_ms"]))]
    pub(super) offset_ms: Integer<Milliseconds, -2000, 2000, 0>,
}

/// When a window of the picture is not good enough to be read. Its reading is then "withheld", with the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// A frame farther than this from its wanted moment is missing.
    pub frame_offset_max_ms: Integer<Milliseconds, 50, 2000, 600>,
    /// How many frames of a window may be missing (each is replaced by its neighbour). Fewer than the network sees.
    pub frames_missing_max: Integer<Frames, 0, 7, 1>,
    /// More lost RTP packets than this in a window are damage.
    pub packets_lost_max: Integer<Packets, 0, 100_000, 20>,
    /// A window whose mean brightness is below this is dark. --dry-run can fit it.
    pub luma_min: Decimal<Levels, 0, 255_000, 12_000>,
    /// A window whose frames differ by less than this, per pixel on average, is frozen. 0 switches off. --dry-run can fit
    /// it.
    pub motion_min: Decimal<Levels, 0, 255_000, 50>,
}

/// This machine. From here on, everything is the box's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ThisBox {
    /// The box's name in the topics.
    #[schemars(example = &"box-1", extend("x-absent" = "the host's name", "x-synonyms" = ["id", "hostname"]))]
    pub(super) name: Option<Name>,
    /// Where the box keeps its outbox and its lock: one running daemon each.
    #[schemars(example = &"/var/lib/edge-ger", extend("x-synonyms" = ["state", "data_dir", "state_directory"],
        "x-absent" = "$STATE_DIRECTORY (systemd), else /var/lib/edge-ger for root, else ~/.local/state/edge-ger"))]
    pub(super) state_dir: Option<FilePath>,
}

/// Where the box is used.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Site {
    /// What the place is. Workplaces and education are no choice: the EU AI Act, Art. 5(1)(f), bans inferring emotions
    /// there.
    #[schemars(example = &"event", extend("x-required" = true, "x-synonyms" = ["place", "purpose"]))]
    pub(super) context: Option<Context>,
    /// Where people are told.
    #[schemars(example = &"sign at the entrance",
        extend("x-required" = true, "x-synonyms" = ["sign", "information"]))]
    pub(super) notice: Option<Text>,
}

/// The network and how it is run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Model {
    /// The network: an .onnx with its contract.
    #[schemars(extend("x-synonyms" = ["path", "model", "onnx"]))]
    pub(super) file: ModelFile,
    /// ONNX Runtime's library.
    #[schemars(example = &"/usr/lib/libonnxruntime.so", extend("x-synonyms" = ["library", "onnxruntime", "runtime"],
        "x-absent" = "beside the binary, $ORT_DYLIB_PATH, where packages put it"))]
    pub(super) runtime_library: Option<FilePath>,
    /// What runs it, in this order: the next is tried only if the one before fails. "cpu" can only be the last.
    #[schemars(extend("x-synonyms" = ["provider", "execution_providers", "device"]))]
    pub(super) providers: Providers,
    /// Threads of the CPU; 0 is as many as there are cores.
    pub(super) threads: Integer<Threads, 0, 256, 0>,
    /// Where TensorRT keeps the engines that it builds.
    #[schemars(example = &"/var/cache/edge-ger",
        extend("x-absent" = "$CACHE_DIRECTORY (systemd), else engines in state_dir"))]
    pub(super) cache_dir: Option<FilePath>,
}

/// When a reading is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reading {
    /// From the end of one window to the end of the next. A window is 5 seconds long; with a shorter hop they overlap.
    #[schemars(extend("x-synonyms" = ["interval_s", "period_s", "every_s"]))]
    pub(super) hop_s: Decimal<Seconds, 1000, 5000, 5000>,
    /// A smaller group is not read: the mood of a group of one is a person's. Only where the network estimates it.
    #[schemars(extend("x-synonyms" = ["group_min", "min_people"]))]
    pub(super) min_group: Integer<People, 2, 100, 5>,
    /// Below this probability there is no label. --dry-run can fit it.
    #[schemars(extend("x-synonyms" = ["confidence_min", "confidence", "threshold"]))]
    pub(super) min_confidence: Decimal<Pure, 340, 990, 500>,
    /// How much a new label's probability must exceed the present label's.
    pub(super) hysteresis: Decimal<Pure, 0, 500, 50>,
    /// Whether the network's transition matrix smooths over readings.
    pub(super) smoothing: Switch<true>,
    /// How often this place is positive, neutral and negative, in this order, where that is not as in the network's
    /// training: its answers are corrected for the difference. --dry-run can fit it.
    #[schemars(example = [0.2, 0.7, 0.1], extend("x-absent" = "as in the network's training",
        "x-synonyms" = ["priors", "base_rate", "base_rates", "class_prior"]))]
    pub(super) prior: Option<Distribution>,
}

/// The broker that gets the readings.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mqtt {
    /// The broker's host name or address.
    #[schemars(example = &"192.168.1.20", extend("x-required" = true,
        "x-synonyms" = ["url", "uri", "broker", "server", "address", "hostname"]))]
    pub(super) host: Option<Host>,
    /// The broker's port.
    #[schemars(example = 8883, extend("x-absent" = "1883, or 8883 with tls"))]
    pub(super) port: Option<Integer<Pure, 1, 65_535, 1883>>,
    /// The user at the broker.
    #[schemars(example = &"edge-ger", extend("x-synonyms" = ["username", "login"]))]
    pub(super) user: Option<Text>,
    /// The file that holds the user's password, and nothing else.
    #[schemars(example = &"mqtt.password")]
    pub(super) password_file: Option<SecretFile>,
    /// The protocol's version.
    #[schemars(extend("x-synonyms" = ["protocol"]))]
    pub(super) version: MqttVersion,
    /// Whether the connection is encrypted. The broker's certificate is then always checked.
    #[schemars(extend("x-synonyms" = ["ssl", "encryption"]))]
    pub(super) tls: Switch<false>,
    /// tls: the authority that signed the broker's certificate, PEM.
    #[schemars(example = &"broker-ca.pem",
        extend("x-absent" = "the system's authorities", "x-synonyms" = ["ca_file", "ca", "cafile"]))]
    pub(super) tls_ca_file: Option<FilePath>,
    /// tls: this box's certificate, PEM. Together with tls_key_file.
    #[schemars(example = &"box.pem",
        extend("x-synonyms" = ["certificate_file", "cert_file", "certfile", "tls_cert_file"]))]
    pub(super) tls_certificate_file: Option<FilePath>,
    /// tls: the key to this box's certificate, PEM.
    #[schemars(example = &"box.key", extend("x-synonyms" = ["key_file", "keyfile"]))]
    pub(super) tls_key_file: Option<SecretFile>,
    /// The first level, or levels, of all topics.
    #[schemars(extend("x-synonyms" = ["prefix", "topic", "base_topic"]))]
    pub(super) topic_prefix: TopicPrefix,
    /// From one sign of life to the next.
    #[schemars(extend("x-synonyms" = ["keepalive", "keepalive_s"]))]
    pub(super) keep_alive_s: Integer<Seconds, 5, 600, 30>,
    /// MQTT 5: for how long the broker keeps a reading for a subscriber that is away, from when the broker got it; 0 is
    /// for ever.
    #[schemars(extend("x-synonyms" = ["expiry", "expiry_s", "message_expiry", "message_expiry_interval", "ttl"]))]
    pub(super) expiry_h: Integer<Hours, 0, 8760, 168>,
    /// Whether Home Assistant shows each camera as a device by itself. What it was told is taken back when this is false
    /// again.
    #[schemars(extend("x-synonyms" = ["home_assistant", "homeassistant", "hass", "ha_discovery", "auto_discovery"]))]
    pub(super) discovery: Switch<false>,
    /// discovery: the first level, or levels, of the topics that Home Assistant listens to.
    #[schemars(extend("x-synonyms" = ["ha_prefix", "home_assistant_prefix", "homeassistant_prefix", "discovery_topic"]))]
    pub(super) discovery_prefix: DiscoveryPrefix,
}

/// Readings that wait for the broker. Whatever is over a bound, the oldest goes first, and is counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Outbox {
    /// The database that keeps them.
    #[schemars(example = &"/var/lib/edge-ger/outbox.sqlite",
        extend("x-absent" = "outbox.sqlite in state_dir", "x-synonyms" = ["path", "database"]))]
    pub(super) file: Option<FilePath>,
    /// At most so many. A camera makes 17 280 a day.
    #[schemars(extend("x-synonyms" = ["max_rows", "count_max"]))]
    pub(super) rows_max: Integer<Readings, 1, 10_000_000, 500_000>,
    /// At most so much on disk.
    #[schemars(extend("x-synonyms" =
        ["bytes_max", "size_max", "max_bytes", "max_mib", "mb_max", "kib_max", "gib_max"]))]
    pub(super) mib_max: Integer<Mebibytes, 1, 65_536, 256>,
    /// At most so old.
    #[schemars(extend("x-synonyms" = ["age_max_s", "age_max_d", "max_age", "max_age_h"]))]
    pub(super) age_max_h: Integer<Hours, 1, 8760, 168>,
}

/// The status page for browsers, with /metrics for Prometheus and /healthz for a monitor.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    /// Where it listens. "loopback" (127.0.0.1) is for this machine, and for others through ssh -L
    /// 8417:127.0.0.1:8417; any address that is not loopback needs token_file.
    #[schemars(extend("x-synonyms" = ["listen", "host", "bind", "ip", "enabled"]))]
    pub(super) address: Listen,
    /// Its port.
    pub(super) port: Integer<Pure, 1, 65_535, 8417>,
    /// The file that holds the token, at least 16 letters, digits or signs, and nothing else: openssl rand -hex 32. A
    /// browser asks for it as the password, with any user; Prometheus sends it as a bearer token.
    #[schemars(example = &"page.token", extend("x-synonyms" = ["token", "secret", "password_file", "key_file"],
        "x-absent" = "none; must be given for an address that is not loopback"))]
    pub(super) token_file: Option<SecretFile>,
}

/// When nothing is watched or listened to. See also camera.masks and camera.schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Privacy {
    /// While this file is there, no camera is connected to and no microphone is open. edge-ger pause makes it, edge-ger
    /// resume removes it. It is empty, or holds the moment at which the pause ends, such as 2026-11-21T18:30:00+01:00.
    /// One that cannot be read or understood pauses, too.
    #[schemars(example = &"/run/edge-ger/paused", extend("x-absent" = "paused in state_dir",
        "x-synonyms" = ["file", "pause", "paused", "paused_file"]))]
    pub(super) pause_file: Option<FilePath>,
}
