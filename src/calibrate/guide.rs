//! The guided steps: what a key does, and when a step is done. Pure: time arrives in its arguments.

use std::collections::BTreeMap;

use super::{
    Site,
    baseline::{Phase, WINDOWS},
    facts::CameraFacts,
    mask::Grid,
    observations::{Clap, Observations},
};
use crate::{
    mask::POLYGONS_MAX,
    supervisor::DryRunRequest,
    terminal::Key,
    time::{Moment, Span},
    wire::{
        CameraId,
        record::{ProbeRecord, Step},
    },
};

/// So many claps make a test.
pub(crate) const CLAPS: u8 = 5;
/// A clap test that takes longer is given up.
const CLAP_MAX: Span = Span::from_ms(60_000);

/// Where a guided run stands.
#[derive(Clone, Debug)]
pub(crate) struct Guide {
    /// Which camera is shown: an index of the cameras.
    pub selected: usize,
    /// Which verdict is explained: an index of the items; `None` shows the worst.
    pub item: Option<usize>,
    /// The grid that is drawn on.
    pub grid: Option<Grid>,
    /// What came of the last step, for the person at the keys.
    pub note: String,
    /// Windows of each phase of the baseline.
    pub windows: u32,
    clapping: BTreeMap<CameraId, Clapping>,
    /// The phase of the baseline that runs, by camera.
    measuring: BTreeMap<CameraId, Phase>,
}

#[derive(Clone, Copy, Debug)]
struct Clapping {
    since: Moment,
    /// A probe of this test has come; one of the test before may still be under way.
    is_new: bool,
}

impl Guide {
    /// Nothing is being done. A phase of the baseline is to have so many windows.
    #[must_use]
    pub(crate) fn new(windows: Option<u32>) -> Self {
        Self {
            selected: 0,
            item: None,
            grid: None,
            note: String::new(),
            windows: windows.unwrap_or(WINDOWS),
            clapping: BTreeMap::new(),
            measuring: BTreeMap::new(),
        }
    }

    /// The camera that is shown.
    #[must_use]
    pub(crate) fn camera(&self, site: &Site) -> CameraId {
        site.facts.cameras.get(self.selected).map_or(CameraId(0), |it| it.id)
    }

    /// Whether a clap test runs on this camera.
    #[must_use]
    pub(crate) fn is_clapping(&self, camera: CameraId) -> bool {
        self.clapping.contains_key(&camera)
    }

    /// Does what a key asks. Returns the request to the processes.
    pub(crate) fn key(&mut self, key: Key, site: &mut Site, now: Moment) -> Option<DryRunRequest> {
        if key == Key::Interrupt {
            return Some(DryRunRequest::Stop);
        }
        if self.grid.is_some() {
            self.draw(key, site);
            return None;
        }
        let camera = self.camera(site);
        match key {
            Key::Char('q') => return Some(DryRunRequest::Stop),
            Key::Char('c') if self.is_clapping(camera) => {
                return Some(self.end_clap(site, camera, "the clap test was ended"));
            }
            Key::Char('c') => return self.clap(site, camera, now),
            Key::Char('e') => self.baseline(site, Phase::Empty),
            Key::Char('u') => self.baseline(site, Phase::Usual),
            Key::Char('m') => {
                self.note.clear();
                self.grid = Some(Grid::default());
            }
            Key::Tab => self.select(site, 1),
            Key::BackTab => self.select(site, site.facts.cameras.len().saturating_sub(1)),
            Key::Down => self.item = Some(self.item.map_or(0, |it| it.saturating_add(1))),
            Key::Up => self.item = Some(self.item.unwrap_or(0).saturating_sub(1)),
            Key::Escape => self.item = None,
            _ => {}
        }
        None
    }

    fn select(&mut self, site: &Site, by: usize) {
        self.selected = (self.selected + by) % site.facts.cameras.len().max(1);
        self.note.clear();
    }

    /// Keys while the grid is shown.
    fn draw(&mut self, key: Key, site: &mut Site) {
        let camera = self.camera(site);
        let Some(grid) = &mut self.grid else { return };
        match key {
            Key::Left => grid.step(-1, 0),
            Key::Right => grid.step(1, 0),
            Key::Up => grid.step(0, -1),
            Key::Down => grid.step(0, 1),
            Key::Char(' ') => grid.toggle(),
            Key::Enter | Key::Char('m') => {
                let polygons = grid.polygons();
                if POLYGONS_MAX < polygons.len() {
                    self.note = format!(
                        "{} areas are too many: a camera has {POLYGONS_MAX} at most; join some",
                        polygons.len()
                    );
                    return;
                }
                self.note = match polygons.len() {
                    0 => "no mask was drawn".into(),
                    count => format!("masks drawn: {count}; they are among the settings found"),
                };
                if let Some(seen) = site.seen(camera) {
                    seen.masks = Some(polygons).filter(|it| !it.is_empty());
                }
                self.grid = None;
            }
            Key::Escape | Key::Char('q') => self.grid = None,
            _ => {}
        }
    }

    /// Begins a clap test on a camera whose sound and picture are there.
    pub(crate) fn clap(&mut self, site: &mut Site, camera: CameraId, now: Moment) -> Option<DryRunRequest> {
        if !site.hears(camera) {
            self.note = "a clap test needs sound: none is configured for this camera, or none comes".into();
            return None;
        }
        self.note.clear();
        site.seen(camera).into_iter().for_each(|it| it.test(true));
        self.clapping.insert(camera, Clapping { since: now, is_new: false });
        Some(DryRunRequest::Clap(camera))
    }

    /// Begins a phase of the selected camera's baseline, or ends it.
    fn baseline(&mut self, site: &mut Site, phase: Phase) {
        let (camera, windows, before) = (self.camera(site), self.windows, site.facts.windows_at_once());
        let Some(seen) = site.seen(camera) else { return };
        self.note.clear();
        if seen.baseline.progress().is_some_and(|it| it.0 == phase) {
            seen.baseline.end();
            self.note = "the baseline was ended; what it measured stays".into();
        } else {
            seen.baseline.begin(phase, windows, before);
        }
    }

    /// Looks whether steps are done. Returns the request to the processes.
    pub(crate) fn look(&mut self, site: &mut Site, now: Moment) -> Vec<DryRunRequest> {
        site.cameras().for_each(|(camera, seen)| self.look_at_baseline(camera, seen));
        let cameras: Vec<_> = self.clapping.keys().copied().collect();
        cameras.into_iter().filter_map(|camera| self.look_at(site, camera, now)).collect()
    }

    fn look_at(&mut self, site: &mut Site, camera: CameraId, now: Moment) -> Option<DryRunRequest> {
        let test = self.clapping.get_mut(&camera)?;
        let seen = site.seen(camera)?;
        let probe = seen.probe.filter(|it| it.step == Step::Decoded);
        if let Some(probe) = probe {
            test.is_new |= probe.claps < CLAPS;
            if test.is_new && CLAPS <= probe.claps && ProbeRecord::CLAP_CONFIDENCE_MIN <= probe.clap_confidence {
                let (offset_ms, confidence, claps) = (probe.clap_offset_ms, probe.clap_confidence, probe.claps);
                seen.clap = Some(Clap { offset_ms, confidence, claps });
                let note = format!("accepted: sound comes {offset_ms:+} ms after the picture ({confidence} % sure)");
                return Some(self.end_clap(site, camera, &note));
            }
        }
        if CLAP_MAX <= now - test.since {
            let note =
                "not sure enough, nothing was set: clap louder, slower, in full view, with nothing else that moves";
            return Some(self.end_clap(site, camera, note));
        }
        None
    }

    /// Says when a phase of a baseline has come to its end.
    fn look_at_baseline(&mut self, camera: &CameraFacts, seen: &Observations) {
        let running = seen.baseline.progress().map(|it| it.0);
        let before = match running {
            Some(phase) => self.measuring.insert(camera.id, phase),
            None => self.measuring.remove(&camera.id),
        };
        // The user who ended it has been told.
        if let Some(phase) = before.filter(|_| running.is_none() && self.note.is_empty()) {
            let next = match phase {
                Phase::Empty => "u measures it as usual",
                Phase::Usual => "what came of it is told at the end",
            };
            self.note = format!("{}: the {} place was measured; {next}", camera.name, phase.as_str());
        }
    }

    fn end_clap(&mut self, site: &mut Site, camera: CameraId, note: &str) -> DryRunRequest {
        site.seen(camera).into_iter().for_each(|it| it.test(false));
        self.clapping.remove(&camera);
        self.note = format!("{}: {note}", site.name(camera));
        DryRunRequest::EndClapTest(camera)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        calibrate::{facts::tests::facts, observations::tests::good},
        time::Moment,
    };

    const HALL: CameraId = CameraId(0);

    pub(in super::super) fn site() -> Site {
        let mut site = Site::new(facts(), Moment(0));
        *site.seen(HALL).unwrap() = good(3);
        site
    }

    /// Presses keys that lead to no request.
    #[track_caller]
    pub(in super::super) fn press(guide: &mut Guide, site: &mut Site, keys: &[Key]) {
        keys.iter().for_each(|key| assert_eq!(guide.key(*key, site, at(0)), None));
    }

    fn probe(site: &mut Site, claps: u8, confidence: u8) {
        let probe = site.seen(HALL).unwrap().probe.as_mut().unwrap();
        (probe.claps, probe.clap_confidence, probe.clap_offset_ms) = (claps, confidence, 180);
    }

    fn at(s: i64) -> Moment {
        Moment(0) + Span::from_ms(s * 1000)
    }

    #[test]
    fn a_sure_clap_test_is_accepted() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        probe(&mut site, 9, 99);
        assert_eq!(guide.key(Key::Char('c'), &mut site, at(0)), Some(DryRunRequest::Clap(HALL)));
        assert_eq!(guide.look(&mut site, at(1)), [], "that is the test before");
        probe(&mut site, 2, 95);
        assert_eq!(guide.look(&mut site, at(5)), []);
        probe(&mut site, 5, 79);
        assert_eq!(guide.look(&mut site, at(9)), []);
        probe(&mut site, 6, 80);
        assert_eq!(guide.look(&mut site, at(10)), [DryRunRequest::EndClapTest(HALL)]);
        let clap = Clap { offset_ms: 180, confidence: 80, claps: 6 };
        assert_eq!(site.seen(HALL).unwrap().clap, Some(clap));
        assert!(guide.note.contains("accepted: sound comes +180 ms"), "{}", guide.note);
        assert_eq!(guide.look(&mut site, at(11)), []);
    }

    #[test]
    fn an_unsure_clap_test_sets_nothing() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        guide.key(Key::Char('c'), &mut site, at(0));
        probe(&mut site, 4, 99);
        assert_eq!(guide.look(&mut site, at(59)), []);
        assert_eq!(guide.look(&mut site, at(60)), [DryRunRequest::EndClapTest(HALL)]);
        assert_eq!(site.seen(HALL).unwrap().clap, None);
        guide.key(Key::Char('c'), &mut site, at(70));
        assert_eq!(guide.key(Key::Char('c'), &mut site, at(71)), Some(DryRunRequest::EndClapTest(HALL)));
    }

    #[test]
    fn nobody_claps_for_a_camera_without_sound() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        site.facts.cameras[0].sound = false;
        assert_eq!(guide.key(Key::Char('c'), &mut site, at(0)), None);
        assert!(guide.note.contains("needs sound"));
    }

    #[test]
    fn the_same_key_begins_and_ends_a_baseline() {
        let (mut site, mut guide) = (site(), Guide::new(Some(7)));
        guide.key(Key::Char('e'), &mut site, at(0));
        assert_eq!(site.seen(HALL).unwrap().baseline.progress(), Some((Phase::Empty, 0, 7)));
        guide.key(Key::Char('u'), &mut site, at(0));
        assert_eq!(site.seen(HALL).unwrap().baseline.progress(), Some((Phase::Usual, 0, 7)));
        guide.key(Key::Char('u'), &mut site, at(0));
        assert_eq!(site.seen(HALL).unwrap().baseline.progress(), None);
    }

    #[test]
    fn the_end_of_a_baseline_is_told() {
        let (mut site, mut guide) = (site(), Guide::new(Some(1)));
        for (key, words) in
            [('e', "hall: the empty place was measured; u "), ('u', "hall: the usual place was measured")]
        {
            guide.key(Key::Char(key), &mut site, at(0));
            guide.look(&mut site, at(0));
            assert_eq!(guide.note, "");
            (0..2).for_each(|_| site.seen(HALL).unwrap().baseline.window([9000, 500, 500], None));
            guide.look(&mut site, at(0));
            assert!(guide.note.starts_with(words), "{}", guide.note);
        }
    }

    #[test]
    fn masks_are_drawn_by_keys() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        let keys = [Key::Char('m'), Key::Right, Key::Char(' '), Key::Down, Key::Char(' '), Key::Enter];
        press(&mut guide, &mut site, &keys);
        let masks = site.seen(HALL).unwrap().masks.clone();
        assert_eq!(masks, Some(vec![vec![[0.0625, 0.0], [0.125, 0.0], [0.125, 0.2222], [0.0625, 0.2222]]]));
        // Escape keeps what there is.
        press(&mut guide, &mut site, &[Key::Char('m'), Key::Char(' '), Key::Escape]);
        assert_eq!(site.seen(HALL).unwrap().masks, masks);
        assert_eq!(guide.key(Key::Char('q'), &mut site, at(0)), Some(DryRunRequest::Stop));
    }

    #[test]
    fn more_masks_than_a_camera_takes_are_not_taken() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        press(&mut guide, &mut site, &[Key::Char('m')]);
        for _ in 0..3 {
            press(&mut guide, &mut site, &[Key::Char(' '), Key::Right, Key::Right].repeat(8));
            press(&mut guide, &mut site, &[Key::Left; 16]);
            press(&mut guide, &mut site, &[Key::Down; 2]);
        }
        press(&mut guide, &mut site, &[Key::Enter]);
        assert!(guide.grid.is_some() && guide.note.starts_with("24 areas are too many"), "{}", guide.note);
    }

    #[test]
    fn ctrl_c_ends_it_also_from_the_grid() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        guide.key(Key::Char('m'), &mut site, at(0));
        assert_eq!(guide.key(Key::Interrupt, &mut site, at(0)), Some(DryRunRequest::Stop));
    }
}
