//! The connection of a watch: it subscribes, forwards what arrives, and reconnects.
//!
//! It uses MQTT 3.1.1, which every broker supports; a watch needs nothing of 5. It publishes nothing and leaves no
//! session at the broker.

use std::{thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::time::{Instant, sleep};

use super::{Error, address::Address, fleet::FILTERS, text::TEXT_BYTES_MAX};
use crate::{
    backoff::Backoff,
    config::{MqttSecrets, MqttVersion, Secret},
    mqtt::{self, Failure, Message},
};

/// The capacity of the queue between the connection and the view. When full, the connection waits, then the broker,
/// which drops messages for a subscriber with QoS 0.
const EVENTS_MAX: usize = 4096;
/// Longer than any of our topics, bytes: a prefix of 64, two names of 32, a leaf.
const TOPIC_BYTES_MAX: usize = 160;
/// A longer packet ends the connection, bytes. It is far above any of our messages, so that a message which is only
/// somewhat too long is skipped, and small enough to keep in memory.
const PACKET_BYTES_MAX: usize = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// An event on the connection.
#[derive(Debug)]
pub(super) enum Event {
    /// The broker has accepted the connection; retained messages follow.
    Connected,
    /// A message.
    Message(Message),
    /// A message longer than any of ours.
    TooLong,
    /// The broker accepts the connection but refuses a subscription.
    NotAllowed,
    /// The connection ended or could not be opened; the next one is tried after this wait.
    Lost(Failure, Duration),
}

/// Starts to connect and keeps trying until the receiver is dropped.
///
/// # Errors
/// When a certificate or key cannot be used, or the system provides no thread.
pub(super) fn start(place: &Address, secrets: &MqttSecrets) -> Result<Receiver<Event>, Error> {
    let password = secrets.password.clone().unwrap_or_else(|| Secret::new(String::new()));
    let options = mqtt::Options {
        host: place.host.clone(),
        port: place.port,
        version: MqttVersion::V311,
        client_id: format!("edge-ger-watch-{:08x}", fastrand::u32(..)),
        login: place.user.clone().map(|user| (user, password)),
        tls: place.secure.then(|| mqtt::client_config(secrets)).transpose()?,
        keep_alive: KEEP_ALIVE,
        will: None,
        incoming_bytes_max: PACKET_BYTES_MAX,
        outgoing_bytes_max: 1 << 10,
        expiry_s: 0,
    };
    let filters = FILTERS.map(|filter| format!("{}/{filter}", place.prefix));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, events) = bounded(EVENTS_MAX);
    thread::Builder::new().name("watch".into()).spawn(move || runtime.block_on(run(&options, &filters, &sender)))?;
    Ok(events)
}

async fn run(options: &mqtt::Options, filters: &[String], events: &Sender<Event>) {
    let mut backoff = Backoff::default();
    loop {
        let opened = Instant::now();
        let Some(failure) = connection(options, filters, events).await else { return };
        if mqtt::STABLE_CONNECTION < opened.elapsed() {
            backoff.reset();
        }
        let wait = backoff.next(failure.kind.delays(), fastrand::f64()).to_duration();
        if events.send(Event::Lost(failure, wait)).is_err() {
            return;
        }
        sleep(wait).await;
    }
}

/// One connection's life. `None` when the receiver was dropped.
async fn connection(options: &mqtt::Options, filters: &[String], events: &Sender<Event>) -> Option<Failure> {
    let (client, mut event_loop) = mqtt::open(options, filters.len());
    loop {
        let event = match event_loop.poll().await {
            Ok(mqtt::Event::Connected) => {
                // The queue has capacity for all of them.
                for filter in filters {
                    client.subscribe(filter);
                }
                Event::Connected
            }
            Ok(mqtt::Event::SubscriptionRefused) => Event::NotAllowed,
            Ok(mqtt::Event::Message(message)) => {
                let is_too_long = TEXT_BYTES_MAX < message.payload.len() || TOPIC_BYTES_MAX < message.topic.len();
                if is_too_long { Event::TooLong } else { Event::Message(message) }
            }
            Ok(_) => continue,
            Err(failure) => return Some(failure),
        };
        events.send(event).ok()?;
    }
}
