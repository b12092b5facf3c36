//! Storage for the bytes of access units, which is used again.
//!
//! A [`UnitBuffer`] returns its storage when it is dropped, wherever that happens: GStreamer drops it when no element
//! needs the unit any more. Storage comes in sizes of powers of two, so that a small unit never keeps the storage of a
//! key frame. It is zeroed when it is allocated, and never again.
//!
//! In the steady state a unit costs no allocation from the socket to the decoder's input; a test of `receiver` counts
//! them. Outside that proof are GStreamer's own: for each unit a `GstBuffer` and the `GstMemory` that refers to this
//! storage, a few hundred bytes.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::wire::access_unit::UNIT_BYTES_MAX;

/// The smallest storage: most sound units.
const STORAGE_BYTES_MIN: usize = 256;
/// The powers of two from the smallest storage to the largest.
const SIZES: usize = (UNIT_BYTES_MAX / STORAGE_BYTES_MIN).ilog2() as usize + 1;
/// So much storage of one size waits to be used again: more than the units of a chain that a decoder keeps.
const SPARE_COUNT_MAX: usize = 256;
/// So many bytes of all sizes wait to be used again; what is returned beyond that is freed.
const SPARE_BYTES_MAX: usize = 16 << 20;

/// Spare storage, by size.
#[derive(Clone, Debug)]
pub(crate) struct UnitPool(Arc<Spare>);

/// Both ends of the queue of spare storage of one size.
type OfSize = (Sender<Box<[u8]>>, Receiver<Box<[u8]>>);

#[derive(Debug)]
struct Spare {
    sizes: [OfSize; SIZES],
    bytes: AtomicUsize,
}

/// The bytes of one access unit.
#[derive(Debug)]
pub(crate) struct UnitBuffer {
    storage: Box<[u8]>,
    len: usize,
    spare: Arc<Spare>,
}

impl UnitPool {
    pub(crate) fn new() -> Self {
        let sizes = std::array::from_fn(|_| bounded(SPARE_COUNT_MAX));
        Self(Arc::new(Spare { sizes, bytes: AtomicUsize::new(0) }))
    }

    /// A buffer of `len` bytes, whose content is that of an old unit.
    pub(crate) fn buffer(&self, len: usize) -> UnitBuffer {
        let storage_len = len.max(STORAGE_BYTES_MIN).next_power_of_two();
        let spare = self.0.of_size(storage_len).and_then(|(_, spare)| spare.try_recv().ok());
        if spare.is_some() {
            self.0.bytes.fetch_sub(storage_len, Ordering::Relaxed);
        }
        let storage = spare.unwrap_or_else(|| vec![0; storage_len].into());
        UnitBuffer { storage, len, spare: Arc::clone(&self.0) }
    }
}

impl Spare {
    fn of_size(&self, storage_len: usize) -> Option<&OfSize> {
        let doublings = (storage_len / STORAGE_BYTES_MIN).checked_ilog2()?;
        self.sizes.get(usize::try_from(doublings).ok()?)
    }
}

impl AsRef<[u8]> for UnitBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.storage[..self.len]
    }
}

impl AsMut<[u8]> for UnitBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.storage[..self.len]
    }
}

impl Drop for UnitBuffer {
    fn drop(&mut self) {
        let storage = mem::take(&mut self.storage);
        let len = storage.len();
        let has_room = self.spare.bytes.fetch_add(len, Ordering::Relaxed) + len <= SPARE_BYTES_MAX;
        let returned = has_room && self.spare.of_size(len).is_some_and(|(spare, _)| spare.try_send(storage).is_ok());
        if !returned {
            self.spare.bytes.fetch_sub(len, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_used_again_by_units_of_about_the_same_size() {
        let pool = UnitPool::new();
        let mut buffer = pool.buffer(5000);
        buffer.as_mut().fill(7);
        drop(buffer);
        assert_eq!(pool.buffer(4097).as_ref(), [7; 4097], "the same storage");
        assert_eq!(pool.buffer(4096).as_ref(), [0; 4096], "that is another size");
        assert_eq!(pool.buffer(0).as_ref().len(), 0);
        assert_eq!(pool.buffer(UNIT_BYTES_MAX).storage.len(), UNIT_BYTES_MAX);
    }

    #[test]
    fn spare_storage_is_bounded() {
        let pool = UnitPool::new();
        let spare_bytes = || pool.0.bytes.load(Ordering::Relaxed);
        drop((0..20).map(|_| pool.buffer(1 << 20)).collect::<Vec<_>>());
        assert_eq!(spare_bytes(), SPARE_BYTES_MAX);
        let in_use: Vec<_> = (0..20).map(|_| pool.buffer(1 << 20)).collect();
        assert_eq!(spare_bytes(), 0);
        drop((0..300).map(|_| pool.buffer(1)).collect::<Vec<_>>());
        assert_eq!(spare_bytes(), SPARE_COUNT_MAX * STORAGE_BYTES_MIN);
        drop(in_use);
        assert!(spare_bytes() <= SPARE_BYTES_MAX);
    }
}
