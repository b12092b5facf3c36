//! The live view: what was seen of one camera, on a terminal. Numbers and words, never a picture.

mod grid;

use super::{
    Site,
    baseline::Phase,
    facts::CameraFacts,
    grade::Grade,
    guide::{CLAPS, Guide},
    history::Trace,
    observations::Observations,
    verdict::{self, Item, step_words},
};
use crate::{
    terminal::{Color, Constraint, Frame, Layout, Line, Modifier, Paragraph, Rect, Span, Style, Stylize as _, Wrap},
    wire::record::{Emotion, Outcome, Step},
};

/// What a view shows beside what was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Screen {
    /// The newest lines of the log, oldest first.
    pub log: Vec<String>,
}

const TITLE_WIDTH: usize = 14;
const BAR_CELLS: usize = 10;
const HELP: &[(&str, &str)] = &[
    ("c", "clap test"),
    ("e", "empty"),
    ("u", "usual place"),
    ("m", "masks"),
    ("↑↓", "explain"),
    ("Tab", "camera"),
    ("q", "end"),
];

/// Draws everything. A terminal that is too small shows the upper part.
pub(crate) fn draw(frame: &mut Frame<'_>, site: &Site, guide: &Guide, screen: &Screen) {
    let Some((camera, seen)) = site.cameras().nth(guide.selected) else { return };
    let items = verdict::all(seen, &site.facts, camera);
    let rows = u16::try_from(items.len().div_ceil(2)).unwrap_or(u16::MAX);
    let tops = if site.facts.cameras.len() < 2 { 3 } else { 4 };
    let height = frame.area().height;
    let details = height.saturating_sub(tops + rows + 1).min(if height < 30 { 4 } else { 6 });
    let parts = [
        Constraint::Length(tops),
        Constraint::Length(rows),
        Constraint::Length(details),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [head, table, below, log, help] = Layout::vertical(parts).areas(frame.area());
    let title = title(site, guide, &camera.name, seen, usize::from(head.width));
    let progress = if seen.is_seen() { likelihoods(seen) } else { steps(seen) };
    let mut top = vec![title, progress, meters(seen, usize::from(head.width))];
    if 3 < tops {
        top.insert(1, others(site, guide));
    }
    frame.render_widget(Paragraph::new(top), head);
    let chosen = guide.item.map(|it| it.min(items.len().saturating_sub(1)));
    match &guide.grid {
        Some(grid) => grid::draw(frame, table, grid),
        None => two_columns(frame, table, &items, chosen),
    }
    let words = guided(seen, guide, site).unwrap_or_else(|| explained(guide, &items, chosen));
    frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), below);
    frame.render_widget(Paragraph::new(newest(screen, usize::from(log.height))), log);
    frame.render_widget(Paragraph::new(keys()), help);
}

fn title(site: &Site, guide: &Guide, name: &str, seen: &Observations, width: usize) -> Line<'static> {
    let count = site.facts.cameras.len();
    let which = if count < 2 { String::new() } else { format!(" ({} of {count})", guide.selected + 1) };
    let reading = match seen.reading.map(|it| it.outcome) {
        None => "no reading yet".to_owned(),
        Some(Outcome::Label(emotion)) => format!("reading: {}", emotion.as_str()),
        Some(Outcome::Withheld(reason)) => format!("reading: withheld ({})", reason.as_str()),
    };
    let s = site.watched.as_ms() / 1000;
    let left = format!(" {name}{which}   {reading}");
    let time = format!("{}:{:02} ", s / 60, s % 60);
    let fits = |right: &String| left.chars().count() + 3 + right.chars().count() <= width;
    let right = Some(format!("nothing is stored or published   {time}")).filter(fits).unwrap_or(time);
    let gap = width.saturating_sub(left.chars().count() + right.chars().count());
    Line::from(format!("{left}{}{right}", " ".repeat(gap))).style(Style::new().add_modifier(Modifier::REVERSED))
}

/// All cameras with the worst of each, so that nobody leaves while another one fails.
fn others(site: &Site, guide: &Guide) -> Line<'static> {
    let of = |(nth, (camera, seen)): (usize, (&CameraFacts, &Observations))| {
        let items = verdict::all(seen, &site.facts, camera);
        let is_measured = |it: &&Item| it.grade != Grade::Unknown;
        let worst = items.iter().filter(is_measured).map(|it| it.grade).min().unwrap_or(Grade::Unknown);
        let name = Span::from(format!(" {} ", camera.name));
        let name = if nth == guide.selected { name.add_modifier(Modifier::REVERSED) } else { name };
        let Span { content, style } = mark(worst);
        [Span::from("  "), name, Span::styled(format!(" {}", content.trim_start()), style)]
    };
    Line::from(site.cameras().enumerate().flat_map(of).collect::<Vec<_>>())
}

/// How far the connection has come.
fn steps(seen: &Observations) -> Line<'static> {
    let step = seen.probe.map_or(Step::None, |it| it.step);
    let shown = Step::ALL.iter().skip(1).map(|it| {
        // All six fit on 80 columns.
        let text = format!(" {} {}", if *it <= step { '✓' } else { '·' }, step_words(*it));
        if *it <= step { Span::from(text).fg(Color::Green) } else { Span::from(text).add_modifier(Modifier::DIM) }
    });
    Line::from(shown.collect::<Vec<_>>())
}

/// What the network says of the newest window, before smoothing.
fn likelihoods(seen: &Observations) -> Line<'static> {
    let probabilities = seen.probe.map_or([0; 3], |it| it.probabilities);
    if probabilities == [0; 3] {
        return Line::from(" the network gives no probabilities now").add_modifier(Modifier::DIM);
    }
    let parts = Emotion::ALL.into_iter().zip(probabilities).flat_map(|(emotion, p)| {
        let p = f64::from(p) / 10_000.0;
        [Span::from(format!(" {} {p:.2} ", emotion.as_str())), Span::from(bar(p)).fg(colour(emotion)), Span::from(" ")]
    });
    Line::from(parts.collect::<Vec<_>>())
}

fn colour(emotion: Emotion) -> Color {
    match emotion {
        Emotion::Positive => Color::Blue,
        Emotion::Neutral => Color::Gray,
        Emotion::Negative => Color::LightRed,
    }
}

/// A share, 0 to 1, as a bar.
fn bar(share: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and BAR_CELLS")]
    let cells = (share.clamp(0.0, 1.0) * BAR_CELLS as f64).round() as usize;
    format!("{}{}", "█".repeat(cells), "·".repeat(BAR_CELLS - cells))
}

/// Sound and light, with the last minutes of each.
fn meters(seen: &Observations, width: usize) -> Line<'static> {
    let cells = (width / 2).saturating_sub(22).min(60);
    let level = seen.level.points().last().map_or("none".into(), |it| format!("{:.1} dBFS", it.1[0]));
    let luma = seen.luma.points().last().map_or("none".into(), |it| format!("{:.0} of 255", it.1[0]));
    Line::from(format!(
        " sound {level:>11} {:<cells$}  light {luma:>10} {:<cells$}",
        spark(&seen.level, cells, -80.0, 0.0),
        spark(&seen.luma, cells, 0.0, 255.0)
    ))
}

/// The newest points of a history, each as high as it lies between `low` and `high`.
fn spark(trace: &Trace<1>, cells: usize, low: f32, high: f32) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let points = trace.points();
    let newest = &points[points.len().saturating_sub(cells)..];
    let sign = |value: f32| {
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
        let level = (share * 7.0).round() as usize;
        LEVELS[level]
    };
    newest.iter().map(|(_, value)| sign(value[0])).collect()
}

/// All items, in two columns that are read downwards.
fn two_columns(frame: &mut Frame<'_>, area: Rect, items: &[Item], chosen: Option<usize>) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(1).areas(area);
    let rows = items.len().div_ceil(2);
    for (column, area) in [(0, left), (1, right)] {
        let width = usize::from(area.width);
        let of_column = items.iter().enumerate().skip(column * rows).take(rows);
        let lines: Vec<_> = of_column.map(|(at, item)| row(item, width, chosen == Some(at))).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }
}

fn row(item: &Item, width: usize, is_chosen: bool) -> Line<'static> {
    let rest = width.saturating_sub(TITLE_WIDTH + 7);
    let line = Line::from(vec![
        mark(item.grade),
        Span::from(format!(" {:<TITLE_WIDTH$} {:<rest$}", item.title, cut(&item.value, rest))),
    ]);
    if is_chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

/// A word, because not everybody sees colours.
fn mark(grade: Grade) -> Span<'static> {
    match grade {
        Grade::Pass => Span::from("  ok").fg(Color::Green),
        Grade::Warn => Span::from("warn").fg(Color::Yellow).add_modifier(Modifier::BOLD),
        Grade::Fail => Span::from("FAIL").fg(Color::Red).add_modifier(Modifier::BOLD),
        Grade::Unknown => Span::from("  --").add_modifier(Modifier::DIM),
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The first of the items that must be cured, or else could be better.
fn worst(items: &[Item]) -> Option<&Item> {
    items.iter().filter(|it| matches!(it.grade, Grade::Fail | Grade::Warn)).min_by_key(|it| it.grade)
}

/// What a person is to do now, while a step runs.
fn guided(seen: &Observations, guide: &Guide, site: &Site) -> Option<Vec<Line<'static>>> {
    if guide.grid.is_some() {
        return Some(grid::words(&guide.note));
    }
    if guide.is_clapping(guide.camera(site)) {
        let (claps, sure) = seen.probe.map_or((0, 0), |it| (it.claps, it.clap_confidence));
        return Some(vec![
            Line::from(format!(
                "clap {CLAPS} times in view of the camera, about a second apart, hands well apart between"
            ))
            .bold(),
            Line::from(format!("{claps} of {CLAPS} claps heard and seen, {sure} % sure; c ends it")),
        ]);
    }
    let (phase, done, all) = seen.baseline.progress()?;
    let words = match phase {
        Phase::Empty => "baseline of the empty place: keep everybody out of the picture, yourself included",
        Phase::Usual => "baseline of the usual place: let people do what they always do here",
    };
    let share = f64::from(done) / f64::from(all.max(1));
    let key = if phase == Phase::Empty { "e" } else { "u" };
    Some(vec![Line::from(words).bold(), Line::from(format!("{} {done} of {all} windows; {key} ends it", bar(share)))])
}

/// What came of the last step, and the item that was chosen or, unless one was, the worst.
fn explained(guide: &Guide, items: &[Item], chosen: Option<usize>) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if !guide.note.is_empty() && chosen.is_none() {
        lines.push(Line::from(guide.note.clone()).bold());
    }
    match chosen.and_then(|it| items.get(it)).or_else(|| worst(items)) {
        Some(item) => {
            let title = Span::from(format!("{} ", item.title)).bold();
            lines.push(Line::from(vec![title, Span::from(item.value.clone())]));
            lines.extend(Some(item.cure.clone()).filter(|it| !it.is_empty()).map(Line::from));
            lines.push(Line::from(format!("should be: {}", item.bound)).add_modifier(Modifier::DIM));
        }
        None if items.iter().any(|it| it.grade == Grade::Pass) => {
            lines.push(Line::from("What was measured is right. c, e, u measure what only people can show."));
        }
        None => lines.push(Line::from("Waiting for the camera.")),
    }
    lines
}

fn newest(screen: &Screen, rows: usize) -> Vec<Line<'static>> {
    let from = screen.log.len().saturating_sub(rows);
    screen.log[from..].iter().map(|it| Line::from(it.clone()).add_modifier(Modifier::DIM)).collect()
}

fn keys() -> Line<'static> {
    let words =
        HELP.iter().flat_map(|(key, what)| [Span::from(format!(" {key} ")).bold(), Span::from(format!("{what} "))]);
    Line::from(words.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            facts::tests::facts,
            guide::tests::{press, site},
        },
        *,
    };
    use crate::{
        supervisor::DryRunRequest,
        terminal::{Key, shown},
        time::Moment,
        wire::{
            CameraId,
            record::{CameraFault, CameraState},
        },
    };

    const HALL: CameraId = CameraId(0);

    fn seen_on(width: u16, height: u16, site: &Site, guide: &Guide, log: &[&str]) -> String {
        let screen = Screen { log: log.iter().map(|it| (*it).to_owned()).collect() };
        let text = shown(width, height, |frame| draw(frame, site, guide, &screen));
        assert!(text.lines().all(|it| it.chars().count() <= usize::from(width)), "{text}");
        text
    }

    #[track_caller]
    fn holds(text: &str, words: &[&str]) {
        words.iter().for_each(|it| assert!(text.contains(it), "no {it:?} in:\n{text}"));
    }

    #[test]
    fn everything_fits_on_the_smallest_terminal() {
        holds(&seen_on(80, 24, &site(), &Guide::new(None), &[]), &["  ok group", " q end"]);
        let text = seen_on(80, 25, &site(), &Guide::new(None), &["08:00:00.000Z infer: a line of the log"]);
        holds(&text, &["\n08:00:00.000Z infer: a line of the log"]);
        holds(
            &text,
            &["hall   reading: positive", "positive 0.70 ███████···", "sound  -30.5 dBFS", "light  99 of 255"],
        );
        holds(&text, &["  ok connection     online", "  -- sound's offset no clap test yet", "  ok group"]);
        holds(&text, &[" c clap test", " q end"]);
    }

    #[test]
    fn before_the_first_picture_the_steps_are_shown() {
        let mut site = Site::new(facts(), Moment(0));
        let text = seen_on(80, 24, &site, &Guide::new(None), &[]);
        holds(
            &text,
            &[
                "no reading yet",
                "· connected · signed in · stream agreed · packets arrive · key frame · picture",
                "  -- connection     no report yet",
            ],
        );
        let mut vital = crate::calibrate::observations::tests::vital();
        (vital.state, vital.fault) = (CameraState::Offline, CameraFault::Unauthorised);
        let mut probe = crate::calibrate::observations::tests::probe(0);
        probe.step = Step::Connected;
        let seen = site.seen(HALL).unwrap();
        seen.vital(&vital, crate::time::Span::ZERO);
        seen.probe(&probe);
        let text = seen_on(120, 40, &site, &Guide::new(None), &[]);
        holds(&text, &["✓ connected", "· signed in", "FAIL connection     unauthorised, reached: connected"]);
        holds(&text, &["check `camera.user` and the file that `camera.password_file` names"]);
    }

    #[test]
    fn a_camera_that_went_away_shows_how_far_it_comes_now() {
        let mut site = site();
        let (mut vital, mut probe) =
            (crate::calibrate::observations::tests::vital(), crate::calibrate::observations::tests::probe(4));
        (vital.state, vital.fault) = (CameraState::Offline, CameraFault::Unauthorised);
        probe.step = Step::Connected;
        let seen = site.seen(HALL).unwrap();
        seen.vital(&vital, crate::time::Span::ZERO);
        seen.probe(&probe);
        holds(&seen_on(80, 24, &site, &Guide::new(None), &[]), &["✓ connected", "· signed in"]);
    }

    #[test]
    fn of_several_cameras_each_shows_its_worst() {
        let mut site = site();
        let yard = CameraFacts { id: CameraId(1), name: "yard".into(), ..site.facts.cameras[0].clone() };
        let attic = CameraFacts { id: CameraId(2), name: "attic".into(), ..yard.clone() };
        site.facts.cameras.extend([yard, attic]);
        let hall = site.of(HALL).unwrap().clone();
        let mut site = Site::new(site.facts, Moment(0));
        *site.seen(HALL).unwrap() = hall.clone();
        *site.seen(CameraId(1)).unwrap() = hall;
        site.seen(CameraId(1)).unwrap().vital.as_mut().unwrap().luma = 3;
        let text = seen_on(80, 24, &site, &Guide::new(None), &[]);
        holds(&text, &["hall (1 of 3)", "   hall  ok   yard  FAIL   attic  --\n", "\n c clap test", "  ok group"]);
    }

    #[test]
    fn the_time_is_told_whatever_else_is() {
        let mut site = site();
        let reading = site.seen(HALL).unwrap().reading.as_mut().unwrap();
        reading.outcome = Outcome::Withheld(crate::wire::record::Withheld::CameraOffline);
        site.facts.cameras[0].name = "the-hall-behind-the-door".into();
        let text = seen_on(80, 24, &site, &Guide::new(None), &[]);
        assert!(text.lines().next().unwrap().ends_with("withheld (camera_offline)             0:00"), "{text}");
    }

    #[test]
    fn a_person_is_told_what_to_do() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        assert_eq!(guide.key(Key::Char('c'), &mut site, Moment(0)), Some(DryRunRequest::Clap(HALL)));
        holds(&seen_on(80, 24, &site, &guide, &[]), &["clap 5 times in view of the camera", "0 of 5 claps"]);
        guide.key(Key::Char('c'), &mut site, Moment(0));
        holds(&seen_on(80, 24, &site, &guide, &[]), &["the clap test was ended"]);
        guide.key(Key::Char('e'), &mut site, Moment(0));
        holds(&seen_on(80, 24, &site, &guide, &[]), &["baseline of the empty place", "0 of 24 windows"]);
    }

    #[test]
    fn masks_are_aimed_by_coordinates() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        press(&mut guide, &mut site, &[Key::Char('m'), Key::Right, Key::Char(' '), Key::Down]);
        let text = seen_on(80, 24, &site, &guide, &[]);
        holds(&text, &["██", "column 2 of 16: 6 % to 13 % from the left", "row 2 of 9: 11 % to 22 % from the top"]);
        holds(&text, &["1 of 144 cells hidden", "Enter keeps them"]);
    }

    #[test]
    fn a_chosen_item_is_explained() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        press(&mut guide, &mut site, &[Key::Down; 3]);
        holds(
            &seen_on(80, 24, &site, &guide, &[]),
            &["packet loss none", "should be: at most 0.1 %; above 1 % it fails"],
        );
    }
}
