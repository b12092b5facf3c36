//! One camera: connects, watches the connection, and connects again after a failure, in a thread of its own.

mod rates;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
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
    timestamper::{Activity, StreamTimestamper},
};
use crate::{
    config::Source,
    faults,
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
/// How long a teardown may take before it is left behind, and how long while the whole process ends.
const TEARDOWN: Duration = Duration::from_secs(2);
const TEARDOWN_AT_END: Duration = Duration::from_millis(900);
/// A status is sent at least this often.
const STATUS_EVERY: Span = Span::from_ms(1000);
/// A recording does not start over more often than this.
const LOOP_MIN: Span = Span::from_ms(1000);

/// What all cameras share.
#[derive(Clone)]
pub(crate) struct CameraContext {
    /// The queue to `infer`.
    pub(crate) downstream: Arc<Downstream<Bytes>>,
    /// Which frames are wanted.
    pub(crate) grid: Grid,
    /// Whether this is a dry run, which also reads the clock of each camera.
    pub(crate) is_dry_run: bool,
    /// Our clock.
    pub(crate) clock: Arc<dyn Clock>,
}

/// A camera's thread. Dropping it asks the thread to end.
#[derive(Debug)]
pub(crate) struct Running {
    stopper: Option<Stopper>,
    done: Stop,
}

impl Running {
    /// Starts a camera, once the one `before` it has closed its connection.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(crate) fn start(
        order: CameraOrder,
        context: CameraContext,
        counters: Arc<Counters>,
        before: Option<Self>,
    ) -> io::Result<Self> {
        let (stopper, stop) = stop::channel();
        let (ended, done) = stop::channel();
        let name: String = format!("cam-{}", order.camera.name).chars().take(15).collect();
        thread::Builder::new().name(name).spawn(move || {
            if let Some(mut before) = before {
                before.ask_to_stop();
                // One that hangs for longer than its teardown may take is left behind.
                let _is_done = before.wait(TEARDOWN + TEARDOWN_AT_END);
            }
            CameraWorker::new(order, context, counters, stop).run();
            drop(ended);
        })?;
        Ok(Self { stopper: Some(stopper), done })
    }

    /// Asks the thread to end.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stopper = None;
    }

    /// Waits for the thread's end. Returns false if it has not ended within `timeout`.
    #[must_use]
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        !self.done.sleep(timeout)
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

struct CameraWorker {
    order: CameraOrder,
    context: CameraContext,
    counters: Arc<Counters>,
    stop: Stop,
    state: CameraState,
    fault: CameraFault,
    /// Since when the camera is lost.
    outage_since: Option<Moment>,
    activity: Activity,
    /// What is measured of this connection.
    stats: ConnectionStats,
    /// How far the connection before came if it brought no picture: reported until this one goes further.
    step_before: Step,
    rates: Rates,
    next_status: Moment,
    /// How many of this connection's packets are in the counters already: those lost, and those that came.
    counted: (u32, u32),
}

impl CameraWorker {
    fn new(order: CameraOrder, context: CameraContext, counters: Arc<Counters>, stop: Stop) -> Self {
        let fault = if order.paused { CameraFault::Paused } else { CameraFault::Connecting };
        Self {
            order,
            context,
            counters,
            stop,
            state: CameraState::Offline,
            fault,
            outage_since: None,
            activity: Activity::default(),
            stats: ConnectionStats::default(),
            step_before: Step::None,
            rates: Rates::default(),
            next_status: Moment::default(),
            counted: (0, 0),
        }
    }

    fn run(&mut self) {
        while self.order.paused && !self.stop.requested() {
            self.pause(STATUS_EVERY);
        }
        let mut backoff = Backoff::default();
        while !self.stop.requested() {
            self.send_status();
            let begun = self.context.clock.now();
            let end = self.connect_once(begun);
            let Activity { first_picture, last_picture, .. } = self.activity;
            let pictures = first_picture.zip(last_picture).map(|(first, last)| last - first);
            backoff.ran(pictures.unwrap_or(Span::ZERO));
            let wait = match end {
                End::Stopped => return,
                End::Over => LOOP_MIN + Span(-(self.context.clock.now() - begun).as_ns()),
                End::Failed(StreamError { fault: CameraFault::Unauthorised, .. }) => {
                    backoff.after(Failure::Unauthorised, fastrand::f64())
                }
                End::Failed(_) => backoff.after(Failure::Other, fastrand::f64()),
            };
            debug!(camera = self.order.camera.name, %wait, "next try");
            self.pause(wait);
        }
    }

    /// Connects, and watches the connection until it ends.
    fn connect_once(&mut self, begun: Moment) -> End {
        let camera = &self.order.camera;
        let stats = ConnectionStats::default();
        let context = &self.context;
        let sampler = Sampler::new(context.grid, camera.decode, camera.gates.frame_offset_max_ms.span());
        let (downstream, counters) = (Arc::clone(&context.downstream), Arc::clone(&self.counters));
        let of_losses = stats.clone();
        let losses = Box::new(move |medium| of_losses.lost(medium));
        let timestamper = Arc::new(StreamTimestamper::new(sampler, downstream, counters, losses));
        (self.activity, self.stats) = (Activity::default(), stats.clone());
        (self.rates, self.counted) = (Rates::default(), (0, 0));
        let of_sink = Arc::clone(&timestamper);
        let sink = Arc::new(move |unit, rtp_time| of_sink.take(unit, rtp_time));
        let stream = match Stream::open(&self.order, context.clock.as_ref(), context.is_dry_run, &stats, sink) {
            Ok(stream) => stream,
            Err(error) => {
                self.set_lost(&error);
                return End::Failed(error);
            }
        };
        let end = self.watch(&stream, &timestamper, begun);
        timestamper.close();
        self.count_packets(&timestamper);
        if let End::Failed(error) = &end {
            self.set_lost(error);
        }
        let timeout = if self.stop.requested() { TEARDOWN_AT_END } else { TEARDOWN };
        if !stream.close(timeout) {
            let count = self.counters.left_behind.fetch_add(1, Ordering::Relaxed) + 1;
            warn!(camera = self.order.camera.name, count, "a connection cannot be closed and was left behind");
        }
        end
    }

    fn watch(&mut self, stream: &Stream, timestamper: &StreamTimestamper<Bytes>, begun: Moment) -> End {
        loop {
            let event = stream.events().recv_timeout(LOOK_EVERY.to_duration());
            let now = self.context.clock.now();
            self.activity = timestamper.poll(now);
            if self.stop.requested() {
                return End::Stopped;
            }
            if self.activity.last_picture.is_some() && self.state != CameraState::Online {
                self.set_online();
            }
            match event {
                Ok(Event::Lost(error)) => return End::Failed(error),
                Ok(Event::Ended) => return self.ended(),
                Err(RecvTimeoutError::Disconnected) => return End::Failed(StreamError::other("its pipeline ended")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Where a firewall drops the datagrams, the camera has described its stream, and no medium ever arrives.
            let has_answered = stream.has_answered() || Step::Authorised <= self.stats.step();
            if let Some(error) = overdue(&self.activity, has_answered, begun, now) {
                return End::Failed(error);
            }
            if self.next_status <= now {
                self.count_packets(timestamper);
                self.rates.tick(now, &self.activity);
                self.send_status();
            }
        }
    }

    /// Adds this connection's packets since the last call to the counters.
    fn count_packets(&mut self, timestamper: &StreamTimestamper<Bytes>) {
        let now = (timestamper.packets_lost(), self.stats.packets());
        let before = std::mem::replace(&mut self.counted, now);
        self.counters.packets_lost.fetch_add(now.0.saturating_sub(before.0), Ordering::Relaxed);
        self.counters.packets.fetch_add(now.1.saturating_sub(before.1), Ordering::Relaxed);
    }

    fn ended(&self) -> End {
        if matches!(self.order.camera.source, Source::File(_)) && self.activity.last_picture.is_some() {
            return End::Over;
        }
        End::Failed(StreamError { fault: CameraFault::Ended, text: "it ended the stream".into() })
    }

    /// Pictures arrive.
    fn set_online(&mut self) {
        let name = &self.order.camera.name;
        let codec = self.activity.codec.map_or("", |codec| codec.name());
        match self.outage_since.take() {
            Some(since) => {
                let outage = self.context.clock.now() - since;
                info!(camera = name, codec, %outage, "camera back");
            }
            None => info!(camera = name, codec, "camera connected"),
        }
        (self.state, self.fault) = (CameraState::Online, CameraFault::None);
        self.send_status();
    }

    /// Pictures do not arrive any more, or did not arrive at all.
    fn set_lost(&mut self, error: &StreamError) {
        if self.state == CameraState::Online {
            self.counters.outages.fetch_add(1, Ordering::Relaxed);
        }
        self.state = match error.fault {
            CameraFault::Stalled | CameraFault::SoundOnly => CameraState::Stale,
            _ => CameraState::Offline,
        };
        self.fault = error.fault;
        self.step_before = if self.activity.first_picture.is_some() { Step::None } else { self.step() };
        let (name, fault, cure) =
            (&self.order.camera.name, error.fault.as_str(), faults::camera_fault(error.fault).cure);
        // One line per outage. A reason that changes within it is in the status, and so in what is published.
        if self.outage_since.is_none() {
            warn!(camera = name, fault, "camera lost: {error}; {cure}");
        } else {
            debug!(camera = name, fault, "camera still lost: {error}; {cure}");
        }
        self.outage_since.get_or_insert(self.context.clock.now());
        self.rates = Rates::default();
        self.send_status();
    }

    /// Waits for the next try, and sends the status meanwhile.
    fn pause(&mut self, wait: Span) {
        let end = self.context.clock.now() + wait;
        loop {
            let now = self.context.clock.now();
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
        let arrived = match self.activity {
            Activity { has_key: true, .. } => Step::KeyFrame,
            Activity { first_picture: Some(_), .. } | Activity { last_sound: Some(_), .. } => Step::Playing,
            _ => Step::None,
        };
        arrived.max(self.stats.step()).max(self.step_before)
    }

    fn send_status(&mut self) {
        self.next_status = self.context.clock.now() + STATUS_EVERY;
        let counted = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        let ms = self.activity.key_distance.map_or(0, Span::as_ms);
        #[allow(clippy::cast_possible_truncation, reason = "clamped to its range")]
        let drift_ppm = self.activity.drift_ppm.unwrap_or(0.0).clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        self.context.downstream.put_status(CameraStatus {
            camera: self.order.camera.id,
            state: self.state,
            fault: self.fault,
            step: self.step(),
            fps_x100: u16::try_from(self.rates.fps_x100()).unwrap_or(u16::MAX),
            key_distance_ms: u16::try_from(ms).unwrap_or(u16::MAX),
            outages: u16::try_from(counted(&self.counters.outages)).unwrap_or(u16::MAX),
            drift_ppm,
            kbps: u32::try_from(self.rates.kbps()).unwrap_or(u32::MAX),
            packets_lost: counted(&self.counters.packets_lost),
            units_dropped: counted(&self.counters.units_dropped),
            packets: counted(&self.counters.packets),
            jitter_us: self.stats.jitter_us(),
            round_trip_us: self.stats.round_trip_us(),
            camera_clock_ms: self.stats.camera_clock_ms(self.context.clock.as_ref()),
        });
    }
}

/// Whether the pictures of a connection are overdue, and what that means.
fn overdue(activity: &Activity, has_answered: bool, begun: Moment, now: Moment) -> Option<StreamError> {
    let is_late = activity.last_picture.map_or(FIRST_PICTURE <= now - begun, |last| STALLED <= now - last);
    if !is_late {
        return None;
    }
    let has_sound = activity.last_sound.is_some_and(|last| now - last < SOUND_FLOWS);
    let (fault, text) = match (has_sound, activity.last_picture, has_answered) {
        (true, ..) => (CameraFault::SoundOnly, "it sends sound and no picture"),
        (_, Some(_), _) => (CameraFault::Stalled, "it is connected and sends nothing any more"),
        (_, None, true) => (CameraFault::Stalled, "it accepted the connection and sends nothing"),
        (_, None, false) => (CameraFault::Unreachable, "it does not answer"),
    };
    Some(StreamError { fault, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment(0) + Span::from_ms(ms)
    }

    #[test]
    fn a_late_picture_is_a_known_fault() {
        let check =
            |picture: Option<i64>, sound: Option<i64>, has_answered: bool, now_ms, want: Option<CameraFault>| {
                let (last_picture, last_sound) = (picture.map(at), sound.map(at));
                let activity = Activity { last_picture, last_sound, ..Activity::default() };
                let fault = overdue(&activity, has_answered, at(0), at(now_ms)).map(|error| error.fault);
                assert_eq!(fault, want, "picture {picture:?} sound {sound:?} at {now_ms}");
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
