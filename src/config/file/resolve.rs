//! Builds the configuration from the layers: computed defaults, and the rules that concern several keys.

mod camera;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use config_rs::{Value, ValueKind};

use super::{
    Places,
    diagnostic::{Diagnostics, Place, Problem},
    environment::Environment,
    keys::{self, BoxSections},
    layer::Layer,
    parse::ParsedFile,
    schema::{Absent, Scope, section},
    secrets,
    value::{FilePath, to_name},
};
use crate::{
    config::{Camera, Config, Model, Mqtt, MqttVersion, Outbox, Page, ProviderChoice, Reading},
    time::Span,
};

/// More cameras would not fit into one message to a process, and no box could keep up with them.
const CAMERAS_MAX: usize = 100;
/// Corners of the masks of all cameras: what fits into the same message.
const CORNERS_MAX: usize = 2048;
/// All published systems look at windows of 5 s.
const WINDOW: Span = Span::from_ms(5000);

/// What the rules need besides the structs: whether and where a key was written. Keys are named as in messages:
/// `mqtt.port`.
pub(super) struct Context<'a> {
    /// The merged layers.
    layer: &'a Layer,
    /// Where a section begins, to which a missing key would have to be added.
    home: &'a dyn Fn(&str) -> Place,
    /// Some file could not be read, so no key can be called missing.
    is_unsure: bool,
    environment: &'a Environment,
    diagnostics: &'a mut Diagnostics,
}

impl Context<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        let (section, key) = key.split_once('.')?;
        self.layer.get(section, key)
    }

    /// Whether the key was written, valid or not.
    fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Whether the key was written with an invalid value.
    fn is_wrong(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.kind == ValueKind::Nil)
    }

    /// Where the key was written.
    fn place(&self, key: &str) -> Place {
        key.split_once('.').map_or(Place::Default, |(section, key)| self.layer.place(section, key))
    }

    /// Whether the key was written in a file. A variable applies to all cameras, so it need not fit each of them.
    fn is_in_file(&self, key: &str) -> bool {
        matches!(self.place(key), Place::File { .. })
    }

    fn fault(&mut self, key: &str, what: &str, cure: &str) {
        self.diagnostics.fault(self.place(key), key, Problem::new(what, cure));
    }

    fn warning(&mut self, place: Place, key: &str, what: &str, cure: &str) {
        self.diagnostics.warning(place, key, Problem::new(what, cure));
    }

    /// A key that has no effect without another one of its section is refused.
    fn needs(&mut self, section: &str, key: &str, other: &str, what: &str) {
        if self.has(&format!("{section}.{key}")) && !self.has(&format!("{section}.{other}")) {
            self.fault(&format!("{section}.{key}"), what, &format!("add {other}"));
        }
    }

    /// Notes which required keys of a section are missing.
    fn require(&mut self, name: &str) {
        let Some(section) = section(name).filter(|_| !self.is_unsure) else { return };
        for key in &section.keys {
            if matches!(key.absent, Absent::Required(_)) && self.layer.get(name, &key.name).is_none() {
                let cure = format!("add {} below [{name}]: {}", key.name, key.expectation);
                self.diagnostics.fault(
                    (self.home)(name),
                    format!("{name}.{}", key.name),
                    Problem::new("missing", cure),
                );
            }
        }
    }

    /// Tries to read a file now, so that a fault in it is found before anything starts.
    fn try_file<T>(&mut self, key: &str, path: Option<&Path>, read: fn(&Path) -> Result<T, secrets::Why>) {
        if let Some(Err((what, cure))) = path.map(read) {
            self.fault(key, what, cure);
        }
    }

    /// Tries to read a file with a secret, and warns if others than its owner may; systemd protects credentials itself.
    fn try_secret<T>(&mut self, key: &str, path: Option<&Path>, read: fn(&Path) -> Result<T, secrets::Why>) {
        let Some(path) = path else { return };
        self.try_file(key, Some(path), read);
        let is_credential = self.environment.credentials.as_ref().is_some_and(|folder| path.starts_with(folder));
        if !is_credential && secrets::is_open_to_others(path) {
            let what = "others than the file's owner may read it";
            self.warning(self.place(key), key, what, "chmod 600, or use a systemd credential");
        }
    }
}

/// Builds the configuration, which is valid only if there was no fault, and finds the place that names its network.
pub(super) fn config(
    files: &[ParsedFile],
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> (Config, Place) {
    let over = environment.layer(files, diagnostics);
    let mut merged = merge(files, &over, diagnostics);
    let keys: BoxSections = merged.read(Scope::Box, diagnostics);
    let home = |name: &str| {
        let there = files.iter().find_map(|file| file.section(name));
        there.or_else(|| Some(files.first()?.place(1))).unwrap_or(Place::CommandLine)
    };
    let is_unsure = files.is_empty() || files.iter().any(|file| file.is_broken);
    let context = &mut Context { layer: &merged, home: &home, is_unsure, environment, diagnostics };
    context.require("site");
    context.require("mqtt");
    check_providers(context, &keys.model);
    check_reading(context, &keys.reading);
    check_mqtt(context, &keys.mqtt);
    check_pause_file(context, &keys.privacy);
    let Places { state_dir, pause_file } = places_of(&keys, environment);
    let mut model = keys.model;
    model.cache_dir.get_or_insert_with(|| FilePath(environment.cache_dir(&state_dir)));
    let page = page(context, &keys.page);
    let model_place = context.place("model.file");
    let cameras = camera::all(files, &over, environment, diagnostics);
    limits(&cameras, diagnostics);
    let config = Config {
        box_name: keys.this_box.name.map_or_else(host_name, |name| name.0),
        site: keys.site,
        cameras,
        model,
        reading: keys.reading,
        mqtt: keys.mqtt,
        outbox: Outbox {
            file: keys.outbox.file.map_or_else(|| state_dir.join("outbox.sqlite"), |file| file.0),
            rows_max: keys.outbox.rows_max.get(),
            bytes_max: keys.outbox.mib_max.get::<u64>() << 20,
            age_max_s: keys.outbox.age_max_h.get::<u32>() * 3600,
        },
        page,
        pause_file,
        state_dir,
    };
    (config, model_place)
}

/// The layers of the box, merged. It is a fault if two files give a key different values.
fn merge(files: &[ParsedFile], over: &Layer, diagnostics: &mut Diagnostics) -> Layer {
    for (i, file) in files.iter().enumerate() {
        for (section, key, value) in file.layer.values().filter(|(section, ..)| section.scope == Scope::Box) {
            let first = files[..i].iter().find_map(|file| file.layer.get(&section.name, &key.name));
            let differs = |first: &&Value| {
                first.kind != value.kind && first.kind != ValueKind::Nil && value.kind != ValueKind::Nil
            };
            if let Some(first) = first.filter(differs) {
                let what = format!("this differs from {}", first.origin().unwrap_or_default());
                let cure = "the box has one of it: write it once, or the same everywhere";
                let place = file.layer.place(&section.name, &key.name);
                diagnostics.fault(place, format!("{}.{}", section.name, key.name), Problem::new(what, cure));
            }
        }
    }
    // Of equal values the first one is kept, so that messages name its place.
    Layer::merged(files.iter().rev().map(|file| &file.layer).chain([over]))
}

fn limits(cameras: &[Camera], diagnostics: &mut Diagnostics) {
    if CAMERAS_MAX < cameras.len() {
        let what = format!("there are more than {CAMERAS_MAX} cameras");
        diagnostics.fault(Place::CommandLine, "", Problem::new(what, "share them out among several boxes"));
    }
    let corners: usize = cameras.iter().flat_map(|camera| &camera.masks).map(|mask| mask.corners().len()).sum();
    if CORNERS_MAX < corners {
        let what = format!("the masks of all cameras have more than {CORNERS_MAX} points together");
        diagnostics.fault(Place::CommandLine, "camera.masks", Problem::new(what, "write simpler ones"));
    }
}

/// The host's name, made fit for topics.
fn host_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    host.split('.').next().and_then(to_name).unwrap_or_else(|| "box".into())
}

/// The state folder and the pause file, whatever else is wrong with the files: it must be possible to pause a box while
/// its configuration is being edited.
pub(super) fn places(files: &[ParsedFile], environment: &Environment, diagnostics: &mut Diagnostics) -> Places {
    let over = environment.layer(files, diagnostics);
    places_of(&merge(files, &over, diagnostics).read(Scope::Box, diagnostics), environment)
}

fn places_of(keys: &BoxSections, environment: &Environment) -> Places {
    let state_dir = keys.this_box.state_dir.as_ref().map_or_else(|| environment.state_dir(), |folder| folder.0.clone());
    let pause_file = keys.privacy.pause_file.as_ref().map_or_else(|| state_dir.join("paused"), |file| file.0.clone());
    Places { state_dir, pause_file }
}

fn check_pause_file(context: &mut Context<'_>, keys: &keys::PrivacyKeys) {
    if keys.pause_file.as_ref().is_some_and(|file| !file.parent().is_some_and(Path::is_dir)) {
        let what = "its folder is not there, so nobody can pause the box";
        let cure = "make the folder, where the daemon can see it";
        context.warning(context.place("privacy.pause_file"), "privacy.pause_file", what, cure);
    }
}

fn check_providers(context: &mut Context<'_>, model: &Model) {
    if model.providers.0.iter().rev().skip(1).any(|provider| *provider == ProviderChoice::Cpu) {
        let what = "what stands behind \"cpu\" would never be tried";
        context.fault("model.providers", what, "write \"cpu\" last, or leave it out");
    }
}

fn check_reading(context: &mut Context<'_>, reading: &Reading) {
    if reading.hop_s.span() < WINDOW {
        let what = "a hop shorter than a window of 5 s makes windows overlap: neighbouring readings share frames";
        let cure = "expect more work, and do not count them as independent";
        context.warning(context.place("reading.hop_s"), "reading.hop_s", what, cure);
    }
}

fn check_mqtt(context: &mut Context<'_>, mqtt: &Mqtt) {
    check_tls(context, mqtt);
    context.needs("mqtt", "password_file", "user", "a password means nothing without a user");
    context.try_secret("mqtt.password_file", mqtt.password_file.as_deref(), secrets::password);
    if !mqtt.tls && !is_loopback(&mqtt.host) {
        let password = if context.has("mqtt.password_file") { " and a password" } else { "" };
        let what = format!("readings{password} cross the network in the clear");
        context.warning(context.place("mqtt.host"), "mqtt.tls", &what, "write tls = true if the broker can do it");
    }
    if context.has("mqtt.expiry_h") && mqtt.version == MqttVersion::V311 && 0 < mqtt.expiry_h.get::<u32>() {
        let what = "MQTT 3.1.1 knows no expiry: the broker keeps readings for as long as it likes";
        let cure = "remove it, or write version = \"5\"";
        context.warning(context.place("mqtt.expiry_h"), "mqtt.expiry_h", what, cure);
    }
}

fn check_tls(context: &mut Context<'_>, mqtt: &Mqtt) {
    let is_off = !mqtt.tls && !context.is_wrong("mqtt.tls");
    for key in ["mqtt.tls_ca_file", "mqtt.tls_certificate_file", "mqtt.tls_key_file"] {
        if context.has(key) && is_off {
            context.fault(key, "this means nothing without tls", "write tls = true, or remove it");
        }
    }
    for (one, other) in [("tls_certificate_file", "tls_key_file"), ("tls_key_file", "tls_certificate_file")] {
        context.needs("mqtt", one, other, &format!("this means nothing without {other}"));
    }
    context.try_file("mqtt.tls_ca_file", mqtt.tls_ca_file.as_deref(), secrets::certificates);
    context.try_file("mqtt.tls_certificate_file", mqtt.tls_certificate_file.as_deref(), secrets::certificates);
    context.try_secret("mqtt.tls_key_file", mqtt.tls_key_file.as_deref(), secrets::private_key);
}

/// Whether connections to this host stay on this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The page. One that others could reach without a token is refused.
fn page(context: &mut Context<'_>, keys: &keys::PageKeys) -> Page {
    context.try_secret("page.token_file", keys.token_file.as_deref(), secrets::token);
    let Some(ip) = keys.address.address() else {
        // If the address is invalid, nothing can be said about the token.
        if context.has("page.token_file") && !context.is_wrong("page.address") {
            let cure = "write address = \"loopback\" or an address, or remove it";
            context.fault("page.token_file", "this means nothing without an address", cure);
        }
        return Page::Off;
    };
    let address = SocketAddr::new(ip, keys.port.get());
    match &keys.token_file {
        Some(token_file) => {
            if !ip.is_loopback() {
                let what = "the page and its token cross the network in the clear";
                let cure = "write \"loopback\" and read it through ssh -L, or put a proxy with TLS before it";
                context.warning(context.place("page.address"), "page.address", what, cure);
            }
            Page::Guarded { address, token_file: token_file.0.clone() }
        }
        None if ip.is_loopback() => Page::Loopback(address),
        None => {
            // An invalid token_file has its fault already.
            if !context.has("page.token_file") {
                let what = "others could read the page: this address is not loopback, and there is no token";
                let cure = "add token_file below [page], the path of a file with a token (openssl rand -hex 32), or \
                            write \"loopback\"";
                context.fault("page.address", what, cure);
            }
            Page::Off
        }
    }
}
