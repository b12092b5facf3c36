//! The status page of a running room, over TCP as a browser, Prometheus and a monitor ask for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crossbeam_channel::bounded;
use edge_ger::{
    config::{Page, Secret},
    publish::page::STREAMS_MAX,
    wire::{
        CameraId,
        control::{Order, PublishConfig},
        record::{CameraFault, CameraState, Emotion, Outcome, Reading, Record, SoundState, Vital, Withheld},
    },
};
use serde_json::Value;

use crate::it::{
    harness::{
        broker::{Broker, DEADLINE, Subscriber, free_port},
        browser::Browser,
        http::{Answer, Events, get},
    },
    publish::{CAMERA, FIRST_SLOT, HOP, Room, begin, reading, vital},
};

const TOKEN: &str = "0123456789abcdef";

/// A room whose page listens at loopback, at a port of the system's choice.
fn with_page(mut begin: PublishConfig) -> (Room, SocketAddr) {
    if begin.page == Page::Off {
        begin.page = Page::Loopback(([127, 0, 0, 1], 0).into());
    }
    let (room, ready) = Room::resume(begin, FIRST_SLOT);
    let url = ready.split_once("page http://").expect(&ready).1;
    (room, url.trim_end_matches('/').parse().unwrap())
}

/// A room with a page and nobody at the other end of MQTT.
fn alone(folder: &Path) -> (Room, SocketAddr) {
    with_page(begin(free_port(), folder))
}

/// Asks again until the answer is right.
#[track_caller]
fn until(address: SocketAddr, path: &str, is_right: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + DEADLINE;
    let (_keep, never) = bounded::<()>(0);
    loop {
        let answer = get(address, path, &[]);
        if is_right(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        never.recv_timeout(Duration::from_millis(10)).unwrap_err();
    }
}

#[test]
fn the_page_comes_whole_and_guarded_by_headers() {
    let folder = tempfile::tempdir().unwrap();
    let (room, address) = alone(folder.path());
    let page = get(address, "/", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text.starts_with("<!DOCTYPE html>") && page.text.ends_with("</html>\n"));
    for (path, status) in [("/", 200), ("/metrics", 200), ("/api/status", 200), ("/nothing", 404), ("/healthz", 503)] {
        let answer = get(address, path, &[]);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    room.stop();
}

/// The samples of a text in Prometheus' format, by name and labels. Whatever is not of that format fails.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind, mut help) = ("", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            (help, _) = rest.split_once(' ').unwrap();
            assert!(families.insert(help), "{help} comes twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert_eq!(help, family, "HELP comes before TYPE");
            assert!(family.starts_with("edge_ger_"), "{family}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            let labels = &series[name.len()..];
            assert!(labels.is_empty() || labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} comes twice");
        }
    }
    samples
}

#[test]
fn metrics_follow_the_readings() {
    let folder = tempfile::tempdir().unwrap();
    let (mut room, address) = alone(folder.path());
    let empty = get(address, "/metrics", &[]);
    assert_eq!(empty.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let empty = samples(&empty.text);
    assert_eq!(empty["edge_ger_readings_total{camera=\"cam\",label=\"positive\"}"], 0.0);
    assert!(!empty.keys().any(|it| it.starts_with("edge_ger_camera_frame_rate") || it.contains("probability")));
    room.say(&Record::Vital(vital()).to_bytes());
    let slot = room.read();
    let withheld = Outcome::Withheld(Withheld::TooFewPeople);
    room.clock.advance(HOP);
    room.say(&Record::Reading(Reading { outcome: withheld, latency_ms: 300, ..reading(slot + 1) }).to_bytes());
    let there = "edge_ger_withheld_total{camera=\"cam\",reason=\"too_few_people\"} 1\n";
    let found = samples(&until(address, "/metrics", |it| it.text.contains(there)).text);
    let check = |name: &str, labels: &str, expected: f64| {
        let labels = if labels.is_empty() { "{camera=\"cam\"}".into() } else { format!("{{camera=\"cam\",{labels}}}") };
        let value = found.get(&format!("{name}{labels}")).unwrap_or_else(|| panic!("no {name}{labels}"));
        assert!((value - expected).abs() < 1e-9, "{name}{labels} is {value}");
    };
    check("edge_ger_readings_total", "label=\"positive\"", 1.0);
    check("edge_ger_readings_total", "label=\"withheld\"", 1.0);
    check("edge_ger_readings_total", "label=\"negative\"", 0.0);
    check("edge_ger_withheld_total", "reason=\"dark\"", 0.0);
    check("edge_ger_reading_latency_seconds_bucket", "le=\"0.05\"", 0.0);
    check("edge_ger_reading_latency_seconds_bucket", "le=\"0.1\"", 1.0);
    check("edge_ger_reading_latency_seconds_bucket", "le=\"+Inf\"", 2.0);
    check("edge_ger_reading_latency_seconds_sum", "", 0.388);
    check("edge_ger_reading_latency_seconds_count", "", 2.0);
    check("edge_ger_camera_online", "", 1.0);
    check("edge_ger_camera_frame_rate_hertz", "", 25.0);
    check("edge_ger_camera_bytes_per_second", "", 500_000.0);
    check("edge_ger_camera_packets_lost_total", "", 7.0);
    check("edge_ger_camera_clock_drift_ratio", "", -0.00004);
    check("edge_ger_sound_level_dbfs", "", -30.5);
    check("edge_ger_sound_lost_seconds_total", "", 0.012);
    check("edge_ger_inference_mean_seconds", "", 0.061);
    check("edge_ger_provider_info", "provider=\"cpu\"", 1.0);
    check("edge_ger_group_people_min", "", 5.0);
    check("edge_ger_reading_timestamp_seconds", "", 1_795_000_000.0 + 5.0 * (slot + 1) as f64);
    assert_eq!(found["edge_ger_outbox_readings"], 2.0);
    assert_eq!(found["edge_ger_broker_connected"], 0.0);
    // The mood of too few people is not told in any other way.
    assert!(!found.keys().any(|it| it.contains("probability")));
    room.read_at(2, reading);
    let labelled = until(address, "/metrics", |it| it.text.contains("label=\"positive\"} 2\n"));
    let labelled = samples(&labelled.text);
    assert_eq!(labelled["edge_ger_emotion_probability_ratio{camera=\"cam\",emotion=\"positive\"}"], 0.8123);
    room.stop();
}

#[test]
fn health_is_well_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let (mut room, address) = with_page(begin(broker.port(), folder.path()));
    let answer = get(address, "/healthz", &[]);
    assert_eq!(answer.status, 503);
    assert!(answer.text.contains("camera cam: nothing was heard of it yet\n"), "{answer:?}");
    room.say(&Record::Vital(vital()).to_bytes());
    subscriber.wait_for("edge-ger/box/cam/health", DEADLINE);
    let answer = until(address, "/healthz", |it| it.status == 200);
    assert_eq!(answer.text, "ok\n");
    let lost = Vital { state: CameraState::Offline, fault: CameraFault::Unreachable, ..vital() };
    room.say(&Record::Vital(lost).to_bytes());
    let answer = until(address, "/healthz", |it| it.status == 503);
    assert_eq!(answer.text, "camera cam: offline (unreachable)\n");
    room.say(&Record::Vital(vital()).to_bytes());
    room.read();
    until(address, "/healthz", |it| it.status == 200);
    broker.kill();
    let answer = until(address, "/healthz", |it| it.status == 503);
    assert!(answer.text.starts_with("broker: not connected, "), "{answer:?}");
    room.stop();
}

#[test]
fn a_reading_is_seen_as_it_comes_and_remains_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let (mut room, address) = alone(folder.path());
    let mut events = Events::open(address).unwrap();
    let status = events.wait("status");
    assert_eq!((&status["box"], &status["cameras"][0]["name"]), (&"box".into(), &"cam".into()));
    assert_eq!(status["cameras"][0]["reading"], Value::Null);
    let slot = room.read();
    let news = events.wait("reading");
    assert_eq!((&news["camera"], &news["reading"]["seq"]), (&"cam".into(), &slot.into()));
    assert_eq!(news["reading"]["p_positive"], 0.8123);
    room.clock.advance(HOP);
    let withheld = Reading { outcome: Outcome::Withheld(Withheld::TooFewPeople), ..reading(slot + 1) };
    room.say(&Record::Reading(withheld).to_bytes());
    let news = events.wait("reading");
    assert_eq!((&news["reading"]["reason"], &news["reading"]["p_positive"]), (&"too_few_people".into(), &0.into()));
    let history = get(address, "/api/history/cam", &[]).json();
    let end = |slot: u64| 1_795_000_000_000 + slot * 5000;
    let expected = serde_json::json!([[end(slot), 1, 8123, 1000, 877, 88], [end(slot + 1), -19, 0, 0, 0, 88]]);
    assert_eq!(history["recent"], expected);
    let minutes: u64 = history["minutes"].as_array().unwrap().iter().map(|it| it[1].as_u64().unwrap()).sum();
    assert_eq!(minutes, 1);
    assert_eq!(get(address, "/api/history/yard", &[]).status, 404);
    room.order(Order::DropCamera(CAMERA), Vec::new());
    until(address, "/api/history/cam", |it| it.status == 404);
    room.stop();
}

#[test]
fn without_the_token_nothing_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut begin = begin(free_port(), folder.path());
    begin.page = Page::Guarded { address: ([127, 0, 0, 1], 0).into(), token_file: "page.token".into() };
    begin.page_token = Some(Secret::new(TOKEN.into()));
    let (room, address) = with_page(begin);
    let basic = |pair: &str| format!("Authorization: Basic {}", STANDARD.encode(pair));
    for path in ["/", "/metrics", "/healthz", "/api/status", "/api/history/cam", "/api/events", "/nothing"] {
        for header in ["X: y", "Authorization: Bearer 0123456789abcdee", &basic("user:wrong"), &basic(TOKEN)] {
            let answer = get(address, path, &[header]);
            assert_eq!(answer.status, 401, "{path} {header}");
            assert!(answer.header("www-authenticate").starts_with("Basic "), "{answer:?}");
            assert!(!answer.text.contains("cam"), "{answer:?}");
        }
    }
    // A proxy or another name in front of it changes nothing.
    for header in [&format!("Authorization: Bearer {TOKEN}"), &basic(&format!("anyone:{TOKEN}"))] {
        assert_eq!(get(address, "/metrics", &[header, "Host: hall.example"]).status, 200, "{header}");
    }
    room.stop();
}

#[test]
fn a_page_whose_token_was_lost_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut begin = begin(free_port(), folder.path());
    begin.page = Page::Guarded { address: ([127, 0, 0, 1], 0).into(), token_file: "page.token".into() };
    let room = Room::spawn(begin, FIRST_SLOT);
    let err = room.ended.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(err.to_string().contains("token is missing"), "{err}");
}

#[test]
fn a_web_site_cannot_read_it_by_a_name_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (room, address) = alone(folder.path());
    for host in ["evil.example", "evil.example:8417", "localhost.evil.example", "192.168.1.5"] {
        for path in ["/", "/metrics", "/api/status", "/api/events"] {
            let answer = get(address, path, &[&format!("Host: {host}")]);
            assert_eq!(answer.status, 421, "{host} {path}");
            assert!(!answer.text.contains("cam"), "{answer:?}");
        }
    }
    for host in ["localhost", "localhost:9999", "[::1]:8417"] {
        assert_eq!(get(address, "/metrics", &[&format!("Host: {host}")]).status, 200, "{host}");
    }
    room.stop();
}

#[test]
fn only_so_many_look_at_once_and_a_place_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let (room, address) = alone(folder.path());
    let mut open: Vec<_> = (0..STREAMS_MAX).map(|_| Events::open(address).expect("a place")).collect();
    assert_eq!(Events::open(address).err(), Some(503));
    // The rest of the page does not depend on it.
    assert_eq!(get(address, "/metrics", &[]).status, 200);
    open.pop();
    let deadline = Instant::now() + DEADLINE;
    while Events::open(address).is_err() {
        assert!(Instant::now() < deadline, "the place stays taken");
    }
    room.stop();
}

#[test]
fn who_does_not_read_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/box/cam/reading");
    let (mut room, address) = with_page(begin(broker.port(), folder.path()));
    let silent: Vec<_> = (0..STREAMS_MAX).map(|_| Events::open(address).expect("a place")).collect();
    let slots = room.read_many(1000);
    let last = format!("\"seq\":{},", slots.last().unwrap());
    subscriber.wait_until(DEADLINE, |it| it.text.contains(&last));
    until(address, "/metrics", |it| it.text.contains("label=\"positive\"} 1000\n"));
    assert!(room.stop() < Duration::from_secs(5));
    drop(silent);
}

#[test]
fn an_address_in_use_is_waited_for_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/box/cam/reading");
    let mut begin = begin(broker.port(), folder.path());
    let address = taken.local_addr().unwrap();
    begin.page = Page::Loopback(address);
    let (mut room, _) = with_page(begin);
    room.read();
    subscriber.next(DEADLINE).expect("a reading");
    drop(taken);
    let deadline = Instant::now() + DEADLINE;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the page did not come");
        std::thread::yield_now();
    }
    assert_eq!(get(address, "/metrics", &[]).status, 200);
    room.stop();
}

/// Two hours of two cameras: what there is to see in a picture of the page.
fn two_hours(room: &mut Room) {
    const YARD: CameraId = CameraId(1);
    room.order(Order::SetCamera(crate::it::publish::order(YARD, "yard").into()), Vec::new());
    for i in 0..1440_u64 {
        let slot = room.read_at(i, |slot| {
            let outcome = match (i / 120 + i % 7 / 5) % 4 {
                0 => Outcome::Label(Emotion::Positive),
                1 => Outcome::Label(Emotion::Neutral),
                2 => Outcome::Label(Emotion::Negative),
                _ => Outcome::Withheld(Withheld::TooFewPeople),
            };
            Reading { outcome, latency_ms: 60 + (i % 50) as u16, ..reading(slot) }
        });
        if i % 3 != 0 {
            let outcome = Outcome::Withheld(if i < 1000 { Withheld::Dark } else { Withheld::CameraOffline });
            room.say(
                &Record::Reading(Reading { camera: YARD, outcome, sound: SoundState::Off, ..reading(slot) }).to_bytes(),
            );
        }
    }
    let lost = Vital { camera: YARD, state: CameraState::Offline, fault: CameraFault::Unreachable, ..vital() };
    room.say(&Record::Vital(lost).to_bytes());
}

#[test]
fn a_browser_shows_readings_live() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let (mut room, address) = with_page(begin(broker.port(), folder.path()));
    room.say(&Record::Vital(vital()).to_bytes());
    two_hours(&mut room);
    let mut browser = Browser::start();
    browser.look(1200, 900, false, false);
    browser.open(&format!("http://{address}/"));
    let text = browser.wait_until("document.querySelectorAll('svg.chart rect').length > 60");
    for words in ["cam", "yard", "edge-ger on box", "live", "Mood over time", "window end to reading", "-30.5 dBFS"] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    assert!(text.contains("camera yard: offline (unreachable)"), "{text}");
    // A reading that comes while somebody looks is on the page without a reload.
    let seen = "document.querySelector('section .mood').textContent";
    browser.wait_until(&format!("{seen} !== 'no reading yet'"));
    room.read_at(1440, |slot| Reading {
        outcome: Outcome::Label(Emotion::Neutral),
        probabilities: [100, 9876, 24],
        ..reading(slot)
    });
    let text = browser.wait_until("document.body.innerText.includes('99 %')");
    assert!(text.contains("Now cam: neutral"), "{text}");
    // The camera that is away has no probabilities to show.
    let shown = "[...document.querySelectorAll('.likely')].map((it) => it.checkVisibility())";
    assert_eq!(browser.evaluate(shown), serde_json::json!([true, false]));
    browser.assert_fits("page", |_| {});
    // All of it can be reached and worked by keyboard.
    browser.evaluate("document.querySelector('input[type=radio]').focus()");
    for kind in ["keyDown", "keyUp"] {
        let key =
            serde_json::json!({ "type": kind, "key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39 });
        browser.ask("Input.dispatchKeyEvent", key);
    }
    browser.wait_until("document.querySelector('svg.chart').getAttribute('aria-label').startsWith('Last 24 hours: ')");
    let table = browser.evaluate("document.querySelector('details table').textContent");
    assert!(table.as_str().unwrap().contains("readings from each time on"), "{table}");
    browser.evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })");
    assert!(browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap() <= 360, "with all tables open");
    browser.assert_contrast("tables");
    browser.picture("page-tables");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    room.stop();
}
