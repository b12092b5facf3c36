//! Keys of the configuration that were measured: their values, and why. What was not measured is never set.

use std::fmt::Write as _;

use super::{
    Site,
    fit::{self, Fit, Key},
    value::Value,
};
use crate::wire::CameraId;

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
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

/// A key that was measured and stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnchangedKey {
    /// Whose it is; `None` where it belongs to the box.
    pub camera: Option<CameraId>,
    /// The section of the file.
    pub section: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// Why, for people: one line.
    pub reason: String,
}

/// The keys that the guided steps measured: the cameras', then the box's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FittedKeys {
    /// Keys with other values than those that are set.
    pub settings: Vec<Setting>,
    /// Keys for which there is no better value.
    pub unchanged: Vec<UnchangedKey>,
}

/// All keys that were measured.
#[must_use]
pub(crate) fn fitted_keys(site: &Site) -> FittedKeys {
    let mut keys = FittedKeys::default();
    for (camera, seen) in site.cameras() {
        fit::of_camera(seen, camera).into_iter().for_each(|(key, fit)| keys.add(Some(camera.id), key, fit));
    }
    fit::of_box(site).into_iter().for_each(|(key, fit)| keys.add(None, key, fit));
    keys
}

impl FittedKeys {
    fn add(&mut self, camera: Option<CameraId>, (section, key): Key, fit: Fit) {
        match fit {
            Fit::Set(value, reason) => self.settings.push(Setting { camera, section, key, value, reason }),
            Fit::Keep(reason) => self.unchanged.push(UnchangedKey { camera, section, key, reason }),
        }
    }
}

/// The keys as text, to be copied into the files.
#[must_use]
pub(crate) fn text(site: &Site, settings: &[Setting]) -> String {
    let mut text = String::new();
    let (mut last_owner, mut last) = (None, None);
    for setting in settings {
        if last_owner != Some(setting.camera) {
            last_owner = Some(setting.camera);
            // Writing to a string cannot fail.
            writeln!(text, "# {}", owner(site, setting.camera)).ok();
        }
        let Setting { section, key, value, reason, .. } = setting;
        // A section may begin only once in a file.
        if last != Some((setting.camera, section)) {
            last = Some((setting.camera, section));
            writeln!(text, "[{section}]").ok();
        }
        write!(text, "# {reason}\n{key} = {value}\n").ok();
    }
    text
}

/// Who a key belongs to.
#[must_use]
pub(crate) fn owner(site: &Site, camera: Option<CameraId>) -> &str {
    camera.map_or("the box", |id| site.name(id))
}

#[cfg(test)]
mod tests {
    use super::{super::facts::tests::facts, *};
    use crate::{
        calibrate::{baseline::Phase, observations::Clap},
        time::Moment,
    };

    #[test]
    fn keys_are_told_as_they_are_written() {
        let mut site = Site::new(facts(), Moment(0));
        let seen = site.seen(CameraId(0)).unwrap();
        seen.clap = Some(Clap { offset_ms: 180, confidence: 93, claps: 5 });
        seen.masks = Some(vec![vec![[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]]);
        seen.baseline.begin(Phase::Empty, 12, 1);
        for _ in 0..=12 {
            seen.baseline.light(80);
            seen.baseline.window([0; 3], Some(1.2));
        }
        let expected = "\
# hall
[sync]
# the sound of 5 claps came so much later than their picture (93 % sure)
offset_ms = 180
[gates]
# half of the darkest moment of the baseline, 80 of 255: below it the lights are off
luma_min = 40.0
# a quarter of what the stillest windows of the baseline moved, 1.20 levels
motion_min = 0.3
[camera]
# drawn on the grid of the dry run: fractions of width and height, from the top left
masks = [[[0.0, 0.0], [0.25, 0.0], [0.25, 0.5], [0.0, 0.5]]]
";
        assert_eq!(text(&site, &fitted_keys(&site).settings), expected);
    }
}
