//! Which retained topics the broker may hold because of us, kept on disk, so that the topics of a camera which was
//! removed from the configuration while the daemon was off are removed from the broker at the next start.
//!
//! A topic is registered before it is first sent, and deleted here when the broker has acknowledged its removal; after
//! a crash in between it is removed a second time, which does no harm. Whole topics are kept, not the cameras' names:
//! so a changed box name, topic prefix or discovery prefix leaves nothing at the broker either.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use tracing::{info, warn};

use crate::service::whole_file::{self, Readers};

/// The longest file that is read, bytes; a hundred cameras make about 60 kB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longer than any topic with the longest prefix and the longest names, bytes.
const TOPIC_BYTES_MAX: usize = 400;

/// The retained topics that the broker may hold because of us.
#[derive(Debug)]
pub(crate) struct TopicRegistry {
    file: PathBuf,
    wanted: BTreeSet<String>,
    obsolete: BTreeSet<String>,
    /// The file has to be written.
    dirty: bool,
    /// The last write failed, which was logged.
    failed: bool,
}

impl TopicRegistry {
    /// Reads the list beside the outbox `outbox_file`. It always succeeds: a list that cannot be read is an empty one.
    /// Until [`TopicRegistry::set_wanted`] is called, every topic in it is [`obsolete`](TopicRegistry::obsolete).
    pub(crate) fn open(outbox_file: &Path) -> Self {
        let file = outbox_file.with_added_extension("topics");
        let obsolete = read(&file).unwrap_or_else(|err| {
            if err.kind() != io::ErrorKind::NotFound {
                warn!(file = %file.display(), %err, "the list of retained topics cannot be read; a new one is started");
            }
            BTreeSet::new()
        });
        Self { file, wanted: BTreeSet::new(), obsolete, dirty: false, failed: false }
    }

    /// Sets the topics in use; returns when they are on the disk, or the disk has failed.
    pub(crate) fn set_wanted(&mut self, topics: BTreeSet<String>) {
        let before: BTreeSet<_> = self.all().cloned().collect();
        self.obsolete = before.difference(&topics).cloned().collect();
        self.wanted = topics;
        let has_new = self.all().any(|topic| !before.contains(topic));
        self.dirty |= has_new;
        self.save();
    }

    /// The topics that the broker may still hold though they are no longer in use.
    pub(crate) fn obsolete(&self) -> &BTreeSet<String> {
        &self.obsolete
    }

    /// Deletes the obsolete topics that the broker has removed, which are those that are no longer `pending`, and retries
    /// a failed disk. To be called about once a second.
    pub(crate) fn tend(&mut self, pending: impl Fn(&str) -> bool) {
        let before = self.obsolete.len();
        self.obsolete.retain(|topic| pending(topic));
        self.dirty |= self.obsolete.len() < before;
        self.save();
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.wanted.iter().chain(&self.obsolete)
    }

    fn save(&mut self) {
        if !self.dirty {
            return;
        }
        let text: String = self.all().map(|topic| format!("{topic}\n")).collect();
        match whole_file::replace(&self.file, &text, Readers::Umask) {
            Ok(()) => {
                self.dirty = false;
                if std::mem::take(&mut self.failed) {
                    info!(file = %self.file.display(), "the list of retained topics is on disk again");
                }
            }
            Err(err) if !self.failed => {
                self.failed = true;
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
    // A broker closes the connection after a message to an invalid topic, and would do so every time: damaged lines are
    // skipped.
    Ok(text.lines().filter(|line| is_topic(line)).map(str::to_owned).collect())
}

/// Whether it is a topic that the configuration permits.
fn is_topic(line: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte);
    line.contains('/') && line.len() <= TOPIC_BYTES_MAX && line.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn topics(topics: &[&str]) -> BTreeSet<String> {
        topics.iter().map(|&topic| topic.to_owned()).collect()
    }

    #[test]
    fn what_is_no_longer_wanted_is_obsolete_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.sqlite");
        let mut registry = TopicRegistry::open(&outbox);
        registry.set_wanted(topics(&["a/status", "b/status"]));
        assert_eq!(*registry.obsolete(), topics(&[]));
        registry.set_wanted(topics(&["b/status", "c/status"]));
        assert_eq!(*registry.obsolete(), topics(&["a/status"]));
        // It is in use again before the broker has removed it.
        registry.set_wanted(topics(&["a/status", "b/status", "c/status"]));
        assert_eq!(*registry.obsolete(), topics(&[]));
        drop(registry);

        let mut registry = TopicRegistry::open(&outbox);
        registry.set_wanted(topics(&["b/status"]));
        registry.tend(|topic| topic == "c/status");
        assert_eq!(*registry.obsolete(), topics(&["c/status"]));
        drop(registry);

        // What was removed is deleted on disk, too; what was not is obsolete at every later start.
        let mut registry = TopicRegistry::open(&outbox);
        registry.set_wanted(topics(&[]));
        assert_eq!(*registry.obsolete(), topics(&["b/status", "c/status"]));
        registry.tend(|_| false);
        assert_eq!(*TopicRegistry::open(&outbox).obsolete(), topics(&[]));
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.sqlite");
        let long = format!("a/{}", "x".repeat(TOPIC_BYTES_MAX));
        let text = format!("a/status\n#\na/+/b\n\n{long}\nno level\n\0\0/\nb/last");
        fs::write(folder.path().join("outbox.sqlite.topics"), text).unwrap();
        assert_eq!(*TopicRegistry::open(&outbox).obsolete(), topics(&["a/status", "b/last"]));
        fs::write(folder.path().join("outbox.sqlite.topics"), [0xFF, b'/', 0xFE]).unwrap();
        assert_eq!(*TopicRegistry::open(&outbox).obsolete(), topics(&[]));
    }

    #[test]
    fn a_failed_disk_is_retried() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("later");
        let mut registry = TopicRegistry::open(&later.join("outbox.sqlite"));
        registry.set_wanted(topics(&["a/status"]));
        assert!(registry.failed);
        fs::create_dir(&later).unwrap();
        registry.tend(|_| true);
        assert!(!registry.failed);
        assert_eq!(*TopicRegistry::open(&later.join("outbox.sqlite")).obsolete(), topics(&["a/status"]));
    }
}
