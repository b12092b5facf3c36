//! The guided steps without keys, one after the other on all cameras at once: for scripts.

use super::{Site, baseline::Phase, guide::Guide};
use crate::{supervisor::DryRunRequest, time::Moment, wire::CameraId};

/// What is to be done without a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// End after so many slots of each camera.
    pub slots: Option<u64>,
    /// A clap test.
    pub clap: bool,
    /// A baseline of so many windows of each phase.
    pub baseline: Option<u32>,
}

/// How far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    wanted: Wanted,
    stages: Vec<Stage>,
    /// Cameras on which the first stage has begun.
    begun: Vec<CameraId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Clap,
    Baseline(Phase, u32),
}

impl Script {
    /// Nothing has begun.
    #[must_use]
    pub(crate) fn new(wanted: Wanted) -> Self {
        let mut stages = Vec::new();
        stages.extend(wanted.clap.then_some(Stage::Clap));
        let phases = |windows| [Phase::Empty, Phase::Usual].map(|phase| Stage::Baseline(phase, windows));
        stages.extend(wanted.baseline.into_iter().flat_map(phases));
        Self { wanted, stages, begun: Vec::new() }
    }

    /// Whether the run is over: with its slots where their number is given, otherwise with its last stage.
    #[must_use]
    pub(crate) fn is_over(&self, site: &Site) -> bool {
        match self.wanted.slots {
            Some(slots) => site.cameras().all(|(_, seen)| slots <= seen.slots),
            None => self.wanted != Wanted::default() && self.stages.is_empty(),
        }
    }

    /// Goes on. Returns the request to the processes, and what the people in front of the camera should do now.
    pub(crate) fn step(
        &mut self,
        site: &mut Site,
        guide: &mut Guide,
        now: Moment,
    ) -> (Vec<DryRunRequest>, Option<&'static str>) {
        let Some(stage) = self.stages.first().copied() else { return (Vec::new(), None) };
        let ids: Vec<_> = site.facts.cameras.iter().map(|it| it.id).collect();
        let ready: Vec<_> =
            ids.iter().copied().filter(|id| !self.begun.contains(id) && is_ready(stage, site, *id)).collect();
        let words = (self.begun.is_empty() && !ready.is_empty()).then(|| words(stage));
        let mut asks = Vec::new();
        for id in ready {
            self.begun.push(id);
            match stage {
                Stage::Clap => asks.extend(guide.clap(site, id, now)),
                Stage::Baseline(phase, windows) => {
                    let before = site.facts.windows_at_once();
                    site.seen(id).into_iter().for_each(|it| it.baseline.begin(phase, windows, before));
                }
            }
        }
        let is_done = |id: &CameraId| match stage {
            Stage::Clap => !guide.is_clapping(*id),
            Stage::Baseline(..) => site.of(*id).is_none_or(|it| it.baseline.progress().is_none()),
        };
        // A camera that is away has no stage to end; it joins where it comes.
        if !self.begun.is_empty() && self.begun.iter().all(is_done) {
            self.stages.remove(0);
            self.begun.clear();
        }
        (asks, words)
    }
}

fn is_ready(stage: Stage, site: &Site, camera: CameraId) -> bool {
    match stage {
        Stage::Clap => site.hears(camera),
        Stage::Baseline(..) => site.of(camera).is_some_and(super::observations::Observations::is_seen),
    }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Clap => "clap five times in view of the camera, about a second apart",
        Stage::Baseline(Phase::Empty, _) => "baseline: leave the place empty now",
        Stage::Baseline(Phase::Usual, _) => "baseline: now the place as usual",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::guide::tests::site, *};

    #[test]
    fn stages_follow_each_other() {
        let (mut site, mut guide) = (site(), Guide::new(None));
        let mut script = Script::new(Wanted { clap: true, baseline: Some(1), slots: None });
        let (asks, words) = script.step(&mut site, &mut guide, Moment(0));
        assert_eq!(
            (asks.as_slice(), words.unwrap()),
            (&[DryRunRequest::Clap(CameraId(0))][..], super::words(Stage::Clap))
        );
        assert_eq!(script.step(&mut site, &mut guide, Moment(0)), (Vec::new(), None));
        guide.look(&mut site, Moment(60_000_000_000));
        for phase in [Phase::Empty, Phase::Usual] {
            script.step(&mut site, &mut guide, Moment(0));
            script.step(&mut site, &mut guide, Moment(0));
            let seen = site.seen(CameraId(0)).unwrap();
            assert_eq!(seen.baseline.progress(), Some((phase, 0, 1)));
            assert!(!script.is_over(&site));
            let seen = site.seen(CameraId(0)).unwrap();
            (0..2).for_each(|_| seen.baseline.window([9000, 500, 500], None));
        }
        script.step(&mut site, &mut guide, Moment(0));
        assert!(script.is_over(&site));
    }

    #[test]
    fn slots_end_it_whatever_is_left() {
        let site = site();
        let wanted = |slots| Wanted { slots: Some(slots), baseline: Some(24), clap: false };
        assert!(Script::new(wanted(3)).is_over(&site));
        assert!(!Script::new(wanted(4)).is_over(&site));
        assert!(!Script::new(Wanted::default()).is_over(&site));
    }
}
