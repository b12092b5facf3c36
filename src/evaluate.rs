//! `edge-ger evaluate`: what a network says of labelled clips, through the daemon's own decoders and features.
//!
//! The clips are the user's own and stay where they are: what is written is numbers, words of closed lists, and the
//! names that the labels file gives. `python -m ger.evaluate` computes the same figures with Python's decoders.

mod figures;
mod report;
mod table;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use self::{
    figures::{Figures, Interval, Prediction},
    report::Report,
    table::Labelled,
};
use crate::{
    config::{Model, NetworkFile, ProviderChoice, Providers},
    infer::{
        clip::{Modalities, Reader},
        contract::{self, Contract},
        runtime::{self, Runtime, Session},
    },
    time::{Clock, Span},
    wire::record::Emotion,
};

/// Progress is logged after so many clips.
const TELL_EVERY: usize = 100;

/// What to evaluate.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The network.
    pub model: PathBuf,
    /// The folder that the clips lie in.
    pub clips: PathBuf,
    /// The labels file.
    pub labels: PathBuf,
    /// Where to write the answer to each clip.
    pub predictions: Option<PathBuf>,
    /// Execution providers, the first that works.
    pub providers: Vec<ProviderChoice>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network's file or contract is not fit.
    #[error(transparent)]
    Contract(#[from] contract::Error),
    /// ONNX Runtime is not there, or refuses the network, or failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The clips' folder is none.
    #[error("{}: this is no folder; name the folder that the clips of the labels lie in", .0.display())]
    NoFolder(PathBuf),
    /// A file of the user's cannot be read or written.
    #[error("{}: {what}: {source}; {cure}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
        /// What to do.
        cure: &'static str,
    },
    /// The labels are wrong: one line for each fault.
    #[error("{}", .0.join("\n"))]
    Labels(Vec<String>),
}

/// What became of one clip.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The network answered.
    Answered(Prediction),
    /// It was not asked, because pictures or sound that it needs are missing.
    Withheld,
    /// It answered with something that is not a number.
    NotFinite,
    /// Nothing of the file could be decoded, for this reason.
    Undecodable(String),
}

/// How long the clips took, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// Demuxing, decoding, colour, resampling.
    pub decoding: Span,
    /// Scaling, normalising, the spectrogram.
    pub features: Span,
    /// The network.
    pub inference: Span,
}

/// Evaluates. The process should have no network by now: ONNX Runtime is loaded here.
///
/// # Errors
/// When the network, ONNX Runtime or the labels are at fault. A clip that cannot be decoded is part of the report.
pub(crate) fn run(task: &Task, clock: &Arc<dyn Clock>) -> Result<Report, Error> {
    let labels = table::read(&task.labels, &task.clips)?;
    let (contract, file) = Contract::read(&task.model)?;
    let mut predictions = task.predictions.as_deref().map(table::Predictions::create).transpose()?;
    Runtime::init(None)?;
    let model = Model {
        file: NetworkFile(task.model.clone()),
        providers: Providers(task.providers.clone()),
        ..Model::default()
    };
    let session = Session::open(&model, &contract, &file)?;
    let mut evaluation = Evaluation {
        reader: Reader::new(&contract, Arc::clone(clock)),
        session,
        contract,
        clock: Arc::clone(clock),
        durations: Durations::default(),
    };
    let mut outcomes = Vec::with_capacity(labels.clips.len());
    for clip in &labels.clips {
        let (outcome, modalities) = evaluation.answer(clip, &task.clips)?;
        if let Some(predictions) = &mut predictions {
            predictions.write(clip, &outcome, modalities)?;
        }
        outcomes.push(outcome);
        if outcomes.len().is_multiple_of(TELL_EVERY) {
            tracing::info!("{} of {} clips", outcomes.len(), labels.clips.len());
        }
    }
    if let Some(predictions) = predictions {
        predictions.finish()?;
    }
    let Evaluation { session, contract, durations, .. } = evaluation;
    Ok(Report::new(&contract, &file, session.provider(), labels, outcomes, durations))
}

/// A network at work on clips.
struct Evaluation {
    reader: Reader,
    session: Session,
    contract: Contract,
    clock: Arc<dyn Clock>,
    durations: Durations,
}

impl Evaluation {
    fn answer(&mut self, clip: &Labelled, folder: &Path) -> Result<(Outcome, Modalities), Error> {
        let Some(mut place) = self.session.batch(1).next() else { return Ok((Outcome::Withheld, Modalities::None)) };
        let read = match self.reader.read(&folder.join(&clip.name), &mut place) {
            Ok(read) => read,
            Err(err) => return Ok((Outcome::Undecodable(err.to_string()), Modalities::None)),
        };
        self.durations.decoding = self.durations.decoding + read.decoding;
        self.durations.features = self.durations.features + read.features;
        if read.modalities == Modalities::None {
            return Ok((Outcome::Withheld, Modalities::None));
        }
        let begun = self.clock.now();
        let answer = self.session.run(1)?.first().copied();
        self.durations.inference = self.durations.inference + (self.clock.now() - begun);
        let Some(Ok(answer)) = answer else { return Ok((Outcome::NotFinite, Modalities::None)) };
        let prediction = Prediction::new(clip.truth, answer.logits, self.contract.temperature);
        Ok((Outcome::Answered(prediction), read.modalities))
    }
}

/// The place of an emotion in every row of three.
fn place(emotion: Emotion) -> usize {
    emotion as usize
}
