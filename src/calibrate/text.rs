//! Lines for people: one per reading and change while it runs, and the report at the end.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Site,
    grade::Grade,
    settings,
    system::{self, System},
    verdict::{Item, counts, step_words},
};
use crate::wire::{
    CameraId,
    record::{Emotion, Outcome, ProbeRecord, Reading, Step},
};

/// A reading as a line.
#[must_use]
pub(crate) fn reading(name: &str, reading: &Reading) -> String {
    match reading.outcome {
        Outcome::Label(emotion) => {
            let likely = |(emotion, p): (Emotion, u16)| format!("{} {:.2}", emotion.as_str(), f64::from(p) / 10_000.0);
            let all: Vec<_> = Emotion::ALL.into_iter().zip(reading.probabilities).map(likely).collect();
            format!("{name:<16} {:<9} {}", emotion.as_str(), all.join("  "))
        }
        Outcome::Withheld(reason) => format!("{name:<16} withheld  {}", reason.as_str()),
    }
}

/// How far a connection has come, as a line.
#[must_use]
pub(crate) fn step(name: &str, step: Step) -> String {
    format!("{name:<16} {:<9} {}", "step", step_words(step))
}

/// Remembers what was printed, to print changes only.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrintedLines {
    verdicts: BTreeMap<(String, &'static str), Grade>,
    steps: BTreeMap<CameraId, Step>,
}

impl PrintedLines {
    /// How far a connection has come, if it changed since the last line.
    pub(crate) fn step(&mut self, probe: &ProbeRecord) -> Option<Step> {
        let before = self.steps.insert(probe.camera, probe.step).unwrap_or(Step::None);
        (before != probe.step).then_some(probe.step)
    }

    /// The verdicts to print: those that became a warning or a failure, and those that are none any more.
    pub(crate) fn news(&mut self, site: &Site) -> Vec<(String, Item)> {
        let mut news = Vec::new();
        for (camera, items) in site.verdicts() {
            for item in items {
                let before = self.verdicts.insert((camera.name.clone(), item.key), item.grade);
                if before != Some(item.grade) && (is_bad(item.grade) || before.is_some_and(is_bad)) {
                    news.push((camera.name.clone(), item));
                }
            }
        }
        news
    }
}

fn is_bad(grade: Grade) -> bool {
    matches!(grade, Grade::Warn | Grade::Fail)
}

/// A verdict as a line.
#[must_use]
pub(crate) fn verdict(name: &str, item: &Item) -> String {
    let cure = if item.cure.is_empty() { String::new() } else { format!(": {}", item.cure) };
    format!("{name:<16} {:<9} {}: {}{cure}", item.grade.as_str(), item.title, item.value)
}

/// The report: every verdict of every camera, the settings found, and what was not done.
#[must_use]
pub(crate) fn report(site: &Site) -> String {
    let mut text = String::new();
    let verdicts = site.verdicts();
    for (camera, items) in &verdicts {
        // Writing to a string cannot fail.
        writeln!(text, "\n{}", camera.name).ok();
        for item in items {
            writeln!(text, "  {:<8} {:<17} {}", item.grade.as_str(), item.title, item.value).ok();
            if !item.cure.is_empty() {
                writeln!(text, "{:11}{:<17} {}", "", "  to do:", item.cure).ok();
                writeln!(text, "{:11}{:<17} {}", "", "  should be:", item.bound).ok();
            }
        }
    }
    let [pass, warn, fail, unknown] = counts(verdicts.iter().flat_map(|(_, items)| items));
    writeln!(text, "\n{fail} fail, {warn} warn, {pass} pass, {unknown} not measured").ok();
    let found = settings::fitted_keys(site);
    if !found.settings.is_empty() {
        write!(text, "\nsettings found, for the configuration:\n\n{}", settings::text(site, &found.settings)).ok();
    }
    if !found.unchanged.is_empty() {
        text += "\nsettings that stay as they are:\n\n";
    }
    for key in &found.unchanged {
        let owner = settings::owner(site, key.camera);
        writeln!(text, "{owner}: {}.{}: {}", key.section, key.key, key.reason).ok();
    }
    let versions: Vec<_> = system::libraries(site.libraries.as_ref()).map(|(name, it)| format!("{name} {it}")).into();
    let System { os, kernel, architecture, machine } = &site.facts.system;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, "\nedge-ger {version}, {}; {os}, {kernel}, {architecture}, {machine}", versions.join(", ")).ok();
    let s = site.watched.as_secs_f64();
    writeln!(text, "watched for {s:.0} s; nothing was published; no picture and no sound was shown or stored").ok();
    text
}

#[cfg(test)]
mod tests {
    use super::{super::guide::tests::site, *};
    use crate::{
        calibrate::observations::{Clap, tests::reading as record},
        wire::record::{CameraFault, CameraState, Withheld},
    };

    #[test]
    fn readings_are_lines() {
        let line = reading("hall", &record(1, Outcome::Label(Emotion::Positive)));
        assert_eq!(line, "hall             positive  positive 0.70  neutral 0.20  negative 0.10");
        let line = reading("hall", &record(1, Outcome::Withheld(Withheld::Dark)));
        assert_eq!(line, "hall             withheld  dark");
    }

    #[test]
    fn each_step_of_a_connection_is_told_once() {
        let mut printed = PrintedLines::default();
        let mut heard = |camera, step| {
            let probe = ProbeRecord { step, ..ProbeRecord::unknown(CameraId(camera)) };
            printed.step(&probe).map(|it| super::step("hall", it))
        };
        assert_eq!(heard(0, Step::None), None);
        assert_eq!(heard(0, Step::Authorised).unwrap(), "hall             step      signed in");
        assert_eq!(heard(0, Step::Authorised), None);
        assert_eq!(heard(1, Step::Decoded).unwrap(), "hall             step      picture");
        assert_eq!(heard(0, Step::None).unwrap(), "hall             step      no answer");
    }

    #[test]
    fn only_changes_for_better_or_worse_are_told() {
        let (mut site, mut printed) = (site(), PrintedLines::default());
        assert_eq!(printed.news(&site), []);
        let vital = |site: &mut Site, luma| site.seen(CameraId(0)).unwrap().vital.as_mut().unwrap().luma = luma;
        vital(&mut site, 3);
        let news = printed.news(&site);
        let lines: Vec<_> = news.iter().map(|(name, item)| verdict(name, item)).collect();
        let expected = "hall             fail      light: mean 3 of 255: too dark, every reading is withheld: light, or \
                        the camera's exposure";
        assert_eq!(lines, [expected]);
        assert_eq!(printed.news(&site), []);
        vital(&mut site, 100);
        assert_eq!(printed.news(&site)[0].1.grade, Grade::Pass);
    }

    #[test]
    fn the_report_says_what_is_wrong_and_what_to_do() {
        let mut site = site();
        let seen = site.seen(CameraId(0)).unwrap();
        let vital = seen.vital.as_mut().unwrap();
        (vital.state, vital.fault) = (CameraState::Offline, CameraFault::Unauthorised);
        seen.clap = Some(Clap { offset_ms: 180, confidence: 93, claps: 5 });
        let text = report(&site);
        for words in [
            "hall\n  fail     connection        unauthorised",
            "check `camera.user` and the file that `camera.password_file` names",
            "1 fail, 1 warn, ",
            "[sync]\n# the sound of 5 claps",
            "offset_ms = 180",
            "nothing was published; no picture and no sound was shown or stored",
        ] {
            assert!(text.contains(words), "no {words:?} in:\n{text}");
        }
    }
}
