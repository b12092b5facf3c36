//! The broker: one connection after the other, for as long as the room lives.
//!
//! rumqttc forgets unacknowledged messages when the broker has no session of ours, so it is trusted with nothing:
//! every connection has a new client, takes rows from the outbox and notes from the board a few at a time, and each
//! of them counts as delivered only when its own acknowledgement has come.
//!
//! All of it runs in one thread with tokio's current-thread runtime; the room talks to it through [`SharedState`].

use std::{
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

pub use self::{backoff::Backoff, tls::TlsError};
use self::{
    connection::Settings,
    failure::{Failure, FailureKind},
    session::Session,
};
use super::{outbox::Outbox, payload, retained::RetainedTopics};
use crate::{
    time::{Clock, Moment},
    wire::control::PublishConfig,
};

pub mod backoff;
pub(crate) mod connection;
pub mod failure;
mod session;
pub mod tls;

/// An answer to a connection request or room in a socket is waited for so long, s.
pub(crate) const PATIENCE_S: u64 = 5;
/// A clean goodbye waits so long for the broker. The room has 1.5 s to end.
const GOODBYE: Duration = Duration::from_millis(1000);
/// A connection that lasted so long was a good one: the next outage begins with short waits again.
pub(crate) const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// What the room and the broker's thread share.
#[derive(Debug)]
pub struct SharedState {
    outbox: Mutex<Outbox>,
    board: Mutex<RetainedTopics>,
    outages: AtomicU32,
    connected: AtomicBool,
    /// There is something to send, or it is time to leave.
    wake: Notify,
    leaving: AtomicBool,
}

impl SharedState {
    /// A desk with this outbox and an empty board.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Self {
            outbox: Mutex::new(outbox),
            board: Mutex::default(),
            outages: AtomicU32::new(0),
            connected: AtomicBool::new(false),
            wake: Notify::new(),
            leaving: AtomicBool::new(false),
        }
    }

    /// The outbox. Whoever holds it keeps the other thread waiting.
    pub fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board. Whoever holds it keeps the other thread waiting.
    pub fn board(&self) -> MutexGuard<'_, RetainedTopics> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the broker was lost.
    #[must_use]
    pub fn outages(&self) -> u32 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Whether the broker is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Says that there is something new to send.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Broker {
    desk: Arc<SharedState>,
    ended: Receiver<()>,
}

/// Why the thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no thread or no event queue.
    #[error("the broker's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

impl Broker {
    /// Begins to connect, and keeps at it. A broker that is not there is not an error.
    ///
    /// # Errors
    /// When a certificate or key cannot be used, or the system gives no thread.
    pub fn start(begin: &PublishConfig, desk: Arc<SharedState>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let topics = payload::Topics::new(&begin.mqtt.topic_prefix, &begin.box_name);
        let will = (topics.status(), payload::OFFLINE);
        let settings = Settings::new(&begin.mqtt, &begin.secrets, &begin.box_name, will)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (running, ended) = bounded(0);
        let broker = format!("{}:{}", begin.mqtt.host, begin.mqtt.port);
        let log = OutageLog { broker, desk: Arc::clone(&desk), clock, outage: None, was_connected: false };
        let connector = Connector { settings, status_topic: topics.status(), desk: Arc::clone(&desk), log };
        thread::Builder::new().name("mqtt".into()).spawn(move || {
            // Dropped at the end, however it comes: that is how the room learns of it.
            let _running = running;
            runtime.block_on(connector.run());
            // A look-up of the broker's name may still be under way in a thread of tokio's; nobody waits for it.
            runtime.shutdown_background();
        })?;
        Ok(Self { desk, ended })
    }

    /// Becomes disconnected when the thread has ended.
    #[must_use]
    pub fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Says goodbye to the broker and ends the thread; returns after 1.2 s at the latest.
    pub fn leave(self) {
        self.desk.leaving.store(true, Ordering::Release);
        self.desk.wake();
        // Nothing is ever sent here: an end of the thread and the time limit are the only answers.
        self.ended.recv_timeout(GOODBYE + Duration::from_millis(200)).ok();
    }
}

struct Connector {
    settings: Settings,
    status_topic: String,
    desk: Arc<SharedState>,
    log: OutageLog,
}

impl Connector {
    /// Connects again and again, waiting longer after each failure, until the room leaves.
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.desk.leaving() {
            let opened = Instant::now();
            let ended = Session::open(&self.settings, &self.desk, &self.status_topic).run(&mut self.log).await;
            self.desk.board().forget();
            let Err(failure) = ended else { return };
            if GOOD_CONNECTION < opened.elapsed() {
                backoff = Backoff::default();
            }
            self.log.lost(&failure);
            self.wait(backoff.next(failure.kind, fastrand::f64())).await;
        }
    }

    async fn wait(&self, duration: Duration) {
        let mut over = pin!(sleep(duration));
        while !self.desk.leaving() {
            tokio::select! {
                () = &mut over => return,
                () = self.desk.wake.notified() => (),
            }
        }
    }
}

/// Says each outage once, whatever the number of tries, and once that it is over.
struct OutageLog {
    broker: String,
    desk: Arc<SharedState>,
    clock: Arc<dyn Clock>,
    outage: Option<Outage>,
    was_connected: bool,
}

struct Outage {
    since: Moment,
    /// An outage may turn into another kind: a broker that comes back with another list of users.
    said: Vec<FailureKind>,
}

impl OutageLog {
    fn lost(&mut self, failure: &Failure) {
        self.desk.connected.store(false, Ordering::Relaxed);
        if self.outage.is_none() && self.was_connected {
            self.desk.outages.fetch_add(1, Ordering::Relaxed);
        }
        let since = self.clock.now();
        let outage = self.outage.get_or_insert(Outage { since, said: Vec::new() });
        if outage.said.contains(&failure.kind) {
            return;
        }
        outage.said.push(failure.kind);
        let (broker, err) = (&self.broker, &failure.text);
        match failure.kind {
            FailureKind::Away => {
                warn!(%broker, %err, "the broker is away; readings wait in the outbox, trying again");
            }
            FailureKind::Unauthorised => {
                error!(%broker, %err, "the broker refuses us; trying again every few minutes. Check mqtt.user and mqtt.password_file");
            }
            FailureKind::Certificate => {
                error!(%broker, %err, "no secure connection to the broker; trying again. Check mqtt.tls_ca_file, mqtt.tls_certificate_file, mqtt.host and the date");
            }
        }
    }

    fn connected(&mut self) {
        self.desk.connected.store(true, Ordering::Relaxed);
        let (broker, waiting) = (&self.broker, self.desk.outbox().waiting());
        match self.outage.take() {
            Some(it) => {
                let outage = (self.clock.now() - it.since).to_duration();
                info!(%broker, ?outage, waiting, "the broker is back");
            }
            None => info!(%broker, waiting, "connected to the broker"),
        }
        self.was_connected = true;
    }
}
