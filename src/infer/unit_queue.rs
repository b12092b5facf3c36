//! The access units that wait for a camera's decoders.
//!
//! This is the one queue behind the link, and the one place where `infer` drops units: the thread that reads the socket
//! never waits, and a decoder is given no more than it has room for. A camera whose decoder is slow loses its own units
//! and no other's. A medium whose queue overflows is emptied, every unit in it is counted, and it goes on at its next
//! key frame: what is decoded then is whole, and recent enough for a window.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crossbeam_channel::Receiver;

use super::{
    unit_pool::UnitBuffer,
    wake::{self, Wake},
};
use crate::wire::access_unit::{AccessUnit, UnitHeader};

/// Five seconds of video at 25 frames per second: what waits for longer misses its window.
const UNITS_MAX: usize = 128;
/// Five seconds of 25 Mbit/s.
const BYTES_MAX: usize = 16 << 20;

/// Where the reader puts units and a camera's decoding thread takes them.
#[derive(Debug)]
pub(crate) struct UnitQueue {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    video: MediumQueue,
    sound: MediumQueue,
    /// Whether the decoding thread is at work on a unit.
    is_decoding: bool,
    dropped: u32,
    /// Tells the decoding thread that a unit has arrived; `None` once the queue is closed.
    arrived: Option<Wake>,
}

#[derive(Debug, Default)]
struct MediumQueue {
    units: VecDeque<AccessUnit<UnitBuffer>>,
    bytes: usize,
    /// Nothing is decodable before the next key frame.
    needs_key: bool,
    /// What the headers of dropped units said: the next unit says it instead.
    discontinuity: bool,
    lost: u32,
}

impl UnitQueue {
    /// Returns a queue, and what tells its reader that a unit has arrived; it disconnects when the queue is closed.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (wake, arrived) = wake::channel();
        let state = State {
            video: MediumQueue::default(),
            sound: MediumQueue::default(),
            is_decoding: false,
            dropped: 0,
            arrived: Some(wake),
        };
        (Self { state: Mutex::new(state) }, arrived)
    }

    /// Takes a unit in, without waiting.
    pub(crate) fn push(&self, unit: AccessUnit<UnitBuffer>) {
        let mut state = self.lock();
        let Some(arrived) = &state.arrived else { return };
        arrived.notify();
        let queue = if unit.header.codec.is_video() { &mut state.video } else { &mut state.sound };
        let dropped = queue.push(unit);
        state.dropped = state.dropped.saturating_add(dropped);
    }

    /// The next unit of a medium whose decoder has room. The unit before it is with its decoder by now.
    pub(crate) fn pop(&self, video_has_room: bool, sound_has_room: bool) -> Option<AccessUnit<UnitBuffer>> {
        let mut state = self.lock();
        let sound = if sound_has_room { state.sound.pop() } else { None };
        let unit = sound.or_else(|| if video_has_room { state.video.pop() } else { None });
        state.is_decoding = unit.is_some();
        unit
    }

    /// Whether every unit that arrived is with its decoder.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        !state.is_decoding && state.video.units.is_empty() && state.sound.units.is_empty()
    }

    /// Units dropped because their decoder did not keep up.
    pub(crate) fn dropped(&self) -> u32 {
        self.lock().dropped
    }

    /// Takes no more units, and drops those that wait.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.arrived = None;
        (state.video, state.sound) = Default::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediumQueue {
    /// Returns how many units were dropped.
    fn push(&mut self, mut unit: AccessUnit<UnitBuffer>) -> u32 {
        let len = unit.bytes.as_ref().len();
        let is_full = UNITS_MAX <= self.units.len() || BYTES_MAX < self.bytes + len;
        let mut dropped = 0;
        if is_full {
            while let Some(waiting) = self.pop() {
                self.note_dropped(&waiting.header);
                dropped += 1;
            }
            self.needs_key = true;
        }
        if self.needs_key && !unit.header.is_key {
            self.note_dropped(&unit.header);
            return dropped + 1;
        }
        self.needs_key = false;
        unit.header.discontinuity |= mem::take(&mut self.discontinuity);
        unit.header.lost = unit.header.lost.saturating_add(mem::take(&mut self.lost));
        self.bytes += len;
        self.units.push_back(unit);
        dropped
    }

    fn pop(&mut self) -> Option<AccessUnit<UnitBuffer>> {
        let unit = self.units.pop_front()?;
        self.bytes -= unit.bytes.as_ref().len();
        Some(unit)
    }

    fn note_dropped(&mut self, header: &UnitHeader) {
        self.discontinuity |= header.discontinuity;
        self.lost = self.lost.saturating_add(header.lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        infer::unit_pool::UnitPool,
        time::Moment,
        wire::{CameraId, access_unit::Codec},
    };

    fn unit(codec: Codec, seq: u32, is_key: bool, len: usize) -> AccessUnit<UnitBuffer> {
        let header = UnitHeader {
            camera: CameraId(0),
            codec,
            is_key,
            discontinuity: seq == 0,
            wanted: true,
            seq,
            lost: 1,
            rate_hz: 0,
            channels: 0,
            moment: Moment(0),
            arrival: Moment(0),
        };
        AccessUnit { header, bytes: UnitPool::new().buffer(len) }
    }

    #[test]
    fn a_queue_that_overflows_is_emptied_and_goes_on_at_a_key_frame() {
        let (queue, arrived) = UnitQueue::new();
        (0..150).for_each(|seq| queue.push(unit(Codec::H264, seq, seq % 50 == 0, 10)));
        assert!(arrived.try_recv().is_ok());
        // The 129th unit overflows; the next key frame would be the 151st.
        assert_eq!((queue.dropped(), queue.is_idle()), (150, true));
        queue.push(unit(Codec::H264, 150, true, 10));
        queue.push(unit(Codec::H264, 151, false, 10));
        let header = queue.pop(true, true).unwrap().header;
        assert_eq!((header.seq, header.lost), (150, 151), "the losses before the dropped units are not forgotten");
        assert!(header.discontinuity, "nor that the stream began");
        let next = queue.pop(true, true).unwrap().header;
        assert_eq!((next.seq, next.lost, next.discontinuity, queue.dropped()), (151, 1, false, 150));
    }

    #[test]
    fn of_sound_and_stills_the_newest_stay() {
        for codec in [Codec::Mjpeg, Codec::Pcmu] {
            let (queue, _arrived) = UnitQueue::new();
            (0..150).for_each(|seq| queue.push(unit(codec, seq, true, 10)));
            let kept: Vec<_> = std::iter::from_fn(|| queue.pop(true, true)).map(|unit| unit.header.seq).collect();
            assert!(kept.iter().copied().eq(128..150), "{codec:?}: {kept:?}");
            assert_eq!(queue.dropped(), 128);
        }
        let (queue, _arrived) = UnitQueue::new();
        (0..5).for_each(|seq| queue.push(unit(Codec::Mjpeg, seq, true, 4 << 20)));
        assert_eq!((queue.dropped(), queue.pop(true, true).unwrap().header.seq), (4, 4), "16 MiB and not more");
    }

    #[test]
    fn a_medium_whose_decoder_has_no_room_does_not_hold_up_the_other() {
        let (queue, arrived) = UnitQueue::new();
        queue.push(unit(Codec::H264, 0, true, 10));
        queue.push(unit(Codec::Aac, 0, true, 10));
        assert_eq!(queue.pop(false, true).unwrap().header.codec, Codec::Aac);
        assert!(queue.pop(false, true).is_none() && !queue.is_idle(), "the picture waits");
        assert_eq!(queue.pop(true, true).unwrap().header.codec, Codec::H264);
        assert!(!queue.is_idle(), "it is being decoded");
        assert!(queue.pop(true, true).is_none() && queue.is_idle());
        assert!(arrived.try_recv().is_ok());
        queue.close();
        queue.push(unit(Codec::Aac, 1, true, 10));
        assert!(queue.is_idle() && arrived.recv().is_err());
        assert_eq!(queue.dropped(), 0, "a closed queue counts nothing");
    }
}
