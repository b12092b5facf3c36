//! `ingest` against real cameras.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod probe;

use std::{
    fs,
    io::Write as _,
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use edge_ger::{
    config::{Camera as Configured, Decode, Gates, Rtsp, Secret, Sound as SoundSource, Source, Transport},
    ingest,
    time::{Clock as _, Grid, Span, SystemClock},
    wire::{
        CameraId,
        access_unit::{self, CameraStatus, Codec, Message, UnitHeader},
        control::{CameraOrder, IngestConfig, Order, Report, unit_pair},
        record::{CameraFault, CameraState},
    },
};
use gstreamer::{self as gst, prelude::*};

use crate::it::harness::camera::{Auth, Camera, Sound, Video};

const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };
/// A connection, with two cores that others use as well.
const SOON: Duration = Duration::from_secs(20);

/// Everything the process logs, as one text: the cameras' threads write it, so it belongs to the process.
fn journal() -> &'static Mutex<Vec<u8>> {
    #[derive(Clone)]
    struct Page(&'static Mutex<Vec<u8>>);
    impl std::io::Write for Page {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static IS_OPEN: OnceLock<()> = OnceLock::new();
    IS_OPEN.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
        let subscriber = subscriber.with_writer(move || Page(&TEXT)).finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other test keeps a journal");
    });
    &TEXT
}

/// The lines that were logged about a camera.
fn lines_about(name: &str) -> Vec<String> {
    let text = String::from_utf8(journal().lock().unwrap().clone()).unwrap();
    let is_about = |line: &&str| line.contains(&format!("camera=\"{name}\"")) && !line.contains(" DEBUG ");
    text.lines().filter(is_about).map(str::to_owned).collect()
}

fn configured(id: u16, name: &str, source: Source) -> CameraOrder {
    let camera = Configured {
        id: CameraId(id),
        name: name.into(),
        source,
        decode: Decode::All,
        decoder: None,
        sound: SoundSource::Off,
        sync_offset: Span::ZERO,
        gates: Gates::default(),
        masks: Vec::new(),
        schedule: Default::default(),
    };
    CameraOrder { camera, password: None, paused: false }
}

fn of(name: &str, rtsp: Rtsp) -> CameraOrder {
    configured(0, name, Source::Rtsp(rtsp))
}

/// `ingest` in a thread, and an `infer` that reads everything it sends.
struct Ingest {
    orders: Sender<(Order, Vec<OwnedFd>)>,
    reports: Receiver<Report>,
    messages: Receiver<Message<Vec<u8>>>,
    thread: Option<thread::JoinHandle<Result<(), ingest::Error>>>,
}

impl Ingest {
    fn start(cameras: Vec<CameraOrder>) -> Self {
        let (ours, theirs) = unit_pair().unwrap();
        Self { messages: reader(theirs), ..Self::without_reader(cameras, ours) }
    }

    /// Without an `infer`: the other end of the socket is the test's.
    fn without_reader(cameras: Vec<CameraOrder>, out: OwnedFd) -> Self {
        Self::begin(cameras, out, false)
    }

    fn begin(cameras: Vec<CameraOrder>, out: OwnedFd, is_dry_run: bool) -> Self {
        journal();
        let (orders, taken) = bounded(8);
        let (said, reports) = bounded(64);
        let thread = thread::Builder::new().name("ingest".into()).spawn(move || {
            ingest::run(IngestConfig { cameras, grid: GRID, is_dry_run }, out, &taken, &said, Arc::new(SystemClock))
        });
        Self { orders, reports, messages: bounded(0).1, thread: Some(thread.unwrap()) }
    }

    fn order(&self, order: Order, fds: Vec<OwnedFd>) {
        self.orders.send((order, fds)).unwrap();
    }

    /// Waits until a message is what is wanted, and returns what `pick` made of it.
    fn wait<T>(&self, what: &str, within: Duration, mut pick: impl FnMut(&Message<Vec<u8>>) -> Option<T>) -> T {
        let late = after(within);
        let mut last_status = None;
        loop {
            select! {
                recv(self.messages) -> message => {
                    let message = message.expect("ingest writes");
                    if let Some(found) = pick(&message) {
                        return found;
                    }
                    if let Message::Status(status) = message {
                        last_status = Some(status);
                    }
                }
                recv(late) -> _ => panic!("not within {within:?}: {what}; the last status was {last_status:?}"),
            }
        }
    }

    fn unit(&self, what: &str, mut is_it: impl FnMut(&UnitHeader) -> bool) -> (UnitHeader, Vec<u8>) {
        self.wait(what, SOON, |message| match message {
            Message::AccessUnit(unit) if is_it(&unit.header) => Some((unit.header, unit.bytes.clone())),
            _ => None,
        })
    }

    fn status(&self, what: &str, within: Duration, mut is_it: impl FnMut(&CameraStatus) -> bool) -> CameraStatus {
        self.wait(what, within, |message| match message {
            Message::Status(status) if is_it(status) => Some(*status),
            _ => None,
        })
    }

    fn fault(&self, fault: CameraFault, within: Duration) -> CameraStatus {
        self.status(fault.as_str(), within, |status| status.fault == fault)
    }

    fn online(&self) -> CameraStatus {
        self.status("online", SOON, |status| status.state == CameraState::Online)
    }

    /// Stops it, which must not take longer than two seconds.
    fn stop(mut self) {
        let begun = SystemClock.now();
        self.order(Order::Stop, Vec::new());
        let thread = self.thread.take().unwrap();
        let (done, is_done) = bounded(1);
        let waiter = thread::Builder::new().name("waiter".into());
        waiter.spawn(move || drop(done.send(thread.join().expect("it does not panic")))).unwrap();
        let ended = is_done.recv_timeout(Duration::from_secs(10)).expect("it ends");
        ended.unwrap();
        let took = SystemClock.now() - begun;
        assert!(took < Span::from_ms(2000), "stopping took {took}");
    }
}

fn reader(theirs: OwnedFd) -> Receiver<Message<Vec<u8>>> {
    let (sender, messages) = bounded(100_000);
    let mut from = UnixStream::from(theirs);
    let read = move || {
        while let Ok(Some(message)) = access_unit::read(&mut from, |len| vec![0; len]) {
            if sender.send(message).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("infer".into()).spawn(read).unwrap();
    messages
}

/// The types of the NAL units of a byte stream.
fn nal_types(body: &[u8], codec: Codec) -> Vec<u8> {
    let starts = body.windows(4).filter(|at| at[..3] == [0, 0, 1]).map(|at| at[3]);
    starts.map(|head| if codec == Codec::H264 { head & 0x1f } else { head >> 1 & 0x3f }).collect()
}

/// A picture arrives, is decodable by itself, and its camera's numbers are right.
fn check_picture(name: &str, rtsp: Rtsp, codec: Codec) {
    let ingest = Ingest::start(vec![of(name, rtsp)]);
    let (first, body) = ingest.unit("the first picture", |_| true);
    assert_eq!((first.codec, first.is_key, first.discontinuity, first.seq), (codec, true, true, 0));
    match codec {
        Codec::H264 => assert!([7, 8, 5].iter().all(|nal| nal_types(&body, codec).contains(nal)), "SPS, PPS, IDR"),
        Codec::H265 => assert!([32, 33, 34].iter().all(|nal| nal_types(&body, codec).contains(nal)), "VPS, SPS, PPS"),
        _ => assert_eq!(body[..3], [0xff, 0xd8, 0xff], "JPEG"),
    }
    let mut last = first;
    for _ in 0..20 {
        let (next, body) = ingest.unit("the next picture", |_| true);
        assert_eq!((next.seq, next.discontinuity), (last.seq + 1, false));
        assert!(last.moment < next.moment && next.moment <= next.arrival, "{last:?} {next:?}");
        assert!((next.arrival - next.moment).as_ms() < 1000, "{next:?}");
        assert!(!body.is_empty());
        last = next;
    }
    let per_frame = (last.moment - first.moment).as_secs_f64() / 20.0;
    assert!((0.055..0.08).contains(&per_frame), "15 frames per second, not one per {per_frame} s");
    let status = ingest.status("rates", SOON, |status| status.key_distance_ms != 0 && 1300 < status.fps_x100);
    assert_eq!((status.state, status.fault, status.outages), (CameraState::Online, CameraFault::None, 0));
    assert!((1300..1700).contains(&status.fps_x100), "{status:?}");
    let key_ms = if codec == Codec::Mjpeg { 50..90 } else { 900..1100 };
    assert!(key_ms.contains(&status.key_distance_ms), "{status:?}");
    assert!((5..4000).contains(&status.kbps), "{status:?}");
    assert_eq!((status.packets_lost, status.units_dropped), (0, 0));
    ingest.stop();
}

#[test]
fn h264_over_tcp() {
    let camera = Camera::builder().start();
    check_picture("h264", camera.rtsp(), Codec::H264);
}

#[test]
fn h265_over_tcp() {
    let camera = Camera::builder().video(Video::H265).start();
    check_picture("h265", camera.rtsp(), Codec::H265);
}

#[test]
fn mjpeg_over_tcp() {
    let camera = Camera::builder().video(Video::Mjpeg).start();
    check_picture("mjpeg", camera.rtsp(), Codec::Mjpeg);
}

#[test]
fn h264_over_udp() {
    let camera = Camera::builder().start();
    check_picture("udp", Rtsp { transport: Transport::Udp, ..camera.rtsp() }, Codec::H264);
}

#[test]
fn rtsps_with_the_pinned_certificate() {
    let camera = Camera::builder().encrypted().start();
    check_picture("pinned", Rtsp { fingerprint: Some(camera.fingerprint()), ..camera.rtsp() }, Codec::H264);
}

#[test]
fn rtsps_with_the_cameras_authority() {
    let camera = Camera::builder().encrypted().start();
    check_picture("signed", Rtsp { ca_file: Some(camera.ca_file()), ..camera.rtsp() }, Codec::H264);
}

#[test]
fn rtsps_is_refused_with_any_other_certificate() {
    let camera = Camera::builder().encrypted().start();
    let other = Camera::builder().encrypted().start();
    let check = |name: &str, rtsp: Rtsp| {
        let ingest = Ingest::start(vec![of(name, rtsp)]);
        let status = ingest.fault(CameraFault::Certificate, SOON);
        assert_eq!(status.state, CameraState::Offline);
        ingest.stop();
    };
    check("untrusted", camera.rtsp());
    check("other-pin", Rtsp { fingerprint: Some(other.fingerprint()), ..camera.rtsp() });
    check("other-ca", Rtsp { ca_file: Some(other.ca_file()), ..camera.rtsp() });
    // A pin counts alone: not even an authority that signed the certificate makes up for it.
    let both = Rtsp { fingerprint: Some(other.fingerprint()), ca_file: Some(camera.ca_file()), ..camera.rtsp() };
    check("pin-and-ca", both);
    check("no-ca-file", Rtsp { ca_file: Some("/nonexistent/ca.pem".into()), ..camera.rtsp() });
}

#[test]
fn the_cameras_sound_comes_with_its_picture() {
    let check = |sound: Sound, codec: Codec, rate_hz: u32| {
        let camera = Camera::builder().sound(sound).start();
        let mut order = of("sound", camera.rtsp());
        order.camera.sound = SoundSource::Camera;
        let ingest = Ingest::start(vec![order]);
        let (first, body) = ingest.unit(codec.name(), |unit| !unit.codec.is_video());
        assert_eq!((first.codec, first.is_key, first.discontinuity, first.seq), (codec, true, true, 0));
        assert_eq!((first.rate_hz, first.channels), (rate_hz, 1), "{codec:?}");
        if codec == Codec::Aac {
            assert_eq!((body[0], body[1] & 0xf6), (0xff, 0xf0), "ADTS");
        }
        let (picture, _) = ingest.unit("a picture beside the sound", |unit| unit.codec == Codec::H264);
        let (first, _) = ingest.unit("sound beside the picture", |unit| unit.codec == codec);
        let mut last = first;
        for _ in 0..50 {
            let (next, _) = ingest.unit("the next sound", |unit| unit.codec == codec);
            assert_eq!((next.seq, next.discontinuity), (last.seq + 1, false));
            last = next;
        }
        // 50 blocks of 20 ms, or of 1024 samples; and it is about as late as the picture.
        let seconds = (last.moment - first.moment).as_secs_f64();
        let block = if codec == Codec::Aac { 0.064 } else { 0.02 };
        assert!((seconds - 50.0 * block).abs() < 0.5 * 50.0 * block, "{codec:?}: {seconds} s");
        assert!((last.arrival - last.moment).abs().as_ms() < 1000, "{last:?}");
        assert!(picture.moment <= last.moment + Span::from_ms(1000));
        ingest.stop();
    };
    check(Sound::Aac, Codec::Aac, 16_000);
    check(Sound::Pcmu, Codec::Pcmu, 8000);
    check(Sound::Pcma, Codec::Pcma, 8000);
    check(Sound::Opus, Codec::Opus, 48_000);
}

#[test]
fn sound_that_nobody_wants_is_not_fetched() {
    let camera = Camera::builder().sound(Sound::Pcmu).start();
    let ingest = Ingest::start(vec![of("no-sound", camera.rtsp())]);
    for _ in 0..30 {
        let (unit, _) = ingest.unit("pictures only", |_| true);
        assert_eq!(unit.codec, Codec::H264);
    }
    ingest.stop();
}

#[test]
fn of_a_second_of_frames_the_nearest_key_frame_goes_on() {
    let camera = Camera::builder().b_frames(2).start();
    let mut order = of("sampled", camera.rtsp());
    order.camera.decode = Decode::Keyframes;
    let ingest = Ingest::start(vec![order]);
    let (mut last, _) = ingest.unit("the first key frame", |_| true);
    for _ in 0..4 {
        let (next, _) = ingest.unit("the next key frame", |_| true);
        assert!(next.is_key && next.seq == last.seq + 1, "{next:?}");
        let apart = (next.moment - last.moment).as_ms();
        assert!((900..1100).contains(&apart), "{apart} ms");
        last = next;
    }
    ingest.stop();
}

#[test]
fn a_password_opens_and_a_wrong_one_is_refused_and_stays_secret() {
    let check = |auth: Auth, name: &str| {
        let camera = Camera::builder().login(auth, "viewer", "correct-horse").start();
        let mut order = of(name, camera.rtsp());
        order.password = Some(Secret::new("correct-horse".into()));
        let ingest = Ingest::start(vec![order.clone()]);
        ingest.online();
        order.password = Some(Secret::new("battery-staple".into()));
        ingest.order(Order::SetCamera(Box::new(order)), Vec::new());
        let status = ingest.fault(CameraFault::Unauthorised, SOON);
        assert_eq!(status.state, CameraState::Offline);
        ingest.stop();
        let lines = lines_about(name);
        assert!(lines.iter().any(|line| line.contains("unauthorised")), "{lines:?}");
        let all = String::from_utf8(journal().lock().unwrap().clone()).unwrap();
        assert!(!all.contains("battery-staple") && !all.contains("correct-horse"), "a password is in the log");
    };
    check(Auth::Basic, "basic");
    check(Auth::Digest, "digest");
}

#[test]
fn what_is_wrong_with_a_camera_has_a_word() {
    let camera = Camera::builder().start();
    let check = |name: &str, source: Source, fault: CameraFault| {
        let ingest = Ingest::start(vec![configured(0, name, source)]);
        ingest.fault(fault, SOON);
        ingest.stop();
        assert_eq!(lines_about(name).len(), 1, "{:?}", lines_about(name));
    };
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let at = |url: String| Source::Rtsp(Rtsp { url, ..camera.rtsp() });
    check("closed-port", at(format!("rtsp://{closed}/live")), CameraFault::Unreachable);
    check("no-host", at("rtsp://camera.invalid/live".into()), CameraFault::Unreachable);
    check("no-path", at(format!("rtsp://127.0.0.1:{}/nothing", camera.port())), CameraFault::NotFound);
    let unsupported = Camera::builder().video(Video::Vp8).start();
    check("vp8", Source::Rtsp(unsupported.rtsp()), CameraFault::Codec);
    check("no-file", Source::File("/nonexistent/clip.mp4".into()), CameraFault::NotFound);
    check("no-clip", Source::File("/nonexistent/clip.avi".into()), CameraFault::Codec);
    check("no-device", Source::V4l2("/dev/video-nonexistent".into()), CameraFault::NotFound);
}

#[test]
fn a_busy_camera_is_called_busy() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            stream.write_all(b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 1\r\n\r\n").unwrap();
        }
    };
    thread::Builder::new().name("busy".into()).spawn(answer).unwrap();
    let rtsp = Rtsp { url: format!("rtsp://127.0.0.1:{port}/live"), ..Camera::builder().start().rtsp() };
    let ingest = Ingest::start(vec![of("busy", rtsp)]);
    ingest.fault(CameraFault::Busy, SOON);
    ingest.stop();
}

#[test]
fn a_killed_camera_is_missed_and_taken_back() {
    let camera = Camera::builder().start();
    let ingest = Ingest::start(vec![of("killed", camera.rtsp())]);
    ingest.online();
    let (before, _) = ingest.unit("a picture", |_| true);
    camera.kill();
    let lost = ingest.status("offline", Duration::from_secs(5), |status| status.state != CameraState::Online);
    assert_eq!(lost.outages, 1, "{lost:?}");
    ingest.fault(CameraFault::Unreachable, SOON);
    camera.revive();
    let (back, _) = ingest.unit("a picture after the outage", |unit| unit.discontinuity);
    assert!(back.is_key && before.seq < back.seq, "{back:?}");
    let status = ingest.online();
    assert_eq!((status.fault, status.outages), (CameraFault::None, 1));
    ingest.stop();
    let lines = lines_about("killed");
    assert_eq!(lines.iter().filter(|line| line.contains("camera back") && line.contains("outage=")).count(), 1);
    assert!(lines.len() <= 4, "connected, lost with one or two reasons, back: {lines:?}");
}

#[test]
fn a_stalled_camera_is_found_within_three_seconds() {
    let camera = Camera::builder().sound(Sound::Pcmu).start();
    let mut order = of("stalled", camera.rtsp());
    order.camera.sound = SoundSource::Camera;
    let ingest = Ingest::start(vec![order]);
    ingest.online();
    let (last, _) = ingest.unit("a picture", |unit| unit.codec.is_video());
    camera.stall();
    let status = ingest.fault(CameraFault::Stalled, Duration::from_secs(5));
    assert_eq!((status.state, status.outages), (CameraState::Stale, 1));
    assert!(SystemClock.now() - last.arrival < Span::from_ms(5000));
    camera.resume();
    ingest.unit("a picture after the outage", |unit| unit.discontinuity && unit.codec.is_video());
    ingest.online();
    ingest.stop();
}

#[test]
fn sound_without_a_picture_is_an_outage_of_the_picture() {
    let camera = Camera::builder().sound(Sound::Pcmu).start();
    let mut order = of("sound-only", camera.rtsp());
    order.camera.sound = SoundSource::Camera;
    let ingest = Ingest::start(vec![order]);
    ingest.online();
    camera.stall_picture();
    let status = ingest.fault(CameraFault::SoundOnly, Duration::from_secs(5));
    assert_eq!((status.state, status.outages), (CameraState::Stale, 1));
    ingest.stop();
}

#[test]
fn a_camera_that_says_goodbye_has_ended() {
    let camera = Camera::builder().start();
    let ingest = Ingest::start(vec![of("goodbye", camera.rtsp())]);
    ingest.online();
    camera.end_stream();
    let status = ingest.fault(CameraFault::Ended, Duration::from_secs(5));
    assert_eq!((status.state, status.outages), (CameraState::Offline, 1));
    ingest.online();
    ingest.stop();
}

#[test]
fn lost_packets_are_counted_and_travel_with_the_units() {
    let camera = Camera::builder().kbps(2000).start();
    let ingest = Ingest::start(vec![of("lossy", camera.rtsp())]);
    ingest.online();
    camera.lose_one_in(20);
    let (unit, _) = ingest.unit("a unit after a loss", |unit| 0 < unit.lost);
    assert!(unit.lost < 100, "{unit:?}");
    ingest.status("a loss", SOON, |status| 2 < status.packets_lost);
    ingest.stop();
}

/// Encodes a second and a half of pictures and sound into a file.
fn recording(folder: &Path, name: &str, muxer: &str) -> PathBuf {
    gst::init().unwrap();
    let path = folder.join(name);
    let launch = format!(
        "videotestsrc num-buffers=22 pattern=ball ! video/x-raw,width=160,height=90,framerate=15/1 \
         ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! h264parse ! {muxer} name=mux \
         ! filesink location={} audiotestsrc num-buffers=24 ! audio/x-raw,rate=16000,channels=1 \
         ! avenc_aac ! aacparse ! mux.",
        path.display(),
    );
    let pipeline = gst::parse::launch(&launch).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(end.expect("the recording is made").type_(), gst::MessageType::Eos);
    path
}

#[test]
fn a_recording_starts_over_at_its_end_without_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, muxer: &str| {
        let path = recording(folder.path(), name, muxer);
        let mut order = configured(0, name, Source::File(path));
        order.camera.sound = SoundSource::Camera;
        let ingest = Ingest::start(vec![order]);
        let begun = SystemClock.now();
        let (mut pictures, mut starts, mut sounds) = (0, 0, 0);
        ingest.wait("50 pictures", SOON, |message| {
            match message {
                Message::AccessUnit(unit) if unit.header.codec == Codec::H264 => {
                    (pictures, starts) = (pictures + 1, starts + u32::from(unit.header.discontinuity));
                }
                Message::AccessUnit(unit) => sounds += u32::from(unit.header.codec == Codec::Aac),
                Message::Status(status) => assert!(
                    matches!(status.fault, CameraFault::None | CameraFault::Connecting) && status.outages == 0,
                    "{status:?}"
                ),
            }
            (50 <= pictures).then_some(())
        });
        // 50 pictures are three runs; the third is under way for 6 of its pictures.
        assert_eq!(starts, 3, "{name}");
        assert!(40 < sounds, "{name}: {sounds}");
        let took = SystemClock.now() - begun;
        assert!(Span::from_ms(2500) < took, "{name} is played in real time, not within {took}");
        ingest.stop();
    };
    check("clip.mp4", "mp4mux");
    check("clip.mkv", "matroskamux");
    check("clip.ts", "mpegtsmux");
    fs::write(folder.path().join("noise.mp4"), [7; 10_000]).unwrap();
    let ingest = Ingest::start(vec![configured(0, "noise", Source::File(folder.path().join("noise.mp4")))]);
    ingest.status("no outage, but a fault", SOON, |status| {
        !matches!(status.fault, CameraFault::None | CameraFault::Connecting)
    });
    ingest.stop();
}

#[test]
fn a_changed_camera_leaves_the_other_one_alone() {
    let (left, right) = (Camera::builder().start(), Camera::builder().start());
    let order = |id, rtsp| configured(id, &format!("pair-{id}"), Source::Rtsp(rtsp));
    let ingest = Ingest::start(vec![order(0, left.rtsp()), order(1, right.rtsp())]);
    let is = |id| move |unit: &UnitHeader| unit.camera == CameraId(id);
    ingest.unit("the left picture", is(0));
    let (mut last, _) = ingest.unit("the right picture", is(1));
    let mut changed = order(0, left.rtsp());
    changed.camera.sound = SoundSource::Camera;
    ingest.order(Order::SetCamera(Box::new(changed)), Vec::new());
    let mut restarted = None;
    ingest.wait("the left camera again, and two seconds of the right one", SOON, |message| {
        let Message::AccessUnit(access_unit::AccessUnit { header: unit, .. }) = message else { return None };
        if unit.camera == CameraId(1) {
            assert_eq!((unit.seq, unit.discontinuity), (last.seq + 1, false), "the right one goes on");
            last = *unit;
        } else if unit.discontinuity {
            restarted = Some(unit.seq);
        }
        restarted.filter(|_| 30 < last.seq).map(drop)
    });
    assert_ne!(restarted, Some(0), "its numbers go on");
    ingest.order(Order::DropCamera(CameraId(0)), Vec::new());
    // The right camera alone for two seconds: what was under way of the left one came before that.
    let mut alone = 0;
    ingest.wait("the right camera alone", SOON, |message| {
        let Message::AccessUnit(access_unit::AccessUnit { header: unit, .. }) = message else { return None };
        alone = if unit.camera == CameraId(1) { alone + 1 } else { 0 };
        (30 < alone).then_some(())
    });
    ingest.stop();
}

#[test]
fn when_infer_does_not_read_units_are_dropped_and_nothing_else_happens() {
    let camera = Camera::builder().video(Video::Mjpeg).size(1280, 720, 15).noise().start();
    let (ours, theirs) = unit_pair().unwrap();
    let ingest = Ingest::without_reader(vec![of("unread", camera.rtsp())], ours);
    // Pictures of 300 kB and more: the queue overflows every four seconds.
    let mut turns = 0;
    while turns < 10 {
        if let Report::Progress(_) = ingest.reports.recv_timeout(SOON).unwrap() {
            turns += 1;
        }
    }
    let ingest = Ingest { messages: reader(theirs), ..ingest };
    let mut last = None;
    let lost = ingest.wait("a gap in the numbers", SOON, |message| {
        let Message::AccessUnit(access_unit::AccessUnit { header: unit, .. }) = message else { return None };
        let expected = last.replace(unit.seq).map(|seq| seq + 1);
        expected.filter(|expected| *expected < unit.seq).map(|expected| unit.seq - expected)
    });
    let status = ingest.status("what was dropped", SOON, |status| lost <= status.units_dropped);
    assert_eq!((status.state, status.outages), (CameraState::Online, 0));
    ingest.stop();
}

#[test]
fn a_restarted_infer_gets_a_key_frame_first() {
    let camera = Camera::builder().start();
    let (ours, theirs) = unit_pair().unwrap();
    let ingest =
        Ingest { messages: reader(theirs), ..Ingest::without_reader(vec![of("restarted", camera.rtsp())], ours) };
    let (before, _) = ingest.unit("a picture in between", |unit| !unit.is_key);
    let (ours, theirs) = unit_pair().unwrap();
    ingest.order(Order::Downstream, vec![ours]);
    let ingest = Ingest { messages: reader(theirs), ..ingest };
    let (after, _) = ingest.unit("the first picture for the new one", |_| true);
    assert!(after.discontinuity && after.is_key && before.seq < after.seq, "{after:?}");
    let (next, _) = ingest.unit("the next picture", |_| true);
    assert_eq!((next.discontinuity, next.seq), (false, after.seq + 1));
    ingest.stop();
}

#[test]
fn ingest_stops_in_every_state() {
    // It accepts connections and never says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let camera = Camera::builder().start();
    let silent_rtsp = Rtsp { url: format!("rtsp://{}/live", silent.local_addr().unwrap()), ..camera.rtsp() };
    // Before anything is there.
    Ingest::start(vec![of("stop-at-once", camera.rtsp())]).stop();
    let ingest =
        Ingest::start(vec![of("silent", silent_rtsp.clone()), configured(1, "other", Source::Rtsp(camera.rtsp()))]);
    ingest.online();
    let status = ingest.status("no answer", SOON, |status| status.fault == CameraFault::Unreachable);
    assert_eq!((status.camera, status.state), (CameraId(0), CameraState::Offline));
    ingest.stop();
    // While it waits for an answer.
    let ingest = Ingest::start(vec![of("silent-again", silent_rtsp)]);
    silent.accept().unwrap();
    ingest.stop();
    // While it is stalled, and has noticed.
    let ingest = Ingest::start(vec![of("stop-stalled", camera.rtsp())]);
    ingest.online();
    camera.stall();
    ingest.fault(CameraFault::Stalled, SOON);
    ingest.stop();
    // While it waits to try again, and when the parent has ended without an order.
    camera.kill();
    let mut ingest = Ingest::start(vec![of("stop-waiting", camera.rtsp())]);
    ingest.fault(CameraFault::Unreachable, SOON);
    let ended = ingest.thread.take().unwrap();
    drop(ingest);
    ended.join().unwrap().unwrap();
    // While infer does not read.
    camera.revive();
    let (ours, _theirs) = unit_pair().unwrap();
    let ingest = Ingest::without_reader(vec![of("stop-unread", camera.rtsp())], ours);
    ingest.reports.recv_timeout(SOON).unwrap();
    ingest.stop();
}
