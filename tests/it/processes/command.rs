//! The real command: exit codes, output and log, and the daemon with nothing to connect to.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use edge_ger::time::{Clock as _, Span, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::it::harness::daemon::{ONNX_RUNTIME, run};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/good.onnx");

/// The configuration of a box whose camera and broker are closed ports.
fn absent() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let text = format!(
        "[camera]\nurl = \"rtsp://127.0.0.1:1/stream\"\n[box]\nname = \"absent\"\nstate_dir = \"{at}/state\"\n\
         [site]\ncontext = \"research\"\nnotice = \"none\"\n[model]\nfile = \"{MODEL}\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n"
    );
    fs::write(folder.path().join("hall.toml"), text).unwrap();
    folder
}

#[test]
fn each_mistake_has_its_exit_code_and_its_message() {
    let folder = absent();
    let good = folder.path().join("hall.toml").display().to_string();
    let broken = folder.path().join("broken.toml");
    fs::write(&broken, "[camera]\nurl = \"http://x\"\n[mqqt]\nhost = 3\n").unwrap();
    let broken = broken.display().to_string();
    let foreign = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/no-contract.onnx");
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let (found, out, err) = run(arguments);
        assert_eq!(found, code, "{arguments:?}\n{out}{err}");
        for words in words {
            let said = if code == 0 { &out } else { &err };
            assert!(said.contains(words), "{arguments:?} does not say {words:?}:\n{out}{err}");
        }
        assert!(code == 0 || out.is_empty(), "{arguments:?}: faults belong to standard error:\n{out}");
        assert!(!err.contains("panic"), "{err}");
    };
    check(&[], 64, &["edge-ger CAMERA.toml", "--help"]);
    check(&["--verbose", &good], 64, &["--verbose"]);
    check(&["--slots", "3", &good], 64, &["--dry-run"]);
    check(&["process", "infer"], 64, &["`edge-ger process` is started by edge-ger itself"]);
    check(&["process", "kitchen"], 64, &["kitchen", "ingest, infer and publish"]);
    check(&["nowhere.toml"], 78, &["nowhere.toml"]);
    check(&["check", &broken], 78, &["broken.toml:2: ", "broken.toml:3: "]);
    check(&[&broken], 78, &["broken.toml:2: ", "broken.toml:3: "]);
    check(&["check", &good], 0, &["box absent", "camera hall"]);
    check(&["model", "inspect", MODEL], 0, &["sha256"]);
    check(&["model", "inspect", foreign], 78, &["no-contract.onnx"]);
    check(&["model", "verify", MODEL], 0, &["golden case right on cpu"]);
    check(&["model", "verify", "nowhere.onnx"], 78, &["nowhere.onnx"]);
    check(&["--help"], 0, &["--dry-run", "CAMERA.toml"]);
    check(&["--version"], 0, &[concat!("edge-ger ", env!("CARGO_PKG_VERSION")), "GStreamer 1.", "ORT Build Info"]);
    let help = run(&["--help"]).1;
    for hidden in ["process", "model-facts"] {
        assert!(!help.contains(hidden), "{hidden} is offered:\n{help}");
    }
}

#[test]
fn a_box_is_paused_and_resumed_in_spite_of_faults_in_other_keys() {
    let folder = absent();
    let (good, state) = (folder.path().join("hall.toml"), folder.path().join("state"));
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let (found, out, err) = run(arguments);
        assert_eq!(found, code, "{arguments:?}\n{out}{err}");
        words.iter().for_each(|word| assert!((out.clone() + &err).contains(word), "no {word:?}:\n{out}{err}"));
    };
    let files = good.to_str().unwrap();
    check(&["pause", files], 70, &["/state/paused cannot be made", "let edge-ger run once"]);
    fs::create_dir(&state).unwrap();
    check(&["pause", files], 0, &["paused until edge-ger resume: ", "/state/paused\n", "no edge-ger runs"]);
    assert_eq!(fs::read(state.join("paused")).unwrap(), b"");
    check(&["pause", "--for", "90m", files], 0, &["paused until 20"]);
    // Faults in other keys.
    let text = fs::read_to_string(&good).unwrap().replace("[mqtt]", "[mqtt]\ntls = 5\n[mqqt]").replace("rtsp:", "ftp:");
    fs::write(&good, text).unwrap();
    check(&["check", files], 78, &["mqtt.tls", "mqqt"]);
    check(&["resume", files], 0, &["resumed: removed "]);
    assert!(!state.join("paused").exists());
    check(&["resume", files], 0, &["was not paused"]);
    // A fault in a key that the pause needs.
    let text = fs::read_to_string(&good).unwrap().replace("state_dir = ", "state_dir = 3 # ");
    fs::write(&good, text).unwrap();
    check(&["pause", files], 78, &["box.state_dir"]);
    check(&["pause", "--file", state.join("paused").to_str().unwrap()], 0, &["/state/paused"]);
}

#[test]
fn a_closed_standard_output_is_no_error() {
    for arguments in [&["--help"][..], &["--version"], &["model", "inspect", MODEL]] {
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        let mut command = Command::new(crate::it::harness::daemon::binary());
        let output = command.args(arguments).stdout(writes).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn the_journal_gets_levels_and_a_file_gets_dates() {
    let said = |journal: bool| {
        let (mut reads, writes) = std::io::pipe().unwrap();
        let about = rustix::fs::fstat(&writes).unwrap();
        let stream = if journal { format!("{}:{}", about.st_dev, about.st_ino) } else { "1:2".into() };
        let mut command = Command::new(crate::it::harness::daemon::binary());
        command.args(["nowhere.toml"]).env("EDGE_GER_LOG", "not=a=filter").env("JOURNAL_STREAM", stream);
        let status = command.stderr(writes).spawn().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(78));
        drop(command);
        let mut said = String::new();
        reads.read_to_string(&mut said).unwrap();
        said
    };
    let journal = said(true);
    let mut lines = journal.lines();
    assert!(lines.next().unwrap().starts_with("<4>EDGE_GER_LOG is not understood"), "{journal}");
    assert!(lines.clone().count() > 0 && lines.all(|line| line.starts_with("<3>")), "{journal}");
    let file = said(false);
    assert!(file.lines().next().unwrap().starts_with("20") && file.contains(" WARN  EDGE_GER_LOG"), "{file}");
}

struct Daemon(Child, BufReader<std::process::ChildStderr>);

impl Daemon {
    fn start(arguments: &[&str], folder: &TempDir) -> Self {
        let mut command = Command::new(crate::it::harness::daemon::binary());
        command.args(arguments).arg(folder.path().join("hall.toml")).env("ORT_DYLIB_PATH", ONNX_RUNTIME);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self(child, log)
    }

    /// Reads the log up to a line with these words.
    #[track_caller]
    fn says(&mut self, words: &str) {
        let mut said = String::new();
        while 0 < self.1.read_line(&mut said).unwrap() {
            if said.lines().last().is_some_and(|line| line.contains(words)) {
                return;
            }
        }
        panic!("did not say {words:?}:\n{said}");
    }

    fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.1.read_to_string(&mut rest).unwrap();
        let mut out = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (self.0.wait().unwrap().code().unwrap(), out + &rest)
    }
}

#[test]
fn the_daemon_runs_without_camera_and_broker() {
    let folder = absent();
    let mut daemon = Daemon::start(&[], &folder);
    daemon.says("sandbox: no sockets");
    daemon.says("ready: network");

    let (code, said) = Daemon::start(&[], &folder).end();
    assert_eq!(code, 75, "{said}");
    assert!(said.contains(&daemon.0.id().to_string()), "{said}");
    let state = fs::metadata(folder.path().join("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o700);

    let asked = SystemClock.now();
    kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
    let (code, said) = daemon.end();
    let took = SystemClock.now() - asked;
    assert_eq!(code, 0, "{said}");
    assert!(took.to_duration() < Duration::from_secs(2), "took {took}:\n{said}");
    assert!(said.contains("stopped") && !said.contains("killed"), "{said}");
}

#[test]
fn a_dry_run_reports_a_missing_camera_and_ends() {
    let folder = absent();
    let began = SystemClock.now();
    let (code, said) = Daemon::start(&["--dry-run", "--slots", "2"], &folder).end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("withheld") && said.contains("nothing was published"), "{said}");
    assert!(said.contains("fail     connection        unreachable"), "{said}");
    assert!(SystemClock.now() - began < Span::from_ms(60_000));
    assert!(!folder.path().join("state").exists(), "a dry run keeps nothing");
}
