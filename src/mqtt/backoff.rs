//! How long to wait before the next connection to a broker.

use std::time::Duration;

use super::failure::FailureKind;

/// How long to wait before the next connection.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After another failure; `random` in 0..1 spreads the boxes of a site that lost their broker together.
    pub fn next(&mut self, kind: FailureKind, random: f64) -> Duration {
        // Brokers count wrong passwords and lock users out, so those are tried rarely.
        let (first_s, most_s) = if kind == FailureKind::Unauthorised { (60, 600) } else { (1, 30) };
        let whole_s = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX).saturating_mul(first_s).min(most_s);
        self.failures = (self.failures + 1).min(31);
        Duration::from_secs(u64::from(whole_s)).mul_f64(0.5 + 0.5 * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        let check = |kind, random: f64, expected: [f64; 8]| {
            let mut backoff = Backoff::default();
            let waits = [(); 8].map(|()| backoff.next(kind, random).as_secs_f64());
            assert_eq!(waits, expected, "{kind:?}");
        };
        check(FailureKind::Away, 0.0, [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]);
        check(FailureKind::Certificate, 1.0, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        check(FailureKind::Unauthorised, 1.0, [60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0, 600.0]);
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next(FailureKind::Away, 1.0) <= Duration::from_secs(30)));
    }
}
