//! The dashboards: each file parses, and asks for nothing that the daemon does not publish.

use std::collections::{BTreeMap, BTreeSet};

use edge_ger::wire::record::{CameraFault, CameraState, Emotion, Withheld};
use serde_json::Value;

use super::{blocks, health_payload, keys, labelled, matches, read, reading_payload, topics};

/// What Telegraf names by itself.
const TAGS: &[&str] = &["box", "camera"];

/// The payload that a subscription brings.
fn payload(filter: &str) -> Value {
    let found: Vec<_> = topics().into_iter().filter(|topic| matches(filter, topic)).collect();
    match found.as_slice() {
        [topic] if topic.ends_with("/reading") => reading_payload(&labelled()),
        [topic] if topic.ends_with("/health") => health_payload(),
        other => panic!("{filter} brings {other:?}"),
    }
}

/// The measurements that Telegraf stores, and their fields.
fn stored() -> BTreeMap<String, BTreeSet<String>> {
    let config: toml::Table = read("dashboards/telegraf.conf").parse().unwrap();
    let text = |of: &toml::Value, key: &str| of[key].as_str().unwrap_or_else(|| panic!("{key}: {of}")).to_owned();
    let mut stored = BTreeMap::new();
    for input in config["inputs"]["mqtt_consumer"].as_array().unwrap() {
        let filter = input["topics"][0].as_str().unwrap();
        assert_eq!(input["topics"].as_array().unwrap().len(), 1);
        let payload = payload(filter);
        let [levels] = input["topic_parsing"].as_array().unwrap().as_slice() else { panic!("{input}") };
        assert_eq!((text(levels, "topic").as_str(), text(levels, "tags").as_str()), (filter, "_/box/camera/_"));
        let [json] = input["json_v2"].as_array().unwrap().as_slice() else { panic!("{input}") };
        assert_eq!((text(json, "timestamp_path"), text(json, "timestamp_format")), ("ts_ms".into(), "unix_ms".into()));
        assert!(payload["ts_ms"].is_u64());
        let fields = json["field"].as_array().unwrap().iter().map(|field| {
            let (path, kind) = (text(field, "path"), text(field, "type"));
            let value = &payload[&path];
            let fits = match kind.as_str() {
                "int" => value.is_i64(),
                "float" => value.is_number(),
                "string" => value.is_string(),
                _ => false,
            };
            assert!(fits, "{path} is {value}, not {kind}");
            path
        });
        stored.insert(text(json, "measurement_name"), fields.collect());
    }
    stored
}

#[test]
fn telegraf_stores_what_is_published() {
    assert_eq!(stored().into_keys().collect::<Vec<_>>(), ["ger_health", "ger_reading"]);
}

/// What follows each `start`, up to a character that no name has.
fn names_after(text: &str, start: &str) -> BTreeSet<String> {
    let is_name = |it: char| it == '_' || it.is_ascii_alphanumeric();
    text.split(start).skip(1).map(|it| it.split(|it| !is_name(it)).next().unwrap().to_owned()).collect()
}

#[test]
fn grafana_asks_for_what_telegraf_stores() {
    let dashboard: Value = serde_json::from_str(&read("dashboards/grafana.json")).unwrap();
    let stored = stored();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(5 < panels.len());
    for panel in panels {
        let query = panel["targets"][0]["query"].as_str().unwrap();
        let measurements = names_after(query, "r._measurement == \"");
        let fields = measurements.iter().map(|it| stored.get(it).unwrap_or_else(|| panic!("{it}: {query}")));
        let known: BTreeSet<_> = fields.flatten().cloned().collect();
        let fields = names_after(query, "r._field == \"");
        assert!(measurements.len() == 1 && !fields.is_empty() && fields.is_subset(&known), "{query}");
        // After a pivot the fields are columns.
        let columns = names_after(query, "r.").into_iter().filter(|it| !it.starts_with('_'));
        for column in columns {
            assert!(TAGS.contains(&column.as_str()) || fields.contains(&column), "{column}: {query}");
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        for tag in names_after(variable["query"].as_str().unwrap(), "tag: \"") {
            assert!(TAGS.contains(&tag.as_str()), "{variable}");
        }
    }
}

/// The words of a panel's legend, by number.
fn legend(dashboard: &Value, title: &str) -> BTreeMap<i32, String> {
    let panel = dashboard["panels"].as_array().unwrap().iter().find(|it| it["title"] == title).expect("the panel");
    let options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"].as_object().unwrap();
    options.iter().map(|(code, it)| (code.parse().unwrap(), it["text"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn grafanas_words_are_those_of_the_program() {
    let dashboard: Value = serde_json::from_str(&read("dashboards/grafana.json")).unwrap();
    let moods = Emotion::ALL.iter().map(|it| (i32::from(it.code()), it.as_str().to_owned()));
    let reasons = Withheld::ALL.iter().map(|it| (-10 - i32::from(it.code()), it.as_str().to_owned()));
    assert_eq!(legend(&dashboard, "Mood"), moods.chain(reasons).collect());
    let states = CameraState::ALL.iter().map(|it| (it.code().into(), it.as_str().to_owned()));
    assert_eq!(legend(&dashboard, "Cameras"), states.collect());
    let faults = CameraFault::ALL.iter().map(|it| (it.code().into(), it.as_str().to_owned()));
    assert_eq!(legend(&dashboard, "Why a camera is not online"), faults.collect());
}

#[test]
fn node_red_reads_what_is_published() {
    let flow: Value = serde_json::from_str(&read("dashboards/node-red.json")).unwrap();
    let nodes = flow.as_array().unwrap();
    let text = |of: &Value, key: &str| of[key].as_str().unwrap().to_owned();
    let names: BTreeSet<_> = nodes.iter().map(|it| text(it, "id")).collect();
    assert_eq!(names.len(), nodes.len(), "an id stands twice");
    for node in nodes {
        let wires = node["wires"].as_array().into_iter().flatten().flat_map(|it| it.as_array().unwrap());
        let others = wires.chain(node.get("z")).chain(node.get("broker").filter(|_| node["type"] == "mqtt in"));
        for other in others {
            assert!(names.contains(other.as_str().unwrap()), "{node}");
        }
        if node["type"] == "mqtt in" {
            let filter = text(node, "topic");
            assert!(topics().iter().any(|topic| matches(&filter, topic)), "{filter}");
            assert_eq!(node["datatype"] == "json", filter.ends_with("/reading"), "only JSON can be parsed: {node}");
        }
        if node["type"] == "function" {
            let used = names_after(&text(node, "func"), "reading.");
            assert!(used.is_subset(&keys(&reading_payload(&labelled()))), "{used:?}");
        }
    }
}

#[test]
fn the_examples_in_the_documentation_read_what_is_published() {
    let page = read("docs/integrate.md");
    let known = keys(&reading_payload(&labelled()));
    let mut used = names_after(&blocks(&page, "javascript").concat(), "reading.");
    let python = blocks(&page, "python").concat();
    used.extend(names_after(&python, "reading[\""));
    used.extend(names_after(&python, "reading['"));
    assert!(5 < used.len() && used.is_subset(&known), "{used:?}");
}
