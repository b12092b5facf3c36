//! A fleet as lines of text for people, as JSON for programs, and as one table.

use serde_json::json;

use super::{
    fleet::{Change, Fleet, Row, Sort, Totals, Update},
    text::{Label, Reading},
};
use crate::service::logging::{date, time_of_day};

/// The width of a bar of probabilities, characters.
const BAR_CHARS: usize = 20;

/// An update as a line for people.
pub(super) fn line(update: &Update) -> String {
    let box_name = &update.box_name;
    let name = update.camera.as_ref().map_or_else(|| box_name.clone(), |camera| format!("{box_name}/{camera}"));
    match &update.change {
        Change::Reading(reading) if reading.label == Label::Withheld => {
            format!("{} {name:<32} withheld  {}\n", end_of_window(reading), reading.reason)
        }
        Change::Reading(reading) => {
            let [positive, neutral, negative] = reading.probabilities;
            format!(
                "{} {name:<32} {:<9} +{positive:.2} ={neutral:.2} -{negative:.2} after {} ms\n",
                end_of_window(reading),
                reading.label.as_str(),
                reading.latency_ms
            )
        }
        Change::State(word) => format!("{:24} {name:<32} {word}\n", ""),
        Change::Removed => format!("{:24} {name:<32} removed\n", ""),
    }
}

/// The end of a reading's window, UTC.
fn end_of_window(reading: &Reading) -> String {
    format!("{} {}", date(reading.ts_ms), time_of_day(reading.ts_ms))
}

/// An update as a line of JSON: flat, with the keys of the published payloads.
pub(super) fn json_line(update: &Update, retained: bool) -> String {
    let (name, camera) = (&update.box_name, &update.camera);
    let object = match &update.change {
        Change::Reading(reading) => {
            let four_digits = |probability| (f64::from(probability) * 1e4).round() / 1e4;
            let [p_positive, p_neutral, p_negative] = reading.probabilities.map(four_digits);
            json!({
                "kind": "reading", "box": name, "camera": camera, "retained": retained, "ts_ms": reading.ts_ms,
                "boot": reading.boot, "seq": reading.seq, "label": reading.label.as_str(), "p_positive": p_positive,
                "p_neutral": p_neutral, "p_negative": p_negative, "reason": reading.reason, "group_min": reading.group_min,
                "sound": reading.sound, "latency_ms": reading.latency_ms,
            })
        }
        Change::State(word) => {
            json!({ "kind": "status", "box": name, "camera": camera, "retained": retained, "status": word })
        }
        Change::Removed => json!({ "kind": "removed", "box": name, "camera": camera }),
    };
    format!("{object}\n")
}

/// The state of the connection as a line of JSON.
pub(super) fn json_state(state: &str) -> String {
    format!("{}\n", json!({ "kind": "connection", "state": state }))
}

/// The whole state as a table.
pub(super) fn table(fleet: &Fleet, now_ms: u64) -> String {
    let rows = fleet.rows("", Sort::Name, false);
    let wide = rows.iter().map(|row| row.name().len()).chain([6]).max().unwrap_or(6);
    let mut table = format!(
        "{:<wide$}  {:<7}  {:<8}  {:>6}  {:<BAR_CHARS$}  {:>7}  provider\n",
        "camera", "state", "label", "age", "+ = -", "latency"
    );
    for row in &rows {
        let [label, age, bar, latency] = cells(row, BAR_CHARS, now_ms);
        let line = format!(
            "{:<wide$}  {:<7}  {label:<8}  {age:>6}  {bar:<BAR_CHARS$}  {latency:>7}  {}",
            row.name(),
            row.state(),
            row.box_state.info.provider
        );
        table += line.trim_end();
        table.push('\n');
    }
    table + &totals(&fleet.totals(now_ms)) + "\n"
}

/// Label, age, bar or reason, and latency of a line's newest reading; empty where there is none.
pub(super) fn cells(row: &Row<'_>, bar_chars: usize, now_ms: u64) -> [String; 4] {
    let Some(reading) = row.reading() else { return Default::default() };
    let bar = match reading.label {
        Label::Withheld => reading.reason.chars().take(bar_chars).collect(),
        Label::Emotion(_) => bar(reading.probabilities, bar_chars),
    };
    let age = age(row.age_ms(now_ms).unwrap_or(0));
    [reading.label.as_str().to_owned(), age, bar, format!("{} ms", reading.latency_ms)]
}

/// Probabilities of positive, neutral and negative as a bar of `+`, `=` and `-`, `chars` wide.
pub(super) fn bar(probabilities: [f32; 3], chars: usize) -> String {
    let sum: f32 = probabilities.iter().sum();
    if sum <= 0.0 {
        return " ".repeat(chars);
    }
    let mut bar = String::new();
    let mut until = 0.0;
    for (sign, probability) in ['+', '=', '-'].into_iter().zip(probabilities) {
        until += probability / sum;
        while bar.len() < chars && (bar.len() as f32) + 0.5 <= until * chars as f32 {
            bar.push(sign);
        }
    }
    bar
}

/// A length of time in its largest unit.
pub(super) fn age(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", (s / 86_400).min(9999)),
    }
}

/// The fleet in one line.
pub(super) fn totals(totals: &Totals) -> String {
    let unknown = if totals.unknown == 0 { String::new() } else { format!(", {} unknown", totals.unknown) };
    let labels: Vec<_> =
        Label::ALL.iter().zip(totals.labels).map(|(label, count)| format!("{count} {}", label.as_str())).collect();
    let mut line = format!(
        "boxes: {} online, {} offline{unknown} · {} cameras: {} · {:.1} readings/s",
        totals.online,
        totals.offline,
        totals.cameras,
        labels.join(", "),
        totals.readings_per_s
    );
    if 0 < totals.not_understood {
        line += &format!(" · {} messages not understood", totals.not_understood);
    }
    if 0 < totals.over_limit {
        line += &format!(" · {} of more boxes than fit here", totals.over_limit);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mqtt::Message, wire::record::Emotion};

    const NOW_MS: u64 = 1_795_000_005_000;

    fn reading() -> Reading {
        Reading {
            ts_ms: 1_795_000_000_000,
            boot: 42,
            seq: 7,
            label: Label::Emotion(Emotion::Positive),
            probabilities: [0.8123, 0.1, 0.0877],
            reason: "none".into(),
            group_min: 5,
            sound: "present".into(),
            latency_ms: 88,
        }
    }

    fn update(change: Change) -> Update {
        Update { box_name: "box-7".into(), camera: Some("hall".into()), change }
    }

    #[test]
    fn lines_describe_updates() {
        let check = |change, expected: &str| {
            let line = line(&update(change));
            assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), expected);
            assert!(line.ends_with('\n'));
        };
        check(Change::Reading(reading()), "2026-11-18 11:06:40.000Z box-7/hall positive +0.81 =0.10 -0.09 after 88 ms");
        let withheld = Reading { label: Label::Withheld, reason: "dark".into(), ..reading() };
        check(Change::Reading(withheld), "2026-11-18 11:06:40.000Z box-7/hall withheld dark");
        check(Change::State("stale"), "box-7/hall stale");
        check(Change::Removed, "box-7/hall removed");
    }

    #[test]
    fn json_is_flat() {
        let line = json_line(&update(Change::Reading(reading())), true);
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert!(object.values().all(|value| value.is_number() || value.is_string() || value.is_boolean()), "{line}");
        assert_eq!(
            (&object["p_positive"], &object["seq"], &object["retained"]),
            (&json!(0.8123), &json!(7), &json!(true))
        );
        let offline = Update { camera: None, ..update(Change::State("offline")) };
        assert_eq!(
            json_line(&offline, false),
            "{\"box\":\"box-7\",\"camera\":null,\"kind\":\"status\",\"retained\":false,\"status\":\"offline\"}\n"
        );
    }

    #[test]
    fn a_bar_has_its_width_and_its_parts() {
        let check = |probabilities, expected: &str| assert_eq!(bar(probabilities, 10), expected);
        check([0.8, 0.1, 0.1], "++++++++=-");
        check([1.0, 0.0, 0.0], "++++++++++");
        check([0.33, 0.33, 0.34], "+++====---");
        check([0.04, 0.0, 0.96], "----------");
        check([0.0; 3], "          ");
        // A sum other than 1 is scaled.
        check([1.0, 1.0, 1.0], "+++====---");
    }

    #[test]
    fn ages_have_one_unit() {
        let check = |ms, expected: &str| assert_eq!(age(ms), expected);
        check(4999, "4 s");
        check(119_999, "119 s");
        check(120_000, "2 min");
        check(7_200_000, "2 h");
        check(172_800_000, "2 d");
        check(u64::MAX, "9999 d");
    }

    #[test]
    fn the_table_shows_the_whole_state() {
        let mut fleet = Fleet::new("edge-ger");
        let mut take = |topic: &str, payload: &str| {
            let topic = format!("edge-ger/{topic}");
            fleet.apply(&Message { topic, payload: payload.into(), retained: true }, NOW_MS);
        };
        take("box-7/status", "online");
        take("box-7/info", r#"{"version":"0.1.0","model":"m","provider":"cuda"}"#);
        take("box-7/hall/status", "online");
        take(
            "box-7/hall/last",
            r#"{"v":1,"ts_ms":1795000000000,"boot":42,"seq":7,"label":"positive","code":1,"p_positive":0.5,"p_neutral":0.25,"p_negative":0.25,"reason":"none","group_min":5,"sound":"off","offset_ms":1,"latency_ms":88,"inference_ms":3}"#,
        );
        take("box-9/status", "offline");
        assert_eq!(
            table(&fleet, NOW_MS),
            "camera      state    label        age  + = -                 latency  provider\n\
             box-7/hall  online   positive     5 s  ++++++++++=====-----    88 ms  cuda\n\
             box-9       box off\n\
             boxes: 1 online, 1 offline · 1 cameras: 1 positive, 0 neutral, 0 negative, 0 withheld · 0.0 readings/s\n"
        );
    }
}
