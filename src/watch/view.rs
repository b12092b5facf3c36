//! A fleet in a terminal: totals, a table of the cameras, and the keys.

use super::{
    ConnectionState,
    fleet::{Fleet, Point, Row, Sort},
    lines::{cells, totals},
    text::Label,
};
use crate::terminal::{
    Alignment, Cell, Color, Constraint, Frame, Key, Layout, Line, Modifier, Paragraph, Rect, Row as TableRow, Style,
    Table,
};
use crate::wire::record::Emotion;

/// The longest filter, characters.
const FILTER_CHARS_MAX: usize = 40;
/// A newest reading older than this is highlighted, ms.
const OLD_MS: u64 = 60_000;
/// The characters of a curve, from negative to positive.
const CURVE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What the user selected.
#[derive(Debug, Default)]
pub(super) struct ViewState {
    filter: String,
    /// Keys are typed into the filter.
    typing: bool,
    sort: Sort,
    reverse: bool,
    /// The first visible row.
    top: usize,
    /// The numbers of visible rows and of all rows when it was drawn last.
    page: usize,
    rows: usize,
}

impl ViewState {
    /// Handles a key. False if it ends the view.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Interrupt => return false,
            Key::Up => self.top = self.top.saturating_sub(1),
            Key::Down => self.top += 1,
            Key::PageUp => self.top = self.top.saturating_sub(self.page),
            Key::PageDown => self.top += self.page,
            Key::Home => self.top = 0,
            Key::End => self.top = self.rows,
            Key::Escape if self.filter.is_empty() && !self.typing => return false,
            Key::Escape => (self.filter, self.typing) = (String::new(), false),
            Key::Enter => self.typing = false,
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(_) if self.typing && FILTER_CHARS_MAX <= self.filter.chars().count() => (),
            Key::Char(character) if self.typing => self.filter.push(character),
            Key::Char('/') => self.typing = true,
            Key::Char('s') => self.sort = next(self.sort),
            Key::Char('r') => self.reverse = !self.reverse,
            Key::Char('q') => return false,
            _ => (),
        }
        true
    }
}

fn next(sort: Sort) -> Sort {
    let at = Sort::ALL.iter().position(|candidate| *candidate == sort).unwrap_or(0);
    Sort::ALL[(at + 1) % Sort::ALL.len()]
}

/// What is drawn.
pub(super) struct ViewData<'a> {
    pub(super) place: &'a str,
    pub(super) connection: &'a ConnectionState,
    pub(super) fleet: &'a Fleet,
    pub(super) now_ms: u64,
}

pub(super) fn draw(frame: &mut Frame<'_>, data: &ViewData<'_>, state: &mut ViewState) {
    let totals = Paragraph::new(totals(&data.fleet.totals(data.now_ms))).wrap(crate::terminal::Wrap { trim: true });
    let head_lines = if frame.area().width < 100 { 2 } else { 1 };
    let words = data.connection.description();
    let link_lines = if words.chars().count() < usize::from(frame.area().width) { 1 } else { 2 };
    let parts = [1, link_lines, head_lines].map(Constraint::Length);
    let [title, link, head, body, foot] =
        Layout::vertical([parts[0], parts[1], parts[2], Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Line::styled(format!("edge-ger watch  {}", data.place), Modifier::BOLD), title);
    let link_style =
        if data.connection.is_good() { Style::new().fg(Color::Green) } else { Style::new().fg(Color::Yellow) };
    frame.render_widget(Paragraph::new(words).style(link_style).wrap(crate::terminal::Wrap { trim: true }), link);
    frame.render_widget(totals, head);
    let rows = data.fleet.rows(&state.filter, state.sort, state.reverse);
    state.page = usize::from(body.height).saturating_sub(1).max(1);
    state.rows = rows.len();
    state.top = state.top.min(rows.len().saturating_sub(state.page));
    let shown = rows.len().min(state.top + state.page);
    let (counted, keys) = (format!("{}-{shown} of {}", (state.top + 1).min(shown), rows.len()), keys(state));
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty_text(data, state)).alignment(Alignment::Center), body);
    } else {
        table(frame, body, &rows[state.top..shown], data.now_ms);
    }
    let width = u16::try_from(counted.len()).unwrap_or(u16::MAX);
    let [keys_at, counted_at] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(foot);
    frame.render_widget(Line::styled(keys, Modifier::DIM), keys_at);
    frame.render_widget(Line::styled(counted, Modifier::DIM), counted_at);
}

fn empty_text(data: &ViewData<'_>, state: &ViewState) -> String {
    match () {
        () if !state.filter.is_empty() => format!("\nnothing with \"{}\"", state.filter),
        () if data.connection.is_good() => "\nno box has said anything below this prefix yet".to_owned(),
        () => String::new(),
    }
}

fn keys(state: &ViewState) -> String {
    if state.typing {
        return format!("filter: {}_  (Enter keeps it, Esc drops it)", state.filter);
    }
    let order = if state.reverse { ", reversed" } else { "" };
    let filter = if state.filter.is_empty() { "/ filter".to_owned() } else { format!("/ filter: {}", state.filter) };
    format!("{filter}  s sort: {}{order}  r reverse  q leave", state.sort.as_str())
}

/// The widths of the columns, characters.
struct Columns {
    bar: u16,
    curve: u16,
    /// With people, sound and provider.
    wide: bool,
    name: u16,
}

impl Columns {
    const STATE: u16 = 7;
    const LABEL: u16 = 8;
    const AGE: u16 = 7;
    const LATENCY: u16 = 7;
    const WIDE: [u16; 3] = [6, 8, 8];
    /// The least width of the name.
    const NAME_MIN: u16 = 12;

    fn new(width: u16) -> Self {
        let (bar, curve, wide) = match width {
            0..74 => (0, 0, false),
            74..110 => (14, 12, false),
            _ => (20, 24, true),
        };
        let mut plan = Self { bar, curve, wide, name: 0 };
        // Each column has a space before it.
        let used = plan.others().iter().map(|width| width + 1).sum();
        plan.name = width.saturating_sub(used).max(Self::NAME_MIN);
        plan
    }

    /// All columns but the name's.
    fn others(&self) -> Vec<u16> {
        let drawn = [self.bar, self.curve].into_iter().filter(|width| 0 < *width);
        let latency = (0 < self.bar).then_some(Self::LATENCY);
        let wide = Self::WIDE.into_iter().filter(|_| self.wide);
        [Self::STATE, Self::LABEL, Self::AGE].into_iter().chain(drawn).chain(latency).chain(wide).collect()
    }

    fn head(&self) -> Vec<&'static str> {
        let mut head = vec!["camera", "state", "label", "    age"];
        if 0 < self.bar {
            head.extend(["+ = -", "last", "latency"]);
        }
        if self.wide {
            head.extend(["people", "sound", "provider"]);
        }
        head
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, rows: &[Row<'_>], now_ms: u64) {
    let plan = Columns::new(area.width);
    let lines = rows.iter().map(|row| TableRow::new(columns(row, &plan, now_ms)));
    let widths = std::iter::once(plan.name).chain(plan.others()).map(Constraint::Length);
    let head = TableRow::new(plan.head()).style(Modifier::UNDERLINED);
    frame.render_widget(Table::new(lines, widths).header(head).column_spacing(1), area);
}

fn columns(row: &Row<'_>, plan: &Columns, now_ms: u64) -> Vec<Cell<'static>> {
    let is_off = row.box_state.online == Some(false);
    let [label, age, bar, latency] = cells(row, usize::from(plan.bar), now_ms);
    let old = row.age_ms(now_ms).is_some_and(|age_ms| OLD_MS < age_ms);
    let right = |text: String, width: u16| format!("{text:>width$}", width = usize::from(width));
    let mut columns = vec![
        Cell::new(shortened(&row.name(), usize::from(plan.name))),
        Cell::new(row.state()).style(state_style(row.state())),
        Cell::new(label).style(label_style(row, is_off)),
        Cell::new(right(age, Columns::AGE)).style(if old { Style::new().fg(Color::Yellow) } else { Style::new() }),
    ];
    if 0 < plan.bar {
        let curve =
            row.camera.map_or_else(String::new, |(_, camera)| curve(camera.history.iter(), usize::from(plan.curve)));
        columns.push(Cell::new(bar).style(label_style(row, is_off)));
        columns.push(Cell::new(curve));
        columns.push(Cell::new(right(latency, Columns::LATENCY)));
    }
    if plan.wide {
        let reading = row.reading();
        let people = reading.filter(|reading| 0 <= reading.group_min).map(|reading| format!("{}+", reading.group_min));
        columns.push(Cell::new(right(people.unwrap_or_default(), Columns::WIDE[0])));
        columns.push(Cell::new(reading.map_or_else(String::new, |reading| reading.sound.clone())));
        columns.push(Cell::new(row.box_state.info.provider.clone()));
    }
    columns
}

fn state_style(state: &str) -> Style {
    match state {
        "online" => Style::new().fg(Color::Green),
        "box off" | "offline" => Style::new().fg(Color::Red),
        _ => Style::new().fg(Color::Yellow),
    }
}

/// Colours only repeat what the words say.
fn label_style(row: &Row<'_>, is_off: bool) -> Style {
    match row.reading().map(|reading| reading.label) {
        _ if is_off => Style::new().add_modifier(Modifier::DIM),
        Some(Label::Emotion(Emotion::Positive)) => Style::new().fg(Color::Green),
        Some(Label::Emotion(Emotion::Negative)) => Style::new().fg(Color::Red),
        Some(Label::Emotion(Emotion::Neutral)) | None => Style::new(),
        Some(Label::Withheld) => Style::new().add_modifier(Modifier::DIM),
    }
}

/// A name that is too long is cut at the start, because the boxes of a fleet often have the same prefix.
fn shortened(name: &str, chars: usize) -> String {
    let count = name.chars().count();
    if count <= chars {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count + 1 - chars.max(1)).collect();
    format!("…{end}")
}

/// The newest readings, the last one at the right; a withheld one is a dot.
fn curve<'a>(history: impl ExactSizeIterator<Item = &'a Point>, chars: usize) -> String {
    let skip = history.len().saturating_sub(chars);
    let step = |mood: f32| (1..8_u8).filter(|step| f32::from(*step) / 4.0 - 1.0 <= mood).count();
    history.skip(skip).map(|point| point.mood.map_or('·', |mood| CURVE[step(mood)])).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        mqtt::{FailureKind, Message},
        terminal::shown,
    };

    const NOW_MS: u64 = 1_795_000_005_000;

    fn take(fleet: &mut Fleet, topic: &str, payload: &str) {
        let topic = format!("edge-ger/{topic}");
        fleet.apply(&Message { topic, payload: payload.into(), retained: true }, NOW_MS);
    }

    fn reading(seq: u64, label: &str, p: [f32; 3], reason: &str) -> String {
        format!(
            r#"{{"v":1,"ts_ms":{},"boot":1,"seq":{seq},"label":"{label}","code":0,"p_positive":{},"p_neutral":{},"p_negative":{},"reason":"{reason}","group_min":5,"sound":"present","offset_ms":1,"latency_ms":88,"inference_ms":3}}"#,
            1_794_999_965_000 + seq * 5000,
            p[0],
            p[1],
            p[2]
        )
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::new("edge-ger");
        take(&mut fleet, "box-7/status", "online");
        take(&mut fleet, "box-7/info", r#"{"version":"0.1.0","model":"edge-ger-3","provider":"cuda"}"#);
        take(&mut fleet, "box-7/hall/status", "online");
        for seq in 0..8 {
            let positive = 0.1 + 0.1 * seq as f32;
            take(&mut fleet, "box-7/hall/reading", &reading(seq, "positive", [positive, 0.1, 0.9 - positive], "none"));
        }
        take(&mut fleet, "box-7/yard/status", "stale");
        take(&mut fleet, "box-7/yard/last", &reading(7, "withheld", [0.0; 3], "video_gap"));
        take(&mut fleet, "box-9/status", "offline");
        take(&mut fleet, "box-9/a-camera-with-quite-a-long-name/status", "online");
        fleet
    }

    fn screen(width: u16, height: u16, fleet: &Fleet, connection: &ConnectionState, state: &mut ViewState) -> String {
        let data = ViewData { place: "mqtt://broker:1883/edge-ger", connection, fleet, now_ms: NOW_MS };
        shown(width, height, |frame| draw(frame, &data, state))
    }

    #[test]
    fn eighty_columns_show_every_camera() {
        assert_eq!(
            screen(80, 9, &fleet(), &ConnectionState::Connected, &mut ViewState::default()),
            "\
edge-ger watch  mqtt://broker:1883/edge-ger
connected
boxes: 1 online, 1 offline · 3 cameras: 1 positive, 0 neutral, 0 negative, 1
withheld · 0.0 readings/s
camera              state   label        age + = -          last         latency
box-7/hall          online  positive     5 s +++++++++++==- ▂▃▃▄▅▆▇▇       88 ms
box-7/yard          stale   withheld     5 s video_gap      ·              88 ms
…-quite-a-long-name box off
/ filter  s sort: name  r reverse  q leave                              1-3 of 3
"
        );
    }

    #[test]
    fn a_wide_terminal_shows_more_and_a_narrow_one_less() {
        let wide = screen(130, 8, &fleet(), &ConnectionState::Connected, &mut ViewState::default());
        assert!(wide.contains("…ra-with-quite-a-long-name box off") && wide.contains("    5+ present  cuda"), "{wide}");
        let narrow = screen(50, 9, &fleet(), &ConnectionState::Connected, &mut ViewState::default());
        assert!(
            narrow.contains("box-7/yard") && narrow.contains("withheld") && !narrow.contains("video_gap"),
            "{narrow}"
        );
        // Not one that fits nothing.
        screen(3, 2, &fleet(), &ConnectionState::Connected, &mut ViewState::default());
    }

    #[test]
    fn the_state_of_the_connection_is_shown_in_words() {
        let lost = ConnectionState::lost("Connection refused", FailureKind::Away, Duration::from_secs(4));
        let text = screen(80, 8, &Fleet::new("edge-ger"), &lost, &mut ViewState::default());
        assert!(text.contains("the broker is away: Connection refused; next try in 4 s"), "{text}");
        let text = screen(80, 8, &Fleet::new("edge-ger"), &ConnectionState::Connected, &mut ViewState::default());
        assert!(text.contains("no box has said anything"), "{text}");
    }

    #[test]
    fn keys_filter_sort_and_leave() {
        let (fleet, mut state) = (fleet(), ViewState::default());
        let press = |state: &mut ViewState, keys: &str| keys.chars().all(|character| state.press(Key::Char(character)));
        // In the filter, q is a letter.
        assert!(press(&mut state, "/video_q"));
        state.press(Key::Backspace);
        let text = screen(80, 8, &fleet, &ConnectionState::Connected, &mut state);
        assert!(text.contains("box-7/yard") && !text.contains("hall") && text.contains("filter: video__"), "{text}");
        state.press(Key::Enter);
        assert!(press(&mut state, "sr"));
        let text = screen(80, 8, &fleet, &ConnectionState::Connected, &mut state);
        assert!(text.contains("/ filter: video_  s sort: state, reversed"), "{text}");
        assert!(state.press(Key::Escape) && state.filter.is_empty());
        assert!(!state.press(Key::Escape) && !state.press(Key::Interrupt) && !press(&mut state, "q"));
    }

    #[test]
    fn the_table_scrolls_to_its_ends() {
        let mut fleet = Fleet::new("edge-ger");
        (0..50).for_each(|n| take(&mut fleet, &format!("box-{n:02}/status"), "online"));
        let mut state = ViewState::default();
        let at = |state: &mut ViewState, key, counted: &str| {
            state.press(key);
            let text = screen(80, 15, &fleet, &ConnectionState::Connected, state);
            assert!(text.contains(counted), "{key:?}: {text}");
        };
        at(&mut state, Key::Up, "1-9 of 50");
        at(&mut state, Key::PageDown, "10-18 of 50");
        at(&mut state, Key::End, "42-50 of 50");
        at(&mut state, Key::Down, "42-50 of 50");
        at(&mut state, Key::Up, "41-49 of 50");
        at(&mut state, Key::Home, "1-9 of 50");
    }

    #[test]
    fn no_message_contains_terminal_commands_when_drawn() {
        let mut fleet = Fleet::new("edge-ger");
        let evil = "\\u001b]0;owned\\u0007\\u009b2J";
        take(&mut fleet, "b/c/last", &reading(1, "withheld", [0.0; 3], evil));
        take(&mut fleet, "b/info", &format!(r#"{{"version":"{evil}","model":"{evil}","provider":"{evil}"}}"#));
        take(&mut fleet, "b\u{1b}[2J/status", "online");
        let reason = "\u{1b}[2Jbad certificate\u{9b}";
        let lost = ConnectionState::lost(reason, FailureKind::Certificate, Duration::from_secs(1));
        let mut text = screen(130, 8, &fleet, &lost, &mut ViewState::default());
        text += &crate::watch::lines::table(&fleet, NOW_MS);
        assert!(text.contains("]0;owned") && text.contains("bad certificate"), "{text}");
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    }
}
