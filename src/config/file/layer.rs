//! The layers of a configuration, which `config` merges: one for each file and one for the environment.
//!
//! Each value's origin is its place. An invalid value is replaced by [`ValueKind::Nil`], so that its key is not called
//! missing.

use std::collections::HashMap;

use config_rs::{Config, ConfigError, Map, Source, Value, ValueKind};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_path_to_error::{Path, Segment};

use super::{
    diagnostic::{Diagnostics, Place, Problem},
    keys::{BoxSections, CameraSections},
    problem,
    schema::{KeySchema, SECTIONS, Scope, SectionSchema, section},
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
            let problem = problem::of(key, &value, item, error.inner().message(), &place);
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
