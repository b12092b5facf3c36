//! The guided baseline: what the place looks like while it is empty, and as it usually is.

/// Windows of each phase, unless somebody asks for another number: two minutes at a hop of 5 s.
pub(crate) const WINDOWS: u32 = 24;
/// Fewer windows than this say nothing about a place.
pub(crate) const WINDOWS_MIN: usize = 12;

/// What the place is like meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody is in the picture.
    Empty,
    /// As it usually is.
    Usual,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Usual => "usual",
        }
    }
}

/// What was measured of one camera's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baseline {
    /// While it was empty.
    pub empty: Stretch,
    /// As it usually is.
    pub usual: Stretch,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Running {
    phase: Phase,
    windows: u32,
    /// Windows still to come that began before the phase did.
    before: u32,
}

/// What one phase measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stretch {
    /// The network's probabilities of each window that it answered, before smoothing, in the order of `Emotion::ALL`.
    pub answers: Vec<[f32; 3]>,
    /// Windows in all.
    pub windows: u32,
    /// The darkest mean luma, 0 to 255.
    pub darkest: Option<u8>,
    /// How much each window moved, levels: what `gates.motion_min` is held against.
    pub motions: Vec<f64>,
}

impl Baseline {
    /// Begins a phase of so many windows, and forgets what the same one measured before. `before` windows that end from
    /// now on began earlier, and are not counted.
    pub(crate) fn begin(&mut self, phase: Phase, windows: u32, before: u32) {
        *self.stretch(phase) = Stretch::default();
        self.running = Some(Running { phase, windows, before });
    }

    /// Ends a phase before its time. What it measured stays.
    pub(crate) fn end(&mut self) {
        self.running = None;
    }

    /// The phase that runs, how many windows it has had, and how many it is to have.
    #[must_use]
    pub(crate) fn progress(&self) -> Option<(Phase, u32, u32)> {
        self.running.map(|it| (it.phase, self.of(it.phase).windows, it.windows))
    }

    /// What a phase measured so far.
    #[must_use]
    pub(crate) fn of(&self, phase: Phase) -> &Stretch {
        match phase {
            Phase::Empty => &self.empty,
            Phase::Usual => &self.usual,
        }
    }

    /// Takes the network's answer to a new window, in ten-thousandths, all zero where it gave none; and how much that
    /// window moved, where it is known.
    pub(crate) fn window(&mut self, probabilities: [u16; 3], motion: Option<f64>) {
        let Some(mut running) = self.running else { return };
        if 0 < running.before {
            running.before -= 1;
            self.running = Some(running);
            return;
        }
        let stretch = self.stretch(running.phase);
        stretch.windows += 1;
        stretch.motions.extend(motion);
        if probabilities != [0; 3] {
            stretch.answers.push(probabilities.map(|it| f32::from(it) / 10_000.0));
        }
        self.running = (stretch.windows < running.windows).then_some(running);
    }

    /// Takes a mean luma.
    pub(crate) fn light(&mut self, luma: u8) {
        if let Some(running) = self.running.filter(|it| it.before == 0) {
            let stretch = self.stretch(running.phase);
            stretch.darkest = Some(stretch.darkest.map_or(luma, |it| it.min(luma)));
        }
    }

    fn stretch(&mut self, phase: Phase) -> &mut Stretch {
        match phase {
            Phase::Empty => &mut self.empty,
            Phase::Usual => &mut self.usual,
        }
    }
}

impl Stretch {
    /// Whether it saw enough to be believed.
    #[must_use]
    pub(crate) fn is_enough(&self) -> bool {
        WINDOWS_MIN <= self.answers.len()
    }

    /// The probability of the likeliest emotion that this share of the answers, 0 to 1, does not exceed.
    #[must_use]
    pub(crate) fn confidence(&self, share: f64) -> Option<f64> {
        let likeliest = |it: &[f32; 3]| f64::from(it.iter().copied().fold(0.0, f32::max));
        quantile(self.answers.iter().map(likeliest).collect(), share)
    }

    /// The motion that this share of the windows, 0 to 1, does not exceed; `None` where too few were measured.
    #[must_use]
    pub(crate) fn motion(&self, share: f64) -> Option<f64> {
        if self.motions.len() < WINDOWS_MIN { None } else { quantile(self.motions.clone(), share) }
    }
}

fn quantile(mut numbers: Vec<f64>, share: f64) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
    let at = (share * numbers.len().saturating_sub(1) as f64).round() as usize;
    numbers.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_counts_its_own_windows() {
        let mut baseline = Baseline::default();
        baseline.window([9000, 500, 500], Some(9.0));
        assert_eq!(baseline.progress(), None);
        baseline.begin(Phase::Empty, 2, 2);
        // These windows began before the phase, with the installer in the picture.
        for _ in 0..2 {
            baseline.light(3);
            baseline.window([9000, 500, 500], Some(9.0));
        }
        assert_eq!(baseline.progress(), Some((Phase::Empty, 0, 2)));
        baseline.light(90);
        baseline.light(70);
        baseline.window([0; 3], Some(0.25));
        baseline.window([4000, 3000, 3000], None);
        assert_eq!(baseline.progress(), None);
        baseline.window([9000, 500, 500], Some(9.0));
        let empty = Stretch { answers: vec![[0.4, 0.3, 0.3]], windows: 2, darkest: Some(70), motions: vec![0.25] };
        assert_eq!((&baseline.empty, &baseline.usual), (&empty, &Stretch::default()));
        baseline.begin(Phase::Empty, 2, 1);
        assert_eq!(baseline.empty, Stretch::default());
    }

    #[test]
    fn confidence_is_a_quantile() {
        let answers = [0.4, 0.5, 0.9, 0.6, 0.7].map(|it: f32| [it, 1.0 - it, 0.0]).to_vec();
        let stretch = Stretch { answers, windows: 5, ..Stretch::default() };
        assert!((stretch.confidence(0.5).unwrap() - 0.6).abs() < 1e-6);
        assert!((stretch.confidence(1.0).unwrap() - 0.9).abs() < 1e-6);
        assert_eq!(Stretch::default().confidence(0.5), None);
    }

    #[test]
    fn motion_is_a_quantile_of_enough_windows() {
        let of = |windows: u32| {
            let motions = (0..windows).map(f64::from).collect();
            Stretch { motions, windows, ..Stretch::default() }.motion(0.05)
        };
        assert_eq!((of(24), of(12), of(11)), (Some(1.0), Some(1.0), None));
    }
}
