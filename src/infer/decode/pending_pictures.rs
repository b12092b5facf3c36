//! The wanted pictures that a decoder still owes, shared by the caller's thread, the decoder's, a timer's and the slots.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::{super::wake::Wake, pipeline};
use crate::time::{Moment, Span};

/// So many wanted pictures may be inside a decoder at a time: an H.265 decoder holds 16 back at most.
const WANTED_MAX: usize = 64;
/// A picture that did not come this long after its unit does not come any more.
const WANTED_FOR: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// Where no unit came for so long, the chain is taken to have ended. More than six frames of a slow camera of 25
/// per second, and less than from the last wanted moment of a window to its end.
const CHAIN_ENDS_AFTER: gst::ClockTime = gst::ClockTime::from_mseconds(250);

/// The pictures that are wanted of a decoder and have not been passed on: the one list of them.
///
/// A decoder that expects B-frames holds a picture back until later units show that it is its turn. Where only
/// some units are decoded the later units do not come, so the decoder has to be drained: by the event that says of
/// a DVD's menu that nothing follows for a while (a gap event does not drain). After that the decoder knows nothing of
/// the units before, so the next unit must be a key frame.
#[derive(Debug, Default)]
pub(crate) struct PendingPictures {
    pictures: Mutex<Vec<Pending>>,
    /// Wanted units since the last picture.
    unanswered: AtomicU32,
    /// All units come, so that nothing has to be drained.
    is_lossless: AtomicBool,
    flow: Mutex<Flow>,
    wake: Wake,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    pts: gst::ClockTime,
    moment: Moment,
    /// It came out of the decoder and is being converted.
    is_out: bool,
    /// It is too late for the slot that it was wanted for; no slot waits for it.
    is_late: bool,
}

/// What was pushed.
#[derive(Debug, Default)]
struct Flow {
    pushes: u64,
    /// Presentation times are moments plus this, so that those of the output never decrease: GStreamer would change
    /// them. They would decrease where the camera's clock goes back, and where a chain is decoded again.
    pts_offset: Span,
    newest: Option<Moment>,
    is_drained: bool,
    /// A key frame among key frames only was held back before: the next ones are drained at once.
    holds_keys: bool,
}

/// While this lives, only its holder pushes units.
pub(super) struct PushGuard<'a> {
    pending: &'a Arc<PendingPictures>,
    flow: MutexGuard<'a, Flow>,
}

impl PendingPictures {
    /// None yet; `wake` is notified of each that is passed on.
    pub(crate) fn new(wake: Wake) -> Self {
        Self { wake, ..Self::default() }
    }

    /// Whether a slot still waits for a picture.
    pub(crate) fn is_any_awaited(&self) -> bool {
        lock(&self.pictures).iter().any(|picture| !picture.is_late)
    }

    /// The slot has ended: what is still pending is too late for it.
    pub(crate) fn stop_waiting(&self) {
        lock(&self.pictures).iter_mut().for_each(|picture| picture.is_late = true);
    }

    pub(super) fn push_guard(self: &Arc<Self>) -> PushGuard<'_> {
        PushGuard { pending: self, flow: lock(&self.flow) }
    }

    /// The picture with this presentation time came out of the decoder. Returns its moment, once, if it is wanted.
    pub(super) fn came_out(&self, pts: gst::ClockTime) -> Option<Moment> {
        let mut pictures = lock(&self.pictures);
        let picture = pictures.iter_mut().find(|picture| picture.pts == pts && !picture.is_out)?;
        picture.is_out = true;
        Some(picture.moment)
    }

    /// The picture of this moment, which came out of the decoder, was passed on, or `is_usable` is false.
    pub(super) fn finish(&self, moment: Moment, is_usable: bool) {
        if is_usable {
            self.unanswered.store(0, Ordering::Relaxed);
        }
        lock(&self.pictures).retain(|picture| !picture.is_out || picture.moment != moment);
        self.wake.notify();
    }

    /// Wanted units since the last picture.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// All units come from now on, as from a file.
    pub(super) fn set_lossless(&self) {
        self.is_lossless.store(true, Ordering::Relaxed);
    }

    /// The decoder was restarted.
    pub(super) fn clear(&self) {
        let mut flow = lock(&self.flow);
        *flow = Flow { pushes: flow.pushes + 1, ..Flow::default() };
        lock(&self.pictures).clear();
        self.unanswered.store(0, Ordering::Relaxed);
        self.wake.notify();
    }

    fn is_any_inside(&self) -> bool {
        lock(&self.pictures).iter().any(|picture| !picture.is_out)
    }
}

impl PushGuard<'_> {
    /// Whether the decoder knows nothing of the units before.
    pub(super) fn was_drained(&self) -> bool {
        self.flow.is_drained
    }

    /// The presentation time for a unit of this moment that is pushed next.
    pub(super) fn pts(&mut self, moment: Moment, is_key: bool) -> gst::ClockTime {
        if let Some(newest) = self.flow.newest.filter(|newest| is_key && moment + self.flow.pts_offset <= *newest) {
            self.flow.pts_offset = newest - moment + Span::from_ms(1000);
        }
        let pts = moment + self.flow.pts_offset;
        self.flow.newest = self.flow.newest.max(Some(pts));
        pipeline::pts_of(pts)
    }

    /// The picture of the unit with this presentation time is wanted.
    pub(super) fn expect(&mut self, pts: gst::ClockTime, moment: Moment) {
        let mut pictures = lock(&self.pending.pictures);
        pictures.retain(|picture| pts < picture.pts + WANTED_FOR);
        if WANTED_MAX <= pictures.len() {
            pictures.remove(0);
        }
        pictures.push(Pending { pts, moment, is_out: false, is_late: false });
        self.pending.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// A unit was pushed. Makes sure that its picture comes out, whether or not more units follow.
    pub(super) fn pushed(&mut self, source: gst::glib::WeakRef<AppSrc>, follows_key: bool) {
        self.flow.pushes += 1;
        self.flow.is_drained = false;
        if !self.pending.is_any_inside() || self.pending.is_lossless.load(Ordering::Relaxed) {
            return;
        }
        if follows_key && self.flow.holds_keys {
            drain(&source, &mut self.flow);
            return;
        }
        let (pending, pushes) = (self.pending.clone(), self.flow.pushes);
        let clock = gst::SystemClock::obtain();
        let at = clock.time() + CHAIN_ENDS_AFTER;
        let timer = clock.new_single_shot_id(at).wait_async(move |_, _, _| {
            let mut flow = lock(&pending.flow);
            if flow.pushes == pushes && pending.is_any_inside() {
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
