//! What may come in: the room believes nothing that `infer` says about size, rate, order or value.
//!
//! `infer` sees pictures. Should it ever be taken over, this is the door that it would have to talk through, so
//! the door knows what an honest `infer` can say and refuses the rest. Every refusal is counted.

use std::collections::BTreeMap;

use crate::{
    time::{Moment, Span},
    wire::{
        CameraId,
        record::{Outcome, RECORD_BYTES, Reading, Record},
    },
};

/// So many records of one camera may come at once, beyond what the grid and [`VITALS_PER_S`] allow. The largest
/// honest burst is a restart of `infer`, whose missed slots the passed time has already paid for.
pub const BURST: i64 = 20;

/// No honest camera has more vitals than this in a second.
pub const VITALS_PER_S: i64 = 20;

/// Slots beyond this are refused: 31 years of one-second hops. It bounds the length of a published number.
pub const SLOT_MAX: u64 = 999_999_999;

/// Dates beyond this are refused, milliseconds since 1970 UTC: the year 2286. It bounds the length of a number.
pub const DATE_MAX_MS: u64 = 9_999_999_999_999;

/// For how long a silent camera saves up the readings that the grid allowed it. An `infer` that was away for
/// longer (an engine that is built for hours) loses its oldest slots here.
const SAVED_MAX: Span = Span::from_ms(3_600_000);

/// Why a datagram was not taken. A closed list, in the order of [`Refusal::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not 64 bytes long.
    Size,
    /// It is no record: a code, a sum or an unused byte is wrong.
    Malformed,
    /// It is a record, but its numbers contradict each other or are out of range.
    Value,
    /// No such camera is configured.
    Camera,
    /// The slot is not after the camera's last one.
    Slot,
    /// The slot has not ended yet.
    Future,
    /// The camera says more than the grid allows.
    Rate,
    /// It is a survey, which only a dry run has.
    ProbeRecord,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Size,
        Self::Malformed,
        Self::Value,
        Self::Camera,
        Self::Slot,
        Self::Future,
        Self::Rate,
        Self::ProbeRecord,
    ];

    /// The words for the log.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Size => "not 64 bytes long",
            Self::Malformed => "not a record",
            Self::Value => "numbers that cannot be",
            Self::Camera => "a camera that is not configured",
            Self::Slot => "a slot that is not after the last one",
            Self::Future => "a slot that has not ended",
            Self::Rate => "more than the grid allows",
            Self::ProbeRecord => "a survey, which only a dry run has",
        }
    }
}

/// The door: one per room.
#[derive(Debug)]
pub struct RecordFilter {
    hop: Span,
    doors: BTreeMap<CameraId, Door>,
    refused: [u64; Refusal::ALL.len()],
}

#[derive(Debug)]
struct Door {
    last_slot: Option<u64>,
    readings: Bucket,
    vitals: Bucket,
}

impl RecordFilter {
    /// A door that knows no camera yet. `hop` is the time from the end of one slot to the end of the next.
    #[must_use]
    pub fn new(hop: Span) -> Self {
        Self { hop: Span(hop.0.max(1)), doors: BTreeMap::new(), refused: [0; Refusal::ALL.len()] }
    }

    /// Lets a camera in from `now` on. One that is known keeps its last slot.
    pub fn add(&mut self, camera: CameraId, now: Moment) {
        let (hop, vital) = (self.hop, Span(1_000_000_000 / VITALS_PER_S));
        self.doors.entry(camera).or_insert_with(|| Door {
            last_slot: None,
            readings: Bucket::new(hop, Span(BURST * hop.0 + SAVED_MAX.0), now),
            vitals: Bucket::new(vital, Span(BURST * vital.0), now),
        });
    }

    /// Lets a camera in no more.
    pub fn remove(&mut self, camera: CameraId) {
        self.doors.remove(&camera);
    }

    /// Reads a datagram that arrived at `now`.
    ///
    /// # Errors
    /// Why it is refused; that is counted here.
    pub fn admit(&mut self, datagram: &[u8], now: Moment) -> Result<Record, Refusal> {
        let judged = self.judge(datagram, now);
        if let Err(why) = judged {
            self.refused[why as usize] += 1;
        }
        judged
    }

    /// How many datagrams were refused for `why`.
    #[must_use]
    pub fn refused_for(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    /// How many datagrams were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.iter().sum()
    }

    fn judge(&mut self, datagram: &[u8], now: Moment) -> Result<Record, Refusal> {
        if datagram.len() != RECORD_BYTES {
            return Err(Refusal::Size);
        }
        let record = Record::from_bytes(datagram).map_err(|_malformed| Refusal::Malformed)?;
        let hop = self.hop;
        match &record {
            Record::ProbeRecord(_) => return Err(Refusal::ProbeRecord),
            Record::Vital(vital) => {
                let door = self.doors.get_mut(&vital.camera).ok_or(Refusal::Camera)?;
                door.vitals.take(now)?;
            }
            Record::Reading(reading) => {
                let door = self.doors.get_mut(&reading.camera).ok_or(Refusal::Camera)?;
                is_possible(reading)?;
                if door.last_slot.is_some_and(|last| reading.slot <= last) {
                    return Err(Refusal::Slot);
                }
                // One hop of grace: the rooms read the same clock, but not at the same instant.
                let end_ns = i64::try_from(reading.slot).unwrap_or(i64::MAX).saturating_mul(hop.0);
                if now + hop < Moment(end_ns) {
                    return Err(Refusal::Future);
                }
                door.readings.take(now)?;
                door.last_slot = Some(reading.slot);
            }
        }
        Ok(record)
    }
}

/// Whether an honest network could have come to this.
fn is_possible(reading: &Reading) -> Result<(), Refusal> {
    let label_from_nothing =
        matches!(reading.outcome, Outcome::Label(_)) && reading.probabilities.iter().all(|it| *it == 0);
    if label_from_nothing || SLOT_MAX < reading.slot || DATE_MAX_MS < reading.window_end_ms {
        return Err(Refusal::Value);
    }
    Ok(())
}

/// Time saved up, spent by the record.
#[derive(Debug)]
struct Bucket {
    price: Span,
    most: Span,
    saved: Span,
    counted_until: Moment,
}

impl Bucket {
    fn new(price: Span, most: Span, now: Moment) -> Self {
        Self { price, most, saved: Span(BURST * price.0), counted_until: now }
    }

    fn take(&mut self, now: Moment) -> Result<(), Refusal> {
        let passed = Span((now - self.counted_until).0.clamp(0, self.most.0));
        self.saved = (self.saved + passed).min(self.most);
        self.counted_until = self.counted_until.max(now);
        if self.saved < self.price {
            return Err(Refusal::Rate);
        }
        self.saved = self.saved - self.price;
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

    fn gate() -> RecordFilter {
        let mut gate = RecordFilter::new(HOP);
        gate.add(CAMERA, at(1000));
        gate
    }

    fn reading(slot: u64) -> Reading {
        Reading { window_end_ms: example::START_MS, ..example::reading(CAMERA, slot) }
    }

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        let check = |change: &dyn Fn(&mut Reading), expected: Result<(), Refusal>| {
            let mut gate = gate();
            gate.admit(&Record::Reading(reading(1000)).to_bytes(), at(1001)).unwrap();
            let mut reading = reading(1001);
            change(&mut reading);
            let judged = gate.admit(&Record::Reading(reading).to_bytes(), at(1001)).map(|_record| ());
            assert_eq!(judged, expected, "{reading:?}");
            assert_eq!(gate.refused(), u64::from(expected.is_err()));
        };
        check(&|_| (), Ok(()));
        check(&|it| it.camera = CameraId(4), Err(Refusal::Camera));
        check(&|it| it.slot = 1000, Err(Refusal::Slot));
        check(&|it| it.slot = 0, Err(Refusal::Slot));
        check(&|it| it.slot = 1002, Ok(()));
        check(&|it| it.slot = 1003, Err(Refusal::Future));
        check(&|it| it.slot = u64::MAX, Err(Refusal::Value));
        check(&|it| it.window_end_ms = DATE_MAX_MS + 1, Err(Refusal::Value));
        check(&|it| it.probabilities = [0; 3], Err(Refusal::Value));
        check(&|it| (it.probabilities, it.outcome) = ([0; 3], Outcome::Withheld(Withheld::Dark)), Ok(()));
        check(&|it| it.probabilities = [1; 3], Err(Refusal::Malformed));
    }

    #[test]
    fn a_survey_is_refused() {
        let mut gate = gate();
        let survey = Record::ProbeRecord(ProbeRecord::unknown(CAMERA)).to_bytes();
        assert_eq!(gate.admit(&survey, at(1001)), Err(Refusal::ProbeRecord));
        assert_eq!(gate.refused_for(Refusal::ProbeRecord), 1);
    }

    #[test]
    fn any_other_size_is_refused() {
        let mut gate = gate();
        for size in (0..200).filter(|it| *it != RECORD_BYTES) {
            assert_eq!(gate.admit(&vec![1; size], at(1000)), Err(Refusal::Size));
        }
        assert_eq!(gate.refused_for(Refusal::Size), 199);
    }

    #[test]
    fn readings_come_no_faster_than_the_grid() {
        let mut gate = gate();
        let mut admitted = 0;
        for slot in 1..=900 {
            admitted += u64::from(gate.admit(&Record::Reading(reading(slot)).to_bytes(), at(1000)).is_ok());
        }
        assert_eq!(admitted, 20);
        // What the grid allowed meanwhile may come at once: a restarted `infer` reports the slots it missed.
        for slot in 1000..1100 {
            gate.admit(&Record::Reading(reading(slot)).to_bytes(), at(1100)).unwrap();
        }
        assert_eq!(gate.admit(&Record::Reading(reading(1100)).to_bytes(), at(1100)), Err(Refusal::Rate));
    }

    #[test]
    fn an_honest_day_passes_whole() {
        let mut gate = gate();
        for slot in 1001..=1000 + 17_280 {
            let now = at(i64::try_from(slot).unwrap());
            gate.admit(&Record::Reading(reading(slot)).to_bytes(), now).unwrap();
        }
    }

    proptest! {
        /// Random bytes of the right size are never a record: 14 bytes of every kind must be zero.
        #[test]
        fn noise_is_refused(left in proptest::array::uniform32(any::<u8>()), right in proptest::array::uniform32(1_u8..)) {
            let mut gate = gate();
            let noise: Vec<u8> = left.into_iter().chain(right).collect();
            prop_assert!(gate.admit(&noise, at(1000)).is_err());
        }
    }
}
