//! What is meant: the configuration, built from what was written, and what only several keys together can get wrong.

mod camera;
mod page;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    remark::{Place, Remarks, Wrong},
    schema::{Absent, SECTIONS, Scope},
    secrets,
    surroundings::Surroundings,
    value::{self, Value},
    written::{Entries, Sheet},
};
use crate::{
    config::{Config, Discovery, Model, Mqtt, MqttVersion, Outbox, Privacy, ProviderChoice, Reading, Site, Tls},
    time::Span,
};

/// More cameras than this would not fit into one order to a room, nor would any box keep up with them.
const CAMERAS_MAX: usize = 100;
/// Corners of the masks of all cameras: what fits into the same order.
const CORNERS_MAX: usize = 2048;

/// Answers for one key after the other; where a value is wrong, that was said before, and the default stands in.
pub(super) struct Reader<'a> {
    entries: &'a Entries,
    /// Where a key that is missing would have to be added.
    home: &'a dyn Fn(&str) -> Place,
    /// Something could not be read, so nothing can be called missing.
    unsure: bool,
    remarks: &'a mut Remarks,
}

impl Reader<'_> {
    /// Whether something was written, right or wrong.
    fn has(&self, section: &'static str, key: &'static str) -> bool {
        self.entries.contains_key(&(section, key))
    }

    /// Where it was written.
    fn place(&self, section: &'static str, key: &'static str) -> Place {
        self.entries.get(&(section, key)).map_or(Place::Default, |entry| entry.place.clone())
    }

    fn value(&self, section: &'static str, key: &'static str) -> Option<&Value> {
        self.entries.get(&(section, key))?.value.as_ref()
    }

    fn fault(&mut self, section: &'static str, key: &'static str, what: &str, cure: &str) {
        let place = self.place(section, key);
        self.remarks.fault(place, format!("{section}.{key}"), Wrong::new(what, cure));
    }

    fn warning(&mut self, place: Place, key: &str, what: &str, cure: &str) {
        self.remarks.warning(place, key, Wrong::new(what, cure));
    }

    /// Says what is missing of a section.
    fn require(&mut self, section: &'static str) {
        let Some(section) = super::schema::section(section).filter(|_| !self.unsure) else { return };
        for key in section.keys {
            if matches!(key.absent, Absent::Refused(_)) && !self.has(section.name, key.name) {
                let place = (self.home)(section.name);
                let cure = format!("add {} below [{}]: {}", key.name, section.name, key.kind.expectation());
                self.remarks.fault(place, format!("{}.{}", section.name, key.name), Wrong::new("missing", cure));
            }
        }
    }

    fn text(&self, section: &'static str, key: &'static str) -> Option<String> {
        match self.value(section, key)? {
            Value::Text(it) => Some(it.clone()),
            _ => None,
        }
    }

    fn path(&self, section: &'static str, key: &'static str) -> Option<PathBuf> {
        match self.value(section, key)? {
            Value::Path(it) => Some(it.clone()),
            _ => None,
        }
    }

    fn integer<T: TryFrom<i64>>(&self, section: &'static str, key: &'static str, default: T) -> T {
        match self.value(section, key) {
            Some(Value::Integer(it)) => T::try_from(*it).unwrap_or(default),
            _ => default,
        }
    }

    fn ms(&self, section: &'static str, key: &'static str, default: Span) -> Span {
        Span::from_ms(self.integer(section, key, default.as_ms()))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the ranges of the keys are far inside f32's")]
    fn number(&self, section: &'static str, key: &'static str, default: f32) -> f32 {
        match self.value(section, key) {
            Some(Value::Number(it)) => *it as f32,
            _ => default,
        }
    }

    fn switch(&self, section: &'static str, key: &'static str, default: bool) -> bool {
        match self.value(section, key) {
            Some(Value::Switch(it)) => *it,
            _ => default,
        }
    }

    /// Tries to read a file, now, so that a fault in it is found before anything starts.
    fn try_file<T>(&mut self, section: &'static str, key: &'static str, read: fn(&Path) -> Result<T, secrets::Why>) {
        if let Some(Err((what, cure))) = self.path(section, key).map(|path| read(&path)) {
            self.fault(section, key, what, cure);
        }
    }

    /// Says if others than its owner may read a file that holds a secret. Credentials are systemd's affair.
    fn keep_private(&mut self, section: &'static str, key: &'static str, surroundings: &Surroundings) {
        let credentials = surroundings.credentials.as_ref();
        let own = self.path(section, key).filter(|path| !credentials.is_some_and(|folder| path.starts_with(folder)));
        if own.is_some_and(|path| secrets::is_open_to_others(&path)) {
            let place = self.place(section, key);
            let what = "others than the file's owner may read it";
            self.warning(place, &format!("{section}.{key}"), what, "chmod 600, or use a systemd credential");
        }
    }
}

/// Builds the configuration, which is only right if no fault was remarked, and says where its network is named.
pub(super) fn config(sheets: &[Sheet], surroundings: &Surroundings, remarks: &mut Remarks) -> (Option<Config>, Place) {
    let overrides = surroundings.entries(remarks);
    let unsure = sheets.is_empty() || sheets.iter().any(|sheet| sheet.broken);
    let mut common = merge(sheets, remarks);
    common.extend(overrides.iter().map(|(key, entry)| (*key, entry.clone())));
    let home = |section: &str| {
        let there = sheets.iter().find_map(|sheet| Some(sheet.place(*sheet.sections.get(section)?)));
        there.or_else(|| Some(sheets.first()?.place(1))).unwrap_or(Place::CommandLine)
    };
    let mut reader = Reader { entries: &common, home: &home, unsure, remarks };
    let (box_name, state_dir) = this_box(&mut reader, surroundings);
    let site = site(&mut reader);
    let model = model(&mut reader, surroundings.cache_dir(&state_dir));
    let reading = reading(&mut reader);
    let mqtt = mqtt(&mut reader, surroundings);
    let outbox = Outbox {
        file: reader.path("outbox", "file").unwrap_or_else(|| state_dir.join("outbox.sqlite")),
        rows_max: reader.integer("outbox", "rows_max", 500_000),
        bytes_max: reader.integer::<u64>("outbox", "mib_max", 256) << 20,
        age_max_s: reader.integer::<u32>("outbox", "age_max_h", 168) * 3600,
    };
    let page = page::page(&mut reader, surroundings);
    let privacy = privacy(&mut reader, &state_dir);
    let model_place = reader.place("model", "file");
    let cameras = camera::all(sheets, &overrides, surroundings, remarks);
    if CAMERAS_MAX < cameras.len() {
        let what = format!("there are more than {CAMERAS_MAX} cameras");
        remarks.fault(Place::CommandLine, "", Wrong::new(what, "share them out among several boxes"));
    }
    let corners: usize = cameras.iter().flat_map(|it| &it.masks).map(|it| it.corners().len()).sum();
    if CORNERS_MAX < corners {
        let what = format!("the masks of all cameras have more than {CORNERS_MAX} points together");
        remarks.fault(Place::CommandLine, "camera.masks", Wrong::new(what, "write simpler ones"));
    }
    let config = site.zip(mqtt).map(|(site, mqtt)| Config {
        box_name,
        state_dir,
        site,
        cameras,
        model,
        reading,
        mqtt,
        outbox,
        page,
        privacy,
    });
    (config, model_place)
}

/// What the files say of the box, together.
fn merge(sheets: &[Sheet], remarks: &mut Remarks) -> Entries {
    let mut merged = Entries::new();
    for sheet in sheets {
        for (&(section, key), entry) in &sheet.entries {
            if SECTIONS.iter().any(|it| it.name == section && it.scope == Scope::Camera) {
                continue;
            }
            let first = merged.entry((section, key)).or_insert_with(|| entry.clone());
            if first.value.is_some() && entry.value.is_some() && first.value != entry.value {
                let what = format!("this differs from {}", first.place);
                let cure = "the box has one of it: write it once, or the same everywhere";
                remarks.fault(entry.place.clone(), format!("{section}.{key}"), Wrong::new(what, cure));
            }
        }
    }
    merged
}

fn this_box(reader: &mut Reader<'_>, surroundings: &Surroundings) -> (String, PathBuf) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = host.split('.').next().and_then(value::to_name).unwrap_or_else(|| "box".into());
    let state_dir = reader.path("box", "state_dir").unwrap_or_else(|| surroundings.state_dir());
    (reader.text("box", "name").unwrap_or(host), state_dir)
}

fn privacy(reader: &mut Reader<'_>, state_dir: &Path) -> Privacy {
    let pause_file = pause_file(reader, state_dir);
    if reader.value("privacy", "pause_file").is_some() && !pause_file.parent().is_some_and(Path::is_dir) {
        let (place, what) =
            (reader.place("privacy", "pause_file"), "its folder is not there, so nobody can pause the box");
        reader.warning(place, "privacy.pause_file", what, "make the folder, where the daemon can see it");
    }
    Privacy { pause_file }
}

fn pause_file(reader: &Reader<'_>, state_dir: &Path) -> PathBuf {
    reader.path("privacy", "pause_file").unwrap_or_else(|| state_dir.join("paused"))
}

/// Where the files say that the state is kept, and the pause file, whatever else is wrong with them: a box must be
/// paused also while its configuration is being changed.
pub(super) fn places(sheets: &[Sheet], surroundings: &Surroundings, remarks: &mut Remarks) -> (PathBuf, PathBuf) {
    let mut entries = merge(sheets, remarks);
    entries.extend(surroundings.entries(remarks));
    let reader = Reader { entries: &entries, home: &|_| Place::Default, unsure: true, remarks };
    let state_dir = reader.path("box", "state_dir").unwrap_or_else(|| surroundings.state_dir());
    let pause_file = pause_file(&reader, &state_dir);
    (state_dir, pause_file)
}

fn site(reader: &mut Reader<'_>) -> Option<Site> {
    reader.require("site");
    Some(Site { context: reader.text("site", "context")?, notice: reader.text("site", "notice")? })
}

fn model(reader: &mut Reader<'_>, cache_dir: PathBuf) -> Model {
    let written = match reader.value("model", "providers") {
        Some(Value::List(words)) => words.clone(),
        _ => Vec::new(),
    };
    let providers: Vec<_> = written
        .iter()
        .map(|word| match word.as_str() {
            "tensorrt" => ProviderChoice::TensorRt,
            "cuda" => ProviderChoice::Cuda,
            _ => ProviderChoice::Cpu,
        })
        .collect();
    if providers.iter().rev().skip(1).any(|it| *it == ProviderChoice::Cpu) {
        let what = "what stands behind \"cpu\" would never be tried";
        reader.fault("model", "providers", what, "write \"cpu\" last, or leave it out");
    }
    Model {
        file: reader.path("model", "file").unwrap_or_else(|| "/usr/share/edge-ger/edge-ger.onnx".into()),
        runtime_library: reader.path("model", "runtime_library"),
        providers: if providers.is_empty() { vec![ProviderChoice::Cpu] } else { providers },
        threads: reader.integer("model", "threads", 0),
        cache_dir: reader.path("model", "cache_dir").unwrap_or(cache_dir),
    }
}

/// All published systems look at windows of 5 s.
const CLIP: Span = Span::from_ms(5000);

fn reading(reader: &mut Reader<'_>) -> Reading {
    let default = Reading::default();
    let hop = match reader.value("reading", "hop_s") {
        // Whole milliseconds, so that slots fall on the same moments everywhere.
        Some(Value::Number(it)) => Span::from_ms(Span::from_secs_f64((it * 1e3).round() / 1e3).as_ms()),
        _ => default.hop,
    };
    if hop < CLIP {
        let place = reader.place("reading", "hop_s");
        let what = "a hop shorter than a window of 5 s makes windows overlap: neighbouring readings share frames";
        reader.warning(place, "reading.hop_s", what, "expect more work, and do not count them as independent");
    }
    Reading {
        hop,
        min_group: reader.integer("reading", "min_group", default.min_group),
        min_confidence: reader.number("reading", "min_confidence", default.min_confidence),
        hysteresis: reader.number("reading", "hysteresis", default.hysteresis),
        smoothing: reader.switch("reading", "smoothing", default.smoothing),
    }
}

fn mqtt(reader: &mut Reader<'_>, surroundings: &Surroundings) -> Option<Mqtt> {
    reader.require("mqtt");
    let tls_on = reader.switch("mqtt", "tls", false);
    let tls_written = reader.value("mqtt", "tls").is_some() || !reader.has("mqtt", "tls");
    for key in ["tls_ca_file", "tls_certificate_file", "tls_key_file"] {
        if reader.has("mqtt", key) && !tls_on && tls_written {
            reader.fault("mqtt", key, "this means nothing without tls", "write tls = true, or remove it");
        }
    }
    for (one, other) in [("tls_certificate_file", "tls_key_file"), ("tls_key_file", "tls_certificate_file")] {
        if reader.has("mqtt", one) && !reader.has("mqtt", other) {
            reader.fault("mqtt", one, &format!("this means nothing without {other}"), &format!("add {other}"));
        }
    }
    if reader.has("mqtt", "password_file") && !reader.has("mqtt", "user") {
        reader.fault("mqtt", "password_file", "a password means nothing without a user", "add user");
    }
    reader.try_file("mqtt", "password_file", secrets::password);
    reader.try_file("mqtt", "tls_key_file", secrets::private_key);
    reader.keep_private("mqtt", "password_file", surroundings);
    reader.keep_private("mqtt", "tls_key_file", surroundings);
    reader.try_file("mqtt", "tls_ca_file", secrets::certificates);
    reader.try_file("mqtt", "tls_certificate_file", secrets::certificates);
    let host = reader.text("mqtt", "host")?;
    if !tls_on && !is_loopback(&host) {
        let place = reader.place("mqtt", "host");
        let password = if reader.has("mqtt", "password_file") { " and a password" } else { "" };
        let what = format!("readings{password} cross the network in the clear");
        reader.warning(place, "mqtt.tls", &what, "write tls = true if the broker can do it");
    }
    let client = reader.path("mqtt", "tls_certificate_file").zip(reader.path("mqtt", "tls_key_file"));
    let tls = tls_on.then(|| Tls { ca_file: reader.path("mqtt", "tls_ca_file"), client });
    Some(Mqtt {
        host,
        port: reader.integer("mqtt", "port", if tls_on { 8883 } else { 1883 }),
        user: reader.text("mqtt", "user"),
        password_file: reader.path("mqtt", "password_file"),
        version: match reader.text("mqtt", "version").as_deref() {
            Some("3.1.1") => MqttVersion::V311,
            _ => MqttVersion::V5,
        },
        tls,
        topic_prefix: reader.text("mqtt", "topic_prefix").unwrap_or_else(|| "edge-ger".into()),
        keep_alive_s: reader.integer("mqtt", "keep_alive_s", 30),
        expiry_s: expiry_s(reader),
        discovery: discovery(reader),
    })
}

fn expiry_s(reader: &mut Reader<'_>) -> u32 {
    let hours: u32 = reader.integer("mqtt", "expiry_h", 168);
    if reader.has("mqtt", "expiry_h") && reader.text("mqtt", "version").as_deref() == Some("3.1.1") && 0 < hours {
        let place = reader.place("mqtt", "expiry_h");
        let what = "MQTT 3.1.1 knows no expiry: the broker keeps readings for as long as it likes";
        reader.warning(place, "mqtt.expiry_h", what, "remove it, or write version = \"5\"");
    }
    hours * 3600
}

fn discovery(reader: &Reader<'_>) -> Discovery {
    if !reader.switch("mqtt", "discovery", false) {
        return Discovery::Off;
    }
    Discovery::On { prefix: reader.text("mqtt", "discovery_prefix").unwrap_or_else(|| "homeassistant".into()) }
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}
