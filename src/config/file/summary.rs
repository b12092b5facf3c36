//! What `edge-ger check` prints about a valid configuration: no user, no password, no path of a URL.

use serde::Serialize;

use super::Loaded;
use crate::config::{Camera, Config, Page, Sound, Source};

/// The box, each camera, the warnings: one line each.
pub(super) fn of(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let the_box = format!("box {}: {}\n", config.box_name, the_box(config));
    let cameras = config.cameras.iter().map(|camera| format!("camera {}: {}\n", camera.name, the_camera(camera)));
    let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    std::iter::once(the_box).chain(cameras).chain(warnings).collect()
}

fn the_box(config: &Config) -> String {
    let providers: Vec<_> = config.model.providers.0.iter().map(word).collect();
    let version = word(&config.mqtt.version);
    let page = match &config.page {
        Page::Off => String::new(),
        Page::Loopback(address) => format!("; page at http://{address}/"),
        Page::Guarded { address, .. } => format!("; page at http://{address}/ with a token"),
    };
    format!(
        "network {} on {}; a reading every {} s of a group of {} or more; MQTT {version} to {} port {}{}; context {}{page}",
        config.model.file.display(),
        providers.join(", then "),
        config.reading.hop_s.span().as_secs_f64(),
        config.reading.min_group.get::<u8>(),
        config.mqtt.host.0,
        config.mqtt.port(),
        if config.mqtt.tls { " with TLS" } else { "" },
        config.site.context.0,
    )
}

/// The word of an enum's variant in the configuration.
fn word(variant: &impl Serialize) -> String {
    serde_json::to_value(variant).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

fn the_camera(camera: &Camera) -> String {
    let source = match &camera.source {
        Source::Rtsp(rtsp) => {
            let over = word(&rtsp.transport).to_uppercase();
            let scheme = if rtsp.url.starts_with("rtsps") { "rtsps" } else { "rtsp" };
            // The path may contain a secret in a form that only this camera knows.
            let host = rtsp.url.split(['/', '?', '#']).nth(2).unwrap_or_default();
            format!("{scheme} from {host} over {over}, {} ms of jitter buffer", rtsp.latency_ms)
        }
        Source::File(path) => format!("the recording {}", path.display()),
        Source::V4l2(path) => path.display().to_string(),
    };
    let sound = match &camera.sound {
        Sound::Off => "no sound".to_owned(),
        Sound::Camera => "the camera's sound".to_owned(),
        Sound::Microphone(name) => format!("sound from the microphone {name}"),
    };
    let masks = match camera.masks.as_slice() {
        [] => String::new(),
        [_] => "; 1 mask".to_owned(),
        masks => format!("; {} masks", masks.len()),
    };
    let hours = if camera.schedule.is_always() { String::new() } else { format!("; watched {}", camera.schedule) };
    format!("{source}; {sound}{masks}{hours}")
}
