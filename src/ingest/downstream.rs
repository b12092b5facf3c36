//! The way out: one bounded queue and one thread that writes it to `infer`.
//!
//! `infer` may be slow, hang, or be restarted; the cameras notice nothing of it. When the queue is full the oldest
//! unit goes and is counted. Units are queued as they were received, without a copy.

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
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// At most so many messages wait: sound units are small.
pub const QUEUE_COUNT_MAX: usize = 2048;

/// What is counted of one camera for as long as the room lives, over all its connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// The number of the next video unit.
    pub video_seq: AtomicU32,
    /// The number of the next sound unit.
    pub sound_seq: AtomicU32,
    /// RTP packets lost.
    pub packets_lost: AtomicU32,
    /// RTP packets that came.
    pub packets: AtomicU32,
    /// Units thrown away because `infer` did not keep up, was not there, or would not take one so large.
    pub units_dropped: AtomicU32,
    /// How often the camera was lost.
    pub outages: AtomicU32,
    /// Connections whose teardown hung and was left behind.
    pub left_behind: AtomicU32,
    /// Whether a clap test wants every picture.
    pub wants_all: AtomicBool,
}

/// The queue and its thread. Dropping it ends the thread, whatever that is doing.
#[derive(Debug)]
pub struct Downstream<B> {
    shared: Arc<Shared<B>>,
    writer: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<B> {
    state: Mutex<State<B>>,
    changed: Condvar,
    /// Counts the sockets there were. Outside the lock, because every unit asks for it.
    epoch: AtomicU32,
}

#[derive(Debug)]
struct State<B> {
    queue: VecDeque<Queued<B>>,
    bytes: usize,
    /// The socket in use, as a handle to cut a write off; `None` while nobody is there to read.
    socket: Option<UnixStream>,
    /// Whether the writer has yet to take over a new socket.
    is_new: bool,
    /// What is being written is the last.
    is_finishing: bool,
    is_closing: bool,
}

#[derive(Debug)]
enum Queued<B> {
    AccessUnit(AccessUnit, B, Arc<Counters>),
    Status(CameraStatus),
}

impl<B: AsRef<[u8]> + Send + 'static> Downstream<B> {
    /// Starts the thread that writes to `out`, a stream socket.
    ///
    /// # Errors
    /// When the kernel gives no thread or descriptor.
    pub fn start(out: OwnedFd) -> io::Result<Self> {
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

    /// Counts the sockets there were: when it changes, every stream begins anew at a key frame.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Queues a unit that was made in this epoch. One of an earlier epoch is dropped and counted.
    pub fn put(&self, epoch: u32, unit: AccessUnit, body: B, ledger: &Arc<Counters>) {
        let mut state = self.shared.lock();
        let is_welcome = state.takes() && epoch == self.epoch() && body.as_ref().len() <= UNIT_BYTES_MAX;
        if !is_welcome || body.as_ref().is_empty() {
            ledger.units_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.push(Queued::AccessUnit(unit, body, Arc::clone(ledger)));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Queues a status.
    pub fn put_status(&self, status: CameraStatus) {
        let mut state = self.shared.lock();
        if state.takes() {
            state.push(Queued::Status(status));
            drop(state);
            self.shared.changed.notify_one();
        }
    }

    /// `infer` was restarted: what waits is void, and the next unit goes to `out`.
    pub fn replace(&self, out: OwnedFd) {
        let mut state = self.shared.lock();
        state.cut_off();
        state.socket = Some(out.into());
        state.is_new = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(state);
        self.shared.changed.notify_one();
        info!("a new infer listens");
    }
}

impl<B> Downstream<B> {
    /// The room is about to end, and `infer` after it: what is being written is written to its end, nothing follows, and
    /// that nobody reads any more is no surprise.
    pub fn finish(&self) {
        let mut state = self.shared.lock();
        state.is_finishing = true;
        state.forget();
    }

    /// Ends the thread and the connection, whatever they are doing. Everything that is put in later is dropped.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.cut_off();
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
    /// The thread's life: takes the oldest message and writes it, until the queue closes.
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
            let written = out.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |out| next.write(out));
            state = self.lock();
            if let Err(err) = written {
                next.count_as_dropped();
                if !state.is_new && !state.is_closing && state.takes() {
                    info!(%err, "infer is gone; units are dropped until it is back");
                    state.cut_off();
                }
            }
        }
    }
}

impl<B> State<B> {
    /// Whether somebody is there to read what is put in.
    fn takes(&self) -> bool {
        self.socket.is_some() && !self.is_finishing
    }

    /// Ends the connection: a write that is under way fails, and what waits is dropped.
    fn cut_off(&mut self) {
        if let Some(socket) = self.socket.take() {
            // A peer that is gone already is as good.
            drop(socket.shutdown(Shutdown::Both));
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.queue.drain(..).for_each(|queued| queued.count_as_dropped());
        self.bytes = 0;
    }
}

impl<B: AsRef<[u8]>> State<B> {
    fn push(&mut self, queued: Queued<B>) {
        self.bytes += queued.len();
        self.queue.push_back(queued);
        while QUEUE_BYTES_MAX < self.bytes || QUEUE_COUNT_MAX < self.queue.len() {
            match self.pop() {
                Some(oldest) => oldest.count_as_dropped(),
                None => break,
            }
        }
    }

    fn pop(&mut self) -> Option<Queued<B>> {
        let oldest = self.queue.pop_front()?;
        self.bytes -= oldest.len();
        Some(oldest)
    }
}

impl<B> Queued<B> {
    fn count_as_dropped(&self) {
        if let Self::AccessUnit(_, _, ledger) = self {
            ledger.units_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<B: AsRef<[u8]>> Queued<B> {
    fn len(&self) -> usize {
        match self {
            Self::AccessUnit(_, body, _) => body.as_ref().len(),
            Self::Status(_) => 0,
        }
    }

    fn write(&self, out: &mut UnixStream) -> io::Result<()> {
        match self {
            Self::AccessUnit(unit, body, _) => access_unit::write(out, &Message::AccessUnit(*unit), body.as_ref()),
            Self::Status(status) => access_unit::write(out, &Message::Status(*status), &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        time::Moment,
        wire::{CameraId, access_unit::Codec, control::unit_pair},
    };

    fn numbered(seq: u32) -> AccessUnit {
        AccessUnit {
            camera: CameraId(0),
            codec: Codec::H264,
            key: true,
            fresh: false,
            seq,
            lost: 0,
            rate_hz: 0,
            channels: 0,
            moment: Moment(0),
            arrival: Moment(0),
        }
    }

    fn read_seq(from: &mut UnixStream) -> Option<u32> {
        match access_unit::read(from, &mut Vec::new()).unwrap()? {
            Message::AccessUnit(unit) => Some(unit.seq),
            Message::Status(_) => panic!("no status was sent"),
        }
    }

    fn dropped(ledger: &Counters) -> u32 {
        ledger.units_dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn when_nobody_reads_the_oldest_goes_and_is_counted() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        let count = 100;
        for seq in 0..count {
            downstream.put(0, numbered(seq), vec![0_u8; 1 << 20], &ledger);
        }
        let lost = dropped(&ledger);
        assert!((count - 18..=count - 15).contains(&lost), "16 MiB and what is being written are kept: {lost}");
        let mut from = UnixStream::from(theirs);
        let mut seen = Vec::new();
        while seen.last() != Some(&(count - 1)) {
            seen.extend(read_seq(&mut from));
        }
        assert_eq!(seen.len(), usize::try_from(count - lost).unwrap());
        assert_eq!(dropped(&ledger), lost);
    }

    #[test]
    fn small_units_are_bounded_by_their_number() {
        let (ours, _theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        for seq in 0..20_000 {
            downstream.put(0, numbered(seq), vec![0_u8; 100], &ledger);
        }
        assert!(10_000 < dropped(&ledger), "{}", dropped(&ledger));
    }

    #[test]
    fn a_gone_reader_is_replaced_and_what_was_meant_for_it_is_void() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        // This one is stuck in the write when its reader goes.
        downstream.put(0, numbered(0), vec![0_u8; 4 << 20], &ledger);
        drop(theirs);
        let (ours, theirs) = unit_pair().unwrap();
        downstream.replace(ours);
        assert_eq!(downstream.epoch(), 1);
        downstream.put(0, numbered(1), vec![1], &ledger);
        downstream.put(1, numbered(2), vec![2], &ledger);
        assert_eq!(read_seq(&mut UnixStream::from(theirs)), Some(2));
        assert_eq!(dropped(&ledger), 2);
    }

    #[test]
    fn what_is_being_written_when_the_room_ends_arrives_whole_and_nothing_follows() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        // More than the socket keeps: the writer is in the middle of it once some of it can be read.
        downstream.put(0, numbered(0), vec![0_u8; 4 << 20], &ledger);
        let mut from = UnixStream::from(theirs);
        rustix::net::recv(&from, &mut [0_u8; 1], rustix::net::RecvFlags::PEEK).unwrap();
        downstream.put(0, numbered(1), vec![1], &ledger);
        downstream.finish();
        downstream.put(0, numbered(2), vec![2], &ledger);
        assert_eq!(read_seq(&mut from), Some(0));
        drop(downstream);
        assert_eq!(read_seq(&mut from), None);
        assert_eq!(dropped(&ledger), 2);
    }

    #[test]
    fn what_the_wire_would_refuse_is_dropped() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        downstream.put(0, numbered(0), Vec::new(), &ledger);
        downstream.put(0, numbered(1), vec![0_u8; UNIT_BYTES_MAX + 1], &ledger);
        downstream.put(0, numbered(2), vec![0_u8; 1], &ledger);
        assert_eq!(read_seq(&mut UnixStream::from(theirs)), Some(2));
        assert_eq!(dropped(&ledger), 2);
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_hangs() {
        let (ours, theirs) = unit_pair().unwrap();
        let downstream = Downstream::start(ours).unwrap();
        let ledger = Arc::new(Counters::default());
        for seq in 0..8 {
            downstream.put(0, numbered(seq), vec![0_u8; 1 << 20], &ledger);
        }
        drop(downstream);
        drop(theirs);
    }
}
