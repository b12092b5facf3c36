//! Configurations, valid and broken, as people write them.

#![allow(clippy::unwrap_used, reason = "a helper outside #[test] is not covered by allow-unwrap-in-tests")]

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use edge_ger::{
    config::{
        Decode, MqttVersion, Page, ProviderChoice, Sound, Source, Transport,
        file::{
            Loaded, check, load, load_with_warnings,
            schema::{SECTIONS, SectionSchema},
            secrets,
        },
    },
    time::Span,
};
use proptest::prelude::*;

use crate::it::{docs::UPDATE, packages::pages::keys::full_toml};

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");

/// The required keys.
const LEAST: &str = "\
[camera]
url = \"rtsp://10.0.0.5/s1\"
[site]
context = \"event\"
notice = \"sign at the entrance\"
[mqtt]
host = \"localhost\"
";

/// A folder with files in it. Secrets are readable by their owner alone.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir
}

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

/// Loads one file of this text with these variables. Places in messages begin with `x.toml`.
fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let dir = folder(&[("x.toml", text)]);
    load_with_warnings(&[dir.path().join("x.toml")], environment(variables))
        .map_err(|faults| faults.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

/// `section.key` of all keys of a section.
fn keys_of(section: &SectionSchema) -> Vec<String> {
    section.keys.iter().map(|key| format!("{}.{}", section.name, key.name)).collect()
}

#[test]
fn full_toml_is_the_schema() {
    let path = format!("{CONFIGS}/full.toml");
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, full_toml()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == full_toml(), "configs/full.toml is out of date: run this test with {UPDATE}=1");
}

#[test]
fn full_toml_names_every_key_once() {
    let text = fs::read_to_string(format!("{CONFIGS}/full.toml")).unwrap();
    let (mut section, mut named) = (String::new(), Vec::new());
    for line in text.lines() {
        let setting = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = setting.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            named.push(format!("{section}.{key}"));
        }
    }
    let known: Vec<_> = SECTIONS.iter().flat_map(keys_of).collect();
    assert_eq!(named, known);
}

#[test]
fn full_toml_shows_the_defaults() {
    let of = |name: &str| load(&[PathBuf::from(format!("{CONFIGS}/{name}.toml"))], environment(&[])).unwrap();
    let (full, mut minimal) = (of("full"), of("minimal"));
    minimal.cameras[0].name = "full".into();
    assert_eq!(full, minimal);
}

/// Every broken configuration lists at its top the faults that are expected, and no other may be found. Below that, it may
/// list variables to be set.
#[test]
fn broken_configurations() {
    let broken = format!("{CONFIGS}/broken/");
    let mut wrong = String::new();
    let mut cases = 0;
    for entry in fs::read_dir(&broken).unwrap() {
        let path = entry.unwrap().path();
        let mut files = if path.is_dir() { files_of(&path) } else { vec![path.clone()] };
        files.sort();
        let expected: Vec<String> = files.iter().flat_map(|path| expectations(path)).collect();
        let variables: Vec<_> = files.iter().flat_map(|path| variables(path)).collect();
        let said = match load(std::slice::from_ref(&path), variables.into_iter()) {
            Ok(_) => "no fault".to_owned(),
            Err(faults) => faults.to_string().replace(&broken, ""),
        };
        if said.lines().ne(expected.iter().map(String::as_str)) {
            wrong += &format!("\n== {}\n", path.strip_prefix(&broken).unwrap().display());
            said.lines().for_each(|line| wrong += &format!("# expect: {line}\n"));
        }
        assert!(!said.contains("hunter2"), "a password in: {said}");
        cases += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(20 < cases, "only {cases} broken configurations were found");
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn expectations(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map_while(|line| line.strip_prefix("# expect: ")).map(str::to_owned).collect()
}

/// `# environment: NAME=VALUE`.
fn variables(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let set = text.lines().filter_map(|line| line.strip_prefix("# environment: ")?.split_once('='));
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// For every key a value that is neither its default nor its example. The first column has other keys that it needs.
const OTHER_VALUES: &[(&str, &str, &str)] = &[
    ("", "camera.name", "\"yard\""),
    ("", "camera.url", "\"rtsps://10.0.0.6/s2\""),
    ("", "camera.user", "\"viewer\""),
    ("camera.user = \"viewer\"", "camera.password_file", "\"password\""),
    ("", "camera.transport", "\"udp\""),
    ("", "camera.latency_ms", "0"),
    ("camera.url = \"rtsps://10.0.0.5/s1\"", "camera.tls_fingerprint", "\"sha256:FINGERPRINT\""),
    ("camera.url = \"rtsps://10.0.0.5/s1\"", "camera.tls_ca_file", "\"ca.pem\""),
    ("", "camera.decode", "\"all\""),
    ("", "camera.decoder", "\"nvv4l2decoder\""),
    ("", "camera.masks", "[[[0.0, 0.0], [0.25, 0], [0, 1]]]"),
    ("", "camera.schedule", "[\"Mon-Fri 08:00-18:00\", \"22:00-02:00\"]"),
    ("", "sound.source", "\"camera\""),
    ("sound.source = \"microphone\"\nsound.device = \"default\"", "sound.device", "\"alsa:hw:CARD=Mic\""),
    ("", "sync.offset_ms", "-2000"),
    ("", "gates.frame_offset_max_ms", "50"),
    ("", "gates.frames_missing_max", "7"),
    ("", "gates.packets_lost_max", "100000"),
    ("", "gates.luma_min", "255"),
    ("", "gates.motion_min", "0"),
    ("", "gates.sound_min_percent", "100"),
    ("", "box.name", "\"012345\""),
    ("", "box.state_dir", "\"/srv/edge-ger\""),
    ("", "site.context", "\"museum\""),
    ("", "site.notice", "\"ticket desk\""),
    ("", "model.file", "\"other.onnx\""),
    ("", "model.runtime_library", "\"/opt/libonnxruntime.so\""),
    ("", "model.providers", "[\"tensorrt\", \"cuda\"]"),
    ("", "model.threads", "256"),
    ("", "model.cache_dir", "\"engines\""),
    ("", "reading.hop_s", "2.5"),
    ("", "reading.min_group", "100"),
    ("", "reading.min_confidence", "0.99"),
    ("", "reading.hysteresis", "0"),
    ("", "reading.smoothing", "false"),
    ("", "reading.prior", "[0.2, 0.7, 0.1]"),
    ("", "mqtt.host", "\"::1\""),
    ("", "mqtt.port", "65535"),
    ("", "mqtt.user", "\"vhost:user\""),
    ("mqtt.user = \"u\"", "mqtt.password_file", "\"password\""),
    ("", "mqtt.version", "\"3.1.1\""),
    ("", "mqtt.tls", "true"),
    ("mqtt.tls = true", "mqtt.tls_ca_file", "\"ca.pem\""),
    (
        "mqtt.tls = true\nmqtt.tls_key_file = \"a.key\"\nmqtt.tls_certificate_file = \"a.pem\"",
        "mqtt.tls_certificate_file",
        "\"ca.pem\"",
    ),
    (
        "mqtt.tls = true\nmqtt.tls_key_file = \"a.key\"\nmqtt.tls_certificate_file = \"a.pem\"",
        "mqtt.tls_key_file",
        "\"b.key\"",
    ),
    ("", "mqtt.topic_prefix", "\"site/7\""),
    ("", "mqtt.keep_alive_s", "600"),
    ("", "mqtt.expiry_h", "0"),
    ("", "mqtt.discovery", "true"),
    ("mqtt.discovery = true", "mqtt.discovery_prefix", "\"ha/test\""),
    ("", "outbox.file", "\"o.sqlite\""),
    ("", "outbox.rows_max", "1"),
    ("", "outbox.mib_max", "65536"),
    ("", "outbox.age_max_h", "8760"),
    ("", "page.address", "\"::1\""),
    ("page.address = \"loopback\"", "page.port", "65535"),
    ("page.address = \"loopback\"", "page.token_file", "\"token\""),
    ("", "privacy.pause_file", "\"pause_file\""),
];

/// The files that those values name.
fn home() -> tempfile::TempDir {
    let certificate = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    folder(&[
        ("password", "hunter2\n"),
        ("token", "0123456789abcdef\n"),
        ("ca.pem", certificate),
        ("a.pem", certificate),
        ("a.key", key),
        ("b.key", key),
    ])
}

/// Writes a file with the required keys and these `section.key = value` lines. A later line replaces an earlier one.
fn write(home: &Path, lines: &str) -> PathBuf {
    let mut keys = std::collections::BTreeMap::new();
    let mut section = "";
    for line in LEAST.lines() {
        match line.split_once(" = ") {
            Some((key, value)) => _ = keys.insert(format!("{section}.{key}"), value.to_owned()),
            None => section = line.trim_matches(['[', ']']),
        }
    }
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(" = ").unwrap();
        keys.insert(key.to_owned(), value.replace("FINGERPRINT", &"ab".repeat(32)));
    }
    let text: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let path = home.join("hall.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_key_has_an_effect_in_a_file_and_in_the_environment() {
    let known: Vec<_> = SECTIONS.iter().flat_map(keys_of).collect();
    assert_eq!(OTHER_VALUES.iter().map(|(_, key, _)| *key).collect::<Vec<_>>(), known, "a key is not tried");
    let home = home();
    let of = |lines: &str, variables: &[(&str, &str)]| {
        load(&[write(home.path(), lines)], environment(variables)).unwrap_or_else(|faults| panic!("{lines}\n{faults}"))
    };
    for (with, key, value) in OTHER_VALUES {
        let without = of(with, &[]);
        let written = of(&format!("{with}\n{key} = {value}"), &[]);
        assert_ne!(without, written, "{key} does nothing");
        let variable = format!("EDGE_GER__{}", key.to_uppercase().replace('.', "__"));
        // In the environment lists are separated by commas; lists of lists are written as in a file.
        let value = if value.starts_with("[[") { value } else { value.trim_matches(['[', ']']) };
        let value = value.replace('"', "").replace("FINGERPRINT", &"ab".repeat(32));
        // Relative paths of the environment start at the working directory.
        let value = if home.path().join(&value).exists() || key.ends_with("file") || key.ends_with("_dir") {
            home.path().join(value).display().to_string()
        } else {
            value
        };
        assert_eq!(of(with, &[(&variable, &value)]), written, "{key} through the environment");
    }
}

#[test]
fn a_whole_configuration_is_resolved() {
    let home = home();
    let path = write(
        home.path(),
        "camera.url = \"rtsps://cam:322/s\"\ncamera.user = \"viewer\"\ncamera.password_file = \"password\"
camera.transport = \"udp\"\ncamera.tls_fingerprint = \"sha256:FINGERPRINT\"\ncamera.decode = \"keyframes\"
sound.source = \"microphone\"\nsound.device = \"pulseaudio:mic.monitor\"\nsync.offset_ms = 120
gates.frame_offset_max_ms = 250\ngates.luma_min = 20.5\nbox.name = \"b1\"\nbox.state_dir = \"state\"
model.file = \"net.onnx\"\nmodel.providers = [\"cuda\", \"cpu\"]\nreading.hop_s = 2.5\nreading.min_group = 8
mqtt.host = \"broker.local\"\nmqtt.tls = true\nmqtt.tls_ca_file = \"ca.pem\"\nmqtt.version = \"3.1.1\"
outbox.mib_max = 2\noutbox.age_max_h = 3",
    );
    let config = load(std::slice::from_ref(&path), environment(&[])).unwrap();
    let at = |name: &str| home.path().join(name);
    assert_eq!((config.box_name.as_str(), &config.state_dir), ("b1", &at("state")));
    let camera = &config.cameras[0];
    assert_eq!((camera.name.as_str(), camera.id.0, camera.decode), ("hall", 0, Decode::Keyframes));
    let Source::Rtsp(rtsp) = &camera.source else { panic!("{camera:?}") };
    assert_eq!((rtsp.url.as_str(), rtsp.transport, rtsp.latency_ms), ("rtsps://cam:322/s", Transport::Udp, 200));
    assert_eq!((rtsp.user.as_deref(), rtsp.fingerprint), (Some("viewer"), Some([0xAB; 32])));
    assert_eq!(rtsp.password_file.as_ref(), Some(&at("password")));
    assert_eq!(camera.sound, Sound::Microphone("pulseaudio:mic.monitor".into()));
    assert_eq!((camera.sync_offset, camera.gates.frame_offset_max_ms.span()), (Span::from_ms(120), Span::from_ms(250)));
    assert_eq!((camera.gates.luma_min.get(), camera.gates.frames_missing_max.get()), (20.5, 1));
    assert_eq!(config.model.file.0, at("net.onnx"));
    assert_eq!(config.model.providers.0, [ProviderChoice::Cuda, ProviderChoice::Cpu]);
    assert_eq!(config.model.cache_dir(), at("state/engines"));
    assert_eq!((config.reading.hop_s.span(), config.reading.min_group.get()), (Span::from_ms(2500), 8));
    assert_eq!((config.mqtt.port(), config.mqtt.version), (8883, MqttVersion::V311));
    assert_eq!(config.mqtt.tls_ca_file.as_deref(), Some(at("ca.pem").as_path()));
    assert_eq!((config.outbox.bytes_max, config.outbox.age_max_s), (2 << 20, 3 * 3600));
    assert_eq!(config.outbox.file, at("state/outbox.sqlite"));
    let secrets = (secrets::camera_password(camera).unwrap().unwrap(), secrets::mqtt(&config.mqtt).unwrap());
    assert_eq!(secrets.0.reveal(), "hunter2");
    assert!(secrets.1.ca_pem.is_some() && secrets.1.password.is_none() && secrets.1.client.is_none());
}

#[test]
fn a_folder_is_several_cameras_and_one_box() {
    let cameras = |name: &str| format!("[camera]\nurl = \"rtsp://{name}/s\"\n");
    let shared = "[reading]\nhop_s = 5\n";
    let dir = folder(&[
        ("00-box.toml", LEAST.strip_prefix("[camera]\nurl = \"rtsp://10.0.0.5/s1\"\n").unwrap()),
        ("B Yard.toml", &(cameras("yard") + shared)),
        ("hall.toml", &(cameras("hall") + "[reading]\nhop_s = 5.0\n")),
        (".hall.toml", "an editor's own copy"),
        ("notes.txt", "not a configuration"),
    ]);
    let of = |paths: &[PathBuf], variables: &[(&str, &str)]| load(paths, environment(variables)).unwrap();
    let config = of(&[dir.path().into()], &[]);
    let names: Vec<_> = config.cameras.iter().map(|camera| (camera.id.0, camera.name.as_str())).collect();
    assert_eq!(names, [(0, "b-yard"), (1, "hall")]);
    // Naming a file once more, or all of them one by one, changes nothing.
    assert_eq!(of(&[dir.path().into(), dir.path().join("hall.toml")], &[]), config);
    assert_eq!(of(&["00-box.toml", "B Yard.toml", "hall.toml"].map(|name| dir.path().join(name)), &[]), config);
    // A variable for a camera's key applies to all cameras.
    let quick = of(&[dir.path().into()], &[("EDGE_GER__CAMERA__DECODE", "all"), ("PATH", "/bin")]);
    assert!(quick.cameras.iter().all(|camera| camera.decode == Decode::All));
}

#[test]
fn a_variable_is_read_as_the_type_of_its_key() {
    let of = |name: &str, value: &str| loaded(LEAST, &[(name, value)]);
    assert_eq!(of("EDGE_GER__BOX__NAME", "012345").unwrap().config.box_name, "012345");
    assert_eq!(of("EDGE_GER__MQTT__USER", "1e5").unwrap().config.mqtt.user.as_deref(), Some("1e5"));
    assert_eq!(of("EDGE_GER__MQTT__VERSION", "5").unwrap().config.mqtt.version, MqttVersion::V5);
    let says = |name: &str, value: &str, fault: &str| assert_eq!(of(name, value).unwrap_err(), fault);
    says(
        "EDGE_GER__MQTT__HOTS",
        "x",
        "environment: EDGE_GER__MQTT__HOTS: mqtt: unknown key; did you mean EDGE_GER__MQTT__HOST, a host name or an \
         address in quotes, without scheme, port or user?",
    );
    says(
        "EDGE_GER__MQTTT__HOST",
        "x",
        "environment: EDGE_GER__MQTTT__HOST: unknown section; did you mean EDGE_GER__MQTT__HOST?",
    );
    says(
        "EDGE_GER__mqtt__HOST",
        "x",
        "environment: EDGE_GER__mqtt__HOST: unknown section; did you mean EDGE_GER__MQTT__HOST?",
    );
    says(
        "EDGE_GER__HOST",
        "x",
        "environment: EDGE_GER__HOST: this is no section and key; write EDGE_GER__SECTION__KEY",
    );
    says(
        "EDGE_GER__MQTT__PORT",
        "12.7",
        "environment: EDGE_GER__MQTT__PORT: mqtt.port: this is not a whole number; write a whole number from 1 to \
         65535, without a unit",
    );
    says(
        "EDGE_GER__MQTT__PORT",
        "99999999999999999999",
        "environment: EDGE_GER__MQTT__PORT: mqtt.port: out of range; write a whole number from 1 to 65535",
    );
    says(
        "EDGE_GER__MQTT__TLS",
        "1",
        "environment: EDGE_GER__MQTT__TLS: mqtt.tls: this is neither true nor false; write true or false",
    );
    says(
        "EDGE_GER__CAMERA__PASSWORD",
        "hunter2",
        "environment: EDGE_GER__CAMERA__PASSWORD: camera: a password must not stand here; put it into a file of its \
         own and name that in password_file, below [camera] or [mqtt]",
    );
}

#[test]
fn an_override_supplies_a_missing_key() {
    let text =
        LEAST.replace("host = \"localhost\"", "").replace("url = ", "user = ").replace("rtsp://10.0.0.5/s1", "u");
    let faults = loaded(&text, &[]).unwrap_err();
    assert_eq!(faults.lines().count(), 2, "{faults}");
    let variables = [("EDGE_GER__MQTT__HOST", "broker"), ("EDGE_GER__CAMERA__URL", "rtsp://cam/s")];
    assert_eq!(loaded(&text, &variables).unwrap().config.mqtt.host.0, "broker");
}

#[test]
fn an_override_hides_no_fault() {
    let text = LEAST.replace("host = \"localhost\"", "host = \"localhost\"\nport = \"1883\"");
    let faults = loaded(&text, &[("EDGE_GER__MQTT__PORT", "1883")]).unwrap_err();
    assert!(faults.starts_with("x.toml:8: mqtt.port: this is text") && faults.lines().count() == 1, "{faults}");
    let faults = loaded(&text, &[("EDGE_GER__MQTT__PORT", "yes")]).unwrap_err();
    assert!(faults.ends_with(", without a unit (this overrides x.toml:8)") && faults.lines().count() == 2, "{faults}");
}

#[test]
fn systemd_provides_folders_and_credentials() {
    let home = folder(&[("hall", "hunter2\n")]);
    let at = home.path().display().to_string();
    let text = LEAST.replace("[site]", "user = \"viewer\"\npassword_file = \"credential:hall\"\n[site]");
    let variables = [("CREDENTIALS_DIRECTORY", at.as_str()), ("STATE_DIRECTORY", "/s:/t"), ("CACHE_DIRECTORY", "/c")];
    let config = loaded(&text, &variables).unwrap().config;
    assert_eq!(secrets::camera_password(&config.cameras[0]).unwrap().unwrap().reveal(), "hunter2");
    assert_eq!((config.state_dir, config.model.cache_dir()), ("/s".into(), "/c".into()));
    for name in ["", "../hall", "a/b", ".."] {
        let faults = loaded(&text.replace("credential:hall", &format!("credential:{name}")), &variables).unwrap_err();
        assert!(faults.contains("no credential's name"), "{name:?}: {faults}");
    }
}

#[test]
fn a_missing_source_is_a_fault() {
    let dir = folder(&[("blob.toml", "")]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("blob.toml"), [0xFF, 0xFE, 0x00]).unwrap();
    fs::write(dir.path().join("long.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    let says = |name: &str, fault: &str| {
        let faults = load(&[dir.path().join(name)], environment(&[])).unwrap_err().to_string();
        assert_eq!(faults.replace(&format!("{}/", dir.path().display()), ""), fault);
    };
    says("nowhere", "nowhere: there is no such file or folder; name one that exists");
    says("empty", "empty: there is no .toml in this folder; put a file for each camera into it");
    says("blob.toml", "blob.toml: it is not text in UTF-8; name a configuration");
    says("long.toml", "long.toml: longer than 1 MiB; name a configuration");
    let none = load(&[], environment(&[])).unwrap_err().to_string();
    assert_eq!(none, "command line: no configuration is named; name files, or folders of them");
}

#[test]
fn probable_mistakes_are_warnings() {
    let says = |text: &str, expected: &[&str]| {
        let warnings = loaded(text, &[]).unwrap().warnings;
        let keys: Vec<_> = warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.what)).collect();
        assert!(
            keys.len() == expected.len() && keys.iter().zip(expected).all(|(warning, key)| warning.starts_with(key)),
            "{keys:?}"
        );
    };
    let sound = LEAST.replace("[site]", "[sound]\nsource = \"camera\"\n[site]");
    says(&sound, &[]);
    says(LEAST, &["sound.source: no camera has sound"]);
    says(&sound.replace("localhost", "127.0.0.1"), &[]);
    says(&sound.replace("localhost", "broker"), &["mqtt.tls: readings cross the network in the clear"]);
    says(&(sound.clone() + "[reading]\nhop_s = 4.9\n"), &["reading.hop_s"]);
    says(&sound.replace("rtsp://10.0.0.5/s1", "file:/nowhere.mp4"), &["camera.url: it is not there now"]);
    says(&(sound.clone() + "[privacy]\npause_file = \"paused\"\n"), &[]);
    let nowhere = sound.clone() + "[privacy]\npause_file = \"/nowhere/paused\"\n";
    says(&nowhere, &["privacy.pause_file: its folder is not there"]);
}

#[test]
fn masks_and_schedules_are_read() {
    let text = LEAST.replace(
        "[site]",
        "masks = [[[0, 0.0], [0.33333, 0], [1, 1.0]], [[0.5, 0.5], [0.6, 0.5], [0.5, 0.6]]]
schedule = [\"mon-fri 08:00-18:00\", \"Sat 22:00-02:00\"]\n[site]",
    );
    let camera = loaded(&text, &[]).unwrap().config.cameras.remove(0);
    let corners: Vec<_> = camera.masks.iter().map(|mask| mask.corners().to_vec()).collect();
    assert_eq!(corners, [[[0, 0], [3333, 0], [10_000, 10_000]], [[5000, 5000], [6000, 5000], [5000, 6000]]]);
    assert_eq!(camera.schedule.to_string(), "Mon-Fri 08:00-18:00, Sat 22:00-02:00");
    // The masks of all cameras together fit into one message to a process.
    let mask = format!(
        "[{}]",
        (0..32).map(|n| format!("[0.{n:02}, {}]", f64::from(n % 2) / 2.0)).collect::<Vec<_>>().join(", ")
    );
    let masks = format!("masks = [{}]\n", vec![mask; 16].join(", "));
    let dir = tempfile::tempdir().unwrap();
    let loads = |cameras: usize| {
        for n in 0..cameras {
            let others = if n == 0 { &LEAST[LEAST.find("[site]").unwrap()..] } else { "" };
            let text = format!("[camera]\nurl = \"rtsp://10.0.0.5/s1\"\n{masks}{others}");
            fs::write(dir.path().join(format!("camera-{n}.toml")), text).unwrap();
        }
        load(&[dir.path().to_path_buf()], environment(&[])).map(drop).map_err(|faults| faults.to_string())
    };
    loads(4).unwrap();
    assert!(loads(5).unwrap_err().contains("camera.masks: the masks of all cameras have more than 2048 points"));
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    let home = home();
    let path = write(home.path(), "sound.source = \"camera\"\nmqtt.user = \"u\"\nmqtt.password_file = \"password\"");
    let warnings = |mode: u32| {
        fs::set_permissions(home.path().join("password"), fs::Permissions::from_mode(mode)).unwrap();
        load_with_warnings(std::slice::from_ref(&path), environment(&[])).unwrap().warnings
    };
    assert_eq!(warnings(0o600), []);
    assert_eq!(warnings(0o400), []);
    // A file of root's may be readable by one group, as in the package.
    let is_roots = fs::metadata(home.path().join("password")).unwrap().uid() == 0;
    assert_eq!(warnings(0o640).len(), usize::from(!is_roots));
    for mode in [0o660, 0o604, 0o644] {
        let warnings = warnings(mode);
        assert_eq!(warnings.len(), 1);
        assert_eq!(
            (warnings[0].key.as_str(), warnings[0].cure.as_str()),
            ("mqtt.password_file", "chmod 600, or use a systemd credential")
        );
    }
}

#[test]
fn secrets_are_read_whole_and_clean() {
    let home = home();
    let path = write(home.path(), "mqtt.user = \"u\"\nmqtt.password_file = \"password\"");
    let mqtt = load(&[path], environment(&[])).unwrap().mqtt;
    let read = |text: &[u8]| {
        fs::write(home.path().join("password"), text).unwrap();
        secrets::mqtt(&mqtt).map(|secrets| secrets.password.unwrap().reveal().to_owned()).map_err(|err| err.to_string())
    };
    for text in ["hunter2", "hunter2\n", "hunter2\r\n"] {
        assert_eq!(read(text.as_bytes()).unwrap(), "hunter2");
    }
    assert_eq!(read(b" p\xC3\xA4ss \n").unwrap(), " päss ");
    assert_eq!(read(b"\n").unwrap_err(), "mqtt.password_file: the file is empty; write the password into it");
    assert!(read(b"hunter2\n\n").unwrap_err().contains("more than one line"));
    assert!(read(b"hunter2\xFF").unwrap_err().contains("not text in UTF-8"));
    fs::remove_file(home.path().join("password")).unwrap();
    assert!(secrets::mqtt(&mqtt).unwrap_err().to_string().contains("there is no such file"));
    fs::create_dir(home.path().join("password")).unwrap();
    assert!(secrets::mqtt(&mqtt).unwrap_err().to_string().contains("this is no file"));
}

#[test]
fn a_page_is_off_at_loopback_or_guarded() {
    let home = home();
    let of = |lines: &str| load_with_warnings(&[write(home.path(), lines)], environment(&[])).unwrap();
    let page = |lines: &str| of(lines).config.page;
    assert_eq!(page(""), Page::Off);
    assert_eq!(page("page.address = \"off\"\npage.port = 9000"), Page::Off);
    assert_eq!(page("page.address = \"loopback\""), Page::Loopback(([127, 0, 0, 1], 8417).into()));
    let six = "[::1]:9000".parse().unwrap();
    assert_eq!(page("page.address = \"::1\"\npage.port = 9000"), Page::Loopback(six));
    let guarded = "page.address = \"0.0.0.0\"\npage.token_file = \"token\"";
    let loaded = of(guarded);
    let address = ([0, 0, 0, 0], 8417).into();
    assert_eq!(loaded.config.page, Page::Guarded { address, token_file: home.path().join("token") });
    assert!(
        loaded.warnings.iter().any(|warning| warning.key == "page.address" && warning.what.contains("in the clear"))
    );
    assert_eq!(secrets::page(&loaded.config.page).unwrap().unwrap().reveal(), "0123456789abcdef");
    for wrong in ["0123456789abcde\n", "0123456789 abcdef\n", "0123456789\nabcdef\n", ""] {
        fs::write(home.path().join("token"), wrong).unwrap();
        let said = secrets::page(&loaded.config.page).unwrap_err().to_string();
        assert!(said.starts_with("page.token_file: ") && said.contains("openssl rand"), "{said}");
    }
    fs::remove_file(home.path().join("token")).unwrap();
    let said = load(&[write(home.path(), guarded)], environment(&[])).unwrap_err().to_string();
    assert!(said.contains("page.token_file: there is no such file"), "{said}");
}

#[test]
fn check_says_what_would_run() {
    let home = home();
    fs::write(home.path().join("net.onnx"), "").unwrap();
    let path = write(
        home.path(),
        "box.name = \"b1\"\nmodel.file = \"net.onnx\"\ncamera.url = \"rtsp://cam:8554/hidden\"\ncamera.user = \"viewer\"
camera.password_file = \"password\"",
    );
    let network = home.path().join("net.onnx").display().to_string();
    let said = check(std::slice::from_ref(&path), environment(&[])).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[..2],
        [
            format!(
                "box b1: network {network} on cpu; a reading every 5 s of a group of 5 or more; MQTT 5 to localhost port \
                 1883; context event"
            ),
            "camera hall: rtsp from cam:8554 over TCP, 200 ms of jitter buffer; no sound".into(),
        ]
    );
    assert!(
        lines.len() == 3 && lines[2].starts_with("warning: ") && lines[2].contains("no camera has sound"),
        "{said}"
    );
    fs::remove_file(network).unwrap();
    let faults = check(&[path], environment(&[])).unwrap_err().to_string();
    assert!(faults.contains("hall.toml:5: model.file: there is no such file; name the network"), "{faults}");
}

/// A text that no message may contain, wherever it was written.
const CANARY: &str = "S3cr3tCanary";

/// A file with every key.
fn everything() -> String {
    let setting = |line: &str| {
        SECTIONS.iter().flat_map(|section| &section.keys).any(|key| line[1..].starts_with(&format!("{} = ", key.name)))
    };
    full_toml()
        .lines()
        .map(|line| format!("{}\n", if line.starts_with('#') && setting(line) { &line[1..] } else { line }))
        .collect()
}

#[test]
fn everything_is_toml() {
    // Otherwise the tests below would only test the parser.
    let faults = loaded(&everything(), &[]).unwrap_err();
    assert!(!faults.contains("TOML") && !faults.contains("unknown"), "{faults}");
}

#[test]
fn deep_and_long_texts_are_answered() {
    for (open, close) in [("a = [", "]"), ("a = {b=", "}"), ("[a", "]"), ("a.", "b = 1"), ("[[", "]]"), ("[a.", "]")] {
        for repeat in [100, 100_000] {
            let text = open.replace("a = ", "").repeat(repeat);
            assert!(loaded(&format!("mqtt = {text}{}", close.repeat(repeat)), &[]).is_err());
            assert!(loaded(&format!("{text}{}", close.repeat(repeat)), &[]).is_err());
            assert!(loaded(&format!("{LEAST}{text}{close}"), &[]).is_err());
        }
    }
    assert!(loaded(&format!("{LEAST}{} = 1\n", "a".repeat(500_000)), &[]).is_err());
    assert!(
        loaded(&format!("[mqtt]\nhost = \"{}\"", "a".repeat(500_000)), &[])
            .unwrap_err()
            .contains("longer than 512 bytes")
    );
}

fn never_shows_the_canary(text: &str) {
    match loaded(text, &[]) {
        Err(faults) => assert!(!faults.contains(CANARY), "{faults}\nin\n{text}"),
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!(!warning.to_string().contains(CANARY), "{warning}");
            }
        }
    }
}

#[test]
fn a_password_in_any_place_is_never_shown() {
    let text = everything();
    let lines: Vec<_> = text.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
        let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
        let forms = [
            format!("{key} = \"{CANARY}\""),
            format!("{key} = \"{CANARY}"),
            format!("{key} = {CANARY}"),
            format!("{key} = [\"{CANARY}\"]"),
            format!("{key} = {{ {CANARY} = 1 }}"),
            format!("{key} = \"rtsp://admin:{CANARY}@10.0.0.5/s\""),
            format!("{key}.{CANARY} = 1"),
            format!("{CANARY} = {value}"),
            format!("{line}\n{CANARY}"),
            format!("{line} {CANARY}"),
            format!("[{CANARY}]"),
            format!("[[{CANARY}]]"),
            format!("[mqtt.{CANARY}]"),
            format!("{line}\n{line} # {CANARY}"),
        ];
        for form in forms {
            let others = lines.iter().enumerate().map(|(at, it)| if at == i { form.as_str() } else { it });
            never_shows_the_canary(&others.map(|line| format!("{line}\n")).collect::<String>());
        }
    }
}

#[test]
fn a_password_in_the_environment_is_never_shown() {
    let keys = SECTIONS.iter().flat_map(keys_of).map(|key| key.replace('.', "__").to_uppercase());
    let odd = ["MQTT__PASSWORD", "PASSWORD", CANARY, "MQTT__S3cr3tCanary", "S3cr3tCanary__HOST", "A__S3cr3tCanary__C"];
    for name in keys.chain(odd.map(str::to_owned)) {
        let name = format!("EDGE_GER__{name}");
        match loaded(LEAST, &[(&name, CANARY)]) {
            Err(faults) => assert!(!faults.contains(CANARY), "{faults}"),
            Ok(loaded) => assert!(loaded.warnings.iter().all(|warning| !warning.to_string().contains(CANARY))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// A file that is cut, doubled or has other text inserted always gets an answer, which never contains the canary.
    #[test]
    fn any_mutation_is_answered(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, prop::sample::select(PIECES)), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut text: Vec<char> = everything().chars().collect();
        for (at, removed, piece) in edits {
            let from = at.index(text.len() + 1);
            let to = (from + removed).min(text.len());
            text.splice(from..to, piece.chars());
        }
        if let Some(at) = cut {
            text.truncate(at.index(text.len() + 1));
        }
        never_shows_the_canary(&text.iter().collect::<String>());
    }
}

/// Inserted texts: pieces of TOML, valid and invalid, some with the canary.
const PIECES: &[&str] = &[
    "S3cr3tCanary",
    "\"S3cr3tCanary",
    "\nS3cr3tCanary = 1\n",
    "\n[S3cr3tCanary]\n",
    "\n[[camera]]\n",
    "= = =",
    "\"\"\"",
    "'''",
    "\u{0}",
    "\u{feff}",
    "ä\u{1F600}",
    "\r\n",
    "{ a = 1 }",
    "[[[[[[[[",
    "\nurl = \"rtsp://u:S3cr3tCanary@h\"\n",
    "1e999",
    "-0",
    "0x",
    "1979-05-27T07:32:00Z",
    "\npassword = \"S3cr3tCanary\"\n",
    "credential:S3cr3tCanary",
    "\nmqtt.S3cr3tCanary.host = 1\n",
];
