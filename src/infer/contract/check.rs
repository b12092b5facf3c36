//! From the contract's JSON to a [`Contract`]: every value is checked, and a fault names its key.

use serde_json::Value;

use super::{
    Batch, Contract, GROUP_BUCKETS, Golden, Missing, Outputs, Sound, SoundKind, VERSION, Video, in_order,
    json::{Field, InvalidValue},
};
use crate::{
    time::Span,
    wire::{
        estimate::{Estimate, Estimates},
        record::Emotion,
    },
};

pub(super) fn contract(document: Value) -> Result<Contract, InvalidValue> {
    let root = Field::root(&document);
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
        transition: root.at("transition").given().map(|rows| transition(&rows, classes)).transpose()?,
        golden: golden(&root.at("golden"))?,
        half,
        document,
    })
}

/// A name that can stand in a log, a topic's value and a table.
fn word(field: &Field<'_>) -> Result<String, InvalidValue> {
    let text = field.text()?;
    let fits = (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(field.expected("1 to 64 printable characters")) }
}

fn classes(field: &Field<'_>) -> Result<[Emotion; 3], InvalidValue> {
    let words = Emotion::ALL.map(|emotion| (emotion.as_str(), emotion));
    let all = || field.expected("the three words positive, neutral and negative, in the order of the logits");
    let mut classes = [Emotion::Positive; 3];
    for (class, element) in classes.iter_mut().zip(field.elements::<3>().map_err(|_| all())?) {
        *class = element.one_of(&words).map_err(|_| all())?;
    }
    if Emotion::ALL.iter().all(|emotion| classes.contains(emotion)) { Ok(classes) } else { Err(all()) }
}

fn video(field: &Field<'_>) -> Result<Video, InvalidValue> {
    const KEYS: [&str; 8] = ["frames", "height", "width", "sampling", "resize", "layout", "mean", "std"];
    let field = field.clone().only(&KEYS)?;
    field.at("sampling").one_of(&[("midpoint", ())])?;
    field.at("resize").one_of(&[("squash-bicubic-antialias", ())])?;
    field.at("layout").one_of(&[("NTCHW", ())])?;
    Ok(Video {
        frames: field.at("frames").count(1..=32)?,
        height: field.at("height").count(16..=1024)?,
        width: field.at("width").count(16..=1024)?,
        mean: field.at("mean").numbers(-10.0..=10.0)?.map(narrow),
        std: field.at("std").numbers(1e-3..=10.0)?.map(narrow),
    })
}

fn sound(field: &Field<'_>, clip_seconds: f64, outputs: Outputs) -> Result<Sound, InvalidValue> {
    let field = field.clone().only(&["kind", "sample_rate", "samples", "mel", "normalise", "missing"])?;
    let kind = field.at("kind").one_of(&[("mel", 0), ("waveform", 1), ("none", 2)])?;
    if kind == 2 {
        return Ok(Sound { rate_hz: 16_000, samples: 0, kind: SoundKind::None, missing: Missing::Mask });
    }
    let rate_hz = field.at("sample_rate").count(8000..=48_000)?;
    let samples = field.at("samples").count(1..=480_000)?;
    if f64::from(samples) != clip_seconds * f64::from(rate_hz) {
        return Err(field.at("samples").expected("clip_seconds times sample_rate"));
    }
    let normalise = field.at("normalise");
    let kind = if kind == 0 {
        if let Some(normalise) = normalise.given() {
            normalise.one_of(&[("none", ())])?;
        }
        // The mel spectrogram is cut into five segments of one second.
        field.at("sample_rate").exactly(16_000.0)?;
        field.at("samples").exactly(80_000.0)?;
        mel(&field.at("mel"))?
    } else {
        SoundKind::Waveform { zscore: normalise.one_of(&[("none", false), ("zscore-clip", true)])? }
    };
    let choices = [("withhold", Missing::Withhold), ("mask", Missing::Mask), ("logits_video", Missing::LogitsVideo)];
    let missing = field.at("missing").one_of(&choices)?;
    if missing == Missing::LogitsVideo && !outputs.logits_video {
        return Err(field.at("missing").expected("an answer that `outputs` lists"));
    }
    Ok(Sound { rate_hz, samples, kind, missing })
}

/// `ger-mel-1` is one fixed spectrogram: what a contract says beside its name must agree with it.
fn mel(field: &Field<'_>) -> Result<SoundKind, InvalidValue> {
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
    let field = field.clone().only(&keys)?;
    field.at("id").one_of(&[("ger-mel-1", ())])?;
    for (key, number) in NUMBERS {
        field.at(key).exactly(number)?;
    }
    for (key, word) in WORDS {
        if let Some(given) = field.at(key).given() {
            given.one_of(&[(word, ())])?;
        }
    }
    Ok(SoundKind::Mel {
        mean: narrow(field.at("mean").number(-200.0..=200.0)?),
        std: narrow(field.at("std").number(1e-3..=1000.0)?),
    })
}

fn outputs(field: &Field<'_>) -> Result<Outputs, InvalidValue> {
    // An allow-list: embeddings, skeletons or maps of people must not leave a network.
    let known = ["logits", "group_size", "logits_video", "logits_sound"].into_iter();
    let known: Vec<_> = known.chain(Estimate::ALL.map(Estimate::as_str)).collect();
    let field = field.clone().only(&known)?;
    field.at("logits").count(3..=3)?;
    let group_size = match field.at("group_size").given() {
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
        estimates[estimate as usize] = field.at(estimate.as_str()).given().map(trained).transpose()?;
    }
    let of_three =
        |key| field.at(key).given().map(|output| output.count(3..=3)).transpose().map(|output| output.is_some());
    Ok(Outputs {
        group_size,
        estimates,
        logits_video: of_three("logits_video")?,
        logits_sound: of_three("logits_sound")?,
    })
}

fn trained(estimate: Field<'_>) -> Result<[f32; 2], InvalidValue> {
    let trained = estimate.only(&["trained"])?.at("trained");
    let [from, to] = trained.numbers(0.0..=1.0)?;
    let is_range = 0.0 < from && from < to;
    if is_range {
        Ok([from, to].map(narrow))
    } else {
        Err(trained.expected("two shares over 0, the smaller one first"))
    }
}

fn golden(field: &Field<'_>) -> Result<Golden, InvalidValue> {
    field.at("input").one_of(&[("ramp-v1", ())])?;
    let group_size = field.at("group_size").given();
    let mut estimates = Estimates::default();
    for estimate in Estimate::ALL {
        let given = field.at(estimate.as_str()).given();
        let value = given.map(|value| value.numbers(0.0..=1.0)).transpose()?;
        estimates[estimate as usize] = value.map(|[value]| narrow(value));
    }
    Ok(Golden {
        logits: field.at("logits").numbers(-1e4..=1e4)?.map(narrow),
        group_size: group_size.map(|logits| logits.numbers(-1e4..=1e4)).transpose()?.map(|logits| logits.map(narrow)),
        estimates,
        tolerance: narrow(field.at("tolerance").number(1e-7..=0.1)?),
    })
}

/// Three probabilities that sum to 1; what rounding left over is taken out.
fn distribution(field: &Field<'_>) -> Result<[f32; 3], InvalidValue> {
    let parts: [f64; 3] = field.numbers(0.0..=1.0)?;
    let sum: f64 = parts.iter().sum();
    if (sum - 1.0).abs() <= 0.01 { Ok(parts.map(|part| narrow(part / sum))) } else { Err(field.expected("a sum of 1")) }
}

fn transition(field: &Field<'_>, classes: [Emotion; 3]) -> Result<[[f32; 3]; 3], InvalidValue> {
    let mut rows = [[0.0; 3]; 3];
    for (row, element) in rows.iter_mut().zip(field.elements::<3>()?) {
        *row = in_order(classes, distribution(&element)?);
    }
    Ok(in_order(classes, rows))
}

#[allow(clippy::cast_possible_truncation, reason = "networks compute in f32, and the ranges are checked")]
fn narrow(number: f64) -> f32 {
    number as f32
}
