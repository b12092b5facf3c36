//! The parent as a process of its own, with tiny processes: ends, hangs, stops, reloads, the service manager.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
    ops::ControlFlow,
    os::unix::{net::UnixDatagram, process::ExitStatusExt as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    service::{
        lock, logging,
        signals::{self, HangupAction},
    },
    supervisor::{self, DryRunRequest, Options, Sink},
    time::{Clock, Moment, Span, SystemClock},
    wire::CameraId,
};
use rustix::process::{Pid, Signal};

use super::{
    parent::{PATIENCE, Scratch, load, reload, signal},
    tiny,
};

const FOLDER: &str = "TINY_DAEMON_FOLDER";
/// How many seconds of the daemon pass in one real second.
const SPEED: &str = "TINY_DAEMON_HASTE";

/// A clock that runs fast, so that long timeouts can be tested.
struct FastClock(i64);

impl Clock for FastClock {
    fn now(&self) -> Moment {
        Moment(SystemClock.now().0.saturating_mul(self.0))
    }

    fn wall_ms(&self) -> u64 {
        SystemClock.wall_ms()
    }
}

/// Started by a test, runs the daemon; started by the test harness, checks that there is no daemon without cameras.
#[test]
fn as_daemon() {
    let Ok(folder) = env::var(FOLDER) else {
        let empty = tempfile::tempdir().unwrap();
        load(empty.path()).unwrap_err();
        return;
    };
    logging::start("");
    let cameras = std::path::Path::new(&folder).join("cameras");
    let (config, model) = load(&cameras).unwrap();
    let lock = match lock::take(&config.state_dir) {
        Ok(lock) => lock,
        Err(err) => {
            logging::print_error(&err.to_string());
            std::process::exit(75);
        }
    };
    let speed = env::var(SPEED).unwrap().parse().unwrap();
    let options = Options {
        sink: Sink::Publish,
        program: tiny::program(),
        asks: crossbeam_channel::never(),
        signals: signals::listen(HangupAction::Reload).unwrap(),
        reload: reload(cameras),
        clock: Arc::new(FastClock(speed)),
    };
    let code = match supervisor::run(config, model, options) {
        Ok(()) => 0,
        Err(err) => {
            logging::print_error(&err.to_string());
            err.exit().code()
        }
    };
    drop(lock);
    std::process::exit(code.into());
}

struct Daemon {
    process: Child,
    log: Receiver<String>,
    said: String,
}

impl Daemon {
    fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, 1, &[])
    }

    fn start_with(scratch: &Scratch, speed: i64, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args(["it::processes::daemon::as_daemon", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, scratch.folder.path()).env(SPEED, speed.to_string()).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (sender, log) = bounded(10_000);
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let read = move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        thread::Builder::new().name("log".into()).spawn(read).unwrap();
        Self { process, log, said: String::new() }
    }

    /// Waits for a line of the log.
    #[track_caller]
    fn says(&mut self, words: &str) {
        let deadline = SystemClock.now() + Span::from(PATIENCE);
        while let Ok(line) = self.log.recv_timeout(deadline.after(SystemClock.now())) {
            self.said += &format!("{line}\n");
            if line.contains(words) {
                return;
            }
        }
        panic!("did not say {words:?}, only:\n{}", self.said);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn signal(&self, asked: Signal) {
        signal(self.pid(), asked);
    }

    /// Waits for the end. Returns the exit code, what was said, and how long it took.
    fn end(mut self) -> (i32, String, Duration) {
        let asked = SystemClock.now();
        let pidfd = rustix::process::pidfd_open(self.pid(), rustix::process::PidfdFlags::empty()).unwrap();
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
        let ended = rustix::event::poll(&mut polled, Some(&patience)).unwrap();
        assert_eq!(ended, 1, "the daemon did not end");
        let took = (SystemClock.now() - asked).to_duration();
        let status = self.process.wait().unwrap();
        // Ends when no process has the other end any more: they end with their parent.
        let said = std::mem::take(&mut self.said);
        let said = self.log.iter().fold(said, |said, line| said + &line + "\n");
        (status.code().unwrap_or_else(|| -status.signal().unwrap()), said, took)
    }

    /// Sends SIGTERM, and expects the end within two seconds.
    #[track_caller]
    fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (code, said, took) = self.end();
        assert_eq!(code, 0, "{said}");
        assert!(took < Duration::from_secs(2), "took {took:?}:\n{said}");
        said
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After a failed test, the processes end with their parent.
        if matches!(self.process.try_wait(), Ok(None)) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }
}

#[test]
fn killed_processes_are_restarted_and_data_flows_again() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let mut route = scratch.flow(|_| true);
    for _ in 0..2 {
        signal(route.ingest, Signal::KILL);
        let next = scratch.flow(|it| it.ingest != route.ingest);
        assert_eq!((next.infer, next.publish), (route.infer, route.publish), "no other process was restarted");
        signal(next.infer, Signal::KILL);
        assert!(scratch.wait("infer", "starts after").contains("Some("), "infer knows where it was");
        let next = scratch.flow(|it| it.infer != next.infer);
        signal(next.publish, Signal::KILL);
        route = scratch.flow(|it| it.publish != next.publish);
        assert_eq!((next.ingest, next.infer), (route.ingest, route.infer), "no other process was restarted");
    }
    // All three at once.
    for pid in [route.publish, route.ingest, route.infer] {
        signal(pid, Signal::KILL);
    }
    scratch.flow(|it| it.ingest != route.ingest && it.infer != route.infer && it.publish != route.publish);
    let said = daemon.stop();
    assert!(said.contains("signal 9") && said.contains("back: tiny"), "{said}");
}

#[test]
fn a_process_that_hangs_is_killed_and_restarted() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start_with(&scratch, 10, &[]);
    let route = scratch.flow(|_| true);
    signal(route.infer, Signal::STOP);
    let next = scratch.flow(|it| it.infer != route.infer);
    signal(next.publish, Signal::STOP);
    scratch.flow(|it| it.publish != next.publish);
    daemon.signal(Signal::TERM);
    let (code, said, _) = daemon.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no progress for 20.000 s: killed"), "{said}");
}

#[test]
fn sigterm_stops_the_daemon_in_every_state() {
    // At once, when not all processes have started.
    let scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let mut scratch = scratch;
    scratch.wait("", "starts");
    daemon.stop();

    // While an engine is being built, when `infer` handles no orders.
    let mut scratch = Scratch::new("never-ready");
    let daemon = Daemon::start(&scratch);
    scratch.wait("infer", "starts");
    let said = daemon.stop();
    assert!(said.contains("killed"), "{said}");

    // While running: the last reading reaches `publish` before it ends, and every process ends by itself.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    scratch.flow(|_| true);
    let said = daemon.stop();
    scratch.wait_all(&[("infer", "ends"), ("publish", "has the last reading"), ("publish", "ends")]);
    assert!(!said.contains("killed"), "{said}");

    // While a process waits for its restart.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    signal(route.infer, Signal::KILL);
    daemon.stop();

    // While a process hangs.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    signal(route.publish, Signal::STOP);
    daemon.stop();
    assert_ended(route.publish);

    // While it reloads.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    scratch.flow(|_| true);
    scratch.model("never-ready");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", "ends");
    daemon.stop();
}

#[test]
fn the_second_sigterm_stops_at_once() {
    let mut scratch = Scratch::new("never-ready");
    let daemon = Daemon::start(&scratch);
    scratch.wait("infer", "starts");
    daemon.signal(Signal::INT);
    scratch.wait("ingest", "ends");
    daemon.signal(Signal::TERM);
    let (code, said, took) = daemon.end();
    assert_eq!(code, 0, "{said}");
    assert!(took < Duration::from_millis(1200), "took {took:?}");
}

#[test]
fn processes_end_when_their_parent_was_killed() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    // A stopped process cannot notice by itself.
    signal(route.ingest, Signal::STOP);
    let pids = [route.ingest, route.infer, route.publish]
        .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap());
    daemon.signal(Signal::KILL);
    drop(daemon);
    signal(route.ingest, Signal::CONT);
    for pid in &pids {
        let mut polled = [rustix::event::PollFd::new(pid, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&patience)).unwrap(), 1, "a process is left");
    }
}

#[test]
fn a_second_instance_is_refused() {
    let mut scratch = Scratch::new("good");
    let first = Daemon::start(&scratch);
    scratch.flow(|_| true);
    let (code, said, _) = Daemon::start(&scratch).end();
    assert_eq!(code, 75, "{said}");
    let pid = first.pid().as_raw_nonzero().to_string();
    assert!(said.contains(&pid) && said.contains("state_dir") && said.contains("/state"), "{said}");
    first.stop();
    // The directory is free again, even after a kill.
    let second = Daemon::start(&scratch);
    scratch.flow(|_| true);
    second.signal(Signal::KILL);
    second.end();
    let third = Daemon::start(&scratch);
    scratch.flow(|_| true);
    third.stop();
}

#[test]
fn a_refusal_ends_the_daemon_with_its_message() {
    let scratch = Scratch::new("refused");
    let (code, said, _) = Daemon::start(&scratch).end();
    assert_eq!(code, 78, "{said}");
    assert!(said.ends_with("infer: model.file: not a network\n"), "{said}");
}

#[test]
fn sighup_reloads_one_camera_without_touching_the_others() {
    let mut scratch = Scratch::new("good");
    let mut daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);

    // Changed: orders to the two processes that have more of it than its name.
    scratch.camera("stage", "decode = \"all\"");
    daemon.signal(Signal::HUP);
    let [ingest, infer, publish] = [("ingest", route.ingest), ("infer", route.infer), ("publish", route.publish)]
        .map(|(name, pid)| format!("{name} {} receives", pid.as_raw_nonzero()));
    let [ingest, infer, publish] = [&*ingest, &infer, &publish];
    scratch.wait_all(&[infer, ingest].map(|it| (it, "set 1 stage password false")));

    // Added: orders to all. Its number is new, although its name is the first.
    scratch.camera("bar", "");
    daemon.signal(Signal::HUP);
    scratch.wait_all(&[ingest, infer, publish].map(|it| (it, "set 2 bar")));

    // Removed.
    fs::remove_file(scratch.cameras().join("door.toml")).unwrap();
    daemon.signal(Signal::HUP);
    scratch.wait_all(&[ingest, infer, publish].map(|it| (it, "drop 0")));

    // Faulty: no orders.
    scratch.camera("bar", "decode = \"perhaps\"");
    daemon.signal(Signal::HUP);
    daemon.says("the old one stays");
    fs::remove_file(scratch.cameras().join("bar.toml")).unwrap();
    scratch.camera("stage", "decode = \"keyframes\"");
    daemon.signal(Signal::HUP);
    let (gone, changed) = ("drop 2", "set 1 stage");
    scratch.wait_all(&[(ingest, gone), (infer, gone), (publish, gone), (ingest, changed), (infer, changed)]);
    let said = daemon.stop();
    assert!(said.contains("bar.toml:4: camera.decode: "), "{said}");
    let messages = scratch.all();
    assert_eq!(messages.iter().filter(|it| it.contains("starts")).count(), 3, "a process was restarted: {messages:?}");
    let changes = messages.iter().filter(|it| it.contains("receives")).count();
    assert_eq!(changes, 2 + 3 + 3 + 3 + 2, "{messages:?}");
}

#[test]
fn a_changed_model_restarts_only_infer_and_a_refused_one_is_reverted() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    scratch.model("better");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", "ends");
    let next = scratch.flow(|it| it.infer != route.infer);
    assert_eq!((next.ingest, next.publish), (route.ingest, route.publish));

    // A network that is refused: the old one is restored.
    scratch.model("refused");
    daemon.signal(Signal::HUP);
    let last = scratch.flow(|it| it.infer != next.infer);
    assert_eq!((last.ingest, last.publish), (route.ingest, route.publish));
    let said = daemon.stop();
    assert!(said.contains("the new configuration was refused, the old one stays"), "{said}");
}

#[test]
fn a_pause_reaches_running_and_restarted_processes() {
    let mut scratch = Scratch::new("good");
    let (manager, path) = Manager::listen(&scratch);
    let mut daemon = Daemon::start_with(&scratch, 1, &[("NOTIFY_SOCKET", path.as_str())]);
    let route = scratch.flow(|_| true);
    let set = ["set 0 door password false paused", "set 1 stage password false paused"];
    // Created by another program, as by a udev rule.
    let file = scratch.folder.path().join("state/paused");
    fs::write(&file, "").unwrap();
    scratch.wait_all(&[("infer", set[0]), ("infer", set[1]), ("ingest", set[0]), ("ingest", set[1])]);
    daemon.says("paused by the file");
    while !manager.next().unwrap().starts_with("STATUS=2 cameras, paused, ") {}
    drop(manager);

    // A restarted process starts paused, and a reload that changes other keys keeps the pause.
    signal(route.infer, Signal::KILL);
    scratch.wait("infer", ", 2 paused");
    scratch.model("better");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", ", 2 paused");
    scratch.camera("stage", "decode = \"all\"");
    daemon.signal(Signal::HUP);
    assert!(scratch.wait("ingest", "set 1 stage").ends_with("paused"));

    // Removed and created again by signals; a signal to a worker has no effect.
    daemon.signal(Signal::USR2);
    daemon.says("the pause is over");
    assert!(!file.exists());
    signal(route.publish, Signal::USR1);
    daemon.signal(Signal::USR1);
    daemon.says("paused by the file");
    assert_eq!(fs::read(&file).unwrap(), b"");
    let said = daemon.stop();
    let ended = said.lines().any(|line| line.contains("ended by itself") && line.contains("process=publish"));
    assert!(!ended, "{said}");

    // A daemon that starts while the file exists starts paused.
    let daemon = Daemon::start(&scratch);
    scratch.wait_all(&[("ingest", ", 2 paused"), ("infer", ", 2 paused")]);
    daemon.stop();
}

#[test]
fn a_pause_that_cannot_be_written_lasts_as_long_as_the_daemon() {
    let mut scratch = Scratch::new("good");
    let text = fs::read_to_string(scratch.cameras().join("0-box.toml")).unwrap();
    let nowhere = "[privacy]\npause_file = \"nowhere/paused\"\n";
    fs::write(scratch.cameras().join("0-box.toml"), format!("{text}{nowhere}")).unwrap();
    let mut daemon = Daemon::start(&scratch);
    scratch.flow(|_| true);
    daemon.signal(Signal::USR1);
    daemon.says("a restart will end the pause");
    daemon.says("paused by SIGUSR1 until SIGUSR2");
    scratch.wait_all(&[("infer", "set 0 door"), ("ingest", "set 0 door")]);
    daemon.signal(Signal::USR2);
    daemon.says("the pause is over");
    daemon.stop();
}

/// The notifications to the service manager, in order.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(scratch: &Scratch) -> (Self, String) {
        let path = scratch.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self(socket), path.to_str().unwrap().to_owned())
    }

    fn next(&self) -> io::Result<String> {
        let mut bytes = [0; 4096];
        let n = self.0.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..n]).trim_end().to_owned())
    }

    /// The next notification that is not a status.
    #[track_caller]
    fn next_but_status(&self) -> String {
        loop {
            let word = self.next().unwrap();
            if !word.starts_with("STATUS=") {
                return word;
            }
        }
    }
}

#[test]
fn the_service_manager_gets_ready_watchdog_reloading_and_stopping() {
    let mut scratch = Scratch::new("good");
    let (manager, path) = Manager::listen(&scratch);
    // A third of 300 ms passes between two of them.
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "300000")];
    let daemon = Daemon::start_with(&scratch, 1, &environment);
    assert_eq!(manager.next_but_status(), "READY=1");
    assert_eq!(manager.next_but_status(), "WATCHDOG=1");
    assert_eq!(manager.next_but_status(), "WATCHDOG=1");
    daemon.signal(Signal::HUP);
    let reloading = loop {
        let word = manager.next_but_status();
        if word != "WATCHDOG=1" {
            break word;
        }
    };
    let since_us: i64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((0..10_000_000).contains(&(SystemClock.now().0 / 1000 - since_us)), "{reloading}");
    assert_eq!(manager.next_but_status(), "READY=1");
    scratch.flow(|_| true);
    daemon.stop();
    manager.0.set_nonblocking(true).unwrap();
    let last: Vec<_> = std::iter::from_fn(|| manager.next().ok()).filter(|it| !it.starts_with("STATUS=")).collect();
    let (stopping, watchdogs) = last.split_last().unwrap();
    assert_eq!(stopping, "STOPPING=1");
    assert!(watchdogs.iter().all(|it| it == "WATCHDOG=1"), "{last:?}");
}

#[test]
fn without_slots_no_watchdog_is_sent() {
    let mut scratch = Scratch::new("no-slots");
    let (manager, path) = Manager::listen(&scratch);
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "30000")];
    let daemon = Daemon::start_with(&scratch, 1, &environment);
    assert_eq!(manager.next_but_status(), "READY=1");
    let status = manager.next().unwrap();
    assert_eq!(status, "STATUS=2 cameras, 0 slots");
    scratch.flow(|_| true);
    daemon.stop();
    assert_eq!(manager.next_but_status(), "STOPPING=1");
}

#[track_caller]
fn assert_ended(pid: Pid) {
    let gone = rustix::process::test_kill_process(pid).is_err();
    assert!(gone, "{pid:?} is still running");
}

#[test]
fn a_dry_run_reads_the_records_itself() {
    let scratch = Scratch::new("good");
    let (config, model) = load(&scratch.cameras()).unwrap();
    let (_sender, signals) = crossbeam_channel::bounded(1);
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let seeing = std::rc::Rc::clone(&seen);
    let take = move |_| {
        seeing.set(seeing.get() + 1);
        if seeing.get() < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let options = Options {
        sink: Sink::Here(Box::new(take)),
        program: tiny::program(),
        asks: crossbeam_channel::never(),
        signals,
        reload: scratch.reload(),
        clock: Arc::new(SystemClock),
    };
    supervisor::run(config, model, options).unwrap();
    assert!(5 <= seen.get());
    let mut scratch = scratch;
    scratch.wait("infer", "ends");
    assert!(!scratch.all().iter().any(|it| it.starts_with("publish")));
}

#[test]
fn requests_to_a_dry_run_reach_its_processes_before_it_stops() {
    let mut scratch = Scratch::new("good");
    let (config, model) = load(&scratch.cameras()).unwrap();
    let (_sender, signals) = crossbeam_channel::bounded(1);
    let (asking, asks) = crossbeam_channel::bounded(3);
    let mut asking = Some(asking);
    // Sends all requests with the first record, and drops the sender, which stops the dry run, too.
    let take = move |_| {
        let requests = [DryRunRequest::Clap(CameraId(0)), DryRunRequest::EndClapTest(CameraId(0))];
        if let Some(sender) = asking.take() {
            requests.iter().for_each(|request| sender.send(*request).unwrap());
        }
        ControlFlow::Continue(())
    };
    let options = Options {
        sink: Sink::Here(Box::new(take)),
        program: tiny::program(),
        asks,
        signals,
        reload: scratch.reload(),
        clock: Arc::new(SystemClock),
    };
    supervisor::run(config, model, options).unwrap();
    let (clap, end) = ("receives SetSampling(CameraId(0), All)", "receives SetSampling(CameraId(0), Grid)");
    scratch.wait_all(&[("ingest", clap), ("ingest", end), ("infer", clap), ("infer", end)]);
}
