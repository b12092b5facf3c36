//! The third room against a real broker: fed over a socket pair, as `infer` would, on a clock that is set by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test may panic")]

mod discovery;

use std::{
    io::{BufRead as _, BufReader},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use edge_ger::{
    config::{
        Camera, Decode, Gates, Host, Integer, Mqtt, MqttVersion, Outbox, Page, Rtsp, Secret, Sound, Source, Text,
        Transport,
    },
    publish::{self, outbox},
    time::{Clock, Moment, SetClock, Span, SystemClock},
    wire::{
        CameraId,
        control::{CameraOrder, MqttSecrets, Order, PublishConfig, Report, record_pair},
        record::{CameraFault, CameraState, Outcome, RECORD_BYTES, Reading, Record, Vital, Withheld, example},
    },
};
use rustix::net::{SendFlags, send};

use crate::it::harness::broker::{Broker, DEADLINE, Message, Options, Pki, Proxy, Subscriber};

pub(crate) const HOP: Span = Span::from_ms(5000);
/// The slot that ends when the tests begin.
pub(crate) const FIRST_SLOT: u64 = 1000;
const BOOT: u32 = 77;
pub(crate) const CAMERA: CameraId = CameraId(0);
const STATUS: &str = "edge-ger/box/status";
const READING: &str = "edge-ger/box/cam/reading";

pub(crate) fn begin(port: u16, folder: &Path) -> PublishConfig {
    PublishConfig {
        box_name: "box".into(),
        cameras: vec![(CAMERA, "cam".into())],
        mqtt: Mqtt {
            host: Host("127.0.0.1".into()),
            port: Integer::new(port.into()).ok(),
            keep_alive_s: Integer::new(5).unwrap(),
            ..Mqtt::default()
        },
        secrets: MqttSecrets::default(),
        outbox: Outbox { file: folder.join("outbox.db"), rows_max: 10_000, bytes_max: 16 << 20, age_max_s: 86_400 },
        page: Page::Off,
        page_token: None,
        boot: BOOT,
        model_name: "ger-small".into(),
        min_group: 5,
        hop_ms: 5000,
    }
}

pub(crate) fn reading(slot: u64) -> Reading {
    example::reading(CAMERA, slot)
}

pub(crate) fn vital() -> Vital {
    example::vital(CAMERA)
}

fn camera(id: CameraId, name: &str) -> Camera {
    let rtsp = Rtsp {
        url: "rtsp://127.0.0.1/".into(),
        user: None,
        password_file: None,
        transport: Transport::Tcp,
        latency_ms: 100,
        fingerprint: None,
        ca_file: None,
    };
    Camera {
        id,
        name: name.into(),
        source: Source::Rtsp(rtsp),
        decode: Decode::Auto,
        decoder: None,
        sound: Sound::Off,
        sync_offset: Span::ZERO,
        gates: Gates::default(),
        masks: Vec::new(),
        schedule: Default::default(),
    }
}

/// The order about a camera.
pub(crate) fn order(id: CameraId, name: &str) -> CameraOrder {
    CameraOrder { camera: camera(id, name), password: None, paused: false }
}

/// A running room.
pub(crate) struct Room {
    records: OwnedFd,
    orders: Sender<(Order, Vec<OwnedFd>)>,
    reports: Receiver<Report>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) ended: Receiver<Result<(), publish::Error>>,
    next_slot: u64,
}

impl Room {
    fn start(begin: PublishConfig) -> Self {
        Self::resume(begin, FIRST_SLOT).0
    }

    /// Begins at this slot, and returns when the room is ready; with the words it said then.
    pub(crate) fn resume(begin: PublishConfig, next_slot: u64) -> (Self, String) {
        let room = Self::spawn(begin, next_slot);
        let ready = std::iter::from_fn(|| room.reports.recv_timeout(DEADLINE).ok())
            .find_map(|it| if let Report::Ready(text) = it { Some(text) } else { None });
        (room, ready.expect("the room is ready"))
    }

    pub(crate) fn spawn(begin: PublishConfig, next_slot: u64) -> Self {
        let (from_room, records) = record_pair().unwrap();
        let (orders, room_orders) = bounded(8);
        let (room_reports, reports) = bounded(1000);
        let (room_ended, ended) = bounded(1);
        let clock = Arc::new(SetClock::at(Moment(i64::try_from(next_slot).unwrap() * HOP.0)));
        let room_clock: Arc<dyn Clock> = clock.clone();
        let run = move || {
            let end = publish::run(begin, from_room, &room_orders, &room_reports, room_clock);
            room_ended.send(end).unwrap();
        };
        thread::Builder::new().name("publish".into()).spawn(run).unwrap();
        Self { records, orders, reports, clock, ended, next_slot }
    }

    pub(crate) fn say(&self, bytes: &[u8]) {
        assert_eq!(send(&self.records, bytes, SendFlags::empty()), Ok(bytes.len()));
    }

    /// Lets a hop pass and says how it ended; returns the slot.
    pub(crate) fn read(&mut self) -> u64 {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.clock.advance(HOP);
        self.say(&Record::Reading(reading(slot)).to_bytes());
        slot
    }

    /// Lets a hop pass and says how the slot that comes `after` the first one ended; returns the slot.
    pub(crate) fn read_at(&mut self, after: u64, how: impl Fn(u64) -> Reading) -> u64 {
        let slot = FIRST_SLOT + after;
        self.next_slot = slot + 1;
        self.clock.advance(HOP);
        self.say(&Record::Reading(how(slot)).to_bytes());
        slot
    }

    pub(crate) fn read_many(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.read()).collect()
    }

    pub(crate) fn order(&self, order: Order, fds: Vec<OwnedFd>) {
        self.orders.send((order, fds)).unwrap();
    }

    /// Stops it, and says how long that took.
    pub(crate) fn stop(self) -> Duration {
        let asked = SystemClock.now();
        self.order(Order::Stop, Vec::new());
        self.ended.recv_timeout(DEADLINE).unwrap().unwrap();
        (SystemClock.now() - asked).to_duration()
    }
}

fn number(message: &Message, key: &str) -> f64 {
    let json: serde_json::Value = serde_json::from_str(&message.text).unwrap();
    json[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {}", message.text))
}

/// Waits until the readings of these slots have arrived. Each must come at least once, the first time in order.
fn wait_for_slots(subscriber: &mut Subscriber, expected: &[u64]) {
    let mut arrived: Vec<u64> = Vec::new();
    while arrived.len() < expected.len() {
        let message = subscriber.wait_for(READING, DEADLINE);
        assert!((number(&message, "boot") - f64::from(BOOT)).abs() < 0.5);
        let json: serde_json::Value = serde_json::from_str(&message.text).unwrap();
        let slot = json["seq"].as_u64().unwrap();
        if !arrived.contains(&slot) {
            arrived.push(slot);
        }
    }
    assert_eq!(arrived, expected);
}

fn keys(message: &Message) -> Vec<String> {
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&message.text).unwrap();
    assert!(json.values().all(|it| it.is_number() || it.is_string()), "not flat: {}", message.text);
    let mut keys: Vec<_> = json.keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn a_reading_arrives_with_all_its_keys_in_both_versions() {
    let check = |version, protocol: &str| {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start();
        let mut subscriber = Subscriber::to(&broker, "#");
        let mut begin = begin(broker.port(), folder.path());
        begin.mqtt.version = version;
        let mut room = Room::start(begin);
        assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "online");
        room.say(&Record::Vital(vital()).to_bytes());
        let slot = room.read();
        let message = subscriber.wait_for(READING, DEADLINE);
        assert!(!message.retained);
        assert_eq!(
            message.text,
            format!(
                r#"{{"v":1,"ts_ms":{},"boot":77,"seq":{slot},"label":"positive","code":1,"p_positive":0.8123,"p_neutral":0.1,"p_negative":0.0877,"reason":"none","group_min":5,"sound":"present","offset_ms":120,"latency_ms":88,"inference_ms":61}}"#,
                1_795_000_000_000 + slot * 5000
            )
        );
        let withheld = Reading { outcome: Outcome::Withheld(Withheld::TooFewPeople), ..reading(slot + 1) };
        room.clock.advance(HOP);
        room.say(&Record::Reading(withheld).to_bytes());
        let message = subscriber.wait_for(READING, DEADLINE);
        assert!((number(&message, "code") + 19.0).abs() < 0.1 && number(&message, "p_positive").abs() < 1e-9);
        broker.wait_logged(protocol, 1);
        room.stop();
    };
    check(MqttVersion::V5, "(p5,");
    check(MqttVersion::V311, "(p2,");
}

#[test]
fn who_comes_late_finds_what_is_retained_and_no_reading() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut early = Subscriber::to(&broker, "edge-ger/#");
    let mut room = Room::start(begin(broker.port(), folder.path()));
    room.say(&Record::Vital(vital()).to_bytes());
    let slot = room.read();
    let last = early.wait_for("edge-ger/box/cam/last", DEADLINE);
    early.find(DEADLINE, |it| it.topic == "edge-ger/box/info" && it.text.contains("\"provider\":\"cpu\""));
    early.find(DEADLINE, |it| it.topic == "edge-ger/box/cam/health");
    let mut late = Subscriber::to(&broker, "edge-ger/#");
    for _ in 0..5 {
        assert!(late.next(DEADLINE).expect("five retained messages").retained);
    }
    let mut found: Vec<_> = late.seen.iter().map(|it| (it.topic.as_str(), it.text.clone())).collect();
    found.sort();
    let topics: Vec<_> = found.iter().map(|it| it.0.trim_start_matches("edge-ger/box/")).collect();
    assert_eq!(topics, ["cam/health", "cam/last", "cam/status", "info", "status"]);
    assert_eq!(
        (found[1].1.as_str(), found[2].1.as_str(), found[4].1.as_str()),
        (last.text.as_str(), "online", "online")
    );
    let info = keys(&late.seen.iter().find(|it| it.topic.ends_with("/info")).unwrap().clone());
    assert_eq!(info, ["boot", "hop_ms", "min_group", "model", "privacy", "provider", "v", "version"]);
    let health = late.seen.iter().find(|it| it.topic.ends_with("/health")).unwrap().clone();
    assert!(keys(&health).len() == 31, "{:?}", keys(&health));
    assert!((number(&health, "level_db") + 30.5).abs() < 1e-9 && (number(&health, "fps") - 25.0).abs() < 1e-9);
    // The reading itself was not retained: the next thing to arrive is the next reading.
    assert_eq!(room.read(), slot + 1);
    let next = late.wait_until(DEADLINE, |it| it.topic == READING);
    assert!((number(&next, "seq") - 1001.0).abs() < 0.1);
    room.stop();
}

fn with_tls(mut begin: PublishConfig, pki: &Pki, ca: &Pki) -> PublishConfig {
    begin.mqtt.tls = true;
    begin.secrets.ca_pem = Some(ca.ca_pem.clone());
    begin.secrets.client = Some((pki.client_pem.clone(), Secret::new(pki.client_key.clone())));
    begin
}

#[test]
fn readings_travel_encrypted() {
    let pki = Pki::new();
    let broker = Broker::with(Options { tls: Some(pki.clone()), ..Options::default() });
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let folder = tempfile::tempdir().unwrap();
        let mut subscriber = Subscriber::to(&broker, READING);
        let mut begin = with_tls(begin(broker.port(), folder.path()), &pki, &pki);
        begin.mqtt.version = version;
        let mut room = Room::start(begin);
        let slots = room.read_many(3);
        wait_for_slots(&mut subscriber, &slots);
        room.stop();
    }
}

#[test]
fn a_broker_of_another_authority_is_not_spoken_to() {
    if run_as_child() {
        return;
    }
    let (pki, other) = (Pki::new(), Pki::new());
    let broker = Broker::with(Options { tls: Some(pki.clone()), ..Options::default() });
    let check = |begin: PublishConfig| {
        let mut room = ChildRoom::start("a_broker_of_another_authority_is_not_spoken_to", &begin, 1);
        room.wait_for_line("no secure connection to the broker");
        room.stop();
    };
    let folder = tempfile::tempdir().unwrap();
    check(with_tls(begin(broker.port(), folder.path()), &pki, &other));
    // The broker does not know us: our certificate is another authority's, or there is none.
    check(with_tls(begin(broker.port(), folder.path()), &other, &pki));
    let mut nameless = with_tls(begin(broker.port(), folder.path()), &pki, &pki);
    nameless.secrets.client = None;
    check(nameless);
    assert_eq!(broker.logged("New client connected"), 0);
}

#[test]
fn a_key_that_is_none_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new();
    let mut begin = with_tls(begin(1, folder.path()), &pki, &pki);
    begin.secrets.client = Some((pki.client_pem.clone(), Secret::new("swordfish".into())));
    let room = Room::spawn(begin, FIRST_SLOT);
    let Ok(Report::Refused(text)) = room.reports.recv_timeout(DEADLINE) else { panic!("not refused") };
    assert!(text.contains("mqtt.tls_key_file") && !text.contains("swordfish"), "{text}");
    assert!(room.ended.recv_timeout(DEADLINE).unwrap().is_err());
}

#[test]
fn the_password_opens_the_broker_and_a_wrong_one_is_said_once() {
    if run_as_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::with(Options { login: Some(("anna", "right")), ..Options::default() });
    let mut subscriber = Subscriber::to(&broker, READING);
    let with_password = |password: &str, version| {
        let mut begin = begin(broker.port(), folder.path());
        begin.mqtt.user = Some(Text("anna".into()));
        begin.mqtt.version = version;
        begin.secrets.password = Some(Secret::new(password.into()));
        begin
    };
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let begin = with_password("wrong-and-secret", version);
        let mut room = ChildRoom::start("the_password_opens_the_broker_and_a_wrong_one_is_said_once", &begin, 1);
        room.wait_for_line("the broker refuses us");
        let lines = room.stop();
        assert_eq!(lines.iter().filter(|it| it.contains(" WARN ") || it.contains("ERROR ")).count(), 1, "{lines:#?}");
        assert!(!lines.iter().any(|it| it.contains("secret")), "{lines:#?}");
    }
    let room = Room::start(with_password("right", MqttVersion::V5));
    // What waited in the outbox of the refused rooms.
    subscriber.wait_for(READING, DEADLINE);
    room.stop();
}

#[test]
fn a_broker_that_is_absent_at_boot_is_one_line_and_nothing_is_lost() {
    if run_as_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let door = Proxy::to(broker.port());
    let mut subscriber = Subscriber::to(&broker, READING);
    let begin = begin(door.port(), folder.path());
    let mut room = ChildRoom::start("a_broker_that_is_absent_at_boot_is_one_line_and_nothing_is_lost", &begin, 15);
    room.wait_for_line("the broker is away");
    // Tries go on while the door is closed, and do not say so again.
    door.wait_for_callers(3);
    door.open();
    room.wait_for_line("the broker is back");
    wait_for_slots(&mut subscriber, &(FIRST_SLOT..FIRST_SLOT + 15).collect::<Vec<_>>());
    let lines = room.stop();
    assert_eq!(lines.iter().filter(|it| it.contains(" WARN ")).count(), 1, "{lines:#?}");
    assert!(lines.iter().any(|it| it.contains("the broker is back") && it.contains("waiting=15")), "{lines:#?}");
}

#[test]
fn two_hundred_readings_survive_a_broker_that_dies() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start();
        let door = Proxy::to(broker.port());
        let mut before = Subscriber::to(&broker, READING);
        let mut begin = begin(door.port(), folder.path());
        begin.mqtt.version = version;
        let mut room = Room::start(begin);
        door.open();
        let mut slots = room.read_many(80);
        // In the middle of the stream: some are delivered, some under way, some not begun.
        before.wait_until(DEADLINE, |it| it.text.contains(&format!("\"seq\":{},", FIRST_SLOT + 20)));
        door.close();
        broker.kill();
        slots.extend(room.read_many(60));
        broker.restart();
        let mut after = Subscriber::to(&broker, READING);
        door.open();
        slots.extend(room.read_many(60));
        after.wait_until(DEADLINE, |it| it.text.contains(&format!("\"seq\":{},", FIRST_SLOT + 199)));
        before.drain();
        let all: Vec<u64> = [before.seen.as_slice(), after.seen.as_slice()]
            .concat()
            .iter()
            .map(|it| serde_json::from_str::<serde_json::Value>(&it.text).unwrap()["seq"].as_u64().unwrap())
            .collect();
        let mut first_times = Vec::new();
        all.iter().for_each(|slot| {
            if !first_times.contains(slot) {
                first_times.push(*slot)
            }
        });
        assert_eq!(first_times, slots, "{version:?}: lost or out of order");
        assert!(all.len() <= 200 + 8, "{version:?}: {} duplicates, more than were under way", all.len() - 200);
        room.stop();
    }
}

#[test]
fn a_broker_that_hangs_delays_readings_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, READING);
    let mut room = Room::start(begin(broker.port(), folder.path()));
    let mut slots = room.read_many(10);
    subscriber.wait_for(READING, DEADLINE);
    broker.stop();
    slots.extend(room.read_many(50));
    broker.cont();
    subscriber.wait_until(DEADLINE, |it| it.text.contains(&format!("\"seq\":{},", slots[59])));
    assert_eq!(subscriber.seen.len(), 60);
    room.stop();
}

#[test]
fn a_broker_that_hangs_for_long_is_an_outage() {
    if run_as_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut room =
        ChildRoom::start("a_broker_that_hangs_for_long_is_an_outage", &begin(broker.port(), folder.path()), 0);
    room.wait_for_line("connected to the broker");
    broker.stop();
    // Two keep-alives of 5 s without an answer.
    room.wait_for_line("the broker is away");
    broker.cont();
    room.wait_for_line("the broker is back");
    let lines = room.stop();
    assert_eq!(lines.iter().filter(|it| it.contains(" WARN ")).count(), 1, "{lines:#?}");
}

#[test]
fn a_broker_that_takes_one_at_a_time_gets_all() {
    let extra = "max_inflight_messages 1\n".to_owned();
    let broker = Broker::with(Options { extra, ..Options::default() });
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let folder = tempfile::tempdir().unwrap();
        let mut subscriber = Subscriber::to(&broker, READING);
        let mut begin = begin(broker.port(), folder.path());
        begin.mqtt.version = version;
        let mut room = Room::start(begin);
        let slots = room.read_many(100);
        wait_for_slots(&mut subscriber, &slots);
        room.stop();
    }
}

/// MQTT 5 tells a client that it may not publish here; the reading waits until it may, and holds nobody up.
#[test]
fn a_reading_that_the_broker_does_not_take_stays_in_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    std::fs::write(&list, "topic readwrite edge-ger/box/other/#\ntopic read #\n").unwrap();
    let extra = format!("acl_file {}\n", list.display());
    let broker = Broker::with(Options { extra, ..Options::default() });
    let door = Proxy::to(broker.port());
    door.open();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/box/+/reading");
    let mut begin = begin(door.port(), folder.path());
    begin.cameras.push((CameraId(1), "other".into()));
    let mut room = Room::start(begin);
    let slots = room.read_many(10);
    room.say(&Record::Reading(Reading { camera: CameraId(1), ..reading(FIRST_SLOT) }).to_bytes());
    assert_eq!(subscriber.next(DEADLINE).expect("the other camera's").topic, "edge-ger/box/other/reading");
    std::fs::write(&list, "topic readwrite #\n").unwrap();
    door.close();
    broker.restart();
    let mut subscriber = Subscriber::to(&broker, READING);
    door.open();
    wait_for_slots(&mut subscriber, &slots);
    room.stop();
}

#[test]
fn a_broker_with_a_memory_keeps_the_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::with(Options { persistence: true, ..Options::default() });
    let mut subscriber = Subscriber::to(&broker, STATUS);
    let room = Room::start(begin(broker.port(), folder.path()));
    subscriber.wait_for(STATUS, DEADLINE);
    room.stop();
    assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "offline");
    broker.quit();
    broker.restart();
    let found = Subscriber::to(&broker, "edge-ger/#").find(DEADLINE, |it| it.topic == STATUS);
    assert!(found.retained && found.text == "offline", "{found:?}");
}

#[test]
fn a_stop_is_quick_even_when_the_broker_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, READING);
    let mut room = Room::start(begin(broker.port(), folder.path()));
    room.read();
    subscriber.wait_for(READING, DEADLINE);
    broker.stop();
    let unsent = room.read_many(5);
    let took = room.stop();
    broker.cont();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    // They are in the outbox; the broker may have found some in its socket as well.
    let (room, _) = Room::resume(begin(broker.port(), folder.path()), FIRST_SLOT + 100);
    subscriber.wait_until(DEADLINE, |it| it.text.contains(&format!("\"seq\":{},", unsent[4])));
    room.stop();
}

#[test]
fn a_stop_is_quick_when_there_never_was_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Proxy::to(1);
    let mut room = Room::start(begin(closed.port(), folder.path()));
    room.read();
    let took = room.stop();
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[test]
fn the_parent_that_goes_ends_the_room_with_a_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, STATUS);
    let room = Room::start(begin(broker.port(), folder.path()));
    assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "online");
    let Room { orders, ended, .. } = room;
    drop(orders);
    ended.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "offline");
}

#[test]
fn a_clean_end_says_offline_and_a_crash_leaves_the_last_will() {
    if run_as_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, STATUS);
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut begin = begin(broker.port(), folder.path());
        begin.mqtt.version = version;
        let name = "a_clean_end_says_offline_and_a_crash_leaves_the_last_will";
        let room = ChildRoom::start(name, &begin, 0);
        assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "online");
        room.kill();
        assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "offline");
        let goodbyes = broker.logged("Received DISCONNECT from edge-ger-box");
        let room = ChildRoom::start(name, &begin, 0);
        assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "online");
        room.stop();
        assert_eq!(subscriber.wait_for(STATUS, DEADLINE).text, "offline");
        broker.wait_logged("Received DISCONNECT from edge-ger-box", goodbyes + 1);
    }
}

#[test]
fn what_waits_from_an_earlier_run_is_sent_first() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let door = Proxy::to(broker.port());
    let mut subscriber = Subscriber::to(&broker, READING);
    let mut room = Room::start(begin(door.port(), folder.path()));
    let mut slots = room.read_many(30);
    room.stop();
    let (mut room, text) = Room::resume(begin(door.port(), folder.path()), FIRST_SLOT + 30);
    assert!(text.contains("30 readings waiting"), "{text}");
    slots.extend(room.read_many(10));
    door.open();
    wait_for_slots(&mut subscriber, &slots);
    room.stop();
    // The broker has acknowledged all of them, so the next run sends nothing again.
    let mut outbox = outbox::Outbox::open(&begin(1, folder.path()).outbox, 1_795_000_000_000);
    assert_eq!((outbox.waiting(), outbox.batch(None, 9)), (0, Vec::new()));
}

#[test]
fn hostile_records_are_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let mut room = Room::start(begin(broker.port(), folder.path()));
    room.say(&Record::Vital(vital()).to_bytes());
    subscriber.wait_until(DEADLINE, |it| it.topic.ends_with("/health") && it.text.contains("\"refused\":0"));
    let first = room.read();
    let good = Record::Reading(reading(first + 1)).to_bytes();
    let refused: [&[u8]; 8] = [
        &good[..63],
        &[good.as_slice(), &[0]].concat(),
        &[],
        &vec![7; 60_000],
        &Record::Reading(Reading { camera: CameraId(9), ..reading(first + 1) }).to_bytes(),
        &Record::Reading(reading(first)).to_bytes(),
        &Record::Reading(reading(first + 1000)).to_bytes(),
        &Record::Reading(Reading { probabilities: [0; 3], ..reading(first + 1) }).to_bytes(),
    ];
    refused.iter().for_each(|it| room.say(it));
    let slots = room.read_many(1);
    // A flood of vitals: 20 may come at once.
    (0..100).for_each(|_| room.say(&Record::Vital(vital()).to_bytes()));
    // The clock stands still until all of them are judged, which the reading behind them shows.
    let after = room.next_slot;
    room.say(&Record::Reading(reading(after)).to_bytes());
    wait_for_slots(&mut subscriber, &[first, slots[0], after]);
    room.clock.advance(Span::from_ms(30_000));
    room.say(&Record::Vital(vital()).to_bytes());
    let health = subscriber.wait_until(DEADLINE, |it| it.topic.ends_with("/health"));
    assert!((number(&health, "refused") - (8.0 + 80.0)).abs() < 0.1, "{}", health.text);
    room.stop();
}

/// Nothing that `infer` could say in other words than records ever reaches the broker: not a byte of it.
#[test]
fn a_picture_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "#");
    let mut room = Room::start(begin(broker.port(), folder.path()));
    subscriber.wait_for("edge-ger/box/cam/status", DEADLINE);
    let mut noise = fastrand::Rng::with_seed(2);
    for round in 0..2000 {
        let size = if round % 2 == 0 { RECORD_BYTES } else { noise.usize(1..4000) };
        let mut blob: Vec<u8> = (0..size).map(|_| noise.u8(..)).collect();
        if round % 4 == 0 {
            // As near to a reading as it gets without being one: the kind, the layout and the camera are right.
            blob[..4].copy_from_slice(&[1, 1, 0, 0]);
        }
        room.say(&blob);
    }
    let slot = room.read();
    subscriber.wait_for("edge-ger/box/cam/last", DEADLINE);
    room.stop();
    subscriber.wait_until(DEADLINE, |it| it.topic == STATUS && it.text == "offline");
    for message in &subscriber.seen {
        let expected = match message.topic.strip_prefix("edge-ger/box/").unwrap() {
            "status" => message.text == "online" || message.text == "offline",
            "cam/status" => message.text == "offline",
            "info" => message.text.contains("\"provider\":\"none\""),
            "cam/reading" | "cam/last" => message.text.contains(&format!("\"seq\":{slot},")),
            _ => false,
        };
        assert!(expected, "{message:?}");
    }
}

#[test]
fn cameras_go_stale_when_infer_goes_and_when_it_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/box/cam/status");
    let mut room = Room::start(begin(broker.port(), folder.path()));
    let mut state = |expected: &str| {
        let message = subscriber.next(DEADLINE).expect("a status");
        assert_eq!(message.text, expected);
    };
    state("offline");
    room.say(&Record::Vital(vital()).to_bytes());
    state("online");
    // The neighbour dies.
    let (from_room, records) = record_pair().unwrap();
    drop(std::mem::replace(&mut room.records, records));
    state("stale");
    // The parent hands over the socket of the new one.
    room.order(Order::Upstream, vec![from_room]);
    room.say(&Record::Vital(vital()).to_bytes());
    state("online");
    // It hangs.
    room.clock.advance(Span(HOP.0 * 3 + 1));
    state("stale");
    room.read();
    state("online");
    room.say(
        &Record::Vital(Vital { state: CameraState::Offline, fault: CameraFault::Unreachable, ..vital() }).to_bytes(),
    );
    state("offline");
    // Silence is not better than that.
    room.clock.advance(Span(HOP.0 * 4));
    room.say(&Record::Vital(Vital { state: CameraState::Stale, ..vital() }).to_bytes());
    state("stale");
    room.stop();
}

#[test]
fn what_infer_said_before_it_died_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, READING);
    let mut room = Room::start(begin(broker.port(), folder.path()));
    let mut slots = room.read_many(20);
    let (from_room, records) = record_pair().unwrap();
    drop(std::mem::replace(&mut room.records, records));
    room.order(Order::Upstream, vec![from_room]);
    slots.extend(room.read_many(20));
    wait_for_slots(&mut subscriber, &slots);
    room.stop();
}

#[test]
fn cameras_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let mut room = Room::start(begin(broker.port(), folder.path()));
    room.say(&Record::Vital(vital()).to_bytes());
    room.read();
    subscriber.wait_for("edge-ger/box/cam/last", DEADLINE);
    let door = CameraId(4);
    room.order(
        Order::SetCamera(Box::new(CameraOrder { camera: camera(door, "door"), password: None, paused: false })),
        Vec::new(),
    );
    assert_eq!(subscriber.wait_for("edge-ger/box/door/status", DEADLINE).text, "offline");
    room.say(&Record::Reading(Reading { camera: door, ..reading(FIRST_SLOT) }).to_bytes());
    subscriber.wait_for("edge-ger/box/door/reading", DEADLINE);
    room.order(Order::DropCamera(CAMERA), Vec::new());
    for leaf in ["status", "health", "last"] {
        subscriber.find(DEADLINE, |it| it.topic.ends_with(&format!("cam/{leaf}")) && it.text.is_empty());
    }
    let mut late = Subscriber::to(&broker, "edge-ger/box/#");
    late.wait_for("edge-ger/box/status", DEADLINE);
    room.order(
        Order::SetCamera(Box::new(CameraOrder { camera: camera(door, "gate"), password: None, paused: false })),
        Vec::new(),
    );
    late.wait_for("edge-ger/box/gate/status", DEADLINE);
    assert!(!late.seen.iter().any(|it| it.topic.contains("/cam/")), "{:#?}", late.seen);
    room.stop();
}

#[test]
fn a_broker_without_a_memory_is_told_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let door = Proxy::to(broker.port());
    door.open();
    let mut before = Subscriber::to(&broker, "edge-ger/#");
    let mut room = Room::start(begin(door.port(), folder.path()));
    room.say(&Record::Vital(vital()).to_bytes());
    room.read();
    before.wait_for("edge-ger/box/cam/last", DEADLINE);
    before.find(DEADLINE, |it| it.topic == "edge-ger/box/cam/health");
    door.close();
    broker.restart();
    let mut after = Subscriber::to(&broker, "edge-ger/#");
    door.open();
    for leaf in ["status", "info", "cam/status", "cam/health", "cam/last"] {
        after.find(DEADLINE, |it| it.topic == format!("edge-ger/box/{leaf}"));
    }
    room.stop();
}

#[test]
fn a_reading_is_on_the_wire_at_once_and_the_room_reports_progress() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, READING);
    let mut room = Room::start(begin(broker.port(), folder.path()));
    let mut took: Vec<Duration> = (0..40)
        .map(|_| {
            let said = SystemClock.now();
            room.read();
            (subscriber.wait_for(READING, DEADLINE).at - said).to_duration()
        })
        .collect();
    took.sort();
    println!("from record to subscriber: median {:?}, worst {:?}", took[20], took[39]);
    // The median: one stall of a busy machine is not the room's.
    assert!(took[20] < Duration::from_millis(50), "{took:?}");
    let mut progress = std::iter::from_fn(|| room.reports.recv_timeout(DEADLINE).ok())
        .filter_map(|it| if let Report::Progress(turn) = it { Some(turn) } else { None });
    let (first, second) = (progress.next().unwrap(), progress.next().unwrap());
    assert!(first < second);
    room.stop();
}

#[test]
fn a_hundred_cameras_in_one_hop() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/box/+/reading");
    let mut begin = begin(broker.port(), folder.path());
    begin.cameras = (0..100).map(|n| (CameraId(n), format!("cam{n}"))).collect();
    let room = Room::start(begin);
    for slot in FIRST_SLOT..FIRST_SLOT + 3 {
        room.clock.advance(HOP);
        let said = SystemClock.now();
        for n in 0..100 {
            room.say(&Record::Reading(Reading { camera: CameraId(n), ..reading(slot) }).to_bytes());
        }
        let last = (0..100).map(|_| subscriber.next(DEADLINE).expect("a hundred readings").at).max().unwrap();
        println!("a hundred readings took {}", last - said);
    }
    let mut names: Vec<_> = subscriber.seen.iter().map(|it| (it.topic.clone(), it.text.clone())).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 300);
    room.stop();
}

/// A real `kill -9` in the middle of writing: what a push has returned from is there, and in order.
#[test]
fn a_killed_writer_has_kept_what_it_said_it_kept() {
    let name = "a_killed_writer_has_kept_what_it_said_it_kept";
    if let Ok(folder) = std::env::var(CHILD) {
        let mut outbox = outbox::Outbox::open(&begin(1, Path::new(&folder)).outbox, 1_795_000_000_000);
        for n in 0.. {
            let message = outbox::Message { topic: "t".into(), payload: format!("{n}").into() };
            outbox.push([message], 1_795_000_000_000);
            assert!(outbox.on_disk());
            println!("kept {n}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut writer = child(name, folder.path().to_str().unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut kept = 0;
    for line in &mut lines {
        if let Some(n) = line.trim().strip_prefix("kept ") {
            kept = n.parse::<usize>().unwrap();
        }
        if kept == 300 {
            writer.kill().unwrap();
        }
    }
    writer.wait().unwrap();
    assert!(300 <= kept, "the writer ended by itself at {kept}");
    let mut outbox = outbox::Outbox::open(&begin(1, folder.path()).outbox, 1_795_000_000_000);
    assert_eq!((outbox.on_disk(), outbox.corrupt_files()), (true, 0));
    let found: Vec<usize> = outbox
        .batch(None, usize::MAX)
        .into_iter()
        .map(|it| String::from_utf8(it.message.payload).unwrap().parse().unwrap())
        .collect();
    assert!(kept < found.len() && found.len() <= kept + 2, "kept {kept}, found {}", found.len());
    assert_eq!(found, (0..found.len()).collect::<Vec<_>>());
}

/// Set for a test that runs again as a child process of itself: what the child needs.
const CHILD: &str = "EDGE_GER_TEST_CHILD";
/// How many readings the child's room is given.
const CHILD_READINGS: &str = "EDGE_GER_TEST_CHILD_READINGS";

fn child(test: &str, needs: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("it::publish::{test}"), "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, needs);
    command
}

/// In the child of a [`ChildRoom`]: runs the room, until standard input ends, and returns true.
fn run_as_child() -> bool {
    let Ok(needs) = std::env::var(CHILD) else { return false };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let mut room = Room::start(serde_json::from_str(&needs).unwrap());
    room.read_many(std::env::var(CHILD_READINGS).unwrap().parse().unwrap());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    room.stop();
    true
}

/// A room in a process of its own, so that it can be killed and its log be read.
struct ChildRoom {
    process: Child,
    log: Receiver<String>,
    lines: Vec<String>,
}

impl ChildRoom {
    fn start(test: &str, begin: &PublishConfig, readings: usize) -> Self {
        let mut process = child(test, &serde_json::to_string(begin).unwrap())
            .env(CHILD_READINGS, readings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, log) = bounded(10_000);
        let read = move || lines.map_while(Result::ok).for_each(|it| sender.send(it).unwrap_or_default());
        thread::Builder::new().name("child's log".into()).spawn(read).unwrap();
        Self { process, log, lines: Vec::new() }
    }

    fn wait_for_line(&mut self, words: &str) {
        while !self.lines.last().is_some_and(|it| it.contains(words)) {
            match self.log.recv_timeout(DEADLINE) {
                Ok(line) => self.lines.push(line),
                Err(err) => panic!("no line with '{words}' ({err}): {:#?}", self.lines),
            }
        }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends it in good order; returns all that it logged.
    fn stop(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success(), "{:#?}", self.lines);
        self.lines.extend(self.log.iter());
        self.lines
    }
}
