//! The sources of a configuration: a layer for each file and one for the environment, which `config` merges.
//!
//! Every value's origin is its place. A value that does not fit stays as [`ValueKind::Nil`], so that it is known to have
//! been written.

use std::collections::HashMap;

use config_rs::{Config, ConfigError, Map, Source, Value, ValueKind};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_path_to_error::Segment;

use super::{
    diagnostic::{Diagnostics, Place},
    keys::{BoxKeys, CameraKeys},
    problem,
    schema::{Key, SECTIONS, Scope, Section, section},
};

/// What one source says, by section and key.
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
    /// The layers of one kind of sections over each other: later ones win.
    pub(super) fn merged<'l>(layers: impl IntoIterator<Item = &'l Self>, scope: Scope) -> Self {
        let of_scope = |layer: &Self| {
            let sections = SECTIONS.iter().filter(|section| section.scope == scope);
            Self(
                sections
                    .filter_map(|section| layer.0.get_key_value(&section.name))
                    .map(|(name, keys)| (name.clone(), keys.clone()))
                    .collect(),
            )
        };
        let sources = layers.into_iter().map(of_scope).collect::<Vec<_>>();
        // Our sources never fail.
        Config::builder().add_source(sources).build().and_then(|merged| merged.collect()).map(Self).unwrap_or_default()
    }

    /// Adds a value, or that there was one which cannot be used.
    pub(super) fn insert(&mut self, section: &Section, key: &Key, place: &Place, kind: ValueKind) {
        let keys = self.0.entry(section.name.clone()).or_insert_with(|| HashMap::<String, Value>::new().into());
        if let ValueKind::Table(keys) = &mut keys.kind {
            keys.insert(key.name.clone(), Value::new(Some(&place.to_string()), kind));
        }
    }

    /// Adds that a key was meant which was written in another way; it is not missing then.
    pub(super) fn insert_unusable(&mut self, section: &Section, key: &Key, place: &Place) {
        if self.get(&section.name, &key.name).is_none() {
            self.insert(section, key, place, ValueKind::Nil);
        }
    }

    /// What was written for a key, right or wrong.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&Value> {
        match &self.0.get(section)?.kind {
            ValueKind::Table(keys) => keys.get(key),
            _ => None,
        }
    }

    /// All that was written, right or wrong.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static Section, &'static Key, &Value)> {
        SECTIONS
            .iter()
            .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
            .filter_map(|(section, key)| Some((section, key, self.get(&section.name, &key.name)?)))
    }

    /// Where a key was written.
    pub(super) fn place(&self, section: &str, key: &str) -> Place {
        self.get(section, key).and_then(Value::origin).map_or(Place::Default, Place::from_origin)
    }

    /// Notes every value that does not fit its key, and strikes it.
    pub(super) fn check(&mut self, diagnostics: &mut Diagnostics) {
        self.check_scope::<CameraKeys>(Scope::Camera, diagnostics);
        self.check_scope::<BoxKeys>(Scope::Box, diagnostics);
    }

    fn check_scope<T: DeserializeOwned>(&mut self, scope: Scope, diagnostics: &mut Diagnostics) {
        let mut tree = self.tree(scope);
        // Serde stops at the first fault: without what it is about, it finds the next.
        while let Err(error) = serde_path_to_error::deserialize::<_, T>(toml::Value::Table(tree.clone())) {
            let mut path = error.path().iter();
            let (Some(Segment::Map { key: section_name }), Some(Segment::Map { key: key_name })) =
                (path.next(), path.next())
            else {
                return;
            };
            let Some(section) = section(section_name) else { return };
            let Some(key) = section.key(key_name) else { return };
            let keys = tree.get_mut(section_name).and_then(toml::Value::as_table_mut);
            let Some(value) = keys.and_then(|keys| keys.remove(key_name)) else { return };
            let item = match path.next() {
                Some(Segment::Seq { index }) => value.get(index),
                _ => None,
            };
            let place = self.place(section_name, key_name);
            let problem = problem::of(key, &value, item, error.inner().message(), &place);
            diagnostics.fault(place.clone(), format!("{section_name}.{key_name}"), problem);
            self.insert(section, key, &place, ValueKind::Nil);
        }
    }

    /// All that fits, as a struct of sections.
    pub(super) fn read<T: DeserializeOwned + Default>(&self, scope: Scope) -> T {
        // Every layer was checked for itself, so nothing in here can fail.
        toml::Value::Table(self.tree(scope)).try_into().unwrap_or_default()
    }

    fn tree(&self, scope: Scope) -> toml::Table {
        let mut tree = toml::Table::new();
        for (section, key, value) in self.values().filter(|(section, ..)| section.scope == scope) {
            let keys = tree.entry(&section.name).or_insert_with(|| toml::Table::new().into()).as_table_mut();
            // What is unusable is no TOML, and so left out.
            if let (Some(keys), Ok(value)) = (keys, toml::Value::deserialize(value.clone())) {
                keys.insert(key.name.clone(), value);
            }
        }
        tree
    }
}
