//! The figures for people and for programs.

use std::fmt::{self, Display};

use serde_json::{Value, json};

use super::{Durations, Figures, Interval, Outcome, place, table::Labels};
use crate::{
    infer::contract::{Contract, ModelFile},
    time::Span,
    wire::record::{Emotion, Provider},
};

/// What an evaluation came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    network: String,
    network_sha256: String,
    provider: Provider,
    labels_sha256: String,
    /// Clips of each emotion, in the order of [`Emotion::ALL`].
    counts: [u32; 3],
    answered: usize,
    withheld: Vec<String>,
    not_finite: Vec<String>,
    undecodable: Vec<(String, String)>,
    figures: Option<Figures>,
    temperature: f32,
    durations: Durations,
    /// How many clips the times are of.
    read: usize,
    declared: Value,
}

impl Report {
    pub(super) fn new(
        contract: &Contract,
        file: &ModelFile,
        provider: Provider,
        labels: Labels,
        outcomes: Vec<Outcome>,
        durations: Durations,
    ) -> Self {
        let mut counts = [0; 3];
        labels.clips.iter().for_each(|clip| counts[place(clip.truth)] += 1);
        let (mut withheld, mut not_finite, mut undecodable, mut answers) = (vec![], vec![], vec![], vec![]);
        for (clip, outcome) in labels.clips.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Answered(prediction) => answers.push(prediction),
                Outcome::Withheld => withheld.push(clip.name),
                Outcome::NotFinite => not_finite.push(clip.name),
                Outcome::Undecodable(reason) => undecodable.push((clip.name, reason)),
            }
        }
        Self {
            network: contract.name.clone(),
            network_sha256: file.sha256_hex(),
            provider,
            labels_sha256: labels.sha256,
            counts,
            answered: answers.len(),
            read: answers.len() + withheld.len() + not_finite.len(),
            withheld,
            not_finite,
            undecodable,
            figures: Figures::of(&answers),
            temperature: contract.temperature,
            durations,
            declared: contract.document.get("evaluation").cloned().unwrap_or(Value::Null),
        }
    }

    /// Whether every clip could be decoded and got an answer that is one.
    #[must_use]
    pub(crate) const fn is_complete(&self) -> bool {
        self.undecodable.is_empty() && self.not_finite.is_empty()
    }

    /// The figures; `None` where no clip was answered.
    #[cfg(test)]
    #[must_use]
    pub(crate) const fn figures(&self) -> Option<&Figures> {
        self.figures.as_ref()
    }

    fn per_clip(&self, duration: Span) -> f64 {
        duration.as_secs_f64() / self.read.max(1) as f64
    }

    /// Whether the contract's own figures are of these labels, by the hash of their file.
    fn is_same_data(&self) -> bool {
        self.declared.get("labels_sha256").and_then(Value::as_str) == Some(&self.labels_sha256)
    }

    /// For each figure that the contract declares too: its name, its value there, and whether that lies in our interval.
    fn agreement(&self) -> Vec<(&'static str, f64, bool)> {
        let Some(figures) = self.figures.as_ref().filter(|_| self.is_same_data()) else { return Vec::new() };
        let compared = [("accuracy", figures.accuracy), ("macro_f1", figures.macro_f1)];
        let compared = compared.into_iter().filter_map(|(name, ours)| {
            let declared = self.declared.get(name)?;
            let theirs = declared.as_f64().or_else(|| declared.get("value")?.as_f64())?;
            Some((name, theirs, ours.low <= theirs && theirs <= ours.high))
        });
        compared.collect()
    }

    /// Everything as one JSON object. Shares and times in seconds are rounded to six decimals.
    #[must_use]
    pub(crate) fn to_json(&self) -> Value {
        let interval = |figure: Interval| json!({"value": rounded(figure.value), "low": rounded(figure.low), "high": rounded(figure.high)});
        let per_class = |counts: [u32; 3]| json!({"positive": counts[0], "neutral": counts[1], "negative": counts[2]});
        let seconds = |duration| rounded(self.per_clip(duration));
        let failed = |(clip, reason): &(String, String)| json!({"clip": clip, "reason": reason});
        let compared = |(name, theirs, agrees): (&str, f64, bool)| json!({"figure": name, "declared": theirs, "within_interval": agrees});
        json!({
            "network": self.network,
            "network_sha256": self.network_sha256,
            "provider": self.provider.as_str(),
            "labels_sha256": self.labels_sha256,
            "clips": self.counts.iter().sum::<u32>(),
            "counts": per_class(self.counts),
            "answered": self.answered,
            "withheld": self.withheld,
            "not_finite": self.not_finite,
            "undecodable": self.undecodable.iter().map(failed).collect::<Vec<_>>(),
            "accuracy": self.figures.as_ref().map(|figures| interval(figures.accuracy)),
            "macro_f1": self.figures.as_ref().map(|figures| interval(figures.macro_f1)),
            "confusion": self.figures.as_ref().map(|figures| figures.confusion),
            "calibration": {
                "temperature": self.temperature,
                "before": self.figures.as_ref().map(|figures| interval(figures.calibration_before)),
                "after": self.figures.as_ref().map(|figures| interval(figures.calibration_after)),
            },
            "seconds_per_clip": {
                "decoding": seconds(self.durations.decoding),
                "features": seconds(self.durations.features),
                "inference": seconds(self.durations.inference),
            },
            "declared": self.declared,
            "declared_of_same_labels": self.is_same_data(),
            "agreement": self.agreement().into_iter().map(compared).collect::<Vec<_>>(),
        })
    }

    fn scores(&self, f: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
        line(f, "accuracy", interval(figures.accuracy))?;
        line(f, "macro-F1", interval(figures.macro_f1))?;
        let [before, after] = [figures.calibration_before, figures.calibration_after].map(interval);
        line(f, "calibration", format!("error {before} as it is, {after} after temperature {}", self.temperature))?;
        let row = |cells: [String; 3]| cells.iter().map(|cell| format!("{cell:>10}")).collect::<String>();
        line(
            f,
            "confusion",
            format!("{:<10}{}   answered", "", row(Emotion::ALL.map(|emotion| emotion.as_str().to_owned()))),
        )?;
        for emotion in Emotion::ALL {
            let cells = figures.confusion[place(emotion)].map(|count| count.to_string());
            line(f, "", format!("{:<10}{}", emotion.as_str(), row(cells)))?;
        }
        Ok(())
    }

    fn own_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, theirs, agrees) in self.agreement() {
            let verdict = if agrees { "agrees: within our interval" } else { "DIFFERS: outside our interval" };
            line(f, "declared", format!("{name} {theirs:.3} of the same labels {verdict}"))?;
        }
        if self.agreement().is_empty() {
            let of = |name: &str| self.declared.get(name).and_then(Value::as_f64);
            match of("accuracy") {
                Some(theirs) => line(f, "declared", format!("accuracy {theirs:.3}, of other clips: not comparable"))?,
                None => line(f, "declared", "no figures".to_owned())?,
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "network", format!("{} on {}, sha256 {}", self.network, self.provider.as_str(), self.network_sha256))?;
        let counts: Vec<_> = Emotion::ALL
            .iter()
            .map(|emotion| format!("{} {}", self.counts[place(*emotion)], emotion.as_str()))
            .collect();
        let clips: u32 = self.counts.iter().sum();
        line(f, "clips", format!("{clips}: {}; {} answered", counts.join(", "), self.answered))?;
        line(f, "labels", format!("sha256 {}", self.labels_sha256))?;
        match &self.figures {
            Some(figures) => self.scores(f, figures)?,
            None => line(f, "accuracy", "no clip was answered".to_owned())?,
        }
        self.own_figures(f)?;
        let [decoding, features, inference] =
            [self.durations.decoding, self.durations.features, self.durations.inference]
                .map(|duration| self.per_clip(duration));
        let seconds = format!("{decoding:.3} s decoding, {features:.3} s features, {inference:.3} s network");
        line(f, "per clip", seconds)?;
        let named = |f: &mut fmt::Formatter<'_>, names: &[String], why: &str| match names {
            [] => Ok(()),
            names => line(f, "no answer", format!("{} clips, {why}: {}", names.len(), printable(&names.join(", ")))),
        };
        named(f, &self.withheld, "for want of a sense that the network cannot do without")?;
        named(f, &self.not_finite, "since the network gave something that is not a number")?;
        if !self.undecodable.is_empty() {
            line(f, "undecodable", format!("{} clips:", self.undecodable.len()))?;
        }
        for (clip, reason) in &self.undecodable {
            line(f, "", printable(&format!("{clip}: {reason}")))?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "{what:<12} {text}")
}

/// A name from elsewhere must not steer the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn interval(Interval { value, low, high }: Interval) -> String {
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
