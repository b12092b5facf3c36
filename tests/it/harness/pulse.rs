//! A private PulseAudio with a null sink as the microphone.
//!
//! Its clients find it through `PULSE_SERVER`, which a test cannot set for its own process, where other tests run.
//! A daemon under test gets it with its other arguments; a test that opens a microphone itself runs in a process of
//! its own: [`Pulse::in_own_process`].

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::let_underscore_must_use,
    clippy::unwrap_used,
    reason = "a harness offers more than each test needs, and ends the test where it fails"
)]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crossbeam_channel::bounded;

/// The name of the source that a test should open.
pub(crate) const MICROPHONE: &str = "pulseaudio:mic.monitor";
const DEADLINE: Duration = Duration::from_secs(20);
const TEST_DEADLINE: Duration = Duration::from_secs(120);
/// Tells the process of a test where its PulseAudio is.
const DIR_VARIABLE: &str = "EDGE_GER_TEST_PULSE";

/// A running PulseAudio.
pub(crate) struct Pulse {
    dir: PathBuf,
    daemon: Option<(Child, tempfile::TempDir)>,
}

/// Sound that is being played; its drop ends it.
pub(crate) struct Playing(Child);

impl Pulse {
    /// Starts a PulseAudio with a plugged-in microphone of 48 kHz, and waits until it answers.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().to_owned();
        let protocol = format!("module-native-protocol-unix auth-anonymous=1 socket={}", socket(&dir).display());
        let mut daemon = Command::new("pulseaudio")
            .args(["--daemonize=no", "--use-pid-file=no", "-n", "--exit-idle-time=-1", "--disable-shm=yes"])
            .args(["--realtime=no", "--high-priority=no", "--log-target=stderr", "--log-level=info"])
            .args(["-L", &protocol, "-L", null_sink("mic", 48_000).as_str()])
            .env("HOME", &dir)
            .env("XDG_RUNTIME_DIR", &dir)
            .env("PULSE_RUNTIME_PATH", &dir)
            .env("PULSE_STATE_PATH", &dir)
            .env("LC_ALL", "C")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("pulseaudio is installed");
        let log = BufReader::new(daemon.stderr.take().unwrap());
        let (ready, is_ready) = bounded(1);
        // The log is read to its end, so that the daemon never waits for a reader.
        let reader = move || {
            log.lines().map_while(Result::ok).for_each(|line| {
                if line.contains("Daemon startup complete") {
                    let _ = ready.try_send(());
                }
            })
        };
        thread::Builder::new().name("pulse-log".into()).spawn(reader).unwrap();
        is_ready.recv_timeout(DEADLINE).expect("PulseAudio starts");
        Self { dir, daemon: Some((daemon, home)) }
    }

    /// Runs `body` against a PulseAudio in a process of its own, in which cpal finds it. `test` is the full name of
    /// the test that calls this, and calls nothing else.
    #[track_caller]
    pub(crate) fn in_own_process(test: &str, body: impl FnOnce(&Self)) {
        if let Some(dir) = env::var_os(DIR_VARIABLE) {
            return body(&Self { dir: dir.into(), daemon: None });
        }
        let pulse = Self::start();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env("PULSE_SERVER", pulse.address())
            .env(DIR_VARIABLE, &pulse.dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (ended, has_ended) = bounded(2);
        let read = |mut pipe: Box<dyn Read + Send>| {
            let ended = ended.clone();
            let reader = move || {
                let mut text = String::new();
                let _ = pipe.read_to_string(&mut text);
                let _ = ended.send(text);
            };
            thread::Builder::new().name("test-output".into()).spawn(reader).unwrap();
        };
        read(Box::new(out));
        read(Box::new(err));
        let texts: Vec<_> = (0..2).map_while(|_| has_ended.recv_timeout(TEST_DEADLINE).ok()).collect();
        if texts.len() < 2 {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let text = texts.join("\n");
        assert!(status.success(), "{test} in its own process: {status}\n{text}");
        assert!(text.contains("1 passed"), "there is no test {test}:\n{text}");
    }

    /// The value of `PULSE_SERVER` for clients.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", socket(&self.dir).display())
    }

    /// Plays mono samples of 48 kHz, -1 to 1, into the microphone.
    pub(crate) fn play(&self, samples: &[f32]) -> Playing {
        let file = self.dir.join(format!("{}.raw", fastrand::u64(..)));
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        std::fs::write(&file, bytes).unwrap();
        let player = Command::new("pacat")
            .args(["--playback", "--raw", "--format=float32le", "--rate=48000", "--channels=1", "--device=mic"])
            .arg("--latency-msec=50")
            .arg(file)
            .env("PULSE_SERVER", self.address())
            .spawn();
        Playing(player.expect("pulseaudio-utils is installed"))
    }

    /// Plays a sine of this frequency and amplitude for a minute.
    pub(crate) fn play_sine(&self, hz: f32, amplitude: f32) -> Playing {
        let sample = |at: u32| {
            let turns = f64::from(at) / 48_000.0 * f64::from(hz);
            (f64::from(amplitude) * (turns * std::f64::consts::TAU).sin()) as f32
        };
        self.play(&(0..48_000 * 60).map(sample).collect::<Vec<_>>())
    }

    /// Takes the microphone away.
    pub(crate) fn unplug(&self) {
        let modules = self.pactl(&["list", "short", "modules"]);
        let index = modules.lines().find(|line| line.contains("sink_name=mic")).expect("it is plugged in");
        self.pactl(&["unload-module", index.split('\t').next().unwrap()]);
    }

    /// Plugs in a microphone of the same name, which may have another rate.
    pub(crate) fn replug(&self, rate_hz: u32) {
        self.plug("mic", rate_hz);
    }

    /// Plugs in a microphone of another name.
    pub(crate) fn plug(&self, name: &str, rate_hz: u32) {
        let module = null_sink(name, rate_hz);
        self.pactl(&["load-module"].into_iter().chain(module.split(' ')).collect::<Vec<_>>());
    }

    /// Who records from a microphone now, a line each.
    pub(crate) fn readers(&self) -> Vec<String> {
        self.pactl(&["list", "short", "source-outputs"]).lines().map(str::to_owned).collect()
    }

    fn pactl(&self, arguments: &[&str]) -> String {
        let done = Command::new("pactl").args(arguments).env("PULSE_SERVER", self.address()).output().unwrap();
        assert!(done.status.success(), "pactl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if let Some((daemon, _)) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("native")
}

fn null_sink(name: &str, rate_hz: u32) -> String {
    format!("module-null-sink sink_name={name} rate={rate_hz} channels=2")
}
