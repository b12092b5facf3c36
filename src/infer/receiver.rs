//! Takes access units and statuses from `ingest` and puts them where the camera they belong to finds them.
//!
//! One thread reads the socket and never waits for anything else: each camera has a [`UnitQueue`] of its own. The bytes
//! of a unit are read into storage of a [`UnitPool`], which the decoder takes over.

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::{info, warn};

use super::{unit_pool::UnitPool, unit_queue::UnitQueue};
use crate::wire::{
    CameraId,
    access_unit::{self, CameraStatus, Message},
    record::{CameraFault, CameraState, Step},
};

/// So that several small sound units cost one system call. Of a large unit this much at most is copied twice; the rest is
/// read from the socket into its storage.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// What the reading thread and a camera share.
#[derive(Debug)]
pub(crate) struct Route {
    status: Mutex<CameraStatus>,
    /// `None` for a paused camera, which has no decoder.
    queue: Option<Arc<UnitQueue>>,
}

impl Route {
    fn new(camera: CameraId, queue: Option<Arc<UnitQueue>>) -> Self {
        let status = CameraStatus {
            camera,
            state: CameraState::Offline,
            fault: CameraFault::Connecting,
            step: Step::None,
            fps_x100: 0,
            key_distance_ms: 0,
            outages: 0,
            drift_ppm: 0,
            kbps: 0,
            packets_lost: 0,
            units_dropped: 0,
            packets: 0,
            jitter_us: 0,
            round_trip_us: 0,
            camera_clock_ms: i32::MIN,
        };
        Self { status: Mutex::new(status), queue }
    }

    pub(crate) fn status(&self) -> CameraStatus {
        *lock(&self.status)
    }

    /// Units dropped because the decoder did not keep up.
    pub(crate) fn dropped(&self) -> u32 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped())
    }

    /// Whether every unit that arrived is with its decoder.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.is_idle())
    }

    fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

type Routes = Arc<Mutex<BTreeMap<CameraId, Arc<Route>>>>;

/// The reading thread; it ends when dropped.
#[derive(Debug)]
pub(crate) struct UnitReceiver {
    routes: Routes,
    upstreams: Option<Sender<UnixStream>>,
    current: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl UnitReceiver {
    /// Starts to read `upstream`.
    pub(crate) fn start(upstream: OwnedFd) -> io::Result<Self> {
        let routes = Routes::default();
        let (upstreams, next_upstream) = bounded(4);
        let current = UnixStream::from(upstream);
        let reading = (current.try_clone()?, next_upstream, Arc::clone(&routes));
        let work = move || read_all(reading.0, &reading.1, &reading.2);
        let thread = thread::Builder::new().name("unit-receiver".into()).spawn(work)?;
        Ok(Self { routes, upstreams: Some(upstreams), current, thread: Some(thread) })
    }

    /// `ingest` was restarted: its units now come from `upstream`.
    pub(crate) fn replace(&mut self, upstream: OwnedFd) -> io::Result<()> {
        let upstream = UnixStream::from(upstream);
        let reading = upstream.try_clone()?;
        self.current.shutdown(Shutdown::Both).ok();
        self.current = upstream;
        if let Some(upstreams) = &self.upstreams {
            upstreams.try_send(reading).map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        }
        Ok(())
    }

    /// From now on units of `camera` are put into `queue`, or dropped without one.
    pub(crate) fn add(&self, camera: CameraId, queue: Option<Arc<UnitQueue>>) -> Arc<Route> {
        let route = Arc::new(Route::new(camera, queue));
        lock(&self.routes).insert(camera, Arc::clone(&route));
        route
    }

    /// Closes the queue of `camera`.
    pub(crate) fn remove(&self, camera: CameraId) {
        if let Some(route) = lock(&self.routes).remove(&camera) {
            route.close();
        }
    }
}

impl Drop for UnitReceiver {
    fn drop(&mut self) {
        self.upstreams = None;
        self.current.shutdown(Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        lock(&self.routes).values().for_each(|route| route.close());
    }
}

/// Reads one upstream after the other until there will be no other.
fn read_all(first: UnixStream, next: &Receiver<UnixStream>, routes: &Routes) {
    let pool = UnitPool::new();
    let mut upstream = Some(first);
    while let Some(stream) = upstream {
        let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let read = loop {
            match read_one(&mut stream, &pool, routes) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(err) => break Err(err),
            }
        };
        if let Err(err) = read {
            warn!(%err, "ingest sent something that cannot be read; its connection is closed");
        }
        for route in lock(routes).values() {
            let mut status = lock(&route.status);
            (status.state, status.fault) = (CameraState::Offline, CameraFault::Connecting);
            status.step = Step::None;
        }
        upstream = next.recv().ok();
        if upstream.is_some() {
            info!("connected to a new ingest");
        }
    }
}

/// Reads one message and puts it where its camera finds it. Returns false when `ingest` has closed the connection.
fn read_one(stream: &mut BufReader<UnixStream>, pool: &UnitPool, routes: &Routes) -> io::Result<bool> {
    let Some(message) = access_unit::read(stream, |len| pool.buffer(len))? else { return Ok(false) };
    match message {
        Message::Status(status) => {
            if let Some(route) = lock(routes).get(&status.camera) {
                *lock(&route.status) = status;
            }
        }
        Message::AccessUnit(unit) => {
            if let Some(queue) = lock(routes).get(&unit.header.camera).and_then(|route| route.queue.as_ref()) {
                queue.push(unit);
            }
        }
    }
    Ok(true)
}

/// A poisoned lock means that a thread panicked while it held plain data, which is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        time::Moment,
        wire::{
            access_unit::{AccessUnit, Codec, UnitHeader},
            control::unit_pair,
        },
    };

    fn unit(camera: u16, codec: Codec, seq: u32, bytes: &[u8]) -> Message<&[u8]> {
        let header = UnitHeader {
            camera: CameraId(camera),
            codec,
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
        Message::AccessUnit(AccessUnit { header, bytes })
    }

    struct Camera {
        queue: Arc<UnitQueue>,
        arrived: Receiver<()>,
        route: Arc<Route>,
    }

    impl Camera {
        fn of(receiver: &UnitReceiver, id: u16) -> Self {
            let (queue, arrived) = UnitQueue::new();
            let queue = Arc::new(queue);
            Self { route: receiver.add(CameraId(id), Some(Arc::clone(&queue))), queue, arrived }
        }

        fn next(&self) -> (u32, Vec<u8>) {
            loop {
                if let Some(unit) = self.queue.pop(true, true) {
                    return (unit.header.seq, unit.bytes.as_ref().to_vec());
                }
                self.arrived.recv_timeout(Duration::from_secs(5)).unwrap();
            }
        }
    }

    #[test]
    fn units_find_their_camera_also_after_ingest_was_restarted() {
        let (theirs, ours) = unit_pair().unwrap();
        let mut receiver = UnitReceiver::start(ours).unwrap();
        let (first, second) = (Camera::of(&receiver, 1), Camera::of(&receiver, 2));
        let mut theirs = UnixStream::from(theirs);
        access_unit::write(&mut theirs, &unit(2, Codec::H264, 7, b"two")).unwrap();
        access_unit::write(&mut theirs, &unit(1, Codec::H264, 8, b"one")).unwrap();
        assert_eq!(second.next(), (7, b"two".to_vec()));
        assert_eq!(first.next(), (8, b"one".to_vec()));
        assert!(!second.route.is_idle(), "its unit is being decoded");
        assert!(second.queue.pop(true, true).is_none() && second.route.is_idle());

        let (theirs, ours) = unit_pair().unwrap();
        receiver.replace(ours).unwrap();
        access_unit::write(&mut UnixStream::from(theirs), &unit(2, Codec::H264, 9, b"again")).unwrap();
        assert_eq!(second.next().0, 9);

        receiver.remove(CameraId(1));
        while first.arrived.try_recv().is_ok() {}
        assert!(first.arrived.recv_timeout(Duration::from_secs(5)).unwrap_err().is_disconnected());
        drop(receiver);
        while second.arrived.try_recv().is_ok() {}
        assert!(second.arrived.recv_timeout(Duration::from_secs(5)).unwrap_err().is_disconnected());
    }

    #[test]
    fn a_slow_camera_loses_its_own_units_and_they_are_counted() {
        let (theirs, ours) = unit_pair().unwrap();
        let receiver = UnitReceiver::start(ours).unwrap();
        let (slow, quick) = (Camera::of(&receiver, 1), Camera::of(&receiver, 2));
        let paused = receiver.add(CameraId(3), None);
        let mut theirs = UnixStream::from(theirs);
        for seq in 0..200 {
            access_unit::write(&mut theirs, &unit(1, Codec::H264, seq, b"slow")).unwrap();
            access_unit::write(&mut theirs, &unit(3, Codec::H264, seq, b"paused")).unwrap();
        }
        access_unit::write(&mut theirs, &unit(2, Codec::H264, 0, b"quick")).unwrap();
        assert_eq!(quick.next(), (0, b"quick".to_vec()));
        assert_eq!((slow.route.dropped(), quick.route.dropped(), paused.dropped()), (128, 0, 0));
        assert_eq!(slow.next(), (128, b"slow".to_vec()));
    }

    /// From a socket to what the decoder takes over: pictures of a chain, of which the decoder keeps the last ten, with
    /// sound between them.
    #[test]
    fn nothing_is_allocated_per_unit() {
        let (theirs, ours) = unit_pair().unwrap();
        let (mut theirs, stream) = (UnixStream::from(theirs), UnixStream::from(ours));
        let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
        let (pool, routes) = (UnitPool::new(), Routes::default());
        let (queue, arrived) = UnitQueue::new();
        let queue = Arc::new(queue);
        lock(&routes).insert(CameraId(1), Arc::new(Route::new(CameraId(1), Some(Arc::clone(&queue)))));
        let media = vec![7; 50_000];
        let mut in_decoder = std::collections::VecDeque::with_capacity(16);
        let mut decoded = 0;
        let mut run = |units: std::ops::Range<u32>| {
            for seq in units {
                // A key frame in 25 units, and sizes that vary from unit to unit.
                let (codec, len) = match seq % 3 {
                    0 => (Codec::Pcmu, 160),
                    _ if seq.is_multiple_of(25) => (Codec::H264, 45_000),
                    _ => (Codec::H264, 3000 + (seq as usize * 7919) % 5000),
                };
                access_unit::write(&mut theirs, &unit(1, codec, seq, &media[..len])).unwrap();
                assert!(read_one(&mut stream, &pool, &routes).unwrap());
                arrived.try_recv().unwrap();
                in_decoder.extend(queue.pop(true, true).map(|unit| unit.bytes));
                decoded += 1;
                if 10 < in_decoder.len() {
                    in_decoder.pop_front();
                }
            }
        };
        run(0..500);
        let counted = allocation_counter::measure(|| run(500..3000));
        assert_eq!((counted.count_total, counted.bytes_total, decoded), (0, 0, 3000));
    }
}
