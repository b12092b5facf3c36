//! Home Assistant's device-based discovery: one retained message per camera describes it as a device with entities, so
//! that no YAML is needed.
//!
//! The entities of `reading`, which is not retained, expire: a retained state would let Home Assistant show last week's
//! mood as today's after a restart. Statuses and `health` are retained and do not expire; the box's status, which is
//! also its last will, makes them unavailable.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::payload::Topics;
use crate::wire::{
    control::PublishConfig,
    record::{CameraFault, Emotion, Provider, SoundState, Withheld},
};

/// The topic of Home Assistant's birth message. It does not depend on the discovery prefix.
pub(crate) const BIRTH_TOPIC: &str = "homeassistant/status";
/// The payload of the birth message.
pub(crate) const BIRTH: &[u8] = b"online";
/// The longest message with the longest names, bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 24 << 10;

/// An entity without a new reading for this many hops becomes unavailable: one more than for a stale camera.
const EXPIRY_HOPS: u32 = 4;
/// The shortest expiry, s, so that a restart of `infer` makes no entity unavailable.
const EXPIRY_MIN_S: u32 = 10;

/// Describes the cameras of a box to Home Assistant.
#[derive(Debug)]
pub(crate) struct Discovery {
    prefix: String,
    topics: Topics,
    /// The topic levels above a camera, which make its name unique at the broker.
    levels: Vec<String>,
    box_name: String,
    model_name: String,
    expiry_s: u32,
}

impl Discovery {
    /// `None` where discovery is off.
    pub(crate) fn new(config: &PublishConfig) -> Option<Self> {
        if !config.mqtt.discovery {
            return None;
        }
        let expiry_s = config.hop_ms.saturating_mul(EXPIRY_HOPS).div_ceil(1000);
        Some(Self {
            prefix: config.mqtt.discovery_prefix.0.clone(),
            topics: Topics::new(&config.mqtt.topic_prefix, &config.box_name),
            levels: config.mqtt.topic_prefix.split('/').chain([config.box_name.as_str()]).map(str::to_owned).collect(),
            box_name: config.box_name.clone(),
            model_name: config.model_name.clone(),
            expiry_s: expiry_s.max(EXPIRY_MIN_S),
        })
    }

    /// Where the camera's message belongs.
    pub(crate) fn topic(&self, camera: &str) -> String {
        format!("{}/device/{}/config", self.prefix, self.id(camera))
    }

    /// The camera's message: at most [`MESSAGE_BYTES_MAX`] bytes. `counts_people` says whether the network estimates
    /// the group's size.
    pub(crate) fn message(&self, camera: &str, counts_people: bool) -> Vec<u8> {
        let id = self.id(camera);
        let version = env!("CARGO_PKG_VERSION");
        let entities = ENTITIES.iter().filter(|entity| counts_people || entity.key != GROUP);
        let message = Message {
            dev: json!({
                "identifiers": [id],
                "name": format!("{} {camera}", self.box_name),
                "manufacturer": "edge-ger",
                "model": self.model_name,
                "sw_version": version,
            }),
            o: json!({ "name": "edge-ger", "sw_version": version }),
            availability: vec![json!({ "topic": self.topics.status() })],
            availability_mode: "all",
            state_topic: self.topics.camera(camera, "reading"),
            cmps: entities.map(|entity| (entity.key.to_owned(), self.component(entity, camera, &id))).collect(),
        };
        super::payload::json(&message)
    }

    /// The camera's id among all devices at the broker. Names may contain `-` and `_`, so `_` is doubled and names are
    /// joined with `_-`: no two cameras have the same id.
    fn id(&self, camera: &str) -> String {
        let levels = self.levels.iter().map(String::as_str).chain([camera]);
        levels.map(|level| level.replace('_', "__")).collect::<Vec<_>>().join("_-")
    }

    fn component(&self, entity: &Entity, camera: &str, id: &str) -> Value {
        let mut component = Map::new();
        let mut set = |key: &str, value: Value| drop(component.insert(key.to_owned(), value));
        let platform = if matches!(entity.shows, Shows::Yes(_)) { "binary_sensor" } else { "sensor" };
        set("p", platform.into());
        set("unique_id", format!("{id}_-{}", entity.key).into());
        set("default_entity_id", format!("{platform}.{}", slug([&self.box_name, camera, entity.key])).into());
        set("name", entity.name.into());
        set("value_template", entity.template.into());
        if entity.diagnostic {
            set("entity_category", "diagnostic".into());
        }
        match entity.shows {
            Shows::Word(words) => {
                set("device_class", "enum".into());
                set("options", words().into());
            }
            Shows::Number { unit, class } => {
                set("state_class", "measurement".into());
                set("unit_of_measurement", unit.into());
                if let Some(class) = class {
                    set("device_class", class.into());
                }
            }
            Shows::Count(unit) => {
                set("state_class", "total_increasing".into());
                set("unit_of_measurement", unit.into());
            }
            Shows::Yes(class) => set("device_class", class.into()),
        }
        match entity.source {
            // The device's own topic.
            Source::Reading => set("expire_after", self.expiry_s.into()),
            Source::Status => set("state_topic", self.topics.camera(camera, "status").into()),
            Source::Health | Source::Measured => set("state_topic", self.topics.camera(camera, "health").into()),
        }
        if matches!(entity.source, Source::Measured) {
            let status = self.topics.camera(camera, "status");
            let is_online = "{{ 'online' if value == 'online' else 'offline' }}";
            let of_camera = json!({ "topic": status, "value_template": is_online });
            set("availability", json!([{ "topic": self.topics.status() }, of_camera]));
        }
        Value::Object(component)
    }
}

/// Keys at the top level apply to every component that does not override them.
#[derive(Serialize)]
struct Message {
    dev: Value,
    o: Value,
    availability: Vec<Value>,
    availability_mode: &'static str,
    state_topic: String,
    cmps: Map<String, Value>,
}

/// The part of an entity's id after its domain. Home Assistant allows single `_` inside it, and no `-`.
fn slug(names: [&str; 3]) -> String {
    let words = names.into_iter().flat_map(|word| word.split(['-', '_'])).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// An entity of a camera.
struct Entity {
    key: &'static str,
    name: &'static str,
    source: Source,
    /// Computes the state from a message; `None` is Home Assistant's "unknown".
    template: &'static str,
    shows: Shows,
    /// For the maintenance of the box.
    diagnostic: bool,
}

/// Where an entity's state comes from.
#[derive(Clone, Copy)]
enum Source {
    /// The camera's readings.
    Reading,
    /// The camera's status.
    Status,
    /// The camera's health.
    Health,
    /// The camera's health; available only while the camera is online.
    Measured,
}

/// What kind of state it is.
#[derive(Clone, Copy)]
enum Shows {
    /// One of a fixed list.
    Word(fn() -> Vec<&'static str>),
    /// A number that goes up and down.
    Number { unit: &'static str, class: Option<&'static str> },
    /// A number that only grows, or starts again at 0.
    Count(&'static str),
    /// `ON` or `OFF`, with a device class.
    Yes(&'static str),
}

const PERCENT: Shows = Shows::Number { unit: "%", class: None };
const MILLISECONDS: Shows = Shows::Number { unit: "ms", class: Some("duration") };
/// This entity exists only where the network estimates the group's size.
const GROUP: &str = "group";

impl Entity {
    const fn new(key: &'static str, name: &'static str, source: Source, shows: Shows, template: &'static str) -> Self {
        Self { key, name, source, template, shows, diagnostic: false }
    }

    const fn diagnostic(self) -> Self {
        Self { diagnostic: true, ..self }
    }
}

/// In reading order. A key is part of a unique id, so it must not change: Home Assistant would forget the history.
const ENTITIES: &[Entity] = &[
    Entity::new("mood", "Mood", Source::Reading, Shows::Word(moods), "{{ value_json.label }}"),
    Entity::new("reason", "Withheld because", Source::Reading, Shows::Word(reasons), "{{ value_json.reason }}"),
    // The probabilities of a withheld reading are published as 0, which is not the network's result.
    Entity::new(
        "confidence",
        "Confidence",
        Source::Reading,
        PERCENT,
        "{{ (100 * [value_json.p_positive, value_json.p_neutral, value_json.p_negative] | max) | round(1) \
         if value_json.label != 'withheld' else None }}",
    ),
    Entity::new(
        "p_positive",
        "Positive",
        Source::Reading,
        PERCENT,
        "{{ (100 * value_json.p_positive) | round(1) if value_json.label != 'withheld' else None }}",
    ),
    Entity::new(
        "p_neutral",
        "Neutral",
        Source::Reading,
        PERCENT,
        "{{ (100 * value_json.p_neutral) | round(1) if value_json.label != 'withheld' else None }}",
    ),
    Entity::new(
        "p_negative",
        "Negative",
        Source::Reading,
        PERCENT,
        "{{ (100 * value_json.p_negative) | round(1) if value_json.label != 'withheld' else None }}",
    ),
    Entity::new(
        GROUP,
        "Group size, at least",
        Source::Reading,
        Shows::Number { unit: "people", class: None },
        "{{ value_json.group_min if value_json.group_min != -1 else None }}",
    ),
    // Decibels below full scale: Home Assistant's class `sound_pressure` would promise a calibrated microphone.
    Entity::new(
        "level",
        "Sound level",
        Source::Measured,
        Shows::Number { unit: "dBFS", class: None },
        "{{ value_json.level_db if value_json.sound != 'off' else None }}",
    ),
    Entity::new("sound", "Sound", Source::Reading, Shows::Word(sounds), "{{ value_json.sound }}").diagnostic(),
    Entity::new("latency", "Latency", Source::Reading, MILLISECONDS, "{{ value_json.latency_ms }}").diagnostic(),
    Entity::new("inference", "Inference", Source::Reading, MILLISECONDS, "{{ value_json.inference_ms }}").diagnostic(),
    // `stale` counts as disconnected.
    Entity::new(
        "connected",
        "Camera",
        Source::Status,
        Shows::Yes("connectivity"),
        "{{ 'ON' if value == 'online' else 'OFF' }}",
    )
    .diagnostic(),
    Entity::new(
        "problem",
        "Problem",
        Source::Health,
        Shows::Yes("problem"),
        "{{ 'ON' if value_json.fault != 'none' else 'OFF' }}",
    )
    .diagnostic(),
    Entity::new("fault", "Fault", Source::Health, Shows::Word(faults), "{{ value_json.fault }}").diagnostic(),
    Entity::new("provider", "Provider", Source::Health, Shows::Word(providers), "{{ value_json.provider }}")
        .diagnostic(),
    Entity::new(
        "fps",
        "Frame rate",
        Source::Measured,
        Shows::Number { unit: "fps", class: None },
        "{{ value_json.fps }}",
    )
    .diagnostic(),
    Entity::new("lost", "Lost packets", Source::Health, Shows::Count("packets"), "{{ value_json.packets_lost }}")
        .diagnostic(),
    Entity::new("outages", "Camera outages", Source::Health, Shows::Count("outages"), "{{ value_json.outages }}")
        .diagnostic(),
    Entity::new(
        "waiting",
        "Readings waiting",
        Source::Health,
        Shows::Number { unit: "readings", class: None },
        "{{ value_json.waiting }}",
    )
    .diagnostic(),
    Entity::new("given_up", "Readings given up", Source::Health, Shows::Count("readings"), "{{ value_json.given_up }}")
        .diagnostic(),
];

fn moods() -> Vec<&'static str> {
    Emotion::ALL.iter().map(|emotion| emotion.as_str()).chain(["withheld"]).collect()
}

fn reasons() -> Vec<&'static str> {
    ["none"].into_iter().chain(Withheld::ALL.iter().map(|reason| reason.as_str())).collect()
}

fn sounds() -> Vec<&'static str> {
    SoundState::ALL.iter().map(|state| state.as_str()).collect()
}

fn faults() -> Vec<&'static str> {
    CameraFault::ALL.iter().map(|fault| fault.as_str()).collect()
}

fn providers() -> Vec<&'static str> {
    Provider::ALL.iter().map(|provider| provider.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(prefix: &str, box_name: &str) -> Discovery {
        Discovery {
            prefix: "homeassistant".into(),
            topics: Topics::new(prefix, box_name),
            levels: prefix.split('/').chain([box_name]).map(str::to_owned).collect(),
            box_name: box_name.into(),
            model_name: "m".repeat(64),
            expiry_s: 20,
        }
    }

    #[test]
    fn no_two_cameras_share_an_id() {
        let mut ids = std::collections::BTreeSet::new();
        let names =
            ["a", "b", "-", "_", "a-", "a_", "-a", "_a", "a-b", "a_b", "a_-b", "a-_b", "a__b", "a--b", "--", "__"];
        for prefix in ["p", "p/a", "p_-a", "p-a", "p_a"] {
            for box_name in names {
                for camera in names {
                    let id = discovery(prefix, box_name).id(camera);
                    // The characters that Home Assistant permits in the topic.
                    assert!(
                        id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
                        "{id}"
                    );
                    assert!(ids.insert(id), "{prefix} {box_name} {camera}");
                }
            }
        }
        assert_eq!(discovery("edge-ger", "hall").id("door"), "edge-ger_-hall_-door");
    }

    #[test]
    fn no_message_is_longer_than_its_bound() {
        let name = "_".repeat(32);
        let text = discovery(&"_".repeat(64), &name).message(&name, true);
        assert!(MESSAGE_BYTES_MAX / 2 < text.len() && text.len() <= MESSAGE_BYTES_MAX, "{}", text.len());
        // A usual one is far below every broker's limit.
        let text = discovery("edge-ger", "hall").message("door", true);
        assert!(text.len() < 10 << 10, "{}", text.len());
    }

    #[test]
    fn entity_names_have_single_underscores() {
        assert_eq!(slug(["hall-2", "__door--1_", "p_positive"]), "hall_2_door_1_p_positive");
    }
}
