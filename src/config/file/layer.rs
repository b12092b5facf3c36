//! The layers of a configuration, which `config` merges: one for each file and one for the environment.
//!
//! Each value's origin is its place. An invalid value is replaced by [`ValueKind::Nil`], so that its key is not called
//! missing. No message repeats a value; serde's own messages, which do so, are never shown.

use std::collections::HashMap;

use config_rs::{Config, ConfigError, Map, Source, Value, ValueKind};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

use super::{
    diagnostic::{Diagnostics, Place, Problem},
    keys::{BoxSections, CameraSections},
    schema::{KeySchema, SECTIONS, Scope, SectionSchema, ValueType, section},
    suggest,
};

/// The values of one source, by section and key.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Several layers as one; later ones win.
    pub(super) fn merged<'l>(layers: impl IntoIterator<Item = &'l Self>) -> Self {
        let layers: Vec<_> = layers.into_iter().cloned().collect();
        // A layer's own `collect` never fails.
        Config::builder().add_source(layers).build().and_then(|merged| merged.collect()).map(Self).unwrap_or_default()
    }

    /// Adds a value; `Nil` if it is invalid.
    pub(super) fn insert(&mut self, section: &SectionSchema, key: &KeySchema, place: &Place, kind: ValueKind) {
        let keys = self.0.entry(section.name.clone()).or_insert_with(|| HashMap::<String, Value>::new().into());
        if let ValueKind::Table(keys) = &mut keys.kind {
            keys.insert(key.name.clone(), Value::new(Some(&place.to_string()), kind));
        }
    }

    /// Notes that a key was written under another name; it is not missing then.
    pub(super) fn insert_unusable(&mut self, section: &SectionSchema, key: &KeySchema, place: &Place) {
        if self.get(&section.name, &key.name).is_none() {
            self.insert(section, key, place, ValueKind::Nil);
        }
    }

    /// The value of a key, valid or not.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Value> {
        match &self.0.get(section)?.kind {
            ValueKind::Table(keys) => keys.get(key),
            _ => None,
        }
    }

    /// All values, valid or not.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static SectionSchema, &'static KeySchema, &Value)> {
        SECTIONS
            .iter()
            .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
            .filter_map(|(section, key)| Some((section, key, self.get(&section.name, &key.name)?)))
    }

    /// Where a key was written.
    pub(super) fn place(&self, section: &str, key: &str) -> Place {
        self.get(section, key).and_then(Value::origin).map_or(Place::Default, Place::from_origin)
    }

    /// Notes and strikes every invalid value.
    pub(super) fn check(&mut self, diagnostics: &mut Diagnostics) {
        self.read::<CameraSections>(Scope::Camera, diagnostics);
        self.read::<BoxSections>(Scope::Box, diagnostics);
    }

    /// Deserialises the valid values. Every invalid one is noted and struck.
    pub(super) fn read<T: DeserializeOwned + Default>(&mut self, scope: Scope, diagnostics: &mut Diagnostics) -> T {
        let mut tree = self.tree(scope);
        // Serde stops at the first fault. Once that value is removed, it finds the next.
        loop {
            let error = match serde_path_to_error::deserialize(toml::Value::Table(tree.clone())) {
                Ok(keys) => return keys,
                Err(error) => error,
            };
            let Some((section, key, value, index)) = strike(&mut tree, error.path()) else {
                // This cannot happen, as the tree has only known keys; if it does, defaults must not be taken for the
                // values.
                diagnostics.fault(Place::Default, "", Problem::new("this cannot be read", "report it as our fault"));
                return T::default();
            };
            let place = self.place(&section.name, &key.name);
            let item = index.and_then(|index| value.get(index));
            let problem = problem(key, &value, item, error.inner().message(), &place);
            diagnostics.fault(place.clone(), format!("{}.{}", section.name, key.name), problem);
            self.insert(section, key, &place, ValueKind::Nil);
        }
    }

    fn tree(&self, scope: Scope) -> toml::Table {
        let mut tree = toml::Table::new();
        for (section, key, value) in self.values().filter(|(section, ..)| section.scope == scope) {
            let keys = tree.entry(&section.name).or_insert_with(|| toml::Table::new().into()).as_table_mut();
            // `Nil` does not exist in TOML, and so is left out.
            if let (Some(keys), Ok(value)) = (keys, toml::Value::deserialize(value.clone())) {
                keys.insert(key.name.clone(), value);
            }
        }
        tree
    }
}

/// Removes the value that an error is about; with its key, and the index of the item if the error is about one.
fn strike(
    tree: &mut toml::Table,
    path: &Path,
) -> Option<(&'static SectionSchema, &'static KeySchema, toml::Value, Option<usize>)> {
    let mut path = path.iter();
    let mut name = || match path.next() {
        Some(Segment::Map { key }) => Some(key),
        _ => None,
    };
    let section = section(name()?)?;
    let key = section.key(name()?)?;
    let value = tree.get_mut(&section.name)?.as_table_mut()?.remove(&key.name)?;
    let index = match path.next() {
        Some(Segment::Seq { index }) => Some(*index),
        _ => None,
    };
    Some((section, key, value, index))
}

/// What is wrong with a value, or with one item of it. `said` is the error of its deserialiser.
fn problem(key: &KeySchema, value: &toml::Value, item: Option<&toml::Value>, said: &str, place: &Place) -> Problem {
    let mut problem = in_general(key, value, item, said);
    if matches!(place, Place::Environment(_)) {
        match key.form {
            ValueType::Texts => problem.cure += ", here separated by commas",
            ValueType::Numbers => problem.cure += ", here without brackets",
            _ => {}
        }
    }
    problem
}

fn in_general(key: &KeySchema, value: &toml::Value, item: Option<&toml::Value>, said: &str) -> Problem {
    let write = format!("write {}", key.expectation);
    let is_text = |hint: &str| Problem::new("this is text", format!("{write}{hint}"));
    match (key.form, value) {
        (ValueType::Integer, toml::Value::Float(_)) => {
            let hint = if key.unit == "milliseconds" { " (a second is 1000 milliseconds)" } else { "" };
            Problem::new("this is not a whole number", write + hint)
        }
        (ValueType::Integer | ValueType::Number, toml::Value::String(_)) => {
            is_text(", without quotes and without a unit")
        }
        (ValueType::Boolean, toml::Value::String(_)) => is_text(", without quotes"),
        (ValueType::Texts | ValueType::Numbers, toml::Value::String(_)) => is_text(", in brackets"),
        // No key takes a table, but an enum's deserialiser tries to read one.
        (_, toml::Value::Table(_)) => Problem::new("this is a section", write),
        // An error of serde itself.
        (ValueType::Texts, _) if said.starts_with("invalid") && item.is_some() => {
            Problem::new("not everything here is text", write)
        }
        (ValueType::Numbers, _) if said.starts_with("invalid") && item.is_some() => {
            Problem::new("not everything here is a number", write)
        }
        _ if said.starts_with("invalid") => Problem::new(format!("this is {}", name_of(value)), write),
        (ValueType::Number, _) if key.unit == "seconds" => {
            Problem::new("out of range", format!("{write} (1000 milliseconds are a second)"))
        }
        _ if said.starts_with("unknown variant") => {
            let written = item.unwrap_or(value).as_str().unwrap_or_default();
            let near = suggest::nearest(written, key.choices.iter().map(String::as_str));
            let question = near.map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            Problem::new("there is no such choice", question + &write)
        }
        _ => match said.split_once("; ") {
            Some((what, cure)) => Problem::new(what, cure),
            None => Problem::new(said, write),
        },
    }
}

fn name_of(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "text",
        toml::Value::Integer(_) | toml::Value::Float(_) => "a number",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a section",
    }
}
