//! Cameras: one for each file with a camera's section.

use std::collections::BTreeMap;

use super::Context;
use crate::config::{
    Camera, CameraId, Rtsp, Sound, Source,
    file::{
        diagnostic::{Diagnostics, Place, Problem},
        environment::Environment,
        keys::{self, CameraSections, SoundSource},
        layer::Layer,
        parse::ParsedFile,
        schema::Scope,
        secrets,
        value::{CameraUrl, to_name},
    },
};

/// All complete cameras, in the order of the files.
pub(super) fn all(
    files: &[ParsedFile],
    over: &Layer,
    environment: &Environment,
    diagnostics: &mut Diagnostics,
) -> Vec<Camera> {
    let mut names = BTreeMap::new();
    let mut cameras = Vec::new();
    let mut count = 0;
    for file in files {
        let Some(begin) = file.camera() else { continue };
        count += 1;
        let mut merged = Layer::merged([&file.layer, over]);
        let keys: CameraSections = merged.read(Scope::Camera, diagnostics);
        let home = |name: &str| file.section(name).unwrap_or_else(|| begin.clone());
        let layer = &merged;
        let mut context = Context { layer, home: &home, is_unsure: false, environment, diagnostics: &mut *diagnostics };
        let name = name(&mut context, &keys.camera, file, &begin, &mut names);
        if let (Some(camera), Some(name)) = (camera(&mut context, keys), name) {
            let id = CameraId(u16::try_from(cameras.len()).unwrap_or(u16::MAX));
            cameras.push(Camera { id, name, ..camera });
        }
    }
    if count == 0 && !files.is_empty() && !files.iter().any(|file| file.is_broken || file.may_have_camera) {
        let place = files.first().map_or(Place::CommandLine, |file| file.place(0));
        let cure = "add [camera] and below it url = \"rtsp://HOST/…\"";
        diagnostics.fault(place, "camera", Problem::new("there is no camera in any file", cure));
    } else if !cameras.is_empty() && cameras.iter().all(|camera| camera.sound == Sound::Off) {
        let place = files.iter().find_map(ParsedFile::camera).unwrap_or(Place::Default);
        let what = "no camera has sound: a network that needs it withholds every reading";
        let cure = "write source = \"camera\" or \"microphone\" below [sound], or use a network for pictures alone";
        diagnostics.warning(place, "sound.source", Problem::new(what, cure));
    }
    cameras
}

/// The camera's name, which must be unique.
fn name(
    context: &mut Context<'_>,
    keys: &keys::CameraKeys,
    file: &ParsedFile,
    begin: &Place,
    names: &mut BTreeMap<String, Place>,
) -> Option<String> {
    let (name, place) = if context.has("camera.name") {
        (keys.name.as_ref()?.0.clone(), context.place("camera.name"))
    } else {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        let Some(name) = to_name(&stem) else {
            let cure = "add name = \"hall\", or its like, below [camera]";
            let problem = Problem::new("the file's name makes no camera's name", cure);
            context.diagnostics.fault(begin.clone(), "camera.name", problem);
            return None;
        };
        (name, begin.clone())
    };
    if let Some(other) = names.get(&name) {
        let problem = Problem::new(format!("this camera's name is that of {other}"), "give each a name of its own");
        context.diagnostics.fault(place, "camera.name", problem);
        return None;
    }
    names.insert(name.clone(), place);
    Some(name)
}

/// Everything of a camera but its number and its name.
fn camera(context: &mut Context<'_>, keys: CameraSections) -> Option<Camera> {
    context.require("camera");
    let rtsp = rtsp(context, &keys.camera);
    let url = keys.camera.url.map(|url| url.0);
    let sound = sound(context, keys.sound, url.as_ref());
    let source = match url? {
        CameraUrl::Rtsp(url) => Source::Rtsp(Rtsp { url, ..rtsp }),
        CameraUrl::File(path) => Source::File(path),
        CameraUrl::V4l2(path) => Source::V4l2(path),
    };
    if let Source::File(path) | Source::V4l2(path) = &source
        && !path.exists()
    {
        let place = context.place("camera.url");
        context.warning(place, "camera.url", "it is not there now", "the daemon will wait for it");
    }
    Some(Camera {
        id: CameraId::default(),
        name: String::new(),
        source,
        decode: keys.camera.decode,
        decoder: keys.camera.decoder.map(|element| element.0),
        sound,
        sync_offset: keys.sync.offset_ms.span(),
        gates: keys.gates,
        masks: keys.camera.masks.0,
        schedule: keys.camera.schedule.unwrap_or_default(),
    })
}

/// Everything of a network camera but its URL. Keys without effect are refused.
fn rtsp(context: &mut Context<'_>, keys: &keys::CameraKeys) -> Rtsp {
    if let Some(url) = &keys.url {
        let network = ["user", "password_file", "transport", "latency_ms"].map(|key| (key, "rtsp:// or rtsps://"));
        let secure = ["tls_fingerprint", "tls_ca_file"].map(|key| (key, "rtsps://"));
        for (key, schemes) in network.into_iter().chain(secure) {
            let fits = if schemes == "rtsps://" { url.0.is_secure() } else { matches!(url.0, CameraUrl::Rtsp(_)) };
            let key = format!("camera.{key}");
            if !fits && context.is_in_file(&key) {
                let what = format!("this means nothing for a url that is not {schemes}");
                context.fault(&key, &what, "remove it, or change the url");
            }
        }
    }
    context.needs("camera", "password_file", "user", "a password means nothing without a user");
    if keys.tls_fingerprint.is_some() && keys.tls_ca_file.is_some() {
        let what = "a certificate is checked by its fingerprint or by its authority, not by both";
        context.fault("camera.tls_ca_file", what, "remove one of the two");
    }
    context.try_file("camera.tls_ca_file", keys.tls_ca_file.as_deref(), secrets::certificates);
    context.try_secret("camera.password_file", keys.password_file.as_deref(), secrets::password);
    Rtsp {
        url: String::new(),
        user: keys.user.as_ref().map(|user| user.0.clone()),
        password_file: keys.password_file.as_ref().map(|file| file.0.clone()),
        transport: keys.transport,
        latency_ms: keys.latency_ms.get(),
        fingerprint: keys.tls_fingerprint.as_ref().map(|fingerprint| fingerprint.0),
        ca_file: keys.tls_ca_file.as_ref().map(|file| file.0.clone()),
    }
}

fn sound(context: &mut Context<'_>, keys: keys::SoundKeys, url: Option<&CameraUrl>) -> Sound {
    let is_microphone = keys.source == SoundSource::Microphone;
    if is_microphone && !context.has("sound.device") {
        let cure = "add device = \"default\", or the microphone's name, below [sound]";
        context.fault("sound.source", "the microphone's name is missing", cure);
    }
    // If the source is invalid, nothing is known about the device.
    if !is_microphone && !context.is_wrong("sound.source") && context.is_in_file("sound.device") {
        let cure = "write source = \"microphone\", or remove it";
        context.fault("sound.device", "this means nothing unless the source is \"microphone\"", cure);
    }
    if keys.source == SoundSource::Camera && matches!(url, Some(CameraUrl::V4l2(_))) {
        let cure = "write source = \"microphone\" and its device";
        context.fault("sound.source", "a camera of this machine sends no sound of its own", cure);
    }
    match keys.source {
        SoundSource::Camera => Sound::Camera,
        SoundSource::Microphone => keys.device.map_or(Sound::Off, |device| Sound::Microphone(device.0)),
        SoundSource::None => Sound::Off,
    }
}
