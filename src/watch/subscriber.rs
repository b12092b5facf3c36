//! The connection of a watch: it subscribes, hands on what comes, and connects again. A second home of rumqttc.
//!
//! In MQTT 3.1.1, which every broker speaks; a watch needs nothing of 5. It publishes nothing and leaves no session.

use std::{thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode};
use tokio::time::{Instant, sleep};

use super::{
    Error,
    address::Address,
    fleet::{LEAVES, Message},
    text::TEXT_BYTES_MAX,
};
use crate::{
    publish::mqtt::{
        Backoff, GOOD_CONNECTION,
        connection::{address, network_options, transport},
        failure::{self, Failure},
        tls,
    },
    wire::control::MqttSecrets,
};

/// So many happenings lie between the connection and the view. When full, the connection waits, then the broker, which
/// drops what is more for a subscriber of QoS 0.
const HAPPENINGS_MAX: usize = 4096;
/// No topic of ours is longer, bytes: a prefix of 64, two names of 32, a leaf.
const TOPIC_BYTES_MAX: usize = 160;
/// A longer message ends the connection, bytes: far more than any of ours, so that one that is merely too long is passed
/// over, and little enough to hold.
const PACKET_BYTES_MAX: usize = 1 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What happens on the connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker has let us in and takes our subscriptions; what is retained follows.
    Connected,
    /// A message.
    Message(Message),
    /// One that is longer than any of ours.
    TooLong,
    /// The broker lets us in, but not read.
    NotAllowed,
    /// The connection ended or did not come about; the next one is tried after this wait.
    Lost(Failure, Duration),
}

/// Begins to connect, and keeps at it until nobody listens any more.
///
/// # Errors
/// When a certificate or key cannot be used, or the system gives no thread.
pub(super) fn start(place: &Address, secrets: &MqttSecrets) -> Result<Receiver<Happening>, Error> {
    let tls = place.secure.then(|| tls::client_config(secrets)).transpose()?;
    let id = format!("edge-ger-watch-{:08x}", fastrand::u32(..));
    let mut options = MqttOptions::new(id, address(&place.host), place.port);
    options.set_keep_alive(KEEP_ALIVE).set_transport(transport(tls)).set_max_packet_size(PACKET_BYTES_MAX, 1 << 10);
    if let Some(user) = &place.user {
        options.set_credentials(user, secrets.password.as_ref().map_or("", |it| it.reveal()));
    }
    let filters = LEAVES.map(|leaf| format!("{}/{leaf}", place.prefix));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (to, happenings) = bounded(HAPPENINGS_MAX);
    thread::Builder::new().name("watch".into()).spawn(move || runtime.block_on(run(options, &filters, &to)))?;
    Ok(happenings)
}

async fn run(options: MqttOptions, filters: &[String], to: &Sender<Happening>) {
    let mut backoff = Backoff::default();
    loop {
        let opened = Instant::now();
        let (client, mut poller) = AsyncClient::new(options.clone(), filters.len());
        poller.set_network_options(network_options());
        let Some(failure) = connection(&client, &mut poller, filters, to).await else { return };
        if GOOD_CONNECTION < opened.elapsed() {
            backoff = Backoff::default();
        }
        let wait = backoff.next(failure.kind, fastrand::f64());
        if to.send(Happening::Lost(failure, wait)).is_err() {
            return;
        }
        sleep(wait).await;
    }
}

/// One connection's life. `None` when nobody listens any more.
async fn connection(
    client: &AsyncClient,
    poller: &mut EventLoop,
    filters: &[String],
    to: &Sender<Happening>,
) -> Option<Failure> {
    loop {
        let happening = match poller.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // There is room for all of them.
                filters.iter().for_each(|it| drop(client.try_subscribe(it, QoS::AtMostOnce)));
                Happening::Connected
            }
            Ok(Event::Incoming(Packet::SubAck(it))) if it.return_codes.contains(&SubscribeReasonCode::Failure) => {
                Happening::NotAllowed
            }
            Ok(Event::Incoming(Packet::Publish(it))) => {
                if TEXT_BYTES_MAX < it.payload.len() || TOPIC_BYTES_MAX < it.topic.len() {
                    Happening::TooLong
                } else {
                    Happening::Message(Message { topic: it.topic, payload: it.payload.into(), retained: it.retain })
                }
            }
            Ok(_) => continue,
            Err(err) => return Some(failure::of_v311(&err)),
        };
        to.send(happening).ok()?;
    }
}
