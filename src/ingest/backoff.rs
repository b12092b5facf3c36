//! How long to wait before a camera is tried again.
//!
//! A camera has one to four sessions and may lock an account: one that does not work must not be tried too often. After
//! a few refusals of the password the delay becomes minutes.

use crate::{
    backoff::{self, Delays},
    time::Span,
};

/// After this many refusals the password is wrong, and more tries may lock the account.
const REFUSALS_MAX: u32 = 3;
/// Pictures for this long mean that the camera works.
const HEALTHY: Span = Span::from_ms(10_000);
/// From 0.5 to 0.625 s up to 8 to 10 s.
const USUAL: Delays = Delays::new(625, 10_000, 0.2);
/// 5 min to 6.25 min.
const LOCKED: Delays = Delays::new(375_000, 375_000, 0.2);

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The camera refused the user or the password.
    Unauthorised,
    /// Anything else.
    Other,
}

/// The delays of one camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    backoff: backoff::Backoff,
    refusals: u32,
}

impl Backoff {
    /// How long to wait after this failure. `random` is evenly distributed in 0..1.
    pub(crate) fn after(&mut self, failure: Failure, random: f64) -> Span {
        if failure == Failure::Unauthorised {
            self.refusals = self.refusals.saturating_add(1);
        }
        self.backoff.next(if self.refusals < REFUSALS_MAX { USUAL } else { LOCKED }, random)
    }

    /// Pictures came for this long: after ten seconds of them the next failure is a first one again.
    pub(crate) fn ran(&mut self, pictures: Span) {
        if HEALTHY <= pictures {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays_ms(backoff: &mut Backoff, failures: &[Failure], random: f64) -> Vec<i64> {
        failures.iter().map(|failure| backoff.after(*failure, random).as_ms()).collect()
    }

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_starts_over_after_a_healthy_run() {
        let mut backoff = Backoff::default();
        let others = [Failure::Other; 6];
        assert_eq!(delays_ms(&mut backoff, &others, 0.0), [500, 1000, 2000, 4000, 8000, 8000]);
        backoff.ran(Span::from_ms(9999));
        assert_eq!(delays_ms(&mut backoff, &others[..1], 0.0), [8000]);
        backoff.ran(Span::from_ms(10_000));
        assert_eq!(delays_ms(&mut backoff, &others[..2], 1.0), [625, 1250]);
    }

    #[test]
    fn a_refused_password_is_tried_three_times_and_then_every_five_minutes() {
        use Failure::{Other, Unauthorised};
        let mut backoff = Backoff::default();
        let refused = [Unauthorised, Unauthorised, Unauthorised, Unauthorised];
        assert_eq!(delays_ms(&mut backoff, &refused, 0.0), [500, 1000, 300_000, 300_000]);
        // A camera that was restarted meanwhile still has the same accounts.
        assert_eq!(delays_ms(&mut backoff, &[Other], 0.0), [300_000]);
        backoff.ran(Span::from_ms(60_000));
        assert_eq!(delays_ms(&mut backoff, &refused, 0.0), [500, 1000, 300_000, 300_000]);
    }
}
