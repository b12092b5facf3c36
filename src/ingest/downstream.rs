//! The queue to `infer` and the thread that writes it to the socket.
//!
//! `infer` may be slow, hang, or be restarted; the cameras do not notice. Units are queued as they were received,
//! without a copy. What happens on overflow is the same here and in `infer`: units of a camera depend on each other, so
//! a queue that overflows is emptied, every unit in it is counted as dropped, and each stream goes on at its next key
//! frame. The units that are read then are decodable, and recent.

use std::{
    collections::VecDeque,
    io,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use tracing::{info, warn};

use crate::wire::access_unit::{self, AccessUnit, CameraStatus, Message, UNIT_BYTES_MAX};

/// At most so many bytes wait: a few seconds of several cameras.
pub(crate) const QUEUE_BYTES_MAX: usize = 16 << 20;
/// At most so many messages wait: sound units are small.
pub(crate) const QUEUE_COUNT_MAX: usize = 2048;

/// What is counted of one camera for as long as the process lives, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// The number of the next video unit.
    pub(crate) video_seq: AtomicU32,
    /// The number of the next sound unit.
    pub(crate) sound_seq: AtomicU32,
    /// RTP packets lost.
    pub(crate) packets_lost: AtomicU32,
    /// RTP packets that came.
    pub(crate) packets: AtomicU32,
    /// Units dropped because `infer` did not keep up, was not there, or would not take one so large.
    pub(crate) units_dropped: AtomicU32,
    /// How often the camera was lost.
    pub(crate) outages: AtomicU32,
    /// Connections whose teardown hung and was left behind.
    pub(crate) left_behind: AtomicU32,
    /// Whether every picture is passed on, whatever the network will see.
    pub(crate) samples_all: AtomicBool,
}

/// The queue and its thread. Dropping it ends the thread, whatever that is doing.
#[derive(Debug)]
pub(crate) struct Downstream<B> {
    shared: Arc<Shared<B>>,
    writer: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<B> {
    state: Mutex<State<B>>,
    changed: Condvar,
    /// Changes with every new socket and every overflow. Outside the lock, because every unit asks for it.
    epoch: AtomicU32,
}

#[derive(Debug)]
struct State<B> {
    queue: VecDeque<Queued<B>>,
    bytes: usize,
    /// The socket in use, as a handle to abort a write; `None` while nobody is there to read.
    socket: Option<UnixStream>,
    /// Whether the writer has yet to take over a new socket.
    is_new: bool,
    /// What is being written is the last.
    is_finishing: bool,
    is_closing: bool,
}

/// A message, and for a unit the counters of its camera.
#[derive(Debug)]
struct Queued<B> {
    message: Message<B>,
    counters: Option<Arc<Counters>>,
}

impl<B: AsRef<[u8]> + Send + 'static> Downstream<B> {
    /// Starts the thread that writes to `out`, a stream socket.
    ///
    /// # Errors
    /// When the kernel gives no thread or descriptor.
    pub(crate) fn start(out: OwnedFd) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                socket: Some(out.into()),
                is_new: true,
                is_finishing: false,
                is_closing: false,
            }),
            changed: Condvar::new(),
            epoch: AtomicU32::new(0),
        });
        let writer = thread::Builder::new().name("downstream".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write()
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// A number that changes with every new socket and every overflow: every stream must then start at a key frame.
    #[must_use]
    pub(crate) fn epoch(&self) -> u32 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Queues a unit that was made in this epoch. One of an earlier epoch is dropped and counted.
    pub(crate) fn put(&self, epoch: u32, unit: AccessUnit<B>, counters: &Arc<Counters>) {
        let len = unit.bytes.as_ref().len();
        let queued = Queued { message: Message::AccessUnit(unit), counters: Some(Arc::clone(counters)) };
        let mut state = self.shared.lock();
        if !state.has_reader() || epoch != self.epoch() || !(1..=UNIT_BYTES_MAX).contains(&len) {
            queued.count_as_dropped();
            return;
        }
        state.push(queued);
        if QUEUE_BYTES_MAX < state.bytes || QUEUE_COUNT_MAX < state.queue.len() {
            state.discard();
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Queues a status.
    pub(crate) fn put_status(&self, status: CameraStatus) {
        let mut state = self.shared.lock();
        if state.has_reader() && state.queue.len() < QUEUE_COUNT_MAX {
            state.push(Queued { message: Message::Status(status), counters: None });
            drop(state);
            self.shared.changed.notify_one();
        }
    }

    /// `infer` was restarted: what waits is discarded, and the next unit goes to `out`.
    pub(crate) fn replace(&self, out: OwnedFd) {
        let mut state = self.shared.lock();
        state.disconnect();
        state.socket = Some(out.into());
        state.is_new = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(state);
        self.shared.changed.notify_one();
        info!("connected to a new infer");
    }
}

impl<B> Downstream<B> {
    /// This process is about to end, and `infer` after it: the message that is being written is written to its end,
    /// none follows, and a reader that closes the connection is expected.
    pub(crate) fn finish(&self) {
        let mut state = self.shared.lock();
        state.is_finishing = true;
        state.discard();
    }

    /// Ends the thread and the connection, whatever they are doing. Everything that is put in later is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.disconnect();
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl<B> Drop for Downstream<B> {
    fn drop(&mut self) {
        self.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            warn!("the thread that writes to infer had panicked");
        }
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: AsRef<[u8]>> Shared<B> {
    /// Takes the oldest message and writes it, until the queue closes.
    fn write(&self) {
        let mut out: Option<UnixStream> = None;
        let mut state = self.lock();
        while !state.is_closing {
            if state.is_new {
                state.is_new = false;
                out = state.socket.as_ref().and_then(|socket| socket.try_clone().ok());
            }
            let Some(next) = state.pop() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let not_connected = || Err(io::ErrorKind::NotConnected.into());
            let written = out.as_mut().map_or_else(not_connected, |out| access_unit::write(out, &next.message));
            state = self.lock();
            if let Err(err) = written {
                next.count_as_dropped();
                if !state.is_new && !state.is_closing && state.has_reader() {
                    info!(%err, "infer closed the connection; units are dropped until it is restarted");
                    state.disconnect();
                }
            }
        }
    }
}

impl<B> State<B> {
    /// Whether somebody is there to read what is put in.
    fn has_reader(&self) -> bool {
        self.socket.is_some() && !self.is_finishing
    }

    /// Ends the connection: a write that is under way fails, and what waits is dropped.
    fn disconnect(&mut self) {
        if let Some(socket) = self.socket.take() {
            // An error means that the peer has closed it already.
            drop(socket.shutdown(Shutdown::Both));
        }
        self.discard();
    }

    fn discard(&mut self) {
        self.queue.drain(..).for_each(|queued| queued.count_as_dropped());
        self.bytes = 0;
    }
}

impl<B: AsRef<[u8]>> State<B> {
    fn push(&mut self, queued: Queued<B>) {
        self.bytes += queued.len();
        self.queue.push_back(queued);
    }

    fn pop(&mut self) -> Option<Queued<B>> {
        let oldest = self.queue.pop_front()?;
        self.bytes -= oldest.len();
        Some(oldest)
    }
}

impl<B> Queued<B> {
    fn count_as_dropped(&self) {
        if let Some(counters) = &self.counters {
            counters.units_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<B: AsRef<[u8]>> Queued<B> {
    fn len(&self) -> usize {
        match &self.message {
            Message::AccessUnit(unit) => unit.bytes.as_ref().len(),
            Message::Status(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        time::Moment,
        wire::{
            CameraId,
            access_unit::{Codec, UnitHeader},
            control::unit_pair,
        },
    };

    fn unit(seq: u32, len: usize) -> AccessUnit<Vec<u8>> {
        let header = UnitHeader {
            camera: CameraId(0),
            codec: Codec::H264,
            is_key: true,
            discontinuity: false,
            wanted: true,
            seq,
            lost: 0,
            rate_hz: 0,
            channels: 0,
            moment: Moment(0),
            arrival: Moment(0),
        };
        AccessUnit { header, bytes: vec![0; len] }
    }

    fn read_seq(from: &mut UnixStream) -> Option<u32> {
        match access_unit::read(from, |len| vec![0; len]).unwrap()? {
            Message::AccessUnit(unit) => Some(unit.header.seq),
            Message::Status(_) => panic!("no status was sent"),
        }
    }

    fn dropped(counters: &Counters) -> u32 {
        counters.units_dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn a_queue_that_overflows_is_emptied_and_counted_and_every_stream_starts_over() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        let sent = 100;
        for seq in 0..sent {
            // As a stream does that starts over at once.
            downstream.put(downstream.epoch(), unit(seq, 1 << 20), &counters);
        }
        // 17 units are more than 16 MiB; the thread holds one more unit, which it is writing.
        let lost = 5 * 17;
        assert_eq!((downstream.epoch(), dropped(&counters)), (5, lost));
        let mut from = UnixStream::from(theirs);
        let mut seen = Vec::new();
        while seen.last() != Some(&(sent - 1)) {
            seen.extend(read_seq(&mut from));
        }
        assert_eq!(seen.len(), usize::try_from(sent - lost).unwrap());
        assert!(seen.is_sorted(), "{seen:?}");
        downstream.put(0, unit(sent, 1), &counters);
        assert_eq!(dropped(&counters), lost + 1, "a stream that did not start over is refused");
    }

    #[test]
    fn small_units_are_bounded_by_their_number() {
        let (ours, _theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        for seq in 0..20_000 {
            downstream.put(downstream.epoch(), unit(seq, 100), &counters);
        }
        assert!(10_000 < dropped(&counters), "{}", dropped(&counters));
    }

    #[test]
    fn a_reader_that_ended_is_replaced_and_what_was_queued_for_it_is_dropped() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        // This one is being written when its reader ends.
        downstream.put(0, unit(0, 4 << 20), &counters);
        drop(theirs);
        let (ours, theirs) = unit_pair().unwrap();
        downstream.replace(ours);
        assert_eq!(downstream.epoch(), 1);
        downstream.put(0, unit(1, 1), &counters);
        downstream.put(1, unit(2, 1), &counters);
        assert_eq!(read_seq(&mut UnixStream::from(theirs)), Some(2));
        assert_eq!(dropped(&counters), 2);
    }

    #[test]
    fn what_is_being_written_when_the_process_ends_arrives_whole_and_nothing_follows() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        // More than the socket keeps: the writer is in the middle of it once some of it can be read.
        downstream.put(0, unit(0, 4 << 20), &counters);
        let mut from = UnixStream::from(theirs);
        rustix::net::recv(&from, &mut [0_u8; 1], rustix::net::RecvFlags::PEEK).unwrap();
        downstream.put(0, unit(1, 1), &counters);
        downstream.finish();
        downstream.put(0, unit(2, 1), &counters);
        assert_eq!(read_seq(&mut from), Some(0));
        drop(downstream);
        assert_eq!(read_seq(&mut from), None);
        assert_eq!(dropped(&counters), 2);
    }

    #[test]
    fn what_the_wire_would_refuse_is_dropped() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        downstream.put(0, unit(0, 0), &counters);
        downstream.put(0, unit(1, UNIT_BYTES_MAX + 1), &counters);
        downstream.put(0, unit(2, 1), &counters);
        assert_eq!(read_seq(&mut UnixStream::from(theirs)), Some(2));
        assert_eq!(dropped(&counters), 2);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let counters = Arc::new(Counters::default());
        for seq in 0..8 {
            downstream.put(0, unit(seq, 1 << 20), &counters);
        }
        drop(downstream);
        drop(theirs);
    }
}
