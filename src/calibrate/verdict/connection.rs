//! The camera's connection.

use super::{Item, Section, View};
use crate::{
    calibrate::{bounds, grade::Grade},
    config::Transport,
    faults::{STALLED_UDP_CURE, camera_fault},
    wire::record::{CameraFault, CameraState, ProbeRecord, Step},
};

/// A drift of exactly nothing is one that is not known yet, in the first minute.
const DRIFT_UNKNOWN_PPM: i16 = 0;

pub(super) fn items(view: &View<'_>) -> Vec<Item> {
    vec![connection(view), outages(view), loss(view), jitter(view), round_trip(view), clock(view), drift(view)]
}

/// How far a connection came, for people.
#[must_use]
pub(crate) const fn step_words(step: Step) -> &'static str {
    match step {
        Step::None => "no answer",
        Step::Connected => "connected",
        Step::Authorised => "signed in",
        Step::Described => "stream agreed",
        Step::Playing => "packets arrive",
        Step::KeyFrame => "key frame",
        Step::Decoded => "picture",
    }
}

fn connection(view: &View<'_>) -> Item {
    let item = Item::new(Section::Connection, "connection", "connection").should_be("online, with pictures");
    let Some(vital) = &view.seen.vital else { return item.is("no report yet") };
    let step = view.seen.probe.map(|it| it.step);
    let furthest = match step.filter(|it| *it != Step::None).or(view.seen.furthest) {
        None | Some(Step::None) => String::new(),
        Some(step) => format!(", reached: {}", step_words(step)),
    };
    match (vital.state, vital.fault) {
        (CameraState::Online, _) if step.is_none_or(|it| it == Step::Decoded) => {
            item.is("online").graded(Grade::Pass, "")
        }
        (CameraState::Online, _) => item.is(format!("online{furthest}")),
        (_, CameraFault::Paused) => item.is("paused").graded(Grade::Warn, camera_fault(CameraFault::Paused).cure),
        (_, CameraFault::Connecting) => item.is(format!("connecting{furthest}")),
        (CameraState::Stale, CameraFault::None) => {
            item.is("stale").graded(Grade::Warn, camera_fault(CameraFault::Stalled).cure)
        }
        (_, fault) => {
            let cure = match fault {
                CameraFault::None => camera_fault(CameraFault::Connecting).cure,
                CameraFault::Stalled if is_udp(view) => STALLED_UDP_CURE,
                known => camera_fault(known).cure,
            };
            item.is(format!("{}{furthest}", fault.as_str())).graded(Grade::Fail, cure)
        }
    }
}

fn is_udp(view: &View<'_>) -> bool {
    view.camera.rtp.is_some_and(|(transport, _)| transport == Transport::Udp)
}

fn outages(view: &View<'_>) -> Item {
    let item = Item::new(Section::Connection, "outages", "outages").should_be(bounds::OUTAGES.words("times"));
    let Some(vital) = view.seen.vital.filter(|it| it.state == CameraState::Online || 0 < it.outages) else {
        return item;
    };
    let count = f64::from(vital.outages);
    let value = if vital.outages == 0 { "none".to_owned() } else { vital.outages.to_string() };
    item.measured(count, "")
        .is(value)
        .graded(bounds::OUTAGES.grade(count), "the connection was lost: cable, plug, power supply, switch, Wi-Fi")
}

/// The newest record of a network camera whose packets arrive.
fn rtp<'a>(view: &View<'a>) -> Option<&'a ProbeRecord> {
    let playing = view.seen.probe.as_ref().filter(|it| Step::Playing <= it.step);
    playing.or(view.seen.picture()).filter(|_| view.camera.rtp.is_some())
}

fn loss(view: &View<'_>) -> Item {
    let item = Item::new(Section::Connection, "loss", "packet loss").should_be(bounds::LOSS_PERCENT.words("%"));
    let lost = view.seen.vital.map_or(0, |it| it.packets_lost);
    let sent = view.seen.packets + u64::from(lost);
    if sent == 0 || view.camera.rtp.is_none() {
        return item;
    }
    let percent = 100.0 * f64::from(lost) / sent as f64;
    let value = if lost == 0 { "none".to_owned() } else { format!("{percent:.2} % ({lost} packets)") };
    let cure = "write transport = \"tcp\" below [camera]; a wired network instead of Wi-Fi; a lower bit rate";
    item.measured(percent, "%").is(value).graded(bounds::LOSS_PERCENT.grade(percent), cure)
}

fn jitter(view: &View<'_>) -> Item {
    let buffer_ms = view.camera.rtp.map_or(0.0, |(_, ms)| f64::from(ms)).max(bounds::BUFFER_MS);
    let bound = bounds::Upper { warn: buffer_ms * bounds::JITTER_OF_BUFFER, fail: f64::INFINITY };
    let item = Item::new(Section::Connection, "jitter", "jitter").should_be(bound.words("ms"));
    let Some(probe) = rtp(view).filter(|it| 0 < it.jitter_us) else { return item };
    let ms = f64::from(probe.jitter_us) / 1000.0;
    let cure =
        "packets come unevenly: a wired network, less traffic beside the camera's, or a larger camera.latency_ms";
    item.measured(ms, "ms").is(format!("{ms:.1} ms")).graded(bound.grade(ms), cure)
}

fn round_trip(view: &View<'_>) -> Item {
    let item = Item::new(Section::Connection, "round_trip", "round trip").should_be(bounds::ROUND_TRIP_MS.words("ms"));
    let Some(probe) = view.seen.probe.filter(|it| 0 < it.round_trip_us) else { return item };
    let ms = f64::from(probe.round_trip_us) / 1000.0;
    let cure = "the camera answers slowly: its load, its other viewers, or the way to it";
    item.measured(ms, "ms").is(format!("{ms:.1} ms")).graded(bounds::ROUND_TRIP_MS.grade(ms), cure)
}

fn clock(view: &View<'_>) -> Item {
    let item =
        Item::new(Section::Connection, "clock", "camera's date").should_be(bounds::CLOCK_MS.times(1e-3).words("s off"));
    let Some(probe) = rtp(view).filter(|it| it.camera_clock_ms != i32::MIN) else {
        return item.is("the camera has not told it yet");
    };
    let s = f64::from(probe.camera_clock_ms) / 1000.0;
    let value = match s.abs() {
        off if off < 0.05 => "right".to_owned(),
        off if off < 600.0 => format!("{s:+.1} s off"),
        off if off < 172_800.0 => format!("{:+.1} h off", s / 3600.0),
        _ => format!("{:+.0} days off", s / 86_400.0),
    };
    let cure = "give the camera an NTP server; edge-ger does not use its date, but its own recordings will not match";
    item.measured(s, "s").is(value).graded(bounds::CLOCK_MS.grade(s.abs() * 1000.0), cure)
}

fn drift(view: &View<'_>) -> Item {
    let item = Item::new(Section::Connection, "drift", "camera's clock").should_be(bounds::DRIFT_PPM.words("ppm"));
    let Some(vital) = view.seen.online().filter(|it| it.camera_drift_ppm != DRIFT_UNKNOWN_PPM) else {
        return item.is("known after a minute");
    };
    let ppm = f64::from(vital.camera_drift_ppm);
    let cure = "the camera's time stamps run wrong: update its firmware, set a fixed frame rate, restart it";
    item.measured(ppm, "ppm").is(format!("{ppm:+} ppm")).graded(bounds::DRIFT_PPM.grade(ppm.abs()), cure)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{grades, item},
        *,
    };
    use crate::{
        calibrate::observations::Observations,
        wire::record::{PictureCodec, Vital},
    };

    fn vital(seen: &mut Observations, change: impl FnOnce(&mut Vital)) {
        change(seen.vital.as_mut().unwrap());
    }

    fn probe(seen: &mut Observations, change: impl FnOnce(&mut ProbeRecord)) {
        change(seen.probe.as_mut().unwrap());
    }

    fn lost(seen: &mut Observations, fault: CameraFault) {
        vital(seen, |it| (it.state, it.fault, it.codec) = (CameraState::Offline, fault, PictureCodec::Unknown));
        probe(seen, |it| it.step = Step::None);
        seen.furthest = Some(Step::Connected);
    }

    #[test]
    fn each_fault_has_its_cure() {
        for fault in CameraFault::ALL {
            let grade = match fault {
                CameraFault::Connecting => Grade::Unknown,
                CameraFault::Paused => Grade::Warn,
                _ => Grade::Fail,
            };
            grades("connection", grade, |seen, _| lost(seen, *fault));
        }
        let refused = item("connection", |seen, _| lost(seen, CameraFault::Unauthorised));
        assert_eq!(refused.value, "unauthorised, reached: connected");
        assert!(refused.cure.contains("camera.password_file"));
    }

    #[test]
    fn blocked_udp_is_called_by_its_name() {
        let stalled = |transport| {
            item("connection", |seen, facts| {
                lost(seen, CameraFault::Stalled);
                facts.cameras[0].rtp = Some((transport, 200));
            })
        };
        assert!(stalled(Transport::Udp).cure.contains("no UDP packets arrive"));
        assert!(!stalled(Transport::Tcp).cure.contains("UDP"));
    }

    #[test]
    fn a_connection_without_a_picture_is_not_judged_yet() {
        let waiting = item("connection", |seen, _| probe(seen, |it| it.step = Step::Playing));
        assert_eq!((waiting.grade, waiting.value.as_str()), (Grade::Unknown, "online, reached: packets arrive"));
    }

    #[test]
    fn connections_are_graded_at_their_bounds() {
        for (outages, grade) in [(0, Grade::Pass), (1, Grade::Warn), (2, Grade::Warn), (3, Grade::Fail)] {
            grades("outages", grade, |seen, _| vital(seen, |it| it.outages = outages));
        }
        for (lost, grade) in
            [(0, Grade::Pass), (1, Grade::Pass), (2, Grade::Warn), (10, Grade::Warn), (11, Grade::Fail)]
        {
            grades("loss", grade, |seen, _| {
                seen.packets = 1000 - u64::from(lost);
                vital(seen, |it| it.packets_lost = lost);
            });
        }
        for (us, grade) in [(0, Grade::Unknown), (50_000, Grade::Pass), (50_001, Grade::Warn)] {
            grades("jitter", grade, |seen, _| probe(seen, |it| it.jitter_us = us));
        }
        grades("jitter", Grade::Pass, |seen, facts| {
            facts.cameras[0].rtp = Some((Transport::Udp, 1000));
            probe(seen, |it| it.jitter_us = 250_000);
        });
        for (us, grade) in [(0, Grade::Unknown), (200_000, Grade::Pass), (200_001, Grade::Warn)] {
            grades("round_trip", grade, |seen, _| probe(seen, |it| it.round_trip_us = us));
        }
        for (ms, grade) in [(i32::MIN, Grade::Unknown), (-2000, Grade::Pass), (2001, Grade::Warn)] {
            grades("clock", grade, |seen, _| probe(seen, |it| it.camera_clock_ms = ms));
        }
        for (ppm, grade) in
            [(0, Grade::Unknown), (-200, Grade::Pass), (201, Grade::Warn), (1000, Grade::Warn), (-1001, Grade::Fail)]
        {
            grades("drift", grade, |seen, _| vital(seen, |it| it.camera_drift_ppm = ppm));
        }
    }

    #[test]
    fn a_recording_has_no_packets_to_lose() {
        for key in ["loss", "jitter", "clock"] {
            grades(key, Grade::Unknown, |_, facts| facts.cameras[0].rtp = None);
        }
    }

    #[test]
    fn a_wrong_date_is_told_in_its_own_unit() {
        let value = |ms| item("clock", |seen, _| probe(seen, |it| it.camera_clock_ms = ms)).value;
        assert_eq!(value(-49), "right");
        assert_eq!(value(120), "+0.1 s off");
        assert_eq!(value(-3_600_000), "-1.0 h off");
        assert_eq!(value(-864_000_000), "-10 days off");
    }
}
