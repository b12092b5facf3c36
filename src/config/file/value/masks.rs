//! Masks as they are written: lists of lists of pairs of numbers.

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{Key, Value, Wrong, should};
use crate::mask::{CORNERS_MAX, Cells, Corner, Fault, POLYGONS_MAX, Polygon, WHOLE};

/// Fine enough that what is left of a picture, if anything, is seen: an area smaller than a pixel of it is none.
const FINE: (u32, u32) = (1920, 1080);

/// Takes polygons from a file. No polygon at all is no mask.
pub(super) fn masks(key: &Key, items: &DeArray<'_>) -> Result<Value, Wrong> {
    if POLYGONS_MAX < items.len() {
        return Err(Wrong::new(format!("there are more than {POLYGONS_MAX} polygons"), should(key)));
    }
    let mut polygons = Vec::with_capacity(items.len());
    for (number, item) in (1..).zip(items.iter()) {
        polygons.push(polygon(item).map_err(|what| Wrong::new(format!("polygon {number} {what}"), should(key)))?);
    }
    if !polygons.is_empty() && Cells::touched(&polygons, FINE, 1).is_everything() {
        let cure = "leave a part of it open, or take the camera out of the configuration";
        return Err(Wrong::new("nothing of the picture is left", cure));
    }
    Ok(Value::Masks(polygons))
}

/// Takes polygons from the environment, written as in a file.
pub(super) fn from_environment(key: &Key, written: &str) -> Result<Value, Wrong> {
    let wrong = || Wrong::new("this is no list of polygons", should(key));
    let text = format!("masks = {written}");
    let table = DeTable::parse(&text).map_err(|_| wrong())?;
    match table.get_ref().get("masks").map(Spanned::get_ref) {
        Some(DeValue::Array(items)) if table.get_ref().len() == 1 => masks(key, items),
        _ => Err(wrong()),
    }
}

/// One of them, or what is wrong with it.
fn polygon(item: &Spanned<DeValue<'_>>) -> Result<Polygon, String> {
    let points = item.get_ref().as_array().ok_or("is not a list of points")?;
    let corners: Result<Vec<_>, String> = (1..)
        .zip(points.iter())
        .map(|(number, point)| corner(point).map_err(|what| format!("has a point {number} {what}")))
        .collect();
    Polygon::new(corners?).map_err(|fault| match fault {
        Fault::TooFew => "has fewer than 3 points".into(),
        Fault::TooMany => format!("has more than {CORNERS_MAX} points"),
        Fault::Outside => "has a point outside of the picture".into(),
        Fault::NoArea => "has no area: all of its points are on one line".into(),
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10000")]
fn corner(point: &Spanned<DeValue<'_>>) -> Result<Corner, &'static str> {
    let number = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::Integer(it) if it.radix() == 10 => it.as_str().parse::<f64>().ok(),
        DeValue::Float(it) => it.as_str().parse().ok(),
        _ => None,
    };
    let numbers: Option<Vec<f64>> = point.get_ref().as_array().and_then(|it| it.iter().map(number).collect());
    let Some([x, y]) = numbers.as_deref() else { return Err("that is not two numbers") };
    if ![x, y].iter().all(|it| (0.0..=1.0).contains(*it)) {
        return Err("outside of the picture: 0 is its left or upper edge, 1 its right or lower one");
    }
    Ok([*x, *y].map(|it| (it * f64::from(WHOLE)).round() as u16))
}
