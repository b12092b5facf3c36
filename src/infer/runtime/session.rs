//! A network that is ready to run, with the buffers of its inputs.

use ort::{
    session::{SessionInputValue, SessionOutputs},
    value::TensorRef,
};

use super::{Error, Refusals, golden, graph, providers};
use crate::{
    config::Model,
    infer::contract::{Batch, Contract, GROUP_BUCKETS, Missing, ModelFile},
    wire::{
        estimate::Estimates,
        record::{Provider, Withheld},
    },
};

/// What the network answered for one clip. All numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The logits in the order of `Emotion::ALL`, uncalibrated. Where sound was missing and the contract says so,
    /// those of the pictures alone.
    pub logits: [f32; 3],
    /// The logits of the group's size, by bucket.
    pub group_size: Option<[f32; GROUP_BUCKETS]>,
    /// What else it estimates, 0 to 1; `None` where it does not.
    pub estimates: Estimates<Option<f32>>,
}

/// The network answered with something that is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network answered with something that is not a number")]
pub struct NotFinite;

impl From<NotFinite> for Withheld {
    fn from(NotFinite: NotFinite) -> Self {
        Self::ModelInvalid
    }
}

/// One clip's place in the batch. What stands there from the last run stays until it is overwritten.
#[derive(Debug)]
pub(crate) struct Clip<'a> {
    /// The pictures, normalised: `[frame][colour][row][column]`.
    pub video: &'a mut [f32],
    /// The sound; empty where the network does not hear. Must be zeros where sound is missing.
    pub sound: &'a mut [f32],
    /// 1 where there are pictures and where there is sound, else 0.
    pub present: &'a mut [f32; 2],
}

/// A network on a rung of the ladder.
#[derive(Debug)]
pub(crate) struct Session {
    session: ort::session::Session,
    contract: Contract,
    provider: Provider,
    has_present: bool,
    max_difference: f32,
    video: Vec<f32>,
    sound: Vec<f32>,
    present: Vec<[f32; 2]>,
    answers: Vec<Result<Answer, NotFinite>>,
}

impl Session {
    /// Opens a network on the first rung of `model.providers` that holds. [`super::Runtime::init`] comes first.
    ///
    /// Each refused rung is logged with its reason; the rung in use is logged too.
    ///
    /// # Errors
    /// When the graph is not what the contract says, or no rung runs the golden case within its tolerance.
    pub(crate) fn open(model: &Model, contract: &Contract, file: &ModelFile) -> Result<Self, Error> {
        super::library::environment()?;
        let mut refusals = Refusals::default();
        for choice in &model.providers.0 {
            let provider = providers::provider(*choice);
            let reason = match providers::open(*choice, model, contract, file) {
                Err(reason) => reason,
                Ok(opened) => {
                    let mut session = Self::on(opened.session, model, contract, provider)?;
                    match session.golden_case() {
                        Ok(()) => {
                            if let Some(engines) = opened.engines {
                                engines.keep();
                            }
                            return Ok(session);
                        }
                        Err(reason) => {
                            if let Some(engines) = opened.engines {
                                engines.discard();
                            }
                            reason
                        }
                    }
                }
            };
            tracing::warn!(provider = provider.as_str(), reason, "execution provider refused");
            refusals.0.push((provider, reason));
        }
        Err(Error::Providers { file: model.file.0.clone(), refusals })
    }

    fn on(
        session: ort::session::Session,
        model: &Model,
        contract: &Contract,
        provider: Provider,
    ) -> Result<Self, Error> {
        let has_present = graph::check(contract, session.inputs(), session.outputs())
            .map_err(|what| Error::Graph { file: model.file.0.clone(), what })?;
        Ok(Self {
            session,
            contract: contract.clone(),
            provider,
            has_present,
            max_difference: f32::INFINITY,
            video: Vec::new(),
            sound: Vec::new(),
            present: Vec::new(),
            answers: Vec::new(),
        })
    }

    /// The rung in use.
    #[must_use]
    pub(crate) const fn provider(&self) -> Provider {
        self.provider
    }

    /// How far the golden case was off.
    #[must_use]
    pub(crate) const fn max_difference(&self) -> f32 {
        self.max_difference
    }

    /// The places of `clips` clips, to be filled before [`Session::run`]. New places are zero.
    pub(crate) fn batch(&mut self, clips: usize) -> impl Iterator<Item = Clip<'_>> {
        let (video_len, sound_len) = (self.contract.video_len(), self.contract.sound_len());
        let capacity = clips.max(self.present.len());
        self.video.resize(capacity * video_len, 0.0);
        self.sound.resize(capacity * sound_len, 0.0);
        self.present.resize(capacity, [0.0; 2]);
        // Of a network that does not hear, each clip has an empty slice.
        let mut sound = &mut self.sound[..];
        let parts = self.video.chunks_exact_mut(video_len).zip(&mut self.present).take(clips);
        parts.map(move |(video, present)| {
            let (first, rest) = std::mem::take(&mut sound).split_at_mut(sound_len);
            sound = rest;
            Clip { video, sound: first, present }
        })
    }

    /// Runs the first `clips` clips of the batch and gives their answers in the same order.
    ///
    /// # Errors
    /// When ONNX Runtime fails: an error of the GPU that persists makes this process useless.
    pub(crate) fn run(&mut self, clips: usize) -> Result<&[Result<Answer, NotFinite>], Error> {
        let clips = clips.min(self.present.len());
        let at_once = match self.contract.batch {
            Batch::One => 1,
            Batch::Any => providers::CLIPS_MAX,
        };
        self.answers.clear();
        let mut from = 0;
        while from < clips {
            let count = at_once.min(clips - from);
            self.run_part(from, count)
                .map_err(|error| Error::Run { provider: self.provider, reason: error.message().to_owned() })?;
            from += count;
        }
        Ok(&self.answers)
    }

    fn run_part(&mut self, from: usize, count: usize) -> Result<(), ort::Error> {
        let outputs = outputs(
            &mut self.session,
            &self.contract,
            self.has_present,
            (&self.video, &self.sound, &self.present),
            from,
            count,
        )?;
        let logits = rows::<3>(&outputs, "logits")?;
        let of_video = match (self.contract.sound.missing, self.contract.outputs.logits_video) {
            (Missing::LogitsVideo, true) => Some(rows::<3>(&outputs, "logits_video")?),
            _ => None,
        };
        let group_size = match self.contract.outputs.group_size {
            Some(_) => Some(rows::<GROUP_BUCKETS>(&outputs, "group_size")?),
            None => None,
        };
        let mut estimates: Estimates<Option<&[[f32; 1]]>> = Default::default();
        for estimate in self.contract.outputs.estimated() {
            estimates[estimate as usize] = Some(rows::<1>(&outputs, estimate.as_str())?);
        }
        for i in 0..count {
            let heard = self.present[from + i][1] != 0.0;
            let chosen = of_video.filter(|_| !heard).unwrap_or(logits);
            let answer = Answer {
                logits: self.contract.in_order(chosen.get(i).copied().unwrap_or([f32::NAN; 3])),
                group_size: group_size.map(|rows| rows.get(i).copied().unwrap_or([f32::NAN; GROUP_BUCKETS])),
                estimates: estimates.map(|rows| rows.map(|rows| rows.get(i).map_or(f32::NAN, |[value]| *value))),
            };
            let others = answer.group_size.iter().flatten().chain(answer.estimates.iter().flatten());
            let finite = answer.logits.iter().chain(others).all(|number| number.is_finite());
            self.answers.push(if finite { Ok(answer) } else { Err(NotFinite) });
        }
        Ok(())
    }

    /// The rung must give what the exporter got. An error says how it failed.
    fn golden_case(&mut self) -> Result<(), String> {
        self.batch(1).for_each(|clip| {
            golden::ramp(clip.video);
            golden::ramp(clip.sound);
            *clip.present = [1.0; 2];
        });
        let inputs = (&self.video[..], &self.sound[..], &self.present[..]);
        let difference =
            outputs(&mut self.session, &self.contract, self.has_present, inputs, 0, 1).and_then(|outputs| {
                let wanted = &self.contract.golden;
                let mut worst = golden::difference(rows::<3>(&outputs, "logits")?.as_flattened(), &wanted.logits);
                if let Some(wanted) = &wanted.group_size
                    && self.contract.outputs.group_size.is_some()
                {
                    let given = rows::<GROUP_BUCKETS>(&outputs, "group_size")?;
                    worst = worst.max(golden::difference(given.as_flattened(), wanted));
                }
                for estimate in self.contract.outputs.estimated() {
                    if let Some(wanted) = estimate.of(&wanted.estimates) {
                        let given = rows::<1>(&outputs, estimate.as_str())?;
                        worst = worst.max(golden::difference(given.as_flattened(), &[*wanted]));
                    }
                }
                Ok(worst)
            });
        let difference = difference.map_err(|error| format!("its golden case fails: {}", error.message()))?;
        let tolerance = self.contract.golden.tolerance;
        if tolerance < difference {
            return Err(format!("its golden case is off by {difference:e}, and {tolerance:e} is allowed"));
        }
        self.max_difference = difference;
        self.video.fill(0.0);
        self.sound.fill(0.0);
        self.present.fill([0.0; 2]);
        tracing::info!(
            provider = self.provider.as_str(),
            network = self.contract.name,
            difference,
            "golden case right"
        );
        Ok(())
    }
}

/// Runs `count` clips from the `from`-th on.
fn outputs<'s>(
    session: &'s mut ort::session::Session,
    contract: &Contract,
    has_present: bool,
    (video, sound, present): (&[f32], &[f32], &[[f32; 2]]),
    from: usize,
    count: usize,
) -> Result<SessionOutputs<'s>, ort::Error> {
    let part = |all: &'_ [f32], len: usize| from * len..((from + count) * len).min(all.len());
    let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(3);
    let range = part(video, contract.video_len());
    inputs.push(("video", TensorRef::from_array_view((contract.video_shape(count), &video[range]))?.into()));
    if let Some(shape) = contract.sound_shape(count) {
        let range = part(sound, contract.sound_len());
        inputs.push(("sound", TensorRef::from_array_view((shape, &sound[range]))?.into()));
    }
    if has_present {
        let present = present[from..from + count].as_flattened();
        inputs.push((graph::PRESENT, TensorRef::from_array_view((vec![count, 2], present))?.into()));
    }
    session.run(inputs)
}

/// An output as rows of `N` numbers.
fn rows<'o, const N: usize>(outputs: &'o SessionOutputs<'_>, name: &str) -> Result<&'o [[f32; N]], ort::Error> {
    let output = outputs.get(name).ok_or_else(|| ort::Error::new(format!("output `{name}` did not come")))?;
    let (_, numbers) = output.try_extract_tensor::<f32>()?;
    Ok(numbers.as_chunks().0)
}
