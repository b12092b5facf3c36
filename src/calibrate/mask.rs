//! The grid on which masks are drawn, without a picture: the installer aims by coordinates.

/// Cells across.
pub(crate) const COLUMNS: usize = 16;
/// Cells down.
pub(crate) const ROWS: usize = 9;

/// Which cells are hidden, and where the cursor stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grid {
    cells: [[bool; COLUMNS]; ROWS],
    /// Column and row of the cursor.
    pub cursor: (usize, usize),
}

impl Grid {
    /// Moves the cursor, no farther than to the edge.
    pub(crate) fn step(&mut self, right: isize, down: isize) {
        let (column, row) = self.cursor;
        self.cursor =
            (column.saturating_add_signed(right).min(COLUMNS - 1), row.saturating_add_signed(down).min(ROWS - 1));
    }

    /// Hides the cell at the cursor, or shows it again.
    pub(crate) fn toggle(&mut self) {
        let (column, row) = self.cursor;
        self.cells[row][column] ^= true;
    }

    /// Whether a cell is hidden.
    #[must_use]
    pub(crate) fn is_hidden(&self, column: usize, row: usize) -> bool {
        self.cells[row][column]
    }

    /// How many cells are hidden.
    #[must_use]
    pub(crate) fn hidden(&self) -> usize {
        self.cells.iter().flatten().filter(|it| **it).count()
    }

    /// The hidden cells as few rectangles, as polygons of fractions of width and height from the top left corner: runs
    /// of a row, each joined with the equal runs of the rows below it.
    #[must_use]
    pub(crate) fn polygons(&self) -> Vec<Vec<[f64; 2]>> {
        let mut done: Vec<[usize; 4]> = Vec::new();
        let mut open: Vec<[usize; 4]> = Vec::new();
        for row in 0..ROWS {
            let mut still_open = Vec::new();
            for (from, to) in self.runs(row) {
                let above = open.iter().position(|it| (it[0], it[2]) == (from, to));
                let top = above.map_or(row, |at| open.swap_remove(at)[1]);
                still_open.push([from, top, to, row + 1]);
            }
            done.append(&mut open);
            open = still_open;
        }
        done.append(&mut open);
        done.sort_unstable_by_key(|it| (it[1], it[0]));
        done.into_iter().map(corners).collect()
    }

    /// From which column to before which one the row's cells are hidden.
    fn runs(&self, row: usize) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for column in (0..COLUMNS).filter(|it| self.cells[row][*it]) {
            match runs.last_mut().filter(|run| run.1 == column) {
                Some(run) => run.1 += 1,
                None => runs.push((column, column + 1)),
            }
        }
        runs
    }
}

fn corners([left, top, right, bottom]: [usize; 4]) -> Vec<[f64; 2]> {
    let x = |column: usize| in_ten_thousandths(column as f64 / COLUMNS as f64);
    let y = |row: usize| in_ten_thousandths(row as f64 / ROWS as f64);
    vec![[x(left), y(top)], [x(right), y(top)], [x(right), y(bottom)], [x(left), y(bottom)]]
}

/// Four digits are less than a pixel of any camera, and can be read.
fn in_ten_thousandths(fraction: f64) -> f64 {
    (fraction * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: [&str; ROWS]) -> Grid {
        let mut grid = Grid::default();
        for (row, text) in rows.iter().enumerate() {
            for (column, sign) in text.chars().enumerate() {
                grid.cells[row][column] = sign == '#';
            }
        }
        grid
    }

    #[test]
    fn neighbours_become_one_rectangle() {
        assert_eq!(Grid::default().polygons(), Vec::<Vec<[f64; 2]>>::new());
        let all = Grid { cells: [[true; COLUMNS]; ROWS], cursor: (0, 0) };
        assert_eq!(all.polygons(), [vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]]);
        let rows = [
            "####............",
            "####........##..",
            "##..........##..",
            "................",
            "................",
            "................",
            "................",
            "................",
            "...............#",
        ];
        let expected = [
            vec![[0.0, 0.0], [0.25, 0.0], [0.25, 0.2222], [0.0, 0.2222]],
            vec![[0.75, 0.1111], [0.875, 0.1111], [0.875, 0.3333], [0.75, 0.3333]],
            vec![[0.0, 0.2222], [0.125, 0.2222], [0.125, 0.3333], [0.0, 0.3333]],
            vec![[0.9375, 0.8889], [1.0, 0.8889], [1.0, 1.0], [0.9375, 1.0]],
        ];
        assert_eq!(grid(rows).polygons(), expected);
    }

    #[test]
    fn polygons_cover_exactly_the_hidden_cells() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let cells = std::array::from_fn(|_| std::array::from_fn(|_| random.bool()));
            let grid = Grid { cells, cursor: (0, 0) };
            let polygons = grid.polygons();
            for (row, cells) in grid.cells.iter().enumerate() {
                for (column, is_hidden) in cells.iter().enumerate() {
                    let x = (column as f64 + 0.5) / COLUMNS as f64;
                    let y = (row as f64 + 0.5) / ROWS as f64;
                    let covers = |it: &&Vec<[f64; 2]>| it[0][0] < x && x < it[2][0] && it[0][1] < y && y < it[2][1];
                    assert_eq!(polygons.iter().filter(covers).count(), usize::from(*is_hidden));
                }
            }
        }
    }

    #[test]
    fn the_cursor_stays_inside() {
        let mut grid = Grid::default();
        grid.step(-1, -1);
        assert_eq!(grid.cursor, (0, 0));
        (0..30).for_each(|_| grid.step(1, 1));
        assert_eq!(grid.cursor, (COLUMNS - 1, ROWS - 1));
        grid.toggle();
        assert_eq!((grid.hidden(), grid.is_hidden(COLUMNS - 1, ROWS - 1)), (1, true));
    }
}
