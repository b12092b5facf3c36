//! Keys of the configuration that were measured: their values, and why. What was not measured is never set.

use std::fmt::{self, Write as _};

use super::{
    Site,
    baseline::{Phase, WINDOWS_MIN},
    facts::CameraFacts,
    prior,
    seen::Seen,
};
use crate::wire::CameraId;

/// `gates.luma_min` is never raised above this: a place that bright in its usual light would be withheld at dusk.
const LUMA_MIN_MAX: f64 = 40.0;
/// `gates.luma_min` is this share of the darkest moment of the baseline: one stop of light below it.
const LUMA_SHARE: f64 = 0.5;
/// The network was never surer than this of an empty place, but for the share beyond it.
const EMPTY_SHARE: f64 = 0.95;
/// How far `reading.min_confidence` is above that.
const CONFIDENCE_ABOVE: f64 = 0.02;
/// A prior nearer than this to that of training changes no label worth the name.
const PRIOR_MOVED_MIN: f64 = 0.05;
/// The largest that the key takes.
const CONFIDENCE_MAX: f64 = 0.99;

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Whose it is; `None` where it belongs to the box.
    pub camera: Option<CameraId>,
    /// The section of the file.
    pub section: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Why, for people: one line.
    pub reason: String,
}

/// A value of TOML.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
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
            let words: Vec<_> = numbers.iter().map(|it| format!("{it:?}")).collect();
            format!("[{}]", words.join(", "))
        };
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            // With a point, always: the key takes numbers, and says so.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Numbers(numbers) => f.write_str(&list(numbers)),
            Self::Polygons(polygons) => {
                let polygon = |points: &Vec<[f64; 2]>| {
                    let points: Vec<_> = points.iter().map(|it| list(it)).collect();
                    format!("[{}]", points.join(", "))
                };
                let polygons: Vec<_> = polygons.iter().map(polygon).collect();
                write!(f, "[{}]", polygons.join(", "))
            }
        }
    }
}

/// All keys that were measured and differ from what is set: the cameras', then the box's.
#[must_use]
pub fn found(site: &Site) -> Vec<Setting> {
    let mut found = Vec::new();
    for (camera, seen) in site.cameras() {
        let own = [offset(seen, camera), luma_min(seen, camera), masks(seen)];
        found.extend(own.into_iter().flatten().map(|it| Setting { camera: Some(camera.id), ..it }));
    }
    found.extend([prior(site), min_confidence(site)].into_iter().flatten());
    found
}

/// The keys as text, to be copied into the files.
#[must_use]
pub fn text(site: &Site, settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut owner = None;
    for setting in settings {
        if owner != Some(setting.camera) {
            owner = Some(setting.camera);
            let whose = setting.camera.map_or("the box", |id| site.name(id));
            // Writing to a string cannot fail.
            writeln!(text, "# {whose}").ok();
        }
        let Setting { section, key, value, reason, .. } = setting;
        write!(text, "[{section}]\n# {reason}\n{key} = {value}\n").ok();
    }
    text
}

fn setting(section: &'static str, key: &'static str, value: Value, reason: String) -> Setting {
    Setting { camera: None, section, key, value, reason }
}

fn offset(seen: &Seen, camera: &CameraFacts) -> Option<Setting> {
    let clap = seen.clap.filter(|it| i64::from(it.offset_ms) != camera.offset_ms)?;
    let reason =
        format!("the sound of {} claps came so much later than their picture ({} % sure)", clap.claps, clap.confidence);
    Some(setting("sync", "offset_ms", Value::Integer(clap.offset_ms.into()), reason))
}

/// Only ever raised: below half of the darkest moment of a baseline the lights are off.
fn luma_min(seen: &Seen, camera: &CameraFacts) -> Option<Setting> {
    let stretches = [Phase::Empty, Phase::Usual].map(|phase| seen.baseline.of(phase));
    let measured = stretches.iter().filter(|it| WINDOWS_MIN <= it.windows as usize);
    let darkest = measured.filter_map(|it| it.darkest).min()?;
    let wanted = (f64::from(darkest) * LUMA_SHARE).floor().min(LUMA_MIN_MAX);
    let reason = format!("half of the darkest moment of the baseline, {darkest} of 255: below it the lights are off");
    (f64::from(camera.gates.luma_min) < wanted).then(|| setting("gates", "luma_min", Value::Number(wanted), reason))
}

fn masks(seen: &Seen) -> Option<Setting> {
    let polygons = seen.masks.clone()?;
    let reason = "drawn on the grid of the dry run: fractions of width and height, from the top left".to_owned();
    Some(setting("camera", "masks", Value::Polygons(polygons), reason))
}

/// How often the place is what, from the usual windows of all cameras that do not overlap.
fn prior(site: &Site) -> Option<Setting> {
    let network = &site.facts.network;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 5, by the ranges of the two")]
    let apart = (network.clip_s / site.facts.hop_s).ceil().max(1.0) as usize;
    let usual = site.cameras().map(|(_, seen)| &seen.baseline.usual).filter(|it| it.is_enough());
    let answers: Vec<_> = usual.flat_map(|it| it.answers.iter().step_by(apart)).map(|it| it.map(f64::from)).collect();
    if answers.len() < WINDOWS_MIN {
        return None;
    }
    let training = network.prior.map(f64::from);
    let fitted = prior::fit(&answers, training);
    let moved = fitted.iter().zip(training).map(|(fitted, training)| (fitted - training).abs()).fold(0.0, f64::max);
    if moved < PRIOR_MOVED_MIN {
        return None;
    }
    // The last share takes what rounding leaves, so that they sum to 1.
    let thousandths = |it: f64| (it * 1e3).round() / 1e3;
    let (positive, neutral) = (thousandths(fitted[0]), thousandths(fitted[1]));
    let shares = vec![positive, neutral, thousandths(1.0 - positive - neutral)];
    let reason = format!("fitted to {} windows of the place as usual: positive, neutral, negative", answers.len());
    Some(setting("reading", "prior", Value::Numbers(shares), reason))
}

/// Only ever raised: what the network says of an empty place is no mood. And only where most usual windows keep a label.
fn min_confidence(site: &Site) -> Option<Setting> {
    let measured = site.cameras().filter_map(|(_, seen)| {
        let (empty, usual) = (&seen.baseline.empty, &seen.baseline.usual);
        let both = empty.is_enough() && usual.is_enough();
        both.then(|| empty.confidence(EMPTY_SHARE).zip(usual.confidence(0.5))).flatten()
    });
    let (empty, usual) = measured.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)))?;
    // Ten-thousandths are what the network's answers come in: what is below them is the arithmetic's.
    let wanted = (((empty + CONFIDENCE_ABOVE) * 1e4).round() / 100.0).ceil() / 100.0;
    let reason = format!(
        "of the empty place the network was up to {empty:.2} sure; as usual half of the windows are above {usual:.2}"
    );
    let is_better = site.facts.min_confidence < wanted && wanted <= CONFIDENCE_MAX && wanted < usual;
    is_better.then(|| setting("reading", "min_confidence", Value::Number(wanted), reason))
}

#[cfg(test)]
mod tests {
    use super::{super::facts::tests::facts, *};
    use crate::{calibrate::seen::Clap, time::Moment};

    /// Feeds a phase of so many windows of this likeliest probability and light.
    fn phase(seen: &mut Seen, phase: Phase, windows: u32, likeliest: u16, luma: u8) {
        seen.baseline.begin(phase, windows);
        for _ in 0..=windows {
            seen.baseline.window([likeliest, 10_000 - likeliest, 0]);
            seen.baseline.light(luma);
        }
    }

    fn site(change: impl FnOnce(&mut Seen)) -> Site {
        let mut site = Site::new(facts(), Moment(0));
        change(site.seen(CameraId(0)).unwrap());
        site
    }

    #[track_caller]
    fn keys(change: impl FnOnce(&mut Seen), expected: &[(&str, &str)]) {
        let found: Vec<_> = found(&site(change)).iter().map(|it| (it.key, it.value.to_string())).collect();
        let found: Vec<_> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_not_measured_is_not_set() {
        keys(|_| {}, &[]);
        keys(|seen| phase(seen, Phase::Usual, 11, 9000, 120), &[]);
    }

    #[test]
    fn a_clap_sets_the_offset() {
        let clap = |offset_ms| Some(Clap { offset_ms, confidence: 93, claps: 5 });
        keys(|seen| seen.clap = clap(-180), &[("offset_ms", "-180")]);
        keys(|seen| seen.clap = clap(0), &[]);
    }

    #[test]
    fn the_dark_is_half_of_the_darkest_moment() {
        keys(|seen| phase(seen, Phase::Empty, 12, 9000, 61), &[("luma_min", "30.0")]);
        keys(|seen| phase(seen, Phase::Empty, 12, 9000, 200), &[("luma_min", "40.0")]);
        keys(|seen| phase(seen, Phase::Empty, 12, 9000, 24), &[]);
    }

    #[test]
    fn an_empty_place_has_no_mood() {
        let both = |empty: u16, usual: u16| {
            move |seen: &mut Seen| {
                phase(seen, Phase::Empty, 12, empty, 20);
                phase(seen, Phase::Usual, 12, usual, 20);
            }
        };
        let check = |empty, usual, expected: Option<&str>| {
            let found = found(&site(both(empty, usual)));
            let value = found.iter().find(|it| it.key == "min_confidence").map(|it| it.value.to_string());
            assert_eq!(value.as_deref(), expected);
        };
        check(6200, 8000, Some("0.64"));
        check(5000, 8000, Some("0.52"));
        // The network is as sure of the empty place as of the others: a bound would withhold everything.
        check(8000, 8000, None);
        keys(|seen| phase(seen, Phase::Empty, 12, 6200, 20), &[]);
    }

    #[test]
    fn a_prior_is_fitted_to_windows_that_do_not_overlap() {
        let prior = |hop_s: f64, windows| {
            let mut site = site(|seen| phase(seen, Phase::Usual, windows, 9000, 20));
            site.facts.hop_s = hop_s;
            found(&site).first().map(|it| it.reason.clone())
        };
        assert!(prior(5.0, 24).unwrap().starts_with("fitted to 24 windows"));
        assert!(prior(2.0, 36).unwrap().starts_with("fitted to 12 windows"));
        assert_eq!(prior(2.0, 33), None);
        let site = site(|seen| phase(seen, Phase::Usual, 24, 9000, 20));
        let Value::Numbers(shares) = &found(&site)[0].value else { panic!("{:?}", found(&site)) };
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && 0.4 < shares[0], "{shares:?}");
    }

    #[test]
    fn keys_are_told_as_they_are_written() {
        let site = site(|seen| {
            seen.clap = Some(Clap { offset_ms: 180, confidence: 93, claps: 5 });
            seen.masks = Some(vec![vec![[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]]);
        });
        let expected = "\
# hall
[sync]
# the sound of 5 claps came so much later than their picture (93 % sure)
offset_ms = 180
[camera]
# drawn on the grid of the dry run: fractions of width and height, from the top left
masks = [[[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]]
";
        assert_eq!(text(&site, &found(&site)), expected);
    }
}
