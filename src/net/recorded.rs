//! Passes that a device has recorded.

use crate::device::{DescentStep, Device};
use crate::recipe::Share;

/// What a device runs at one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A training step on the batch that was loaded.
    Loaded,
    /// One on the batch that it draws.
    Train,
    /// The same, with what reconstruction would be worth measured in coded blocks too.
    Probe,
    /// The test of the batch that it draws.
    Test,
}

/// One recorded pass, and what of it the recording has fixed.
pub(super) struct Recorded<D: Device> {
    pub kind: Kind,
    /// Images of the batch: every shape follows from it.
    pub n: usize,
    /// The optimiser's settings, without the learning rate, which is on the device.
    pub sgd: DescentStep,
    /// Which of its step's batches it is.
    pub share: Share,
    pub recording: Option<D::Recording>,
}
