//! Tells threads to finish.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// Dropping this tells every holder of the matching [`Stop`] to finish.
#[derive(Debug)]
pub(crate) struct Stopper(#[expect(dead_code, reason = "only its drop is used")] Sender<Never>);

/// Tells a thread whether it should finish.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Receiver<Never>);

#[derive(Debug)]
enum Never {}

/// Returns a connected pair.
pub(crate) fn channel() -> (Stopper, Stop) {
    let (tx, rx) = bounded(0);
    (Stopper(tx), Stop(rx))
}

impl Stop {
    /// Whether the [`Stopper`] was dropped.
    pub(crate) fn requested(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Waits for `duration`, or until the [`Stopper`] is dropped; returns false then.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        matches!(self.0.recv_timeout(duration), Err(RecvTimeoutError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_wait_early() {
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
