//! A contract for people.

use serde_json::Value;

use super::{Batch, Contract, Missing, ModelFile, SoundKind};
use crate::wire::estimate::Estimate;

impl Contract {
    /// What the network is, as a table of lines `name  value`.
    #[must_use]
    pub(crate) fn card(&self, file: &ModelFile) -> String {
        let mut lines = vec![
            ("name", self.name.clone()),
            ("system", self.system.clone()),
            ("created", self.told("/created")),
            ("inputs", self.inputs()),
            ("outputs", self.answers()),
            ("classes", self.classes.map(crate::wire::record::Emotion::as_str).join(", ")),
            ("without sound", self.without_sound().to_owned()),
            ("precision", self.told("/precision")),
            ("calibration", self.calibration()),
            ("evaluation", self.evaluation()),
            ("licence", self.told("/licence/weights")),
            ("data", self.told("/licence/data")),
        ];
        if let Some(privacy) = self.document.get("privacy") {
            lines.push(("privacy", told(privacy)));
        }
        lines.push(("sha256", file.sha256_hex()));
        lines.push(("size", format!("{:.1} MB", file.bytes as f64 / 1e6)));
        lines.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
    }

    fn inputs(&self) -> String {
        let first = match self.batch {
            Batch::One => "1",
            Batch::Any => "any",
        };
        let shape = |shape: Vec<usize>| {
            let rest: Vec<_> = shape[1..].iter().map(ToString::to_string).collect();
            format!("[{first}, {}]", rest.join(", "))
        };
        let video = format!("video {}", shape(self.video_shape(1)));
        let Some(sound) = self.sound_shape(1).map(shape) else {
            return format!("{video}, no sound");
        };
        let kind = match self.sound.kind {
            SoundKind::Mel { .. } => "ger-mel-1",
            SoundKind::Waveform { zscore: true } => "waveform, zscore-clip",
            _ => "waveform",
        };
        format!("{video}, sound {sound} ({kind})")
    }

    fn answers(&self) -> String {
        let mut answers = vec!["logits [3]".to_owned()];
        if let Some(buckets) = self.outputs.group_size {
            let from: Vec<_> = buckets.iter().map(ToString::to_string).collect();
            answers.push(format!("group_size (from {})", from.join(", ")));
        }
        for estimate in Estimate::ALL {
            if let Some([from, to]) = estimate.of(&self.outputs.estimates) {
                answers.push(format!("{} (trained from {from} to {to})", estimate.as_str()));
            }
        }
        if self.outputs.logits_video {
            answers.push("logits_video [3]".to_owned());
        }
        if self.outputs.logits_sound {
            answers.push("logits_sound [3]".to_owned());
        }
        answers.join(", ")
    }

    fn without_sound(&self) -> &'static str {
        match (self.sound.kind, self.sound.missing) {
            (SoundKind::None, _) => "it never hears",
            (_, Missing::Withhold) => "withheld: it was not trained to do without",
            (_, Missing::Mask) => "it was trained to do without",
            (_, Missing::LogitsVideo) => "it answers from the pictures alone",
        }
    }

    fn calibration(&self) -> String {
        let (ece, data) = (self.told("/calibration/ece"), self.told("/calibration/data"));
        format!("temperature {}, expected calibration error {ece}, on {data}", self.temperature)
    }

    fn evaluation(&self) -> String {
        let of = |key: &str| self.document.pointer(&format!("/evaluation/{key}")).map(told);
        let mut parts = vec![of("data").unwrap_or_else(|| UNSTATED.to_owned())];
        for (key, name) in [("clips", "clips"), ("accuracy", "accuracy"), ("macro_f1", "macro F1")] {
            parts.extend(of(key).map(|value| format!("{name} {value}")));
        }
        parts.join(", ")
    }

    fn told(&self, pointer: &str) -> String {
        self.document.pointer(pointer).map_or_else(|| UNSTATED.to_owned(), told)
    }
}

const UNSTATED: &str = "not stated";

fn told(value: &Value) -> String {
    match value {
        // A file from elsewhere must not steer the terminal.
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Array(values) => values.iter().map(told).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let parts: Vec<_> = object.iter().map(|(key, value)| format!("{key} {}", told(value))).collect();
            parts.join(", ")
        }
        other => other.to_string(),
    }
}
