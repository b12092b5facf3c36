//! The dry run on real cameras: what it says, what it leaves behind, and that it is nothing but numbers and words.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use gstreamer::{self as gst, prelude::*};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;
use crate::it::harness::{
    broker::free_port,
    browser::Browser,
    camera::{Auth, Sound},
    daemon::{ONNX_RUNTIME, process, run},
};
use crate::it::probe::Recording;

/// What stands in a configuration and must stand in nothing that a dry run says.
const CANARIES: [&str; 4] = ["canary-4711", "canary-viewer", "canary-notice", "canary-broker"];

/// A camera's file with a canary in all that belongs to nobody else.
fn with_canaries(camera: &str, broker: u16) -> String {
    let camera = format!("{camera}\nuser = \"canary-viewer\"\npassword_file = \"../password\"");
    let text = file(&camera, "user = \"canary-broker\"\n[sound]\nsource = \"camera\"", broker);
    text.replace("a test", "canary-notice").replace("[reading]", "# By the door.\n[reading]")
}

fn site(text: &str, password: &str) -> TempDir {
    let folder = folder(&[("hall.toml", text)]);
    fs::write(folder.path().join("password"), password).unwrap();
    folder
}

/// The JSON lines that were said, of this kind.
fn lines(said: &str, kind: &str) -> Vec<Value> {
    let all = said.lines().filter(|it| it.starts_with('{')).map(|it| serde_json::from_str::<Value>(it).unwrap());
    all.filter(|it| it["kind"] == kind).collect()
}

/// The kinds of lines and their keys, as `docs/install.md` has them.
fn documented() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(repository("docs/install.md")).unwrap();
    let table = page.split("| kind | when | keys").nth(1).unwrap().split("\n\n").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split(" | ").collect();
        let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let mut keys = words(cells[2]);
        keys.sort_unstable();
        (words(cells[0])[0].clone(), keys)
    };
    table.lines().filter(|it| it.starts_with("| `")).map(row).collect()
}

/// The verdict at the end.
#[track_caller]
fn verdict(said: &str, camera: &str, item: &str) -> Value {
    let mut last = lines(said, "verdict").into_iter().filter(|it| it["final"] == true && it["camera"] == camera);
    last.find(|it| it["item"] == item).unwrap_or_else(|| panic!("no verdict on {item} of {camera}:\n{said}"))
}

#[test]
fn the_cameras_of_a_folder_leave_lines_a_report_and_patches() {
    let hall = moving().sound(Sound::Aac).login(Auth::Digest, "canary-viewer", "canary-4711").start();
    let yard = moving().login(Auth::Basic, "canary-viewer", "another").start();
    let broker = free_port();
    let texts = [&hall, &yard].map(|it| with_canaries(&of(it), broker));
    let folder = folder(&[("hall.toml", &texts[0]), ("yard.toml", &texts[1])]);
    fs::write(folder.path().join("password"), "canary-4711\n").unwrap();
    let (report, patch) = (folder.path().join("site.html"), folder.path().join("new"));
    let (report_name, patch_name) = (report.to_str().unwrap().to_owned(), patch.to_str().unwrap().to_owned());
    let arguments = ["--dry-run", "--json", "--baseline", "15", "--report", &report_name, "--patch", &patch_name];
    let mut daemon = Daemon::start(folder, &arguments, &[]);
    assert_eq!(daemon.wait_exit(3 * DEADLINE), 1, "{}", daemon.said());
    let said = daemon.said();
    assert!(!said.contains("is gone"), "what ends in its order surprises nobody:\n{said}");
    says_what_is_documented(&said);
    for item in ["connection", "loss", "codec", "key_frames", "light", "contrast", "movement", "sound", "inference"] {
        assert_eq!(verdict(&said, "hall", item)["verdict"], "pass", "{}", verdict(&said, "hall", item));
    }
    assert_eq!(verdict(&said, "hall", "codec")["value"], "H.264");
    assert_eq!(verdict(&said, "hall", "sync")["verdict"], "unknown", "nobody clapped");
    let connection = verdict(&said, "yard", "connection");
    assert_eq!(connection["verdict"], "fail", "{connection}");
    assert!(connection["value"].as_str().unwrap().starts_with("unauthorised"), "{connection}");

    // Noise is bright and moves: half of its light and a quarter of its motion are above what is ever set.
    for (key, value) in [("luma_min", 40.0), ("motion_min", 0.5)] {
        let settings = lines(&said, "setting");
        let setting = settings.iter().find(|it| it["key"] == format!("gates.{key}"));
        let setting = setting.unwrap_or_else(|| panic!("no {key} in {settings:?} but {:?}", lines(&said, "kept")));
        assert_eq!((&setting["camera"], setting["value"].as_f64()), (&"hall".into(), Some(value)), "{setting}");
    }
    let (code, _, fault) = run(&["check", &patch_name]);
    assert_eq!(code, 0, "{fault}");
    let patched = ["hall.toml", "yard.toml"].map(|it| fs::read_to_string(patch.join(it)).unwrap());
    assert!(patched[0].contains("# By the door.\n[reading]"), "{}", patched[0]);
    for line in ["\nluma_min = 40.0\n", "\nmotion_min = 0.5\n"] {
        assert!(patched[0].contains(line) && !patched[1].contains(line), "{patched:?}");
    }
    assert!(!patched[1].contains("[gates]"), "{}", patched[1]);

    let html = fs::read_to_string(&report).unwrap();
    for words in
        ["Camera hall", "Camera yard", "Nothing was published", "<polyline", "Baseline of the place", "luma_min"]
    {
        assert!(html.contains(words), "no {words:?} in the report");
    }
    numbers_and_words_only(&said, &html);
    looks_well(&report, &lines(&said, "end")[0]);
    // A newer report takes its place; a patch does not.
    let (code, _, said) = run(&["--dry-run", "--patch", &patch_name, daemon.folder.path().to_str().unwrap()]);
    assert_eq!((code, said.contains("exists already")), (64, true), "{said}");
}

/// Every kind of line that is documented came, with the keys that are documented and no other.
#[track_caller]
fn says_what_is_documented(said: &str) {
    let documented = documented();
    assert_eq!(documented.len(), 10, "{documented:?}");
    for (kind, keys) in documented {
        let lines = lines(said, &kind);
        assert!(!lines.is_empty(), "no {kind} in:\n{said}");
        for line in lines {
            let mut found: Vec<_> = line.as_object().unwrap().keys().filter(|it| *it != "kind").cloned().collect();
            found.sort_unstable();
            assert_eq!(found, keys, "{kind}");
        }
    }
    let (run, libraries) = (&lines(said, "run")[0], &lines(said, "libraries")[0]);
    assert_eq!(
        (&run["version"], &run["architecture"]),
        (&env!("CARGO_PKG_VERSION").into(), &std::env::consts::ARCH.into())
    );
    for version in [&libraries["gstreamer"], &libraries["onnx_runtime"]] {
        assert!(version.as_str().unwrap().starts_with("1."), "{libraries}");
    }
}

/// Opens a report as whoever was handed it does. Pictures of it are left for people to look at.
#[track_caller]
fn looks_well(report: &Path, end: &Value) {
    let mut browser = Browser::start();
    browser.assert_fits("report", |browser| {
        browser.open(&format!("file://{}", report.display()));
        let text = browser.wait_until("document.querySelector('footer p')");
        for words in ["Site report: box", "must be fixed", "ONNX Runtime\n1.", "Camera yard", "Settings found"] {
            assert!(text.contains(words), "no {words:?} in:\n{text}");
        }
    });
    // As many verdicts as the last line of the run says, and as its head says.
    for (grade, word) in [("fail", "fail"), ("warn", "warn"), ("pass", "pass"), ("unknown", "not measured")] {
        let rows = browser.evaluate(&format!("document.querySelectorAll('.verdicts tr.{grade}').length"));
        let head = format!("document.querySelector('header .pills').textContent.includes('{rows} {word}')");
        assert_eq!((&rows, browser.evaluate(&head)), (&end[grade], true.into()), "{grade}");
    }
    assert_eq!(browser.evaluate("performance.getEntriesByType('resource').length"), 0, "it needs nothing else");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

#[test]
fn claps_become_a_key_of_the_patch() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = scratch.path().join("claps.mkv");
    Recording::of_claps(180).write(&clip);
    let camera = Camera::builder().recording(clip).start();
    let folder = site(&file(&of(&camera), "[sound]\nsource = \"camera\"", free_port()), "");
    let patch = folder.path().join("cameras/new.toml").to_str().unwrap().to_owned();
    let mut daemon = Daemon::start(folder, &["--dry-run", "--json", "--clap", "--patch", &patch], &[]);
    daemon.wait_exit(3 * DEADLINE);
    let said = daemon.said();
    let found = lines(&said, "setting").into_iter().find(|it| it["key"] == "sync.offset_ms");
    let offset_ms = found.unwrap_or_else(|| panic!("no offset was found:\n{said}"))["value"].as_i64().unwrap();
    assert!((140..=220).contains(&offset_ms), "{offset_ms} ms");
    assert_eq!(verdict(&said, "hall", "sync")["verdict"], "warn", "it is not set yet");
    let told = lines(&said, "guide").iter().any(|it| it["say"].as_str().unwrap().starts_with("hall: accepted"));
    assert!(told, "what came of it is told when it comes:\n{said}");
    assert_eq!(run(&["check", &patch]).0, 0);
    assert!(fs::read_to_string(&patch).unwrap().contains(&format!("offset_ms = {offset_ms}\n")));
}

/// No canary anywhere, and no room for a picture: short words, and few of them.
#[track_caller]
fn numbers_and_words_only(said: &str, html: &str) {
    let said: String = said.lines().filter(|it| it.starts_with('{')).collect();
    for canary in CANARIES {
        assert!(!said.contains(canary) && !html.contains(canary), "{canary} was told");
    }
    let long =
        |text: &str| text.split(|it: char| !it.is_ascii_alphanumeric() && !"+/=".contains(it)).any(|it| 64 < it.len());
    assert!(!long(&said) && !long(html), "a word longer than a SHA-256");
    assert!(!html.contains("data:") && !html.contains("base64"));
    assert!(html.len() < 200_000, "{} bytes", html.len());
}

#[test]
fn a_wrong_password_fails_with_its_cure() {
    let camera = moving().login(Auth::Basic, "canary-viewer", "right").start();
    let folder = site(&with_canaries(&of(&camera), free_port()), "canary-4711\n");
    let report = folder.path().join("site.html").to_str().unwrap().to_owned();
    let mut daemon = Daemon::start(folder, &["--dry-run", "--json", "--slots", "5", "--report", &report], &[]);
    assert_eq!(daemon.wait_exit(DEADLINE), 1, "{}", daemon.said());
    let said = daemon.said();
    let connection = verdict(&said, "hall", "connection");
    assert_eq!(connection["verdict"], "fail", "{connection}");
    assert!(connection["value"].as_str().unwrap().starts_with("unauthorised"), "{connection}");
    assert!(connection["cure"].as_str().unwrap().contains("camera.password_file"), "{connection}");
    let html = fs::read_to_string(&report).unwrap();
    assert!(html.contains("One item must be fixed."), "{html}");
    numbers_and_words_only(&said, &html);
}

/// Somebody else who looks at a camera, over TCP.
struct Viewer(gst::Element);

impl Viewer {
    /// Returns once the first packet has come.
    fn of(camera: &Camera) -> Self {
        gst::init().unwrap();
        let chain = format!("rtspsrc location={} protocols=tcp ! fakesink num-buffers=1", camera.url());
        let pipeline = gst::parse::launch(&chain).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).unwrap();
        assert_eq!(end.type_(), gst::MessageType::Eos);
        Self(pipeline)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn blocked_udp_has_its_cure() {
    let camera = moving().start();
    // As behind a firewall: the camera, which shows its picture to somebody else, agrees to everything, and no packet of
    // it comes.
    let _other = Viewer::of(&camera);
    camera.stall();
    let text = file(&format!("{}\ntransport = \"udp\"", of(&camera)), "", free_port());
    let mut daemon = Daemon::start(site(&text, ""), &["--dry-run", "--json", "--slots", "14"], &[]);
    assert_eq!(daemon.wait_exit(DEADLINE), 1, "{}", daemon.said());
    let connection = verdict(&daemon.said(), "hall", "connection");
    assert!(connection["value"].as_str().unwrap().starts_with("stalled"), "{connection}");
    assert!(
        connection["cure"].as_str().unwrap().contains("a firewall may block the packets: use \"tcp\""),
        "{connection}"
    );
}

#[test]
fn ctrl_c_at_once_leaves_a_report() {
    let folder = site(&file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port()), "");
    let report = folder.path().join("site.html").to_str().unwrap().to_owned();
    let mut daemon = Daemon::start(folder, &["--dry-run", "--json", "--report", &report], &[]);
    daemon.wait_log("\"kind\":\"run\"", DEADLINE);
    daemon.signal(Signal::INT);
    let code = daemon.wait_exit(STOP);
    let said = daemon.said();
    let end = &lines(&said, "end")[0];
    assert_eq!(code, i32::from(0 < end["fail"].as_u64().unwrap()), "{said}");
    assert!(fs::read_to_string(&report).unwrap().ends_with("</html>\n"));
}

/// Stops `infer` where it stands, so that the end has to be waited for, or not.
fn hang(infer: Option<Pid>) -> Pid {
    let infer = infer.unwrap();
    kill_process(infer, Signal::STOP).unwrap();
    infer
}

fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid).is_err()
}

#[test]
fn a_second_ctrl_c_leaves_a_report_and_nobody_behind() {
    let folder = site(&file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port()), "");
    let report = folder.path().join("site.html").to_str().unwrap().to_owned();
    let mut daemon = Daemon::start(folder, &["--dry-run", "--json", "--report", &report], &[]);
    daemon.wait_log("\"kind\":\"survey\"", DEADLINE);
    let infer = hang(daemon.process("infer"));
    daemon.signal(Signal::INT);
    wait_for("the first to be heard", || daemon.process("ingest").is_none());
    daemon.signal(Signal::INT);
    daemon.wait_exit(STOP);
    let said = daemon.said();
    assert!(is_gone(infer), "{said}");
    assert_eq!(lines(&said, "end").len(), 1, "{said}");
    assert!(fs::read_to_string(&report).unwrap().ends_with("</html>\n"));
}

#[test]
fn somebody_elses_file_is_not_taken() {
    let folder = site(&file("url = \"rtsp://127.0.0.1:1/none\"", "", free_port()), "");
    let (cameras, page) = (folder.path().join("cameras"), folder.path().join("page.html"));
    fs::write(&page, "<!DOCTYPE html>\n<title>mine</title>").unwrap();
    let refused = |option: &str, path: &Path, words: &str| {
        let (code, _, said) = run(&["--dry-run", option, path.to_str().unwrap(), cameras.to_str().unwrap()]);
        assert_eq!((code, said.contains(words)), (64, true), "{said}");
    };
    refused("--report", &page, "is no report of edge-ger");
    refused("--report", &folder.path().join("none/page.html"), "no such folder");
    refused("--patch", &cameras.join("hall.toml"), "exists already");
    assert!(fs::read_to_string(&page).unwrap().ends_with("mine</title>"));
}

/// A dry run on a terminal of `script(1)`.
struct OnTerminal {
    folder: TempDir,
    script: Child,
}

impl OnTerminal {
    /// Starts it, with what `stty` says of the terminal before and after. Every line of the log has a line there.
    fn start(folder: TempDir, arguments: &str) -> Self {
        let at = folder.path().display();
        let program = crate::it::harness::daemon::binary();
        let command = format!(
            "trap : INT; stty rows 60 cols 150; stty -a > {at}/before; \
             sh -c 'echo $$ > {at}/pid.new; mv {at}/pid.new {at}/pid; exec {program} --dry-run {arguments} {at}/cameras'; \
             stty -a > {at}/after.new; mv {at}/after.new {at}/after"
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &command]).arg(folder.path().join("screen"));
        script.env("TERM", "xterm").env("ORT_DYLIB_PATH", ONNX_RUNTIME);
        let script = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        Self { folder, script }
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(name)).unwrap_or_default()).into_owned()
    }

    /// Waits for words on the screen. Of what changes, only the signs are sent that differ from what stood there, so
    /// these must stand where nothing was.
    #[track_caller]
    fn shows(&self, words: &str) {
        wait_for(words, || self.text("screen").contains(words));
    }

    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end. The terminal is as it was before; returns what was shown in the view, and below it.
    #[track_caller]
    fn end(&mut self) -> (String, String) {
        wait_for("the end", || self.folder.path().join("after").exists());
        // Only then has `script` written all of the screen.
        wait_for("the screen", || self.script.try_wait().unwrap().is_some());
        assert_eq!(self.text("before"), self.text("after"));
        let screen = self.text("screen");
        let (view, rest) = screen.split_once("\x1b[?1049l").unwrap();
        let (_, view) = view.split_once("\x1b[?1049h").unwrap();
        (view.to_owned(), rest.to_owned())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_found() {
    let folder = site(&file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port()), "");
    let report = folder.path().join("site.html");
    let mut terminal = OnTerminal::start(folder, &format!("--report {}", report.display()));
    terminal.shows("sockets");
    let pid = terminal.text("pid").trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let (view, rest) = terminal.end();
    // The log does not tear the view with lines of its own; it stands below it, whole, before the report.
    assert!(!view.contains("no core dumps\r\n"), "{view}");
    let logged = rest.find("sandbox: no sockets").unwrap_or_else(|| panic!("the log is lost:\n{rest}"));
    let reported = rest.find("nothing was published").unwrap_or_else(|| panic!("no report:\n{rest}"));
    assert!(logged < reported, "{rest}");
    // Lines of the parent and of its processes have the same form.
    for words in ["sandbox: no sockets", "the report is in"] {
        let line = rest.lines().find(|it| it.contains(words)).unwrap_or_else(|| panic!("no {words:?} in:\n{rest}"));
        // The first of them follows the cursor, which is shown again.
        let (time, _) = line.trim_start_matches("\x1b[?25h").split_once("Z ").unwrap();
        let digits = time.split([':', '.']).map(str::len);
        assert_eq!(digits.collect::<Vec<_>>(), [2, 2, 2, 3], "{line}");
    }
    assert!(fs::read_to_string(&report).unwrap().ends_with("</html>\n"));
}

/// The first is a key of the view, the second a signal of the terminal that was given back.
#[test]
fn ctrl_c_pressed_twice_leaves_the_terminal_and_a_report() {
    let folder = site(&file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port()), "");
    let report = folder.path().join("site.html");
    let mut terminal = OnTerminal::start(folder, &format!("--report {}", report.display()));
    terminal.shows("process=infer");
    let parent = Pid::from_raw(terminal.text("pid").trim().parse().unwrap()).unwrap();
    let infer = hang(process(parent, "infer"));
    terminal.press("\x03");
    // The log follows on the terminal that was given back: from then on Ctrl-C is a signal.
    wait_for("the first to be heard", || terminal.text("screen").contains("\x1b[?1049l"));
    terminal.shows("sandbox: no sockets");
    terminal.press("\x03");
    let (_, rest) = terminal.end();
    assert!(rest.contains("nothing was published") && is_gone(infer), "{rest}");
    assert!(fs::read_to_string(&report).unwrap().ends_with("</html>\n"));
}

#[test]
fn masks_are_drawn_on_a_terminal() {
    let folder = site(&file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port()), "");
    let patch = folder.path().join("cameras/new.toml");
    let mut terminal = OnTerminal::start(folder, &format!("--patch {}", patch.display()));
    terminal.shows("sockets");
    // Two cells to the right and one of them down, then the end.
    terminal.press("m \x1b[C \x1b[B \rq");
    let (_, rest) = terminal.end();
    assert!(rest.contains("masks = [[[0.0, 0.0], [0.125, 0.0]"), "{rest}");
    assert_eq!(run(&["check", patch.to_str().unwrap()]).0, 0);
    let patched = fs::read_to_string(&patch).unwrap();
    assert!(patched.contains("[[0.0625, 0.1111], [0.125, 0.1111], [0.125, 0.2222], [0.0625, 0.2222]]"), "{patched}");
}

/// Looks again and again, until a deadline.
#[track_caller]
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    while !is_there() {
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        never.recv_timeout(Duration::from_millis(20)).unwrap_err();
    }
}
