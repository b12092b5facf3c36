//! Lines for programs: one JSON object per record, change and verdict. `docs/install.md` has all kinds and keys.

use serde_json::{Map, Value as Json, json};

use super::{
    Site,
    facts::Facts,
    settings::{self, Setting, UnchangedKey},
    system,
    value::Value,
    verdict::{Item, counts},
};
use crate::wire::{
    control::Libraries,
    estimate::Estimate,
    record::{Emotion, Outcome, ProbeRecord, Reading, Record, Vital},
};

/// The first line.
#[must_use]
pub(crate) fn run(facts: &Facts) -> Json {
    let names: Vec<_> = facts.cameras.iter().map(|it| it.name.as_str()).collect();
    json!({
        "kind": "run", "version": env!("CARGO_PKG_VERSION"), "os": facts.system.os, "kernel": facts.system.kernel,
        "architecture": facts.system.architecture, "machine": facts.system.machine,
        "began_ms": facts.began_ms, "box": facts.box_name,
        "context": facts.context, "network": facts.network.name, "network_sha256": facts.network.sha256,
        "calibration_error": facts.network.calibration_error, "cores": facts.cores, "hop_s": facts.hop_s,
        "cameras": names,
    })
}

/// What the process that sees and hears works with.
#[must_use]
pub(crate) fn libraries(found: &Libraries) -> Json {
    let [(_, gstreamer), (_, onnx_runtime)] = system::libraries(Some(found));
    json!({ "kind": "libraries", "gstreamer": gstreamer, "onnx_runtime": onnx_runtime })
}

/// A record.
#[must_use]
pub(crate) fn record(site: &Site, record: &Record) -> Json {
    match record {
        Record::Reading(it) => reading(site.name(it.camera), it),
        Record::Vital(it) => vital(site.name(it.camera), it),
        Record::ProbeRecord(it) => probe(site.name(it.camera), it),
    }
}

fn reading(name: &str, reading: &Reading) -> Json {
    let (label, reason) = match reading.outcome {
        Outcome::Label(emotion) => (emotion.as_str(), "none"),
        Outcome::Withheld(reason) => ("withheld", reason.as_str()),
    };
    let mut line = json!({
        "kind": "reading", "camera": name, "slot": reading.slot, "ts_ms": reading.window_end_ms, "label": label,
        "reason": reason, "group_at_least": reading.group_at_least, "sound": reading.sound.as_str(),
        "frame_offset_ms": reading.frame_offset_ms, "latency_ms": reading.latency_ms,
        "inference_ms": reading.inference_ms,
    });
    probabilities(&mut line, reading.probabilities);
    line
}

fn vital(name: &str, vital: &Vital) -> Json {
    json!({
        "kind": "vital", "camera": name, "state": vital.state.as_str(), "fault": vital.fault.as_str(),
        "sound": vital.sound.as_str(), "provider": vital.provider.as_str(), "codec": vital.codec.as_str(),
        "width": vital.width, "height": vital.height, "fps": f64::from(vital.fps_x100) / 100.0,
        "key_ms": vital.key_distance_ms, "kbps": vital.kbps, "packets_lost": vital.packets_lost,
        "units_dropped": vital.units_dropped, "outages": vital.outages, "level_db": f64::from(vital.level_cdb) / 100.0,
        "camera_drift_ppm": vital.camera_drift_ppm, "sound_drift_ppm": vital.sound_drift_ppm,
        "decode_us": vital.decode_us, "inference_us": vital.inference_us, "labelled": vital.labelled,
        "withheld": vital.withheld, "luma": vital.luma, "sound_lost_ms": vital.sound_lost_ms,
    })
}

fn probe(name: &str, probe: &ProbeRecord) -> Json {
    let known = |is_known: bool, number: f64| if is_known { json!(number) } else { Json::Null };
    let heard = probe.noise_floor_cdb != crate::wire::record::LEVEL_NONE_CDB;
    let mut line = json!({
        "kind": "survey", "camera": name, "step": probe.step.as_str(), "slot": probe.slot,
        "contrast": probe.contrast, "sharpness": probe.sharpness, "frozen_ms": probe.frozen_ms,
        "jitter_ms": f64::from(probe.jitter_us) / 1000.0, "round_trip_ms": f64::from(probe.round_trip_us) / 1000.0,
        "packets": probe.packets,
        "camera_clock_ms": known(probe.camera_clock_ms != i32::MIN, f64::from(probe.camera_clock_ms)),
        "noise_floor_db": known(heard, f64::from(probe.noise_floor_cdb) / 100.0),
        "peak_db": known(heard, f64::from(probe.peak_cdb) / 100.0), "clipped_permille": probe.clipped_permille,
        "hum_db": known(0 < probe.hum_hz, f64::from(probe.hum_cdb) / 100.0), "hum_hz": probe.hum_hz,
        "clap_offset_ms": probe.clap_offset_ms, "clap_confidence": probe.clap_confidence, "claps": probe.claps,
        "motion": probe.motion(),
    });
    for (estimate, permille) in Estimate::ALL.into_iter().zip(probe.estimates_permille) {
        line[format!("{}_permille", estimate.as_str())] = json!(permille);
    }
    probabilities(&mut line, probe.probabilities);
    line
}

fn probabilities(line: &mut Json, probabilities: [u16; 3]) {
    for (emotion, p) in Emotion::ALL.into_iter().zip(probabilities) {
        line[format!("p_{}", emotion.as_str())] = json!(f64::from(p) / 10_000.0);
    }
}

/// A verdict: when it changed, or at the end.
#[must_use]
pub(crate) fn verdict(name: &str, item: &Item, is_final: bool) -> Json {
    json!({
        "kind": "verdict", "camera": name, "section": item.section.as_str(), "item": item.key,
        "verdict": item.grade.as_str(), "measured": item.measured, "unit": item.unit, "value": item.value,
        "bound": item.bound, "cure": item.cure, "final": is_final,
    })
}

/// A key that was measured. `camera` is null where it belongs to the box.
#[must_use]
pub(crate) fn setting(site: &Site, setting: &Setting) -> Json {
    let value = match &setting.value {
        Value::Integer(it) => json!(it),
        Value::Number(it) => json!(it),
        Value::Numbers(it) => json!(it),
        Value::Polygons(it) => json!(it),
    };
    json!({
        "kind": "setting", "camera": setting.camera.map(|it| site.name(it)),
        "key": format!("{}.{}", setting.section, setting.key), "value": value, "reason": setting.reason,
    })
}

/// A key that was measured and stays as it is.
#[must_use]
pub(crate) fn kept(site: &Site, kept: &UnchangedKey) -> Json {
    json!({
        "kind": "kept", "camera": kept.camera.map(|it| site.name(it)), "key": format!("{}.{}", kept.section, kept.key),
        "reason": kept.reason,
    })
}

/// The last lines: every verdict, every setting, and the sum.
#[must_use]
pub(crate) fn end(site: &Site) -> Vec<Json> {
    let verdicts = site.verdicts();
    let of = |(camera, items): &(&super::facts::CameraFacts, Vec<Item>)| {
        items.iter().map(|item| verdict(&camera.name, item, true)).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> = verdicts.iter().flat_map(of).collect();
    let found = settings::fitted_keys(site);
    lines.extend(found.settings.iter().map(|it| setting(site, it)));
    lines.extend(found.unchanged.iter().map(|it| kept(site, it)));
    let [pass, warn, fail, unknown] = counts(verdicts.iter().flat_map(|(_, items)| items));
    let mut end = Map::new();
    end.insert("kind".into(), json!("end"));
    for (word, count) in [("pass", pass), ("warn", warn), ("fail", fail), ("unknown", unknown)] {
        end.insert(word.into(), json!(count));
    }
    end.insert("watched_s".into(), json!(site.watched.as_secs_f64()));
    lines.push(Json::Object(end));
    lines
}

#[cfg(test)]
mod tests {
    use super::{super::guide::tests::site, *};
    use crate::{calibrate::observations::tests, wire::CameraId};

    /// Every key of a line, so that a change of the interface changes a test.
    fn keys(line: &Json) -> String {
        line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_are_stable() {
        let site = site();
        let label = Outcome::Label(Emotion::Neutral);
        let line = record(&site, &Record::Reading(tests::reading(7, label)));
        assert_eq!(
            keys(&line),
            "camera frame_offset_ms group_at_least inference_ms kind label latency_ms p_negative p_neutral p_positive \
             reason slot sound ts_ms"
        );
        assert_eq!(
            (&line["label"], &line["reason"], &line["p_positive"]),
            (&json!("neutral"), &json!("none"), &json!(0.7))
        );
        let line = record(&site, &Record::Vital(tests::vital()));
        assert_eq!(
            keys(&line),
            "camera camera_drift_ppm codec decode_us fault fps height inference_us kbps key_ms kind labelled level_db \
             luma outages packets_lost provider sound sound_drift_ppm sound_lost_ms state units_dropped width withheld"
        );
        let line = record(&site, &Record::ProbeRecord(ProbeRecord::unknown(CameraId(0))));
        assert_eq!(
            keys(&line),
            "camera camera_clock_ms clap_confidence clap_offset_ms claps clipped_permille contrast frozen_ms \
             head_width_permille hum_db hum_hz jitter_ms kind motion noise_floor_db p_negative p_neutral p_positive \
             packets peak_db round_trip_ms sharpness slot step"
        );
        for key in ["camera_clock_ms", "noise_floor_db", "hum_db", "motion"] {
            assert!(line[key].is_null(), "{key}");
        }
        let lines = end(&site);
        assert_eq!(keys(&lines[0]), "bound camera cure final item kind measured section unit value verdict");
        assert_eq!(keys(lines.last().unwrap()), "fail kind pass unknown warn watched_s");
        assert_eq!(
            keys(&run(&site.facts)),
            "architecture began_ms box calibration_error cameras context cores hop_s kernel kind machine network network_sha256 os version"
        );
    }
}
