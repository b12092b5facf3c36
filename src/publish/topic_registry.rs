//! Which retained topics the broker may hold because of us, kept on disk, so that a camera which left the
//! configuration while the daemon was off is taken off the broker at the next start.
//!
//! A topic is written down before it is first sent, and struck out when the broker has acknowledged its removal; a
//! crash in between removes it a second time, which does no harm. The whole topics are kept, not the cameras' names:
//! so another box name, topic prefix or discovery prefix leaves nothing behind either.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use tracing::{info, warn};

use crate::service::whole_file::{self, Readers};

/// No list is longer; a hundred cameras make about 60 kB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// No topic is longer, with the longest prefix and the longest names.
const TOPIC_BYTES_MAX: usize = 400;

/// The retained topics that are ours.
#[derive(Debug)]
pub struct TopicRegistry {
    file: PathBuf,
    wanted: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// What the file says is no longer so.
    dirty: bool,
    /// The disk does not take it, and that was said.
    trouble: bool,
}

impl TopicRegistry {
    /// Reads the list beside the outbox `outbox_file`, or begins one. It always succeeds: a list that cannot be read
    /// is an empty one. Until [`TopicRegistry::want`] says otherwise, every topic in it is [`gone`](TopicRegistry::gone).
    #[must_use]
    pub fn open(outbox_file: &Path) -> Self {
        let file = outbox_file.with_added_extension("topics");
        let gone = read(&file).unwrap_or_else(|err| {
            if err.kind() != io::ErrorKind::NotFound {
                warn!(file = %file.display(), %err, "the list of retained topics cannot be read; it begins anew");
            }
            BTreeSet::new()
        });
        Self { file, wanted: BTreeSet::new(), gone, dirty: false, trouble: false }
    }

    /// From now on these topics are ours, and no others; returns when that is on the disk, or the disk has failed.
    pub fn want(&mut self, topics: BTreeSet<String>) {
        let before: BTreeSet<_> = self.all().cloned().collect();
        self.gone = before.difference(&topics).cloned().collect();
        self.wanted = topics;
        let is_longer = self.all().any(|it| !before.contains(it));
        self.dirty |= is_longer;
        self.save();
    }

    /// The topics that the broker may still hold though they are no longer ours.
    #[must_use]
    pub fn gone(&self) -> &BTreeSet<String> {
        &self.gone
    }

    /// Strikes out the topics that the broker has removed, which are all that are not still `under_way`, and tries a
    /// failed disk again. To be called about once a second.
    pub fn tend(&mut self, under_way: impl Fn(&str) -> bool) {
        let before = self.gone.len();
        self.gone.retain(|topic| under_way(topic));
        self.dirty |= self.gone.len() < before;
        self.save();
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.wanted.iter().chain(&self.gone)
    }

    fn save(&mut self) {
        if !self.dirty {
            return;
        }
        let text: String = self.all().map(|topic| format!("{topic}\n")).collect();
        match whole_file::replace(&self.file, &text, Readers::Umask) {
            Ok(()) => {
                self.dirty = false;
                if std::mem::take(&mut self.trouble) {
                    info!(file = %self.file.display(), "the list of retained topics is on disk again");
                }
            }
            Err(err) if !self.trouble => {
                self.trouble = true;
                warn!(
                    file = %self.file.display(), %err,
                    "the list of retained topics cannot be written, trying again; until then, what leaves the \
                     configuration while edge-ger is off stays at the broker"
                );
            }
            Err(_) => (),
        }
    }
}

fn read(file: &Path) -> io::Result<BTreeSet<String>> {
    let mut text = String::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    // A broker ends the connection of whoever publishes to a topic that is none, and would do so for ever: a damaged
    // line must not get that far.
    Ok(text.lines().filter(|line| is_topic(line)).map(str::to_owned).collect())
}

/// Whether it is a topic as the configuration lets us have them.
fn is_topic(line: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"_-/".contains(&it);
    line.contains('/') && line.len() <= TOPIC_BYTES_MAX && line.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn topics(topics: &[&str]) -> BTreeSet<String> {
        topics.iter().map(|&it| it.to_owned()).collect()
    }

    #[test]
    fn what_is_no_longer_wanted_is_gone_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.sqlite");
        let mut ledger = TopicRegistry::open(&outbox);
        ledger.want(topics(&["a/status", "b/status"]));
        assert_eq!(*ledger.gone(), topics(&[]));
        ledger.want(topics(&["b/status", "c/status"]));
        assert_eq!(*ledger.gone(), topics(&["a/status"]));
        // Comes back before the broker has heard of its removal.
        ledger.want(topics(&["a/status", "b/status", "c/status"]));
        assert_eq!(*ledger.gone(), topics(&[]));
        drop(ledger);

        let mut ledger = TopicRegistry::open(&outbox);
        ledger.want(topics(&["b/status"]));
        ledger.tend(|topic| topic == "c/status");
        assert_eq!(*ledger.gone(), topics(&["c/status"]));
        drop(ledger);

        // What was settled is struck out on disk, too; what was not is gone in every later life.
        let mut ledger = TopicRegistry::open(&outbox);
        ledger.want(topics(&[]));
        assert_eq!(*ledger.gone(), topics(&["b/status", "c/status"]));
        ledger.tend(|_| false);
        assert_eq!(*TopicRegistry::open(&outbox).gone(), topics(&[]));
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.sqlite");
        let long = format!("a/{}", "x".repeat(TOPIC_BYTES_MAX));
        let text = format!("a/status\n#\na/+/b\n\n{long}\nno level\n\0\0/\nb/last");
        fs::write(folder.path().join("outbox.sqlite.topics"), text).unwrap();
        assert_eq!(*TopicRegistry::open(&outbox).gone(), topics(&["a/status", "b/last"]));
        fs::write(folder.path().join("outbox.sqlite.topics"), [0xFF, b'/', 0xFE]).unwrap();
        assert_eq!(*TopicRegistry::open(&outbox).gone(), topics(&[]));
    }

    #[test]
    fn a_disk_that_failed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let mut ledger = TopicRegistry::open(&later.join("outbox.sqlite"));
        ledger.want(topics(&["a/status"]));
        assert!(ledger.trouble);
        fs::create_dir(&later).unwrap();
        ledger.tend(|_| true);
        assert!(!ledger.trouble);
        assert_eq!(*TopicRegistry::open(&later.join("outbox.sqlite")).gone(), topics(&["a/status"]));
    }
}
