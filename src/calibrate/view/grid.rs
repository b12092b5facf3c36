//! The grid for masks, on a terminal.

use crate::{
    calibrate::mask::{COLUMNS, Grid, ROWS},
    terminal::{Frame, Line, Modifier, Paragraph, Rect, Span, Style, Stylize as _},
};

/// Signs across one cell.
const CELL: usize = 4;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, grid: &Grid) {
    let mut lines = vec![ruler()];
    lines.extend((0..ROWS).map(|row| cells(grid, row)));
    lines.push(Line::default());
    lines.extend(place(grid));
    frame.render_widget(Paragraph::new(lines), area);
}

/// What the keys do.
pub(super) fn words(note: &str) -> Vec<Line<'static>> {
    let what = "masks: what lies under a hidden cell is painted over before anything is computed";
    vec![
        Line::from(if note.is_empty() { what.to_owned() } else { note.to_owned() }).bold(),
        Line::from("cursor keys move; space hides or shows a cell; Enter keeps them; Esc does not"),
        Line::from("the grid is the whole picture: aim by what the camera's own page shows"),
    ]
}

/// Per cents of the picture's width, every fourth cell.
fn ruler() -> Line<'static> {
    let marks =
        (0..COLUMNS).step_by(4).map(|it| format!("{:<width$}", format!("{} %", it * 100 / COLUMNS), width = 4 * CELL));
    Line::from(format!("      {}", marks.collect::<String>())).add_modifier(Modifier::DIM)
}

fn cells(grid: &Grid, row: usize) -> Line<'static> {
    let mut spans = vec![Span::from(format!("{:>4} % ", row * 100 / ROWS)).add_modifier(Modifier::DIM)];
    for column in 0..COLUMNS {
        let text = if grid.is_hidden(column, row) { "███ " } else { " ·  " };
        let style =
            if grid.cursor == (column, row) { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn place(grid: &Grid) -> Vec<Line<'static>> {
    let (column, row) = grid.cursor;
    let percent = |at: usize, of: usize| (100.0 * at as f64 / of as f64).round();
    let across = format!(
        "column {} of {COLUMNS}: {} % to {} % from the left",
        column + 1,
        percent(column, COLUMNS),
        percent(column + 1, COLUMNS)
    );
    let down =
        format!("row {} of {ROWS}: {} % to {} % from the top", row + 1, percent(row, ROWS), percent(row + 1, ROWS));
    let hidden = format!("{} of {} cells hidden", grid.hidden(), COLUMNS * ROWS);
    [across, down, hidden].map(|it| Line::from(format!("      {it}"))).into()
}
