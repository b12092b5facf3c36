//! Takes access units and statuses from `ingest` and hands them to the camera they belong to.
//!
//! One thread reads the socket, so a slow decoder of one camera never holds up another: each camera has a bounded
//! queue of its own. When it is full the new unit goes, is counted, and leaves a gap in `AccessUnit::seq`.

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::{info, warn};

use crate::wire::{
    CameraId,
    access_unit::{self, AccessUnit, CameraStatus, Message},
    record::{CameraFault, CameraState, Step},
};

/// A second of 1080p25 with sound, twice over.
const UNITS_QUEUED_MAX: usize = 160;
/// Large reads, so that small sound units do not cost a system call each.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// What the reading thread and a camera share.
#[derive(Debug)]
pub(crate) struct Route {
    status: Mutex<CameraStatus>,
    /// Units that were read and are not decoded yet.
    pending: AtomicU32,
    /// Units thrown away because the decoder did not keep up.
    dropped: AtomicU32,
}

impl Route {
    pub(crate) fn status(&self) -> CameraStatus {
        *lock(&self.status)
    }

    pub(crate) fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }

    /// The camera has dealt with a unit.
    pub(crate) fn done(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

type Routes = Arc<Mutex<BTreeMap<CameraId, (Arc<Route>, Sender<AccessUnit<Vec<u8>>>)>>>;

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
        let thread = thread::Builder::new().name("intake".into()).spawn(work)?;
        Ok(Self { routes, upstreams: Some(upstreams), current, thread: Some(thread) })
    }

    /// `ingest` was restarted: what it sends now comes from here.
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

    /// From now on units of `camera` are handed to the returned receiver.
    pub(crate) fn add(&self, camera: CameraId) -> (Arc<Route>, Receiver<AccessUnit<Vec<u8>>>) {
        let (sender, receiver) = bounded(UNITS_QUEUED_MAX);
        let status = Mutex::new(CameraStatus {
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
        });
        let route = Arc::new(Route { status, pending: AtomicU32::new(0), dropped: AtomicU32::new(0) });
        lock(&self.routes).insert(camera, (Arc::clone(&route), sender));
        (route, receiver)
    }

    /// No more units of `camera` are handed on; its receiver disconnects.
    pub(crate) fn remove(&self, camera: CameraId) {
        lock(&self.routes).remove(&camera);
    }
}

impl Drop for UnitReceiver {
    fn drop(&mut self) {
        self.upstreams = None;
        self.current.shutdown(Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        lock(&self.routes).clear();
    }
}

/// Reads one upstream after the other until there will be no other.
fn read_all(first: UnixStream, next: &Receiver<UnixStream>, routes: &Routes) {
    let mut upstream = Some(first);
    while let Some(stream) = upstream {
        if let Err(err) = read_one(stream, routes) {
            warn!(%err, "ingest sent something that cannot be read; its connection is closed");
        }
        for (route, _) in lock(routes).values() {
            let mut status = lock(&route.status);
            (status.state, status.fault) = (CameraState::Offline, CameraFault::Connecting);
            status.step = Step::None;
        }
        upstream = next.recv().ok();
        if upstream.is_some() {
            info!("ingest is back");
        }
    }
}

fn read_one(stream: UnixStream, routes: &Routes) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(READ_BUFFER_BYTES, stream);
    while let Some(message) = access_unit::read(&mut stream, |len| vec![0; len])? {
        match message {
            Message::Status(status) => {
                if let Some((route, _)) = lock(routes).get(&status.camera) {
                    *lock(&route.status) = status;
                }
            }
            Message::AccessUnit(unit) => {
                let routes = lock(routes);
                let Some((route, sender)) = routes.get(&unit.header.camera) else { continue };
                route.pending.fetch_add(1, Ordering::AcqRel);
                let Err(err) = sender.try_send(unit) else { continue };
                route.done();
                // A paused camera has no decoder; what is still on its way to it is meant to be lost.
                if let TrySendError::Full(_) = err {
                    route.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
    Ok(())
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
            access_unit::{Codec, UnitHeader},
            control::unit_pair,
        },
    };

    fn unit(camera: u16, seq: u32, bytes: &[u8]) -> Message<Vec<u8>> {
        let header = UnitHeader {
            camera: CameraId(camera),
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
        Message::AccessUnit(AccessUnit { header, bytes: bytes.to_vec() })
    }

    #[test]
    fn units_find_their_camera_also_after_ingest_was_restarted() {
        let (theirs, ours) = unit_pair().unwrap();
        let mut intake = UnitReceiver::start(ours).unwrap();
        let (_, first) = intake.add(CameraId(1));
        let (route, second) = intake.add(CameraId(2));
        let mut theirs = UnixStream::from(theirs);
        access_unit::write(&mut theirs, &unit(2, 7, b"two")).unwrap();
        access_unit::write(&mut theirs, &unit(1, 8, b"one")).unwrap();
        let wait = Duration::from_secs(5);
        assert_eq!(second.recv_timeout(wait).unwrap().bytes, b"two");
        assert_eq!(first.recv_timeout(wait).unwrap().header.seq, 8);
        assert!(route.pending());
        route.done();
        assert!(!route.pending());

        let (theirs, ours) = unit_pair().unwrap();
        intake.replace(ours).unwrap();
        access_unit::write(&mut UnixStream::from(theirs), &unit(2, 9, b"again")).unwrap();
        assert_eq!(second.recv_timeout(wait).unwrap().header.seq, 9);

        intake.remove(CameraId(1));
        assert!(first.recv_timeout(wait).is_err());
        drop(intake);
        assert!(second.recv_timeout(wait).is_err());
    }

    #[test]
    fn a_slow_camera_loses_its_own_units_and_they_are_counted() {
        let (theirs, ours) = unit_pair().unwrap();
        let intake = UnitReceiver::start(ours).unwrap();
        let (slow, units) = intake.add(CameraId(1));
        let (_, quick) = intake.add(CameraId(2));
        let mut theirs = UnixStream::from(theirs);
        for seq in 0..200 {
            access_unit::write(&mut theirs, &unit(1, seq, b"slow")).unwrap();
        }
        access_unit::write(&mut theirs, &unit(2, 0, b"quick")).unwrap();
        assert_eq!(quick.recv_timeout(Duration::from_secs(5)).unwrap().bytes, b"quick");
        assert_eq!(slow.dropped(), 40);
        assert_eq!(units.len(), UNITS_QUEUED_MAX);
    }
}
