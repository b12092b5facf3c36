//! Lists: providers, distributions, masks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::{
    config::{ProviderChoice, SHARE_MIN},
    mask::{CORNERS_MAX, Cells, Corner, POLYGONS_MAX, Polygon, PolygonError, WHOLE},
};

/// The sum of the shares may differ from 1 by this much: people write two or three digits.
const SUM_TOLERANCE: f64 = 0.011;

/// The grid on which the rest of a picture is searched: an area smaller than one of its pixels counts as nothing.
const FINE: (u32, u32) = (1920, 1080);

/// The ladder of providers: at least one, and none twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<ProviderChoice>")]
pub struct Providers(pub Vec<ProviderChoice>);

impl Default for Providers {
    fn default() -> Self {
        Self(vec![ProviderChoice::Cpu])
    }
}

impl TryFrom<Vec<ProviderChoice>> for Providers {
    type Error = &'static str;

    fn try_from(providers: Vec<ProviderChoice>) -> Result<Self, Self::Error> {
        if providers.is_empty() {
            return Err("the list is empty");
        }
        if (1..providers.len()).any(|i| providers[..i].contains(&providers[i])) {
            return Err("a word stands here twice");
        }
        Ok(Self(providers))
    }
}

/// How often each of the three moods occurs. Sums to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<f64>")]
#[schemars(extend("x-write" = format!(
    "a list of three numbers from {SHARE_MIN} to {} that sum to 1, such as [0.2, 0.7, 0.1]", 1.0 - 2.0 * SHARE_MIN
)))]
pub struct Distribution(pub [f64; 3]);

impl TryFrom<Vec<f64>> for Distribution {
    type Error = &'static str;

    fn try_from(numbers: Vec<f64>) -> Result<Self, Self::Error> {
        let Ok(shares) = <[f64; 3]>::try_from(numbers) else { return Err("these are not three numbers") };
        let sum: f64 = shares.iter().sum();
        if shares.iter().any(|share| !(SHARE_MIN..=1.0).contains(share)) {
            return Err("out of range");
        }
        if SUM_TOLERANCE < (sum - 1.0).abs() {
            return Err("these do not sum to 1");
        }
        Ok(Self(shares.map(|share| share / sum)))
    }
}

/// Polygons over the picture; none is no mask.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<Value>")]
#[schemars(!try_from, extend("x-write" =
    "a list of at most 16 polygons such as [[[0.0, 0.0], [0.3, 0.0], [0.3, 1.0], [0.0, 1.0]]], each a list of 3 to 32 \
     points [x, y] from 0 to 1"))]
pub(crate) struct Masks(#[schemars(with = "Vec<Vec<[f64; 2]>>")] pub(crate) Vec<Polygon>);

impl TryFrom<Vec<Value>> for Masks {
    type Error = String;

    fn try_from(items: Vec<Value>) -> Result<Self, String> {
        if POLYGONS_MAX < items.len() {
            return Err(format!("there are more than {POLYGONS_MAX} polygons"));
        }
        let numbered = (1..).zip(&items);
        let polygons = numbered
            .map(|(number, item)| polygon(item).map_err(|what| format!("polygon {number} {what}")))
            .collect::<Result<Vec<_>, _>>()?;
        if !polygons.is_empty() && Cells::touched(&polygons, FINE, 1).is_everything() {
            let cure = "leave a part of it open, or take the camera out of the configuration";
            return Err(format!("nothing of the picture is left; {cure}"));
        }
        Ok(Self(polygons))
    }
}

/// A polygon, or what is wrong with it.
fn polygon(item: &Value) -> Result<Polygon, String> {
    let points = item.as_array().ok_or("is not a list of points")?;
    let corners: Result<Vec<_>, String> = (1..)
        .zip(points)
        .map(|(number, point)| corner(point).map_err(|what| format!("has a point {number} {what}")))
        .collect();
    Polygon::new(corners?).map_err(|fault| match fault {
        PolygonError::TooFew => "has fewer than 3 points".into(),
        PolygonError::TooMany => format!("has more than {CORNERS_MAX} points"),
        PolygonError::Outside => "has a point outside of the picture".into(),
        PolygonError::NoArea => "has no area: all of its points are on one line".into(),
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10000")]
fn corner(point: &Value) -> Result<Corner, &'static str> {
    let Ok([x, y]) = point.clone().try_into::<[f64; 2]>() else { return Err("that is not two numbers") };
    if ![x, y].iter().all(|part| (0.0..=1.0).contains(part)) {
        return Err("outside of the picture: 0 is its left or upper edge, 1 its right or lower one");
    }
    Ok([x, y].map(|part| (part * f64::from(WHOLE)).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_sums_to_one() {
        let read = |numbers: &[f64]| Distribution::try_from(numbers.to_vec()).map(|distribution| distribution.0);
        assert_eq!(read(&[0.25, 0.5, 0.25]), Ok([0.25, 0.5, 0.25]));
        // Three digits of thirds are meant to be thirds.
        assert!((read(&[0.333, 0.333, 0.333]).unwrap()[0] - 1.0 / 3.0).abs() < 1e-12);
        for (numbers, what) in [
            (&[0.5, 0.5][..], "these are not three numbers"),
            (&[0.5, 0.4, 0.2], "these do not sum to 1"),
            (&[0.99, 0.0, 0.01], "out of range"),
            (&[0.5, 0.5, f64::NAN], "out of range"),
        ] {
            assert_eq!(read(numbers), Err(what), "{numbers:?}");
        }
    }
}
