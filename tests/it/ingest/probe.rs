//! What a dry run asks of `ingest`: how far a connection comes, and every picture for a clap test.

use edge_ger::wire::{control::Sampling, record::Step};

use super::*;

fn dry_run(order: CameraOrder) -> Ingest {
    let (ours, theirs) = unit_pair().unwrap();
    Ingest { messages: reader(theirs), ..Ingest::begin(vec![order], ours, true) }
}

/// Waits for a fault; returns how far the connection came.
fn step_of(fault: CameraFault, order: CameraOrder) -> Step {
    let ingest = dry_run(order);
    let step = ingest.fault(fault, SOON).step;
    ingest.stop();
    step
}

#[test]
fn a_connection_says_how_far_it_came() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut absent = Camera::builder().start().rtsp();
    absent.url = format!("rtsp://{free}/live");
    assert_eq!(step_of(CameraFault::Unreachable, of("step-absent", absent)), Step::None);

    let camera = Camera::builder().login(Auth::Digest, "viewer", "right").start();
    let wrong = CameraOrder { password: Some(Secret::new("wrong".into())), ..of("step-wrong", camera.rtsp()) };
    assert_eq!(step_of(CameraFault::Unauthorised, wrong), Step::Connected);

    let camera = Camera::builder().video(Video::Vp8).start();
    assert_eq!(step_of(CameraFault::Codec, of("step-codec", camera.rtsp())), Step::Authorised);

    // It accepts the connection, and does not even describe its streams.
    let camera = Camera::builder().start();
    camera.stall();
    assert_eq!(step_of(CameraFault::Unreachable, of("step-mute", camera.rtsp())), Step::Connected);

    let camera = Camera::builder().start();
    let ingest = dry_run(of("step-good", camera.rtsp()));
    ingest.status("a key frame", SOON, |status| status.step == Step::KeyFrame);
    ingest.stop();
}

#[test]
fn a_link_is_measured_and_the_cameras_clock_in_a_dry_run_alone() {
    let camera = Camera::builder().start();
    let is_linked = |status: &CameraStatus| 0 < status.packets && 0 < status.jitter_us && 0 < status.round_trip_us;
    let ingest = dry_run(of("link-dry-run", camera.rtsp()));
    // GStreamer's server tells the time of the machine that both are on; its pictures are a little old.
    let is_known = |status: &CameraStatus| status.camera_clock_ms.unsigned_abs() < 2000;
    let first = ingest.status("all numbers", SOON, |status| is_linked(status) && is_known(status));
    ingest.status("more packets", SOON, |status| first.packets < status.packets);
    ingest.stop();
    let ingest = Ingest::start(vec![of("link-daemon", camera.rtsp())]);
    let status = ingest.status("the link", SOON, |status| is_linked(status) && 200 < status.packets);
    assert_eq!(status.camera_clock_ms, i32::MIN);
    ingest.stop();
}

#[test]
fn a_clap_test_gets_every_picture_from_a_key_frame_on() {
    let camera = Camera::builder().start();
    let mut order = of("clap", camera.rtsp());
    order.camera.decode = Decode::Keyframes;
    let ingest = dry_run(order);
    ingest.unit("a key frame", |unit| unit.is_key);
    ingest.unit("another, and nothing between", |unit| {
        assert!(unit.is_key, "{unit:?}");
        unit.seq == 2
    });
    ingest.order(Order::SetSampling(CameraId(0), Sampling::All), Vec::new());
    let mut last = None;
    ingest.unit("a second of pictures", |unit| {
        // Key frames may have been on their way; the first other one follows a key frame.
        let follows = last.is_none_or(|last: UnitHeader| last.is_key || unit.moment - last.moment < Span::from_ms(100));
        assert!(unit.is_key || last.is_some() && follows, "{last:?} {unit:?}");
        let is_in_chain = !unit.is_key && unit.seq > 30;
        last = Some(*unit);
        is_in_chain
    });
    ingest.order(Order::SetSampling(CameraId(0), Sampling::Grid), Vec::new());
    let mut keys = 0;
    ingest.unit("key frames alone", |unit| {
        keys = if unit.is_key { keys + 1 } else { 0 };
        keys == 3
    });
    ingest.stop();
}
