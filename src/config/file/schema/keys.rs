//! The table of all sections and keys, in the order in which `configs/full.toml` shows them.

use super::{
    Absent::{Refused, Value, Words},
    Key, Kind, Scope, Section,
};

/// All sections.
pub const SECTIONS: &[Section] = &[
    Section { name: "camera", scope: Scope::Camera, doc: "The file's camera.", keys: CAMERA },
    Section {
        name: "sound",
        scope: Scope::Camera,
        doc: "The sound that belongs to the camera's picture.",
        keys: SOUND,
    },
    Section { name: "sync", scope: Scope::Camera, doc: "Sound against picture.", keys: SYNC },
    Section {
        name: "gates",
        scope: Scope::Camera,
        doc: "When a window of the picture is not good enough to be read. Its reading is then \"withheld\", with the \
              reason.",
        keys: GATES,
    },
    Section { name: "box", scope: Scope::Box, doc: "This machine. From here on, everything is the box's.", keys: BOX },
    Section { name: "site", scope: Scope::Box, doc: "Where the box is used.", keys: SITE },
    Section { name: "model", scope: Scope::Box, doc: "The network and how it is run.", keys: MODEL },
    Section { name: "reading", scope: Scope::Box, doc: "When a reading is given.", keys: READING },
    Section { name: "mqtt", scope: Scope::Box, doc: "The broker that gets the readings.", keys: MQTT },
    Section {
        name: "outbox",
        scope: Scope::Box,
        doc: "Readings that wait for the broker. Whatever is over a bound, the oldest goes first, and is counted.",
        keys: OUTBOX,
    },
    Section {
        name: "page",
        scope: Scope::Box,
        doc: "The status page for browsers, with /metrics for Prometheus and /healthz for a monitor.",
        keys: PAGE,
    },
    Section {
        name: "privacy",
        scope: Scope::Box,
        doc: "When nothing is watched or listened to. See also camera.masks and camera.schedule.",
        keys: PRIVACY,
    },
];

const CAMERA: &[Key] = &[
    Key::new("name", Kind::Name, Words("the file's, in small letters, with - for what does not fit", "\"hall\""), "The camera's name in the topics, unique in the box.")
        .or(&["id", "label"]),
    Key::new("url", Kind::Url, Refused("\"rtsp://192.168.1.64:554/stream1\""),
        "Where pictures come from: rtsp://HOST/…, rtsps://HOST/… (encrypted), file:PATH (a recording, over and over, to \
         try things) or v4l2:/dev/video0 (a camera at this machine).")
        .or(&["uri", "rtsp", "rtsp_url", "address", "source", "stream"]),
    Key::new("user", Kind::User, Words("none", "\"viewer\""), "rtsp and rtsps: the user at the camera.")
        .or(&["username", "login"]),
    Key::new("password_file", Kind::Secret, Words("none", "\"hall.password\""),
        "rtsp and rtsps: the file that holds the user's password, and nothing else."),
    Key::new("transport", Kind::Choice(&["tcp", "udp"]), Value("\"tcp\""),
        "rtsp and rtsps: how the media travels. TCP arrives whole; UDP only where TCP stalls.")
        .or(&["protocol", "rtsp_transport"]),
    Key::new("latency_ms", Kind::Integer { min: 0, max: 5000, unit: "milliseconds" }, Value("200"),
        "rtsp and rtsps: how long the jitter buffer waits for a late packet.")
        .or(&["buffer_ms", "jitter_ms", "jitterbuffer_ms"]),
    Key::new("tls_fingerprint", Kind::Fingerprint, Words("none", "\"sha256:<64 hexadecimal digits>\""),
        "rtsps: the SHA-256 of the camera's certificate, which is then the only one accepted and is not checked \
         otherwise. Cameras sign their own."),
    Key::new("tls_ca_file", Kind::Path, Words("the system's authorities", "\"camera-ca.pem\""),
        "rtsps: the authority that signed the camera's certificate, PEM. Not together with tls_fingerprint."),
    Key::new("decode", Kind::Choice(&["auto", "keyframes", "all"]), Value("\"auto\""),
        "Which frames are decoded: \"auto\" those that the network will see and what they need, \"keyframes\" key \
         frames only, \"all\" everything (slow)."),
    Key::new("decoder", Kind::Element, Words("hardware where there is one, else software", "\"avdec_h264\""),
        "The GStreamer element that decodes."),
    Key::new("masks", Kind::Masks, Value("[]"),
        "What of the picture is not looked at: polygons, each a list of points [x, y], in fractions of the width and \
         height of the picture as it is sent, from the top left, to four digits. They are painted over before anything \
         is computed. The box's masks have at most 2048 points together.")
        .or(&["mask", "privacy_mask", "privacy_masks", "zones"]),
    Key::new("schedule", Kind::Hours, Words("always", "[\"Mon-Fri 08:00-18:00\", \"Sat 22:00-02:00\"]"),
        "When it is watched, in this machine's time: a day or days (none means every day), from and until. What ends \
         before it begins ends on the next day. At all other times the camera is paused: it is not connected to, and \
         its microphone is closed.")
        .or(&["hours", "times", "opening_hours", "active"]),
];

const SOUND: &[Key] = &[
    Key::new(
        "source",
        Kind::Choice(&["camera", "microphone", "none"]),
        Value("\"none\""),
        "Whose sound: the camera's own, a microphone's at this machine, or nobody's.",
    )
    .or(&["input", "from"]),
    Key::new(
        "device",
        Kind::Device,
        Words("none; must be given for a microphone", "\"alsa:plughw:CARD=Mic,DEV=0\""),
        "The microphone, by name. Another one is never taken in its place.",
    )
    .or(&["microphone", "mic"]),
];

const SYNC: &[Key] = &[Key::new(
    "offset_ms",
    Kind::Integer { min: -2000, max: 2000, unit: "milliseconds" },
    Value("0"),
    "How much later the sound of an event arrives than its picture. Negative where it arrives earlier.",
)
.or(&["delay_ms"])];

const GATES: &[Key] = &[
    Key::new(
        "frame_offset_max_ms",
        Kind::Integer { min: 50, max: 2000, unit: "milliseconds" },
        Value("600"),
        "A frame farther than this from its wanted moment is missing.",
    ),
    Key::new(
        "frames_missing_max",
        Kind::Integer { min: 0, max: 7, unit: "frames" },
        Value("1"),
        "How many frames of a window may be missing (each is replaced by its neighbour). Fewer than the network sees.",
    ),
    Key::new(
        "packets_lost_max",
        Kind::Integer { min: 0, max: 100_000, unit: "packets" },
        Value("20"),
        "More lost RTP packets than this in a window are damage.",
    ),
    Key::new(
        "luma_min",
        Kind::Number { min: 0.0, max: 255.0, unit: "levels" },
        Value("12"),
        "A window whose mean brightness is below this is dark. --dry-run can fit it.",
    ),
    Key::new(
        "motion_min",
        Kind::Number { min: 0.0, max: 255.0, unit: "levels" },
        Value("0.05"),
        "A window whose frames differ by less than this, per pixel on average, is frozen. 0 switches off. --dry-run can fit \
         it.",
    ),
];

const BOX: &[Key] = &[
    Key::new("name", Kind::Name, Words("the host's name", "\"box-1\""), "The box's name in the topics.")
        .or(&["id", "hostname"]),
    Key::new(
        "state_dir",
        Kind::Path,
        Words(
            "$STATE_DIRECTORY (systemd), else /var/lib/edge-ger for root, else ~/.local/state/edge-ger",
            "\"/var/lib/edge-ger\"",
        ),
        "Where the box keeps its outbox and its lock: one running daemon each.",
    )
    .or(&["state", "data_dir", "state_directory"]),
];

const SITE: &[Key] = &[
    Key::new(
        "context",
        Kind::Choice(CONTEXTS),
        Refused("\"event\""),
        "What the place is. Workplaces and education are no choice: the EU AI Act, Art. 5(1)(f), bans inferring \
         emotions there.",
    )
    .or(&["place", "purpose"]),
    Key::new("notice", Kind::Text, Refused("\"sign at the entrance\""), "Where people are told.")
        .or(&["sign", "information"]),
];

/// What the place may be.
const CONTEXTS: &[&str] = &["event", "retail", "transport", "public_space", "museum", "care", "research", "demo"];

const MODEL: &[Key] = &[
    Key::new(
        "file",
        Kind::Path,
        Value("\"/usr/share/edge-ger/edge-ger.onnx\""),
        "The network: an .onnx with its contract.",
    )
    .or(&["path", "model", "onnx"]),
    Key::new(
        "runtime_library",
        Kind::Path,
        Words("beside the binary, $ORT_DYLIB_PATH, where packages put it", "\"/usr/lib/libonnxruntime.so\""),
        "ONNX Runtime's library.",
    )
    .or(&["library", "onnxruntime", "runtime"]),
    Key::new(
        "providers",
        Kind::Choices(&["tensorrt", "cuda", "cpu"]),
        Value("[\"cpu\"]"),
        "What runs it, in this order: the next is tried only if the one before fails. \"cpu\" can only be the last.",
    )
    .or(&["provider", "execution_providers", "device"]),
    Key::new(
        "threads",
        Kind::Integer { min: 0, max: 256, unit: "threads" },
        Value("0"),
        "Threads of the CPU; 0 is as many as there are cores.",
    ),
    Key::new(
        "cache_dir",
        Kind::Path,
        Words("$CACHE_DIRECTORY (systemd), else engines in state_dir", "\"/var/cache/edge-ger\""),
        "Where TensorRT keeps the engines that it builds.",
    ),
];

const READING: &[Key] = &[
    Key::new("hop_s", Kind::Number { min: 1.0, max: 5.0, unit: "seconds" }, Value("5"),
        "From the end of one window to the end of the next. A window is 5 seconds long; with a shorter hop they overlap.")
        .or(&["interval_s", "period_s", "every_s"]),
    Key::new("min_group", Kind::Integer { min: 2, max: 100, unit: "people" }, Value("5"),
        "A smaller group is not read: the mood of a group of one is a person's. Only where the network estimates it.")
        .or(&["group_min", "min_people"]),
    Key::new("min_confidence", Kind::Number { min: 0.34, max: 0.99, unit: "" }, Value("0.5"),
        "Below this probability there is no label. --dry-run can fit it.")
        .or(&["confidence_min", "confidence", "threshold"]),
    Key::new("hysteresis", Kind::Number { min: 0.0, max: 0.5, unit: "" }, Value("0.05"),
        "How much a new label's probability must exceed the present label's."),
    Key::new("smoothing", Kind::Switch, Value("true"), "Whether the network's transition matrix smooths over readings."),
    Key::new("prior", Kind::Shares, Words("as in the network's training", "[0.2, 0.7, 0.1]"),
        "How often this place is positive, neutral and negative, in this order, where that is not as in the network's \
         training: its answers are corrected for the difference. --dry-run can fit it.")
        .or(&["priors", "base_rate", "base_rates", "class_prior"]),
];

const MQTT: &[Key] = &[
    Key::new("host", Kind::Host, Refused("\"192.168.1.20\""), "The broker's host name or address.")
        .or(&["url", "uri", "broker", "server", "address", "hostname"]),
    Key::new(
        "port",
        Kind::Integer { min: 1, max: 65_535, unit: "" },
        Words("1883, or 8883 with tls", "8883"),
        "The broker's port.",
    ),
    Key::new("user", Kind::Text, Words("none", "\"edge-ger\""), "The user at the broker.").or(&["username", "login"]),
    Key::new(
        "password_file",
        Kind::Secret,
        Words("none", "\"mqtt.password\""),
        "The file that holds the user's password, and nothing else.",
    ),
    Key::new("version", Kind::Choice(&["3.1.1", "5"]), Value("\"5\""), "The protocol's version.").or(&["protocol"]),
    Key::new(
        "tls",
        Kind::Switch,
        Value("false"),
        "Whether the connection is encrypted. The broker's certificate is then always checked.",
    )
    .or(&["ssl", "encryption"]),
    Key::new(
        "tls_ca_file",
        Kind::Path,
        Words("the system's authorities", "\"broker-ca.pem\""),
        "tls: the authority that signed the broker's certificate, PEM.",
    )
    .or(&["ca_file", "ca", "cafile"]),
    Key::new(
        "tls_certificate_file",
        Kind::Path,
        Words("none", "\"box.pem\""),
        "tls: this box's certificate, PEM. Together with tls_key_file.",
    )
    .or(&["certificate_file", "cert_file", "certfile", "tls_cert_file"]),
    Key::new(
        "tls_key_file",
        Kind::Secret,
        Words("none", "\"box.key\""),
        "tls: the key to this box's certificate, PEM.",
    )
    .or(&["key_file", "keyfile"]),
    Key::new("topic_prefix", Kind::Topic, Value("\"edge-ger\""), "The first level, or levels, of all topics.").or(&[
        "prefix",
        "topic",
        "base_topic",
    ]),
    Key::new(
        "keep_alive_s",
        Kind::Integer { min: 5, max: 600, unit: "seconds" },
        Value("30"),
        "From one sign of life to the next.",
    )
    .or(&["keepalive", "keepalive_s"]),
    Key::new(
        "expiry_h",
        Kind::Integer { min: 0, max: 8760, unit: "hours" },
        Value("168"),
        "MQTT 5: for how long the broker keeps a reading for a subscriber that is away, from when the broker got it; \
             0 is for ever.",
    )
    .or(&["expiry", "expiry_s", "message_expiry", "message_expiry_interval", "ttl"]),
    Key::new(
        "discovery",
        Kind::Switch,
        Value("false"),
        "Whether Home Assistant shows each camera as a device by itself. What it was told is taken back when this is \
             false again.",
    )
    .or(&["home_assistant", "homeassistant", "hass", "ha_discovery", "auto_discovery"]),
    Key::new(
        "discovery_prefix",
        Kind::Topic,
        Value("\"homeassistant\""),
        "discovery: the first level, or levels, of the topics that Home Assistant listens to.",
    )
    .or(&["ha_prefix", "home_assistant_prefix", "homeassistant_prefix", "discovery_topic"]),
];

const OUTBOX: &[Key] = &[
    Key::new(
        "file",
        Kind::Path,
        Words("outbox.sqlite in state_dir", "\"/var/lib/edge-ger/outbox.sqlite\""),
        "The database that keeps them.",
    )
    .or(&["path", "database"]),
    Key::new(
        "rows_max",
        Kind::Integer { min: 1, max: 10_000_000, unit: "readings" },
        Value("500000"),
        "At most so many. A camera makes 17 280 a day.",
    )
    .or(&["max_rows", "count_max"]),
    Key::new("mib_max", Kind::Integer { min: 1, max: 65_536, unit: "MiB" }, Value("256"), "At most so much on disk.")
        .or(&["bytes_max", "size_max", "max_bytes", "max_mib", "mb_max", "kib_max", "gib_max"]),
    Key::new("age_max_h", Kind::Integer { min: 1, max: 8760, unit: "hours" }, Value("168"), "At most so old.").or(&[
        "age_max_s",
        "age_max_d",
        "max_age",
        "max_age_h",
    ]),
];

const PAGE: &[Key] = &[
    Key::new(
        "address",
        Kind::Listen,
        Value("\"off\""),
        "Where it listens. \"loopback\" (127.0.0.1) is for this machine, and for others through ssh -L 8417:127.0.0.1:8417; any \
         address that is not loopback needs token_file.",
    )
    .or(&["listen", "host", "bind", "ip", "enabled"]),
    Key::new("port", Kind::Integer { min: 1, max: 65_535, unit: "" }, Value("8417"), "Its port."),
    Key::new(
        "token_file",
        Kind::Secret,
        Words("none; must be given for an address that is not loopback", "\"page.token\""),
        "The file that holds the token, at least 16 letters, digits or signs, and nothing else: openssl rand -hex 32. A \
         browser asks for it as the password, with any user; Prometheus sends it as a bearer token.",
    )
    .or(&["token", "secret", "password_file", "key_file"]),
];

const PRIVACY: &[Key] = &[Key::new(
    "pause_file",
    Kind::Path,
    Words("paused in state_dir", "\"/run/edge-ger/paused\""),
    "While this file is there, no camera is connected to and no microphone is open. edge-ger pause makes it, edge-ger \
     resume removes it. It is empty, or holds the moment at which the pause ends, such as 2026-11-21T18:30:00+01:00. One \
     that cannot be read or understood pauses, too.",
)
.or(&["file", "pause", "paused", "paused_file"])];
