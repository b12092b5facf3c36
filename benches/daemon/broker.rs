//! A private mosquitto, and a subscriber on the same machine that notes when each reading arrives.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use crossbeam_channel::{Receiver, after, bounded};

use crate::{Fault, process::Running};

const LABELS: [&str; 3] = ["positive", "neutral", "negative"];
/// Reasons that only a network's answer can give: nobody is in the camera's test picture, so the shipped network
/// rightly withholds, after the same work as for a label.
const ANSWERS: [&str; 2] = ["too_few_people", "low_confidence"];

/// A reading as a subscriber gets it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Why the network was not asked, if it was not.
    pub unasked: Option<String>,
    /// From the end of the window to the subscriber, ms.
    pub arrived_after_ms: f64,
    /// From the end of the window to the reading, by its own account, ms.
    pub latency_ms: f64,
    /// The network's part, by its own account, ms.
    pub inference_ms: f64,
}

/// A broker that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    port: u16,
    _process: Running,
}

impl Broker {
    /// Starts mosquitto on a free port of this machine; its configuration goes into `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Fault> {
        const TRIES: u32 = 100;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let file = folder.join("mosquitto.conf");
        fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type error\n"))?;
        // Debian keeps it out of an ordinary user's path.
        let start = |program| Command::new(program).arg("-c").arg(&file).spawn();
        let child = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto"));
        let child = child.map_err(|error| format!("mosquitto cannot be started: {error}"))?;
        let mut process = Running::new(child);
        for _ in 0..TRIES {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(Self { port, _process: process });
            }
            if process.ended() {
                break;
            }
            after(Duration::from_millis(50)).recv()?;
        }
        Err("mosquitto does not answer".into())
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Subscribes to all readings. They come until the subscriber is dropped.
    pub(crate) fn subscribe(&self) -> Result<(Running, Receiver<Reading>), Fault> {
        /// More than the longest run has.
        const READINGS_MAX: usize = 10_000;
        let mut child = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "1"])
            .args(["-t", "edge-ger/+/+/reading", "-t", "peer/reading"])
            // %U: seconds since 1970 when the message came, with nanoseconds.
            .args(["-F", "%U %p"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("mosquitto_sub cannot be started: {error}"))?;
        let out = child.stdout.take().ok_or("the subscriber has no standard output")?;
        let (sender, receiver) = bounded(READINGS_MAX);
        let read = move |out: ChildStdout| {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            // A failed send means that nobody listens any more.
            let _all_sent = lines.filter_map(|it| parse(&it)).try_for_each(|it| sender.try_send(it));
        };
        std::thread::Builder::new().name("subscriber".into()).spawn(move || read(out))?;
        Ok((Running::new(child), receiver))
    }
}

/// `SECONDS JSON`, both of edge-ger and of the peer.
fn parse(line: &str) -> Option<Reading> {
    let (arrived_s, json) = line.split_once(' ')?;
    let reading: serde_json::Value = serde_json::from_str(json).ok()?;
    let number = |key: &str| reading.get(key)?.as_f64();
    let text = |key: &str| reading.get(key).and_then(|it| it.as_str());
    let reason = text("reason").unwrap_or("no label");
    let asked = text("label").is_some_and(|it| LABELS.contains(&it)) || ANSWERS.contains(&reason);
    Some(Reading {
        unasked: (!asked).then(|| reason.to_owned()),
        arrived_after_ms: arrived_s.parse::<f64>().ok()? * 1000.0 - number("ts_ms")?,
        latency_ms: number("latency_ms")?,
        inference_ms: number("inference_ms")?,
    })
}
