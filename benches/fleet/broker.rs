//! A private mosquitto whose log says who came when, and the stand-in on its port while it is away.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use edge_ger::inside::time::{Clock as _, Moment, SystemClock};
use rustix::{
    net::sockopt::set_socket_linger,
    process::{Pid, Signal, kill_process},
};

use crate::{
    Fault, locked,
    process::{self, Cost, Running},
    until,
};

/// A connection that the broker logged.
#[derive(Clone, Debug)]
struct Entry {
    at: Moment,
    /// The client's identifier; `None` for a connection that has not said it yet.
    client: Option<String>,
}

/// A broker that ends when this is dropped.
pub(crate) struct Broker {
    port: u16,
    config: PathBuf,
    process: Option<Running>,
    log: Arc<Mutex<Vec<Entry>>>,
}

impl Broker {
    /// Starts mosquitto on a free port of this machine; its files go into `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self, Fault> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("mosquitto.conf");
        // As docs/examples/mosquitto.conf, but for anybody and without TLS. As root it would otherwise become a user
        // who may not read the folder.
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n\
             persistence true\npersistence_location {}/\nsys_interval 1\nlog_dest stderr\nlog_type notice\n\
             log_type warning\nlog_type error\n",
            folder.display()
        );
        fs::write(&config, text)?;
        let mut broker = Self { port, config, process: None, log: Arc::default() };
        broker.launch()?;
        Ok(broker)
    }

    pub(crate) fn launch(&mut self) -> Result<(), Fault> {
        let start = |program| Command::new(program).arg("-c").arg(&self.config).stderr(Stdio::piped()).spawn();
        // Debian keeps it out of an ordinary user's path.
        let child = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto"));
        let mut child = child.map_err(|error| format!("mosquitto cannot be started: {error}"))?;
        let lines = BufReader::new(child.stderr.take().ok_or("mosquitto has no standard error")?).lines();
        let log = Arc::clone(&self.log);
        thread::Builder::new().name("log".into()).spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = SystemClock.now();
                if line.contains("New connection from") {
                    locked(&log).push(Entry { at, client: None });
                } else if let Some((_, client)) = line.split_once(" as ").filter(|_| line.contains("New client")) {
                    let client = client.split(' ').next().map(str::to_owned);
                    locked(&log).push(Entry { at, client });
                } else if line.contains("Error") || line.contains("Warning") {
                    println!("mosquitto: {line}");
                }
            }
        })?;
        self.process = Some(Running::new(child));
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        if until(Duration::from_secs(10), answers) { Ok(()) } else { Err("mosquitto does not answer".into()) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Running::pid)
    }

    /// What it has cost so far.
    pub(crate) fn cost(&self) -> Cost {
        let none =
            || Cost { pid: 0, name: String::new(), cpu_s: 0.0, threads: Default::default(), rss_kb: 0, pss_kb: None };
        process::tree(self.pid()).into_iter().next().unwrap_or_else(none)
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Makes it write down its sessions, so that the dashboard's survives.
    pub(crate) fn save(&self) -> Result<(), Fault> {
        let file = self.config.with_file_name("mosquitto.db");
        fs::remove_file(&file).ok();
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("mosquitto does not run")?;
        kill_process(pid, Signal::USR1)?;
        if until(Duration::from_secs(10), || file.exists()) { Ok(()) } else { Err("mosquitto saves nothing".into()) }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
        // Waits for its end.
        self.process = None;
    }

    fn since(&self, since: Moment, which: impl Fn(&Entry) -> bool) -> Vec<Moment> {
        locked(&self.log).iter().filter(|it| since <= it.at && which(it)).map(|it| it.at).collect()
    }

    /// When each client was let in.
    pub(crate) fn admitted_since(&self, since: Moment) -> Vec<Moment> {
        self.since(since, |it| it.client.is_some())
    }

    /// When each box was let in.
    pub(crate) fn boxes_since(&self, since: Moment) -> Vec<Moment> {
        self.since(since, |it| it.client.as_ref().is_some_and(|it| it.starts_with("edge-ger-box-")))
    }

    /// When each connection was made.
    pub(crate) fn attempts_since(&self, since: Moment) -> Vec<Moment> {
        self.since(since, |it| it.client.is_none())
    }
}

/// Turns away whoever calls at the broker's port, and counts them.
pub(crate) struct StandIn {
    port: u16,
    is_over: Arc<AtomicBool>,
    counting: JoinHandle<Vec<Moment>>,
}

impl StandIn {
    pub(crate) fn open(port: u16) -> Result<Self, Fault> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let count = move || {
            let mut calls = Vec::new();
            for caller in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return calls;
                }
                calls.push(SystemClock.now());
                // With a reset: nothing of it must be left when the broker wants its port again.
                set_socket_linger(&caller, Some(Duration::ZERO)).ok();
            }
            calls
        };
        let counting = thread::Builder::new().name("stand-in".into()).spawn(count)?;
        Ok(Self { port, is_over, counting })
    }

    /// Gives the port free; returns when each caller came.
    pub(crate) fn close(self) -> Vec<Moment> {
        self.is_over.store(true, Ordering::SeqCst);
        // So that it looks.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
        self.counting.join().unwrap_or_default()
    }
}
