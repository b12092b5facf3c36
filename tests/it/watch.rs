//! `edge-ger watch`, the whole program, against a real broker with what real `publish` rooms say.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::wire::record::Record;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::it::{
    harness::{
        broker::{Broker, DEADLINE, Options, Pki, Subscriber, write_client},
        daemon::run,
        program::Program,
    },
    publish::{FIRST_SLOT, Room, begin, vital},
};

/// A box with a camera that is online.
fn start_box(name: &str, port: u16, folder: &Path) -> Room {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let mut begin = begin(port, &folder);
    begin.box_name = name.into();
    let (room, _) = Room::resume(begin, FIRST_SLOT);
    room.say(&Record::Vital(vital()).to_bytes());
    room
}

fn once(address: &str, more: &[&str]) -> (i32, String, String) {
    run(&[&["watch", address, "--once"], more].concat())
}

fn address(broker: &Broker) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port())
}

#[test]
fn once_shows_what_the_broker_holds() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut live = Subscriber::to(&broker, "edge-ger/#");
    let mut rooms = ["box-1", "box-2"].map(|name| start_box(name, broker.port(), folder.path()));
    for room in &mut rooms {
        room.read();
    }
    for name in ["box-1", "box-2"] {
        live.find(DEADLINE, |it| it.topic == format!("edge-ger/{name}/cam/last"));
        live.find(DEADLINE, |it| it.topic == format!("edge-ger/{name}/cam/status") && it.text == "online");
        live.find(DEADLINE, |it| it.topic == format!("edge-ger/{name}/info") && it.text.contains("\"cpu\""));
    }
    let [first, second] = rooms;
    second.stop();
    live.wait_until(DEADLINE, |it| it.topic == "edge-ger/box-2/status" && it.text == "offline");
    // What is none of ours, and what is too long to be.
    live.publish("edge-ger/box-1/cam/last/more", "x", true);
    live.publish("edge-ger/box-3/cam/last", &"x".repeat(9000), true);
    let evil = r#"{"version":"","model":"","provider":"\u001b]0;owned\u0007"}"#;
    live.publish("edge-ger/box-4/info", evil, true);
    live.wait_for("edge-ger/box-4/info", DEADLINE);
    let (code, out, err) = once(&address(&broker), &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let line = |name: &str| out.lines().find(|it| it.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {out}"));
    let words = line("box-1/cam").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.starts_with("box-1/cam online positive ") && words.ends_with("++++++++++++++++==-- 88 ms cpu"),
        "{words}"
    );
    // Its camera said last that it is online; the box has gone.
    assert!(line("box-2/cam").contains("box off"), "{out}");
    assert!(line("box-4").ends_with("]0;owned"), "{out}");
    assert!(out.contains("boxes: 1 online, 1 offline, 1 unknown · 2 cameras: 1 positive"), "{out}");
    assert!(out.contains("1 messages not understood"), "{out}");
    assert!(!out.chars().any(|it| it.is_control() && it != '\n'), "{out:?}");
    first.stop();
}

#[test]
fn the_reason_is_said_where_nothing_can_be_shown() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "right\n").unwrap();
    let password = password.to_str().unwrap();
    let broker = Broker::with(Options { login: Some(("anna", "right")), ..Options::default() });
    let port = broker.port();
    let check = |address: &str, more: &[&str], code: i32, words: &str| {
        let (found, out, err) = once(address, more);
        assert_eq!(found, code, "{address}: {out}{err}");
        assert!(format!("{out}{err}").contains(words), "{address}: {out}{err}");
        assert!(!err.contains("swordfish") && !err.contains("panic"), "{err}");
    };
    check("mqtt://127.0.0.1:1", &[], 1, "the broker is away");
    check(&format!("mqtt://127.0.0.1:{port}"), &[], 1, "the broker refuses us");
    check(&format!("mqtt://anna@127.0.0.1:{port}"), &["--password-file", password], 0, "boxes: 0 online");
    check(&format!("mqtt://anna:swordfish@127.0.0.1:{port}"), &[], 64, "--password-file");
    check("mqtt://anna@broker", &["--password-file", "/nowhere"], 78, "--password-file: ");
    check("mqtt://broker", &["--password-file", password], 64, "mqtt://USER@HOST");
    check("mqtt://broker", &["--ca-file", password], 64, "mqtts://HOST");
    check("mqtts://broker", &["--ca-file", password], 78, "--ca-file: ");
}

#[test]
fn it_watches_over_tls_and_says_whom_it_does_not_trust() {
    let folder = tempfile::tempdir().unwrap();
    let (pki, other) = (Pki::new(), Pki::new());
    let broker = Broker::with(Options { tls: Some(pki.clone()), ..Options::default() });
    let address = format!("mqtts://127.0.0.1:{}", broker.port());
    let files = |pki: &Pki, name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write_client(pki, &folder).map(|it| it.to_str().unwrap().to_owned())
    };
    let ([ca, certificate, key], [other_ca, ..]) = (files(&pki, "ours"), files(&other, "other"));
    let client = ["--certificate-file", &certificate, "--key-file", &key];
    let (code, out, err) = once(&address, &[&client[..], &["--ca-file", &ca]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = once(&address, &[&client[..], &["--ca-file", &other_ca]].concat());
    assert!(code == 1 && err.contains("no secure connection") && err.contains("--ca-file"), "{code}: {err}");
}

/// A running watch whose standard output is a pipe.
struct Piped(Program);

impl Piped {
    fn start(arguments: &[&str]) -> Self {
        Self(Program::start(Command::new(crate::it::harness::daemon::binary()).arg("watch").args(arguments)))
    }

    #[track_caller]
    fn wait_for(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        self.0.find(DEADLINE, is_it).unwrap_or_else(|| panic!("no such line; said:\n{}", self.0.said()))
    }

    /// Asks it to end; returns its exit code.
    #[track_caller]
    fn stop(mut self) -> i32 {
        kill_process(self.0.pid(), Signal::TERM).unwrap();
        self.0.wait_exit(DEADLINE)
    }
}

#[test]
fn json_has_every_reading_once_and_the_state_of_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut live = Subscriber::to(&broker, "edge-ger/#");
    let mut room = start_box("box-1", broker.port(), folder.path());
    let first = room.read();
    live.wait_for("edge-ger/box-1/cam/last", DEADLINE);
    let mut watch = Piped::start(&[&address(&broker), "--json"]);
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    // What is retained fills it at once.
    let retained = json(&watch.wait_for(|it| it.contains("\"kind\":\"reading\"")));
    assert_eq!((&retained["seq"], &retained["retained"]), (&Value::from(first), &Value::from(true)));
    assert_eq!((&retained["label"], &retained["p_positive"]), (&Value::from("positive"), &Value::from(0.8123)));
    // Each comes as `reading` and as `last`.
    let slots = room.read_many(20);
    let mut seen = BTreeSet::new();
    while seen.len() < slots.len() {
        let reading = json(&watch.wait_for(|it| it.contains("\"kind\":\"reading\"")));
        assert!(seen.insert(reading["seq"].as_u64().unwrap()), "twice: {reading}");
    }
    assert_eq!(seen, slots.into_iter().collect());
    broker.kill();
    watch.wait_for(|it| it.contains("\"kind\":\"connection\"") && it.contains("the broker is away"));
    broker.restart();
    watch.wait_for(|it| it.contains("\"kind\":\"connection\"") && it.contains("\"connected\""));
    // Only a box that is back can say goodbye.
    Subscriber::to(&broker, "edge-ger/#")
        .find(DEADLINE, |it| it.topic == "edge-ger/box-1/status" && it.text == "online");
    room.stop();
    let offline = json(&watch.wait_for(|it| it.contains("\"offline\"")));
    assert_eq!((&offline["box"], &offline["camera"]), (&Value::from("box-1"), &Value::Null));
    assert_eq!(watch.stop(), 0);
}

#[test]
fn a_pipe_gets_plain_lines() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut watch = Piped::start(&[&address(&broker)]);
    watch.wait_for(|it| it == "connected");
    let mut room = start_box("box-1", broker.port(), folder.path());
    watch.wait_for(|it| it.trim_start().starts_with("box-1 ") && it.ends_with(" online"));
    room.read();
    let line = watch.wait_for(|it| it.contains(" positive "));
    let words: Vec<_> = line.split_whitespace().skip(2).collect();
    assert_eq!(words.join(" "), "box-1/cam positive +0.81 =0.10 -0.09 after 88 ms");
    assert_eq!(watch.stop(), 0);
    room.stop();
}

/// `edge-ger watch` in a terminal that `script` makes.
struct Screen {
    script: Child,
    keys: ChildStdin,
    drawn: Receiver<String>,
    shown: String,
}

impl Screen {
    fn open(broker: &Broker) -> Self {
        let command =
            format!("stty cols 100 rows 20; exec {} watch {}", crate::it::harness::daemon::binary(), address(broker));
        let mut script = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (sender, drawn) = bounded(10_000);
        let read = move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                sender.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).unwrap_or_default();
            }
        };
        thread::Builder::new().name("screen".into()).spawn(read).unwrap();
        Self { script, keys, drawn, shown: String::new() }
    }

    /// Only what changes is drawn, so the words must be such as stand where others stood.
    #[track_caller]
    fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.shown.contains(words) {
            let drawn = self.drawn.recv_deadline(deadline);
            self.shown += &drawn.unwrap_or_else(|_| panic!("no {words:?}: {:?}", self.shown));
        }
        self.shown.clear();
    }
}

/// The view is drawn, keys are obeyed, and the terminal is given back.
#[test]
fn a_terminal_gets_a_view() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let mut live = Subscriber::to(&broker, "edge-ger/#");
    let mut room = start_box("box-1", broker.port(), folder.path());
    room.read();
    live.wait_for("edge-ger/box-1/cam/last", DEADLINE);
    let mut screen = Screen::open(&broker);
    screen.wait_for("box-1/cam");
    screen.keys.write_all(b"/").unwrap();
    screen.wait_for("drops");
    // In the filter, q is a letter; after Enter it leaves.
    screen.keys.write_all(b"q\r").unwrap();
    screen.wait_for("leave");
    screen.keys.write_all(b"q").unwrap();
    // The other screen is left.
    screen.wait_for("\u{1b}[?1049l");
    assert!(screen.script.wait().unwrap().success());
    room.stop();
}

/// Somebody closes the window: nothing is left behind.
#[test]
fn it_ends_with_its_terminal() {
    let broker = Broker::start();
    let mut screen = Screen::open(&broker);
    screen.wait_for("\u{1b}[?1049h");
    let children = format!("/proc/{0}/task/{0}/children", screen.script.id());
    let children = std::fs::read_to_string(children).unwrap();
    let watch = PathBuf::from(format!("/proc/{}", children.trim()));
    let name = std::fs::read_to_string(watch.join("comm")).unwrap();
    assert_eq!(name.trim(), "edge-ger");
    screen.script.kill().unwrap();
    screen.script.wait().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let (_keep, never) = bounded::<()>(0);
    while watch.exists() {
        assert!(Instant::now() < deadline, "it still runs");
        never.recv_timeout(Duration::from_millis(10)).unwrap_err();
    }
}
