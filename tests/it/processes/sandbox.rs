//! The sandbox of `infer` has no network: every way is tried, in a process of its own, as it cannot be left.

use std::{
    env,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    process::{Command, Output},
    thread,
};

use crossbeam_channel::bounded;
use edge_ger::{
    config::{FilePath, Integer, Model, NetworkFile},
    infer::runtime,
    sandbox::{Profile, enter},
};
use gstreamer::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};

use crate::it::harness::daemon::ONNX_RUNTIME;

/// Whether the microphone needs unix sockets: set where this binary is to enter the sandbox.
const INSIDE: &str = "SANDBOX_UNIX_SOCKETS";

/// Runs one of the tests below in a process that enters the sandbox.
fn inside(test: &str, unix_sockets: bool) -> Output {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", &format!("it::processes::sandbox::{test}"), "--nocapture", "--test-threads=1"]);
    // A new registry, so that GStreamer has to look at its plugins inside, through a process of its own.
    let folder = tempfile::tempdir().unwrap();
    command.env("GST_REGISTRY", folder.path().join("registry"));
    command.env(INSIDE, unix_sockets.to_string()).output().unwrap()
}

/// Starts this test inside and returns `None`; inside, enters the sandbox and returns what was asked for.
fn entered(test: &str) -> Option<bool> {
    if let Ok(unix_sockets) = env::var(INSIDE) {
        let unix_sockets = unix_sockets == "true";
        let granted = enter(Profile::NoNetwork { unix_sockets }).unwrap().to_string();
        assert_eq!(granted.starts_with("no sockets"), !unix_sockets, "{granted}");
        return Some(unix_sockets);
    }
    for unix_sockets in [false, true] {
        let output = inside(test, unix_sockets);
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "unix sockets {unix_sockets}:\n{said}");
    }
    None
}

/// Every way to a socket that Rust offers.
fn no_way_out(who: &str, unix_sockets: bool) {
    let denied = |what: &str, kind: Option<ErrorKind>| {
        assert_eq!(kind, Some(ErrorKind::PermissionDenied), "{who}: {what}");
    };
    denied("TCP out", TcpStream::connect("127.0.0.1:9").err().map(|it| it.kind()));
    denied("TCP out, v6", TcpStream::connect("[::1]:9").err().map(|it| it.kind()));
    denied("TCP in", TcpListener::bind("127.0.0.1:0").err().map(|it| it.kind()));
    denied("UDP", UdpSocket::bind("127.0.0.1:0").err().map(|it| it.kind()));
    for family in [
        AddressFamily::INET,
        AddressFamily::INET6,
        AddressFamily::NETLINK,
        AddressFamily::PACKET,
        AddressFamily::BLUETOOTH,
        AddressFamily::CAN,
        // AF_ALG of `linux/socket.h`: the kernel's ciphers.
        AddressFamily::from_raw(38),
        AddressFamily::VSOCK,
        AddressFamily::TIPC,
        AddressFamily::XDP,
    ] {
        for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::RAW, SocketType::SEQPACKET] {
            assert_eq!(socket(family, kind, None).err(), Some(rustix::io::Errno::ACCESS), "{who}: {family:?} {kind:?}");
        }
        let pair = socketpair(family, SocketType::STREAM, SocketFlags::empty(), None);
        assert_eq!(pair.err(), Some(rustix::io::Errno::ACCESS), "{who}: a pair of {family:?}");
    }
    let unix = |what: &str, kind: Option<ErrorKind>, allowed: bool| {
        let expected = if allowed { None } else { Some(ErrorKind::PermissionDenied) };
        assert_eq!(kind, expected, "{who}: {what}, unix sockets {unix_sockets}");
    };
    unix("a socket", UnixDatagram::unbound().err().map(|it| it.kind()), unix_sockets);
    unix("a pair that can send to names", UnixDatagram::pair().err().map(|it| it.kind()), unix_sockets);
    // GStreamer wakes its threads through one; it reaches nobody else.
    unix("a pair of streams", UnixStream::pair().err().map(|it| it.kind()), true);
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    for kind in [SocketType::DGRAM, SocketType::SEQPACKET, SocketType::RAW] {
        let pair = socketpair(AddressFamily::UNIX, kind, flags, None).err().map(|it| it.kind());
        unix("a pair of another kind, with flags", pair, unix_sockets);
    }
}

#[test]
fn no_thread_can_create_a_socket() {
    let (enter_now, entered_now) = bounded::<bool>(1);
    let before = thread::Builder::new().name("before".into());
    let before = before.spawn(move || entered_now.iter().for_each(|it| no_way_out("a thread from before", it)));
    // A process outside proves that the attempts themselves are sound.
    if env::var(INSIDE).is_err() {
        TcpListener::bind("127.0.0.1:0").unwrap();
        UnixDatagram::unbound().unwrap();
    }
    if let Some(unix_sockets) = entered("no_thread_can_create_a_socket") {
        no_way_out("the thread that entered", unix_sockets);
        enter_now.send(unix_sockets).unwrap();
        let after = thread::Builder::new().name("after".into());
        after.spawn(move || no_way_out("a thread from after", unix_sockets)).unwrap().join().unwrap();
    }
    drop(enter_now);
    before.unwrap().join().unwrap();
}

/// System calls as numbers, which Rust does not offer without `unsafe`. `EACCES` is 13, and comes before the kernel
/// looks whether it has the call at all.
const RAW: &str = r#"
import ctypes, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(it) for it in arguments])
    return ctypes.get_errno() if result == -1 else 0
SOCKET, PTRACE, READV, WRITEV, BPF, USERFAULTFD, IOCTL = (
    (41, 101, 310, 311, 321, 323, 16) if x86 else (198, 117, 270, 271, 280, 282, 29))
refused = {
    "io_uring_setup": (425, 8, 0), "io_uring_enter": (426, 0, 0), "io_uring_register": (427, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0), "ptrace": (PTRACE, 0, 0, 0, 0), "process_vm_readv": (READV, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (WRITEV, 1, 0, 0, 0, 0, 0), "bpf": (BPF, 0, 0, 0), "userfaultfd": (USERFAULTFD, 0),
    "TUNSETIFF": (IOCTL, 0, 0x400454ca, 0), "socket": (SOCKET, 2, 1, 0),
    # The kernel looks at 32 bits of the family only.
    "socket with high bits": (SOCKET, (1 << 32) | 2, 1, 0), "unix with high bits of inet": (SOCKET, (1 << 33) | 10, 1, 0),
}
if x86:
    refused["x32 socket"] = ((1 << 30) | 41, 2, 1, 0)
    refused["x32 ptrace"] = ((1 << 30) | 521, 0, 0, 0, 0)
    refused["x32 getpid"] = ((1 << 30) | 39,)
wrong = {name: call(*it) for name, it in refused.items() if call(*it) != 13}
if sys.argv[1] == "foreign":
    # mov eax, 20; int 0x80; ret: getpid of the 32-bit calls. The filter ends the process, SIGSYS.
    import mmap
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
print(wrong)
sys.exit(1 if wrong else 0)
"#;

#[test]
fn no_other_system_call_circumvents_it() {
    if entered("no_other_system_call_circumvents_it").is_none() {
        return;
    }
    // A program that is started from inside is bound as well.
    let run = |what: &str| Command::new("python3").args(["-c", RAW, what]).output().unwrap();
    let output = run("native");
    assert!(output.status.success(), "{output:?}");
    if cfg!(target_arch = "x86_64") {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGSYS: i32 = 31;
        let output = run("foreign");
        assert_eq!(output.status.signal(), Some(SIGSYS), "{output:?}");
    }
}

#[test]
fn the_attempts_succeed_outside_of_the_sandbox() {
    let output = Command::new("python3").args(["-c", RAW, "native"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for name in ["'socket'", "'socket with high bits'", "'pidfd_getfd'", "'TUNSETIFF'"] {
        assert!(said.contains(name), "{name} was refused outside the sandbox too: {output:?}");
    }
}

#[test]
fn gstreamer_and_onnx_runtime_start_in_the_sandbox() {
    if entered("gstreamer_and_onnx_runtime_start_in_the_sandbox").is_none() {
        return;
    }
    gstreamer::init().unwrap();
    let pipeline = gstreamer::parse::launch("videotestsrc num-buffers=5 ! videoconvert ! fakesink").unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let kinds = [gstreamer::MessageType::Eos, gstreamer::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gstreamer::ClockTime::from_seconds(20), &kinds);
    assert_eq!(message.unwrap().type_(), gstreamer::MessageType::Eos);
    pipeline.set_state(gstreamer::State::Null).unwrap();

    // The golden case of a network, as at the start of `infer`.
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/good.onnx"));
    let model = Model {
        file: NetworkFile(file.to_path_buf()),
        runtime_library: Some(FilePath(ONNX_RUNTIME.into())),
        threads: Integer::new(2).unwrap(),
        ..Model::default()
    };
    let found = runtime::verify(file, &model).unwrap();
    assert!(found.max_difference <= found.tolerance);
}
