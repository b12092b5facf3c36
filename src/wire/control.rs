//! Parent ⇄ worker: orders one way, reports the other, as JSON over a pair of SOCK_SEQPACKET sockets.
//!
//! A worker has its end of the pair as standard input. Orders may carry file descriptors: the ends of the links, at the
//! start and whenever a neighbour was restarted.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::CameraId;
pub use crate::config::MqttSecrets;
use crate::{
    config::{Camera, Model, Mqtt, Outbox, Page, Reading, Secret},
    time::Grid,
};

/// The longest order; the configuration of a hundred cameras is shorter. The kernel's default for the buffer of a
/// socket, which bounds a single message, is 208 KiB.
const ORDER_BYTES_MAX: usize = 192 << 10;
const FDS_MAX: usize = 2;

/// What the parent sends to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first order of `ingest`. Descriptor: downstream.
    Ingest(IngestConfig),
    /// The first order of `infer`. Descriptors: upstream, downstream.
    Infer(InferConfig),
    /// The first order of `publish`. Descriptor: upstream.
    Publish(Box<PublishConfig>),
    /// A camera was added or changed: start it, or restart it, and no other.
    SetCamera(Box<CameraOrder>),
    /// A camera was removed from the configuration.
    DropCamera(CameraId),
    /// Which pictures of this camera are decoded until the next such order.
    SetSampling(CameraId, Sampling),
    /// The process upstream was restarted. Descriptor: the new upstream end.
    Upstream,
    /// The process downstream was restarted. Descriptor: the new downstream end.
    Downstream,
    /// Finish within 1.5 s.
    Stop,
}

/// Which pictures of a camera are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// Those that the network will see.
    #[default]
    Grid,
    /// Every picture.
    All,
}

/// A camera and, for `ingest` alone, its password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CameraOrder {
    /// The camera.
    pub camera: Camera,
    /// Its password; `None` in the orders to `infer`.
    pub password: Option<Secret>,
    /// Whether it is paused: not connected to, and its microphone closed.
    pub paused: bool,
}

/// The configuration of `ingest`.
#[derive(Debug, Serialize, Deserialize)]
pub struct IngestConfig {
    /// All cameras with their passwords.
    pub cameras: Vec<CameraOrder>,
    /// Which frames are wanted.
    pub grid: Grid,
    /// Whether this is a dry run, which measures more of each connection.
    pub is_dry_run: bool,
}

/// The configuration of `infer`.
#[derive(Debug, Serialize, Deserialize)]
pub struct InferConfig {
    /// All cameras, without their passwords.
    pub cameras: Vec<CameraOrder>,
    /// The network and how to run it.
    pub model: Model,
    /// When there is a reading, and which.
    pub reading: Reading,
    /// The slots.
    pub grid: Grid,
    /// Whether the sandbox must allow unix sockets, for a microphone that is reached through one.
    pub unix_sockets: bool,
    /// After a restart: the last slot that was reported, so that the missed ones are published as withheld.
    pub last_slot: Option<u64>,
    /// Whether this is a dry run, which measures every camera.
    pub is_dry_run: bool,
}

/// The configuration of `publish`.
#[derive(Debug, Serialize, Deserialize)]
pub struct PublishConfig {
    /// The box's name in the topics.
    pub box_name: String,
    /// The cameras' names by their numbers.
    pub cameras: Vec<(CameraId, String)>,
    /// The broker.
    pub mqtt: Mqtt,
    /// The contents of the files that `mqtt` names.
    pub secrets: MqttSecrets,
    /// The outbox's bounds and folder.
    pub outbox: Outbox,
    /// Where the status page listens.
    pub page: Page,
    /// The token of the status page, where it needs one.
    pub page_token: Option<Secret>,
    /// Random number of this run of the daemon; with `seq` it makes every reading unique.
    pub boot: u32,
    /// The network's name, as in its contract.
    pub model_name: String,
    /// `reading.min_group`, for `info`.
    pub min_group: u8,
    /// From the end of one window to the next, ms, for `info`.
    pub hop_ms: u32,
}

/// What a worker sends to the parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The start is complete. The text is for the log.
    Ready(String),
    /// `infer`: the newest slot for which every camera has a record. Others: a count of turns of the main loop.
    Progress(u64),
    /// `infer`, in a dry run: the versions of its libraries.
    Libraries(Libraries),
    /// The process cannot work, and a restart does not help: the configuration or the network is at fault.
    Refused(String),
}

/// Versions of GStreamer and ONNX Runtime, as numbers only, because the report of a dry run shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Libraries {
    /// GStreamer: major, minor, micro, nano.
    pub gstreamer: [u32; 4],
    /// ONNX Runtime: major, minor, patch; `None` where its library does not tell.
    pub onnx_runtime: Option<[u32; 3]>,
}

/// One end of the pair.
#[derive(Debug)]
pub struct Control(OwnedFd);

/// A pair of connected sockets: the parent's end and the worker's.
///
/// # Errors
/// When the kernel gives no sockets.
pub(crate) fn pair() -> io::Result<(Control, Control)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Control(ours), Control(theirs)))
}

/// The ends of the link from `ingest` to `infer`: a byte stream.
///
/// # Errors
/// When the kernel gives no sockets.
pub(crate) fn unit_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// The ends of the link from `infer` to `publish`: each `send` is one record.
///
/// # Errors
/// When the kernel gives no sockets.
pub fn record_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl From<OwnedFd> for Control {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Control> for OwnedFd {
    fn from(control: Control) -> Self {
        control.0
    }
}

impl Control {
    /// A second handle on the same end, for another thread.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sends a message and descriptors.
    ///
    /// # Errors
    /// When the peer has closed its end, or the message is too long.
    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if ORDER_BYTES_MAX < text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(self.0.as_fd(), &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message and its descriptors. `None` once the peer has closed its end.
    ///
    /// # Errors
    /// When the bytes that arrive are not such a message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut text = vec![0; ORDER_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(self.0.as_fd(), &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags)
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let message = serde_json::from_slice(&text[..received.bytes])?;
        Ok(Some((message, fds)))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    #[test]
    fn an_order_carries_its_descriptors() {
        let (parent, worker) = pair().unwrap();
        let (ours, theirs) = unit_pair().unwrap();
        parent.send(&Order::Upstream, &[theirs.as_fd()]).unwrap();
        drop(theirs);
        let (order, mut fds) = worker.receive::<Order>().unwrap().unwrap();
        assert!(matches!(order, Order::Upstream));
        let mut received = File::from(fds.remove(0));
        received.write_all(b"hello").unwrap();
        drop(received);
        assert_eq!(io::read_to_string(File::from(ours)).unwrap(), "hello");
    }

    #[test]
    fn a_parent_that_ended_is_the_end_of_the_orders() {
        let (parent, worker) = pair().unwrap();
        worker.send(&Report::Progress(7), &[]).unwrap();
        assert_eq!(parent.receive::<Report>().unwrap().unwrap().0, Report::Progress(7));
        drop(parent);
        assert!(worker.receive::<Order>().unwrap().is_none());
    }
}
