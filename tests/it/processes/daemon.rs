//! The parent as a process of its own, over tiny rooms: death, hanging, stopping, reloading, the service manager.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
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
        signals::{self, Hangup},
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
/// How many seconds of the daemon's pass in one of ours.
const HASTE: &str = "TINY_DAEMON_HASTE";

/// A clock that runs fast, so that limits of many seconds can be waited for.
struct Hasty(i64);

impl Clock for Hasty {
    fn now(&self) -> Moment {
        Moment(SystemClock.now().0.saturating_mul(self.0))
    }

    fn wall_ms(&self) -> u64 {
        SystemClock.wall_ms()
    }
}

/// The daemon, where a test has started this binary as one; else the proof that a daemon without cameras is none.
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
            logging::last_words(&err.to_string());
            std::process::exit(75);
        }
    };
    let haste = env::var(HASTE).unwrap().parse().unwrap();
    let options = Options {
        sink: Sink::Publish,
        program: tiny::program(),
        asks: crossbeam_channel::never(),
        signals: signals::listen(Hangup::Reloads).unwrap(),
        reload: reload(cameras),
        clock: Arc::new(Hasty(haste)),
    };
    let code = match supervisor::run(config, model, options) {
        Ok(()) => 0,
        Err(err) => {
            logging::last_words(&err.to_string());
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

    fn start_with(scratch: &Scratch, haste: i64, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args(["processes::daemon::as_daemon", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, scratch.folder.path()).env(HASTE, haste.to_string()).envs(environment.iter().copied());
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
        // Ends with the last process that holds the other end: the rooms end with their parent.
        let said = std::mem::take(&mut self.said);
        let said = self.log.iter().fold(said, |said, line| said + &line + "\n");
        (status.code().unwrap_or_else(|| -status.signal().unwrap()), said, took)
    }

    /// SIGTERM, and the promise about it.
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
        // A test that fails leaves nothing behind: rooms end with their parent.
        if matches!(self.process.try_wait(), Ok(None)) {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }
}

#[test]
fn whoever_dies_comes_back_and_data_flows_again() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let mut route = scratch.flow(|_| true);
    for _ in 0..2 {
        signal(route.ingest, Signal::KILL);
        let next = scratch.flow(|it| it.ingest != route.ingest);
        assert_eq!((next.infer, next.publish), (route.infer, route.publish), "nobody else was touched");
        signal(next.infer, Signal::KILL);
        assert!(scratch.wait("infer", "begins after").contains("Some("), "infer knows where it was");
        let next = scratch.flow(|it| it.infer != next.infer);
        signal(next.publish, Signal::KILL);
        route = scratch.flow(|it| it.publish != next.publish);
        assert_eq!((next.ingest, next.infer), (route.ingest, route.infer), "nobody else was touched");
    }
    // All at once.
    for pid in [route.publish, route.ingest, route.infer] {
        signal(pid, Signal::KILL);
    }
    scratch.flow(|it| it.ingest != route.ingest && it.infer != route.infer && it.publish != route.publish);
    let said = daemon.stop();
    assert!(said.contains("signal 9") && said.contains("back: tiny"), "{said}");
}

#[test]
fn whoever_hangs_is_killed_and_comes_back() {
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
fn sigterm_ends_it_in_every_state() {
    // At once, when not even all processes are there.
    let scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let mut scratch = scratch;
    scratch.wait("", "begins");
    daemon.stop();

    // While a network is being built, which listens to nobody.
    let mut scratch = Scratch::new("deaf");
    let daemon = Daemon::start(&scratch);
    scratch.wait("infer", "begins");
    let said = daemon.stop();
    assert!(said.contains("killed"), "{said}");

    // At work: the last reading goes out before `publish` ends, and everybody ends by itself.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    scratch.flow(|_| true);
    let said = daemon.stop();
    scratch.wait_all(&[("infer", "ends"), ("publish", "has the last reading"), ("publish", "ends")]);
    assert!(!said.contains("killed"), "{said}");

    // While a room waits for its next life.
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    signal(route.infer, Signal::KILL);
    daemon.stop();

    // While a room hangs.
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
    scratch.model("deaf");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", "ends");
    daemon.stop();
}

#[test]
fn the_second_sigterm_is_at_once() {
    let mut scratch = Scratch::new("deaf");
    let daemon = Daemon::start(&scratch);
    scratch.wait("infer", "begins");
    daemon.signal(Signal::INT);
    scratch.wait("ingest", "ends");
    daemon.signal(Signal::TERM);
    let (code, said, took) = daemon.end();
    assert_eq!(code, 0, "{said}");
    assert!(took < Duration::from_millis(1200), "took {took:?}");
}

#[test]
fn rooms_end_with_a_parent_that_was_killed() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    // One of them would not notice by itself.
    signal(route.ingest, Signal::STOP);
    let pids = [route.ingest, route.infer, route.publish]
        .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap());
    daemon.signal(Signal::KILL);
    drop(daemon);
    signal(route.ingest, Signal::CONT);
    for pid in &pids {
        let mut polled = [rustix::event::PollFd::new(pid, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&patience)).unwrap(), 1, "an orphan is left");
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
fn a_refusal_ends_the_daemon_with_its_words() {
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

    // Changed: the two rooms that know more of it than its name.
    scratch.camera("stage", "decode = \"all\"");
    daemon.signal(Signal::HUP);
    let [ingest, infer, publish] = [("ingest", route.ingest), ("infer", route.infer), ("publish", route.publish)]
        .map(|(room, pid)| format!("{room} {} hears", pid.as_raw_nonzero()));
    let [ingest, infer, publish] = [&*ingest, &infer, &publish];
    scratch.wait_all(&[infer, ingest].map(|it| (it, "set 1 stage password false")));

    // Added: all of them. Its number is new, though it is the first by name.
    scratch.camera("bar", "");
    daemon.signal(Signal::HUP);
    scratch.wait_all(&[ingest, infer, publish].map(|it| (it, "set 2 bar")));

    // Removed.
    fs::remove_file(scratch.cameras().join("door.toml")).unwrap();
    daemon.signal(Signal::HUP);
    scratch.wait_all(&[ingest, infer, publish].map(|it| (it, "drop 0")));

    // Faulty: nobody hears of it.
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
    let told = scratch.all();
    assert_eq!(told.iter().filter(|it| it.contains("begins")).count(), 3, "nobody began anew: {told:?}");
    let changes = told.iter().filter(|it| it.contains("hears")).count();
    assert_eq!(changes, 2 + 3 + 3 + 3 + 2, "{told:?}");
}

#[test]
fn a_changed_box_restarts_the_room_concerned_alone() {
    let mut scratch = Scratch::new("good");
    let daemon = Daemon::start(&scratch);
    let route = scratch.flow(|_| true);
    scratch.model("better");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", "ends");
    let next = scratch.flow(|it| it.infer != route.infer);
    assert_eq!((next.ingest, next.publish), (route.ingest, route.publish));

    // A network that is refused: the old one is taken again.
    scratch.model("refused");
    daemon.signal(Signal::HUP);
    let last = scratch.flow(|it| it.infer != next.infer);
    assert_eq!((last.ingest, last.publish), (route.ingest, route.publish));
    let said = daemon.stop();
    assert!(said.contains("the new configuration was refused, the old one stays"), "{said}");
}

#[test]
fn a_pause_reaches_the_rooms_and_whoever_begins_later() {
    let mut scratch = Scratch::new("good");
    let (manager, path) = Manager::listen(&scratch);
    let mut daemon = Daemon::start_with(&scratch, 1, &[("NOTIFY_SOCKET", path.as_str())]);
    let route = scratch.flow(|_| true);
    let set = ["set 0 door password false paused", "set 1 stage password false paused"];
    // Made by another program, as a udev rule would.
    let file = scratch.folder.path().join("state/paused");
    fs::write(&file, "").unwrap();
    scratch.wait_all(&[("infer", set[0]), ("infer", set[1]), ("ingest", set[0]), ("ingest", set[1])]);
    daemon.says("paused by the file");
    while !manager.next().unwrap().starts_with("STATUS=2 cameras, paused, ") {}
    drop(manager);

    // Whoever begins anew begins with it; a reload that changes another thing keeps it.
    signal(route.infer, Signal::KILL);
    scratch.wait("infer", ", 2 paused");
    scratch.model("better");
    daemon.signal(Signal::HUP);
    scratch.wait("infer", ", 2 paused");
    scratch.camera("stage", "decode = \"all\"");
    daemon.signal(Signal::HUP);
    assert!(scratch.wait("ingest", "set 1 stage").ends_with("paused"));

    // Removed and made again by signals; one that is given to a room by mistake does no harm.
    daemon.signal(Signal::USR2);
    daemon.says("the pause is over");
    assert!(!file.exists());
    signal(route.publish, Signal::USR1);
    daemon.signal(Signal::USR1);
    daemon.says("paused by the file");
    assert_eq!(fs::read(&file).unwrap(), b"");
    let said = daemon.stop();
    assert!(!said.contains("room=publish ended by itself"), "{said}");

    // A daemon that starts beside the file starts paused.
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

/// What the service manager hears, in order.
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

    /// The next word that is not a status.
    #[track_caller]
    fn as_str(&self) -> String {
        loop {
            let word = self.next().unwrap();
            if !word.starts_with("STATUS=") {
                return word;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_ready_watchdog_reloading_and_stopping() {
    let mut scratch = Scratch::new("good");
    let (manager, path) = Manager::listen(&scratch);
    // A third of 300 ms passes between two words.
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "300000")];
    let daemon = Daemon::start_with(&scratch, 1, &environment);
    assert_eq!(manager.as_str(), "READY=1");
    assert_eq!(manager.as_str(), "WATCHDOG=1");
    assert_eq!(manager.as_str(), "WATCHDOG=1");
    daemon.signal(Signal::HUP);
    let reloading = loop {
        let word = manager.as_str();
        if word != "WATCHDOG=1" {
            break word;
        }
    };
    let since_us: i64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((0..10_000_000).contains(&(SystemClock.now().0 / 1000 - since_us)), "{reloading}");
    assert_eq!(manager.as_str(), "READY=1");
    scratch.flow(|_| true);
    daemon.stop();
    manager.0.set_nonblocking(true).unwrap();
    let last: Vec<_> = std::iter::from_fn(|| manager.next().ok()).filter(|it| !it.starts_with("STATUS=")).collect();
    let (stopping, watchdogs) = last.split_last().unwrap();
    assert_eq!(stopping, "STOPPING=1");
    assert!(watchdogs.iter().all(|it| it == "WATCHDOG=1"), "{last:?}");
}

#[test]
fn without_slots_there_is_no_watchdog() {
    let mut scratch = Scratch::new("useless");
    let (manager, path) = Manager::listen(&scratch);
    let environment = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "30000")];
    let daemon = Daemon::start_with(&scratch, 1, &environment);
    assert_eq!(manager.as_str(), "READY=1");
    let status = manager.next().unwrap();
    assert_eq!(status, "STATUS=2 cameras, 0 slots");
    scratch.flow(|_| true);
    daemon.stop();
    assert_eq!(manager.as_str(), "STOPPING=1");
}

#[track_caller]
fn assert_ended(pid: Pid) {
    let gone = rustix::process::test_kill_process(pid).is_err();
    assert!(gone, "{pid:?} is still there");
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
        if seeing.get() < 5 { supervisor::Flow::Continue } else { supervisor::Flow::Enough }
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
fn what_is_asked_of_a_dry_run_reaches_its_rooms_before_it_stops() {
    let mut scratch = Scratch::new("good");
    let (config, model) = load(&scratch.cameras()).unwrap();
    let (_sender, signals) = crossbeam_channel::bounded(1);
    let (asking, asks) = crossbeam_channel::bounded(3);
    let mut asking = Some(asking);
    // With the first record all is asked at once; then nobody is left who could ask, which is a wish to stop, too.
    let take = move |_| {
        let asked = [DryRunRequest::Clap(CameraId(0)), DryRunRequest::EndClapTest(CameraId(0))];
        asking.take().into_iter().for_each(|it| asked.iter().for_each(|ask| it.send(*ask).unwrap()));
        supervisor::Flow::Continue
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
    let (clap, end) = ("hears Clap(CameraId(0))", "hears EndClapTest(CameraId(0))");
    scratch.wait_all(&[("ingest", clap), ("ingest", end), ("infer", clap), ("infer", end)]);
}
