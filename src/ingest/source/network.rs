//! Network cameras: `rtspsrc`, and what may come out of it.

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gst::{glib, prelude::*};
use gstreamer as gst;
use rustix::fs::{MemfdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use super::{ConnectionStats, Event, Medium, Refine, branch::Branches, error::StreamError, make, set_if_there};
use crate::{
    config::{Rtsp, Secret, Transport},
    wire::{
        access_unit::Codec,
        record::{CameraFault, Step},
    },
};

/// `rtspsrc` itself gives up on a connection after so long, microseconds; the room's own deadline comes first.
const TCP_TIMEOUT_US: u64 = 15_000_000;
/// How long `rtspsrc` may wait for the answer to TEARDOWN, ns.
const TEARDOWN_TIMEOUT_NS: u64 = 100_000_000;

/// An authority that signed nothing and never can: it expired in 1970, is not allowed to sign, and its key was thrown
/// away when it was made. GIO has no other way to trust nobody.
const NOBODY_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBQDCB5qADAgECAgEBMAoGCCqGSM49BAMCMBExDzANBgNVBAMMBm5vYm9keTAe
Fw03MDAxMDEwMDAwMDBaFw03MDAxMDIwMDAwMDBaMBExDzANBgNVBAMMBm5vYm9k
eTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFyE9DFpUv2wdEdmQD3bdto6+HGx
W+0va9OZtW0nl8+gI536Yg7HYWOq8dLWg9dCl1psxAxIx4zdNV1wsg4u36GjLzAt
MAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYEFA6i+lvXKeYkLZ9pS904tBhuz7ycMAoG
CCqGSM49BAMCA0kAMEYCIQDYBFFCw14vxDxRcFsksBkh1D4Cz5lvLveVpI20HXE+
AwIhAKDDVHiXA0TEBIhWMWtSFKxK1LyZmrRm+393fvzNGFds
-----END CERTIFICATE-----
";

/// What to connect to.
pub(super) struct Connect<'a> {
    pub(super) rtsp: &'a Rtsp,
    pub(super) password: Option<&'a Secret>,
    /// Whether the camera's clock is wanted.
    pub(super) survey: bool,
}

/// What the camera offers, and what of it was taken.
#[derive(Debug, Default)]
struct Offer {
    /// The numbers of the streams that were taken.
    taken: Vec<(u32, Medium)>,
    refused: Vec<String>,
}

type SharedOffer = Arc<Mutex<Offer>>;

fn lock(offer: &SharedOffer) -> MutexGuard<'_, Offer> {
    offer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a camera to a pipeline.
pub(super) fn add(pipeline: &gst::Pipeline, connect: &Connect<'_>, tails: Branches) -> Result<Refine, StreamError> {
    let source = make("rtspsrc")?;
    let rtsp = connect.rtsp;
    set_up(&source, rtsp, connect.password);
    // GStreamer 1.20 does not know it; the camera's clock stays unknown there.
    set_if_there(&source, "add-reference-timestamp-meta", connect.survey);
    watch_steps(&source, &tails.link);
    let is_certificate_refused = check_certificate(&source, rtsp)?;
    let offer = SharedOffer::default();
    select_streams(&source, &offer, &tails);
    find_jitter_buffers(&source, &offer, &tails.link);
    link_streams(&source, tails);
    pipeline.add(&source).map_err(|_| StreamError::other("rtspsrc cannot be added"))?;
    Ok(Box::new(move |trouble| {
        if is_certificate_refused.load(Ordering::Acquire) {
            let text = "its certificate is not the pinned one, or is not trusted".to_owned();
            return StreamError { fault: CameraFault::Certificate, text };
        }
        let offer = lock(&offer);
        let is_offer_useless = !offer.refused.is_empty() && !offer.taken.iter().any(|it| it.1 == Medium::Video);
        if is_offer_useless && matches!(trouble.fault, CameraFault::Other | CameraFault::Unreachable) {
            return StreamError::codec(&offer.refused.join(", "));
        }
        trouble
    }))
}

fn set_up(source: &gst::Element, rtsp: &Rtsp, password: Option<&Secret>) {
    source.set_property("location", &rtsp.url);
    if let Some(user) = &rtsp.user {
        source.set_property("user-id", user);
    }
    if let Some(password) = password {
        source.set_property("user-pw", password.reveal());
    }
    // With `rtsps`, datagrams would travel in the clear beside an encrypted connection.
    let is_udp = rtsp.transport == Transport::Udp && !is_encrypted(rtsp);
    source.set_property_from_str("protocols", if is_udp { "udp" } else { "tcp" });
    source.set_property("latency", rtsp.latency_ms);
    // The jitter buffer bends presentation times to our clock, for each stream alike, and RTCP then aligns them. In
    // mode `none` each stream would begin at zero whenever its first packet comes, and sound and picture would be
    // apart until the first sender report, which some cameras never send. The camera's own clock, whose drift is
    // to be reported, is read from the packets instead.
    source.set_property_from_str("buffer-mode", "slave");
    set_if_there(source, "is-live", true);
    set_if_there(source, "do-retransmission", false);
    set_if_there(source, "udp-reconnect", false);
    // After so long without a datagram it would try TCP, which is not allowed, and then give up in words that say nothing
    // of a firewall. Whether pictures are overdue is decided in `camera`.
    set_if_there(source, "timeout", 0_u64);
    set_if_there(source, "tcp-timeout", TCP_TIMEOUT_US);
    set_if_there(source, "teardown-timeout", TEARDOWN_TIMEOUT_NS);
    set_if_there(source, "user-agent", concat!("edge-ger/", env!("CARGO_PKG_VERSION")));
}

fn is_encrypted(rtsp: &Rtsp) -> bool {
    rtsp.url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsps:"))
}

/// Has the certificate checked: against the pin and nothing else, or against the authorities of the camera or the
/// system. The flag that it returns is set once a certificate was refused.
fn check_certificate(source: &gst::Element, rtsp: &Rtsp) -> Result<Arc<AtomicBool>, StreamError> {
    let is_refused = Arc::new(AtomicBool::new(false));
    if !is_encrypted(rtsp) {
        return Ok(is_refused);
    }
    // GIO asks about a certificate only when it distrusts it. Where one is pinned it must always ask, so it is
    // given no authority to trust; where none is pinned its distrust is final.
    match (rtsp.fingerprint, &rtsp.ca_file) {
        (Some(_), _) => source.set_property("tls-database", nobody()?),
        (None, Some(file)) => source.set_property("tls-database", authorities(file)?),
        (None, None) => {}
    }
    source.set_property_from_str("tls-validation-flags", "validate-all");
    let pinned = rtsp.fingerprint;
    let flag = Arc::clone(&is_refused);
    source.connect("accept-certificate", false, move |args| {
        let certificate = args.get(2).and_then(|arg| arg.get::<glib::Object>().ok());
        let der = certificate.map(|it| it.property::<Option<glib::ByteArray>>("certificate"));
        let is_pinned = der.flatten().is_some_and(|der| pinned.is_some_and(|pin| Sha256::digest(&der)[..] == pin));
        flag.fetch_or(!is_pinned, Ordering::AcqRel);
        Some(is_pinned.to_value())
    });
    Ok(is_refused)
}

fn authorities(file: &Path) -> Result<gio::TlsFileDatabase, StreamError> {
    let read = std::path::absolute(file).map_err(|err| err.to_string());
    let read = read.and_then(|file| gio::TlsFileDatabase::new(file).map_err(|err| err.to_string()));
    read.map_err(|err| {
        let text = format!("ca_file {} cannot be read: {err}", file.display());
        StreamError { fault: CameraFault::Certificate, text }
    })
}

/// Authorities of which none signed any certificate. GIO reads them from a file, so they are in one, in memory.
fn nobody() -> Result<gio::TlsFileDatabase, StreamError> {
    let failed = |err: std::io::Error| StreamError::other(&format!("the pinned certificate cannot be checked: {err}"));
    let memory = memfd_create("nobody.pem", MemfdFlags::CLOEXEC).map_err(|err| failed(err.into()))?;
    let mut file = File::from(memory);
    file.write_all(NOBODY_PEM.as_bytes()).map_err(failed)?;
    authorities(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))
}

/// The depayloaders, by the name in the camera's description.
fn depayloader(encoding: &str) -> Option<(Codec, &'static str)> {
    Some(match encoding {
        "H264" => (Codec::H264, "rtph264depay"),
        "H265" => (Codec::H265, "rtph265depay"),
        "JPEG" => (Codec::Mjpeg, "rtpjpegdepay"),
        "MPEG4-GENERIC" => (Codec::Aac, "rtpmp4gdepay"),
        "PCMU" => (Codec::Pcmu, "rtppcmudepay"),
        "PCMA" => (Codec::Pcma, "rtppcmadepay"),
        "OPUS" => (Codec::Opus, "rtpopusdepay"),
        _ => return None,
    })
}

/// The codec of RTP caps, its depayloader, and the rate of its time stamps.
fn described(caps: &gst::CapsRef) -> Result<(Codec, &'static str, i32), String> {
    let fields = caps.structure(0).ok_or("nothing")?;
    let text = |name| fields.get::<&str>(name).unwrap_or("unknown");
    let encoding = text("encoding-name").to_ascii_uppercase();
    let (codec, name) = depayloader(&encoding).ok_or_else(|| format!("{}/{encoding}", text("media")))?;
    Ok((codec, name, fields.get::<i32>("clock-rate").unwrap_or(90_000)))
}

/// Takes the first picture and, where it is wanted, the first sound that has a depayloader; nothing else is set up.
fn select_streams(source: &gst::Element, offer: &SharedOffer, tails: &Branches) {
    let (offer, link, wants_sound) = (Arc::clone(offer), tails.link.clone(), tails.wants_sound);
    source.connect("select-stream", false, move |args| {
        let number = args.get(1).and_then(|arg| arg.get::<u32>().ok())?;
        let caps = args.get(2).and_then(|arg| arg.get::<gst::Caps>().ok())?;
        let mut offer = lock(&offer);
        let is_taken = match described(&caps).map(|(codec, ..)| Medium::of(codec)) {
            Ok(medium) => {
                let is_wanted = medium == Medium::Video || wants_sound;
                let is_first = offer.taken.iter().all(|(_, other)| *other != medium);
                if is_wanted && is_first {
                    offer.taken.push((number, medium));
                    if medium == Medium::Video {
                        link.reach(Step::Described);
                    }
                }
                is_wanted && is_first
            }
            Err(name) => {
                offer.refused.push(name);
                false
            }
        };
        Some(is_taken.to_value())
    });
}

/// Notes how far the connection comes, and how long the camera takes to answer.
fn watch_steps(source: &gst::Element, link: &ConnectionStats) {
    let clock = gst::SystemClock::obtain();
    let asking = link.clone();
    source.connect("before-send", false, move |_| {
        asking.asks(clock.time());
        Some(true.to_value())
    });
    let link = link.clone();
    source.connect("on-sdp", false, move |_| {
        link.reach(Step::Authorised);
        None
    });
}

/// Finds the jitter buffers, whose session has the number of the stream.
fn find_jitter_buffers(source: &gst::Element, offer: &SharedOffer, link: &ConnectionStats) {
    let (offer, link) = (Arc::clone(offer), link.clone());
    source.connect("new-manager", false, move |args| {
        let manager = args.get(1).and_then(|arg| arg.get::<gst::Element>().ok())?;
        let (offer, link) = (Arc::clone(&offer), link.clone());
        manager.connect("new-jitterbuffer", false, move |args| {
            let buffer = args.get(1).and_then(|arg| arg.get::<gst::Element>().ok())?;
            let session = args.get(2).and_then(|arg| arg.get::<u32>().ok())?;
            let medium = lock(&offer).taken.iter().find(|(number, _)| *number == session)?.1;
            link.add(medium, &buffer);
            None
        });
        None
    });
}

fn link_streams(source: &gst::Element, tails: Branches) {
    source.connect_pad_added(move |source, pad| {
        let linked = link(source, pad, &tails);
        linked.err().into_iter().for_each(|trouble| drop(tails.events.try_send(Event::Lost(trouble))));
    });
}

fn link(source: &gst::Element, pad: &gst::Pad, tails: &Branches) -> Result<(), StreamError> {
    let parent = source.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
    // Without a parent the pipeline is being torn down.
    let (Some(bin), Some(caps)) = (parent, pad.current_caps().or_else(|| Some(pad.query_caps(None)))) else {
        return Ok(());
    };
    let (codec, name, clock_rate_hz) = described(&caps).map_err(|name| StreamError::codec(&name))?;
    tails.add(&bin, pad, &[name], codec, Some(clock_rate_hz))
}
