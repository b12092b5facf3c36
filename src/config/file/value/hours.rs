//! Hours as they are written: a list of texts, or texts with commas between them.

use toml::de::DeArray;

use super::{Key, Value, Wrong, should};
use crate::config::schedule::Schedule;

/// Takes hours from a file.
pub(super) fn from_toml(key: &Key, items: &DeArray<'_>) -> Result<Value, Wrong> {
    let words: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
    let words = words.ok_or_else(|| Wrong::new("not everything here is text", should(key)))?;
    if words.is_empty() {
        return Err(Wrong::new("the list is empty", "leave the key out for always, or take the camera out for never"));
    }
    hours(key, words.into_iter())
}

/// Takes hours, each in a text of its own.
pub(super) fn hours<'w>(key: &Key, words: impl Iterator<Item = &'w str>) -> Result<Value, Wrong> {
    Schedule::parse(words)
        .map(Value::Hours)
        .map_err(|(number, fault)| Wrong::new(format!("entry {number} {}", fault.words()), should(key)))
}
