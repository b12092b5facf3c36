//! All sections and keys, as the structs of `keys` describe themselves: for messages and documentation.

use std::sync::LazyLock;

use indexmap::IndexMap;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value as Json;

use super::keys::{BoxSections, CameraSections};

/// A section, such as `[mqtt]`.
#[derive(Clone, Debug)]
pub struct SectionSchema {
    /// The name between the brackets.
    pub name: String,
    /// What it belongs to.
    pub scope: Scope,
    /// What it is for.
    pub doc: String,
    /// Its keys, in reading order.
    pub keys: Vec<KeySchema>,
}

/// What a section belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The file's camera.
    Camera,
    /// The box: it may stand in any file, or the same in several.
    Box,
}

/// A key.
#[derive(Clone, Debug)]
pub struct KeySchema {
    /// Its name, which ends in its unit where it has one.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// What it may be, as the end of "write …".
    pub expectation: String,
    /// What it is when absent.
    pub absent: Absent,
    pub(super) form: ValueType,
    /// The unit of a number, in the plural; may be empty.
    pub(super) unit: String,
    /// The words that it, or an item of it, can be.
    pub(super) choices: Vec<String>,
    /// Other words that people write for it.
    pub(super) synonyms: Vec<String>,
}

/// What a key is when it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is an error. With an example, as TOML.
    Required(String),
    /// This value, as TOML.
    Default(String),
    /// A description of how the value is found, and an example, as TOML.
    Computed(String, String),
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    Integer,
    Number,
    Boolean,
    Text,
    /// A text that is a path, relative to the folder of its source.
    Path,
    /// A path, or the name of a credential.
    Secret,
    /// A URL, which may contain a path.
    Url,
    Texts,
    Numbers,
    Lists,
}

/// All sections, in the order in which `configs/full.toml` shows them.
pub static SECTIONS: LazyLock<Vec<SectionSchema>> =
    LazyLock::new(|| [sections::<CameraSections>(Scope::Camera), sections::<BoxSections>(Scope::Box)].concat());

/// The section of that name.
#[must_use]
pub(crate) fn section(name: &str) -> Option<&'static SectionSchema> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl SectionSchema {
    /// Its key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&KeySchema> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl KeySchema {
    /// A line that sets it, with its default or an example.
    #[must_use]
    pub fn example(&self) -> String {
        let (Absent::Required(value) | Absent::Default(value) | Absent::Computed(_, value)) = &self.absent;
        format!("{} = {value}", self.name)
    }

    fn of(name: String, schema: &Json, default: &Json) -> Self {
        let form = form(schema);
        let unit = schema["x-unit"].as_str().unwrap_or_default().to_owned();
        let choices = choices(if form == ValueType::Texts { &schema["items"] } else { schema });
        let expectation = match schema["x-write"].as_str() {
            Some(words) => words.to_owned(),
            None => expectation(form, &unit, &choices, schema),
        };
        let example = toml(&schema["examples"][0]);
        let absent = match schema["x-absent"].as_str() {
            _ if schema["x-required"] == true => Absent::Required(example),
            _ if !default.is_null() => Absent::Default(toml(default)),
            words => Absent::Computed(words.unwrap_or("none").to_owned(), example),
        };
        Self {
            name,
            doc: doc(schema),
            expectation,
            absent,
            form,
            unit,
            choices,
            synonyms: words(&schema["x-synonyms"]),
        }
    }
}

fn sections<T: Default + Serialize + JsonSchema>(scope: Scope) -> Vec<SectionSchema> {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // The schema's maps are sorted by name; the serialised defaults have the order of the fields.
    let defaults = serde_json::to_string(&T::default()).unwrap_or_default();
    let defaults: IndexMap<String, IndexMap<String, Json>> = serde_json::from_str(&defaults).unwrap_or_default();
    let section = |(name, defaults): (String, IndexMap<String, Json>)| {
        let schema = &schema["properties"][&name];
        let keys = defaults.into_iter().map(|(name, default)| {
            let schema = &schema["properties"][&name];
            KeySchema::of(name, schema, &default)
        });
        SectionSchema { scope, doc: doc(schema), keys: keys.collect(), name }
    };
    defaults.into_iter().map(section).collect()
}

/// The type of an optional key is a list with `null`.
fn form(schema: &Json) -> ValueType {
    let kind = |schema: &Json| schema["type"].as_str().or(schema["type"][0].as_str()).unwrap_or("string").to_owned();
    match (kind(schema).as_str(), schema["format"].as_str()) {
        ("integer", _) => ValueType::Integer,
        ("number", _) => ValueType::Number,
        ("boolean", _) => ValueType::Boolean,
        ("array", _) => match kind(&schema["items"]).as_str() {
            "number" => ValueType::Numbers,
            "array" => ValueType::Lists,
            _ => ValueType::Texts,
        },
        (_, Some("path")) => ValueType::Path,
        (_, Some("secret")) => ValueType::Secret,
        (_, Some("url")) => ValueType::Url,
        _ => ValueType::Text,
    }
}

/// The variants of an enum; with comments, they are a list of schemas.
fn choices(schema: &Json) -> Vec<String> {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    let described = alternatives.filter_map(|alternative| alternative["const"].as_str().map(str::to_owned));
    described.chain(words(&schema["enum"])).collect()
}

fn words(list: &Json) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
}

/// The comment of a field or a struct, on one line.
fn doc(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expectation(form: ValueType, unit: &str, choices: &[String], schema: &Json) -> String {
    let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
    let range = || format!("{of} from {} to {}", toml(&schema["minimum"]), toml(&schema["maximum"]));
    match form {
        ValueType::Integer => format!("a whole number{}", range()),
        ValueType::Number => format!("a number{}", range()),
        ValueType::Boolean => "true or false".into(),
        ValueType::Texts => {
            format!("a list such as [\"{}\"] out of {}", choices.last().map_or("", String::as_str), one_of(choices))
        }
        _ => one_of(choices),
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("\"{word}\""),
        [most @ .., last] => format!("\"{}\" or \"{last}\"", most.join("\", \"")),
    }
}

/// A value in TOML. Whole numbers are written without a fraction.
fn toml(value: &Json) -> String {
    match value {
        Json::Number(number) => number.as_f64().map(|number| number.to_string()).unwrap_or_default(),
        Json::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
