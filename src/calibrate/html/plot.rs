//! Plots as inline SVG, made from numbers. Lines differ by their pattern, not by their colour alone.

use std::fmt::Write as _;

/// The drawing's size, in its own units: as wide as a phone, so that its letters can be read there.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 190.0;
/// Where the plot lies in it.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 410.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 162.0;
/// Bars of a histogram.
const BARS: usize = 24;

/// A line of a plot: seconds and values.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// The values' axis.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) unit: &'static str,
}

/// Values over time, up to `end_s` or the last of them.
pub(super) fn lines(title: &str, series: &[Series], end_s: f64, axis: Axis) -> String {
    let last = series.iter().filter_map(|it| it.points.last()).map(|it| it.0).reduce(f64::max);
    let Some(end) = last.map(|it| it.max(end_s).max(1.0)) else { return nothing(title) };
    let x = |s: f64| LEFT + s / end * (RIGHT - LEFT);
    let y =
        |value: f64| BOTTOM - (value.clamp(axis.low, axis.high) - axis.low) / (axis.high - axis.low) * (BOTTOM - TOP);
    let mut body = String::new();
    for tick in 0..=4 {
        let value = axis.low + (axis.high - axis.low) * f64::from(tick) / 4.0;
        body += &rule(y(value), &number(value));
    }
    for (nth, it) in series.iter().enumerate() {
        let points: Vec<_> = it.points.iter().map(|(s, value)| format!("{:.1},{:.1}", x(*s), y(*value))).collect();
        // Writing to a string cannot fail.
        writeln!(body, "<polyline class=\"line{nth}\" points=\"{}\"/>", points.join(" ")).ok();
    }
    let unit = if end < 600.0 { ("s", 1.0) } else { ("min", 60.0) };
    let ends = (format!("0 {}", unit.0), format!("{:.0} {}", end / unit.1, unit.0));
    figure(title, axis.unit, &body, &ends, &legend(series))
}

/// How often each value came: values and counts, ascending.
pub(super) fn histogram(title: &str, values: &[(f64, f64)], unit: &str) -> String {
    let Some(longest) = values.last().map(|it| it.0.max(1.0)) else { return nothing(title) };
    let mut bars = [0.0; BARS];
    for (value, count) in values {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the bars")]
        let at = (value / longest * (BARS - 1) as f64).round() as usize;
        bars[at.min(BARS - 1)] += count;
    }
    let highest = bars.iter().copied().fold(1.0, f64::max);
    let width = (RIGHT - LEFT) / BARS as f64;
    let mut body = rule(BOTTOM, "0") + &rule(TOP, &number(highest));
    for (nth, count) in bars.iter().enumerate().filter(|(_, count)| 0.0 < **count) {
        let height = count / highest * (BOTTOM - TOP);
        let left = LEFT + nth as f64 * width;
        writeln!(
            body,
            "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            BOTTOM - height,
            width - 1.0
        )
        .ok();
    }
    figure(title, "readings", &body, &(format!("0 {unit}"), format!("{longest:.0} {unit}")), "")
}

fn nothing(title: &str) -> String {
    format!("<figure><figcaption>{title}</figcaption><p class=\"soft\">not measured</p></figure>\n")
}

fn figure(title: &str, unit: &str, body: &str, ends: &(String, String), legend: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
    format!(
        "<figure><figcaption>{title}{unit}</figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{body}\
         <text x=\"{LEFT}\" y=\"{0}\">{1}</text>\n<text class=\"end\" x=\"{RIGHT}\" y=\"{0}\">{2}</text>\n</svg>\n{legend}</figure>\n",
        BOTTOM + 18.0,
        ends.0,
        ends.1
    )
}

/// A thin line across, with its value.
fn rule(y: f64, value: &str) -> String {
    format!(
        "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{value}</text>\n",
        LEFT - 5.0,
        y + 4.0
    )
}

fn legend(series: &[Series]) -> String {
    if series.len() < 2 {
        return String::new();
    }
    let key = |(nth, it): (usize, &Series)| {
        format!(
            "<span class=\"key\"><svg viewBox=\"0 0 30 8\" aria-hidden=\"true\"><polyline class=\"line{nth}\" \
             points=\"0,4 30,4\"/></svg>{}</span>\n",
            it.name
        )
    };
    format!("<p class=\"legend\">{}</p>\n", series.iter().enumerate().map(key).collect::<String>())
}

fn number(value: f64) -> String {
    if value.abs() < 10.0 && value.fract() != 0.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis = Axis { low: 0.0, high: 1.0, unit: "" };

    #[test]
    fn values_lie_where_they_belong() {
        let series = [Series { name: "a", points: vec![(0.0, 0.0), (50.0, 2.0), (100.0, 0.5)] }];
        let svg = lines("title", &series, 0.0, AXIS);
        // The middle value is beyond the axis and stays at its edge.
        assert!(svg.contains("points=\"44.0,162.0 227.0,12.0 410.0,87.0\""), "{svg}");
        assert!(svg.contains(">100 s</text>"), "{svg}");
        assert!(lines("title", &[], 60.0, AXIS).contains("not measured"));
    }

    #[test]
    fn bars_count() {
        let svg = histogram("title", &[(10.0, 3.0), (11.0, 1.0), (230.0, 2.0)], "ms");
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("height=\"150.0\"") && svg.contains("height=\"75.0\""), "{svg}");
        assert!(histogram("title", &[], "ms").contains("not measured"));
    }
}
