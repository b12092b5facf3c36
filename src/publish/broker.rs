//! The connection to the broker: one after the other, for as long as the process runs.
//!
//! rumqttc forgets unacknowledged messages when the broker has no session of ours, so nothing depends on its queue:
//! every connection has a new client, takes a few rows from the outbox and a few retained topics at a time, and each
//! of them counts as delivered only after its own acknowledgement.
//!
//! All of it runs in one thread with tokio's current-thread runtime; the main thread reaches it through [`SharedState`].

mod session;
mod shared_state;

use std::{io, pin::pin, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

pub(crate) use self::shared_state::SharedState;
use super::{
    discovery,
    payload::{OFFLINE, Topics},
};
use crate::{
    backoff::Backoff,
    config::Secret,
    mqtt::{self, Failure, FailureKind, TlsError},
    time::{Clock, Moment},
    wire::control::PublishConfig,
};

/// At the end, the broker has this long to acknowledge what is in flight. The process has 1.5 s to end.
const GOODBYE: Duration = Duration::from_millis(1000);
/// A longer packet from the broker ends the connection, bytes: acknowledgements and one word are all we expect.
const INCOMING_BYTES_MAX: usize = 10 << 10;
/// For the topic and the header of a packet, bytes.
const TOPIC_BYTES_MAX: usize = 1 << 10;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Broker {
    state: Arc<SharedState>,
    ended: Receiver<()>,
}

/// Why the broker's thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system provides no thread or no event queue.
    #[error("the broker's thread could not be started: {0}")]
    Thread(#[from] io::Error),
}

impl Broker {
    /// Starts to connect and keeps trying. An unreachable broker is not an error.
    ///
    /// # Errors
    /// When a certificate or key cannot be used, or the system provides no thread.
    pub(crate) fn start(
        config: &PublishConfig,
        state: Arc<SharedState>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let status_topic = Topics::new(&config.mqtt.topic_prefix, &config.box_name).status();
        let options = options(config, status_topic.clone())?;
        let subscribes_birth = config.mqtt.discovery;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (running, ended) = bounded(0);
        let broker = format!("{}:{}", config.mqtt.host.0, config.mqtt.port());
        let log = ConnectionLog { broker, state: Arc::clone(&state), clock, outage: None, was_connected: false };
        let connector = Connector { options, status_topic, subscribes_birth, state: Arc::clone(&state) };
        thread::Builder::new().name("mqtt".into()).spawn(move || {
            // Dropped when the thread ends for any reason, which disconnects `ended`.
            let _running = running;
            runtime.block_on(connector.run(log));
            // A look-up of the broker's name may still run in one of tokio's threads; do not wait for it.
            runtime.shutdown_background();
        })?;
        Ok(Self { state, ended })
    }

    /// Becomes disconnected when the thread has ended.
    pub(crate) fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Says goodbye to the broker and ends the thread; returns after 1.2 s at the latest.
    pub(crate) fn leave(self) {
        self.state.leave();
        // Nothing is ever sent here: the end of the thread and the time limit are the only possible answers.
        self.ended.recv_timeout(GOODBYE + Duration::from_millis(200)).ok();
    }
}

fn options(config: &PublishConfig, status_topic: String) -> Result<mqtt::Options, TlsError> {
    let (mqtt, secrets) = (&config.mqtt, &config.secrets);
    let password = secrets.password.clone().unwrap_or_else(|| Secret::new(String::new()));
    Ok(mqtt::Options {
        host: mqtt.host.0.clone(),
        port: mqtt.port(),
        version: mqtt.version,
        // The same for every connection: a broker then ends the old one, with its last will, before it accepts the
        // new one, so that an old `offline` never arrives after a new `online`.
        client_id: format!("{}-{}", mqtt.topic_prefix.replace('/', "-"), config.box_name),
        login: mqtt.user.clone().map(|user| (user.0, password)),
        tls: mqtt.tls.then(|| mqtt::client_config(secrets)).transpose()?,
        keep_alive: Duration::from_secs(mqtt.keep_alive_s.get()),
        will: Some(mqtt::Will { topic: status_topic, payload: OFFLINE }),
        incoming_bytes_max: INCOMING_BYTES_MAX,
        outgoing_bytes_max: discovery::MESSAGE_BYTES_MAX + TOPIC_BYTES_MAX,
        // The time that a reading has waited in the outbox is not subtracted: a late subscriber shall have it. The
        // expiry only limits how long it waits at the broker.
        expiry_s: mqtt.expiry_h.get::<u32>() * 3600,
    })
}

struct Connector {
    options: mqtt::Options,
    status_topic: String,
    subscribes_birth: bool,
    state: Arc<SharedState>,
}

impl Connector {
    /// Connects again and again, waiting longer after each failure, until the process leaves.
    async fn run(self, mut log: ConnectionLog) {
        let mut backoff = Backoff::default();
        while !self.state.is_leaving() {
            let opened = Instant::now();
            let ended = session::run(&self, &mut log).await;
            self.state.retained().forget();
            let Err(failure) = ended else { return };
            if mqtt::STABLE_CONNECTION < opened.elapsed() {
                backoff.reset();
            }
            log.lost(&failure);
            self.wait(backoff.next(failure.kind.delays(), fastrand::f64()).to_duration()).await;
        }
    }

    /// Waits for this long, or until the process leaves.
    async fn wait(&self, duration: Duration) {
        let mut over = pin!(sleep(duration));
        while !self.state.is_leaving() {
            tokio::select! {
                () = &mut over => return,
                () = self.state.woken() => (),
            }
        }
    }
}

/// Logs each kind of failure once per outage, whatever the number of tries, and the end of the outage.
struct ConnectionLog {
    broker: String,
    state: Arc<SharedState>,
    clock: Arc<dyn Clock>,
    outage: Option<Outage>,
    was_connected: bool,
}

struct Outage {
    since: Moment,
    /// The kind may change during an outage: a broker may come back with another list of users.
    logged: Vec<FailureKind>,
}

impl ConnectionLog {
    fn lost(&mut self, failure: &Failure) {
        self.state.set_connected(false);
        if self.outage.is_none() && self.was_connected {
            self.state.count_outage();
        }
        let since = self.clock.now();
        let outage = self.outage.get_or_insert(Outage { since, logged: Vec::new() });
        if outage.logged.contains(&failure.kind) {
            return;
        }
        outage.logged.push(failure.kind);
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
        self.state.set_connected(true);
        let (broker, waiting) = (&self.broker, self.state.outbox().waiting());
        match self.outage.take() {
            Some(outage) => {
                let outage = (self.clock.now() - outage.since).to_duration();
                info!(%broker, ?outage, waiting, "the broker is back");
            }
            None => info!(%broker, waiting, "connected to the broker"),
        }
        self.was_connected = true;
    }
}
