//! What a key may be: a type for each kind of value, with its range, its unit and its default. Each refuses what does
//! not fit, says so in words that never repeat the value, and describes itself for the documentation.
//!
//! A refusal is `what is wrong` or `what is wrong; cure`; without a cure, the key's own description of what to write is
//! one.

mod list;
mod text;
mod url;

use std::{borrow::Cow, marker::PhantomData};

pub(super) use list::Masks;
pub(crate) use list::{Distribution, Providers};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
pub use text::Host;
pub(super) use text::to_name;
pub(crate) use text::{
    Device, DiscoveryPrefix, Element, FilePath, Fingerprint, Listen, Name, NetworkFile, SecretFile, SiteContext, Text,
    TopicPrefix, User,
};
pub(super) use url::without_slashes;
pub(crate) use url::{CameraUrl, Url};

use crate::time::Span;

/// The unit of a number.
pub trait Unit {
    /// As messages say it.
    const NAME: &'static str;
}

macro_rules! units {
    ($($unit:ident = $name:literal),* $(,)?) => {$(
        #[doc = concat!("A unit: ", stringify!($unit), ".")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(unreachable_pub, reason = "a benchmark uses some of them")]
        pub enum $unit {}

        impl Unit for $unit {
            const NAME: &'static str = $name;
        }
    )*};
}

units! {
    Frames = "frames", Hours = "hours", Levels = "levels", Mebibytes = "MiB", Milliseconds = "milliseconds",
    Packets = "packets", People = "people", Pure = "", Readings = "readings", Seconds = "seconds", Threads = "threads",
}

/// A number of `U` from `MIN` to `MAX`, and `DEFAULT` where the key is absent; see [`Integer`] and [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Number<T, U, const MIN: i64, const MAX: i64, const DEFAULT: i64>(T, PhantomData<U>);

/// A whole number.
pub type Integer<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> = Number<i64, U, MIN, MAX, DEFAULT>;
/// A number whose bounds are given in thousandths, because no type can hold a fraction.
pub(crate) type Decimal<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> = Number<f64, U, MIN, MAX, DEFAULT>;

/// What a [`Number`] can be made of.
pub trait Scalar: Copy + PartialOrd + Serialize {
    /// JSON Schema's name for it.
    const TYPE: &'static str;

    /// A bound as a type can hold it.
    fn bound(bound: i64) -> Self;
}

impl Scalar for i64 {
    const TYPE: &'static str = "integer";

    fn bound(bound: i64) -> Self {
        bound
    }
}

impl Scalar for f64 {
    const TYPE: &'static str = "number";

    fn bound(thousandths: i64) -> Self {
        thousandths as Self / 1000.0
    }
}

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Integer<U, MIN, MAX, DEFAULT> {
    /// The number as a type into which its whole range fits.
    #[must_use]
    pub fn get<T: TryFrom<i64> + Default>(self) -> T {
        T::try_from(self.0).unwrap_or_default()
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> Integer<Milliseconds, MIN, MAX, DEFAULT> {
    /// The number as a length of time.
    #[must_use]
    pub fn span(self) -> Span {
        Span::from_ms(self.0)
    }
}

impl<U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Decimal<U, MIN, MAX, DEFAULT> {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The number, to seven digits.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the ranges of the keys are far inside f32's")]
    pub fn get_f32(self) -> f32 {
        self.0 as f32
    }
}

impl<const MIN: i64, const MAX: i64, const DEFAULT: i64> Decimal<Seconds, MIN, MAX, DEFAULT> {
    /// The number as a length of time, in whole milliseconds.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the ranges of the keys are far inside i64's")]
    pub fn span(self) -> Span {
        Span::from_ms((self.0 * 1000.0).round() as i64)
    }
}

impl<T: Scalar, U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Default for Number<T, U, MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(T::bound(DEFAULT), PhantomData)
    }
}

impl<T: Scalar, U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Number<T, U, MIN, MAX, DEFAULT> {
    /// A number that must be in the range.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(number: T) -> Result<Self, &'static str> {
        let fits = (T::bound(MIN)..=T::bound(MAX)).contains(&number);
        if fits { Ok(Self(number, PhantomData)) } else { Err("out of range") }
    }
}

impl<'de, T, U, const MIN: i64, const MAX: i64, const DEFAULT: i64> Deserialize<'de> for Number<T, U, MIN, MAX, DEFAULT>
where
    T: Scalar + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(T::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<T: Scalar, U: Unit, const MIN: i64, const MAX: i64, const DEFAULT: i64> JsonSchema
    for Number<T, U, MIN, MAX, DEFAULT>
{
    fn schema_name() -> Cow<'static, str> {
        format!("{}{}From{MIN}To{MAX}", T::TYPE, U::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (min, max) = (T::bound(MIN), T::bound(MAX));
        json_schema!({ "type": T::TYPE, "minimum": min, "maximum": max, "x-unit": U::NAME })
    }
}

/// True or false, and true where the key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OnByDefault(pub bool);

impl Default for OnByDefault {
    fn default() -> Self {
        Self(true)
    }
}
