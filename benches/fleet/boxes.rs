//! Boxes: real `publish` rooms in a process of their own, fed with records on each box's own grid.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use edge_ger::inside::{
    config::{Host, Integer, Mqtt, Outbox, Page},
    publish,
    time::{Clock, Moment, Span, SystemClock},
    wire::{
        CameraId,
        control::{MqttSecrets, Order, PublishConfig, Report, record_pair},
        record::{Emotion, Outcome, Reading, Record, Withheld, example},
    },
};
use rustix::net::{SendFlags, send};
use serde::{Deserialize, Serialize};

use crate::{Fault, pause, tally::Fed};

/// The first word of a process that holds boxes; the second is its [`Task`].
pub(crate) const MODE: &str = "boxes";

const HOP: Span = Span::from_ms(5000);
/// From the start of one box to the start of the next of its process.
const APART: Duration = Duration::from_millis(20);
/// Ended by this word on standard input; then it says what it fed, and a line with this word.
const QUIET: &str = "quiet";

/// How many cameras box `number` has.
pub(crate) const fn cameras(number: usize) -> u16 {
    if number.is_multiple_of(2) { 1 } else { 2 }
}

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    port: u16,
    first: usize,
    count: usize,
    folder: PathBuf,
}

/// A process with boxes, as the bench sees it. It ends when this is dropped.
pub(crate) struct Boxes {
    count: usize,
    process: Child,
    say: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Boxes {
    pub(crate) fn start(port: u16, first: usize, count: usize, folder: &Path) -> Result<Self, Fault> {
        let task = serde_json::to_string(&Task { port, first, count, folder: folder.into() })?;
        let mut process = Command::new(std::env::current_exe()?)
            .args([MODE, &task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self { count, say: process.stdin.take(), said, process })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the feeding; returns what was fed.
    pub(crate) fn quiet(&mut self) -> Result<Vec<Fed>, Fault> {
        writeln!(self.say.as_mut().ok_or("it was stopped")?, "{QUIET}")?;
        let lines = self.said.by_ref().lines().map_while(Result::ok).take_while(|it| it != QUIET);
        Ok(lines.map(|it: String| serde_json::from_str(&it)).collect::<Result<_, _>>()?)
    }

    /// Ends the boxes in good order; returns how late each record was fed, ms.
    pub(crate) fn stop(mut self) -> Result<Vec<u64>, Fault> {
        drop(self.say.take());
        let line = self.said.by_ref().lines().map_while(Result::ok).last().unwrap_or_default();
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Boxes {
    fn drop(&mut self) {
        drop(self.say.take());
        self.process.wait().ok();
    }
}

/// The machine's clock, as a box that was started at another moment sees it: their grids must not fall together.
struct Shifted(Span);

impl Clock for Shifted {
    fn now(&self) -> Moment {
        SystemClock.now() + self.0
    }

    fn wall_ms(&self) -> u64 {
        SystemClock.wall_ms()
    }
}

/// A running room and what it is fed with.
struct Room {
    name: String,
    cameras: u16,
    clock: Arc<Shifted>,
    records: OwnedFd,
    orders: Sender<(Order, Vec<OwnedFd>)>,
    ended: Receiver<Result<(), publish::Error>>,
    first_slot: u64,
    next_slot: u64,
    /// The room stops to tell its progress when nobody reads, but not when nobody is there.
    _reports: Receiver<Report>,
}

/// Holds boxes until standard input ends.
pub(crate) fn serve(task: &str) -> Result<(), Fault> {
    let task: Task = serde_json::from_str(task)?;
    let (sender, words) = bounded(1);
    let listen = move || io::stdin().lines().map_while(Result::ok).for_each(|it| drop(sender.send(it)));
    thread::Builder::new().name("words".into()).spawn(listen)?;
    let mut rooms = Vec::new();
    for number in task.first..task.first + task.count {
        rooms.push(Room::start(&task, number)?);
        pause(APART);
    }
    let mut late_ms = Vec::new();
    // Nobody says anything until it is time to be quiet.
    while let Some(room) = rooms.iter_mut().min_by_key(|it| it.due()) {
        match words.recv_timeout(room.due().after(SystemClock.now())) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                late_ms.push(u64::try_from((SystemClock.now() - room.due()).as_ms())?);
                room.feed()?;
            }
            _ => break,
        }
    }
    let mut out = io::stdout().lock();
    for room in &rooms {
        for camera in 0..room.cameras {
            let fed: Fed = (format!("{}/cam-{camera}", room.name), room.first_slot, room.next_slot - 1);
            writeln!(out, "{}", serde_json::to_string(&fed)?)?;
        }
    }
    writeln!(out, "{QUIET}")?;
    out.flush()?;
    while words.recv().is_ok() {}
    rooms.iter().for_each(|room| drop(room.orders.send((Order::Stop, Vec::new()))));
    rooms.iter().for_each(|room| drop(room.ended.recv_timeout(Duration::from_secs(10))));
    Ok(writeln!(out, "{}", serde_json::to_string(&late_ms)?)?)
}

impl Room {
    fn start(task: &Task, number: usize) -> Result<Self, Fault> {
        let (name, cameras) = (format!("box-{number}"), cameras(number));
        let folder = task.folder.join(&name);
        fs::create_dir_all(&folder)?;
        // Multiples of the golden ratio fill the hop evenly, however many there are.
        let phase = Span((HOP.0 as f64 * (number as f64 * 0.618_034).fract()) as i64);
        let clock = Arc::new(Shifted(phase));
        let (from_room, records) = record_pair()?;
        let (orders, room_orders) = bounded(8);
        let (room_reports, reports) = bounded(8);
        let (room_ended, ended) = bounded(1);
        let (begin, room_clock) = (begin(task.port, &name, cameras, &folder), Arc::clone(&clock));
        thread::Builder::new().name(name.clone()).spawn(move || {
            // The bench is gone when nobody hears it.
            room_ended.send(publish::run(begin, from_room, &room_orders, &room_reports, room_clock)).ok();
        })?;
        let first_slot = u64::try_from(clock.now().0 / HOP.0)? + 1;
        let next_slot = first_slot;
        Ok(Self { name, cameras, clock, records, orders, ended, first_slot, next_slot, _reports: reports })
    }

    /// When the next slot ends, by the machine's clock.
    fn due(&self) -> Moment {
        Moment(i64::try_from(self.next_slot).unwrap_or(i64::MAX).saturating_mul(HOP.0)) - self.clock.0
    }

    fn feed(&mut self) -> Result<(), Fault> {
        let ago = (SystemClock.now() - self.due()).as_ms();
        let window_end_ms = SystemClock.wall_ms() - u64::try_from(ago)?;
        for camera in (0..self.cameras).map(CameraId) {
            for record in
                [Record::Reading(reading(camera, self.next_slot, window_end_ms)), Record::Vital(example::vital(camera))]
            {
                send(&self.records, &record.to_bytes(), SendFlags::empty())?;
            }
        }
        self.next_slot += 1;
        Ok(())
    }
}

/// As a configuration with nothing but the needful, and the outbox in memory.
fn begin(port: u16, name: &str, cameras: u16, folder: &Path) -> PublishConfig {
    PublishConfig {
        box_name: name.into(),
        cameras: (0..cameras).map(|it| (CameraId(it), format!("cam-{it}"))).collect(),
        mqtt: Mqtt { host: Host("127.0.0.1".into()), port: Integer::new(port.into()).ok(), ..Mqtt::default() },
        secrets: MqttSecrets::default(),
        outbox: Outbox {
            file: folder.join("outbox.sqlite"),
            rows_max: 1_000_000,
            bytes_max: 4 << 20,
            age_max_s: 168 * 3600,
        },
        page: Page::Off,
        page_token: None,
        boot: fastrand::u32(1..),
        model_name: "edge-ger-3".into(),
        min_group: 5,
        hop_ms: 5000,
    }
}

fn reading(camera: CameraId, slot: u64, window_end_ms: u64) -> Reading {
    let positive = fastrand::u16(..10_000);
    let neutral = fastrand::u16(..10_000 - positive);
    let probabilities = [positive, neutral, 10_000 - positive - neutral];
    let (_, emotion) =
        probabilities.into_iter().zip(Emotion::ALL).max_by_key(|it| it.0).unwrap_or((0, Emotion::Neutral));
    let is_sure = 4500 < probabilities[emotion as usize];
    let outcome = if is_sure { Outcome::Label(emotion) } else { Outcome::Withheld(Withheld::LowConfidence) };
    let latency_ms = fastrand::u16(60..300);
    Reading { window_end_ms, outcome, probabilities, latency_ms, ..example::reading(camera, slot) }
}
