//! Tiny rooms: they move numbers instead of media, and tell a witness what happens to them.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use edge_ger::{
    config::Source,
    service::logging,
    supervisor::{
        process::{Ended, Error, Orders, ProcessName, Processes, enter},
        worker::Program,
    },
    time::{Clock, SystemClock},
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec, Message, UnitHeader, read, write},
        control::{InferConfig, IngestConfig, Order, PublishConfig, Report},
        record::{RECORD_BYTES, Reading, Record, example},
    },
};
use rustix::net::{SendFlags, send};

/// Often enough that a test need not wait long, seldom enough for a busy machine.
const TURN: Duration = Duration::from_millis(20);

/// This test binary as a room.
pub(crate) fn program() -> Program {
    Program {
        path: "/proc/self/exe".into(),
        args: |name| {
            let entry = format!("processes::tiny::as_{name}");
            [entry.as_str(), "--exact", "--nocapture", "--test-threads=1"].map(Into::into).to_vec()
        },
    }
}

#[test]
fn as_ingest() {
    room_or_refusal(ProcessName::Ingest);
}

#[test]
fn as_infer() {
    room_or_refusal(ProcessName::Infer);
}

#[test]
fn as_publish() {
    room_or_refusal(ProcessName::Publish);
}

/// Under the parent, the room; under the test harness, the proof that nobody else can start it.
fn room_or_refusal(name: ProcessName) {
    logging::start(name.as_str());
    match enter(name, Processes { ingest, infer, publish }, Arc::new(SystemClock)) {
        Err(Error::NotARoom) => {}
        Ok(exit) => std::process::exit(exit.code().into()),
        Err(err) => panic!("{err}"),
    }
}

/// Tells the test that listens in this folder. A test that has ended hears nothing more.
struct Witness(UnixDatagram);

impl Witness {
    fn in_folder_of(file: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(file.with_file_name("witness"))?;
        Ok(Self(socket))
    }

    fn tell(&self, words: &str) {
        self.0.send(words.as_bytes()).ok();
    }
}

fn camera_names(begin: impl Iterator<Item = String>) -> String {
    begin.collect::<Vec<_>>().join(",")
}

/// Whatever its model's name says: `refused`, `deaf` (starts for ever), `useless` (works, but finishes no slot).
fn temper(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

fn ingest(
    begin: IngestConfig,
    out: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    _clock: Arc<dyn Clock>,
) -> Ended {
    let Source::File(file) = &begin.cameras[0].camera.source else { return Err("no file".into()) };
    let witness = Witness::in_folder_of(file)?;
    let pid = std::process::id();
    let paused = begin.cameras.iter().filter(|it| it.paused).count();
    let names = begin.cameras.iter().map(|it| it.camera.name.clone());
    witness.tell(&format!("ingest {pid} begins with {}, {paused} paused", camera_names(names)));
    reports.send(Report::Ready("tiny".into()))?;
    let mut out = File::from(out);
    let turns = tick(TURN);
    for turn in 0.. {
        select! {
            recv(turns) -> _ => {
                let header = UnitHeader {
                    camera: CameraId(0),
                    codec: Codec::H264,
                    is_key: true,
                    discontinuity: turn == 0,
                    wanted: true,
                    seq: turn,
                    lost: pid,
                    rate_hz: 0,
                    channels: 0,
                    moment: SystemClock.now(),
                    arrival: SystemClock.now(),
                };
                // `infer` may be away; its next life brings a new socket.
                write(&mut out, &Message::AccessUnit(AccessUnit { header, bytes: b"access unit" })).ok();
                reports.try_send(Report::Progress(turn.into())).ok();
            }
            recv(orders) -> order => match order {
                Ok((Order::Downstream, mut fds)) => out = File::from(fds.remove(0)),
                Ok((Order::Stop, _)) | Err(_) => break,
                Ok((order, _)) => witness.tell(&format!("ingest {pid} hears {}", heard(&order))),
            },
        }
    }
    witness.tell(&format!("ingest {pid} ends"));
    Ok(())
}

fn heard(order: &Order) -> String {
    match order {
        Order::SetCamera(it) => {
            let paused = if it.paused { " paused" } else { "" };
            format!("set {} {} password {:?}{paused}", it.camera.id.0, it.camera.name, it.password.is_some())
        }
        Order::DropCamera(id) => format!("drop {}", id.0),
        other => format!("{other:?}"),
    }
}

/// Hands the units of each upstream on, until it ends.
fn units(from: OwnedFd, to: Sender<UnitHeader>) {
    let read_all = move || {
        let mut from = File::from(from);
        while let Ok(Some(Message::AccessUnit(unit))) = read(&mut from, |len| vec![0; len]) {
            if to.send(unit.header).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("units".into()).spawn(read_all).unwrap();
}

fn infer(
    begin: InferConfig,
    from: OwnedFd,
    mut out: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Ended {
    let temper = temper(&begin.model.file);
    let pid = std::process::id();
    let witness = Witness::in_folder_of(&begin.model.file)?;
    let paused = begin.cameras.iter().filter(|it| it.paused).count();
    witness.tell(&format!("infer {pid} begins after {:?}, {paused} paused", begin.last_slot));
    if temper == "refused" {
        reports.send(Report::Refused("model.file: not a network".into()))?;
        return Err("refused".into());
    }
    if temper == "deaf" {
        never::<()>().recv()?;
    }
    reports.send(Report::Ready("tiny".into()))?;
    let (sender, arrived) = bounded(64);
    units(from, sender.clone());
    let turns = tick(TURN);
    loop {
        select! {
            recv(arrived) -> unit => {
                let ingest = unit?.lost;
                let record = Record::Reading(example::reading(CameraId(0), u64::from(ingest) << 32 | u64::from(pid)));
                // `publish` may be away.
                send(out.as_fd(), &record.to_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT).ok();
            }
            recv(turns) -> _ => {
                let slot = if temper == "useless" { 0 } else { u64::try_from(clock.now().0 / 1_000_000)? };
                reports.try_send(Report::Progress(slot)).ok();
            }
            recv(orders) -> order => match order {
                Ok((Order::Upstream, mut fds)) => units(fds.remove(0), sender.clone()),
                Ok((Order::Downstream, mut fds)) => out = fds.remove(0),
                Ok((Order::Stop, _)) | Err(_) => break,
                Ok((order, _)) => witness.tell(&format!("infer {pid} hears {}", heard(&order))),
            },
        }
    }
    // What a real one would still finish.
    send(out.as_fd(), &Record::Reading(example::reading(CameraId(0), u64::MAX)).to_bytes(), SendFlags::NOSIGNAL).ok();
    witness.tell(&format!("infer {pid} ends"));
    Ok(())
}

fn records(from: OwnedFd) -> Receiver<Record> {
    let (to, records) = bounded(64);
    let read_all = move || {
        let mut bytes = [0; RECORD_BYTES + 1];
        while let Ok(n @ 1..) = rustix::io::read(from.as_fd(), &mut bytes) {
            if to.send(Record::from_bytes(&bytes[..n]).unwrap()).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("records".into()).spawn(read_all).unwrap();
    records
}

fn publish(
    begin: PublishConfig,
    from: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    _clock: Arc<dyn Clock>,
) -> Ended {
    let witness = Witness::in_folder_of(&begin.outbox.file)?;
    let pid = std::process::id();
    let names = begin.cameras.iter().map(|(_, name)| name.clone());
    witness.tell(&format!("publish {pid} begins with {}", camera_names(names)));
    reports.send(Report::Ready("tiny".into()))?;
    let (mut arrived, turns) = (records(from), tick(TURN));
    let mut last_route = 0;
    loop {
        select! {
            recv(arrived) -> record => match record {
                Ok(Record::Reading(Reading { slot: u64::MAX, .. })) => {
                    witness.tell(&format!("publish {pid} has the last reading"));
                }
                Ok(Record::Reading(reading)) => {
                    // Each way that data takes is told once.
                    if std::mem::replace(&mut last_route, reading.slot) != reading.slot {
                        let (ingest, infer) = (reading.slot >> 32, reading.slot & 0xffff_ffff);
                        witness.tell(&format!("data flows {ingest} {infer} {pid}"));
                    }
                }
                Ok(Record::Vital(_) | Record::ProbeRecord(_)) => {}
                Err(_) => arrived = never(),
            },
            recv(turns) -> _ => drop(reports.try_send(Report::Progress(0))),
            recv(orders) -> order => match order {
                Ok((Order::Upstream, mut fds)) => arrived = records(fds.remove(0)),
                Ok((Order::Stop, _)) | Err(_) => break,
                Ok((order, _)) => witness.tell(&format!("publish {pid} hears {}", heard(&order))),
            },
        }
    }
    witness.tell(&format!("publish {pid} ends"));
    io::stderr().flush()?;
    Ok(())
}
