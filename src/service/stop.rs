//! Asking every thread to finish.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// Dropping this asks every holder of the matching [`Stop`] to finish.
#[derive(Debug)]
pub struct Stopper(#[expect(dead_code, reason = "only its drop is used")] Sender<Never>);

/// Tells a thread whether it should finish.
#[derive(Clone, Debug)]
pub struct Stop(Receiver<Never>);

#[derive(Debug)]
enum Never {}

/// Returns a linked pair.
pub fn channel() -> (Stopper, Stop) {
    let (tx, rx) = bounded(0);
    (Stopper(tx), Stop(rx))
}

impl Stop {
    /// Returns true once the [`Stopper`] is gone.
    pub fn requested(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Sleeps, waking early on a stop. Returns false once stopping.
    pub fn sleep(&self, duration: Duration) -> bool {
        matches!(self.0.recv_timeout(duration), Err(RecvTimeoutError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_cut_short_by_a_stop() {
        let (stopper, stop) = channel();
        assert!(!stop.requested());
        assert!(stop.sleep(Duration::ZERO));
        let sleeper = std::thread::Builder::new()
            .name("sleeper".into())
            .spawn({
                let stop = stop.clone();
                move || stop.sleep(Duration::from_secs(1000))
            })
            .unwrap();
        drop(stopper);
        assert!(!sleeper.join().unwrap());
        assert!(stop.requested());
    }
}
