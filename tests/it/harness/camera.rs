//! A camera: GStreamer's RTSP server on a free port of 127.0.0.1, which can be killed, stalled and brought back.
//!
//! ```ignore
//! let camera = Camera::builder().video(Video::H265).sound(Sound::Aac).start();
//! let source = Source::Rtsp(camera.rtsp());   // for a configuration
//! camera.stall();                             // connected, and nothing is sent any more
//! camera.resume();
//! camera.kill();                              // connections are cut, the port is closed
//! camera.revive();                            // the same port again
//! ```
//!
//! The picture is a ball that moves, the sound a tone; both come in real time. Small pictures at 15 frames per second
//! keep two cores free for what is tested.

#![allow(dead_code, reason = "a harness offers more than each test needs")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a harness that cannot work fails its test")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use edge_ger::config::{Rtsp, Transport};
use gstreamer::{self as gst, glib, prelude::*};
use gstreamer_rtsp_server::{self as rtsp_server, prelude::*};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};

/// How the picture is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Video {
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// One JPEG per frame.
    Mjpeg,
    /// VP8, which the daemon does not take.
    Vp8,
}

/// How the sound is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sound {
    /// There is none.
    None,
    /// AAC, 16 kHz, mono.
    Aac,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// Opus.
    Opus,
}

/// How the camera asks for the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    /// In the clear.
    Basic,
    /// Hashed.
    Digest,
}

/// Describes a camera. See [`Camera::builder`] for what it is if nothing is said.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    video: Video,
    sound: Sound,
    size: (u32, u32),
    fps: u32,
    key_every: u32,
    b_frames: u32,
    kbps: u32,
    is_noise: bool,
    login: Option<(Auth, String, String)>,
    is_encrypted: bool,
}

impl Builder {
    /// The picture's codec.
    pub(crate) fn video(mut self, video: Video) -> Self {
        self.video = video;
        self
    }

    /// The sound's codec.
    pub(crate) fn sound(mut self, sound: Sound) -> Self {
        self.sound = sound;
        self
    }

    /// The picture's size in pixels, and its frames per second.
    pub(crate) fn size(mut self, width: u32, height: u32, fps: u32) -> Self {
        (self.size, self.fps) = ((width, height), fps);
        self
    }

    /// A key frame every so many frames.
    pub(crate) fn key_every(mut self, frames: u32) -> Self {
        self.key_every = frames;
        self
    }

    /// H.264 only: so many B-frames between two others.
    pub(crate) fn b_frames(mut self, frames: u32) -> Self {
        self.b_frames = frames;
        self
    }

    /// The picture's bit rate in kbit/s, about.
    pub(crate) fn kbps(mut self, kbps: u32) -> Self {
        self.kbps = kbps;
        self
    }

    /// The picture is noise instead of a ball: large units.
    pub(crate) fn noise(mut self) -> Self {
        self.is_noise = true;
        self
    }

    /// The camera wants this user and password.
    pub(crate) fn login(mut self, auth: Auth, user: &str, password: &str) -> Self {
        self.login = Some((auth, user.into(), password.into()));
        self
    }

    /// The camera speaks `rtsps`, with a certificate that its own authority signed.
    pub(crate) fn encrypted(mut self) -> Self {
        self.is_encrypted = true;
        self
    }

    /// Starts the camera.
    pub(crate) fn start(self) -> Camera {
        gst::init().unwrap();
        let tls = self.is_encrypted.then(Certificate::new);
        let control = Arc::new(Control::default());
        let server = Server::start(&self, tls.as_ref(), &control, 0);
        let port = server.port;
        Camera { spec: self, tls, control, port, server: Mutex::new(Some(server)) }
    }

    fn launch(&self) -> String {
        let Self { size: (width, height), fps, key_every, b_frames, kbps, .. } = self;
        // The ball's path takes the clock's time, so that every frame differs from the one before.
        let pattern = if self.is_noise { "snow" } else { "ball" };
        let picture = format!(
            "videotestsrc is-live=true pattern={pattern} background-color=0xff306080 animation-mode=running-time \
             ! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
        );
        let has = |name: &str| gst::ElementFactory::find(name).is_some();
        let video = match self.video {
            Video::H264 if has("x264enc") => format!(
                "x264enc speed-preset=ultrafast {} bframes={b_frames} key-int-max={key_every} bitrate={kbps} \
                 option-string=scenecut=0 threads=1 ! h264parse ! rtph264pay config-interval=-1 name=pay0 pt=96",
                if *b_frames == 0 { "tune=zerolatency" } else { "sync-lookahead=0 rc-lookahead=0" },
            ),
            Video::H264 => format!(
                "openh264enc gop-size={key_every} bitrate={} ! h264parse ! rtph264pay config-interval=-1 name=pay0 pt=96",
                kbps * 1000,
            ),
            Video::H265 => format!(
                "x265enc speed-preset=ultrafast tune=zerolatency key-int-max={key_every} bitrate={kbps} log-level=none \
                 option-string=scenecut=0:pools=1 ! h265parse ! rtph265pay config-interval=-1 name=pay0 pt=96"
            ),
            Video::Mjpeg => "jpegenc quality=60 ! rtpjpegpay name=pay0 pt=26".into(),
            Video::Vp8 => "vp8enc deadline=1 cpu-used=8 ! rtpvp8pay name=pay0 pt=96".into(),
        };
        let tone = |rate: u32| {
            format!(
                "audiotestsrc is-live=true wave=sine freq=440 volume=0.3 samplesperbuffer={} \
                 ! audio/x-raw,rate={rate},channels=1 ! audioconvert",
                rate / 50,
            )
        };
        let sound = match self.sound {
            Sound::None => String::new(),
            Sound::Aac => format!("{} ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97", tone(16_000)),
            Sound::Pcmu => format!("{} ! mulawenc ! rtppcmupay name=pay1 pt=0", tone(8000)),
            Sound::Pcma => format!("{} ! alawenc ! rtppcmapay name=pay1 pt=8", tone(8000)),
            Sound::Opus => format!("{} ! opusenc ! rtpopuspay name=pay1 pt=97", tone(48_000)),
        };
        format!("( {picture} ! {video} {sound} )")
    }
}

/// A camera that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Camera {
    spec: Builder,
    tls: Option<Certificate>,
    control: Arc<Control>,
    port: u16,
    server: Mutex<Option<Server>>,
}

impl Camera {
    /// H.264 of 320 by 180 pixels, 15 frames per second, a key frame every second, no sound, no password.
    pub(crate) fn builder() -> Builder {
        Builder {
            video: Video::H264,
            sound: Sound::None,
            size: (320, 180),
            fps: 15,
            key_every: 15,
            b_frames: 0,
            kbps: 400,
            is_noise: false,
            login: None,
            is_encrypted: false,
        }
    }

    /// Its address, without user and password.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rtsps" } else { "rtsp" };
        format!("{scheme}://127.0.0.1:{}/live", self.port)
    }

    /// Its port.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// It as a source of a configuration: over TCP, with its user if it wants one, without a check of its
    /// certificate against anything but the system's authorities.
    pub(crate) fn rtsp(&self) -> Rtsp {
        Rtsp {
            url: self.url(),
            user: self.spec.login.as_ref().map(|(_, user, _)| user.clone()),
            password_file: None,
            transport: Transport::Tcp,
            latency_ms: 100,
            fingerprint: None,
            ca_file: None,
        }
    }

    /// The SHA-256 of its certificate. Only of an encrypted camera.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let tls = self.tls.as_ref().expect("the camera is encrypted");
        Sha256::digest(&tls.der).into()
    }

    /// A file with the authority that signed its certificate. Only of an encrypted camera.
    pub(crate) fn ca_file(&self) -> PathBuf {
        let tls = self.tls.as_ref().expect("the camera is encrypted");
        tls.folder.path().join("ca.pem")
    }

    /// How many clients are playing, or have been without saying goodbye.
    pub(crate) fn clients(&self) -> usize {
        let server = self.server.lock().unwrap();
        server.as_ref().map_or(0, |server| server.rtsp.client_filter(None).len())
    }

    /// How often anybody has connected.
    pub(crate) fn connections(&self) -> u32 {
        self.control.connections.load(Ordering::SeqCst)
    }

    /// Cuts all connections and closes the port, as if the power was lost.
    pub(crate) fn kill(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.stop();
        }
    }

    /// Starts again at the same port. Also ends a stall.
    pub(crate) fn revive(&self) {
        self.kill();
        self.resume();
        let server = Server::start(&self.spec, self.tls.as_ref(), &self.control, self.port);
        *self.server.lock().unwrap() = Some(server);
    }

    /// Stays connected, and sends nothing any more, also to whoever connects from now on.
    pub(crate) fn stall(&self) {
        self.control.has_no_picture.store(true, Ordering::SeqCst);
        self.control.has_no_sound.store(true, Ordering::SeqCst);
    }

    /// Goes on with its sound, but sends no picture any more.
    pub(crate) fn stall_picture(&self) {
        self.control.has_no_picture.store(true, Ordering::SeqCst);
    }

    /// Ends a stall.
    pub(crate) fn resume(&self) {
        self.control.has_no_picture.store(false, Ordering::SeqCst);
        self.control.has_no_sound.store(false, Ordering::SeqCst);
    }

    /// From now on, one of so many RTP packets of the picture gets lost; 0 loses none.
    pub(crate) fn lose_one_in(&self, packets: u32) {
        self.control.lose_one_in.store(packets, Ordering::SeqCst);
    }

    /// Ends the stream of all who watch, with a goodbye.
    pub(crate) fn end_stream(&self) {
        for media in self.control.media.lock().unwrap().iter().filter_map(glib::WeakRef::upgrade) {
            media.send_event(gst::event::Eos::new());
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What can be done to a running camera.
#[derive(Debug, Default)]
struct Control {
    has_no_picture: AtomicBool,
    has_no_sound: AtomicBool,
    lose_one_in: AtomicU32,
    packets: AtomicU32,
    connections: AtomicU32,
    media: Mutex<Vec<glib::WeakRef<gst::Element>>>,
}

impl Control {
    /// Watches what a new stream sends.
    fn take(self: &Arc<Self>, media: &gst::Element) {
        self.media.lock().unwrap().push(media.downgrade());
        let bin = media.downcast_ref::<gst::Bin>().unwrap();
        for (name, is_picture) in [("pay0", true), ("pay1", false)] {
            let Some(pad) = bin.by_name(name).and_then(|payloader| payloader.static_pad("src")) else { continue };
            let this = Arc::clone(self);
            pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
                let stalled = if is_picture { &this.has_no_picture } else { &this.has_no_sound };
                if stalled.load(Ordering::SeqCst) || is_picture && this.loses(info) {
                    return gst::PadProbeReturn::Drop;
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    /// Whether a packet is to be lost; of a list, it is removed.
    fn loses(&self, info: &mut gst::PadProbeInfo<'_>) -> bool {
        let one_in = self.lose_one_in.load(Ordering::SeqCst);
        let is_lost = || one_in != 0 && self.packets.fetch_add(1, Ordering::SeqCst) % one_in == one_in - 1;
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(_)) => is_lost(),
            Some(gst::PadProbeData::BufferList(list)) => {
                for at in (0..list.len()).rev().filter(|_| is_lost()).collect::<Vec<_>>() {
                    list.make_mut().remove(at..=at);
                }
                list.is_empty()
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Server {
    rtsp: rtsp_server::RTSPServer,
    source: glib::Source,
    port: u16,
}

impl Server {
    fn start(spec: &Builder, tls: Option<&Certificate>, control: &Arc<Control>, port: u16) -> Self {
        let rtsp = rtsp_server::RTSPServer::new();
        rtsp.set_address("127.0.0.1");
        rtsp.set_service(&port.to_string());
        let factory = rtsp_server::RTSPMediaFactory::new();
        factory.set_launch(&spec.launch());
        factory.set_shared(true);
        let counting = Arc::clone(control);
        rtsp.connect_client_connected(move |_, _| _ = counting.connections.fetch_add(1, Ordering::SeqCst));
        let control = Arc::clone(control);
        factory.connect_media_configure(move |_, media| control.take(&media.element()));
        if let Some(auth) = authentication(spec, tls) {
            let access = gst::Structure::builder("user")
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&access);
            rtsp.set_auth(Some(&auth));
        }
        let mounts = rtsp.mount_points().unwrap();
        mounts.add_factory("/live", factory);
        let source = rtsp.create_source(None::<&gio::Cancellable>).unwrap();
        source.attach(Some(main_context()));
        let port = u16::try_from(rtsp.bound_port()).unwrap();
        Self { rtsp, source, port }
    }

    /// On the servers' own thread, which may be reading from a client just now: GStreamer's server, closed from another
    /// one, may go on reading from a TLS stream that is gone, as fast as it can.
    fn stop(self) {
        let (stopped, is_stopped) = mpsc::channel();
        main_context().invoke(move || {
            self.source.destroy();
            self.rtsp.client_filter(Some(&mut |_, client| {
                client.close();
                rtsp_server::RTSPFilterResult::Remove
            }));
            stopped.send(()).unwrap();
        });
        is_stopped.recv_timeout(Duration::from_secs(10)).expect("the servers' thread goes on");
    }
}

fn authentication(spec: &Builder, tls: Option<&Certificate>) -> Option<rtsp_server::RTSPAuth> {
    if spec.login.is_none() && tls.is_none() {
        return None;
    }
    let auth = rtsp_server::RTSPAuth::new();
    let mut token = rtsp_server::RTSPToken::builder().field("media.factory.role", "user").build();
    match &spec.login {
        Some((Auth::Basic, user, password)) => {
            auth.add_basic(&rtsp_server::RTSPAuth::make_basic(user, password), &token);
        }
        Some((Auth::Digest, user, password)) => {
            auth.set_supported_methods(rtsp_server::gst_rtsp::RTSPAuthMethod::Digest);
            auth.add_digest(user, password, &token);
        }
        None => auth.set_default_token(Some(&mut token)),
    }
    if let Some(tls) = tls {
        auth.set_tls_certificate(Some(&gio::TlsCertificate::from_pem(&tls.pem).unwrap()));
    }
    Some(auth)
}

/// All servers share one thread, which lives as long as the tests.
fn main_context() -> &'static glib::MainContext {
    static CONTEXT: OnceLock<glib::MainContext> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let context = glib::MainContext::new();
        let main_loop = glib::MainLoop::new(Some(&context), false);
        thread::Builder::new().name("rtsp-servers".into()).spawn(move || main_loop.run()).unwrap();
        context
    })
}

/// A certificate for 127.0.0.1, made anew, and the authority that signed it.
#[derive(Debug)]
struct Certificate {
    /// With its key.
    pem: String,
    der: Vec<u8>,
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "a camera's authority");
        authority.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let authority_key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        std::fs::write(folder.path().join("ca.pem"), authority_pem).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let mut camera = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        camera.distinguished_name.push(DnType::CommonName, "a camera");
        let key = KeyPair::generate().unwrap();
        let signed = camera.signed_by(&key, &issuer).unwrap();
        Self { pem: format!("{}{}", signed.pem(), key.serialize_pem()), der: signed.der().to_vec(), folder }
    }
}
