//! Tiny processes: they pass numbers instead of media, and report to the test what happens to them.

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
        process::{Error, Orders, ProcessResult, Processes, run},
        worker::Program,
    },
    time::{Clock, SystemClock},
    wire::{
        CameraId,
        access_unit::{AccessUnit, Codec, Message, UnitHeader, read, write},
        control::{InferConfig, IngestConfig, Order, PublishConfig, Report},
        process::ProcessName,
        record::{RECORD_BYTES, Reading, Record, example},
    },
};
use rustix::net::{SendFlags, send};

/// Short enough for a quick test, and long enough for a busy machine.
const TURN: Duration = Duration::from_millis(20);

/// This test binary as a process of the daemon.
pub(crate) fn program() -> Program {
    Program {
        path: "/proc/self/exe".into(),
        args: |name| {
            let entry = format!("it::processes::tiny::as_{name}");
            [entry.as_str(), "--exact", "--nocapture", "--test-threads=1"].map(Into::into).to_vec()
        },
    }
}

#[test]
fn as_ingest() {
    run_or_refuse(ProcessName::Ingest);
}

#[test]
fn as_infer() {
    run_or_refuse(ProcessName::Infer);
}

#[test]
fn as_publish() {
    run_or_refuse(ProcessName::Publish);
}

/// Started by the parent, runs the process; started by the test harness, checks that it can only be started by the parent.
fn run_or_refuse(name: ProcessName) {
    logging::start(name.as_str());
    match run(name, Processes { ingest, infer, publish }, Arc::new(SystemClock)) {
        Err(Error::NotStartedByParent) => {}
        Ok(exit) => std::process::exit(exit.code().into()),
        Err(err) => panic!("{err}"),
    }
}

/// Reports to the test that has a socket in this folder. Does nothing once that test has ended.
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

fn camera_names(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(",")
}

/// How `infer` behaves, from the file name of its model: `refused`, `never-ready` (its start does not end), `no-slots` (runs,
/// but finishes no slot), and anything else for normal.
fn behaviour(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

fn ingest(
    config: IngestConfig,
    out: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    _clock: Arc<dyn Clock>,
) -> ProcessResult {
    let Source::File(file) = &config.cameras[0].camera.source else { return Err("no file".into()) };
    let witness = Witness::in_folder_of(file)?;
    let pid = std::process::id();
    let paused = config.cameras.iter().filter(|order| order.paused).count();
    let names = config.cameras.iter().map(|order| order.camera.name.clone());
    witness.tell(&format!("ingest {pid} starts with {}, {paused} paused", camera_names(names)));
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
                // `infer` may have ended; its restart brings a new socket.
                write(&mut out, &Message::AccessUnit(AccessUnit { header, bytes: b"access unit" })).ok();
                reports.try_send(Report::Progress(turn.into())).ok();
            }
            recv(orders) -> order => match order {
                Ok((Order::Downstream, mut fds)) => out = File::from(fds.remove(0)),
                Ok((Order::Stop, _)) | Err(_) => break,
                Ok((order, _)) => witness.tell(&format!("ingest {pid} receives {}", describe(&order))),
            },
        }
    }
    witness.tell(&format!("ingest {pid} ends"));
    Ok(())
}

fn describe(order: &Order) -> String {
    match order {
        Order::SetCamera(it) => {
            let paused = if it.paused { " paused" } else { "" };
            format!("set {} {} password {:?}{paused}", it.camera.id.0, it.camera.name, it.password.is_some())
        }
        Order::DropCamera(id) => format!("drop {}", id.0),
        other => format!("{other:?}"),
    }
}

/// Forwards the headers of the units of an upstream, until it ends.
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
    config: InferConfig,
    from: OwnedFd,
    mut out: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> ProcessResult {
    let behaviour = behaviour(&config.model.file);
    let pid = std::process::id();
    let witness = Witness::in_folder_of(&config.model.file)?;
    let paused = config.cameras.iter().filter(|order| order.paused).count();
    witness.tell(&format!("infer {pid} starts after {:?}, {paused} paused", config.last_slot));
    if behaviour == "refused" {
        reports.send(Report::Refused("model.file: not a network".into()))?;
        return Err("refused".into());
    }
    if behaviour == "never-ready" {
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
                // `publish` may have ended.
                send(out.as_fd(), &record.to_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT).ok();
            }
            recv(turns) -> _ => {
                let slot = if behaviour == "no-slots" { 0 } else { u64::try_from(clock.now().0 / 1_000_000)? };
                reports.try_send(Report::Progress(slot)).ok();
            }
            recv(orders) -> order => match order {
                Ok((Order::Upstream, mut fds)) => units(fds.remove(0), sender.clone()),
                Ok((Order::Downstream, mut fds)) => out = fds.remove(0),
                Ok((Order::Stop, _)) | Err(_) => break,
                Ok((order, _)) => witness.tell(&format!("infer {pid} receives {}", describe(&order))),
            },
        }
    }
    // A real one would finish its last window.
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
    config: PublishConfig,
    from: OwnedFd,
    orders: &Orders,
    reports: &Sender<Report>,
    _clock: Arc<dyn Clock>,
) -> ProcessResult {
    let witness = Witness::in_folder_of(&config.outbox.file)?;
    let pid = std::process::id();
    let names = config.cameras.iter().map(|(_, name)| name.clone());
    witness.tell(&format!("publish {pid} starts with {}", camera_names(names)));
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
                    // Each route of the data is reported once.
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
                Ok((order, _)) => witness.tell(&format!("publish {pid} receives {}", describe(&order))),
            },
        }
    }
    witness.tell(&format!("publish {pid} ends"));
    io::stderr().flush()?;
    Ok(())
}
