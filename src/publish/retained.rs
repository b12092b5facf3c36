//! What the broker should hold as retained messages, and which of it the broker does not have yet.
//!
//! Only the newest payload of a topic matters, so an outage of any length leaves at most one message per topic.
//! After every connection all of it is sent again: the broker may have restarted without its retained messages.

use std::collections::BTreeMap;

/// In which order topics are sent after a connection: the box before its cameras, what changes rarely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// The box's status.
    Box,
    /// The box's description.
    Info,
    /// A camera's discovery, which Home Assistant needs before it can use the camera's states.
    Discovery,
    /// A camera's status.
    Status,
    /// A camera's health.
    Health,
    /// A camera's newest reading.
    Last,
}

impl Priority {
    /// The priority of a camera's topic, by its last level.
    pub(crate) fn of(topic: &str) -> Self {
        match topic.rsplit('/').next() {
            Some("info") => Self::Info,
            Some("config") => Self::Discovery,
            Some("health") => Self::Health,
            Some("last") => Self::Last,
            _ => Self::Status,
        }
    }
}

/// The retained topics of this box.
#[derive(Debug, Default)]
pub(crate) struct RetainedTopics {
    topics: BTreeMap<(Priority, String), Topic>,
    /// The version of the newest payload of all topics.
    versions: u64,
}

#[derive(Debug)]
struct Topic {
    /// Empty to clear the topic.
    payload: Vec<u8>,
    version: u64,
    delivery: Delivery,
}

/// What the broker has of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Unknown,
    InFlight,
    Settled(u64),
}

/// A retained message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The priority of its topic.
    pub(crate) priority: Priority,
    /// Its topic.
    pub(crate) topic: String,
    /// Empty to clear the topic.
    pub(crate) payload: Vec<u8>,
    /// Which version of the payload it is.
    pub(crate) version: u64,
}

impl RetainedTopics {
    /// Sets what the topic should hold. Returns false if it does already.
    pub(crate) fn set(&mut self, priority: Priority, topic: String, payload: Vec<u8>) -> bool {
        self.versions += 1;
        let empty = Topic { payload: Vec::new(), version: 0, delivery: Delivery::Unknown };
        let topic = self.topics.entry((priority, topic)).or_insert(empty);
        let is_new = topic.version == 0 || topic.payload != payload;
        if is_new {
            (topic.payload, topic.version) = (payload, self.versions);
        }
        is_new
    }

    /// Removes the topic from the broker.
    pub(crate) fn clear(&mut self, priority: Priority, topic: String) {
        self.set(priority, topic, Vec::new());
    }

    /// Whether the topic is in use. A cleared one is until the broker has acknowledged its removal.
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.topics.keys().any(|(_, name)| name == topic)
    }

    /// Makes everything due once more, also what is in flight.
    pub(crate) fn send_all_again(&mut self) {
        for topic in self.topics.values_mut() {
            self.versions += 1;
            topic.version = self.versions;
        }
    }

    /// The first message that the broker does not have and that is not in flight; from now on it is in flight.
    pub(crate) fn next_due(&mut self) -> Option<Message> {
        let is_due = |topic: &Topic| match topic.delivery {
            Delivery::Unknown => true,
            // Two versions of one topic are never in flight together, so they cannot overtake each other.
            Delivery::InFlight => false,
            Delivery::Settled(version) => version != topic.version,
        };
        let ((priority, name), topic) = self.topics.iter_mut().find(|(_, topic)| is_due(topic))?;
        topic.delivery = Delivery::InFlight;
        let (payload, version) = (topic.payload.clone(), topic.version);
        Some(Message { priority: *priority, topic: name.clone(), payload, version })
    }

    /// The broker has this version of the topic or has refused it; either way it is not sent again until it changes.
    pub(crate) fn settled(&mut self, priority: Priority, topic: &str, version: u64) {
        let key = (priority, topic.to_owned());
        let Some(topic) = self.topics.get_mut(&key) else { return };
        topic.delivery = Delivery::Settled(version);
        if topic.payload.is_empty() && topic.version == version {
            self.topics.remove(&key);
        }
    }

    /// The connection is lost: what the broker has is no longer known.
    pub(crate) fn forget(&mut self) {
        self.topics.values_mut().for_each(|topic| topic.delivery = Delivery::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(retained: &mut RetainedTopics) -> Vec<(String, String, u64)> {
        std::iter::from_fn(|| retained.next_due())
            .map(|message| (message.topic, String::from_utf8(message.payload).unwrap(), message.version))
            .collect()
    }

    fn texts(due: &[(String, String, u64)]) -> Vec<(&str, &str)> {
        due.iter().map(|(topic, payload, _)| (topic.as_str(), payload.as_str())).collect()
    }

    #[test]
    fn only_the_newest_is_sent_and_the_box_comes_first() {
        let mut retained = RetainedTopics::default();
        retained.set(Priority::Last, "cam/last".into(), b"1".into());
        retained.set(Priority::Last, "cam/last".into(), b"2".into());
        retained.set(Priority::Box, "status".into(), b"online".into());
        assert_eq!(texts(&due(&mut retained)), [("status", "online"), ("cam/last", "2")]);
        assert_eq!(texts(&due(&mut retained)), []);
    }

    #[test]
    fn a_change_while_in_flight_is_sent_afterwards() {
        let mut retained = RetainedTopics::default();
        retained.set(Priority::Last, "last".into(), b"1".into());
        let first = retained.next_due().unwrap();
        assert!(retained.set(Priority::Last, "last".into(), b"2".into()));
        assert_eq!(texts(&due(&mut retained)), []);
        retained.settled(first.priority, &first.topic, first.version);
        let second = retained.next_due().unwrap();
        assert_eq!(second.payload, b"2");
        retained.settled(second.priority, &second.topic, second.version);
        assert!(!retained.set(Priority::Last, "last".into(), b"2".into()));
        assert_eq!(texts(&due(&mut retained)), []);
    }

    #[test]
    fn everything_is_sent_again_after_a_connection() {
        let mut retained = RetainedTopics::default();
        retained.set(Priority::Box, "status".into(), b"online".into());
        retained.set(Priority::Info, "info".into(), b"{}".into());
        let sent = due(&mut retained);
        retained.settled(Priority::Box, "status", sent[0].2);
        retained.forget();
        assert_eq!(texts(&due(&mut retained)), [("status", "online"), ("info", "{}")]);
    }

    #[test]
    fn send_all_again_sends_everything_once_in_order() {
        let mut retained = RetainedTopics::default();
        retained.set(Priority::Status, "cam/status".into(), b"online".into());
        retained.set(Priority::Discovery, "config".into(), b"{}".into());
        let settled = due(&mut retained);
        retained.settled(Priority::Discovery, "config", settled[0].2);
        // The status is still in flight: it is sent a second time after its acknowledgement.
        retained.send_all_again();
        assert_eq!(texts(&due(&mut retained)), [("config", "{}")]);
        retained.settled(Priority::Status, "cam/status", settled[1].2);
        let last = due(&mut retained);
        assert_eq!(texts(&last), [("cam/status", "online")]);
        retained.settled(Priority::Status, "cam/status", last[0].2);
        assert_eq!(texts(&due(&mut retained)), []);
    }

    #[test]
    fn a_cleared_topic_stays_until_the_broker_has_acknowledged_it() {
        let mut retained = RetainedTopics::default();
        retained.clear(Priority::of("edge-ger/box/cam/last"), "edge-ger/box/cam/last".into());
        let sent = retained.next_due().unwrap();
        assert!(retained.contains("edge-ger/box/cam/last"));
        retained.settled(sent.priority, &sent.topic, sent.version);
        assert!(!retained.contains("edge-ger/box/cam/last"));
    }

    #[test]
    fn a_cleared_topic_is_cleared_once() {
        let mut retained = RetainedTopics::default();
        retained.set(Priority::Last, "last".into(), b"1".into());
        retained.clear(Priority::Last, "last".into());
        let sent = retained.next_due().unwrap();
        assert_eq!(sent.payload, b"");
        retained.settled(sent.priority, &sent.topic, sent.version);
        retained.forget();
        assert_eq!(retained.next_due(), None);
    }
}
