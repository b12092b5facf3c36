//! Cuts the windows of the slot grid.

use crate::time::Moment;

/// What is known about a frame beside its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameMeta {
    /// When it was shown.
    pub moment: Moment,
    /// Mean, 0 to 255.
    pub luma: f32,
    /// Mean absolute difference to the frame before, luma levels.
    pub motion: f32,
    /// Changes with codec or size.
    pub format: u32,
    /// RTP packets lost so far.
    pub lost_total: u64,
}
