//! Keeps readings on disk until the broker has acknowledged them. The only home of rusqlite.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: when [`Outbox::push`] has returned, its messages survive
//! `kill -9` and a loss of power. Acknowledged rows are deleted together with the next push or shortly after, so after
//! a crash in between they are sent a second time, which QoS 1 allows and `(boot, seq)` reveals.
//!
//! Three limits: rows, bytes and age. Above one of them the oldest rows are given up and counted. A disk that cannot be
//! written is a state, not an error: fewer readings are then kept in memory, and moved to the disk when it works again.
//! A damaged file is moved aside and a new one is created.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{info, warn};

use self::disk::{Disk, DiskError};
use crate::config;

mod disk;

/// The number of readings kept while the disk cannot be written: an hour of six cameras, about one megabyte.
const MEMORY_ROWS_MAX: usize = 4096;
/// From one attempt to use a failed disk to the next, ms.
const RETRY_MS: u64 = 10_000;
/// The number of damaged files kept for inspection; after that the last one is replaced.
const CORRUPT_FILES_MAX: u32 = 9;
/// A message that must reach the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its topic.
    pub topic: String,
    /// Its text.
    pub payload: Vec<u8>,
}

/// The id of a row; it grows with every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId {
    /// Grows whenever rows in memory are renumbered; ids of an older generation are invalid.
    generation: u32,
    row: i64,
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its id for [`Outbox::acknowledge`].
    pub id: RowId,
    /// The message.
    pub message: Message,
}

#[derive(Debug)]
struct Entry {
    row: i64,
    /// When it was pushed, milliseconds since 1970 UTC.
    at_ms: u64,
    message: Message,
}

/// Messages that the broker has not acknowledged, in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    bounds: config::Outbox,
    disk: Option<Disk>,
    next_row: i64,
    generation: u32,
    /// Not on disk yet: during a push, and for as long as the disk cannot be written.
    memory: VecDeque<Entry>,
    /// Still on disk, to be deleted.
    acknowledged: BTreeSet<i64>,
    given_up: u64,
    corrupt_files: u32,
    outage: Option<DiskOutage>,
}

#[derive(Debug)]
struct DiskOutage {
    since_ms: u64,
    retry_at_ms: u64,
}

impl Outbox {
    /// Opens the outbox or creates it. It always succeeds: if the disk cannot be used, it starts in memory. `now_ms` is
    /// the date, milliseconds since 1970 UTC.
    #[must_use]
    pub(crate) fn open(bounds: &config::Outbox, now_ms: u64) -> Self {
        let mut outbox = Self {
            bounds: bounds.clone(),
            disk: None,
            next_row: 1,
            generation: 0,
            memory: VecDeque::new(),
            acknowledged: BTreeSet::new(),
            given_up: 0,
            corrupt_files: 0,
            outage: None,
        };
        outbox.save(now_ms);
        outbox
    }

    /// Adds messages in one transaction; returns when they are on the disk, or when the disk has failed.
    pub(crate) fn push(&mut self, messages: impl IntoIterator<Item = Message>, now_ms: u64) {
        for message in messages {
            self.memory.push_back(Entry { row: self.next_row, at_ms: now_ms, message });
            self.next_row += 1;
        }
        self.save(now_ms);
    }

    /// The oldest messages after row `after`, at most `count`; from the first one where `after` is `None`.
    pub(crate) fn batch(&mut self, after: Option<RowId>, count: usize) -> Vec<Row> {
        let generation = self.generation;
        // After a renumbering it starts from the first row: a message may then come twice, but none is left out.
        let after = after.filter(|id| id.generation == generation).map_or(0, |id| id.row);
        let to_row = |row, message| Row { id: RowId { generation, row }, message };
        let stored = match &self.disk {
            Some(disk) => disk.batch(after, count, &self.acknowledged).unwrap_or_else(|err| {
                // The next push or tend meets the same error and handles it.
                warn!(%err, "the outbox could not be read");
                Vec::new()
            }),
            None => Vec::new(),
        };
        // All rows in memory are newer than those on disk.
        let in_memory =
            self.memory.iter().filter(|entry| after < entry.row).map(|entry| (entry.row, entry.message.clone()));
        stored.into_iter().chain(in_memory).take(count).map(|(row, message)| to_row(row, message)).collect()
    }

    /// The broker has acknowledged this row.
    pub(crate) fn acknowledge(&mut self, id: RowId) {
        if id.generation != self.generation {
            return;
        }
        match self.memory.binary_search_by_key(&id.row, |entry| entry.row) {
            Ok(at) => drop(self.memory.remove(at)),
            Err(_) if self.disk.is_some() => drop(self.acknowledged.insert(id.row)),
            Err(_) => (),
        }
    }

    /// Deletes rows that are acknowledged or too old, and retries a failed disk. To be called about once a second.
    pub(crate) fn tend(&mut self, now_ms: u64) {
        if self.disk.is_none()
            || !self.memory.is_empty()
            || !self.acknowledged.is_empty()
            || self.oldest_expired(now_ms)
        {
            self.save(now_ms);
        }
    }

    /// The number of messages that wait.
    #[must_use]
    pub(crate) fn waiting(&self) -> u64 {
        let rows = self.disk.as_ref().map_or(0, |disk| disk.rows);
        rows.saturating_sub(self.acknowledged.len() as u64) + self.memory.len() as u64
    }

    /// The number of messages given up for a limit, or with a damaged file, since the outbox was opened.
    #[must_use]
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The number of damaged files moved aside since the outbox was opened.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn corrupt_files(&self) -> u32 {
        self.corrupt_files
    }

    /// Whether messages are kept on disk. Otherwise they are only in memory.
    #[must_use]
    pub(crate) fn on_disk(&self) -> bool {
        self.outage.is_none()
    }

    /// Writes to the disk, unless it failed a moment ago.
    fn save(&mut self, now_ms: u64) {
        // A date that jumps back must not postpone the retry for ever.
        let wait = self.outage.as_ref().is_some_and(|outage| (outage.since_ms..outage.retry_at_ms).contains(&now_ms));
        if !wait {
            let mut tried = self.try_save(now_ms);
            if tried.as_ref().is_err_and(DiskError::is_corruption) && self.move_aside() {
                tried = self.try_save(now_ms);
            }
            self.log_outcome(tried, now_ms);
        }
        let most = MEMORY_ROWS_MAX.min(usize::try_from(self.bounds.rows_max).unwrap_or(usize::MAX));
        let over = self.memory.len().saturating_sub(most);
        self.memory.drain(..over);
        self.given_up += over as u64;
    }

    fn try_save(&mut self, now_ms: u64) -> Result<(), DiskError> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            none => none.insert(Disk::open(&self.bounds)?),
        };
        let last_row = disk.last_row()?;
        if last_row >= self.next_row || self.memory.front().is_some_and(|entry| entry.row <= last_row) {
            // The file was opened late: what arrived meanwhile is newer than its contents.
            self.generation += 1;
            self.acknowledged.clear();
            self.next_row = last_row + 1;
            for row in &mut self.memory {
                row.row = self.next_row;
                self.next_row += 1;
            }
        }
        let done = disk.save(self.memory.make_contiguous(), &self.acknowledged, &self.bounds, now_ms)?;
        disk.rows = (disk.rows + self.memory.len() as u64).saturating_sub(done.deleted);
        self.memory.clear();
        self.acknowledged.clear();
        self.given_up += done.given_up;
        Ok(())
    }

    /// Records whether the disk works, and logs each change once.
    fn log_outcome(&mut self, tried: Result<(), DiskError>, now_ms: u64) {
        let file = self.bounds.file.display();
        match tried {
            Ok(()) => {
                if let Some(past) = self.outage.take() {
                    let outage = Duration::from_millis(now_ms.saturating_sub(past.since_ms));
                    info!(%file, ?outage, "the outbox is on disk again");
                }
            }
            Err(err) => {
                if !err.is_full() {
                    self.disk = None;
                }
                let since_ms = self.outage.as_ref().map_or(now_ms, |outage| outage.since_ms.min(now_ms));
                if self.outage.is_none() {
                    warn!(%file, %err, "the outbox cannot be written; readings are kept in memory. Check the disk and the folder");
                }
                self.outage = Some(DiskOutage { since_ms, retry_at_ms: now_ms + RETRY_MS });
            }
        }
    }

    /// Renames a damaged file so that a new one can be created. False if that fails, too.
    fn move_aside(&mut self) -> bool {
        let lost = self.disk.take().map_or(0, |disk| disk.rows);
        self.acknowledged.clear();
        let file = self.bounds.file.clone();
        let free = (1..CORRUPT_FILES_MAX).find(|n| !with_suffix(&file, &format!(".corrupt-{n}")).exists());
        let aside = with_suffix(&file, &format!(".corrupt-{}", free.unwrap_or(CORRUPT_FILES_MAX)));
        if let Err(err) = fs::rename(&file, &aside) {
            warn!(file = %file.display(), %err, "the outbox is damaged and cannot be renamed");
            return false;
        }
        for part in ["-wal", "-shm"] {
            // Absent after a clean shutdown. The old file's log must not be applied to the new file.
            match fs::rename(with_suffix(&file, part), with_suffix(&aside, part)) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return false,
                _ => (),
            }
        }
        self.corrupt_files += 1;
        self.given_up += lost;
        warn!(file = %file.display(), aside = %aside.display(), lost, "the outbox was damaged; it was moved aside and a new one begun");
        true
    }

    fn oldest_expired(&self, now_ms: u64) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.oldest_is_expired(&self.bounds, now_ms))
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn bounds(folder: &Path) -> config::Outbox {
        config::Outbox { file: folder.join("outbox.db"), rows_max: 1000, bytes_max: 64 << 20, age_max_s: 86_400 }
    }

    fn messages(numbers: impl IntoIterator<Item = u32>) -> Vec<Message> {
        numbers
            .into_iter()
            .map(|n| Message { topic: "edge-ger/box/cam/reading".into(), payload: format!("{n:0250}").into() })
            .collect()
    }

    fn numbers(outbox: &mut Outbox) -> Vec<u32> {
        let rows = outbox.batch(None, usize::MAX);
        assert!(rows.is_sorted_by_key(|row| row.id));
        rows.into_iter().map(|row| String::from_utf8(row.message.payload).unwrap().parse().unwrap()).collect()
    }

    fn bytes_on_disk(bounds: &config::Outbox) -> u64 {
        ["", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| fs::metadata(with_suffix(&bounds.file, suffix)).ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    #[test]
    fn pushed_messages_survive_a_restart_and_acknowledged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(folder.path());
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(0..5), NOW_MS);
        let rows = outbox.batch(None, 3);
        assert_eq!(rows.len(), 3);
        rows.iter().for_each(|row| outbox.acknowledge(row.id));
        outbox.acknowledge(rows[0].id);
        assert_eq!((outbox.waiting(), numbers(&mut outbox)), (2, vec![3, 4]));
        outbox.tend(NOW_MS);
        assert_eq!((outbox.waiting(), numbers(&mut outbox)), (2, vec![3, 4]));
        drop(outbox);
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(5..6), NOW_MS);
        assert_eq!((outbox.waiting(), numbers(&mut outbox)), (3, vec![3, 4, 5]));
        let after = outbox.batch(None, 1)[0].id;
        assert_eq!(outbox.batch(Some(after), 9).len(), 2);
        assert!(outbox.on_disk());
    }

    #[test]
    fn row_numbers_are_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(&bounds(folder.path()), NOW_MS);
        outbox.push(messages(0..1), NOW_MS);
        let first = outbox.batch(None, 1)[0].id;
        outbox.acknowledge(first);
        outbox.tend(NOW_MS);
        outbox.push(messages(1..2), NOW_MS);
        outbox.acknowledge(first);
        assert_eq!(numbers(&mut outbox), [1]);
        assert!(first < outbox.batch(None, 1)[0].id);
    }

    #[test]
    fn above_the_limit_of_rows_the_oldest_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(&config::Outbox { rows_max: 10, ..bounds(folder.path()) }, NOW_MS);
        for n in 0..25 {
            outbox.push(messages(n..=n), NOW_MS);
        }
        assert_eq!(numbers(&mut outbox), (15..25).collect::<Vec<_>>());
        assert_eq!((outbox.waiting(), outbox.given_up()), (10, 15));
    }

    #[test]
    fn above_the_limit_of_bytes_the_oldest_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = config::Outbox { bytes_max: 512 << 10, rows_max: 10_000_000, ..bounds(folder.path()) };
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        for n in 0..60 {
            outbox.push(messages(n * 100..(n + 1) * 100), NOW_MS);
            assert!(bytes_on_disk(&bounds) <= bounds.bytes_max, "{} bytes", bytes_on_disk(&bounds));
        }
        let kept = numbers(&mut outbox);
        // At least half of the bytes allowed hold readings.
        assert!((256 << 10) / 300 < kept.len(), "{} rows", kept.len());
        assert!(kept.is_sorted() && kept.last() == Some(&5999));
        assert_eq!(outbox.given_up() + outbox.waiting(), 6000);
    }

    #[test]
    fn a_smaller_bound_shrinks_a_large_file() {
        let folder = tempfile::tempdir().unwrap();
        let large = bounds(folder.path());
        Outbox::open(&config::Outbox { rows_max: 10_000, ..large.clone() }, NOW_MS).push(messages(0..6000), NOW_MS);
        let small = config::Outbox { bytes_max: 256 << 10, ..large };
        let mut outbox = Outbox::open(&small, NOW_MS);
        outbox.push(messages(6000..6001), NOW_MS);
        assert_eq!(numbers(&mut outbox).last(), Some(&6000));
        drop(outbox);
        assert!(bytes_on_disk(&small) <= small.bytes_max, "{} bytes", bytes_on_disk(&small));
    }

    #[test]
    fn over_the_bound_of_age_it_goes_unless_the_clock_was_never_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(&config::Outbox { age_max_s: 60, ..bounds(folder.path()) }, 5000);
        outbox.push(messages(0..1), 5000);
        outbox.push(messages(1..3), NOW_MS);
        outbox.push(messages(3..4), NOW_MS + 30_000);
        outbox.tend(NOW_MS + 60_000);
        assert_eq!(numbers(&mut outbox), [0, 1, 2, 3]);
        outbox.tend(NOW_MS + 60_001);
        // Only the oldest row is checked, and that of 1970 has no known age; the others are deleted with the next change.
        outbox.push(messages(4..5), NOW_MS + 60_001);
        assert_eq!((numbers(&mut outbox), outbox.given_up()), (vec![0, 3, 4], 2));
        outbox.push(messages(5..6), 6000);
        assert_eq!(numbers(&mut outbox), [0, 3, 4, 5]);
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(folder.path());
        for n in 1..=2 {
            fs::write(&bounds.file, "this is not a database".repeat(100)).unwrap();
            let mut outbox = Outbox::open(&bounds, NOW_MS);
            outbox.push(messages(0..2), NOW_MS);
            assert_eq!((outbox.corrupt_files(), outbox.on_disk(), numbers(&mut outbox)), (1, true, vec![0, 1]));
            assert!(with_suffix(&bounds.file, &format!(".corrupt-{n}")).exists());
        }
    }

    #[test]
    fn a_page_damaged_meanwhile_is_found_and_nothing_new_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(folder.path());
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(0..900), NOW_MS);
        drop(outbox);
        let mut bytes = fs::read(&bounds.file).unwrap();
        bytes[4096..].fill(0xa5);
        fs::write(&bounds.file, bytes).unwrap();
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(900..901), NOW_MS);
        assert_eq!((outbox.corrupt_files(), outbox.on_disk(), numbers(&mut outbox)), (1, true, vec![900]));
    }

    #[test]
    fn a_foreign_database_is_moved_aside_and_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(folder.path());
        disk::write_foreign(&bounds.file);
        let theirs = fs::read(&bounds.file).unwrap();
        let outbox = Outbox::open(&bounds, NOW_MS);
        assert_eq!((outbox.corrupt_files(), outbox.on_disk()), (1, true));
        assert_eq!(fs::read(with_suffix(&bounds.file, ".corrupt-1")).unwrap(), theirs);
    }

    #[test]
    fn a_folder_that_comes_later_is_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = bounds(&folder.path().join("later"));
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(0..3), NOW_MS);
        assert_eq!((outbox.on_disk(), numbers(&mut outbox)), (false, vec![0, 1, 2]));
        let first = outbox.batch(None, 1)[0].id;
        outbox.acknowledge(first);
        fs::create_dir(bounds.file.parent().unwrap()).unwrap();
        outbox.tend(NOW_MS + RETRY_MS - 1);
        assert!(!outbox.on_disk());
        outbox.tend(NOW_MS + RETRY_MS);
        assert!(outbox.on_disk());
        drop(outbox);
        assert_eq!(numbers(&mut Outbox::open(&bounds, NOW_MS)), [1, 2]);
    }

    #[test]
    fn rows_of_an_earlier_run_stay_older_than_those_that_waited_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (here, away) = (folder.path().join("here"), folder.path().join("away"));
        fs::create_dir(&here).unwrap();
        let bounds = bounds(&here);
        Outbox::open(&bounds, NOW_MS).push(messages(0..3), NOW_MS);
        fs::rename(&here, &away).unwrap();
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(3..5), NOW_MS);
        assert_eq!(numbers(&mut outbox), [3, 4]);
        let in_flight = outbox.batch(None, 9);
        fs::rename(&away, &here).unwrap();
        outbox.tend(NOW_MS + RETRY_MS);
        assert_eq!(numbers(&mut outbox), [0, 1, 2, 3, 4]);
        // An acknowledgement of a number that now names another row must not take that one away.
        in_flight.iter().for_each(|row| outbox.acknowledge(row.id));
        outbox.tend(NOW_MS + RETRY_MS);
        assert_eq!(numbers(&mut outbox), [0, 1, 2, 3, 4]);
        assert_eq!(outbox.batch(Some(in_flight[1].id), 1)[0].message, messages(0..1)[0]);
    }

    #[test]
    fn a_full_disk_is_a_state_and_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = config::Outbox { rows_max: 1_000_000, ..bounds(folder.path()) };
        let mut outbox = Outbox::open(&bounds, NOW_MS);
        outbox.push(messages(0..100), NOW_MS);
        let set_pages = |outbox: &Outbox, pages| outbox.disk.as_ref().unwrap().fake_size(pages);
        set_pages(&outbox, 1);
        let mut n = 100;
        while n < 6100 {
            outbox.push(messages(n..n + 1000), NOW_MS);
            n += 1000;
        }
        assert!(!outbox.on_disk());
        let kept: Vec<u32> = (0..100).chain(6100 - 4096..6100).collect();
        assert_eq!(numbers(&mut outbox), kept);
        assert_eq!(outbox.given_up(), 6000 - 4096);
        set_pages(&outbox, 1 << 30);
        outbox.tend(NOW_MS + RETRY_MS);
        assert!(outbox.on_disk());
        drop(outbox);
        assert_eq!(numbers(&mut Outbox::open(&bounds, NOW_MS)), kept);
    }
}
