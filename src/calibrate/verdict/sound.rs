//! The sound, and its offset to the picture.

use super::{Item, Section, View};
use crate::{
    calibrate::{bounds, grade::Grade},
    faults,
    wire::record::{CameraState, HUM_NONE_CDB, LEVEL_NONE_CDB, ProbeRecord, SoundState, Vital},
};

pub(super) fn items(view: &View<'_>) -> Vec<Item> {
    vec![sound(view), level(view), noise(view), clipping(view), hum(view), drift(view), sync(view)]
}

/// What an item says where there is no sound to measure.
fn without(view: &View<'_>, item: Item) -> Item {
    if view.camera.sound { item } else { item.is("no sound is configured") }
}

fn sound(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "sound", "sound").should_be("present, where it is configured");
    let Some(vital) = &view.seen.vital else { return item };
    let network = &view.facts.network;
    match vital.sound {
        SoundState::Off if network.needs_sound => item.is("none is configured").graded(
            Grade::Fail,
            "this network answers nothing without sound: write source = \"camera\" or \"microphone\" below [sound]",
        ),
        SoundState::Off => item.is("none is configured").graded(Grade::Pass, ""),
        SoundState::Present => item.is("present").graded(Grade::Pass, ""),
        // In the first seconds of a camera no window has been listened to yet.
        SoundState::Absent if view.seen.slots == 0 => item,
        SoundState::Absent if view.camera.sound_is_its_own && vital.state != CameraState::Online => {
            item.is("it comes with the camera, which is away")
        }
        SoundState::Absent => item.is("absent").graded(Grade::Fail, faults::sound(vital.sound).cure),
        SoundState::Silent => item.is("digitally silent").graded(Grade::Fail, faults::sound(vital.sound).cure),
        SoundState::Clipping => item.is("clips").graded(Grade::Warn, faults::sound(vital.sound).cure),
    }
}

/// The newest vital while sound comes.
fn heard<'a>(view: &View<'a>) -> Option<&'a Vital> {
    let heard = |it: &&Vital| matches!(it.sound, SoundState::Present | SoundState::Clipping);
    view.seen.vital.as_ref().filter(heard)
}

/// The newest probe record while sound comes.
fn heard_probe<'a>(view: &View<'a>) -> Option<&'a ProbeRecord> {
    view.seen.probe.as_ref().filter(|it| heard(view).is_some() && it.noise_floor_cdb != LEVEL_NONE_CDB)
}

fn level(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "level", "level").should_be(bounds::LEVEL_DB.words("dBFS"));
    let Some(vital) = heard(view) else { return without(view, item) };
    let db = f64::from(vital.level_cdb) / 100.0;
    let value = match heard_probe(view) {
        Some(probe) => format!("{db:.1} dBFS, peak {:.1}", f64::from(probe.peak_cdb) / 100.0),
        None => format!("{db:.1} dBFS"),
    };
    let cure = "very quiet: raise the microphone's gain, or hang it nearer to the people";
    item.measured(db, "dBFS").is(value).graded(bounds::LEVEL_DB.grade(db), cure)
}

fn noise(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "noise", "noise floor").should_be(bounds::NOISE_DB.words("dBFS"));
    let Some(probe) = heard_probe(view) else { return without(view, item) };
    let db = f64::from(probe.noise_floor_cdb) / 100.0;
    let cure = "there is noise all the time: lower the gain, hang it away from fans and loudspeakers, switch off the \
                camera's automatic gain";
    item.measured(db, "dBFS").is(format!("{db:.1} dBFS")).graded(bounds::NOISE_DB.grade(db), cure)
}

fn clipping(view: &View<'_>) -> Item {
    let item =
        Item::new(Section::Sound, "clipping", "clipping").should_be(bounds::CLIPPED_PERMILLE.words("‰ of samples"));
    let Some(probe) = heard_probe(view) else { return without(view, item) };
    let permille = f64::from(probe.clipped_permille);
    let value = if probe.clipped_permille == 0 { "none".to_owned() } else { format!("{permille} ‰ of samples") };
    let cure = "too loud for the input: lower the microphone's gain";
    item.measured(permille, "‰").is(value).graded(bounds::CLIPPED_PERMILLE.grade(permille), cure)
}

fn hum(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "hum", "mains hum").should_be(bounds::HUM_DB.words("dB of all other sound"));
    let Some(probe) = heard_probe(view) else { return without(view, item) };
    if probe.hum_cdb == HUM_NONE_CDB || probe.hum_hz == 0 {
        return item.is("none").graded(Grade::Pass, "");
    }
    let db = f64::from(probe.hum_cdb) / 100.0;
    let cure = "a ground loop or a bad cable: another supply, a balanced or shorter cable, away from mains cables";
    item.measured(db, "dB").is(format!("{db:.1} dB at {} Hz", probe.hum_hz)).graded(bounds::HUM_DB.grade(db), cure)
}

fn drift(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "sound_drift", "sound's clock").should_be(bounds::DRIFT_PPM.words("ppm"));
    let Some(vital) = heard(view) else { return without(view, item) };
    if vital.sound_drift_ppm == 0 {
        return item.is("known after a minute");
    }
    let ppm = f64::from(vital.sound_drift_ppm);
    let cure = "the sound's time stamps run wrong: another sound card, or the camera's firmware";
    item.measured(ppm, "ppm").is(format!("{ppm:+} ppm")).graded(bounds::DRIFT_PPM.grade(ppm.abs()), cure)
}

fn sync(view: &View<'_>) -> Item {
    let item = Item::new(Section::Sound, "sync", "sound's offset").should_be(bounds::SYNC_MS.words("ms off"));
    let Some(clap) = view.seen.clap else {
        return without(view, item.is("no clap test yet"));
    };
    let off_ms = f64::from(clap.offset_ms) - view.camera.offset_ms as f64;
    let value = format!("{off_ms:+} ms off ({} claps, {} % sure)", clap.claps, clap.confidence);
    let cure = format!("write offset_ms = {} below [sync]", clap.offset_ms);
    item.measured(off_ms, "ms").is(value).graded(bounds::SYNC_MS.grade(off_ms.abs()), cure)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{grades, item},
        *,
    };
    use crate::calibrate::observations::Clap;

    #[test]
    fn each_state_of_the_sound_has_its_verdict() {
        for (state, grade) in [
            (SoundState::Off, Grade::Pass),
            (SoundState::Present, Grade::Pass),
            (SoundState::Absent, Grade::Fail),
            (SoundState::Silent, Grade::Fail),
            (SoundState::Clipping, Grade::Warn),
        ] {
            grades("sound", grade, |seen, _| seen.vital.as_mut().unwrap().sound = state);
        }
        for (is_its_own, grade) in [(true, Grade::Unknown), (false, Grade::Fail)] {
            grades("sound", grade, |seen, facts| {
                let vital = seen.vital.as_mut().unwrap();
                (vital.sound, vital.state) = (SoundState::Absent, CameraState::Offline);
                facts.cameras[0].sound_is_its_own = is_its_own;
            });
        }
        grades("sound", Grade::Fail, |seen, facts| {
            seen.vital.as_mut().unwrap().sound = SoundState::Off;
            facts.network.needs_sound = true;
        });
    }

    #[test]
    fn the_sound_is_judged_at_its_bounds() {
        for (cdb, grade) in [(-6000, Grade::Pass), (-6001, Grade::Warn)] {
            grades("level", grade, |seen, _| seen.vital.as_mut().unwrap().level_cdb = cdb);
        }
        let probe = |key: &str, grade, change: fn(&mut ProbeRecord)| {
            grades(key, grade, |seen, _| change(seen.probe.as_mut().unwrap()));
        };
        probe("noise", Grade::Unknown, |it| it.noise_floor_cdb = LEVEL_NONE_CDB);
        probe("noise", Grade::Pass, |it| it.noise_floor_cdb = -4000);
        probe("noise", Grade::Warn, |it| it.noise_floor_cdb = -3999);
        probe("noise", Grade::Warn, |it| it.noise_floor_cdb = -2000);
        probe("noise", Grade::Fail, |it| it.noise_floor_cdb = -1999);
        probe("clipping", Grade::Pass, |it| it.clipped_permille = 0);
        probe("clipping", Grade::Warn, |it| it.clipped_permille = 1);
        probe("clipping", Grade::Warn, |it| it.clipped_permille = 10);
        probe("clipping", Grade::Fail, |it| it.clipped_permille = 11);
        probe("hum", Grade::Pass, |it| it.hum_cdb = HUM_NONE_CDB);
        probe("hum", Grade::Pass, |it| (it.hum_cdb, it.hum_hz) = (-2000, 50));
        probe("hum", Grade::Warn, |it| (it.hum_cdb, it.hum_hz) = (-1999, 60));
        probe("hum", Grade::Warn, |it| (it.hum_cdb, it.hum_hz) = (0, 50));
        probe("hum", Grade::Fail, |it| (it.hum_cdb, it.hum_hz) = (1, 50));
        for (ppm, grade) in [(0, Grade::Unknown), (200, Grade::Pass), (-201, Grade::Warn), (1001, Grade::Fail)] {
            grades("sound_drift", grade, |seen, _| seen.vital.as_mut().unwrap().sound_drift_ppm = ppm);
        }
    }

    #[test]
    fn what_is_set_counts_against_what_was_clapped() {
        for (set_ms, offset_ms, grade) in [(0, 40, Grade::Pass), (0, -41, Grade::Warn), (-180, -200, Grade::Pass)] {
            grades("sync", grade, |seen, facts| {
                facts.cameras[0].offset_ms = set_ms;
                seen.clap = Some(Clap { offset_ms, confidence: 93, claps: 5 });
            });
        }
        let clap = Clap { offset_ms: 180, confidence: 93, claps: 5 };
        let wrong = item("sync", |seen, _| seen.clap = Some(clap));
        assert_eq!(wrong.value, "+180 ms off (5 claps, 93 % sure)");
        assert_eq!(wrong.cure, "write offset_ms = 180 below [sync]");
    }

    #[test]
    fn without_sound_nothing_of_it_is_judged() {
        for key in ["level", "noise", "clipping", "hum", "sound_drift", "sync"] {
            let none = item(key, |seen, facts| {
                facts.cameras[0].sound = false;
                seen.vital.as_mut().unwrap().sound = SoundState::Off;
            });
            assert_eq!((none.grade, none.value.as_str()), (Grade::Unknown, "no sound is configured"), "{key}");
        }
    }
}
