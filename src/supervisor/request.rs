//! Requests to a dry run while it runs.

use crate::wire::{
    CameraId,
    control::{Order, Sampling},
};

/// What the view or the script of a dry run requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DryRunRequest {
    /// Stop everything.
    Stop,
    /// Start the clap test on this camera, or restart it.
    Clap(CameraId),
    /// End the clap test on this camera.
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
