//! Privacy masks: what of a camera's picture nobody looks at. Geometry in whole numbers, without pixels.
//!
//! A mask is a polygon whose corners are fractions of the picture's width and height. What it covers is found once for
//! each size of picture ([`Cells::touched`]), and always too much rather than too little: a cell of which a polygon
//! touches any part belongs to it whole. Polygons that cross themselves or each other cover what any of them goes round
//! (the non-zero rule). All sums are of integers, so nothing hangs on rounding.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A camera has at most so many polygons.
pub(crate) const POLYGONS_MAX: usize = 16;
/// A polygon has at most so many corners.
pub(crate) const CORNERS_MAX: usize = 32;
/// The whole width or height, in the units of a [`Corner`].
pub(crate) const WHOLE: u16 = 10_000;

/// From the left and from the top, in ten-thousandths of the picture's width and height: 0 to [`WHOLE`].
pub(crate) type Corner = [u16; 2];

/// An area that is not looked at: 3 to [`CORNERS_MAX`] corners, not all on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Polygon(Vec<Corner>);

/// Why corners make no polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolygonError {
    /// Fewer than three.
    TooFew,
    /// More than [`CORNERS_MAX`].
    TooMany,
    /// One is outside of the picture.
    Outside,
    /// All are on one line.
    NoArea,
}

impl Polygon {
    /// A polygon with these corners; the last one is joined to the first.
    ///
    /// # Errors
    /// When they make none.
    pub fn new(corners: Vec<Corner>) -> Result<Self, PolygonError> {
        match corners.as_slice() {
            [_, _, _, ..] if CORNERS_MAX < corners.len() => Err(PolygonError::TooMany),
            [first, _, _, ..] => {
                let from = |corner: &Corner| [0, 1].map(|i| i64::from(corner[i]) - i64::from(first[i]));
                let others: Vec<_> = corners.iter().map(from).collect();
                let on_one_line = others.iter().all(|a| others.iter().all(|b| a[0] * b[1] == a[1] * b[0]));
                if corners.iter().flatten().any(|coordinate| WHOLE < *coordinate) {
                    Err(PolygonError::Outside)
                } else if on_one_line {
                    Err(PolygonError::NoArea)
                } else {
                    Ok(Self(corners))
                }
            }
            _ => Err(PolygonError::TooFew),
        }
    }

    /// Its corners.
    #[must_use]
    pub fn corners(&self) -> &[Corner] {
        &self.0
    }
}

/// Which cells of a grid over the picture are covered. The default is of a picture without pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cells {
    columns: u32,
    /// Of all rows, one after the other; those of a row in order, with a gap between each two.
    spans: Vec<Range<u32>>,
    /// Where each row's spans end in them.
    ends: Vec<usize>,
}

impl Cells {
    /// The cells that the polygons touch with any part of their area, in a picture of `width` and `height` pixels that
    /// is divided into squares of `cell` pixels from the top left; the last column and row may be cut off.
    #[must_use]
    pub(crate) fn touched(polygons: &[Polygon], (width, height): (u32, u32), cell: u32) -> Self {
        // A unit is a ten-thousandth of a pixel, so that every corner is a whole number of them.
        let scale =
            |corner: &Corner| [i64::from(corner[0]) * i64::from(width), i64::from(corner[1]) * i64::from(height)];
        let polygons: Vec<Vec<Point>> = polygons.iter().map(|polygon| polygon.0.iter().map(scale).collect()).collect();
        let columns = width.div_ceil(cell);
        let mut cells = Self { columns, spans: Vec::new(), ends: Vec::new() };
        let (mut found, mut crossings) = (Vec::new(), Vec::new());
        for row in 0..height.div_ceil(cell) {
            found.clear();
            let row = Row { row: i64::from(row), unit: i64::from(cell) * i64::from(WHOLE) };
            polygons.iter().for_each(|polygon| row.cover(polygon, &mut crossings, &mut found));
            cells.push(&mut found);
        }
        cells
    }

    /// Adds a row: its spans in any order, which may overlap.
    fn push(&mut self, found: &mut [Range<i64>]) {
        found.sort_unstable_by_key(|span| span.start);
        let begun = self.spans.len();
        for span in found {
            let within = |at: i64| u32::try_from(at).unwrap_or(0).min(self.columns);
            let (start, end) = (within(span.start), within(span.end));
            match self.spans[begun..].last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ if start < end => self.spans.push(start..end),
                _ => {}
            }
        }
        self.ends.push(self.spans.len());
    }

    /// The covered columns of each row, from the top.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[Range<u32>]> {
        (0..self.ends.len()).map(|row| self.row(row))
    }

    /// The covered columns of one row; none of a row that there is not.
    #[must_use]
    pub(crate) fn row(&self, row: usize) -> &[Range<u32>] {
        let begin = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let (Some(begin), Some(end)) = (begin, self.ends.get(row)) else { return &[] };
        &self.spans[begin..*end]
    }

    /// Whether these spans are the whole of a row.
    #[must_use]
    pub(crate) fn is_whole(&self, spans: &[Range<u32>]) -> bool {
        matches!(spans, [span] if *span == (0..self.columns))
    }

    /// Whether no cell is left.
    #[must_use]
    pub(crate) fn is_everything(&self) -> bool {
        self.rows().all(|spans| self.is_whole(spans))
    }

    /// The cells that are left, counted row by row from the top left.
    #[must_use]
    pub(crate) fn left(&self) -> Vec<Range<usize>> {
        let columns = self.columns as usize;
        let mut left: Vec<Range<usize>> = Vec::new();
        for (row, spans) in self.rows().enumerate() {
            let ends = spans.iter().map(|span| span.start as usize).chain([columns]);
            let begins = [0].into_iter().chain(spans.iter().map(|span| span.end as usize));
            for (begin, end) in begins.zip(ends).filter(|(begin, end)| begin < end) {
                match left.last_mut() {
                    Some(last) if last.end == row * columns + begin => last.end = row * columns + end,
                    _ => left.push(row * columns + begin..row * columns + end),
                }
            }
        }
        left
    }
}

type Point = [i64; 2];

/// Where the middle of a row crosses an edge: at least and at most, and whether the edge goes down (1) or up (-1).
type Crossing = (i64, i64, i32);

/// A row of cells, each a square of `unit` units.
#[derive(Clone, Copy)]
struct Row {
    row: i64,
    unit: i64,
}

impl Row {
    /// Adds the cells of this row that the polygon touches: those that its edges run through, and those between.
    /// A cell that no edge runs through is inside or outside with all of its area, so its middle tells which.
    fn cover(self, polygon: &[Point], crossings: &mut Vec<Crossing>, found: &mut Vec<Range<i64>>) {
        let (top, bottom) = (self.row * self.unit, (self.row + 1) * self.unit);
        let middle = top + self.unit / 2;
        crossings.clear();
        for (a, b) in polygon.iter().zip(polygon.iter().cycle().skip(1)) {
            let (upper, lower, direction) = if a[1] <= b[1] { (*a, *b, 1) } else { (*b, *a, -1) };
            let (from, to) = (upper[1].max(top), lower[1].min(bottom));
            if from < to {
                let (one, other) = (x_at(upper, lower, from), x_at(upper, lower, to));
                found.extend(self.span(one.0.min(other.0), one.1.max(other.1)));
            } else if upper[1] == lower[1] && top < upper[1] && upper[1] < bottom {
                found.extend(self.span(a[0].min(b[0]), a[0].max(b[0])));
            }
            if upper[1] <= middle && middle < lower[1] {
                let (least, most) = x_at(upper, lower, middle);
                crossings.push((least, most, direction));
            }
        }
        crossings.sort_unstable();
        let (mut winding, mut begin) = (0, 0);
        for (least, most, direction) in crossings {
            begin = if winding == 0 { *least } else { begin };
            winding += *direction;
            found.extend((winding == 0).then(|| self.span(begin, *most)).flatten());
        }
    }

    /// The cells of which more than an edge lies between two places; both in units from the left.
    fn span(self, from: i64, to: i64) -> Option<Range<i64>> {
        let span = from.div_euclid(self.unit)..ceil_div(to, self.unit);
        (!span.is_empty()).then_some(span)
    }
}

/// Where a slanting edge is at this height: at least and at most, in whole units.
fn x_at(upper: Point, lower: Point, y: i64) -> (i64, i64) {
    let (along, height) = ((y - upper[1]) * (lower[0] - upper[0]), lower[1] - upper[1]);
    (upper[0] + along.div_euclid(height), upper[0] + ceil_div(along, height))
}

fn ceil_div(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn polygon(corners: &[Corner]) -> Polygon {
        Polygon::new(corners.to_vec()).unwrap()
    }

    /// A picture of covered (#) and other cells.
    fn drawn(cells: &Cells) -> String {
        let row = |spans: &[Range<u32>]| {
            let cell = |x: u32| if spans.iter().any(|span| span.contains(&x)) { '#' } else { '.' };
            (0..cells.columns).map(cell).chain(['\n']).collect::<String>()
        };
        cells.rows().map(row).collect()
    }

    #[track_caller]
    fn check(polygons: &[&[Corner]], size: (u32, u32), cell: u32, expected: &str) {
        let polygons: Vec<_> = polygons.iter().map(|corners| polygon(corners)).collect();
        let cells = Cells::touched(&polygons, size, cell);
        assert_eq!(drawn(&cells), expected);
        let left: String = drawn(&cells).replace('\n', "");
        let marked: usize = cells.left().into_iter().map(|range| left[range].matches('.').count()).sum();
        assert_eq!(marked, left.matches('.').count(), "{:?}", cells.left());
        assert_eq!(cells.left().iter().map(Range::len).sum::<usize>(), marked, "{:?}", cells.left());
    }

    const LEFT_HALF: &[Corner] = &[[0, 0], [5000, 0], [5000, 10_000], [0, 10_000]];

    #[test]
    fn what_is_touched_is_covered_and_nothing_else() {
        check(&[], (4, 2), 1, "....\n....\n");
        check(&[LEFT_HALF], (4, 2), 1, "##..\n##..\n");
        // The middle of a pixel column, and of a cell.
        check(&[LEFT_HALF], (3, 1), 1, "##.\n");
        check(&[LEFT_HALF], (6, 3), 2, "##.\n##.\n");
        check(&[LEFT_HALF, &[[5000, 0], [10_000, 0], [10_000, 1], [5000, 1]]], (4, 2), 1, "####\n##..\n");
        // A speck, a hair, and what lies on the border alone.
        check(&[&[[5001, 5001], [5002, 5001], [5001, 5002]]], (4, 2), 1, "....\n..#.\n");
        check(&[&[[0, 4999], [10_000, 4999], [10_000, 5000]]], (4, 2), 1, "####\n....\n");
        check(&[&[[0, 0], [10_000, 0], [0, 10_000]]], (4, 4), 1, "####\n###.\n##..\n#...\n");
    }

    #[test]
    fn polygons_that_cross_themselves_cover_all_that_they_go_round() {
        let bow_tie: &[Corner] = &[[0, 0], [10_000, 10_000], [10_000, 0], [0, 10_000]];
        check(&[bow_tie], (4, 4), 1, "#..#\n####\n####\n#..#\n");
        // A star: its middle is gone round twice.
        let star: &[Corner] = &[[5000, 0], [8000, 10_000], [0, 4000], [10_000, 4000], [2000, 10_000]];
        assert!(drawn(&Cells::touched(&[polygon(star)], (20, 20), 1)).lines().nth(10).unwrap().contains("########"));
    }

    #[test]
    fn everything_is_found_to_be_everything() {
        let right_half: &[Corner] = &[[5000, 0], [10_000, 0], [10_000, 10_000], [5000, 10_000]];
        let both = Cells::touched(&[polygon(LEFT_HALF), polygon(right_half)], (1920, 1080), 1);
        assert!(both.is_everything() && both.left().is_empty());
        assert!(!Cells::touched(&[polygon(LEFT_HALF)], (1920, 1080), 1).is_everything());
        assert_eq!(Cells::touched(&[], (3, 2), 1).left(), std::slice::from_ref(&(0..6)));
    }

    #[test]
    fn corners_that_make_no_polygon_are_refused() {
        let check = |corners: &[Corner], fault| assert_eq!(Polygon::new(corners.to_vec()), Err(fault), "{corners:?}");
        check(&[], PolygonError::TooFew);
        check(&[[0, 0], [1, 1]], PolygonError::TooFew);
        check(&[[0, 0], [1, 1], [0, 10_001]], PolygonError::Outside);
        check(&[[7, 7], [7, 7], [7, 7]], PolygonError::NoArea);
        check(&[[0, 0], [0, 0], [5, 5], [10, 10]], PolygonError::NoArea);
        check(&[[1, 2]; CORNERS_MAX + 1], PolygonError::TooMany);
        assert!(Polygon::new(vec![[0, 0], [0, 0], [5, 5], [10, 11]]).is_ok());
    }

    /// How often a polygon goes round a point, by angles: another way than the one above.
    fn winding(polygon: &Polygon, (x, y): (f64, f64)) -> f64 {
        let at: Vec<_> = polygon.0.iter().map(|corner| (f64::from(corner[0]) - x, f64::from(corner[1]) - y)).collect();
        let angle = |((ax, ay), (bx, by)): ((f64, f64), (f64, f64))| (ax * by - ay * bx).atan2(ax * bx + ay * by);
        at.iter().copied().zip(at.iter().copied().cycle().skip(1)).map(angle).sum::<f64>() / std::f64::consts::TAU
    }

    /// Whether an edge comes as near to a cell as rounding allows (Liang and Barsky's clipping, widened).
    fn is_near(polygon: &Polygon, (left, right): (f64, f64), (top, bottom): (f64, f64)) -> bool {
        let clips = |a: (f64, f64), b: (f64, f64)| {
            let (mut from, mut to) = (0.0_f64, 1.0_f64);
            for (begin, step, least, most) in [(a.0, b.0 - a.0, left, right), (a.1, b.1 - a.1, top, bottom)] {
                if step == 0.0 {
                    if begin < least || most < begin {
                        return false;
                    }
                    continue;
                }
                let (one, other) = ((least - begin) / step, (most - begin) / step);
                (from, to) = (from.max(one.min(other)), to.min(one.max(other)));
            }
            from <= to
        };
        let at: Vec<_> = polygon.0.iter().map(|corner| (f64::from(corner[0]), f64::from(corner[1]))).collect();
        at.iter().zip(at.iter().cycle().skip(1)).any(|(a, b)| clips(*a, *b))
    }

    fn corners() -> impl Strategy<Value = Vec<Corner>> {
        proptest::collection::vec([0..=WHOLE, 0..=WHOLE], 3..9)
    }

    proptest! {
        /// Of whatever polygon: a point inside lies in a covered cell; and a covered cell has a part inside or an
        /// edge through it.
        #[test]
        fn all_that_is_inside_is_covered_and_little_more(
            corners in corners(), width in 1..50_u32, height in 1..30_u32, cell in 1..3_u32,
            points in proptest::collection::vec((0.0..1.0, 0.0..1.0), 40),
        ) {
            let Ok(polygon) = Polygon::new(corners) else { return Ok(()) };
            let cells = Cells::touched(std::slice::from_ref(&polygon), (width, height), cell);
            let rows: Vec<_> = cells.rows().map(<[_]>::to_vec).collect();
            let covered = |x: u32, y: u32| rows[y as usize].iter().any(|span| span.contains(&x));
            let whole = f64::from(WHOLE);
            for (x, y) in points {
                if 0.5 < winding(&polygon, (x * whole, y * whole)).abs() {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the picture")]
                    let at = |share: f64, side: u32| (share * f64::from(side) / f64::from(cell)) as u32;
                    prop_assert!(covered(at(x, width), at(y, height)), "{x} {y} in\n{}", drawn(&cells));
                }
            }
            for (y, x) in (0..height.div_ceil(cell)).flat_map(|y| (0..width.div_ceil(cell)).map(move |x| (y, x))) {
                let side = |n: u32, side: u32| {
                    let begin = f64::from(n * cell) / f64::from(side) * whole;
                    (begin, f64::from((n + 1) * cell) / f64::from(side) * whole)
                };
                let (across, down) = (side(x, width), side(y, height));
                let middle = ((across.0 + across.1) / 2.0, (down.0 + down.1) / 2.0);
                let wide = |(from, to): (f64, f64)| (from - 1.0, to + 1.0);
                let has_reason = 0.5 < winding(&polygon, middle).abs() || is_near(&polygon, wide(across), wide(down));
                prop_assert!(!covered(x, y) || has_reason, "{x} {y} in\n{}", drawn(&cells));
            }
        }
    }
}
