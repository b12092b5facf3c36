//! What Home Assistant is told, against the rules by which it takes it, and against what is really published.

use std::collections::{BTreeMap, BTreeSet};

use edge_ger::config::{DiscoveryPrefix, TopicPrefix};
use serde_json::{Map, Value};

use super::*;
use crate::it::harness::broker::retained;

const CONFIG: &str = "homeassistant/device/edge-ger_-box_-cam/config";
const OTHER: CameraId = CameraId(1);
const OTHER_CONFIG: &str = "homeassistant/device/edge-ger_-box_-door__2/config";

/// The room's begin with discovery on.
fn discovering(port: u16, folder: &Path) -> PublishConfig {
    let mut begin = begin(port, folder);
    begin.mqtt.discovery = true;
    begin
}

/// What Home Assistant's schemas know (`homeassistant/components/mqtt`: `schemas.py`, `sensor.py`,
/// `binary_sensor.py`), as far as it makes sense for something that takes no commands.
const AT_THE_TOP: &[&str] =
    &["dev", "o", "cmps", "availability", "availability_mode", "state_topic", "qos", "encoding"];
const OF_A_DEVICE: &[&str] = &[
    "identifiers",
    "connections",
    "manufacturer",
    "model",
    "model_id",
    "name",
    "hw_version",
    "serial_number",
    "sw_version",
    "via_device",
    "suggested_area",
    "configuration_url",
];
const OF_AN_ORIGIN: &[&str] = &["name", "sw_version", "support_url"];
const OF_AN_ENTITY: &[&str] = &[
    "p",
    "unique_id",
    "default_entity_id",
    "name",
    "icon",
    "entity_category",
    "enabled_by_default",
    "availability",
    "availability_mode",
    "state_topic",
    "value_template",
    "device_class",
    "expire_after",
    "force_update",
];
const OF_A_SENSOR: &[&str] = &["options", "state_class", "unit_of_measurement", "suggested_display_precision"];
const OF_A_BINARY_SENSOR: &[&str] = &["off_delay", "payload_on", "payload_off"];

/// Which units a device class allows, of those that we use.
const UNITS: &[(&str, &[&str])] = &[("duration", &["d", "h", "min", "s", "ms"])];
const BINARY_CLASSES: &[&str] = &["connectivity", "problem", "running", "sound"];

/// A message, and every rule of Home Assistant's that it breaks.
fn faults(topic: &str, message: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let levels: Vec<_> = topic.split('/').collect();
    let fits = |id: &str| !id.is_empty() && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it));
    if !matches!(levels[..], ["homeassistant", "device", id, "config"] if fits(id)) {
        faults.push(format!("{topic} is no topic of a device"));
    }
    unknown(message, &[AT_THE_TOP], "at the top", &mut faults);
    unknown(&message["dev"], &[OF_A_DEVICE], "in dev", &mut faults);
    unknown(&message["o"], &[OF_AN_ORIGIN], "in o", &mut faults);
    if message["dev"]["identifiers"].as_array().is_none_or(Vec::is_empty) {
        faults.push("the device has no identifier".into());
    }
    if !message["o"]["name"].is_string() {
        faults.push("the origin has no name".into());
    }
    if message["cmps"].as_object().is_none_or(Map::is_empty) {
        faults.push("there are no components".into());
    }
    let mut unique = BTreeSet::new();
    for (key, component) in message["cmps"].as_object().into_iter().flatten() {
        let mut own = Vec::new();
        component_faults(message, component, &mut own);
        if !unique.insert(component["unique_id"].as_str().unwrap_or_default()) {
            own.push("its unique_id is another's".into());
        }
        faults.extend(own.into_iter().map(|fault| format!("{key}: {fault}")));
    }
    faults
}

fn unknown(object: &Value, known: &[&[&str]], place: &str, faults: &mut Vec<String>) {
    match object.as_object() {
        None => faults.push(format!("nothing {place}")),
        Some(object) => {
            let known = |key: &String| known.iter().any(|it| it.contains(&key.as_str()));
            faults.extend(object.keys().filter(|key| !known(key)).map(|key| format!("{key} is not known {place}")));
        }
    }
}

fn component_faults(message: &Value, it: &Value, faults: &mut Vec<String>) {
    let is_sensor = it["p"] == "sensor";
    let more = if is_sensor { OF_A_SENSOR } else { OF_A_BINARY_SENSOR };
    unknown(it, &[OF_AN_ENTITY, more], "in a component", faults);
    let mut must = |holds: bool, rule: &str| {
        if !holds {
            faults.push(rule.to_owned());
        }
    };
    let platform = it["p"].as_str().unwrap_or_default();
    must(["sensor", "binary_sensor"].contains(&platform), "p is a platform");
    must(it["unique_id"].as_str().is_some_and(|id| !id.is_empty()), "unique_id is needed with device discovery");
    let entity = it["default_entity_id"].as_str().and_then(|id| id.split_once('.'));
    must(entity.is_some_and(|(domain, _)| domain == platform), "default_entity_id begins with the domain");
    let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    let is_slug = |id: &str| id.bytes().all(fits) && !id.contains("__") && !id.starts_with('_') && !id.ends_with('_');
    must(entity.is_some_and(|(_, id)| is_slug(id)), "default_entity_id is an entity's id");
    // Both kinds are read-only, and for those `config` is refused.
    must(it.get("entity_category").is_none_or(|it| it == "diagnostic"), "entity_category is diagnostic");
    must(state_topic(message, it).is_some(), "there is a state topic");
    must(it.get("expire_after").is_none_or(|it| it.as_u64().is_some_and(|it| 0 < it)), "expire_after is in seconds");
    let has = |key: &str| it.get(key).is_some();
    let class = it["device_class"].as_str();
    if class == Some("enum") {
        let options = it["options"].as_array().cloned().unwrap_or_default();
        let different: BTreeSet<_> = options.iter().filter_map(Value::as_str).collect();
        must(!options.is_empty() && different.len() == options.len(), "an enum has options, each once");
        must(!has("unit_of_measurement") && !has("state_class"), "an enum has neither unit nor state class");
    } else {
        must(!has("options"), "only an enum has options");
    }
    if !is_sensor {
        must(class.is_none_or(|it| BINARY_CLASSES.contains(&it)), "a binary sensor's class");
    } else if let Some(class) = class.filter(|it| *it != "enum") {
        let unit = it["unit_of_measurement"].as_str().unwrap_or_default();
        let allowed = UNITS.iter().find(|it| it.0 == class);
        must(allowed.is_some_and(|it| it.1.contains(&unit)), "the class allows the unit");
    }
    let state_class = it.get("state_class").and_then(Value::as_str);
    must(state_class.is_none_or(|it| ["measurement", "total_increasing"].contains(&it)), "a state class");
}

/// Where a component's state is: a key at the top holds for those that do not say otherwise.
fn state_topic<'a>(message: &'a Value, component: &'a Value) -> Option<&'a str> {
    component.get("state_topic").or(message.get("state_topic"))?.as_str()
}

/// Does what Home Assistant's templates do, for the few forms that are used.
#[track_caller]
fn render(template: &str, payload: &str) -> String {
    let inner = template.strip_prefix("{{ ").and_then(|it| it.strip_suffix(" }}")).unwrap();
    let Some((then, rest)) = inner.split_once(" if ") else { return term(inner, payload) };
    let (condition, otherwise) = rest.split_once(" else ").unwrap();
    let (holds, sides) = match condition.split_once(" == ") {
        Some(sides) => (true, sides),
        None => (false, condition.split_once(" != ").unwrap()),
    };
    let equal = term(sides.0, payload) == term(sides.1, payload);
    term(if equal == holds { then } else { otherwise }, payload)
}

#[track_caller]
fn term(term: &str, payload: &str) -> String {
    let of = |name: &str| {
        let key = name.strip_prefix("value_json.").unwrap_or_else(|| panic!("{name} is not understood"));
        let json: Value = serde_json::from_str(payload).unwrap();
        json.get(key).unwrap_or_else(|| panic!("there is no {key} in {payload}")).clone()
    };
    if let Some(percent) = term.strip_prefix("(100 * ").and_then(|it| it.strip_suffix(") | round(1)")) {
        let names = percent.strip_prefix('[').and_then(|it| it.strip_suffix("] | max")).unwrap_or(percent);
        let most = names.split(", ").map(|it| of(it).as_f64().unwrap()).fold(f64::MIN, f64::max);
        return format!("{:.1}", 100.0 * most);
    }
    match term {
        "value" => payload.to_owned(),
        "None" | "-1" => term.to_owned(),
        text if text.starts_with('\'') => text.trim_matches('\'').to_owned(),
        name => match of(name) {
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// Whether Home Assistant takes it for a state of this component.
fn is_state(component: &Value, state: &str) -> bool {
    if component["p"] == "binary_sensor" {
        ["ON", "OFF"].contains(&state)
    } else if component["device_class"] == "enum" {
        component["options"].as_array().unwrap().iter().any(|it| it == state)
    } else {
        state == "None" || state.parse::<f64>().is_ok()
    }
}

/// The states that Home Assistant would show for these messages.
#[track_caller]
fn states(message: &Value, payloads: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let components = message["cmps"].as_object().unwrap().iter();
    let state = |(key, it): (&String, &Value)| {
        let topic = state_topic(message, it).unwrap();
        let payload = payloads.get(topic).unwrap_or_else(|| panic!("{key}: nothing was published to {topic}"));
        let state = render(it["value_template"].as_str().unwrap(), payload);
        assert!(is_state(it, &state), "{key}: {state:?} is no state of {it}");
        (key.clone(), state)
    };
    components.map(state).collect()
}

#[track_caller]
fn assert_shows(states: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (key, state) in expected {
        assert_eq!(states.get(*key).map(String::as_str), Some(*state), "{key} in {states:#?}");
    }
}

#[test]
fn home_assistant_takes_what_it_is_told_and_shows_what_is_published() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start();
        let mut subscriber = Subscriber::to(&broker, "#");
        let mut begin = discovering(broker.port(), folder.path());
        begin.mqtt.version = version;
        begin.cameras.push((OTHER, "door_2".into()));
        let mut room = Room::start(begin);
        room.say(&Record::Vital(vital()).to_bytes());
        room.say(&Record::Vital(Vital { camera: OTHER, fault: CameraFault::Busy, ..vital() }).to_bytes());
        room.read();
        let uncounted = Reading { camera: OTHER, group_at_least: None, ..reading(FIRST_SLOT) };
        room.say(&Record::Reading(uncounted).to_bytes());
        subscriber.find(DEADLINE, |it| it.topic == CONFIG && it.text.contains("\"group\""));
        let wanted = ["cam/reading", "cam/last", "cam/health", "door_2/reading", "door_2/last", "door_2/health"];
        for leaf in wanted {
            subscriber.find(DEADLINE, |it| it.topic == format!("edge-ger/box/{leaf}"));
        }
        for camera in ["cam", "door_2"] {
            let status = format!("edge-ger/box/{camera}/status");
            subscriber.find(DEADLINE, |it| it.topic == status && it.text == "online");
        }
        let held = retained(&broker);
        let mut payloads: BTreeMap<_, _> =
            subscriber.seen.iter().map(|it| (it.topic.clone(), it.text.clone())).collect();

        let mut unique = BTreeSet::new();
        for topic in [CONFIG, OTHER_CONFIG] {
            let message: Value = serde_json::from_str(&held[topic]).unwrap();
            assert_eq!(faults(topic, &message), [""; 0]);
            for (key, component) in message["cmps"].as_object().unwrap() {
                assert!(unique.insert(component["unique_id"].as_str().unwrap().to_owned()), "{key} twice");
                // Of what is not retained nobody knows how old it is, unless it expires.
                let is_retained = held.contains_key(state_topic(&message, component).unwrap());
                assert_ne!(is_retained, component.get("expire_after").is_some(), "{key}");
                let own = component.get("availability").unwrap_or(&message["availability"]);
                for available in own.as_array().unwrap() {
                    let status = &held[available["topic"].as_str().unwrap()];
                    let template = available.get("value_template").map_or("{{ value }}", |it| it.as_str().unwrap());
                    assert_eq!(render(template, status), "online", "{key}");
                    assert_eq!(render(template, "offline"), "offline", "{key}");
                }
            }
        }

        let message: Value = serde_json::from_str(&held[CONFIG]).unwrap();
        let shown = states(&message, &payloads);
        assert_shows(
            &shown,
            &[("mood", "positive"), ("reason", "none"), ("confidence", "81.2"), ("p_neutral", "10.0")],
        );
        assert_shows(&shown, &[("p_negative", "8.8"), ("group", "5"), ("level", "-30.5"), ("sound", "present")]);
        assert_shows(&shown, &[("latency", "88"), ("inference", "61"), ("connected", "ON"), ("problem", "OFF")]);
        assert_shows(&shown, &[("fault", "none"), ("provider", "cpu"), ("fps", "25.0"), ("lost", "7")]);
        assert_shows(&shown, &[("outages", "2"), ("given_up", "0"), ("waiting", &shown["waiting"])]);
        let other: Value = serde_json::from_str(&held[OTHER_CONFIG]).unwrap();
        let shown = states(&other, &payloads);
        assert_shows(&shown, &[("mood", "positive"), ("problem", "ON"), ("fault", "busy")]);
        assert!(!shown.contains_key("group"), "a network that does not count has no entity for it");

        let slot = room.next_slot;
        let withheld = Reading { outcome: Outcome::Withheld(Withheld::TooFewPeople), ..reading(slot) };
        room.clock.advance(HOP);
        room.say(&Record::Reading(withheld).to_bytes());
        let text = subscriber.wait_for(READING, DEADLINE).text;
        payloads.insert(READING.into(), text);
        payloads.insert("edge-ger/box/cam/status".into(), "stale".into());
        let shown = states(&message, &payloads);
        assert_shows(&shown, &[("mood", "withheld"), ("reason", "too_few_people"), ("confidence", "None")]);
        assert_shows(&shown, &[("p_positive", "None"), ("group", "5"), ("connected", "OFF")]);
        room.stop();
    }
}

#[test]
fn the_rules_bite() {
    let good: Value = serde_json::json!({
        "dev": { "identifiers": ["a"] },
        "o": { "name": "edge-ger" },
        "state_topic": "a/b",
        "cmps": { "mood": {
            "p": "sensor", "unique_id": "a-mood", "default_entity_id": "sensor.a_mood", "device_class": "enum",
            "options": ["x"],
        } },
    });
    assert_eq!(faults("homeassistant/device/a/config", &good), [""; 0]);
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let faults = faults("homeassistant/device/a/config", &bad);
        assert!(faults.iter().any(|it| it.contains(expected)), "{expected}: {faults:?}");
    };
    check(&|it| it["dev"] = Value::Null, "nothing in dev");
    check(&|it| it["o"] = serde_json::json!({}), "origin has no name");
    check(&|it| it["cmps"] = serde_json::json!({}), "no components");
    check(&|it| it["state_topic"] = Value::Null, "state topic");
    check(&|it| it["object_id"] = "x".into(), "object_id is not known");
    check(&|it| it["cmps"]["mood"]["object_id"] = "x".into(), "object_id is not known");
    check(&|it| it["cmps"]["mood"]["p"] = "mood".into(), "a platform");
    check(&|it| it["cmps"]["mood"]["unique_id"] = "".into(), "unique_id is needed");
    check(&|it| it["cmps"]["other"] = it["cmps"]["mood"].clone(), "another's");
    check(&|it| it["cmps"]["mood"]["default_entity_id"] = "a_mood".into(), "begins with the domain");
    check(&|it| it["cmps"]["mood"]["default_entity_id"] = "sensor.a__mood".into(), "an entity's id");
    check(&|it| it["cmps"]["mood"]["unit_of_measurement"] = "%".into(), "neither unit");
    check(&|it| it["cmps"]["mood"]["options"] = serde_json::json!(["x", "x"]), "each once");
    check(&|it| it["cmps"]["mood"]["device_class"] = "duration".into(), "only an enum");
    check(&|it| it["cmps"]["mood"]["entity_category"] = "config".into(), "diagnostic");
    check(&|it| it["cmps"]["mood"]["expire_after"] = 0.into(), "in seconds");
    assert!(faults("homeassistant/device/a b/config", &good)[0].contains("no topic of a device"));
}

#[test]
fn home_assistants_birth_is_answered_with_the_devices_and_then_their_states() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start();
        let mut subscriber = Subscriber::to(&broker, "#");
        // An old birth, or another word, is none.
        subscriber.publish("homeassistant/status", "online", true);
        subscriber.wait_for("homeassistant/status", DEADLINE);
        let mut begin = discovering(broker.port(), folder.path());
        begin.mqtt.version = version;
        let room = Room::start(begin);
        room.say(&Record::Vital(vital()).to_bytes());
        room.say(&Record::Reading(Reading { group_at_least: None, ..reading(FIRST_SLOT) }).to_bytes());
        let last = subscriber.wait_for("edge-ger/box/cam/last", DEADLINE);
        subscriber.find(DEADLINE, |it| it.topic == "edge-ger/box/cam/health");
        broker.wait_logged("Received SUBSCRIBE from edge-ger-box", 1);
        subscriber.publish("homeassistant/status", "offline", false);
        subscriber.publish("homeassistant/status", "online", false);
        subscriber.wait_until(DEADLINE, |it| it.topic == "homeassistant/status" && it.text == "online");
        let before = subscriber.seen.len();
        assert_eq!(subscriber.wait_for("edge-ger/box/cam/last", DEADLINE).text, last.text);
        let again: Vec<_> = subscriber.seen[before..].iter().map(|it| it.topic.as_str()).collect();
        let place = |topic: &str| again.iter().position(|it| *it == topic).unwrap_or_else(|| panic!("{again:?}"));
        assert!(place(CONFIG) < place("edge-ger/box/cam/status"), "{again:?}");
        assert!(place("edge-ger/box/cam/status") < place("edge-ger/box/cam/health"), "{again:?}");
        let told = subscriber.seen.iter().filter(|it| it.topic == CONFIG).count();
        assert_eq!(told, 2, "once at the beginning and once for the birth");
        room.stop();
    }
}

/// Waits until the broker holds nothing under these topics.
#[track_caller]
fn wait_cleared(subscriber: &mut Subscriber, topics: &[&str]) {
    for topic in topics {
        subscriber.find(DEADLINE, |it| it.topic == *topic && it.text.is_empty());
    }
}

const CAM: [&str; 4] = [CONFIG, "edge-ger/box/cam/status", "edge-ger/box/cam/health", "edge-ger/box/cam/last"];

/// A room with two cameras, and all that is retained of the first at the broker.
fn two_cameras(broker: &Broker, folder: &Path) -> Room {
    let mut subscriber = Subscriber::to(broker, "#");
    let mut begin = discovering(broker.port(), folder);
    begin.cameras.push((OTHER, "door_2".into()));
    let mut room = Room::start(begin);
    room.say(&Record::Vital(vital()).to_bytes());
    room.read();
    for topic in CAM.into_iter().chain([OTHER_CONFIG, "edge-ger/box/door_2/status"]) {
        subscriber.find(DEADLINE, |it| it.topic == topic);
    }
    room
}

/// A room that was told about the second camera alone.
fn one_camera(port: u16, folder: &Path) -> PublishConfig {
    let mut begin = discovering(port, folder);
    begin.cameras = vec![(OTHER, "door_2".into())];
    begin
}

fn topics(held: &BTreeMap<String, String>) -> Vec<&str> {
    held.keys().map(String::as_str).collect()
}

/// What is left when only the second camera is: nothing was heard of it.
const LEFT: [&str; 4] = ["edge-ger/box/door_2/status", "edge-ger/box/info", "edge-ger/box/status", OTHER_CONFIG];

#[test]
fn a_camera_that_a_reload_removes_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let room = two_cameras(&broker, folder.path());
    let mut subscriber = Subscriber::to(&broker, "#");
    room.order(Order::DropCamera(CAMERA), Vec::new());
    wait_cleared(&mut subscriber, &CAM);
    assert_eq!(topics(&retained(&broker)), LEFT);
    // It comes back under its old name.
    room.order(
        Order::SetCamera(Box::new(CameraOrder { camera: camera(CAMERA, "cam"), password: None, paused: false })),
        Vec::new(),
    );
    subscriber.wait_until(DEADLINE, |it| it.topic == CONFIG && !it.text.is_empty());
    room.stop();
    assert!(retained(&broker).contains_key(CONFIG));
}

#[test]
fn a_camera_that_left_while_nobody_was_there_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    two_cameras(&broker, folder.path()).stop();
    let mut subscriber = Subscriber::to(&broker, "#");
    // The first life without it does not reach the broker.
    let closed = Proxy::to(broker.port());
    Room::start(one_camera(closed.port(), folder.path())).stop();
    assert!(retained(&broker).contains_key(CONFIG));
    let room = Room::start(one_camera(broker.port(), folder.path()));
    wait_cleared(&mut subscriber, &CAM);
    assert_eq!(topics(&retained(&broker)), LEFT);
    room.stop();
    // Once is enough.
    let list = std::fs::read_to_string(folder.path().join("outbox.db.topics")).unwrap();
    assert!(list.contains("door_2") && !list.contains("cam"), "{list}");
}

#[test]
fn a_removal_that_the_broker_did_not_hear_of_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::with(Options { persistence: true, ..Options::default() });
    let room = two_cameras(&broker, folder.path());
    broker.quit();
    room.order(Order::DropCamera(CAMERA), Vec::new());
    room.stop();
    broker.restart();
    assert!(retained(&broker).contains_key(CONFIG));
    let mut subscriber = Subscriber::to(&broker, "#");
    let room = Room::start(one_camera(broker.port(), folder.path()));
    wait_cleared(&mut subscriber, &CAM);
    room.stop();
    assert_eq!(topics(&retained(&broker)), LEFT);
}

#[test]
fn a_box_with_a_new_name_leaves_nothing_under_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    two_cameras(&broker, folder.path()).stop();
    let mut subscriber = Subscriber::to(&broker, "#");
    let mut begin = one_camera(broker.port(), folder.path());
    (begin.box_name, begin.mqtt.topic_prefix) = ("hall".into(), TopicPrefix("site/7".into()));
    (begin.mqtt.discovery, begin.mqtt.discovery_prefix) = (true, DiscoveryPrefix("ha".into()));
    let room = Room::start(begin);
    wait_cleared(&mut subscriber, &CAM);
    wait_cleared(&mut subscriber, &LEFT);
    let new = "ha/device/site_-7_-hall_-door__2/config";
    subscriber.find(DEADLINE, |it| it.topic == new);
    subscriber.find(DEADLINE, |it| it.topic == "site/7/hall/door_2/status");
    assert_eq!(
        topics(&retained(&broker)),
        [new, "site/7/hall/door_2/status", "site/7/hall/info", "site/7/hall/status"]
    );
    room.stop();
}

#[test]
fn discovery_that_is_switched_off_is_taken_back_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    two_cameras(&broker, folder.path()).stop();
    let before = retained(&broker);
    let mut subscriber = Subscriber::to(&broker, "#");
    let subscribed = broker.logged("Received SUBSCRIBE from edge-ger-box");
    let mut begin = discovering(broker.port(), folder.path());
    begin.mqtt.discovery = false;
    begin.cameras.push((OTHER, "door_2".into()));
    let mut room = Room::start(begin);
    wait_cleared(&mut subscriber, &[CONFIG, OTHER_CONFIG]);
    room.read();
    subscriber.wait_for(READING, DEADLINE);
    let after = retained(&broker);
    let is_discovery = |topic: &&String| topic.starts_with("homeassistant/");
    assert_eq!(before.keys().filter(|it| !is_discovery(it)).collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert_eq!(broker.logged("Received SUBSCRIBE from edge-ger-box"), subscribed, "there is nothing to listen to");
    room.stop();
}
