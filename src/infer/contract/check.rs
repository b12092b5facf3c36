//! From the contract's JSON to a [`Contract`]: every value is checked, and a fault names its key.

use serde_json::Value;

use super::{
    Batch, Contract, GROUP_BUCKETS, Golden, Missing, Outputs, Sound, SoundKind, VERSION, Video, in_order,
    json::{Fault, Node},
};
use crate::{
    time::Span,
    wire::{
        estimate::{Estimate, Estimates},
        record::Emotion,
    },
};

pub(super) fn contract(document: Value) -> Result<Contract, Fault> {
    let root = Node::root(&document);
    root.at("version").count(VERSION..=VERSION)?;
    let clip_seconds = root.at("clip_seconds").number(1.0..=10.0)?;
    let classes = classes(&root.at("classes"))?;
    let outputs = outputs(&root.at("outputs"))?;
    let sound = sound(&root.at("sound"), clip_seconds, outputs)?;
    let batch = match root.at("batch").given() {
        Some(batch) if batch.value().and_then(Value::as_u64) == Some(1) => Batch::One,
        Some(batch) => batch.one_of(&[("any", Batch::Any)]).map_err(|_| batch.expected("1 or \"any\""))?,
        None => Batch::One,
    };
    let half = match root.at("precision").given() {
        Some(precision) => precision.text()?.eq_ignore_ascii_case("fp16"),
        None => false,
    };
    let prior = match root.at("prior").given() {
        Some(prior) => in_order(classes, distribution(&prior)?),
        None => [1.0 / 3.0; 3],
    };
    Ok(Contract {
        system: word(&root.at("system"))?,
        name: word(&root.at("name"))?,
        clip: Span::from_secs_f64(clip_seconds),
        classes,
        video: video(&root.at("video"))?,
        sound,
        batch,
        outputs,
        temperature: narrow(root.at("calibration").at("temperature").number(0.01..=100.0)?),
        prior,
        transition: root.at("transition").given().map(|it| transition(&it, classes)).transpose()?,
        golden: golden(&root.at("golden"))?,
        half,
        document,
    })
}

/// A name that can stand in a log, a topic's value and a table.
fn word(node: &Node<'_>) -> Result<String, Fault> {
    let text = node.text()?;
    let fits = (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(node.expected("1 to 64 printable characters")) }
}

fn classes(node: &Node<'_>) -> Result<[Emotion; 3], Fault> {
    let words = Emotion::ALL.map(|emotion| (emotion.as_str(), emotion));
    let all = || node.expected("the three words positive, neutral and negative, in the order of the logits");
    let mut classes = [Emotion::Positive; 3];
    for (class, element) in classes.iter_mut().zip(node.elements::<3>().map_err(|_| all())?) {
        *class = element.one_of(&words).map_err(|_| all())?;
    }
    if Emotion::ALL.iter().all(|it| classes.contains(it)) { Ok(classes) } else { Err(all()) }
}

fn video(node: &Node<'_>) -> Result<Video, Fault> {
    const KEYS: [&str; 8] = ["frames", "height", "width", "sampling", "resize", "layout", "mean", "std"];
    let node = node.clone().only(&KEYS)?;
    node.at("sampling").one_of(&[("midpoint", ())])?;
    node.at("resize").one_of(&[("squash-bicubic-antialias", ())])?;
    node.at("layout").one_of(&[("NTCHW", ())])?;
    Ok(Video {
        frames: node.at("frames").count(1..=32)?,
        height: node.at("height").count(16..=1024)?,
        width: node.at("width").count(16..=1024)?,
        mean: node.at("mean").numbers(-10.0..=10.0)?.map(narrow),
        std: node.at("std").numbers(1e-3..=10.0)?.map(narrow),
    })
}

fn sound(node: &Node<'_>, clip_seconds: f64, outputs: Outputs) -> Result<Sound, Fault> {
    let node = node.clone().only(&["kind", "sample_rate", "samples", "mel", "normalise", "missing"])?;
    let kind = node.at("kind").one_of(&[("mel", 0), ("waveform", 1), ("none", 2)])?;
    if kind == 2 {
        return Ok(Sound { rate_hz: 16_000, samples: 0, kind: SoundKind::None, missing: Missing::Mask });
    }
    let rate_hz = node.at("sample_rate").count(8000..=48_000)?;
    let samples = node.at("samples").count(1..=480_000)?;
    if f64::from(samples) != clip_seconds * f64::from(rate_hz) {
        return Err(node.at("samples").expected("clip_seconds times sample_rate"));
    }
    let normalise = node.at("normalise");
    let kind = if kind == 0 {
        if let Some(normalise) = normalise.given() {
            normalise.one_of(&[("none", ())])?;
        }
        // The mel spectrogram is cut into five segments of one second.
        node.at("sample_rate").exactly(16_000.0)?;
        node.at("samples").exactly(80_000.0)?;
        mel(&node.at("mel"))?
    } else {
        SoundKind::Waveform { zscore: normalise.one_of(&[("none", false), ("zscore-clip", true)])? }
    };
    let choices = [("withhold", Missing::Withhold), ("mask", Missing::Mask), ("logits_video", Missing::LogitsVideo)];
    let missing = node.at("missing").one_of(&choices)?;
    if missing == Missing::LogitsVideo && !outputs.logits_video {
        return Err(node.at("missing").expected("an answer that `outputs` lists"));
    }
    Ok(Sound { rate_hz, samples, kind, missing })
}

/// `ger-mel-1` is one fixed spectrogram: what a contract says beside its name must agree with it.
fn mel(node: &Node<'_>) -> Result<SoundKind, Fault> {
    const NUMBERS: [(&str, f64); 10] = [
        ("n_fft", 1024.0),
        ("win", 1024.0),
        ("hop", 125.0),
        ("frames", 128.0),
        ("bins", 128.0),
        ("f_min", 20.0),
        ("f_max", 8000.0),
        ("power", 2.0),
        ("amin", 1e-10),
        ("top_db", 80.0),
    ];
    const WORDS: [(&str, &str); 3] = [("scale", "htk"), ("norm", "none"), ("log", "db")];
    let others = NUMBERS.iter().map(|(key, _)| *key).chain(WORDS.iter().map(|(key, _)| *key));
    let keys: Vec<_> = ["id", "mean", "std"].into_iter().chain(others).collect();
    let node = node.clone().only(&keys)?;
    node.at("id").one_of(&[("ger-mel-1", ())])?;
    for (key, number) in NUMBERS {
        node.at(key).exactly(number)?;
    }
    for (key, word) in WORDS {
        if let Some(given) = node.at(key).given() {
            given.one_of(&[(word, ())])?;
        }
    }
    Ok(SoundKind::Mel {
        mean: narrow(node.at("mean").number(-200.0..=200.0)?),
        std: narrow(node.at("std").number(1e-3..=1000.0)?),
    })
}

fn outputs(node: &Node<'_>) -> Result<Outputs, Fault> {
    // An allow-list: embeddings, skeletons or maps of people must not leave a network.
    let known = ["logits", "group_size", "logits_video", "logits_sound"].into_iter();
    let known: Vec<_> = known.chain(Estimate::ALL.map(Estimate::as_str)).collect();
    let node = node.clone().only(&known)?;
    node.at("logits").count(3..=3)?;
    let group_size = match node.at("group_size").given() {
        None => None,
        Some(group_size) => {
            let group_size = group_size.only(&["buckets"])?;
            let buckets = group_size.at("buckets");
            let ascending =
                || buckets.expected(format_args!("{GROUP_BUCKETS} ascending whole numbers from 0 to 250, the first 0"));
            let mut bounds = [0; GROUP_BUCKETS];
            for (bound, element) in bounds.iter_mut().zip(buckets.elements::<GROUP_BUCKETS>().map_err(|_| ascending())?)
            {
                let count = element.count(0..=250).map_err(|_| ascending())?;
                *bound = u8::try_from(count).map_err(|_| ascending())?;
            }
            if bounds[0] != 0 || bounds.windows(2).any(|pair| pair[1] <= pair[0]) {
                return Err(ascending());
            }
            Some(bounds)
        }
    };
    let mut estimates = Estimates::default();
    for estimate in Estimate::ALL {
        estimates[estimate as usize] = node.at(estimate.as_str()).given().map(trained).transpose()?;
    }
    let of_three = |key| node.at(key).given().map(|it| it.count(3..=3)).transpose().map(|it| it.is_some());
    Ok(Outputs {
        group_size,
        estimates,
        logits_video: of_three("logits_video")?,
        logits_sound: of_three("logits_sound")?,
    })
}

fn trained(estimate: Node<'_>) -> Result<[f32; 2], Fault> {
    let trained = estimate.only(&["trained"])?.at("trained");
    let [from, to] = trained.numbers(0.0..=1.0)?;
    let is_range = 0.0 < from && from < to;
    if is_range {
        Ok([from, to].map(narrow))
    } else {
        Err(trained.expected("two shares over 0, the smaller one first"))
    }
}

fn golden(node: &Node<'_>) -> Result<Golden, Fault> {
    node.at("input").one_of(&[("ramp-v1", ())])?;
    let group_size = node.at("group_size").given();
    let mut estimates = Estimates::default();
    for estimate in Estimate::ALL {
        let given = node.at(estimate.as_str()).given();
        let value = given.map(|value| value.numbers(0.0..=1.0)).transpose()?;
        estimates[estimate as usize] = value.map(|[value]| narrow(value));
    }
    Ok(Golden {
        logits: node.at("logits").numbers(-1e4..=1e4)?.map(narrow),
        group_size: group_size.map(|it| it.numbers(-1e4..=1e4)).transpose()?.map(|it| it.map(narrow)),
        estimates,
        tolerance: narrow(node.at("tolerance").number(1e-7..=0.1)?),
    })
}

/// Three probabilities that sum to 1; what rounding left over is taken out.
fn distribution(node: &Node<'_>) -> Result<[f32; 3], Fault> {
    let parts: [f64; 3] = node.numbers(0.0..=1.0)?;
    let sum: f64 = parts.iter().sum();
    if (sum - 1.0).abs() <= 0.01 { Ok(parts.map(|it| narrow(it / sum))) } else { Err(node.expected("a sum of 1")) }
}

fn transition(node: &Node<'_>, classes: [Emotion; 3]) -> Result<[[f32; 3]; 3], Fault> {
    let mut rows = [[0.0; 3]; 3];
    for (row, element) in rows.iter_mut().zip(node.elements::<3>()?) {
        *row = in_order(classes, distribution(&element)?);
    }
    Ok(in_order(classes, rows))
}

#[allow(clippy::cast_possible_truncation, reason = "networks compute in f32, and the ranges are checked")]
fn narrow(number: f64) -> f32 {
    number as f32
}
