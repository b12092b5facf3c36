//! What the process's main thread and the broker's thread share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::publish::{outbox::Outbox, retained::RetainedTopics};

/// The outbox, the retained topics, and the state of the connection.
#[derive(Debug)]
pub(crate) struct SharedState {
    outbox: Mutex<Outbox>,
    retained: Mutex<RetainedTopics>,
    outages: AtomicU32,
    connected: AtomicBool,
    /// There is something to send, or it is time to leave.
    wake: Notify,
    leaving: AtomicBool,
}

impl SharedState {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self {
            outbox: Mutex::new(outbox),
            retained: Mutex::default(),
            outages: AtomicU32::new(0),
            connected: AtomicBool::new(false),
            wake: Notify::new(),
            leaving: AtomicBool::new(false),
        }
    }

    /// Locks the outbox; the other thread has to wait while the guard lives.
    pub(crate) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock()
    }

    /// Locks the retained topics; the other thread has to wait while the guard lives.
    pub(crate) fn retained(&self) -> MutexGuard<'_, RetainedTopics> {
        self.retained.lock()
    }

    /// How often the connection to the broker was lost.
    pub(crate) fn outages(&self) -> u32 {
        self.outages.load(Ordering::Relaxed)
    }

    pub(super) fn count_outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Tells the broker's thread that there is something new to send.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for the next [`wake`](Self::wake), or returns at once if it came before.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells the broker's thread to say goodbye and end.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }
}
