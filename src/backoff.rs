//! Exponential back-off with jitter: the delay before a camera, a broker or a worker is tried again.
//!
//! The jitter only shortens a delay, so that its upper bound is exact. It keeps boxes or cameras that failed together,
//! after a power cut for example, from trying again at the same instants.

use crate::time::Span;

/// Beyond this many doublings no delay grows any more.
const DOUBLINGS_MAX: u32 = 20;

/// The delays of one kind of failure: they double from `first` to `longest`.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    first: Span,
    longest: Span,
    jitter: f64,
}

impl Delays {
    /// Delays from `first_ms` to `longest_ms`; jitter shortens each by up to the share `jitter`, 0 to 1. To be used in
    /// constants, where bounds that contradict each other do not compile.
    #[must_use]
    pub const fn new(first_ms: i64, longest_ms: i64, jitter: f64) -> Self {
        assert!(0 < first_ms && first_ms <= longest_ms, "a back-off needs 0 < first <= longest");
        assert!(0.0 <= jitter && jitter <= 1.0, "jitter is a share");
        Self { first: Span::from_ms(first_ms), longest: Span::from_ms(longest_ms), jitter }
    }

    /// The delay after this many earlier failures. `random` is evenly distributed in 0..1 and is clamped to it.
    #[must_use]
    pub fn after(self, failures: u32, random: f64) -> Span {
        let whole = Span(self.first.0.saturating_mul(1 << failures.min(DOUBLINGS_MAX))).min(self.longest);
        let share = 1.0 - self.jitter * (1.0 - random.clamp(0.0, 1.0));
        Span::from_secs_f64(whole.as_secs_f64() * share)
    }
}

/// Counts failures in a row.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after one more failure, which is `delays` for its kind.
    pub fn next(&mut self, delays: Delays, random: f64) -> Span {
        let delay = delays.after(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// The next failure is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAYS: Delays = Delays::new(1000, 30_000, 0.5);

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_a_reset() {
        let mut backoff = Backoff::default();
        let next = |backoff: &mut Backoff, random| backoff.next(DELAYS, random).as_ms();
        let delays: Vec<_> = (0..7).map(|_| next(&mut backoff, 1.0)).collect();
        assert_eq!(delays, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(next(&mut backoff, 0.0), 15_000);
        backoff.reset();
        assert_eq!(next(&mut backoff, 0.0), 500);
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_jitter(random in any::<f64>(), failures in any::<u32>()) {
            let (whole, delay) = (DELAYS.after(failures, 1.0), DELAYS.after(failures, random));
            prop_assert!(whole <= Span::from_ms(30_000) && delay <= whole && whole.0 <= 2 * delay.0 + 1);
        }
    }
}
