//! What may be asked of a dry run while it runs.

use crate::wire::{
    CameraId,
    control::{Order, Sampling},
};

/// What whoever watches a dry run may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRunRequest {
    /// Stop everything.
    Stop,
    /// Begin the clap test on this camera, or begin it anew.
    Clap(CameraId),
    /// The clap test on this camera is over.
    EndClapTest(CameraId),
}

impl DryRunRequest {
    /// The order to the processes; `None` for [`Self::Stop`].
    pub(super) const fn order(self) -> Option<Order> {
        match self {
            Self::Stop => None,
            Self::Clap(camera) => Some(Order::SetSampling(camera, Sampling::All)),
            Self::EndClapTest(camera) => Some(Order::SetSampling(camera, Sampling::Grid)),
        }
    }
}
