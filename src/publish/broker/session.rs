//! One connection's life: connect, send, match acknowledgements, say goodbye.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{ConnectionLog, Connector, GOODBYE, SharedState};
use crate::{
    mqtt::{self, Client, Event, EventLoop, Failure},
    publish::{
        discovery::{BIRTH, BIRTH_TOPIC},
        outbox::RowId,
        payload::OFFLINE,
        retained::{Message, Priority},
    },
};

/// The number of readings in flight. Brokers allow 20 messages by default (mosquitto's `max_inflight_messages`); fewer
/// cost throughput only where the broker is far away.
const ROWS_MAX: usize = 8;
/// The number of retained messages in flight.
const RETAINED_MAX: usize = 8;
/// How long to wait before rows that the broker refused are sent again.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
/// After the DISCONNECT, its bytes have this long to leave.
const FLUSH: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Session<'a> {
    state: &'a SharedState,
    status_topic: &'a str,
    subscribes_birth: bool,
    client: Client,
    in_flight: InFlight,
    /// The newest row that was sent.
    last_row: Option<RowId>,
    refused_rows: u64,
    refused_retry_at: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    /// `offline` is in flight.
    Leaving {
        until: Instant,
    },
    /// The DISCONNECT is queued.
    Disconnecting {
        until: Instant,
    },
}

/// A message that was given to the client.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Row(RowId),
    Retained {
        priority: Priority,
        topic: String,
        version: u64,
    },
    /// The `offline` at the end.
    Offline,
}

/// Messages without an acknowledgement: first without a packet id, in order, then with one.
#[derive(Debug, Default)]
struct InFlight {
    queued: VecDeque<Item>,
    sent: HashMap<u16, Item>,
}

impl InFlight {
    fn rows(&self) -> usize {
        self.count(|item| matches!(item, Item::Row(_)))
    }

    fn retained(&self) -> usize {
        self.count(|item| matches!(item, Item::Retained { .. }))
    }

    fn count(&self, predicate: impl Fn(&Item) -> bool) -> usize {
        self.queued.iter().chain(self.sent.values()).filter(|item| predicate(item)).count()
    }

    fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty()
    }
}

/// Opens a connection and runs it until it fails, which is the error, or until the process has left.
pub(super) async fn run(connector: &Connector, log: &mut ConnectionLog) -> Result<(), Failure> {
    let (mut session, mut event_loop) = Session::open(connector);
    loop {
        let event = {
            // Kept across wake-ups: dropping a poll that is not ready could leave a packet partly written.
            let mut poll = pin!(event_loop.poll());
            loop {
                if session.state.is_leaving() && !session.leave() {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    event = &mut poll => break event?,
                    () = session.state.woken() => session.send(),
                    () = sleep_until(session.deadline()) => session.on_deadline(),
                }
            }
        };
        match event {
            Event::Connected => {
                log.connected();
                session.on_connected();
            }
            Event::Sent(packet_id) => session.on_sent(packet_id),
            Event::Acknowledged(packet_id, refusal) => session.on_acknowledged(packet_id, refusal),
            Event::Message(message) => session.on_message(&message),
            Event::Disconnected => return Ok(()),
            Event::SubscriptionRefused | Event::Other => (),
        }
    }
}

impl<'a> Session<'a> {
    fn open(connector: &'a Connector) -> (Self, EventLoop) {
        // Capacity for everything in flight, the subscription, `offline` and the DISCONNECT: queueing never fails.
        let (client, event_loop) = mqtt::open(&connector.options, ROWS_MAX + RETAINED_MAX + 3);
        let session = Self {
            state: &connector.state,
            status_topic: &connector.status_topic,
            subscribes_birth: connector.subscribes_birth,
            client,
            in_flight: InFlight::default(),
            last_row: None,
            refused_rows: 0,
            refused_retry_at: Instant::now() + REFUSED_RETRY,
            phase: Phase::Connecting,
        };
        (session, event_loop)
    }

    fn on_connected(&mut self) {
        self.phase = Phase::Connected;
        if self.subscribes_birth {
            self.client.subscribe(BIRTH_TOPIC);
        }
        self.send_retained();
        self.send();
    }

    fn on_sent(&mut self, packet_id: u16) {
        if let Some(item) = self.in_flight.queued.pop_front() {
            self.in_flight.sent.insert(packet_id, item);
        }
    }

    fn on_acknowledged(&mut self, packet_id: u16, refusal: Option<String>) {
        if let Some(item) = self.in_flight.sent.remove(&packet_id) {
            self.settle(item, refusal);
        }
        self.send();
    }

    /// Home Assistant has started: it has forgotten all devices and needs their discovery before their states. A
    /// retained birth message is older than this connection, which sends everything anyway.
    fn on_message(&mut self, message: &mqtt::Message) {
        if message.topic == BIRTH_TOPIC && message.payload == BIRTH && !message.retained {
            self.state.retained().send_all_again();
            self.send();
        }
    }

    /// Sends as much as may be in flight; readings first, because they are what the box is for.
    fn send(&mut self) {
        if self.phase != Phase::Connected {
            return;
        }
        let free = ROWS_MAX.saturating_sub(self.in_flight.rows());
        if 0 < free {
            let rows = self.state.outbox().batch(self.last_row, free);
            for row in rows {
                if self.publish(Item::Row(row.id), &row.message.topic, false, row.message.payload) {
                    self.last_row = Some(row.id);
                }
            }
        }
        self.send_retained();
    }

    fn send_retained(&mut self) {
        for _ in self.in_flight.retained()..RETAINED_MAX {
            let Some(message) = self.state.retained().next_due() else { return };
            let Message { priority, topic, payload, version } = message;
            self.publish(Item::Retained { priority, topic: topic.clone(), version }, &topic, true, payload);
        }
    }

    fn publish(&mut self, item: Item, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        let queued = self.client.publish(topic, retain, payload);
        if queued {
            self.in_flight.queued.push_back(item);
        }
        queued
    }

    fn settle(&mut self, item: Item, refusal: Option<String>) {
        match (item, refusal) {
            (Item::Row(id), None) => self.state.outbox().acknowledge(id),
            (Item::Row(_), Some(err)) => {
                // It stays in the outbox and does not delay the rows after it.
                self.refused_rows += 1;
                self.warn_refused(&err, "reading");
            }
            (Item::Retained { priority, topic, version }, refusal) => {
                self.state.retained().settled(priority, &topic, version);
                if let Some(err) = refusal {
                    self.warn_refused(&err, &topic);
                }
            }
            (Item::Offline, _) => (),
        }
    }

    fn warn_refused(&mut self, err: &str, what: &str) {
        // Once per connection: a list of permissions that is wrong refuses all readings.
        if self.refused_rows <= 1 {
            warn!(%err, what, "the broker lets us in but does not take this; check what this user may publish");
        }
    }

    /// When this session has to act without an event.
    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Connecting | Phase::Connected => self.refused_retry_at,
            Phase::Leaving { until } | Phase::Disconnecting { until } => until,
        }
    }

    fn on_deadline(&mut self) {
        match self.phase {
            Phase::Connecting | Phase::Connected => {
                self.refused_retry_at = Instant::now() + REFUSED_RETRY;
                if 0 < self.refused_rows && self.in_flight.rows() == 0 {
                    (self.refused_rows, self.last_row) = (0, None);
                    self.send();
                }
            }
            Phase::Leaving { .. } => self.disconnect(),
            Phase::Disconnecting { .. } => (),
        }
    }

    /// Takes the next step of leaving. False when there is nothing left to wait for.
    fn leave(&mut self) -> bool {
        match self.phase {
            Phase::Connecting => return false,
            Phase::Connected => {
                self.send();
                self.publish(Item::Offline, self.status_topic, true, OFFLINE.into());
                self.phase = Phase::Leaving { until: Instant::now() + GOODBYE };
            }
            Phase::Leaving { .. } if self.in_flight.is_empty() => self.disconnect(),
            Phase::Leaving { .. } => (),
            Phase::Disconnecting { until } => return Instant::now() < until,
        }
        true
    }

    fn disconnect(&mut self) {
        self.client.disconnect();
        self.phase = Phase::Disconnecting { until: Instant::now() + FLUSH };
    }
}
