//! What the guided steps say of each key: the value that fits, or why the key stays as it is. Pure functions of what was
//! seen.
//!
//! | key | measured by | rule |
//! |---|---|---|
//! | `sync.offset_ms` | the clap test | what it accepted |
//! | `camera.masks` | the grid | what was drawn |
//! | `gates.luma_min` | the darkest moment of either phase | half of it, only ever raised |
//! | `gates.motion_min` | the stillest windows of either phase | a quarter of it, where that is more than a repeated picture's |
//! | `reading.prior` | the network's answers as usual | that of [`mod@prior`] |
//! | `reading.min_confidence` | the network's answers in both phases | above those of the empty place, only ever raised |
//!
//! The other thresholds are no property of a place, so no baseline fits them: `gates.frame_offset_max_ms` and
//! `gates.frames_missing_max` belong to the network's training, `gates.packets_lost_max` to what damage it bears,
//! `reading.min_group` is a rule that protects people, and `reading.hysteresis` chooses between quick and steady.

use super::{
    Site,
    baseline::{Phase, Stretch, WINDOWS_MIN},
    facts::CameraFacts,
    observations::Observations,
    prior,
    value::Value,
};

/// `gates.luma_min` is never raised above this: a place that bright in its usual light would be withheld at dusk.
const LUMA_MIN_MAX: f64 = 40.0;
/// `gates.luma_min` is this share of the darkest moment of the baseline: one stop of light below it.
const LUMA_SHARE: f64 = 0.5;
/// `gates.motion_min` is this share of the motion of the stillest windows. What moves in an empty place is the sensor's
/// noise, which falls with the square root of the light: a quarter is left in sixteen times the light.
const MOTION_SHARE: f64 = 0.25;
/// The stillest windows: of 24 all but one move more.
pub(super) const STILL_SHARE: f64 = 0.05;
/// What repeats itself differs by so much after its encoding, levels, and no threshold is set below it. Measured at
/// 192 × 192 pixels on a still of 720p through H.264: 0.04 to 0.08 at 2 Mbit/s, 0.2 to 0.33 at 0.5 Mbit/s; a webcam's
/// recording of an empty room: 1.4 to 1.8.
const REPEATED: f64 = 0.05;
/// `gates.motion_min` is never set above this: a noisy evening's baseline must not withhold a clear day.
const MOTION_MIN_MAX: f64 = 0.5;
/// The network was never surer than this of an empty place, but for the share beyond it.
const EMPTY_SHARE: f64 = 0.95;
/// How far `reading.min_confidence` is above that.
const CONFIDENCE_ABOVE: f64 = 0.02;
/// The largest that the key takes.
const CONFIDENCE_MAX: f64 = 0.99;
/// A prior nearer than this to that of training changes no label worth the name.
const PRIOR_MOVED_MIN: f64 = 0.05;

/// A section and a key of it.
pub(super) type Key = (&'static str, &'static str);

/// What was measured says this of a key, and why: one line for people.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fit {
    /// This is its value.
    Set(Value, String),
    /// The value in the configuration stays.
    Keep(String),
}

/// Of the keys of a camera that were measured.
pub(super) fn of_camera(seen: &Observations, camera: &CameraFacts) -> Vec<(Key, Fit)> {
    let all = [
        (("sync", "offset_ms"), offset(seen, camera)),
        (("gates", "luma_min"), luma_min(seen, camera)),
        (("gates", "motion_min"), motion_min(seen, camera)),
        (("camera", "masks"), masks(seen)),
    ];
    all.into_iter().filter_map(|(key, fit)| Some((key, fit?))).collect()
}

/// Of the keys of the box that were measured.
pub(super) fn of_box(site: &Site) -> Vec<(Key, Fit)> {
    let all = [(("reading", "prior"), prior(site)), (("reading", "min_confidence"), min_confidence(site))];
    all.into_iter().filter_map(|(key, fit)| Some((key, fit?))).collect()
}

fn offset(seen: &Observations, camera: &CameraFacts) -> Option<Fit> {
    let clap = seen.clap?;
    if i64::from(clap.offset_ms) == camera.offset_ms {
        return Some(Fit::Keep("the clap test measured the value that is set".into()));
    }
    let reason =
        format!("the sound of {} claps came so much later than their picture ({} % sure)", clap.claps, clap.confidence);
    Some(Fit::Set(Value::Integer(clap.offset_ms.into()), reason))
}

fn masks(seen: &Observations) -> Option<Fit> {
    let reason = "drawn on the grid of the dry run: fractions of width and height, from the top left".to_owned();
    Some(Fit::Set(Value::Polygons(seen.masks.clone()?), reason))
}

/// Only ever raised: below half of the darkest moment of a baseline the lights are off.
fn luma_min(seen: &Observations, camera: &CameraFacts) -> Option<Fit> {
    let measured = stretches(seen).into_iter().filter(|it| WINDOWS_MIN <= it.windows as usize);
    let darkest = measured.filter_map(|it| it.darkest).min()?;
    let (wanted, limit) = at_most((f64::from(darkest) * LUMA_SHARE).floor(), LUMA_MIN_MAX);
    let set = camera.gates.luma_min.get();
    let reason =
        format!("half of the darkest moment of the baseline, {darkest} of 255{limit}: below it the lights are off");
    Some(if set < wanted {
        Fit::Set(Value::Number(wanted), reason)
    } else {
        Fit::Keep(format!(
            "the darkest moment of the baseline, {darkest} of 255, gives no reason to raise it from {set}"
        ))
    })
}

/// Below what a living picture of this place always moves, and above what a camera moves that repeats one picture.
///
/// The gate is there to find a camera that hangs, not an empty place: what the network says of that is held back by
/// `reading.min_group` and `reading.min_confidence`. So the stiller of the two phases, which is the empty one as a rule,
/// must pass it, with a margin ([`MOTION_SHARE`]) for a day with more light; and where that leaves no room above what a
/// repeated picture moves ([`REPEATED`]), no threshold separates the two, and the key stays.
fn motion_min(seen: &Observations, camera: &CameraFacts) -> Option<Fit> {
    let Some(empty) = seen.baseline.empty.motion(STILL_SHARE) else {
        let Stretch { motions, windows, .. } = &seen.baseline.empty;
        let reason = || {
            format!(
                "of {windows} windows of the empty place {} could be compared; {WINDOWS_MIN} are needed",
                motions.len()
            )
        };
        return (0 < *windows).then(|| Fit::Keep(reason()));
    };
    let stillest = seen.baseline.usual.motion(STILL_SHARE).map_or(empty, |usual| usual.min(empty));
    let set = camera.gates.motion_min.get();
    let (wanted, limit) = at_most((stillest * MOTION_SHARE * 100.0).floor() / 100.0, MOTION_MIN_MAX);
    Some(if set == 0.0 {
        Fit::Keep("it is 0, which switches the gate off; it stays off".into())
    } else if wanted < REPEATED {
        Fit::Keep(format!(
            "the place is as still ({stillest:.2} levels) as a picture that repeats itself: no threshold separates the two; \
             less noise reduction in the camera would"
        ))
    } else if (wanted - set).abs() < 0.01 {
        Fit::Keep(format!("the stillest windows of the baseline, {stillest:.2} levels, agree with what is set"))
    } else {
        let reason =
            format!("a quarter of what the stillest windows of the baseline moved, {stillest:.2} levels{limit}");
        Fit::Set(Value::Number(wanted), reason)
    })
}

/// The number, and whether it was held down, in words.
fn at_most(number: f64, limit: f64) -> (f64, String) {
    if limit < number { (limit, format!(", but {limit} at most")) } else { (number, String::new()) }
}

fn stretches(seen: &Observations) -> [&Stretch; 2] {
    [Phase::Empty, Phase::Usual].map(|phase| seen.baseline.of(phase))
}

/// How often the place is what, from the usual windows of all cameras that do not overlap.
fn prior(site: &Site) -> Option<Fit> {
    let network = &site.facts.network;
    let apart = site.facts.windows_at_once() as usize;
    let usual = || site.cameras().map(|(_, seen)| &seen.baseline.usual);
    usual().find(|it| 0 < it.windows)?;
    let answers = usual().filter(|it| it.is_enough()).flat_map(|it| it.answers.iter().step_by(apart));
    let answers: Vec<_> = answers.map(|it| it.map(f64::from)).collect();
    if answers.len() < WINDOWS_MIN {
        return Some(Fit::Keep(format!(
            "of the place as usual the network answered {} windows that do not overlap; {WINDOWS_MIN} are needed",
            answers.len()
        )));
    }
    let training = network.prior.map(f64::from);
    let fitted = prior::fit(&answers, training);
    let moved = fitted.iter().zip(training).map(|(fitted, training)| (fitted - training).abs()).fold(0.0, f64::max);
    if moved < PRIOR_MOVED_MIN {
        return Some(Fit::Keep(format!("{} windows of the place as usual are as in training", answers.len())));
    }
    // The last share takes what rounding leaves, so that they sum to 1.
    let thousandths = |it: f64| (it * 1e3).round() / 1e3;
    let (positive, neutral) = (thousandths(fitted[0]), thousandths(fitted[1]));
    let shares = vec![positive, neutral, thousandths(1.0 - positive - neutral)];
    let reason = format!("fitted to {} windows of the place as usual: positive, neutral, negative", answers.len());
    Some(Fit::Set(Value::Numbers(shares), reason))
}

/// Only ever raised: what the network says of an empty place is no mood. And only where most usual windows keep a label.
fn min_confidence(site: &Site) -> Option<Fit> {
    let baselines = || site.cameras().map(|(_, seen)| &seen.baseline);
    let measured = baselines().filter(|it| it.empty.is_enough() && it.usual.is_enough());
    let measured = measured.filter_map(|it| it.empty.confidence(EMPTY_SHARE).zip(it.usual.confidence(0.5)));
    let Some((empty, usual)) = measured.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1))) else {
        let began = baselines().find(|it| 0 < it.empty.windows)?;
        let (answered, windows) = (began.empty.answers.len(), began.empty.windows);
        return Some(Fit::Keep(format!(
            "both places are needed with {WINDOWS_MIN} answers each; of the empty one the network answered {answered} of \
             {windows} windows"
        )));
    };
    // Ten-thousandths are what the network's answers come in: what is below them is the arithmetic's.
    let wanted = (((empty + CONFIDENCE_ABOVE) * 1e4).round() / 100.0).ceil() / 100.0;
    let reason = format!(
        "for the empty place the network was up to {empty:.2} sure; as usual half of the windows are above {usual:.2}"
    );
    Some(if wanted <= site.facts.min_confidence {
        Fit::Keep(format!("{reason}: what is set is enough"))
    } else if CONFIDENCE_MAX < wanted || usual <= wanted {
        Fit::Keep(format!("{reason}: no bound separates the two"))
    } else {
        Fit::Set(Value::Number(wanted), reason)
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{facts::tests::facts, observations::Clap, settings},
        *,
    };
    use crate::{config::Decimal, time::Moment, wire::CameraId};

    /// A phase of a baseline whose windows all are like this.
    #[derive(Clone, Copy)]
    struct Like {
        likeliest: u16,
        luma: u8,
        motion: f64,
    }

    /// Too dark, too still and too unsure to change any key.
    const PLAIN: Like = Like { likeliest: 3400, luma: 20, motion: 0.0 };

    fn phase(seen: &mut Observations, phase: Phase, windows: u32, like: Like) {
        seen.baseline.begin(phase, windows, 1);
        for _ in 0..=windows {
            seen.baseline.window([like.likeliest, 10_000 - like.likeliest, 0], Some(like.motion));
            seen.baseline.light(like.luma);
        }
    }

    fn site(change: impl FnOnce(&mut Observations)) -> Site {
        let mut site = Site::new(facts(), Moment(0));
        change(site.seen(CameraId(0)).unwrap());
        site
    }

    /// What becomes of `key`: its value; or a word of the reason why it stays; nothing where it was not measured.
    #[track_caller]
    fn check(site: &Site, key: &str, expected: Result<Option<&str>, &str>) {
        let found = settings::fitted_keys(site);
        let set = found.settings.iter().find(|it| it.key == key).map(|it| it.value.to_string());
        let kept = found.unchanged.iter().find(|it| it.key == key).map(|it| it.reason.as_str());
        match expected {
            Ok(value) => assert_eq!((set.as_deref(), kept), (value, None)),
            Err(word) => assert!(set.is_none() && kept.is_some_and(|it| it.contains(word)), "{set:?} {kept:?}"),
        }
    }

    #[test]
    fn what_was_not_measured_is_not_reported() {
        assert_eq!(settings::fitted_keys(&site(|_| {})), settings::FittedKeys::default());
    }

    #[test]
    fn a_clap_sets_the_offset() {
        let clap = |offset_ms| site(|seen| seen.clap = Some(Clap { offset_ms, confidence: 93, claps: 5 }));
        check(&clap(-180), "offset_ms", Ok(Some("-180")));
        check(&clap(0), "offset_ms", Err("the value that is set"));
    }

    #[test]
    fn the_dark_is_half_of_the_darkest_moment() {
        let light = |luma| site(|seen| phase(seen, Phase::Empty, 12, Like { luma, ..PLAIN }));
        check(&light(61), "luma_min", Ok(Some("30.0")));
        check(&light(200), "luma_min", Ok(Some("40.0")));
        check(&light(24), "luma_min", Err("24 of 255"));
        check(&site(|seen| phase(seen, Phase::Empty, 11, PLAIN)), "luma_min", Ok(None));
    }

    /// Both phases with this motion, and the gate as it is set.
    fn moving(empty: f64, usual: f64, set: f32) -> Site {
        let mut site = site(|seen| {
            phase(seen, Phase::Empty, 24, Like { motion: empty, ..PLAIN });
            phase(seen, Phase::Usual, 24, Like { motion: usual, ..PLAIN });
        });
        site.facts.cameras[0].gates.motion_min = Decimal::new(f64::from(set)).unwrap();
        site
    }

    #[test]
    fn a_still_camera_is_parted_from_an_empty_place() {
        // The webcam's recording of an empty room, and of somebody who walks through it.
        check(&moving(1.4, 12.0, 0.05), "motion_min", Ok(Some("0.35")));
        // People who sit more still than the lights of the empty place flicker.
        check(&moving(1.4, 0.8, 0.05), "motion_min", Ok(Some("0.2")));
        check(&moving(9.0, 12.0, 0.05), "motion_min", Ok(Some("0.5")));
        let reason = &settings::fitted_keys(&moving(9.0, 12.0, 0.05)).settings[0].reason;
        assert!(reason.ends_with("9.00 levels, but 0.5 at most"), "{reason}");
        // A new camera is less noisy than the one before it, for which it was set.
        check(&moving(0.8, 12.0, 0.4), "motion_min", Ok(Some("0.2")));
        check(&moving(0.8, 12.0, 0.2), "motion_min", Err("agree"));
    }

    #[test]
    fn a_place_as_still_as_a_repeated_picture_keeps_the_gate() {
        check(&moving(0.19, 12.0, 0.05), "motion_min", Err("no threshold separates the two"));
        check(&moving(0.0, 12.0, 0.05), "motion_min", Err("(0.00 levels)"));
        check(&moving(1.4, 0.1, 0.05), "motion_min", Err("no threshold separates the two"));
        check(&moving(1.4, 12.0, 0.0), "motion_min", Err("switches the gate off"));
    }

    #[test]
    fn the_gate_for_still_pictures_needs_the_empty_place() {
        let busy = site(|seen| phase(seen, Phase::Usual, 24, Like { motion: 12.0, ..PLAIN }));
        check(&busy, "motion_min", Ok(None));
        let short = site(|seen| phase(seen, Phase::Empty, 11, Like { motion: 1.4, ..PLAIN }));
        check(&short, "motion_min", Err("of 11 windows of the empty place 11"));
        // One window in which the camera stuttered is no still place.
        let stutter = site(|seen| {
            phase(seen, Phase::Empty, 24, Like { motion: 1.4, ..PLAIN });
            seen.baseline.empty.motions[7] = 0.0;
        });
        check(&stutter, "motion_min", Ok(Some("0.35")));
    }

    #[test]
    fn an_empty_place_has_no_mood() {
        let both = |empty: u16, usual: u16| {
            site(|seen| {
                phase(seen, Phase::Empty, 12, Like { likeliest: empty, ..PLAIN });
                phase(seen, Phase::Usual, 12, Like { likeliest: usual, ..PLAIN });
            })
        };
        check(&both(6200, 8000), "min_confidence", Ok(Some("0.64")));
        check(&both(5000, 8000), "min_confidence", Ok(Some("0.52")));
        let mut sure = both(5000, 8000);
        sure.facts.min_confidence = 0.6;
        check(&sure, "min_confidence", Err("what is set is enough"));
        // The network is as sure of the empty place as of the others: a bound would withhold everything.
        check(&both(8000, 8000), "min_confidence", Err("no bound separates the two"));
        let one = site(|seen| phase(seen, Phase::Empty, 12, Like { likeliest: 6200, ..PLAIN }));
        check(&one, "min_confidence", Err("both places are needed"));
        // A network that sees that nobody is there says nothing.
        let mute = site(|seen| {
            seen.baseline.begin(Phase::Empty, 12, 1);
            (0..=12).for_each(|_| seen.baseline.window([0; 3], None));
        });
        check(&mute, "min_confidence", Err("answered 0 of 12 windows"));
    }

    #[test]
    fn a_prior_is_fitted_to_windows_that_do_not_overlap() {
        let sure = Like { likeliest: 9000, ..PLAIN };
        let prior = |hop_s: f64, windows| {
            let mut site = site(|seen| phase(seen, Phase::Usual, windows, sure));
            site.facts.hop_s = hop_s;
            settings::fitted_keys(&site).settings.first().map(|it| it.reason.clone())
        };
        assert!(prior(5.0, 24).unwrap().starts_with("fitted to 24 windows"));
        assert!(prior(2.0, 36).unwrap().starts_with("fitted to 12 windows"));
        assert_eq!(prior(2.0, 33), None);
        check(&site(|seen| phase(seen, Phase::Usual, 11, sure)), "prior", Err("12 are needed"));
        let found = settings::fitted_keys(&site(|seen| phase(seen, Phase::Usual, 24, sure)));
        let Value::Numbers(shares) = &found.settings[0].value else { panic!("{found:?}") };
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && 0.4 < shares[0], "{shares:?}");
    }
}
