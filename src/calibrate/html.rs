//! The report to hand over: one file, without scripts and without anything from elsewhere.

mod plot;

use std::fmt::Write as _;

use self::plot::{Axis, Series};
use super::{
    Site,
    baseline::{Phase, Stretch},
    facts::{CameraFacts, Facts},
    fit::STILL_SHARE,
    grade::Grade,
    observations::Observations,
    settings,
    system::libraries,
    verdict::{Item, Section, counts},
};
use crate::{
    service::logging,
    wire::record::{Emotion, Withheld},
};

/// How every report begins, so that a newer one may take its place.
pub(crate) const MARK: &str = "<!DOCTYPE html>\n<!-- edge-ger site report -->\n";

const STYLE: &str = include_str!("html/report.css");

/// The report on a site.
#[must_use]
pub(crate) fn report(site: &Site) -> String {
    let mut html = MARK.to_owned();
    let verdicts = site.verdicts();
    // Writing to a string cannot fail.
    write!(
        html,
        "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Site report: {}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(&site.facts.box_name)
    )
    .ok();
    let [pass, warn, fail, unknown] = counts(verdicts.iter().flat_map(|(_, items)| items));
    html += &header(site, [fail, warn, pass, unknown]);
    html += "<main>\n";
    html += &to_do(&verdicts);
    for ((camera, items), (_, seen)) in verdicts.iter().zip(site.cameras()) {
        html += &of_camera(camera, items, seen, site);
    }
    html += &found(site);
    write!(html, "</main>\n<footer><p>{}</p></footer>\n</body>\n</html>\n", statement()).ok();
    html
}

/// Text that is shown as it is, whatever it holds.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            sign => escaped.push(sign),
        }
    }
    escaped
}

fn statement() -> &'static str {
    "Nothing was published, and no picture and no sound was shown or stored: this page was made from numbers and fixed \
     words alone, which is all that leaves the process that sees and hears."
}

fn header(site: &Site, [fail, warn, pass, unknown]: [usize; 4]) -> String {
    let facts = &site.facts;
    let (network, system) = (&facts.network, &facts.system);
    let [gstreamer, onnx_runtime] = libraries(site.libraries.as_ref());
    let words = match (fail, warn) {
        (0, 0) if pass == 0 => "Nothing was measured.".to_owned(),
        (0, 0) => "Everything that was measured is right.".to_owned(),
        (0, 1) => "It works; one thing could be better.".to_owned(),
        (0, warn) => format!("It works; {warn} things could be better."),
        (1, _) => "One item must be fixed.".to_owned(),
        (fail, _) => format!("{fail} items must be fixed."),
    };
    let pill = |class: &str, count: usize, word: &str| {
        let class = if count == 0 { "unknown" } else { class };
        format!("<span class=\"pill {class}\">{count} {word}</span>\n")
    };
    let pills = [
        pill("fail", fail, "fail"),
        pill("warn", warn, "warn"),
        pill("pass", pass, "pass"),
        pill("unknown", unknown, "not measured"),
    ];
    let rows = [
        ("date", logging::date_and_time(facts.began_ms)),
        ("watched for", format!("{:.0} s", site.watched.as_secs_f64())),
        ("place", facts.context.clone()),
        ("a reading every", format!("{} s", facts.hop_s)),
        ("edge-ger", env!("CARGO_PKG_VERSION").to_owned()),
        gstreamer,
        onnx_runtime,
        ("system", format!("{}, {}, {}", system.os, system.kernel, system.architecture)),
        ("machine", format!("{}, {} cores", system.machine, facts.cores)),
        ("network", network.name.clone()),
        ("the network's SHA-256", network.sha256.clone()),
    ];
    let rows = rows.map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value)));
    format!(
        "<header>\n<h1>Site report: {}</h1>\n<p class=\"sum\">{words}</p>\n<p class=\"pills\">\n{}</p>\n<dl>\n{}</dl>\n\
         <p class=\"statement\">{}</p>\n</header>\n",
        escape(&facts.box_name),
        pills.concat(),
        rows.concat(),
        statement()
    )
}

/// What must be cured and what could be better, the former first: what a reader came for.
fn to_do(verdicts: &[(&CameraFacts, Vec<Item>)]) -> String {
    let of = |grade: Grade| {
        let items = verdicts.iter().flat_map(|(camera, items)| items.iter().map(move |item| (camera, item)));
        let line = |(camera, item): (&&CameraFacts, &Item)| {
            format!(
                "<li><span class=\"pill {0}\">{0}</span> <strong>{1}, {2}: {3}.</strong> {4}</li>\n",
                grade.as_str(),
                escape(&camera.name),
                escape(item.title),
                escape(&item.value),
                escape(&item.cure)
            )
        };
        items.filter(|(_, item)| item.grade == grade).map(line).collect::<String>()
    };
    match of(Grade::Fail) + &of(Grade::Warn) {
        none if none.is_empty() => none,
        lines => format!("<section>\n<h2>What to do</h2>\n<ul class=\"todo\">\n{lines}</ul>\n</section>\n"),
    }
}

fn of_camera(camera: &CameraFacts, items: &[Item], seen: &Observations, site: &Site) -> String {
    let name = escape(&camera.name);
    let mut html = format!("<section>\n<h2>Camera {name}</h2>\n");
    html += &table(items);
    let is_heard_of = !seen.probabilities.points().is_empty() || !seen.luma.points().is_empty();
    if is_heard_of || !seen.level.points().is_empty() {
        html += "<div class=\"plots\">\n";
        html += &plots(seen, site.watched.as_secs_f64());
        html += "</div>\n";
    }
    html += &readings(seen);
    html += &baseline(seen, &site.facts);
    html += "</section>\n";
    html
}

fn table(items: &[Item]) -> String {
    let mut html = String::from(
        "<table class=\"verdicts\">\n<caption>Verdicts</caption>\n<thead><tr><th scope=\"col\">verdict</th>\
         <th scope=\"col\">what</th><th scope=\"col\">measured</th><th scope=\"col\">should be</th>\
         <th scope=\"col\">what to do</th></tr></thead>\n",
    );
    for section in Section::ALL {
        let rows = items.iter().filter(|it| it.section == section).map(row);
        write!(
            html,
            "<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"5\">{}</th></tr>\n{}</tbody>\n",
            section.as_str(),
            rows.collect::<String>()
        )
        .ok();
    }
    html + "</table>\n"
}

fn row(item: &Item) -> String {
    let word = if item.grade == Grade::Unknown { "not measured" } else { item.grade.as_str() };
    let cell = |label: &str, text: &str| match text {
        "" => "<td class=\"none\"></td>".to_owned(),
        text => format!("<td data-label=\"{label}\">{}</td>", escape(text)),
    };
    format!(
        "<tr class=\"{0}\"><td class=\"grade\"><span class=\"pill {0}\">{word}</span></td><th scope=\"row\">{1}</th>{2}{3}{4}</tr>\n",
        item.grade.as_str(),
        escape(item.title),
        cell("measured", &item.value),
        cell("should be", &item.bound),
        cell("what to do", &item.cure)
    )
}

/// How it went over time, and how long readings took.
fn plots(seen: &Observations, end_s: f64) -> String {
    let one = |points: &[(f64, [f32; 1])]| points.iter().map(|(at, it)| (*at, f64::from(it[0]))).collect::<Vec<_>>();
    let of = |nth: usize| {
        let points = seen.probabilities.points();
        points.iter().map(|(at, it)| (*at, f64::from(it[nth]))).collect::<Vec<_>>()
    };
    let likely: Vec<_> = Emotion::ALL.iter().map(|it| Series { name: it.as_str(), points: of(*it as usize) }).collect();
    let luma = [Series { name: "light", points: one(seen.luma.points()) }];
    let level = [Series { name: "level", points: one(seen.level.points()) }];
    let bars: Vec<_> = seen.latency_ms.iter().map(|(ms, count)| (f64::from(ms), f64::from(count))).collect();
    [
        plot::lines("Probabilities of each reading", &likely, end_s, Axis { low: 0.0, high: 1.0, unit: "" }),
        plot::lines("Light: mean luma", &luma, end_s, Axis { low: 0.0, high: 255.0, unit: "" }),
        plot::lines("Sound level", &level, end_s, Axis { low: -90.0, high: 0.0, unit: "dBFS" }),
        plot::histogram("Latency: from the end of a window to its reading", &bars, "ms"),
    ]
    .concat()
}

/// What came out, in numbers.
fn readings(seen: &Observations) -> String {
    let row =
        |word: &str, count: u32| format!("<tr><th scope=\"row\">{word}</th><td class=\"number\">{count}</td></tr>\n");
    let labels = Emotion::ALL.iter().map(|it| row(it.as_str(), seen.labels[*it as usize]));
    let withheld = Withheld::ALL.iter().filter_map(|it| Some((it, *seen.withheld.get(it)?)));
    let withheld = withheld.map(|(reason, count)| row(&format!("withheld: {}", reason.as_str()), count));
    format!(
        "<table class=\"counts\">\n<caption>Readings</caption>\n<tbody>\n{}</tbody>\n</table>\n",
        labels.chain(withheld).collect::<String>()
    )
}

/// What the guided baseline measured, where there was one.
fn baseline(seen: &Observations, facts: &Facts) -> String {
    let places = [Phase::Empty, Phase::Usual].map(|phase| seen.baseline.of(phase));
    if places.iter().all(|it| it.windows == 0) {
        return String::new();
    }
    let number = |it: Option<f64>| it.map_or("–".to_owned(), |it| format!("{it:.2}"));
    type Measure<'a> = &'a dyn Fn(&Stretch) -> String;
    let rows: [(&str, Measure<'_>); 6] = [
        ("windows", &|it| it.windows.to_string()),
        ("answered by the network", &|it| it.answers.len().to_string()),
        ("half of them surer than", &|it| number(it.confidence(0.5))),
        ("one in twenty surer than", &|it| number(it.confidence(0.95))),
        ("darkest moment, of 255", &|it| it.darkest.map_or("–".to_owned(), |it| it.to_string())),
        ("motion of the stillest, levels", &|it| number(it.motion(STILL_SHARE))),
    ];
    let row = |(name, of): (&str, Measure<'_>)| {
        let cells = places.map(|it| format!("<td class=\"number\">{}</td>", of(it)));
        format!("<tr><th scope=\"row\">{name}</th>{}</tr>\n", cells.concat())
    };
    format!(
        "<table class=\"counts\">\n<caption>Baseline of the place, as the network {} judged it</caption>\n\
         <thead><tr><th scope=\"col\">place</th><th scope=\"col\">empty</th><th scope=\"col\">as usual</th></tr></thead>\n\
         <tbody>\n{}</tbody>\n</table>\n",
        escape(&facts.network.name),
        rows.map(row).concat()
    )
}

/// The settings found, as text to be copied.
fn found(site: &Site) -> String {
    let found = settings::fitted_keys(site);
    let text = match found.settings.is_empty() {
        true => "<p>None: what was measured agrees with what is set, or was not measured.</p>\n".to_owned(),
        false => format!("<pre>{}</pre>\n", escape(&settings::text(site, &found.settings))),
    };
    let kept = found.unchanged.iter().map(|it| {
        let (owner, reason) = (escape(settings::owner(site, it.camera)), escape(&it.reason));
        format!("<li><strong>{owner}, {}.{}:</strong> {reason}</li>\n", it.section, it.key)
    });
    let kept = match kept.collect::<String>() {
        none if none.is_empty() => none,
        lines => format!("<h3>Settings that stay as they are</h3>\n<ul>\n{lines}</ul>\n"),
    };
    format!("<section>\n<h2>Settings found</h2>\n{text}{kept}</section>\n")
}

#[cfg(test)]
mod tests {
    use super::{super::guide::tests::site, *};
    use crate::{calibrate::observations::Clap, time::Moment, wire::CameraId};

    /// Every element that is opened is closed, in its order. Returns how many there were.
    fn balanced(html: &str) -> usize {
        let (mut open, mut count) = (Vec::new(), 0);
        for tag in html.split('<').skip(1).map(|it| it.split_once('>').expect("a tag ends").0) {
            let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
            if tag.starts_with('!') || name == "meta" || tag.ends_with('/') {
                continue;
            }
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "in {tag:?}");
            } else {
                open.push(name);
                count += 1;
            }
        }
        assert_eq!(open, [""; 0]);
        count
    }

    #[test]
    fn a_report_is_whole_at_any_moment() {
        let empty = report(&Site::new(crate::calibrate::facts::tests::facts(), Moment(0)));
        assert!(100 < balanced(&empty) && empty.contains("not measured"));
        let full = report(&site());
        balanced(&full);
        for words in ["edge-ger-3", "2026-01-01 00:00 UTC", "Nothing was published", "Camera hall", "<polyline"] {
            assert!(full.contains(words), "no {words:?}");
        }
        for foreign in ["http:", "https:", "<script", "src=", "url(", "@import", "<img", "<link"] {
            assert!(!full.contains(foreign), "{foreign:?} would bring something from elsewhere");
        }
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let mut site = site();
        site.facts.box_name = "<script>alert(1)</script>&\"'".into();
        site.facts.network.name = "</title><b>".into();
        site.facts.cameras[0].name = "\"><img>".into();
        site.seen(CameraId(0)).unwrap().clap = Some(Clap { offset_ms: 180, confidence: 93, claps: 5 });
        let html = report(&site);
        balanced(&html);
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("<img>"));
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
        assert!(html.contains("offset_ms = 180"));
    }
}
