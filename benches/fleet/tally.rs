//! Which readings arrived, how often, in what order and how late.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The readings of one camera that were fed: box, camera, and its first and last slot.
pub(crate) type Fed = (String, u64, u64);

/// A reading later than this waited for the broker, ms.
const LATE_MS: u64 = 2000;

/// All that arrived.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By `box/camera`.
    cameras: HashMap<String, BTreeSet<u64>>,
    /// When each arrived for the first time, ms since 1970, and how long after the end of its window, ms.
    arrivals: Vec<(u64, u64)>,
    pub(crate) duplicates: u64,
    /// Older than another of its camera that had arrived before.
    pub(crate) out_of_order: u64,
}

impl Tally {
    pub(crate) fn take(&mut self, camera: &str, seq: u64, window_end_ms: u64, now_ms: u64) {
        let slots = self.cameras.entry(camera.to_owned()).or_default();
        if slots.last().is_some_and(|last| seq < *last) && !slots.contains(&seq) {
            self.out_of_order += 1;
        }
        if slots.insert(seq) {
            self.arrivals.push((now_ms, now_ms.saturating_sub(window_end_ms)));
        } else {
            self.duplicates += 1;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.arrivals.len()
    }

    /// What was fed and has not arrived.
    pub(crate) fn missing(&self, fed: &[Fed]) -> Vec<(String, u64)> {
        let has = |camera: &str, slot| self.cameras.get(camera).is_some_and(|it| it.contains(&slot));
        let slots = fed.iter().flat_map(|(camera, first, last)| (*first..=*last).map(move |slot| (camera, slot)));
        slots.filter(|(camera, slot)| !has(camera, *slot)).map(|(camera, slot)| (camera.clone(), slot)).collect()
    }

    pub(crate) fn delays_since(&self, ms: u64) -> Vec<u64> {
        self.arrivals.iter().filter(|it| ms <= it.0).map(|it| it.1).collect()
    }

    /// Arrivals in each second after `ms`.
    pub(crate) fn rates_since(&self, ms: u64) -> BTreeMap<u64, u64> {
        let mut rates = BTreeMap::new();
        for (at, _) in self.arrivals.iter().filter(|it| ms <= it.0) {
            *rates.entry((at - ms) / 1000).or_default() += 1;
        }
        rates
    }

    /// From `ms` until the last late reading arrived.
    pub(crate) fn drained_ms(&self, ms: u64) -> Option<u64> {
        self.arrivals.iter().filter(|it| ms <= it.0 && LATE_MS < it.1).map(|it| it.0 - ms).max()
    }
}
