//! One camera: the loop that outlives its failures, in a thread of its own.

mod rates;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use crossbeam_channel::RecvTimeoutError;
use tracing::{debug, info, warn};

use self::rates::Rates;
use super::{
    backoff::{Backoff, Failure},
    downstream::{Counters, Downstream},
    sampling::{LOOK_EVERY, Sampler},
    source::{Bytes, ConnectionStats, Event, Stream, StreamError},
    timestamper::{Seen, StreamTimestamper},
};
use crate::{
    config::Source,
    service::stop::{self, Stop, Stopper},
    time::{Clock, Grid, Moment, Span},
    wire::{
        access_unit::CameraStatus,
        control::CameraOrder,
        record::{CameraFault, CameraState, Step},
    },
};

/// A connection without a picture after so long has failed.
const FIRST_PICTURE: Span = Span::from_ms(10_000);
/// So long without a picture is an outage: found within 3 s, the look at it included.
const STALLED: Span = Span::from_ms(2800);
/// Sound that is newer than this still flows.
const SOUND_FLOWS: Span = Span::from_ms(1000);
/// How long a teardown may take before it is left behind, and how long while the whole room is to end.
const TEARDOWN: Duration = Duration::from_secs(2);
const TEARDOWN_AT_END: Duration = Duration::from_millis(900);
/// A status is sent at least this often.
const STATUS_EVERY: Span = Span::from_ms(1000);
/// A recording that is shorter than this does not start over faster than this.
const LOOP_MIN: Span = Span::from_ms(1000);

/// What the cameras of a room share.
#[derive(Clone)]
pub struct CameraContext {
    /// The way out.
    pub downstream: Arc<Downstream<Bytes>>,
    /// Which frames are wanted.
    pub grid: Grid,
    /// Whether an installer wants to know more of each connection.
    pub survey: bool,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// A camera's thread. Dropping it asks the thread to end.
#[derive(Debug)]
pub struct Running {
    stopper: Option<Stopper>,
    done: Stop,
}

impl Running {
    /// Starts a camera, once the one `before` it has let go of its connection.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(
        order: CameraOrder,
        room: CameraContext,
        ledger: Arc<Counters>,
        before: Option<Self>,
    ) -> io::Result<Self> {
        let (stopper, stop) = stop::channel();
        let (end, done) = stop::channel();
        let name: String = format!("cam-{}", order.camera.name).chars().take(15).collect();
        thread::Builder::new().name(name).spawn(move || {
            if let Some(mut before) = before {
                before.ask_to_stop();
                // One that hangs for longer than its teardown may take is left behind.
                let _is_done = before.wait(TEARDOWN + TEARDOWN_AT_END);
            }
            Keeper::new(order, room, ledger, stop).keep();
            drop(end);
        })?;
        Ok(Self { stopper: Some(stopper), done })
    }

    /// Asks the thread to end.
    pub fn ask_to_stop(&mut self) {
        self.stopper = None;
    }

    /// Waits for the thread's end. Returns false if it has not ended after `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        !self.done.sleep(patience)
    }
}

/// How a connection ended.
enum End {
    /// The camera is no longer wanted.
    Stopped,
    /// A recording is over.
    Over,
    /// It failed.
    Failed(StreamError),
}

struct Keeper {
    order: CameraOrder,
    room: CameraContext,
    ledger: Arc<Counters>,
    stop: Stop,
    state: CameraState,
    fault: CameraFault,
    /// Since when the camera is lost.
    outage_since: Option<Moment>,
    seen: Seen,
    /// What is measured of this connection.
    link: ConnectionStats,
    /// How far the connection before came if it brought no picture: what is told until this one goes further.
    step_before: Step,
    rates: Rates,
    next_status: Moment,
    /// What of this connection's packets is in the ledger: those lost, and those that came.
    booked: (u32, u32),
}

impl Keeper {
    fn new(order: CameraOrder, room: CameraContext, ledger: Arc<Counters>, stop: Stop) -> Self {
        let fault = if order.paused { CameraFault::Paused } else { CameraFault::Connecting };
        Self {
            order,
            room,
            ledger,
            stop,
            state: CameraState::Offline,
            fault,
            outage_since: None,
            seen: Seen::default(),
            link: ConnectionStats::default(),
            step_before: Step::None,
            rates: Rates::default(),
            next_status: Moment::default(),
            booked: (0, 0),
        }
    }

    fn keep(&mut self) {
        while self.order.paused && !self.stop.requested() {
            self.pause(STATUS_EVERY);
        }
        let mut backoff = Backoff::of_camera();
        while !self.stop.requested() {
            self.send_status();
            let begun = self.room.clock.now();
            let end = self.connect_once(begun);
            let pictures = self.seen.first_picture.zip(self.seen.last_picture).map(|(first, last)| last - first);
            backoff.ran(pictures.unwrap_or(Span::ZERO));
            let wait = match end {
                End::Stopped => return,
                End::Over => LOOP_MIN + Span(-(self.room.clock.now() - begun).as_ns()),
                End::Failed(StreamError { fault: CameraFault::Unauthorised, .. }) => {
                    backoff.after(Failure::Unauthorised, fastrand::f64())
                }
                End::Failed(_) => backoff.after(Failure::Other, fastrand::f64()),
            };
            debug!(camera = self.order.camera.name, %wait, "next try");
            self.pause(wait);
        }
    }

    /// Connects, and lives with the connection until it ends.
    fn connect_once(&mut self, begun: Moment) -> End {
        let camera = &self.order.camera;
        let link = ConnectionStats::default();
        let sampler = Sampler::new(self.room.grid, camera.decode, camera.gates.frame_offset_max_ms.span());
        let count = link.clone();
        let tap = Arc::new(StreamTimestamper::new(
            camera.id,
            sampler,
            Arc::clone(&self.room.downstream),
            Arc::clone(&self.ledger),
            Box::new(move |medium| count.lost(medium)),
        ));
        (self.seen, self.link) = (Seen::default(), link.clone());
        (self.rates, self.booked) = (Rates::default(), (0, 0));
        let sink = Arc::clone(&tap);
        let sink = Arc::new(move |piece| sink.take(piece));
        let stream = match Stream::open(&self.order, self.room.clock.as_ref(), self.room.survey, &link, sink) {
            Ok(stream) => stream,
            Err(trouble) => {
                self.lose(&trouble);
                return End::Failed(trouble);
            }
        };
        let end = self.watch(&stream, &tap, begun);
        tap.close();
        self.book_packets(&tap);
        if let End::Failed(trouble) = &end {
            self.lose(trouble);
        }
        let patience = if self.stop.requested() { TEARDOWN_AT_END } else { TEARDOWN };
        if !stream.close(patience) {
            let count = self.ledger.left_behind.fetch_add(1, Ordering::Relaxed) + 1;
            warn!(camera = self.order.camera.name, count, "a connection does not let go and was left behind");
        }
        end
    }

    fn watch(&mut self, stream: &Stream, tap: &StreamTimestamper<Bytes>, begun: Moment) -> End {
        loop {
            let event = stream.events().recv_timeout(LOOK_EVERY.to_duration());
            let now = self.room.clock.now();
            self.seen = tap.look(now);
            if self.stop.requested() {
                return End::Stopped;
            }
            if self.seen.last_picture.is_some() && self.state != CameraState::Online {
                self.find();
            }
            match event {
                Ok(Event::Lost(trouble)) => return End::Failed(trouble),
                Ok(Event::Ended) => return self.ended(),
                Err(RecvTimeoutError::Disconnected) => return End::Failed(StreamError::other("its pipeline is gone")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Where a firewall swallows the datagrams, the camera has described its stream, and no medium ever shows.
            let has_answered = stream.has_answered() || Step::Authorised <= self.link.step();
            if let Some(trouble) = overdue(&self.seen, has_answered, begun, now) {
                return End::Failed(trouble);
            }
            if self.next_status <= now {
                self.book_packets(tap);
                self.rates.tick(now, &self.seen);
                self.send_status();
            }
        }
    }

    /// Adds the packets since the last time to those since the start of the room.
    fn book_packets(&mut self, tap: &StreamTimestamper<Bytes>) {
        let now = (tap.packets_lost(), self.link.packets());
        let before = std::mem::replace(&mut self.booked, now);
        self.ledger.packets_lost.fetch_add(now.0.saturating_sub(before.0), Ordering::Relaxed);
        self.ledger.packets.fetch_add(now.1.saturating_sub(before.1), Ordering::Relaxed);
    }

    fn ended(&self) -> End {
        if matches!(self.order.camera.source, Source::File(_)) && self.seen.last_picture.is_some() {
            return End::Over;
        }
        End::Failed(StreamError { fault: CameraFault::Ended, text: "it ended the stream".into() })
    }

    /// Pictures arrive.
    fn find(&mut self) {
        let name = &self.order.camera.name;
        let codec = self.seen.codec.map_or("", |codec| codec.name());
        match self.outage_since.take() {
            Some(since) => {
                let outage = self.room.clock.now() - since;
                info!(camera = name, codec, %outage, "camera back");
            }
            None => info!(camera = name, codec, "camera connected"),
        }
        (self.state, self.fault) = (CameraState::Online, CameraFault::None);
        self.send_status();
    }

    /// They do not arrive any more, or did not come at all.
    fn lose(&mut self, trouble: &StreamError) {
        if self.state == CameraState::Online {
            let outages = &self.ledger.outages;
            outages.fetch_add(1, Ordering::Relaxed);
        }
        self.state = match trouble.fault {
            CameraFault::Stalled | CameraFault::SoundOnly => CameraState::Stale,
            _ => CameraState::Offline,
        };
        self.fault = trouble.fault;
        self.step_before = if self.seen.first_picture.is_some() { Step::None } else { self.step() };
        let (name, fault, cure) = (&self.order.camera.name, trouble.fault.as_str(), cure(trouble.fault));
        // One line per outage. A reason that changes within it is in the status, and so in what is published.
        if self.outage_since.is_none() {
            warn!(camera = name, fault, "camera lost: {trouble}; {cure}");
        } else {
            debug!(camera = name, fault, "camera still lost: {trouble}; {cure}");
        }
        self.outage_since.get_or_insert(self.room.clock.now());
        self.rates = Rates::default();
        self.send_status();
    }

    /// Waits for the next try. The status goes on.
    fn pause(&mut self, wait: Span) {
        let end = self.room.clock.now() + wait;
        loop {
            let now = self.room.clock.now();
            if end <= now {
                return;
            }
            if self.next_status <= now {
                self.send_status();
            }
            if !self.stop.sleep(end.min(self.next_status).after(now).max(Duration::from_millis(1))) {
                return;
            }
        }
    }

    /// How far the connection has come.
    fn step(&self) -> Step {
        let arrived = match self.seen {
            Seen { has_key: true, .. } => Step::KeyFrame,
            Seen { first_picture: Some(_), .. } | Seen { last_sound: Some(_), .. } => Step::Playing,
            _ => Step::None,
        };
        arrived.max(self.link.step()).max(self.step_before)
    }

    fn send_status(&mut self) {
        self.next_status = self.room.clock.now() + STATUS_EVERY;
        let counted = |counter: &std::sync::atomic::AtomicU32| counter.load(Ordering::Relaxed);
        let ms = self.seen.key_distance.map_or(0, Span::as_ms);
        #[allow(clippy::cast_possible_truncation, reason = "clamped to its range")]
        let drift_ppm = self.seen.drift_ppm.unwrap_or(0.0).clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        self.room.downstream.put_status(CameraStatus {
            camera: self.order.camera.id,
            state: self.state,
            fault: self.fault,
            step: self.step(),
            fps_x100: u16::try_from(self.rates.fps_x100()).unwrap_or(u16::MAX),
            key_distance_ms: u16::try_from(ms).unwrap_or(u16::MAX),
            outages: u16::try_from(counted(&self.ledger.outages)).unwrap_or(u16::MAX),
            drift_ppm,
            kbps: u32::try_from(self.rates.kbps()).unwrap_or(u32::MAX),
            packets_lost: counted(&self.ledger.packets_lost),
            units_dropped: counted(&self.ledger.units_dropped),
            packets: counted(&self.ledger.packets),
            jitter_us: self.link.jitter_us(),
            round_trip_us: self.link.round_trip_us(),
            camera_clock_ms: self.link.camera_clock_ms(self.room.clock.as_ref()),
        });
    }
}

/// Whether the pictures of a connection are overdue, and what that means.
fn overdue(seen: &Seen, has_answered: bool, begun: Moment, now: Moment) -> Option<StreamError> {
    let is_late = seen.last_picture.map_or(FIRST_PICTURE <= now - begun, |last| STALLED <= now - last);
    if !is_late {
        return None;
    }
    let has_sound = seen.last_sound.is_some_and(|last| now - last < SOUND_FLOWS);
    let (fault, text) = match (has_sound, seen.last_picture, has_answered) {
        (true, ..) => (CameraFault::SoundOnly, "it sends sound and no picture"),
        (_, Some(_), _) => (CameraFault::Stalled, "it is connected and sends nothing any more"),
        (_, None, true) => (CameraFault::Stalled, "it accepted the connection and sends nothing"),
        (_, None, false) => (CameraFault::Unreachable, "it does not answer"),
    };
    Some(StreamError { fault, text: text.into() })
}

/// What the person on site can do about it.
const fn cure(fault: CameraFault) -> &'static str {
    match fault {
        CameraFault::Unreachable => "check its power, its cable, and the address and port of its URL",
        CameraFault::Unauthorised => {
            "check its user and password; after three tries it is asked every five minutes, lest it lock the account"
        }
        CameraFault::NotFound => "check the path of its URL, or the name of the file or device",
        CameraFault::Busy => "it serves as many sessions as it can: close other viewers",
        CameraFault::Certificate => "compare its certificate with the fingerprint or the ca_file of the configuration",
        CameraFault::Codec => "choose H.264, H.265 or MJPEG in its settings",
        CameraFault::Stalled | CameraFault::Ended | CameraFault::SoundOnly => {
            "it is reconnected by itself; if this recurs, look at its network and its firmware; with transport = \"udp\", \
             at the firewall"
        }
        CameraFault::None | CameraFault::Connecting | CameraFault::Other | CameraFault::Paused => {
            "it is tried again by itself"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    #[test]
    fn a_late_picture_has_a_word() {
        let check =
            |picture: Option<i64>, sound: Option<i64>, has_answered: bool, now_ms, want: Option<CameraFault>| {
                let seen = Seen { last_picture: picture.map(at), last_sound: sound.map(at), ..Seen::default() };
                let said = overdue(&seen, has_answered, at(0), at(now_ms)).map(|trouble| trouble.fault);
                assert_eq!(said, want, "picture {picture:?} sound {sound:?} at {now_ms}");
            };
        check(None, None, false, 9_999, None);
        check(None, None, false, 10_000, Some(CameraFault::Unreachable));
        check(None, None, true, 10_000, Some(CameraFault::Stalled));
        check(None, Some(9_500), true, 10_000, Some(CameraFault::SoundOnly));
        check(Some(20_000), None, true, 22_799, None);
        check(Some(20_000), None, true, 22_800, Some(CameraFault::Stalled));
        check(Some(20_000), Some(20_010), true, 22_801, Some(CameraFault::Stalled));
        check(Some(20_000), Some(22_000), true, 22_900, Some(CameraFault::SoundOnly));
    }
}
