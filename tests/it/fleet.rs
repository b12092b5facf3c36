//! Many boxes and one real broker: nobody's readings are lost when it restarts, several consumers share them out, and
//! they do not wait for a dashboard for ever.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use edge_ger::{
    config::{Integer, MqttVersion},
    wire::control::PublishConfig,
};

use crate::it::{
    harness::broker::{Broker, DEADLINE, Message, Proxy, Subscriber},
    publish::{FIRST_SLOT, Room, begin},
};

const READINGS: &str = "edge-ger/+/+/reading";

fn begin_box(name: &str, port: u16, folder: &Path) -> PublishConfig {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    PublishConfig { box_name: name.into(), ..begin(port, &folder) }
}

fn seq(text: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(text).unwrap()["seq"].as_u64().unwrap()
}

#[test]
fn twenty_boxes_lose_nothing_when_their_broker_restarts() {
    const BOXES: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let door = Proxy::to(broker.port());
    door.open();
    let mut before = Subscriber::to(&broker, READINGS);
    let start = |n| Room::resume(begin_box(&format!("box-{n}"), door.port(), folder.path()), FIRST_SLOT).0;
    let mut rooms: Vec<Room> = (0..BOXES).map(start).collect();
    let read = |rooms: &mut Vec<Room>, count| rooms.iter_mut().for_each(|room| drop(room.read_many(count)));
    read(&mut rooms, 10);
    // In the middle of the stream: some are delivered, some under way, some not begun.
    (0..BOXES * 5).for_each(|_| drop(before.next(DEADLINE).expect("a reading")));
    door.close();
    broker.kill();
    read(&mut rooms, 10);
    broker.restart();
    let mut after = Subscriber::to(&broker, READINGS);
    door.open();
    read(&mut rooms, 5);
    let last = format!("\"seq\":{},", FIRST_SLOT + 24);
    let is_last = |it: &Message| it.text.contains(&last);
    while after
        .seen
        .iter()
        .filter(|it| is_last(it))
        .map(|it| &it.topic)
        .collect::<std::collections::BTreeSet<_>>()
        .len()
        < BOXES
    {
        after.wait_until(DEADLINE, is_last);
    }
    before.drain();
    let mut arrived = BTreeMap::<String, Vec<u64>>::new();
    let mut twice = 0;
    for message in before.seen.iter().chain(&after.seen) {
        let slots = arrived.entry(message.topic.clone()).or_default();
        let slot = seq(&message.text);
        if slots.contains(&slot) { twice += 1 } else { slots.push(slot) }
    }
    let expected: Vec<u64> = (FIRST_SLOT..FIRST_SLOT + 25).collect();
    assert_eq!(arrived.len(), BOXES);
    arrived.iter().for_each(|(topic, slots)| assert_eq!(*slots, expected, "{topic}: lost or out of order"));
    assert!(twice <= BOXES * 8, "{twice} came twice, more than were under way");
    rooms.into_iter().for_each(|room| {
        room.stop();
    });
}

/// mosquitto's own subscriber, in MQTT 5, that ends with its lines.
fn mosquitto_sub(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-V", "5", "-q", "1"]).args(arguments);
    command.stdout(Stdio::piped());
    command
}

/// What the broker still grants a reading that waited for a dashboard, s; `None` without a limit.
fn expiry_left(broker: &Broker, begin: PublishConfig) -> Option<u32> {
    let session = ["-i", "away", "-x", "3600", "-c", "-t", READINGS];
    // Subscribes and goes away: from now on the broker keeps readings for it.
    assert!(mosquitto_sub(broker, &session).arg("-E").status().unwrap().success());
    let mut live = Subscriber::to(broker, READINGS);
    let (mut room, _) = Room::resume(begin, FIRST_SLOT);
    room.read();
    live.next(DEADLINE).expect("a reading");
    room.stop();
    let found = mosquitto_sub(broker, &session).args(["-C", "1", "-W", "20", "-F", "%E;%p"]).output().unwrap();
    let line = String::from_utf8(found.stdout).unwrap();
    let (left, text) = line.split_once(';').unwrap_or_else(|| panic!("no reading waited: {line:?}"));
    assert_eq!(seq(text), FIRST_SLOT);
    (!left.is_empty()).then(|| left.parse().unwrap())
}

#[test]
fn a_reading_waits_for_a_dashboard_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, version, expiry_h, expected: Option<u32>| {
        let broker = Broker::start();
        let mut begin = begin_box(name, broker.port(), folder.path());
        (begin.mqtt.version, begin.mqtt.expiry_h) = (version, Integer::new(expiry_h).unwrap());
        let left = expiry_left(&broker, begin);
        match (left, expected) {
            // What the broker shows is what is left of it.
            (Some(left), Some(given)) => assert!(given - 60 < left && left <= given, "{left} of {given} s"),
            (left, expected) => assert_eq!(left, expected, "{version:?}, {expiry_h} h"),
        }
    };
    check("week", MqttVersion::V5, 168, Some(604_800));
    check("never", MqttVersion::V5, 0, None);
    check("old", MqttVersion::V311, 168, None);
}

#[test]
fn what_is_retained_never_expires() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut live = Subscriber::to(&broker, "edge-ger/#");
    let (mut room, _) = Room::resume(begin_box("box", broker.port(), folder.path()), FIRST_SLOT);
    room.read();
    live.wait_for("edge-ger/box/cam/last", DEADLINE);
    let topics = ["-t", "edge-ger/+/+/last", "-t", "edge-ger/+/status", "-C", "2", "-W", "20", "-F", "%r %E %t"];
    let found = mosquitto_sub(&broker, &topics).output().unwrap();
    let mut lines: Vec<_> = std::str::from_utf8(&found.stdout).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1  edge-ger/box/cam/last", "1  edge-ger/box/status"]);
    room.stop();
}

/// A subscriber that shares the readings with others of its group; its lines come with its name.
fn sharer(broker: &Broker, name: &'static str, lines: Sender<(&'static str, String)>) -> Child {
    let filter = format!("$share/readers/{READINGS}");
    let mut child = mosquitto_sub(broker, &["-i", name, "-t", &filter, "-F", "%t %p"]).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let read = move || out.lines().map_while(Result::ok).for_each(|line| lines.send((name, line)).unwrap_or_default());
    thread::Builder::new().name(name.into()).spawn(read).unwrap();
    broker.wait_logged(&format!("Sending SUBACK to {name}"), 1);
    child
}

#[test]
fn two_subscribers_of_a_shared_subscription_get_each_reading_once_together() {
    const READINGS_EACH: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let (sender, lines): (_, Receiver<(&str, String)>) = bounded(1000);
    let mut sharers = [sharer(&broker, "one", sender.clone()), sharer(&broker, "other", sender)];
    let boxes = ["box-1", "box-2"];
    let begin = |name: &str| begin_box(name, broker.port(), folder.path());
    let mut rooms = boxes.map(|name| Room::resume(begin(name), FIRST_SLOT).0);
    rooms.iter_mut().for_each(|room| drop(room.read_many(READINGS_EACH)));
    let arrived: Vec<_> = (0..2 * READINGS_EACH).map(|_| lines.recv_timeout(DEADLINE).expect("a reading")).collect();
    let mut readings: Vec<_> = arrived
        .iter()
        .map(|(_, line)| line.split_once(' ').map(|(topic, text)| (topic.to_owned(), seq(text))).unwrap())
        .collect();
    readings.sort_unstable();
    let slots = FIRST_SLOT..FIRST_SLOT + READINGS_EACH as u64;
    let expected: Vec<_> = boxes
        .iter()
        .flat_map(|it| slots.clone().map(move |slot| (format!("edge-ger/{it}/cam/reading"), slot)))
        .collect();
    assert_eq!(readings, expected);
    for name in ["one", "other"] {
        assert!(arrived.iter().any(|(who, _)| *who == name), "{name} got none");
    }
    rooms.into_iter().for_each(|room| {
        room.stop();
    });
    // Nothing came a second time, neither to the one nor to the other.
    for child in &mut sharers {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(lines.iter().count(), 0);
}
