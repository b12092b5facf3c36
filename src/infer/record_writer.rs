//! The only output of `infer`: records of 64 bytes to `publish`.
//!
//! While `publish` is restarted or slow, records wait here, bounded; when there are too many the oldest is dropped and
//! counted.

use std::{collections::VecDeque, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use tracing::warn;

use crate::wire::record::{RECORD_BYTES, Record};

/// An hour of one camera's slots at the longest hop.
const WAITING_MAX: usize = 720;

/// The socket to `publish`, and what it has not taken yet.
pub(crate) struct RecordWriter {
    socket: OwnedFd,
    waiting: VecDeque<[u8; RECORD_BYTES]>,
    lost: u64,
}

impl RecordWriter {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: VecDeque::with_capacity(WAITING_MAX), lost: 0 }
    }

    /// `publish` was restarted; the records that wait are sent to it.
    pub(crate) fn replace(&mut self, socket: OwnedFd) {
        self.socket = socket;
        self.flush();
    }

    pub(crate) fn emit(&mut self, record: &Record) {
        if WAITING_MAX <= self.waiting.len() {
            self.waiting.pop_front();
            self.lost += 1;
            if self.lost.is_power_of_two() {
                warn!(lost = self.lost, "publish takes no records; the oldest are lost");
            }
        }
        self.waiting.push_back(record.to_bytes());
        self.flush();
    }

    /// Sends what waits, as far as it is taken. Nothing here ever blocks.
    pub(crate) fn flush(&mut self) {
        while let Some(record) = self.waiting.front() {
            match send(&self.socket, record, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(Errno::INTR) => {}
                // Full, or closed: the parent brings a new socket.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{RecvFlags, recv};

    use super::*;
    use crate::wire::{
        CameraId,
        control::record_pair,
        record::{Outcome, Reading, SoundState, Withheld},
    };

    fn record(slot: u64) -> Record {
        Record::Reading(Reading {
            camera: CameraId(0),
            slot,
            window_end_ms: 0,
            outcome: Outcome::Withheld(Withheld::Starting),
            probabilities: [0; 3],
            group_at_least: None,
            sound: SoundState::Off,
            frame_offset_ms: 0,
            latency_ms: 0,
            inference_ms: 0,
        })
    }

    fn slots(socket: &OwnedFd) -> Vec<u64> {
        let mut bytes = [0; RECORD_BYTES];
        let mut slots = Vec::new();
        while let Ok((_, RECORD_BYTES)) = recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
            match Record::from_bytes(&bytes).unwrap() {
                Record::Reading(reading) => slots.push(reading.slot),
                Record::Vital(_) | Record::ProbeRecord(_) => panic!("only readings were sent"),
            }
        }
        slots
    }

    #[test]
    fn what_publish_did_not_take_comes_after_its_restart() {
        let (theirs, ours) = record_pair().unwrap();
        let mut records = RecordWriter::new(ours);
        records.emit(&record(1));
        assert_eq!(slots(&theirs), [1]);
        drop(theirs);
        records.emit(&record(2));
        records.emit(&record(3));
        let (theirs, ours) = record_pair().unwrap();
        records.replace(ours);
        assert_eq!(slots(&theirs), [2, 3]);
    }

    #[test]
    fn a_publish_that_never_reads_costs_the_oldest() {
        let (theirs, ours) = record_pair().unwrap();
        let mut records = RecordWriter::new(ours);
        (0..2000).for_each(|slot| records.emit(&record(slot)));
        let mut got = slots(&theirs);
        while !records.waiting.is_empty() {
            records.flush();
            got.extend(slots(&theirs));
        }
        assert_eq!(got.len() as u64 + records.lost, 2000);
        assert!(got.is_sorted());
        assert_eq!(got.last(), Some(&1999));
    }
}
