//! Which records are accepted from `infer`: size, rate, order and values are all checked.
//!
//! `infer` sees pictures. Should an attacker take it over, its records are the only way out, so the filter accepts only
//! what an honest `infer` can send. Every refusal is counted.

use std::collections::BTreeMap;

use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        record::{Outcome, RECORD_BYTES, Reading, Record},
    },
};

/// How many records of one camera may come at once, beyond what the grid and [`VITALS_PER_S`] allow. The largest
/// honest burst is a restart of `infer`; tokens for the slots that it missed have accumulated meanwhile.
pub(crate) const BURST: i64 = 20;

/// The rate of vitals per camera; an honest `infer` sends fewer.
pub(crate) const VITALS_PER_S: i64 = 20;

/// Larger slots are refused: 31 years of one-second hops. It bounds the length of a published number.
pub(crate) const SLOT_MAX: u64 = 999_999_999;

/// Later dates are refused, milliseconds since 1970 UTC: the year 2286. It bounds the length of a published number.
pub(crate) const DATE_MAX_MS: u64 = 9_999_999_999_999;

/// How much time's worth of tokens a silent camera accumulates for readings. An `infer` that was away for longer
/// (building an engine may take hours) loses its oldest slots here.
const ACCUMULATED_MAX: Span = Span::from_ms(3_600_000);

/// Why a datagram was refused, in the order of [`Refusal::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not 64 bytes long.
    Size,
    /// Not a record: a code, a sum or an unused byte is wrong.
    Malformed,
    /// A record whose numbers contradict each other or are out of range.
    Value,
    /// No such camera is configured.
    Camera,
    /// The slot is not after the camera's last one.
    Slot,
    /// The slot has not ended yet.
    Future,
    /// More records than the grid allows.
    Rate,
    /// A probe record, which only a dry run has.
    ProbeRecord,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Size,
        Self::Malformed,
        Self::Value,
        Self::Camera,
        Self::Slot,
        Self::Future,
        Self::Rate,
        Self::ProbeRecord,
    ];

    /// The reason for the log.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "not 64 bytes long",
            Self::Malformed => "not a record",
            Self::Value => "impossible numbers",
            Self::Camera => "a camera that is not configured",
            Self::Slot => "a slot that is not after the last one",
            Self::Future => "a slot that has not ended",
            Self::Rate => "more than the grid allows",
            Self::ProbeRecord => "a probe record, which only a dry run has",
        }
    }
}

/// Checks the records of all cameras.
#[derive(Debug)]
pub(crate) struct RecordFilter {
    hop: Span,
    cameras: BTreeMap<CameraId, CameraLimits>,
    refused: [u64; Refusal::ALL.len()],
}

#[derive(Debug)]
struct CameraLimits {
    last_slot: Option<u64>,
    readings: TokenBucket,
    vitals: TokenBucket,
}

impl RecordFilter {
    /// A filter without cameras, which refuses everything. `hop` is the time from the end of one slot to the end of the next.
    #[must_use]
    pub(crate) fn new(hop: Span) -> Self {
        Self { hop: Span(hop.0.max(1)), cameras: BTreeMap::new(), refused: [0; Refusal::ALL.len()] }
    }

    /// Accepts records of a camera from `now` on. A known camera keeps its last slot.
    pub(crate) fn add(&mut self, camera: CameraId, now: Moment) {
        let (hop, vital) = (self.hop, Span(1_000_000_000 / VITALS_PER_S));
        self.cameras.entry(camera).or_insert_with(|| CameraLimits {
            last_slot: None,
            readings: TokenBucket::new(hop, Span(BURST * hop.0 + ACCUMULATED_MAX.0), now),
            vitals: TokenBucket::new(vital, Span(BURST * vital.0), now),
        });
    }

    /// Refuses records of a camera from now on.
    pub(crate) fn remove(&mut self, camera: CameraId) {
        self.cameras.remove(&camera);
    }

    /// Parses and checks a datagram that arrived at `now`.
    ///
    /// # Errors
    /// Why it is refused; the refusal is counted.
    pub(crate) fn accept(&mut self, datagram: &[u8], now: Moment) -> Result<Record, Refusal> {
        let checked = self.check(datagram, now);
        if let Err(refusal) = checked {
            self.refused[refusal as usize] += 1;
        }
        checked
    }

    /// How many datagrams were refused for this reason.
    #[must_use]
    pub(crate) fn refused_for(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// How many datagrams were refused.
    #[must_use]
    pub(crate) fn refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    fn check(&mut self, datagram: &[u8], now: Moment) -> Result<Record, Refusal> {
        if datagram.len() != RECORD_BYTES {
            return Err(Refusal::Size);
        }
        let record = Record::from_bytes(datagram).map_err(|_malformed| Refusal::Malformed)?;
        let hop = self.hop;
        match &record {
            Record::ProbeRecord(_) => return Err(Refusal::ProbeRecord),
            Record::Vital(vital) => {
                let limits = self.cameras.get_mut(&vital.camera).ok_or(Refusal::Camera)?;
                limits.vitals.take(now)?;
            }
            Record::Reading(reading) => {
                let limits = self.cameras.get_mut(&reading.camera).ok_or(Refusal::Camera)?;
                is_possible(reading)?;
                if limits.last_slot.is_some_and(|last| reading.slot <= last) {
                    return Err(Refusal::Slot);
                }
                // One hop of tolerance: the processes read the same clock, but not at the same instant.
                let end_ns = i64::try_from(reading.slot).unwrap_or(i64::MAX).saturating_mul(hop.0);
                if now + hop < Moment(end_ns) {
                    return Err(Refusal::Future);
                }
                limits.readings.take(now)?;
                limits.last_slot = Some(reading.slot);
            }
        }
        Ok(record)
    }
}

/// Whether an honest `infer` could have sent this.
fn is_possible(reading: &Reading) -> Result<(), Refusal> {
    let label_from_nothing = matches!(reading.outcome, Outcome::Label(_))
        && reading.probabilities.iter().all(|probability| *probability == 0);
    if label_from_nothing || SLOT_MAX < reading.slot || DATE_MAX_MS < reading.window_end_ms {
        return Err(Refusal::Value);
    }
    Ok(())
}

/// A token bucket whose tokens are time: a record costs the time between two records of the permitted rate.
#[derive(Debug)]
struct TokenBucket {
    cost: Span,
    capacity: Span,
    tokens: Span,
    filled_at: Moment,
}

impl TokenBucket {
    fn new(cost: Span, capacity: Span, now: Moment) -> Self {
        Self { cost, capacity, tokens: Span(BURST * cost.0), filled_at: now }
    }

    fn take(&mut self, now: Moment) -> Result<(), Refusal> {
        let passed = Span((now - self.filled_at).0.clamp(0, self.capacity.0));
        self.tokens = (self.tokens + passed).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < self.cost {
            return Err(Refusal::Rate);
        }
        self.tokens = self.tokens - self.cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::record::{ProbeRecord, Withheld, example};

    const HOP: Span = Span::from_ms(5000);
    const CAMERA: CameraId = CameraId(3);

    fn at(slot: i64) -> Moment {
        Moment(slot * HOP.0)
    }

    fn filter() -> RecordFilter {
        let mut filter = RecordFilter::new(HOP);
        filter.add(CAMERA, at(1000));
        filter
    }

    fn reading(slot: u64) -> Reading {
        Reading { window_end_ms: example::START_MS, ..example::reading(CAMERA, slot) }
    }

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        let check = |change: &dyn Fn(&mut Reading), expected: Result<(), Refusal>| {
            let mut filter = filter();
            filter.accept(&Record::Reading(reading(1000)).to_bytes(), at(1001)).unwrap();
            let mut reading = reading(1001);
            change(&mut reading);
            let checked = filter.accept(&Record::Reading(reading).to_bytes(), at(1001)).map(|_record| ());
            assert_eq!(checked, expected, "{reading:?}");
            assert_eq!(filter.refused(), u64::from(expected.is_err()));
        };
        check(&|_| (), Ok(()));
        check(&|reading| reading.camera = CameraId(4), Err(Refusal::Camera));
        check(&|reading| reading.slot = 1000, Err(Refusal::Slot));
        check(&|reading| reading.slot = 0, Err(Refusal::Slot));
        check(&|reading| reading.slot = 1002, Ok(()));
        check(&|reading| reading.slot = 1003, Err(Refusal::Future));
        check(&|reading| reading.slot = u64::MAX, Err(Refusal::Value));
        check(&|reading| reading.window_end_ms = DATE_MAX_MS + 1, Err(Refusal::Value));
        check(&|reading| reading.probabilities = [0; 3], Err(Refusal::Value));
        check(
            &|reading| (reading.probabilities, reading.outcome) = ([0; 3], Outcome::Withheld(Withheld::Dark)),
            Ok(()),
        );
        check(&|reading| reading.probabilities = [1; 3], Err(Refusal::Malformed));
    }

    #[test]
    fn a_probe_record_is_refused() {
        let mut filter = filter();
        let probe = Record::ProbeRecord(ProbeRecord::unknown(CAMERA)).to_bytes();
        assert_eq!(filter.accept(&probe, at(1001)), Err(Refusal::ProbeRecord));
        assert_eq!(filter.refused_for(Refusal::ProbeRecord), 1);
    }

    #[test]
    fn any_other_size_is_refused() {
        let mut filter = filter();
        for size in (0..200).filter(|size| *size != RECORD_BYTES) {
            assert_eq!(filter.accept(&vec![1; size], at(1000)), Err(Refusal::Size));
        }
        assert_eq!(filter.refused_for(Refusal::Size), 199);
    }

    #[test]
    fn readings_come_no_faster_than_the_grid() {
        let mut filter = filter();
        let mut accepted = 0;
        for slot in 1..=900 {
            accepted += u64::from(filter.accept(&Record::Reading(reading(slot)).to_bytes(), at(1000)).is_ok());
        }
        assert_eq!(accepted, 20);
        // Slots that passed meanwhile may come at once: a restarted `infer` reports the slots it missed.
        for slot in 1000..1100 {
            filter.accept(&Record::Reading(reading(slot)).to_bytes(), at(1100)).unwrap();
        }
        assert_eq!(filter.accept(&Record::Reading(reading(1100)).to_bytes(), at(1100)), Err(Refusal::Rate));
    }

    #[test]
    fn an_honest_day_passes_whole() {
        let mut filter = filter();
        for slot in 1001..=1000 + 17_280 {
            let now = at(i64::try_from(slot).unwrap());
            filter.accept(&Record::Reading(reading(slot)).to_bytes(), now).unwrap();
        }
    }

    proptest! {
        /// Random bytes of the right size are never a record: 14 bytes of every kind must be zero.
        #[test]
        fn noise_is_refused(left in proptest::array::uniform32(any::<u8>()), right in proptest::array::uniform32(1_u8..)) {
            let mut filter = filter();
            let noise: Vec<u8> = left.into_iter().chain(right).collect();
            prop_assert!(filter.accept(&noise, at(1000)).is_err());
        }
    }
}
