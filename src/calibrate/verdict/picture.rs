//! The picture itself: light, lens, movement, people.

use super::{Grade, Item, Section, View};
use crate::{calibrate::bounds, wire::estimate::Estimate};

pub(super) fn items(view: &View<'_>) -> Vec<Item> {
    vec![light(view), contrast(view), sharpness(view), movement(view), people(view)]
}

fn light(view: &View<'_>) -> Item {
    let min = view.camera.gates.luma_min.get();
    let bound = format!("{} to {}; below {min} (gates.luma_min) it fails", bounds::LUMA.warn, bounds::LUMA_BRIGHT.warn);
    let item = Item::new(Section::Picture, "light", "light").should_be(bound);
    let Some(vital) = view.seen.online().filter(|_| !view.seen.luma.points().is_empty()) else { return item };
    let luma = f64::from(vital.luma);
    let (grade, cure) = if luma < min {
        (Grade::Fail, "too dark, every reading is withheld: light, or the camera's exposure")
    } else if bounds::LUMA.grade(luma) != Grade::Pass {
        (Grade::Warn, "dim: more light, or a longer exposure or infrared light of the camera")
    } else {
        (bounds::LUMA_BRIGHT.grade(luma), "too bright: turn the camera away from the light, or shorten its exposure")
    };
    item.measured(luma, "of 255").is(format!("mean {} of 255", vital.luma)).graded(grade, cure)
}

fn contrast(view: &View<'_>) -> Item {
    let item = Item::new(Section::Picture, "contrast", "contrast").should_be(bounds::CONTRAST.words("levels"));
    let Some(probe) = view.seen.picture() else { return item };
    let levels = f64::from(probe.contrast);
    let cure = "is the lens covered, fogged or dirty? does the camera look at a wall or into the light?";
    item.measured(levels, "levels")
        .is(format!("{} levels", probe.contrast))
        .graded(bounds::CONTRAST.grade(levels), cure)
}

fn sharpness(view: &View<'_>) -> Item {
    let item = Item::new(Section::Picture, "sharpness", "sharpness").should_be(bounds::SHARPNESS.words(""));
    // A picture of one colour is neither sharp nor blurred.
    let Some(probe) = view.seen.picture().filter(|it| 0 < it.contrast) else { return item };
    let variance = f64::from(probe.sharpness);
    let cure = "turn the focus until this number is largest; clean the lens; remove its film";
    item.measured(variance, "").is(probe.sharpness.to_string()).graded(bounds::SHARPNESS.grade(variance), cure)
}

fn movement(view: &View<'_>) -> Item {
    let item = Item::new(Section::Picture, "movement", "movement")
        .should_be(bounds::FROZEN_MS.times(1e-3).words("s without change"));
    let Some(probe) = view.seen.picture() else { return item };
    let ms = f64::from(probe.frozen_ms);
    let grade = match bounds::FROZEN_MS.grade(ms) {
        // It has moved before, so the camera can; now nothing moves in front of it.
        Grade::Fail if view.seen.has_moved => Grade::Warn,
        grade => grade,
    };
    let value = match ms {
        recent if recent < 1000.0 => "the picture moves".to_owned(),
        _ => format!("no change for {:.0} s", ms / 1000.0),
    };
    let motion = probe.motion().map(|it| format!("; {it:.2} levels in the last window"));
    let value = value + &motion.unwrap_or_default();
    let cure = "wave at the camera; if this stays, it repeats one picture: restart it. An empty place may stand still";
    item.measured(ms / 1000.0, "s").is(value).graded(grade, cure)
}

/// Against what the network was trained on: what is smaller it was never taught to read.
fn people(view: &View<'_>) -> Item {
    let item = Item::new(Section::Picture, "people", "people's size");
    let Some(trained) = Estimate::HeadWidth.of(&view.facts.network.estimates) else {
        return item.should_be("as in the network's training").is("this network does not estimate it");
    };
    let [from, to] = trained.map(f64::from);
    let item = item.should_be(format!("heads {:.1} to {:.1} % of the picture's width", 100.0 * from, 100.0 * to));
    let Some(permille) = Estimate::HeadWidth.of(&view.seen.estimates_permille).quantile(0.5) else { return item };
    let share = f64::from(permille) / 1000.0;
    let (grade, cure) = match share {
        small if small < from => (Grade::Warn, "smaller than in its training: zoom in, or hang the camera nearer"),
        large if to < large => (Grade::Warn, "larger than in its training: zoom out, or hang the camera farther away"),
        _ => (Grade::Pass, ""),
    };
    item.measured(100.0 * share, "%").is(format!("heads {:.1} % of the width", 100.0 * share)).graded(grade, cure)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{grades, item},
        *,
    };
    use crate::wire::{estimate::Estimates, record::ProbeRecord};

    #[test]
    fn movement_is_told_in_the_gates_own_levels() {
        assert_eq!(item("movement", |_, _| {}).value, "the picture moves; 1.60 levels in the last window");
        let unknown = item("movement", |seen, _| {
            let probe = seen.probe.as_mut().unwrap();
            (probe.frozen_ms, probe.motion_milli) = (20_000, crate::wire::record::MOTION_NONE_MILLI);
        });
        assert_eq!(unknown.value, "no change for 20 s");
    }

    #[test]
    fn the_picture_is_judged_at_its_bounds() {
        for (luma, grade) in [
            (11, Grade::Fail),
            (12, Grade::Warn),
            (39, Grade::Warn),
            (40, Grade::Pass),
            (200, Grade::Pass),
            (201, Grade::Warn),
        ] {
            grades("light", grade, |seen, _| seen.vital.as_mut().unwrap().luma = luma);
        }
        let probe = |key: &str, grade, change: fn(&mut ProbeRecord)| {
            grades(key, grade, |seen, _| change(seen.probe.as_mut().unwrap()));
        };
        probe("contrast", Grade::Pass, |it| it.contrast = 20);
        probe("contrast", Grade::Warn, |it| it.contrast = 19);
        probe("contrast", Grade::Warn, |it| it.contrast = 6);
        probe("contrast", Grade::Fail, |it| it.contrast = 5);
        probe("contrast", Grade::Fail, |it| it.contrast = 0);
        probe("sharpness", Grade::Pass, |it| it.sharpness = 100);
        probe("sharpness", Grade::Warn, |it| it.sharpness = 99);
        probe("sharpness", Grade::Warn, |it| it.sharpness = 10);
        probe("sharpness", Grade::Fail, |it| it.sharpness = 9);
        probe("sharpness", Grade::Unknown, |it| it.contrast = 0);
        for (permille, grade) in [(52, Grade::Warn), (53, Grade::Pass), (232, Grade::Pass), (233, Grade::Warn)] {
            grades("people", grade, |seen, _| {
                seen.estimates_permille = Estimates::default();
                seen.estimates_permille[Estimate::HeadWidth as usize].add(permille);
            });
        }
        grades("people", Grade::Unknown, |seen, _| seen.estimates_permille = Estimates::default());
        grades("people", Grade::Unknown, |_, facts| facts.network.estimates = Estimates::default());
        probe("movement", Grade::Pass, |it| it.frozen_ms = 15_000);
        probe("movement", Grade::Warn, |it| it.frozen_ms = 15_001);
    }

    #[test]
    fn a_place_that_stands_still_is_no_broken_camera() {
        for (has_moved, ms, grade) in
            [(false, 60_000, Grade::Warn), (false, 60_001, Grade::Fail), (true, 60_001, Grade::Warn)]
        {
            grades("movement", grade, |seen, _| {
                seen.has_moved = has_moved;
                seen.probe.as_mut().unwrap().frozen_ms = ms;
            });
        }
    }
}
