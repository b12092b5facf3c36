//! What a key may be: a type for each kind of value, with its range, its unit and its default. Each refuses what does not
//! fit, says so in words that never repeat the value, and describes itself for the documentation.
//!
//! A refusal is `what is wrong` or `what is wrong; cure`; without a cure, the key's own description of what to write is one.

mod list;
mod text;
mod url;

use std::{borrow::Cow, marker::PhantomData};

pub(super) use list::{Distribution, Masks, Providers};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
pub(super) use text::{
    Context, Device, DiscoveryPrefix, Element, FilePath, Fingerprint, Host, Listen, ModelFile, Name, SecretFile, Text,
    TopicPrefix, User, to_name,
};
pub(super) use url::{Source, Url, without_slashes};

use crate::config::schedule::Schedule;

/// The unit of a number, in the plural, as messages say it.
pub(super) trait Unit {
    const NAME: &'static str;
}

macro_rules! units {
    ($($unit:ident = $name:literal),* $(,)?) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(super) enum $unit {}

        impl Unit for $unit {
            const NAME: &'static str = $name;
        }
    )*};
}

units! {
    Frames = "frames", Hours = "hours", Levels = "levels", Mebibytes = "MiB", Milliseconds = "milliseconds",
    Packets = "packets", People = "people", Pure = "", Readings = "readings", Seconds = "seconds", Threads = "threads",
}

/// A whole number of `U` from `MIN` to `MAX`, and `DEFAULT` where the key is absent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64", bound = "U: Unit + Copy")]
pub(super) struct Integer<U, const MIN: i64, const MAX: i64, const DEFAULT: i64>(i64, PhantomData<U>);

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Integer<U, MIN, MAX, DEFAULT> {
    /// The number as a type into which its whole range fits.
    pub(super) fn get<T: TryFrom<i64> + Default>(self) -> T {
        T::try_from(self.0).unwrap_or_default()
    }
}

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Default for Integer<U, MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT, PhantomData)
    }
}

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> TryFrom<i64> for Integer<U, MIN, MAX, DEFAULT> {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        if (MIN..=MAX).contains(&number) { Ok(Self(number, PhantomData)) } else { Err("out of range") }
    }
}

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> From<Integer<U, MIN, MAX, DEFAULT>> for i64 {
    fn from(number: Integer<U, MIN, MAX, DEFAULT>) -> Self {
        number.0
    }
}

impl<U: Unit, const MIN: i64, const MAX: i64, const DEFAULT: i64> JsonSchema for Integer<U, MIN, MAX, DEFAULT> {
    fn schema_name() -> Cow<'static, str> {
        format!("Integer{}From{MIN}To{MAX}", U::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX, "x-unit": U::NAME })
    }
}

/// A number of `U`, and what it is where the key is absent; all three bounds in thousandths, because no type can hold a
/// fraction.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64", bound = "U: Unit")]
pub(super) struct Number<U, const MIN: i32, const MAX: i32, const DEFAULT: i32>(f64, PhantomData<U>);

impl<U, const MIN: i32, const MAX: i32, const DEFAULT: i32> Number<U, MIN, MAX, DEFAULT> {
    pub(super) fn get(self) -> f64 {
        self.0
    }

    #[allow(clippy::cast_possible_truncation, reason = "the ranges of the keys are far inside f32's")]
    pub(super) fn get_f32(self) -> f32 {
        self.0 as f32
    }
}

impl<U, const MIN: i32, const MAX: i32, const DEFAULT: i32> Default for Number<U, MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(f64::from(DEFAULT) / 1000.0, PhantomData)
    }
}

impl<U: Unit, const MIN: i32, const MAX: i32, const DEFAULT: i32> TryFrom<f64> for Number<U, MIN, MAX, DEFAULT> {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        let (min, max) = (f64::from(MIN) / 1000.0, f64::from(MAX) / 1000.0);
        if (min..=max).contains(&number) { Ok(Self(number, PhantomData)) } else { Err("out of range") }
    }
}

impl<U, const MIN: i32, const MAX: i32, const DEFAULT: i32> Serialize for Number<U, MIN, MAX, DEFAULT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<U: Unit, const MIN: i32, const MAX: i32, const DEFAULT: i32> JsonSchema for Number<U, MIN, MAX, DEFAULT> {
    fn schema_name() -> Cow<'static, str> {
        format!("Number{}From{MIN}To{MAX}", U::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (min, max) = (f64::from(MIN) / 1000.0, f64::from(MAX) / 1000.0);
        json_schema!({ "type": "number", "minimum": min, "maximum": max, "x-unit": U::NAME })
    }
}

/// On or off, and `DEFAULT` where the key is absent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Switch<const DEFAULT: bool>(bool);

impl<const DEFAULT: bool> Switch<DEFAULT> {
    pub(super) fn is_on(self) -> bool {
        self.0
    }
}

impl<const DEFAULT: bool> Default for Switch<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl JsonSchema for Schedule {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "items": { "type": "string" },
            "x-write": "a list such as [\"Mon-Fri 08:00-18:00\", \"Sat 22:00-02:00\"]",
        })
    }
}
