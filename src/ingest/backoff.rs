//! How long to wait before the next try.
//!
//! A camera has one to four sessions and may lock an account: a dead one must not be hammered. The wait doubles,
//! carries jitter so that the cameras of a building do not all knock at once after a power cut, and becomes minutes
//! once the camera has refused the password a few times.

use crate::time::Span;

/// After so many refusals in a row the password is wrong, and more tries may lock the account.
const REFUSALS_MAX: u32 = 3;
/// The jitter adds at most this share of the wait.
const JITTER: f64 = 0.25;
/// Pictures for this long mean that the camera works.
const HEALTHY: Span = Span::from_ms(10_000);

/// How a try failed, as far as the wait is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The camera refused the user or the password.
    Unauthorised,
    /// Anything else.
    Other,
}

/// Bounds that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a back-off needs 0 < first <= longest <= locked, not {first}, {longest}, {locked}")]
pub struct Invalid {
    first: Span,
    longest: Span,
    locked: Span,
}

/// The wait before the next try, doubling from failure to failure.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Span,
    longest: Span,
    locked: Span,
    next: Span,
    refusals: u32,
}

impl Backoff {
    /// Waits `first` after the first failure and `longest` at most, or `locked` once the password was refused
    /// three times; jitter adds up to a quarter to each.
    ///
    /// # Errors
    /// When not 0 < `first` <= `longest` <= `locked`.
    pub fn new(first: Span, longest: Span, locked: Span) -> Result<Self, Invalid> {
        if first <= Span::ZERO || longest < first || locked < longest {
            return Err(Invalid { first, longest, locked });
        }
        Ok(Self { first, longest, locked, next: first, refusals: 0 })
    }

    /// The wait of a camera: 0.5 s to 10 s with its jitter, 5 minutes where the password is refused.
    #[must_use]
    pub fn of_camera() -> Self {
        let (first, longest, locked) = (Span::from_ms(500), Span::from_ms(8000), Span::from_ms(300_000));
        Self { first, longest, locked, next: first, refusals: 0 }
    }

    /// How long to wait after this failure. `random` is evenly distributed in 0..1; anything else is cut to that.
    pub fn after(&mut self, failure: Failure, random: f64) -> Span {
        if failure == Failure::Unauthorised {
            self.refusals = self.refusals.saturating_add(1);
        }
        let wait = if self.refusals < REFUSALS_MAX { self.next } else { self.locked };
        self.next = (self.next + self.next).min(self.longest);
        wait + Span::from_secs_f64(wait.as_secs_f64() * JITTER * random.clamp(0.0, 1.0))
    }

    /// Pictures came for this long: after ten seconds of them the next failure is a first one again.
    pub fn ran(&mut self, pictures: Span) {
        if HEALTHY <= pictures {
            self.next = self.first;
            self.refusals = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits_ms(backoff: &mut Backoff, failures: &[Failure]) -> Vec<i64> {
        failures.iter().map(|failure| backoff.after(*failure, 0.0).as_ms()).collect()
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_starts_over_after_a_healthy_run() {
        let mut backoff = Backoff::of_camera();
        let others = [Failure::Other; 6];
        assert_eq!(waits_ms(&mut backoff, &others), [500, 1000, 2000, 4000, 8000, 8000]);
        backoff.ran(Span::from_ms(9999));
        assert_eq!(waits_ms(&mut backoff, &others[..1]), [8000]);
        backoff.ran(Span::from_ms(10_000));
        assert_eq!(waits_ms(&mut backoff, &others[..2]), [500, 1000]);
    }

    #[test]
    fn a_refused_password_is_tried_three_times_and_then_every_five_minutes() {
        use Failure::{Other, Unauthorised};
        let mut backoff = Backoff::of_camera();
        let refused = [Unauthorised, Unauthorised, Unauthorised, Unauthorised];
        assert_eq!(waits_ms(&mut backoff, &refused), [500, 1000, 300_000, 300_000]);
        // A camera that is rebooted in between has forgotten nothing.
        assert_eq!(waits_ms(&mut backoff, &[Other]), [300_000]);
        backoff.ran(Span::from_ms(60_000));
        assert_eq!(waits_ms(&mut backoff, &refused), [500, 1000, 300_000, 300_000]);
    }

    #[test]
    fn bounds_that_contradict_each_other_are_refused() {
        let check = |first, longest, locked, is_good: bool| {
            let made = Backoff::new(Span::from_ms(first), Span::from_ms(longest), Span::from_ms(locked));
            assert_eq!(made.is_ok(), is_good, "{first} {longest} {locked}");
        };
        check(1, 1, 1, true);
        check(0, 1, 1, false);
        check(-1, 1, 1, false);
        check(2, 1, 3, false);
        check(1, 3, 2, false);
    }

    proptest! {
        #[test]
        fn jitter_adds_at_most_a_quarter(random in any::<f64>(), failures in 1_usize..12) {
            let (mut plain, mut jittered) = (Backoff::of_camera(), Backoff::of_camera());
            for _ in 0..failures {
                let wait = plain.after(Failure::Other, 0.0);
                let longer = jittered.after(Failure::Other, random);
                prop_assert!(wait <= longer && longer.as_ns() <= wait.as_ns() + wait.as_ns() / 4 + 1);
                prop_assert!(longer <= Span::from_ms(10_000));
            }
        }
    }
}
