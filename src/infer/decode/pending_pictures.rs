//! Which wanted pictures a decoder still owes, shared by the caller's thread and the decoder's.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::pipeline;
use crate::time::{Moment, Span};

/// So many wanted pictures may be inside a decoder at a time: an H.265 decoder holds 16 back at most.
const WANTED_MAX: usize = 64;
/// A picture that did not come this long after its unit does not come any more.
const WANTED_FOR: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// Where no unit came for so long, the chain is taken to have ended. More than six frames of a slow camera of 25
/// per second, and less than from the last wanted moment of a window to its end.
const CHAIN_ENDS_AFTER: gst::ClockTime = gst::ClockTime::from_mseconds(250);

/// The pictures that are wanted of a decoder and have not come out of it, shared between the caller's thread, the
/// decoder's and a timer's.
///
/// A decoder that expects B-frames holds a picture back until later units show that it is its turn. Where only
/// some units are decoded the later units do not come, so the decoder has to be drained: by the event that says of
/// a DVD's menu that nothing follows for a while (a gap event does not drain). That voids what the decoder knows, so the next unit must be a key frame.
#[derive(Default)]
pub(super) struct PendingPictures {
    wanted: Mutex<Vec<Wanted>>,
    unanswered: AtomicU32,
    pictures: AtomicU64,
    /// All units come, so that nothing has to be drained.
    is_undropped: AtomicBool,
    flow: Mutex<Flow>,
}

#[derive(Clone, Copy)]
struct Wanted {
    pts: gst::ClockTime,
    moment: Moment,
}

/// What was pushed.
#[derive(Default)]
struct Flow {
    pushes: u64,
    /// The presentation time of a moment is later by this, so that those of the output never decrease: GStreamer
    /// would change them. They would where the camera's clock goes back, and where a chain is decoded again.
    ahead: Span,
    newest: Option<Moment>,
    is_drained: bool,
    /// A key frame among key frames only was held back before: the next ones are drained at once.
    holds_keys: bool,
}

/// The stream of units is nobody else's while this lives.
pub(super) struct PushGuard<'a> {
    awaited: &'a Arc<PendingPictures>,
    flow: MutexGuard<'a, Flow>,
}

impl PendingPictures {
    pub(super) fn gate(self: &Arc<Self>) -> PushGuard<'_> {
        PushGuard { awaited: self, flow: lock(&self.flow) }
    }

    /// The moment of the picture with this presentation time, if it is wanted; it is not a second time.
    pub(super) fn take(&self, pts: gst::ClockTime) -> Option<Moment> {
        let mut wanted = lock(&self.wanted);
        let at = wanted.iter().position(|wanted| wanted.pts == pts)?;
        Some(wanted.remove(at).moment)
    }

    /// Wanted units since the last picture.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Relaxed)
    }

    pub(super) fn pictures(&self) -> u64 {
        self.pictures.load(Ordering::Relaxed)
    }

    pub(super) fn count_picture(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
        self.pictures.fetch_add(1, Ordering::Relaxed);
    }

    /// All units come from now on, as from a file.
    pub(super) fn expect_all(&self) {
        self.is_undropped.store(true, Ordering::Relaxed);
    }

    pub(super) fn forget(&self) {
        let mut flow = lock(&self.flow);
        *flow = Flow { pushes: flow.pushes + 1, ..Flow::default() };
        lock(&self.wanted).clear();
        self.unanswered.store(0, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        !lock(&self.wanted).is_empty()
    }
}

impl PushGuard<'_> {
    /// Whether the decoder knows nothing of the units before.
    pub(super) fn was_drained(&self) -> bool {
        self.flow.is_drained
    }

    /// The presentation time for a unit of this moment that is pushed next.
    pub(super) fn pts(&mut self, moment: Moment, key: bool) -> gst::ClockTime {
        if let Some(newest) = self.flow.newest.filter(|newest| key && moment + self.flow.ahead <= *newest) {
            self.flow.ahead = newest - moment + Span::from_ms(1000);
        }
        let shown = moment + self.flow.ahead;
        self.flow.newest = self.flow.newest.max(Some(shown));
        pipeline::pts_of(shown)
    }

    /// The picture of the unit with this presentation time is wanted.
    pub(super) fn expect(&mut self, pts: gst::ClockTime, moment: Moment) {
        let mut wanted = lock(&self.awaited.wanted);
        wanted.retain(|wanted| pts < wanted.pts + WANTED_FOR);
        if WANTED_MAX <= wanted.len() {
            wanted.remove(0);
        }
        wanted.push(Wanted { pts, moment });
        self.awaited.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A unit was pushed. Sees to it that its picture comes out, whether or not more units follow.
    pub(super) fn pushed(&mut self, source: gst::glib::WeakRef<AppSrc>, follows_key: bool) {
        self.flow.pushes += 1;
        self.flow.is_drained = false;
        if !self.awaited.is_waiting() || self.awaited.is_undropped.load(Ordering::Relaxed) {
            return;
        }
        if follows_key && self.flow.holds_keys {
            drain(&source, &mut self.flow);
            return;
        }
        let (awaited, pushes) = (self.awaited.clone(), self.flow.pushes);
        let clock = gst::SystemClock::obtain();
        let at = clock.time() + CHAIN_ENDS_AFTER;
        let timer = clock.new_single_shot_id(at).wait_async(move |_, _, _| {
            let mut flow = lock(&awaited.flow);
            if flow.pushes == pushes && awaited.is_waiting() {
                flow.holds_keys |= follows_key;
                drain(&source, &mut flow);
            }
        });
        if timer.is_err() {
            tracing::debug!("a decoder cannot be drained in time");
        }
    }
}

fn drain(source: &gst::glib::WeakRef<AppSrc>, flow: &mut Flow) {
    let Some(source) = source.upgrade() else { return };
    let still = gst::Structure::builder("GstEventStillFrame").field("still-state", true).build();
    flow.is_drained = source.send_event(gst::event::CustomDownstream::new(still));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
