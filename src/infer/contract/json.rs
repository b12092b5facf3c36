//! Reads JSON strictly and names the key that is wrong.

use std::{fmt, ops::RangeInclusive};

use serde_json::Value;

/// A value that is missing or is not what it must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidValue {
    pub(super) key: String,
    pub(super) problem: String,
}

/// A field of the document, which may be absent.
#[derive(Clone)]
pub(super) struct Field<'a> {
    key: String,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { key: String::new(), value: Some(value) }
    }

    /// The place under `key`.
    pub(super) fn at(&self, key: &str) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self { key: format!("{}{dot}{key}", self.key), value: self.value.and_then(|parent| parent.get(key)) }
    }

    /// This place, if it holds something.
    pub(super) fn given(self) -> Option<Self> {
        self.value.is_some_and(|value| !value.is_null()).then_some(self)
    }

    pub(super) fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// Holds an object, with no other keys than these.
    pub(super) fn only(self, keys: &[&str]) -> Result<Self, InvalidValue> {
        let object = self.value.and_then(Value::as_object).ok_or_else(|| self.expected("an object"))?;
        match object.keys().find(|key| !keys.contains(&key.as_str())) {
            None => Ok(self),
            Some(other) => Err(InvalidValue {
                key: self.at(other).key,
                problem: format!("is not known to this version; known are {}", keys.join(", ")),
            }),
        }
    }

    pub(super) fn text(&self) -> Result<String, InvalidValue> {
        self.value.and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.expected("text"))
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, InvalidValue> {
        let found = self.value.and_then(Value::as_str);
        let choice = choices.iter().find(|(word, _)| Some(*word) == found);
        choice.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.expected(words.join(" or "))
        })
    }

    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Result<f64, InvalidValue> {
        let number = self.value.and_then(Value::as_f64).filter(|number| range.contains(number));
        number.ok_or_else(|| self.expected(format_args!("a number from {} to {}", range.start(), range.end())))
    }

    pub(super) fn count(&self, range: RangeInclusive<u32>) -> Result<u32, InvalidValue> {
        let count = self.value.and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
        count
            .filter(|count| range.contains(count))
            .ok_or_else(|| self.expected(format_args!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// Exactly the number that `ger-mel-1` and the like prescribe, where it is given at all.
    pub(super) fn exactly(&self, wanted: f64) -> Result<(), InvalidValue> {
        match self.clone().given() {
            Some(given) if given.value.and_then(Value::as_f64) != Some(wanted) => Err(self.expected(wanted)),
            _ => Ok(()),
        }
    }

    pub(super) fn numbers<const N: usize>(&self, range: RangeInclusive<f64>) -> Result<[f64; N], InvalidValue> {
        let numbers = self.value.and_then(Value::as_array).and_then(|array| {
            let numbers = array.iter().map(|number| number.as_f64().filter(|number| range.contains(number)));
            numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
        });
        numbers.ok_or_else(|| self.expected(format_args!("{N} numbers from {} to {}", range.start(), range.end())))
    }

    /// The elements of an array of exactly `N`.
    pub(super) fn elements<const N: usize>(&self) -> Result<[Self; N], InvalidValue> {
        let elements = self.value.and_then(Value::as_array).and_then(|array| {
            let elements = array.iter().enumerate();
            let elements =
                elements.map(|(i, element)| Self { key: format!("{}[{i}]", self.key), value: Some(element) });
            elements.collect::<Vec<_>>().try_into().ok()
        });
        elements.ok_or_else(|| self.expected(format_args!("an array of {N}")))
    }

    /// The error that this place does not hold what it must.
    pub(super) fn expected(&self, wanted: impl fmt::Display) -> InvalidValue {
        let found = self.value.map_or("nothing".to_owned(), |value| {
            let text = value.to_string();
            if text.len() <= 60 { text } else { format!("{}…", text.chars().take(57).collect::<String>()) }
        });
        InvalidValue { key: self.key.clone(), problem: format!("must be {wanted}, but is {found}") }
    }
}
