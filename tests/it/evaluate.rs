//! `edge-ger evaluate`: the real command on clips that ffmpeg cuts from the demo's own, with the shipped network.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper outside #[test] is not covered by allow-unwrap-in-tests"
)]

use std::{env, fs, net::UdpSocket, os::unix::net::UnixDatagram, path::Path, process::Command, sync::Arc};

use edge_ger::{
    config::ProviderChoice,
    evaluate::{self, Task},
    sandbox::{Profile, enter},
    time::SystemClock,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::it::harness::daemon::{MODEL, ONNX_RUNTIME, repository, run};

/// Cuts and converts the demo's clip. `arguments` stand before the output's name.
fn cut(folder: &Path, name: &str, arguments: &str) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-y", "-i"]).arg(repository("demo/group.mp4"));
    let done = command.args(arguments.split_whitespace()).arg(folder.join(name)).output().unwrap();
    assert!(done.status.success(), "{name}: {done:?}");
}

/// A folder with a labels file.
fn folder(labels: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("labels.csv"), labels).unwrap();
    folder
}

/// Runs `evaluate` on the folder: exit code, standard output, standard error.
fn evaluate(folder: &TempDir, model: &str, options: &[&str]) -> (i32, String, String) {
    let clips = folder.path().display().to_string();
    let labels = folder.path().join("labels.csv").display().to_string();
    run(&[&["evaluate", model, &clips, &labels], options].concat())
}

/// The columns of each row of the predictions, after the header.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn one_clip_in_many_coats_gets_one_answer() {
    let labels = "clip,label,note\nplain.mp4,neutral,x\nmjpeg.avi,Neutral,x\nh265.mkv,NEUTRAL,x\nbframes.ts,neutral,x\n\
                  mute.mp4,neutral,x\nsilent.mp4,neutral,x\nlarge.mp4,neutral,x\nheard.mkv,neutral,x\n";
    let folder = folder(labels);
    let clips = folder.path();
    let five = "-t 5.2 -c:v libx264 -crf 12 -pix_fmt yuv420p";
    cut(clips, "plain.mp4", &format!("{five} -bf 0 -c:a aac -b:a 192k"));
    cut(clips, "mjpeg.avi", "-t 5.2 -c:v mjpeg -q:v 2 -c:a pcm_s16le -ar 44100");
    cut(
        clips,
        "h265.mkv",
        "-t 5.2 -c:v libx265 -crf 12 -x265-params log-level=error -pix_fmt yuv420p -c:a libopus -b:a 128k",
    );
    cut(clips, "bframes.ts", &format!("{five} -bf 3 -g 250 -c:a aac -b:a 192k -ac 2 -ar 48000"));
    cut(clips, "mute.mp4", &format!("{five} -an"));
    cut(clips, "silent.mp4", &format!("{five} -af volume=0 -c:a pcm_alaw -ar 8000 -f mov"));
    cut(
        clips,
        "large.mp4",
        "-t 5.2 -vf scale=1920:1080 -c:v libx264 -preset ultrafast -crf 12 -pix_fmt yuv420p -c:a aac -b:a 192k",
    );
    cut(clips, "heard.mkv", "-t 5.2 -vn -c:a aac -b:a 192k");
    let answers = clips.join("answers.csv");
    let (code, out, err) = evaluate(&folder, MODEL, &["--predictions", answers.to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    let text = fs::read_to_string(&answers).unwrap();
    assert!(
        text.starts_with("clip,truth,predicted,p_positive,p_neutral,p_negative,senses\nplain.mp4,neutral,"),
        "{text}"
    );
    let rows = rows(&text);
    let senses: Vec<_> = rows.iter().map(|row| &row[6][..]).collect();
    assert_eq!(senses, ["both", "both", "both", "both", "picture", "picture", "both", "sound"]);
    let chances = |row: usize| -> Vec<f64> {
        let written = &rows[row][3..6];
        assert!(
            written.iter().all(|chance| chance.split_once('.').is_some_and(|(_, decimals)| decimals.len() == 6)),
            "{written:?}"
        );
        written.iter().map(|chance| chance.parse().unwrap()).collect()
    };
    let alike = |one: usize, other: usize, within: f64| {
        let differences = chances(one).into_iter().zip(chances(other)).map(|(one, other)| (one - other).abs());
        let worst = differences.fold(0.0, f64::max);
        assert!(worst < within, "{} and {} differ by {worst}:\n{text}", rows[one][0], rows[other][0]);
        assert_eq!(rows[one][2], rows[other][2]);
    };
    // What differs is what another encoder leaves of pictures and sound.
    [1, 2, 3, 6].into_iter().for_each(|other| alike(0, other, 0.1));
    alike(4, 5, 1e-6);
    for row in 0..rows.len() {
        assert!((chances(row).iter().sum::<f64>() - 1.0).abs() < 3e-6);
    }
    let right = rows.iter().filter(|row| row[1] == row[2]).count();
    let share = format!("{:.3} [", right as f64 / 8.0);
    let accuracy = out.lines().find(|line| line.starts_with("accuracy")).unwrap();
    assert!(accuracy.contains(&share), "{accuracy}, {right} right:\n{text}");
    assert!(out.contains("8: 0 positive, 8 neutral, 0 negative; 8 answered"), "{out}");
}

#[test]
fn what_cannot_be_decoded_is_named_and_counted() {
    let folder = folder(
        "clip,label\ngood.mp4,positive\ntext.mp4,neutral\nno-index.mp4,neutral\ncut.ts,negative\nshort.mp4,negative\nvorbis.webm,neutral\n",
    );
    let clips = folder.path();
    let coded = "-c:v libx264 -crf 20 -pix_fmt yuv420p -c:a aac";
    cut(clips, "good.mp4", &format!("-t 5.2 {coded}"));
    cut(clips, "cut.ts", &format!("-t 5.2 {coded}"));
    cut(clips, "short.mp4", &format!("-t 2 {coded}"));
    cut(clips, "vorbis.webm", "-t 5 -vn -c:a libvorbis");
    fs::write(clips.join("text.mp4"), "a letter to my aunt").unwrap();
    let whole = fs::read(clips.join("good.mp4")).unwrap();
    fs::write(clips.join("no-index.mp4"), &whole[..whole.len() / 2]).unwrap();
    let whole = fs::read(clips.join("cut.ts")).unwrap();
    fs::write(clips.join("cut.ts"), &whole[..whole.len() * 3 / 5]).unwrap();
    let answers = clips.join("answers.csv");
    let (code, out, err) = evaluate(&folder, MODEL, &["--json", "--predictions", answers.to_str().unwrap()]);
    assert_eq!(code, 1, "{out}{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let failed = told["undecodable"].as_array().unwrap();
    let named: Vec<_> = failed.iter().map(|clip| clip["clip"].as_str().unwrap()).collect();
    assert_eq!(named, ["text.mp4", "no-index.mp4", "vorbis.webm"], "{out}");
    assert!(failed[0]["reason"].as_str().unwrap().contains("it is not a video"), "{out}");
    assert!(failed[1]["reason"].as_str().unwrap().contains("its container cannot be read"), "{out}");
    assert!(failed[2]["reason"].as_str().unwrap().contains("audio/x-vorbis"), "{out}");
    assert_eq!((&told["clips"], &told["answered"], &told["counts"]["negative"]), (&6.into(), &3.into(), &2.into()));
    let rows = rows(&fs::read_to_string(&answers).unwrap());
    assert_eq!(rows[1], ["text.mp4", "neutral", "", "", "", "", "none"]);
    // Three and two seconds of sound are no sound for a window of five.
    assert_eq!([&rows[3][6], &rows[4][6]], ["picture", "picture"]);
    for key in ["accuracy", "macro_f1"] {
        let [low, value, high] = ["low", "value", "high"].map(|bound| told[key][bound].as_f64().unwrap());
        assert!(low <= value && value <= high, "{out}");
    }
    assert_eq!(told["confusion"].as_array().unwrap().len(), 3);
    assert!(told["seconds_per_clip"]["decoding"].as_f64().unwrap() > 0.0, "{out}");
}

#[test]
fn each_mistake_has_its_words_and_its_code() {
    let folder = folder("clip,mood\na.mp4,x\n");
    let said = |model: &str, labels: &str, words: &[&str]| {
        fs::write(folder.path().join("labels.csv"), labels).unwrap();
        let (code, out, err) = evaluate(&folder, model, &[]);
        assert_eq!((code, &out[..]), (78, ""), "{err}");
        words.iter().for_each(|word| assert!(err.contains(word), "no {word:?} in:\n{err}"));
    };
    let foreign = repository("tests/data/no-contract.onnx").display().to_string();
    said(MODEL, "clip,mood\na.mp4,x\n", &["labels.csv:1: ", "\"label\"", "name it there"]);
    said(MODEL, "clip,label\nx.mp4,happy\n", &["labels.csv:2: ", "\"happy\"", "positive, neutral, negative"]);
    said(MODEL, "clip,label\nx.mp4,neutral\ny.mp4,neutral\n", &["2 of 2 clips", "x.mp4 (line 2), y.mp4 (line 3)"]);
    said(MODEL, "clip,label\n", &["labels.csv: it has no labels"]);
    fs::write(folder.path().join("a.mp4"), "").unwrap();
    said(&foreign, "clip,label\na.mp4,neutral\n", &["no-contract.onnx", "python -m ger.export"]);
    said("nowhere.onnx", "clip,label\na.mp4,neutral\n", &["nowhere.onnx"]);

    let clips = folder.path().display().to_string();
    let labels = folder.path().join("labels.csv").display().to_string();
    let check = |arguments: &[&str], code: i32, words: &str| {
        let (found, out, err) = run(arguments);
        assert!(found == code && err.contains(words), "{arguments:?}: {found}\n{out}{err}");
    };
    check(&["evaluate", MODEL, &labels, &labels], 78, "this is no folder");
    check(&["evaluate", MODEL, &clips, "nowhere.csv"], 78, "nowhere.csv: the labels cannot be read");
    check(&["evaluate", MODEL, &clips, &labels, "--predictions", "/proc/none/a.csv"], 78, "/proc/none/a.csv");
    check(&["evaluate", MODEL, &clips, &labels, "--provider", "cuda"], 78, "cuda");
    check(&["evaluate", MODEL, &clips], 64, "LABELS");
    let mut absent = Command::new(crate::it::harness::daemon::binary());
    absent.args(["evaluate", MODEL, &clips, &labels]).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    let output = absent.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && err.contains("/nowhere/libonnxruntime.so"), "{output:?}");
}

#[test]
fn a_network_that_needs_sound_is_not_asked_without() {
    let folder = folder("clip,label\nmute.mp4,positive\n");
    cut(folder.path(), "mute.mp4", "-t 5.2 -c:v libx264 -pix_fmt yuv420p -an");
    let model = repository("tests/data/good.onnx").display().to_string();
    let (code, out, err) = evaluate(&folder, &model, &[]);
    let contract = edge_ger::infer::contract::Contract::read(&repository("tests/data/good.onnx")).unwrap().0;
    if contract.sound.missing == edge_ger::infer::contract::Missing::Withhold {
        assert!(code == 0 && out.contains("0 answered") && out.contains("mute.mp4"), "{out}{err}");
    } else {
        assert!(code == 0 && out.contains("1 answered"), "{out}{err}");
    }
}

/// Set where this binary is to evaluate inside the sandbox.
const INSIDE: &str = "EVALUATE_INSIDE";

#[test]
fn it_needs_no_socket() {
    if env::var(INSIDE).is_err() {
        // A registry of its own, so that GStreamer has to look for its plugins inside, too.
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", "it::evaluate::it_needs_no_socket", "--nocapture"]).env(INSIDE, "yes");
        command.env("GST_REGISTRY", folder.path().join("registry")).env("ORT_DYLIB_PATH", ONNX_RUNTIME);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let folder = folder("clip,label\na.mp4,positive\n");
    cut(folder.path(), "a.mp4", "-t 5.2 -c:v libx264 -pix_fmt yuv420p -c:a aac");
    enter(Profile::NoNetwork { unix_sockets: false }).unwrap();
    assert!(UdpSocket::bind("127.0.0.1:0").is_err() && UnixDatagram::unbound().is_err());
    let task = Task {
        model: MODEL.into(),
        clips: folder.path().into(),
        labels: folder.path().join("labels.csv"),
        predictions: None,
        providers: vec![ProviderChoice::Cpu],
    };
    let clock: Arc<dyn edge_ger::time::Clock> = Arc::new(SystemClock);
    let report = evaluate::run(&task, &clock).unwrap();
    assert!(report.is_complete() && report.figures().is_some(), "{report}");
}
