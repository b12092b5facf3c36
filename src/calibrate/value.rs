//! The value of a measured key, as it is written in a configuration file.

use std::fmt;

/// A value of TOML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Polygons of `[x, y]`.
    Polygons(Vec<Vec<[f64; 2]>>),
}

/// As it stands in a file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[f64]| {
            let words: Vec<_> = numbers.iter().map(|number| format!("{number:?}")).collect();
            format!("[{}]", words.join(", "))
        };
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            // With a point, always: the key takes numbers, and says so.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Numbers(numbers) => f.write_str(&list(numbers)),
            Self::Polygons(polygons) => {
                let polygon = |points: &Vec<[f64; 2]>| {
                    let points: Vec<_> = points.iter().map(|point| list(point)).collect();
                    format!("[{}]", points.join(", "))
                };
                let polygons: Vec<_> = polygons.iter().map(polygon).collect();
                write!(f, "[{}]", polygons.join(", "))
            }
        }
    }
}
