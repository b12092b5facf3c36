//! Subscribers: one with a session that misses nothing, one that reads the broker's own counters, and a newcomer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::inside::time::{Clock as _, Span, SystemClock};
use rumqttc::v5::{
    Client, Event, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Packet, Publish},
    },
};

use crate::{Fault, locked, pause, tally::Tally};

/// The broker's own counters, in the order of [`Dashboard::counters`].
const COUNTERS: [&str; 4] = ["messages/received", "messages/sent", "bytes/received", "bytes/sent"];
/// A newcomer has everything when no retained message came for so long.
const QUIET: Span = Span::from_ms(1000);

/// Whether the broker is known to be away: its subscribers are not among the callers that are counted then.
static AWAY: AtomicBool = AtomicBool::new(false);

/// Says that the broker is away, or is back.
pub(crate) fn set_away(is_away: bool) {
    AWAY.store(is_away, Ordering::SeqCst);
}

/// What watches the fleet.
pub(crate) struct Dashboard {
    tally: Arc<Mutex<Tally>>,
    counters: Arc<Mutex<HashMap<String, f64>>>,
}

impl Dashboard {
    pub(crate) fn open(port: u16) -> Result<Self, Fault> {
        let tally = Arc::<Mutex<Tally>>::default();
        let counters = Arc::<Mutex<HashMap<String, f64>>>::default();
        let (taking, counting) = (Arc::clone(&tally), Arc::clone(&counters));
        let mut options = options("dashboard", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(3600));
        subscribe(options, vec!["edge-ger/+/+/reading".into()], move |it| {
            take(&taking, it);
            true
        })?;
        let topics = COUNTERS.map(|it| format!("$SYS/broker/{it}"));
        subscribe(self::options("counter", port), topics.into(), move |it| {
            if let Ok(value) = String::from_utf8_lossy(&it.payload).parse() {
                locked(&counting).insert(String::from_utf8_lossy(&it.topic).into_owned(), value);
            }
            true
        })?;
        Ok(Self { tally, counters })
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        locked(&self.tally)
    }

    /// Packets received and sent, bytes received and sent, since the broker's start; a second old at most.
    pub(crate) fn counters(&self) -> [f64; 4] {
        let counters = locked(&self.counters);
        COUNTERS.map(|it| counters.get(&format!("$SYS/broker/{it}")).copied().unwrap_or(0.0))
    }
}

fn take(tally: &Arc<Mutex<Tally>>, message: &Publish) {
    let now_ms = SystemClock.wall_ms();
    let topic = String::from_utf8_lossy(&message.topic);
    let camera = topic.trim_start_matches("edge-ger/").trim_end_matches("/reading");
    let Ok(reading) = serde_json::from_slice::<serde_json::Value>(&message.payload) else { return };
    let number = |key: &str| reading[key].as_u64().unwrap_or(0);
    locked(tally).take(camera, number("seq"), number("ts_ms"), now_ms);
}

fn options(id: &str, port: u16) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    options
}

/// Returns once the broker has confirmed the subscription; messages are taken until `take` says that it has enough.
fn subscribe(
    options: MqttOptions,
    topics: Vec<String>,
    mut take: impl FnMut(&Publish) -> bool + Send + 'static,
) -> Result<(), Fault> {
    let (client, mut connection) = Client::new(options, 16);
    let (ready, is_ready) = bounded(1);
    let listen = move || {
        for event in connection.iter() {
            match event {
                // Also after the broker was away: it may have forgotten the session.
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    topics.iter().for_each(|it| drop(client.try_subscribe(it, QoS::AtLeastOnce)));
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                Ok(Event::Incoming(Packet::Publish(it))) => {
                    if !take(&it) {
                        return;
                    }
                }
                Ok(_) => (),
                Err(_) => {
                    pause(Duration::from_millis(100));
                    while AWAY.load(Ordering::SeqCst) {
                        pause(Duration::from_millis(20));
                    }
                }
            }
        }
    };
    thread::Builder::new().name("subscriber".into()).spawn(listen)?;
    Ok(is_ready.recv_timeout(Duration::from_secs(10)).map_err(|_| "no subscription")?)
}

/// What somebody gets who subscribes to everything now.
pub(crate) struct Newcomer {
    pub(crate) messages: usize,
    /// Of topics and texts.
    pub(crate) bytes: usize,
    /// Until the last of it.
    pub(crate) seconds: f64,
}

pub(crate) fn newcomer(port: u16) -> Result<Newcomer, Fault> {
    let (sender, messages): (_, Receiver<Option<usize>>) = bounded(1_000_000);
    let began = SystemClock.now();
    subscribe(options("newcomer", port), vec!["edge-ger/#".into()], move |it| {
        // A live one is told as nothing; the receiver is gone once it has all.
        sender.try_send(it.retain.then_some(it.topic.len() + it.payload.len())).is_ok()
    })?;
    let mut newcomer = Newcomer { messages: 0, bytes: 0, seconds: 0.0 };
    let mut last = SystemClock.now();
    while SystemClock.now() - last < QUIET {
        if let Ok(Some(bytes)) = messages.recv_timeout(QUIET.to_duration()) {
            newcomer.messages += 1;
            newcomer.bytes += bytes;
            last = SystemClock.now();
            newcomer.seconds = (last - began).as_secs_f64();
        }
    }
    Ok(newcomer)
}
