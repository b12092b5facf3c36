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

/// `rtspsrc` itself gives up on a connection after so long, microseconds; the deadline in `camera` comes first.
const TCP_TIMEOUT_US: u64 = 15_000_000;
/// How long `rtspsrc` may wait for the answer to TEARDOWN, ns.
const TEARDOWN_TIMEOUT_NS: u64 = 100_000_000;

/// An authority that signed nothing and never can: it expired in 1970, is not allowed to sign, and its key was deleted
/// when it was made. GIO has no other way to trust no authority.
const NO_AUTHORITY_PEM: &str = "\
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
    /// Whether the camera's clock is to be read.
    pub(super) reads_camera_clock: bool,
}

/// The streams that the camera offers.
#[derive(Debug, Default)]
struct Offer {
    /// The numbers of the streams that were selected.
    selected: Vec<(u32, Medium)>,
    /// What the other streams are.
    unsupported: Vec<String>,
}

type SharedOffer = Arc<Mutex<Offer>>;

fn lock(offer: &SharedOffer) -> MutexGuard<'_, Offer> {
    offer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a camera to a pipeline.
pub(super) fn add(pipeline: &gst::Pipeline, connect: &Connect<'_>, branches: Branches) -> Result<Refine, StreamError> {
    let source = make("rtspsrc")?;
    let rtsp = connect.rtsp;
    set_up(&source, rtsp, connect.password);
    // GStreamer 1.20 does not know it; the camera's clock stays unknown there.
    set_if_there(&source, "add-reference-timestamp-meta", connect.reads_camera_clock);
    watch_steps(&source, &branches.stats);
    let is_certificate_refused = check_certificate(&source, rtsp)?;
    let offer = SharedOffer::default();
    select_streams(&source, &offer, &branches);
    find_jitter_buffers(&source, &offer, &branches.stats);
    link_streams(&source, branches);
    pipeline.add(&source).map_err(|_| StreamError::other("rtspsrc cannot be added"))?;
    Ok(Box::new(move |error| {
        if is_certificate_refused.load(Ordering::Acquire) {
            let text = "its certificate is not the pinned one, or is not trusted".to_owned();
            return StreamError { fault: CameraFault::Certificate, text };
        }
        let offer = lock(&offer);
        let has_video = offer.selected.iter().any(|(_, medium)| *medium == Medium::Video);
        let is_unsupported = !offer.unsupported.is_empty() && !has_video;
        if is_unsupported && matches!(error.fault, CameraFault::Other | CameraFault::Unreachable) {
            return StreamError::codec(&offer.unsupported.join(", "));
        }
        error
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
    // The jitter buffer maps presentation times to our clock, in the same way for each stream, and RTCP then aligns
    // them. In mode `none` each stream would begin at zero whenever its first packet comes, and sound and picture would
    // not be in step until the first sender report, which some cameras never send. The camera's own clock, whose drift
    // is reported, is read from the packets instead.
    source.set_property_from_str("buffer-mode", "slave");
    set_if_there(source, "is-live", true);
    set_if_there(source, "do-retransmission", false);
    set_if_there(source, "udp-reconnect", false);
    // After so long without a datagram it would try TCP, which is not allowed, and then give up with a message that does
    // not mention a firewall. Whether pictures are overdue is decided in `camera`.
    set_if_there(source, "timeout", 0_u64);
    set_if_there(source, "tcp-timeout", TCP_TIMEOUT_US);
    set_if_there(source, "teardown-timeout", TEARDOWN_TIMEOUT_NS);
    set_if_there(source, "user-agent", concat!("edge-ger/", env!("CARGO_PKG_VERSION")));
}

fn is_encrypted(rtsp: &Rtsp) -> bool {
    rtsp.url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsps:"))
}

/// Makes GStreamer check the certificate: against the pin and nothing else, or against the authorities of the camera or
/// the system. The flag that it returns is set once a certificate was refused.
fn check_certificate(source: &gst::Element, rtsp: &Rtsp) -> Result<Arc<AtomicBool>, StreamError> {
    let is_refused = Arc::new(AtomicBool::new(false));
    if !is_encrypted(rtsp) {
        return Ok(is_refused);
    }
    // GIO asks about a certificate only when it does not trust it. Where one is pinned it must always ask, so it is
    // given no authority to trust; where none is pinned its decision is final.
    match (rtsp.fingerprint, &rtsp.ca_file) {
        (Some(_), _) => source.set_property("tls-database", no_authority()?),
        (None, Some(file)) => source.set_property("tls-database", authorities(file)?),
        (None, None) => {}
    }
    source.set_property_from_str("tls-validation-flags", "validate-all");
    let pinned = rtsp.fingerprint;
    let flag = Arc::clone(&is_refused);
    source.connect("accept-certificate", false, move |args| {
        let certificate = args.get(2).and_then(|arg| arg.get::<glib::Object>().ok());
        let der = certificate.map(|certificate| certificate.property::<Option<glib::ByteArray>>("certificate"));
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

/// A database of authorities that trusts none. GIO reads it from a file, so it is in one, in memory.
fn no_authority() -> Result<gio::TlsFileDatabase, StreamError> {
    let failed = |err: std::io::Error| StreamError::other(&format!("the pinned certificate cannot be checked: {err}"));
    let memory = memfd_create("no-authority.pem", MemfdFlags::CLOEXEC).map_err(|err| failed(err.into()))?;
    let mut file = File::from(memory);
    file.write_all(NO_AUTHORITY_PEM.as_bytes()).map_err(failed)?;
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

/// Selects the first picture and, where it is wanted, the first sound that has a depayloader; nothing else is set up.
fn select_streams(source: &gst::Element, offer: &SharedOffer, branches: &Branches) {
    let (offer, stats, wants_sound) = (Arc::clone(offer), branches.stats.clone(), branches.wants_sound);
    source.connect("select-stream", false, move |args| {
        let number = args.get(1).and_then(|arg| arg.get::<u32>().ok())?;
        let caps = args.get(2).and_then(|arg| arg.get::<gst::Caps>().ok())?;
        let mut offer = lock(&offer);
        let is_selected = match described(&caps).map(|(codec, ..)| Medium::of(codec)) {
            Ok(medium) => {
                let is_wanted = medium == Medium::Video || wants_sound;
                let is_first = offer.selected.iter().all(|(_, other)| *other != medium);
                if is_wanted && is_first {
                    offer.selected.push((number, medium));
                    if medium == Medium::Video {
                        stats.reach(Step::Described);
                    }
                }
                is_wanted && is_first
            }
            Err(name) => {
                offer.unsupported.push(name);
                false
            }
        };
        Some(is_selected.to_value())
    });
}

/// Notes how far the connection comes, and how long the camera takes to answer.
fn watch_steps(source: &gst::Element, stats: &ConnectionStats) {
    let clock = gst::SystemClock::obtain();
    let of_requests = stats.clone();
    source.connect("before-send", false, move |_| {
        of_requests.note_request(clock.time());
        Some(true.to_value())
    });
    let stats = stats.clone();
    source.connect("on-sdp", false, move |_| {
        stats.reach(Step::Authorised);
        None
    });
}

/// Finds the jitter buffers, whose session has the number of the stream.
fn find_jitter_buffers(source: &gst::Element, offer: &SharedOffer, stats: &ConnectionStats) {
    let (offer, stats) = (Arc::clone(offer), stats.clone());
    source.connect("new-manager", false, move |args| {
        let manager = args.get(1).and_then(|arg| arg.get::<gst::Element>().ok())?;
        let (offer, stats) = (Arc::clone(&offer), stats.clone());
        manager.connect("new-jitterbuffer", false, move |args| {
            let buffer = args.get(1).and_then(|arg| arg.get::<gst::Element>().ok())?;
            let session = args.get(2).and_then(|arg| arg.get::<u32>().ok())?;
            let medium = lock(&offer).selected.iter().find(|(number, _)| *number == session)?.1;
            stats.add(medium, &buffer);
            None
        });
        None
    });
}

fn link_streams(source: &gst::Element, branches: Branches) {
    source.connect_pad_added(move |source, pad| {
        if let Err(error) = link(source, pad, &branches) {
            drop(branches.events.try_send(Event::Lost(error)));
        }
    });
}

fn link(source: &gst::Element, pad: &gst::Pad, branches: &Branches) -> Result<(), StreamError> {
    let parent = source.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
    // Without a parent the pipeline is being torn down.
    let (Some(bin), Some(caps)) = (parent, pad.current_caps().or_else(|| Some(pad.query_caps(None)))) else {
        return Ok(());
    };
    let (codec, name, clock_rate_hz) = described(&caps).map_err(|name| StreamError::codec(&name))?;
    branches.add(&bin, pad, &[name], codec, Some(clock_rate_hz))
}
