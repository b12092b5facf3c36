//! A fleet in lines: for people as they come, for machines as JSON, and once as a table.

use serde_json::json;

use super::{
    fleet::{Fleet, News, Row, Sort, Totals, What},
    text::{Label, Reading},
};
use crate::service::logging::{date, time_of_day};

/// How wide a bar of probabilities in a line is, characters.
const BAR_CHARS: usize = 20;

/// News as a line for people.
pub(super) fn line(news: &News) -> String {
    let name = news.camera.as_ref().map_or_else(|| news.box_name.clone(), |it| format!("{}/{it}", news.box_name));
    match &news.what {
        What::Reading(it) if it.label == Label::Withheld => {
            format!("{} {name:<32} withheld  {}\n", when(it), it.reason)
        }
        What::Reading(it) => {
            let [positive, neutral, negative] = it.probabilities;
            format!(
                "{} {name:<32} {:<9} +{positive:.2} ={neutral:.2} -{negative:.2} after {} ms\n",
                when(it),
                it.label.as_str(),
                it.latency_ms
            )
        }
        What::State(word) => format!("{:24} {name:<32} {word}\n", ""),
        What::Removed => format!("{:24} {name:<32} removed\n", ""),
    }
}

/// The end of a reading's window, UTC.
fn when(reading: &Reading) -> String {
    format!("{} {}", date(reading.ts_ms), time_of_day(reading.ts_ms))
}

/// News as a line for machines: flat, with the keys of the texts that boxes publish.
pub(super) fn json_line(news: &News, retained: bool) -> String {
    let (name, camera) = (&news.box_name, &news.camera);
    let object = match &news.what {
        What::Reading(it) => {
            let [p_positive, p_neutral, p_negative] = it.probabilities.map(|it| (f64::from(it) * 1e4).round() / 1e4);
            json!({
                "kind": "reading", "box": name, "camera": camera, "retained": retained, "ts_ms": it.ts_ms,
                "boot": it.boot, "seq": it.seq, "label": it.label.as_str(), "p_positive": p_positive,
                "p_neutral": p_neutral, "p_negative": p_negative, "reason": it.reason, "group_min": it.group_min,
                "sound": it.sound, "latency_ms": it.latency_ms,
            })
        }
        What::State(word) => {
            json!({ "kind": "status", "box": name, "camera": camera, "retained": retained, "status": word })
        }
        What::Removed => json!({ "kind": "removed", "box": name, "camera": camera }),
    };
    format!("{object}\n")
}

/// The state of the connection as a line for machines.
pub(super) fn json_state(state: &str) -> String {
    format!("{}\n", json!({ "kind": "connection", "state": state }))
}

/// Everything that is known, as a table.
pub(super) fn table(fleet: &Fleet, now_ms: u64) -> String {
    let rows = fleet.rows("", Sort::Name, false);
    let wide = rows.iter().map(|it| it.name().len()).chain([6]).max().unwrap_or(6);
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
            row.station.info.provider
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
        Label::Mood(_) => bar(reading.probabilities, bar_chars),
    };
    let age = age(row.age_ms(now_ms).unwrap_or(0));
    [reading.label.as_str().to_owned(), age, bar, format!("{} ms", reading.latency_ms)]
}

/// Probabilities of positive, neutral and negative as so many signs `+`, `=` and `-` together.
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
pub(super) fn totals(it: &Totals) -> String {
    let unknown = if it.unknown == 0 { String::new() } else { format!(", {} unknown", it.unknown) };
    let labels: Vec<_> =
        Label::ALL.iter().zip(it.labels).map(|(label, count)| format!("{count} {}", label.as_str())).collect();
    let mut line = format!(
        "boxes: {} online, {} offline{unknown} · {} cameras: {} · {:.1} readings/s",
        it.online,
        it.offline,
        it.cameras,
        labels.join(", "),
        it.readings_per_s
    );
    if 0 < it.not_understood {
        line += &format!(" · {} messages not understood", it.not_understood);
    }
    if 0 < it.beyond {
        line += &format!(" · {} of more boxes than fit here", it.beyond);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mqtt::Message, watch::text::Mood};

    const NOW_MS: u64 = 1_795_000_005_000;

    fn reading() -> Reading {
        Reading {
            ts_ms: 1_795_000_000_000,
            boot: 42,
            seq: 7,
            label: Label::Mood(Mood::Positive),
            probabilities: [0.8123, 0.1, 0.0877],
            reason: "none".into(),
            group_min: 5,
            sound: "present".into(),
            latency_ms: 88,
        }
    }

    fn news(what: What) -> News {
        News { box_name: "box-7".into(), camera: Some("hall".into()), what }
    }

    #[test]
    fn lines_say_what_happened() {
        let check = |what, expected: &str| {
            let line = line(&news(what));
            assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), expected);
            assert!(line.ends_with('\n'));
        };
        check(What::Reading(reading()), "2026-11-18 11:06:40.000Z box-7/hall positive +0.81 =0.10 -0.09 after 88 ms");
        let withheld = Reading { label: Label::Withheld, reason: "dark".into(), ..reading() };
        check(What::Reading(withheld), "2026-11-18 11:06:40.000Z box-7/hall withheld dark");
        check(What::State("stale"), "box-7/hall stale");
        check(What::Removed, "box-7/hall removed");
    }

    #[test]
    fn json_is_flat() {
        let line = json_line(&news(What::Reading(reading())), true);
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert!(object.values().all(|it| it.is_number() || it.is_string() || it.is_boolean()), "{line}");
        assert_eq!(
            (&object["p_positive"], &object["seq"], &object["retained"]),
            (&json!(0.8123), &json!(7), &json!(true))
        );
        let gone = News { camera: None, ..news(What::State("offline")) };
        assert_eq!(
            json_line(&gone, false),
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
        // Whatever a box writes.
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
    fn the_table_says_all_that_is_known() {
        let mut fleet = Fleet::new("edge-ger");
        let mut take = |topic: &str, payload: &str| {
            let topic = format!("edge-ger/{topic}");
            fleet.take(&Message { topic, payload: payload.into(), retained: true }, NOW_MS);
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
