//! Cameras: one for every file that speaks of one.

use std::collections::BTreeMap;

use super::{
    super::{
        remark::{Place, Remarks, Wrong},
        schema::{Scope, section},
        secrets,
        surroundings::Surroundings,
        url::Url,
        value::{self, Value},
        written::{Entries, Sheet},
    },
    Reader,
};
use crate::{
    config::{Camera, Decode, Gates, Rtsp, Sound, Source, Transport, schedule::Schedule},
    time::Span,
    wire::CameraId,
};

/// All cameras whose description is whole, in the files' order.
pub(super) fn all(
    sheets: &[Sheet],
    overrides: &Entries,
    surroundings: &Surroundings,
    remarks: &mut Remarks,
) -> Vec<Camera> {
    let mut names = BTreeMap::new();
    let mut cameras = Vec::new();
    let mut seen = 0;
    for sheet in sheets {
        let Some(begin) = sheet.camera() else { continue };
        seen += 1;
        let mut entries = sheet.entries.clone();
        let of_cameras = |name: &str| section(name).is_some_and(|it| it.scope == Scope::Camera);
        entries.extend(overrides.iter().filter(|(key, _)| of_cameras(key.0)).map(|(key, entry)| (*key, entry.clone())));
        let home = |name: &str| sheet.sections.get(name).map_or(begin.clone(), |line| sheet.place(*line));
        let mut reader = Reader { entries: &entries, home: &home, unsure: false, remarks: &mut *remarks };
        let name = name(&mut reader, sheet, &begin, &mut names);
        if let (Some(camera), Some(name)) = (camera(&mut reader, surroundings), name) {
            let id = CameraId(u16::try_from(cameras.len()).unwrap_or(u16::MAX));
            cameras.push(Camera { id, name, ..camera });
        }
    }
    if seen == 0 && !sheets.is_empty() && !sheets.iter().any(|sheet| sheet.broken || sheet.homeless) {
        let place = sheets.first().map_or(Place::CommandLine, |sheet| sheet.place(0));
        let cure = "add [camera] and below it url = \"rtsp://HOST/…\"";
        remarks.fault(place, "camera", Wrong::new("there is no camera in any file", cure));
    } else if !cameras.is_empty() && cameras.iter().all(|camera| camera.sound == Sound::Off) {
        let place = sheets.iter().find_map(Sheet::camera).unwrap_or(Place::Default);
        let what = "no camera has sound: a network that needs it withholds every reading";
        let cure = "write source = \"camera\" or \"microphone\" below [sound], or use a network for pictures alone";
        remarks.warning(place, "sound.source", Wrong::new(what, cure));
    }
    cameras
}

/// The camera's name, which no other has.
fn name(reader: &mut Reader<'_>, sheet: &Sheet, begin: &Place, names: &mut BTreeMap<String, Place>) -> Option<String> {
    let (name, place) = if reader.has("camera", "name") {
        (reader.text("camera", "name")?, reader.place("camera", "name"))
    } else {
        let stem = sheet.path.file_stem().unwrap_or_default().to_string_lossy();
        let Some(name) = value::to_name(&stem) else {
            let cure = "add name = \"hall\", or its like, below [camera]";
            reader.remarks.fault(
                begin.clone(),
                "camera.name",
                Wrong::new("the file's name makes no camera's name", cure),
            );
            return None;
        };
        (name, begin.clone())
    };
    if let Some(other) = names.get(&name) {
        let wrong = Wrong::new(format!("this camera's name is that of {other}"), "give each a name of its own");
        reader.remarks.fault(place, "camera.name", wrong);
        return None;
    }
    names.insert(name.clone(), place);
    Some(name)
}

fn camera(reader: &mut Reader<'_>, surroundings: &Surroundings) -> Option<Camera> {
    reader.require("camera");
    let url = match reader.value("camera", "url") {
        Some(Value::Url(url)) => Some(url.clone()),
        _ => None,
    };
    if let Some(url) = &url {
        only_for_network_cameras(reader, url);
    }
    let rtsp = rtsp(reader, surroundings);
    let sound = sound(reader, url.as_ref());
    let gates = gates(reader);
    let source = match url? {
        Url::Rtsp(url) => Source::Rtsp(Rtsp { url, ..rtsp }),
        Url::File(path) => Source::File(path),
        Url::V4l2(path) => Source::V4l2(path),
    };
    if let Source::File(path) | Source::V4l2(path) = &source
        && !path.exists()
    {
        let place = reader.place("camera", "url");
        reader.warning(place, "camera.url", "it is not there now", "the daemon will wait for it");
    }
    Some(Camera {
        id: CameraId::default(),
        name: String::new(),
        source,
        decode: match reader.text("camera", "decode").as_deref() {
            Some("keyframes") => Decode::Keyframes,
            Some("all") => Decode::All,
            _ => Decode::Auto,
        },
        decoder: reader.text("camera", "decoder"),
        sound,
        sync_offset: reader.ms("sync", "offset_ms", Span::ZERO),
        gates,
        masks: match reader.value("camera", "masks") {
            Some(Value::Masks(masks)) => masks.clone(),
            _ => Vec::new(),
        },
        schedule: match reader.value("camera", "schedule") {
            Some(Value::Hours(schedule)) => schedule.clone(),
            _ => Schedule::default(),
        },
    })
}

/// Refuses keys that would do nothing. The environment speaks to all cameras, so it may say what does not fit one.
fn only_for_network_cameras(reader: &mut Reader<'_>, url: &Url) {
    let network = ["user", "password_file", "transport", "latency_ms"].map(|key| (key, "rtsp:// or rtsps://"));
    let secure = ["tls_fingerprint", "tls_ca_file"].map(|key| (key, "rtsps://"));
    for (key, schemes) in network.into_iter().chain(secure) {
        let fits = if schemes == "rtsps://" { url.is_secure() } else { matches!(url, Url::Rtsp(_)) };
        if !fits && matches!(reader.place("camera", key), Place::File { .. }) {
            let what = format!("this means nothing for a url that is not {schemes}");
            reader.fault("camera", key, &what, "remove it, or change the url");
        }
    }
}

/// All of a network camera but its URL.
fn rtsp(reader: &mut Reader<'_>, surroundings: &Surroundings) -> Rtsp {
    if reader.has("camera", "password_file") && !reader.has("camera", "user") {
        reader.fault("camera", "password_file", "a password means nothing without a user", "add user");
    }
    if reader.value("camera", "tls_fingerprint").is_some() && reader.value("camera", "tls_ca_file").is_some() {
        let what = "a certificate is checked by its fingerprint or by its authority, not by both";
        reader.fault("camera", "tls_ca_file", what, "remove one of the two");
    }
    reader.try_file("camera", "password_file", secrets::password);
    reader.keep_private("camera", "password_file", surroundings);
    reader.try_file("camera", "tls_ca_file", secrets::certificates);
    Rtsp {
        url: String::new(),
        user: reader.text("camera", "user"),
        password_file: reader.path("camera", "password_file"),
        transport: match reader.text("camera", "transport").as_deref() {
            Some("udp") => Transport::Udp,
            _ => Transport::Tcp,
        },
        latency_ms: reader.integer("camera", "latency_ms", 200),
        fingerprint: reader.text("camera", "tls_fingerprint").and_then(|text| value::fingerprint(&text)),
        ca_file: reader.path("camera", "tls_ca_file"),
    }
}

fn sound(reader: &mut Reader<'_>, url: Option<&Url>) -> Sound {
    let source = reader.text("sound", "source");
    // Where the source is wrong, nothing is known about the device.
    let known = source.is_some() || !reader.has("sound", "source");
    let microphone = source.as_deref() == Some("microphone");
    if microphone && !reader.has("sound", "device") {
        let cure = "add device = \"default\", or the microphone's name, below [sound]";
        reader.fault("sound", "source", "the microphone's name is missing", cure);
    }
    if known && !microphone && matches!(reader.place("sound", "device"), Place::File { .. }) {
        let cure = "write source = \"microphone\", or remove it";
        reader.fault("sound", "device", "this means nothing unless the source is \"microphone\"", cure);
    }
    if source.as_deref() == Some("camera") && matches!(url, Some(Url::V4l2(_))) {
        let cure = "write source = \"microphone\" and its device";
        reader.fault("sound", "source", "a camera of this machine sends no sound of its own", cure);
    }
    match source.as_deref() {
        Some("camera") => Sound::Camera,
        Some("microphone") => reader.text("sound", "device").map_or(Sound::Off, Sound::Microphone),
        _ => Sound::Off,
    }
}

fn gates(reader: &Reader<'_>) -> Gates {
    let default = Gates::default();
    Gates {
        frame_offset_max: reader.ms("gates", "frame_offset_max_ms", default.frame_offset_max),
        frames_missing_max: reader.integer("gates", "frames_missing_max", default.frames_missing_max),
        packets_lost_max: reader.integer("gates", "packets_lost_max", default.packets_lost_max),
        luma_min: reader.number("gates", "luma_min", default.luma_min),
        motion_min: reader.number("gates", "motion_min", default.motion_min),
    }
}
