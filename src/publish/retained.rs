//! What the broker should hold as retained messages, and which of it the broker does not have yet.
//!
//! Only the newest text of a topic matters, so an outage of any length leaves at most one message per topic.
//! After every connection all of it is sent again: a broker may have been restarted without its retained messages.

use std::collections::BTreeMap;

/// In which order topics are sent after a connection: the box before its cameras, what changes rarely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The box's status.
    Box,
    /// The box's description.
    Info,
    /// What Home Assistant must know of a camera before it can take its state.
    Discovery,
    /// A camera's status.
    Status,
    /// A camera's health.
    Health,
    /// A camera's newest reading.
    Last,
}

impl Priority {
    /// The rank of a camera's topic, by its last level.
    #[must_use]
    pub fn of(topic: &str) -> Self {
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
pub struct RetainedTopics {
    notes: BTreeMap<(Priority, String), Note>,
    versions: u64,
}

#[derive(Debug)]
struct Note {
    /// Empty to clear the topic.
    text: Vec<u8>,
    version: u64,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    InFlight(u64),
    Version(u64),
}

/// A retained message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where on the board it stands.
    pub rank: Priority,
    /// Its topic.
    pub topic: String,
    /// Its text; empty clears the topic.
    pub text: Vec<u8>,
    /// Which version of the text.
    pub version: u64,
}

impl RetainedTopics {
    /// Sets what the topic should hold. Returns false if it does already.
    pub fn set(&mut self, rank: Priority, topic: String, text: Vec<u8>) -> bool {
        self.versions += 1;
        let version = self.versions;
        let note =
            self.notes.entry((rank, topic)).or_insert(Note { text: Vec::new(), version: 0, told: Told::Nothing });
        let news = note.version == 0 || note.text != text;
        if news {
            (note.text, note.version) = (text, version);
        }
        news
    }

    /// Takes the topic off the broker.
    pub fn clear(&mut self, rank: Priority, topic: String) {
        self.set(rank, topic, Vec::new());
    }

    /// Whether there is something to say under this topic: a removed one is there until the broker has heard of it.
    #[must_use]
    pub fn holds(&self, topic: &str) -> bool {
        self.notes.keys().any(|(_, it)| it == topic)
    }

    /// Makes everything due once more, also what is under way right now.
    pub fn again(&mut self) {
        for note in self.notes.values_mut() {
            self.versions += 1;
            note.version = self.versions;
        }
    }

    /// The first message that the broker does not have and that is not under way; from now on it is.
    pub fn next_due(&mut self) -> Option<Due> {
        let is_due = |note: &Note| match note.told {
            Told::Nothing => true,
            // Two versions of one topic are never under way together, so they cannot overtake each other.
            Told::InFlight(_) => false,
            Told::Version(version) => version != note.version,
        };
        let ((rank, topic), note) = self.notes.iter_mut().find(|(_, note)| is_due(note))?;
        note.told = Told::InFlight(note.version);
        Some(Due { rank: *rank, topic: topic.clone(), text: note.text.clone(), version: note.version })
    }

    /// The broker has this version of the topic, or does not want it; either way it is not sent again until it
    /// changes.
    pub fn settled(&mut self, rank: Priority, topic: &str, version: u64) {
        let key = (rank, topic.to_owned());
        let Some(note) = self.notes.get_mut(&key) else { return };
        note.told = Told::Version(version);
        if note.text.is_empty() && note.version == version {
            self.notes.remove(&key);
        }
    }

    /// The connection is gone: what the broker has is no longer known.
    pub fn forget(&mut self) {
        self.notes.values_mut().for_each(|note| note.told = Told::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(board: &mut RetainedTopics) -> Vec<(String, String, u64)> {
        std::iter::from_fn(|| board.next_due())
            .map(|it| (it.topic, String::from_utf8(it.text).unwrap(), it.version))
            .collect()
    }

    fn words(due: &[(String, String, u64)]) -> Vec<(&str, &str)> {
        due.iter().map(|(topic, text, _)| (topic.as_str(), text.as_str())).collect()
    }

    #[test]
    fn only_the_newest_is_sent_and_the_box_comes_first() {
        let mut board = RetainedTopics::default();
        board.set(Priority::Last, "cam/last".into(), b"1".into());
        board.set(Priority::Last, "cam/last".into(), b"2".into());
        board.set(Priority::Box, "status".into(), b"online".into());
        assert_eq!(words(&due(&mut board)), [("status", "online"), ("cam/last", "2")]);
        assert_eq!(words(&due(&mut board)), []);
    }

    #[test]
    fn a_change_while_under_way_is_sent_after_it() {
        let mut board = RetainedTopics::default();
        board.set(Priority::Last, "last".into(), b"1".into());
        let first = board.next_due().unwrap();
        assert!(board.set(Priority::Last, "last".into(), b"2".into()));
        assert_eq!(words(&due(&mut board)), []);
        board.settled(first.rank, &first.topic, first.version);
        let second = board.next_due().unwrap();
        assert_eq!(second.text, b"2");
        board.settled(second.rank, &second.topic, second.version);
        assert!(!board.set(Priority::Last, "last".into(), b"2".into()));
        assert_eq!(words(&due(&mut board)), []);
    }

    #[test]
    fn everything_is_sent_again_after_a_connection() {
        let mut board = RetainedTopics::default();
        board.set(Priority::Box, "status".into(), b"online".into());
        board.set(Priority::Info, "info".into(), b"{}".into());
        let sent = due(&mut board);
        board.settled(Priority::Box, "status", sent[0].2);
        board.forget();
        assert_eq!(words(&due(&mut board)), [("status", "online"), ("info", "{}")]);
    }

    #[test]
    fn everything_is_sent_again_when_asked_in_order_and_once() {
        let mut board = RetainedTopics::default();
        board.set(Priority::Status, "cam/status".into(), b"online".into());
        board.set(Priority::Discovery, "config".into(), b"{}".into());
        let settled = due(&mut board);
        board.settled(Priority::Discovery, "config", settled[0].2);
        // The status is still under way: its second time comes after its first.
        board.again();
        assert_eq!(words(&due(&mut board)), [("config", "{}")]);
        board.settled(Priority::Status, "cam/status", settled[1].2);
        let last = due(&mut board);
        assert_eq!(words(&last), [("cam/status", "online")]);
        board.settled(Priority::Status, "cam/status", last[0].2);
        assert_eq!(words(&due(&mut board)), []);
    }

    #[test]
    fn a_cleared_topic_is_held_until_the_broker_has_heard_of_it() {
        let mut board = RetainedTopics::default();
        board.clear(Priority::of("edge-ger/box/cam/last"), "edge-ger/box/cam/last".into());
        let sent = board.next_due().unwrap();
        assert!(board.holds("edge-ger/box/cam/last"));
        board.settled(sent.rank, &sent.topic, sent.version);
        assert!(!board.holds("edge-ger/box/cam/last"));
    }

    #[test]
    fn a_cleared_topic_is_cleared_once() {
        let mut board = RetainedTopics::default();
        board.set(Priority::Last, "last".into(), b"1".into());
        board.clear(Priority::Last, "last".into());
        let sent = board.next_due().unwrap();
        assert_eq!(sent.text, b"");
        board.settled(sent.rank, &sent.topic, sent.version);
        board.forget();
        assert_eq!(board.next_due(), None);
    }
}
