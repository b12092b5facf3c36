//! One connection's life: let in, feed, match acknowledgements, say goodbye.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{
    GOODBYE, OutageLog, SharedState,
    connection::{self, Happening, Poller, Sender, Settings},
    failure::Failure,
};
use crate::publish::{
    outbox::RowId,
    payload,
    retained::{Due, Priority},
};

/// So many readings are under way at once. Brokers allow 20 messages by default (mosquitto's
/// `max_inflight_messages`), and fewer hurt only where the broker is far away.
const ROWS_MAX: usize = 8;
/// So many retained messages are under way at once.
const NOTES_MAX: usize = 8;
/// From one try of rows that the broker refused to the next.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);
/// After a goodbye without an answer, the last bytes have so long to leave.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// One connection.
pub(super) struct Session<'a> {
    desk: &'a SharedState,
    status_topic: &'a str,
    hears_birth: bool,
    sender: Sender,
    poller: Option<Poller>,
    flight: Flight,
    /// The newest row that was fed.
    after: Option<RowId>,
    refused_rows: u64,
    refused_again: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Connected,
    /// `offline` is under way.
    Leaving {
        until: Instant,
    },
    /// The DISCONNECT is under way.
    Left {
        until: Instant,
    },
}

/// A message that was given to the connection.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Row(RowId),
    Note { rank: Priority, topic: String, version: u64 },
    Farewell,
}

/// What is under way: first without a packet number, in order, then with one.
#[derive(Debug, Default)]
struct Flight {
    queued: VecDeque<Item>,
    sent: HashMap<u16, Item>,
}

impl Flight {
    fn rows(&self) -> usize {
        self.count(|it| matches!(it, Item::Row(_)))
    }

    fn notes(&self) -> usize {
        self.count(|it| matches!(it, Item::Note { .. }))
    }

    fn count(&self, which: impl Fn(&Item) -> bool) -> usize {
        self.queued.iter().chain(self.sent.values()).filter(|it| which(it)).count()
    }

    fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty()
    }
}

impl<'a> Session<'a> {
    pub(super) fn open(settings: &Settings, desk: &'a SharedState, status_topic: &'a str) -> Self {
        // Room for all that is ever under way, the subscription, the farewell and the goodbye: giving never fails.
        let (sender, poller) = connection::open(settings, ROWS_MAX + NOTES_MAX + 3);
        Self {
            desk,
            status_topic,
            hears_birth: settings.hears_birth,
            sender,
            poller: Some(poller),
            flight: Flight::default(),
            after: None,
            refused_rows: 0,
            refused_again: Instant::now() + REFUSED_AGAIN,
            stage: Stage::Connecting,
        }
    }

    /// Lives until the connection fails, which is the error, or the room has left.
    pub(super) async fn run(mut self, log: &mut OutageLog) -> Result<(), Failure> {
        let Some(mut poller) = self.poller.take() else { return Ok(()) };
        loop {
            let happening = {
                // Kept while other things happen: a poll that is dropped half-way could leave bytes unsent.
                let mut poll = pin!(poller.poll());
                loop {
                    if self.desk.leaving() && !self.leave() {
                        return Ok(());
                    }
                    tokio::select! {
                        biased;
                        happening = &mut poll => break happening?,
                        () = self.desk.wake.notified() => self.feed(),
                        () = sleep_until(self.alarm()) => self.ring(),
                    }
                }
            };
            match happening {
                Happening::Connected => {
                    log.connected();
                    self.stage = Stage::Connected;
                    if self.hears_birth {
                        self.sender.hear_birth();
                    }
                    self.feed_notes();
                    self.feed();
                }
                // It has forgotten all devices, and wants to hear of them before it hears their states.
                Happening::HomeAssistantBegan => {
                    self.desk.board().again();
                    self.feed();
                }
                Happening::Sent(packet) => {
                    if let Some(item) = self.flight.queued.pop_front() {
                        self.flight.sent.insert(packet, item);
                    }
                }
                Happening::Acknowledged(packet, refusal) => {
                    if let Some(item) = self.flight.sent.remove(&packet) {
                        self.settle(item, refusal);
                    }
                    self.feed();
                }
                Happening::SaidGoodbye => return Ok(()),
                Happening::Other => (),
            }
        }
    }

    /// Gives readings first: they are what the box is for.
    fn feed(&mut self) {
        if self.stage != Stage::Connected {
            return;
        }
        let room = ROWS_MAX.saturating_sub(self.flight.rows());
        if 0 < room {
            let rows = self.desk.outbox().batch(self.after, room);
            for row in rows {
                if self.give(Item::Row(row.id), &row.message.topic, false, row.message.payload) {
                    self.after = Some(row.id);
                }
            }
        }
        self.feed_notes();
    }

    fn feed_notes(&mut self) {
        for _ in self.flight.notes()..NOTES_MAX {
            let Some(Due { rank, topic, text, version }) = self.desk.board().next_due() else { return };
            self.give(Item::Note { rank, topic: topic.clone(), version }, &topic, true, text);
        }
    }

    fn give(&mut self, item: Item, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        let given = self.sender.publish(topic, retain, payload);
        if given {
            self.flight.queued.push_back(item);
        }
        given
    }

    fn settle(&mut self, item: Item, refusal: Option<String>) {
        match (item, refusal) {
            (Item::Row(id), None) => self.desk.outbox().acknowledge(id),
            (Item::Row(_), Some(err)) => {
                // It stays in the outbox, and the ones behind it are not held up by it.
                self.refused_rows += 1;
                self.warn_refused(&err, "reading");
            }
            (Item::Note { rank, topic, version }, refusal) => {
                self.desk.board().settled(rank, &topic, version);
                if let Some(err) = refusal {
                    self.warn_refused(&err, &topic);
                }
            }
            (Item::Farewell, _) => (),
        }
    }

    fn warn_refused(&mut self, err: &str, what: &str) {
        // Once in a connection: a list of permissions is wrong for all readings alike.
        if self.refused_rows <= 1 {
            warn!(%err, what, "the broker lets us in but does not take this; check what this user may publish");
        }
    }

    /// When this session next has to do something by itself.
    fn alarm(&self) -> Instant {
        match self.stage {
            Stage::Connecting | Stage::Connected => self.refused_again,
            Stage::Leaving { until } | Stage::Left { until } => until,
        }
    }

    fn ring(&mut self) {
        match self.stage {
            Stage::Connecting | Stage::Connected => {
                self.refused_again = Instant::now() + REFUSED_AGAIN;
                if 0 < self.refused_rows && self.flight.rows() == 0 {
                    (self.refused_rows, self.after) = (0, None);
                    self.feed();
                }
            }
            Stage::Leaving { .. } => self.disconnect(),
            Stage::Left { .. } => (),
        }
    }

    /// Goes on with leaving. False once there is nothing left to wait for.
    fn leave(&mut self) -> bool {
        match self.stage {
            Stage::Connecting => return false,
            Stage::Connected => {
                self.feed();
                let status_topic = self.status_topic;
                self.give(Item::Farewell, status_topic, true, payload::OFFLINE.into());
                self.stage = Stage::Leaving { until: Instant::now() + GOODBYE };
            }
            Stage::Leaving { .. } if self.flight.is_empty() => self.disconnect(),
            Stage::Leaving { .. } => (),
            Stage::Left { until } => return Instant::now() < until,
        }
        true
    }

    fn disconnect(&mut self) {
        self.sender.disconnect();
        self.stage = Stage::Left { until: Instant::now() + LAST_BYTES };
    }
}
