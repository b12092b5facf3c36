//! Wakes a thread when something that it waits for has come.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Held by everything that the thread waits for. The default wakes no thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake(Option<Sender<()>>);

/// Returns a linked pair. The receiver gets one token for any number of notifications since it took the last one, so
/// none is missed between a look at what has come and the wait for more. It disconnects with the last [`Wake`].
pub(crate) fn channel() -> (Wake, Receiver<()>) {
    let (sender, receiver) = bounded(1);
    (Wake(Some(sender)), receiver)
}

impl Wake {
    /// Something has come. Never blocks.
    pub(crate) fn notify(&self) {
        if let Some(sender) = &self.0 {
            // A token that is there already is as good.
            sender.try_send(()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_before_the_wait_is_not_missed_and_many_are_one() {
        let (wake, woken) = channel();
        let other = wake.clone();
        (0..3).for_each(|_| other.notify());
        assert!(woken.recv().is_ok() && woken.try_recv().is_err());
        wake.notify();
        drop((wake, other));
        assert!(woken.recv().is_ok() && woken.recv().is_err(), "the last token, and then the end");
        Wake::default().notify();
    }
}
